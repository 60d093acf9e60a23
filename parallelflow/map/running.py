"""Has work done on the session's cluster: what goes round the scheduler, whatever the elements are of.

May import the cluster room and the map room; nothing of VisTrails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Any

from parallelflow.cluster.connection import Connection
from parallelflow.cluster.errors import ClusterError
from parallelflow.cluster.session import Session
from parallelflow.cluster.settings import Settings
from parallelflow.map import engine, garbage, left_running
from parallelflow.map.autopsy import autopsy, is_started_here
from parallelflow.map.scheduler import Scheduler
from parallelflow.map.work import Limits, MapError, Sink, Source, Work

_log = logging.getLogger(__name__)


def run(
    session: Session,
    connection: Connection,
    work: Work,
    source: Source,
    sink: Sink,
    tick: Callable[[Scheduler], None],
    breaking_off: Callable[[], None],
    going_on: set[int],
) -> None:
    """Run elements on the engines of a cluster that is connected.

    :param session: the session.
    :param connection: its connection.
    :param work: the plan, and which elements are to be run.
    :param source: where elements come from.
    :param sink: where outcomes go; what it raises ends the run.
    :param tick: called at least every `scheduler.TICK` seconds; what it raises ends the run.
    :param breaking_off: called as often while what runs is broken off; must not raise.
    :param going_on: the numbers of engines on which something goes on that elements have started; kept up to date by the sink.
    :raises MapError: when the run cannot go on.
    """

    def step(scheduler: Scheduler) -> None:
        collect()
        tick(scheduler)

    with connection.watched(), garbage.in_steps() as collect:
        scheduler = _scheduler(session, connection, work, source, sink, step, breaking_off)
        try:
            with left_running.sending:
                scheduler.run()
        finally:
            left_running.watch(connection.client, going_on, _ask_what_is_left)


def rounds(
    session: Session,
    connection: Connection,
    work: Work,
    source: Source,
    sink: Sink,
    going_on: set[int],
    may_start: bool = True,
) -> Generator[Scheduler, float | None, None]:
    """Do the same in rounds, as `Scheduler.rounds` does; what runs when the generator is closed is broken off.

    Between rounds engines go on with what they have: one chunk or two each.

    :param session: the session.
    :param connection: its connection.
    :param work: the plan, and which elements are to be run.
    :param source: where elements come from.
    :param sink: where outcomes go; what it raises ends the run.
    :param going_on: as for `run`.
    :param may_start: whether engines may be started if all turn out to have ended before anything ran.
    :returns: after each round, the scheduler.
    :raises MapError: when the run cannot go on.
    """
    scheduler = _scheduler(session, connection, work, source, sink, may_start=may_start)
    with connection.watched():
        steps, timeout = scheduler.rounds(), None
        try:
            while True:
                with left_running.sending:
                    try:
                        steps.send(timeout)
                    except StopIteration:
                        return
                timeout = yield scheduler
        finally:
            try:
                with left_running.sending:
                    steps.close()
            finally:
                left_running.watch(connection.client, going_on, _ask_what_is_left)


def _scheduler(
    session: Session,
    connection: Connection,
    work: Work,
    source: Source,
    sink: Sink,
    tick: Callable[[Scheduler], None] = lambda _: None,
    breaking_off: Callable[[], None] = lambda: None,
    may_start: bool = True,
) -> Scheduler:
    def start(called_off: Callable[[], bool]) -> None:
        try:
            session.client(start=may_start, cancelled=called_off)
        except ClusterError as error:
            raise MapError(str(error)) from error

    return Scheduler(
        connection,
        work,
        source,
        sink,
        _limits(session.settings),
        tick,
        breaking_off,
        lambda engine_id: _stop_engine(session, engine_id),
        lambda uuids: autopsy(session, uuids),
        session.was_taken,
        lambda uuid: is_started_here(session, uuid),
        start,
    )


def _ask_what_is_left(client: Any, engine_id: int) -> Any:
    return client.direct_view(engine_id).apply_async(engine.left_running)


def _limits(settings: Settings) -> Limits:
    """The limits that the preferences say."""
    # Engines that are started again may take as long as a start.
    alone = max(settings.no_engine_timeout, settings.start_timeout if settings.keep_engines else 0.0)
    return Limits(deaths=settings.deaths, ready=settings.ready_timeout, no_engine=alone)


def _stop_engine(session: Session, engine_id: int) -> None:
    try:
        session.stop_engines([engine_id])
    except ClusterError as error:
        _log.warning("%s", error)
