"""Calls of a function on engines, over the scheduler: what `parallelflow.api.parallel_map` is made of.

`parallelflow.map.engine_function` is its other half. May import ipyparallel, the cluster room and the map room; nothing of
VisTrails.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Sequence
from typing import Any

from ipyparallel import RemoteError

from parallelflow.cluster.connection import Connection
from parallelflow.cluster.errors import ClusterError, ControllerLost, NoEngines
from parallelflow.cluster.session import Session
from parallelflow.map import plan_names, printed, running, values
from parallelflow.map.complaints import megabytes
from parallelflow.map.engine_function import FunctionContent, Raised
from parallelflow.map.work import MapError, Report, Work
from parallelflow.texts import tr

_log = logging.getLogger(__name__)

Told = Callable[[int, int], object]
"""Is told how many calls are done, and how many there are."""


class Calls:
    """Calls of a function; the scheduler's source and sink.

    :param function: the function.
    :param arguments: for each call, what it is called with.
    :ivar count: how many they are.
    :ivar going_on: the numbers of engines on which something goes on that calls have started.
    :raises TypeError: if the function cannot be sent to engines.
    """

    def __init__(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]):
        self.what = "parallel_map"
        self._arguments = arguments
        self.count = len(arguments)
        self._arrived: list[tuple[int, Any]] = []
        self.going_on: set[int] = set()
        try:
            self.plan = values.pack(FunctionContent(function))
        except values.CannotTravel as error:
            raise TypeError(tr("The function cannot be sent to engines: {why}.", why=error)) from error

    def work(self, name: str) -> Work:
        """Return them as what the scheduler runs.

        :param name: what engines are to know the function by.
        """
        return Work(self.plan, name, bytes, b"", range(self.count))

    def taken(self) -> list[tuple[int, Any]]:
        """Return indices and results that have come since this was last called."""
        arrived, self._arrived = self._arrived, []
        return arrived

    # The source

    def pack(self, indices: Sequence[int]) -> values.Packed:
        """Pack arguments, as `Source.pack` does.

        :raises TypeError: for what cannot be sent to engines.
        """
        try:
            return values.pack([self._arguments[index] for index in indices])
        except values.CannotTravel:
            for index in indices:
                try:
                    values.pack(self._arguments[index])
                except values.CannotTravel as error:
                    what = self.describe(index)
                    raise TypeError(tr("{what} cannot be sent to engines: {why}.", what=what, why=error)) from error
            raise

    def describe(self, index: int) -> str:
        """Return a call's index and arguments for a message."""
        arguments = self._arguments[index]
        value = values.short(arguments[0] if len(arguments) == 1 else arguments)
        return tr("element {index} ({value})", index=index, value=value)

    def describe_plan(self) -> str:
        """Say for a message that what is large is the function."""
        return tr("{size} are the function and what it refers to", size=megabytes(values.size(self.plan)))

    # The sink

    def take(self, report: Report) -> None:
        """Take over what has come of a chunk, as `Sink.take` does.

        :raises RemoteError: what the function has raised, or that a result cannot travel.
        :raises ClusterError: for an element that engines do not survive.
        """
        outcome = report.outcome
        printed.show(outcome.printed.between)
        for index in sorted(outcome.printed.elements):
            printed.show(outcome.printed.elements[index])
        if report.engine is not None:
            (self.going_on.add if outcome.goes_on else self.going_on.discard)(report.engine)
        if report.broken_off:
            return
        self._arrived += outcome.values.items()
        failure = outcome.failure
        if failure is None:
            return
        if report.engine is None:
            raise ClusterError(failure.message)
        where = {"engine_uuid": "", "engine_id": report.engine, "method": "apply"}
        if isinstance(failure, Raised):
            raise RemoteError(failure.kind, failure.text, failure.trace, where)
        raise RemoteError("TypeError", failure.message, failure.trace, where)

    def warn(self, text: str) -> None:
        """Tell the user what does not end the run, as `Sink.warn` does."""
        _log.warning("%s", text)


def run(
    session: Session, connection: Connection, calls: Calls, told: Told | None, may_start: bool
) -> Generator[list[tuple[int, Any]], float | None, None]:
    """Make calls on engines; when the generator is closed, or it is interrupted, what runs there is broken off.

    :param session: the session.
    :param connection: its connection.
    :param calls: the calls.
    :param told: called in this thread, each time that something has come and at least ten times a second while it is waited for;
        what it raises ends everything.
    :param may_start: whether engines may be started if all turn out to have ended before anything ran.
    :returns: a generator of indices and results that have come since; what is sent to it is for how many seconds at most it is
        waited for more.
    :raises RemoteError: what the function has raised first.
    :raises ClusterError: if nobody is left to compute, or what must be computed cannot be.
    """
    if not calls.count:
        return
    timeout = None
    with contextlib.ExitStack() as stack:
        named = plan_names.of(connection.client).named(calls.plan, lambda: values.digest(calls.plan))
        work = calls.work(stack.enter_context(named))
        rounds = running.rounds(session, connection, work, calls, calls, calls.going_on, may_start)
        stack.enter_context(contextlib.closing(rounds))
        try:
            while True:
                try:
                    done = rounds.send(timeout).done
                except StopIteration:
                    break
                if told is not None:
                    told(done, calls.count)
                timeout = yield calls.taken()
        except MapError as error:
            raise _as_cluster_error(connection, error) from error
    if told is not None:
        told(calls.count, calls.count)
    yield calls.taken()


def _as_cluster_error(connection: Connection, error: MapError) -> ClusterError:
    if connection.lost is not None:
        return ControllerLost(str(error))
    return ClusterError(str(error)) if connection.client.ids else NoEngines(str(error))
