"""Elements into chunks, chunks onto engines, outcomes back; what to do when something dies.

The scheduler knows chunks and outcomes. It does not know what an element means, keeps no list of results, and asks no
engine anything: an engine that lacks the plan says so when its first chunk arrives, and gets it then.

ipyparallel's own `retries` hang in two cases (a function that raises on every engine; no engine left), so chunks that a
dying engine took along are handed out again here.

May import ipyparallel and the map room; nothing of VisTrails.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import ipyparallel
from ipyparallel import error as ipp_error

import parallelflow
from parallelflow.map import engine, values
from parallelflow.map.chunks import ChunkPolicy
from parallelflow.map.outcomes import ChunkOutcome, Failure, PlanMissing, PlanReady, PlanRefused
from parallelflow.map.progress import ChunkProgress

_log = logging.getLogger(__name__)

# Chunks in flight per engine: one runs and one waits at ipyparallel's scheduler, so that no engine waits for us.
IN_FLIGHT = 2

# How often, in seconds, the caller is told of progress while nothing arrives: often enough for a responsive window.
TICK = 0.04

# How long, in seconds, an engine may take to start VisTrails and make a plan ready.
INSTALL_TIMEOUT = 120.0

# How long, in seconds, to wait for an engine to join when there is none, before giving up.
NO_ENGINE_TIMEOUT = 10.0

# How long, in seconds, Cancel waits for interrupted elements to report, so that they are in the log.
CANCEL_TIMEOUT = 1.2

# An element that was running on this many engines when they died is what killed them.
MOST_DEATHS = 2

# Errors by which ipyparallel says that a chunk's engine has gone.
_DEATHS = ("EngineError", "ImpossibleDependency")


class MapError(Exception):
    """A Map cannot go on; `str()` says what happened and what to do, in sentences."""


class Watched(Protocol):
    """A connection whose health can be asked; see `parallelflow.cluster.connection.Connection`."""

    @property
    def client(self) -> Any: ...

    @property
    def lost(self) -> str | None: ...


@dataclass
class Work:
    """A Map's elements and how to send them.

    :ivar count: how many elements there are.
    :ivar pack: packs the elements from one index on, so many; raises `MapError` for one that cannot travel.
    :ivar plan: the plan, packed.
    :ivar environment: describes this VisTrails to an engine that has none yet.
    :ivar identity: the plan's name.
    :ivar run: what engines must know of this run; see `plan.make_run`.
    :ivar describe: an element's index and value for a message.
    """

    count: int
    pack: Callable[[int, int], values.Packed]
    plan: values.Packed
    environment: Callable[[], bytes]
    identity: str
    run: bytes
    describe: Callable[[int], str]


@dataclass
class Chunk:
    """Some consecutive elements, on their way."""

    first: int
    count: int
    result: Any = None
    engine: int | None = None
    since: float = 0.0  # when it was sent, in seconds since the epoch

    @property
    def stop(self) -> int:
        return self.first + self.count

    @property
    def engine_now(self) -> int | None:
        """The id of the engine that it runs or ran on, None while it waits; engines announce the start of each task."""
        # Not from the client's own table: an entry leaves that as soon as its task is done.
        return self.result.metadata["engine_id"]  # type: ignore[no-any-return]


@dataclass
class _Install:
    engine: int
    result: Any
    deadline: float


@dataclass
class Report:
    """A chunk's outcome, and the id of the engine that it came from."""

    engine: int | None
    outcome: ChunkOutcome


class Scheduler:
    """Runs one Map on one cluster.

    :param connection: the cluster.
    :param work: the elements and the plan.
    :param tick: called at least every `TICK` seconds; what it raises ends the Map.
    """

    def __init__(self, connection: Watched, work: Work, tick: Callable[[Scheduler], None]):
        self._connection = connection
        self._client: ipyparallel.Client = connection.client
        self._view = self._client.load_balanced_view()
        self._work = work
        self._tick = tick
        self._policy = ChunkPolicy(work.count)
        self._next = 0
        self._limit = work.count  # elements from here on are not needed: an earlier one has failed
        self._again: deque[Chunk] = deque()
        self._pending: dict[str, Chunk] = {}
        self._installs: dict[str, _Install] = {}
        self._arrived: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._done = 0
        self._deaths: dict[int, list[str]] = {}  # by element, the engines that died with it
        self._hosts: dict[int, str] = {}
        self._ready_since: dict[int, float] = {}  # by engine, when it made the plan ready, in seconds since the epoch
        self._alone_since: float | None = None
        self._finished_messages: list[str] = []

    @property
    def done(self) -> int:
        """How many elements have run, or were suspended."""
        return self._done

    def under_way(self) -> tuple[ChunkProgress, ...]:
        """Return the chunks that are out, with the engine where it is known."""
        return tuple(
            ChunkProgress(chunk.engine_now, chunk.first, chunk.count, chunk.since) for chunk in self._pending.values()
        )

    @cached_property
    def _environment(self) -> bytes:
        return self._work.environment()

    def run(self) -> Iterator[Report]:
        """Run all elements, or all up to the first that fails.

        :returns: reports in the order of their arrival; together they hold every element once, up to the failed one
            with the lowest index; elements after that one that happened to be completed are among them.
        :raises MapError: when the Map cannot go on.
        """
        try:
            while True:
                self._hand_out()
                if not self._pending and not self._again:
                    return
                yield from self._collect()
                self._tick(self)
                self._check_health()
        finally:
            try:
                if self._pending:
                    yield from self._cancel()
            finally:
                self._forget_messages()

    # ------------------------------------------------------------ out

    def _hand_out(self) -> None:
        """Keep enough chunks in flight."""
        engines = len(self._client.ids)
        while len(self._pending) < IN_FLIGHT * max(engines, 1):
            chunk = self._next_chunk(engines)
            if chunk is None:
                return
            self._send(chunk)

    def _next_chunk(self, engines: int) -> Chunk | None:
        while self._again:
            chunk = self._again.popleft()
            if chunk.first < self._limit:
                return chunk
        if self._next >= self._limit:
            return None
        chunk = Chunk(self._next, self._policy.next_size(engines))
        self._next = chunk.stop
        return chunk

    def _send(self, chunk: Chunk) -> None:
        work = self._work
        packed = work.pack(chunk.first, chunk.count)
        self._policy.sent(chunk.count, values.size(packed))
        arguments = (work.identity, chunk.first, work.run)
        chunk.result = self._view.apply_async(engine.run, *arguments, *packed)
        chunk.engine, chunk.since = None, time.time()
        self._pending[chunk.result.msg_ids[0]] = chunk
        self._call_when_done(chunk.result)

    def _send_plan(self, engine_id: int) -> None:
        """Send the plan to an engine, unless it is on its way there."""
        if any(install.engine == engine_id for install in self._installs.values()):
            return
        if engine_id not in self._client.ids:
            return  # gone since; its chunks come back as deaths
        work = self._work
        view = self._client.direct_view(engine_id)
        arguments = (work.identity, parallelflow.__version__, self._environment)
        result = view.apply_async(engine.install, *arguments, *work.plan)
        self._installs[result.msg_ids[0]] = _Install(engine_id, result, time.monotonic() + INSTALL_TIMEOUT)
        self._call_when_done(result)

    def _call_when_done(self, result: Any) -> None:
        name = result.msg_ids[0]
        result.add_done_callback(lambda _: self._arrived.put(name))  # in ipyparallel's own thread

    # ------------------------------------------------------------ back

    def _collect(self, timeout: float = TICK) -> Iterator[Report]:
        """Wait for arrivals for at most `timeout` seconds, and deal with those that are there."""
        try:
            name = self._arrived.get(timeout=timeout)
            # No more than one engine's worth at a time, so that the window gets its turn.
            for _ in range(IN_FLIGHT):
                yield from self._deal_with(name)
                name = self._arrived.get_nowait()
        except queue.Empty:
            return
        self._arrived.put(name)

    def _deal_with(self, name: str) -> Iterator[Report]:
        if name in self._installs:
            self._installed(self._installs.pop(name), name)
            return
        chunk = self._pending.pop(name, None)
        if chunk is None:
            return
        chunk.engine = chunk.engine_now
        try:
            answer = self._answer(chunk.result)
        finally:
            self._finished_messages.append(name)
        if answer is None:
            yield from self._died(chunk)
        elif isinstance(answer, PlanMissing):
            self._plan_missing(chunk, answer.host)
        else:
            yield self._completed(chunk, answer)

    def _plan_missing(self, chunk: Chunk, host: str) -> None:
        """Hand a chunk out again whose engine lacks the plan, and send the plan there."""
        self._again.append(chunk)
        if chunk.engine is None:
            return  # it has gone since
        self._hosts[chunk.engine] = host
        # An answer from before the plan was there may come in after the word that it is: two ways, two schedulers.
        if chunk.since > self._ready_since.get(chunk.engine, 0.0):
            self._send_plan(chunk.engine)

    def _answer(self, result: Any) -> Any:
        """Return what the engine answered, or None if it died.

        :raises MapError: when it answered with an error of its own.
        """
        error = result.exception()
        if error is None:
            return result.result()
        if isinstance(error, ipp_error.RemoteError):
            if error.ename in _DEATHS:
                return None
            raise MapError(self._explain(error)) from error
        if type(error).__name__ in _DEATHS:
            return None
        raise MapError(f"An engine's answer could not be read: {error}") from error

    def _explain(self, error: Any) -> str:
        info = error.engine_info or {}
        where = self._where(info.get("engine_id"))
        if error.ename in ("ModuleNotFoundError", "ImportError") and "parallelflow" in error.evalue:
            return (
                f"{where} has no Parallel Flow: install vistrails-parallelflow {parallelflow.__version__} into the"
                f" Python that the engine runs in ({error.evalue})."
            )
        return f"{where} could not run a chunk: {error.ename}: {error.evalue}\n{_trace(error)}"

    def _completed(self, chunk: Chunk, answer: Any) -> Report:
        outcome: ChunkOutcome = values.unpack(answer)
        if chunk.engine is not None:
            self._hosts[chunk.engine] = outcome.host.name
        done = len(outcome.values) + len(outcome.suspended)
        self._done += done
        self._policy.measured(done, outcome.seconds)
        if outcome.failure is not None:
            self._limit = min(self._limit, outcome.failure.index)
        return Report(chunk.engine, outcome)

    def _installed(self, install: _Install, name: str) -> None:
        self._finished_messages.append(name)
        answer = self._answer(install.result)
        if isinstance(answer, PlanRefused):
            self._hosts[install.engine] = answer.host
            raise MapError(f"{self._where(install.engine)} cannot run this Map: {answer.reason}.")
        if isinstance(answer, PlanReady):
            self._hosts[install.engine] = answer.host.name
            self._ready_since[install.engine] = time.time()

    # ------------------------------------------------------------ when things die

    def _died(self, chunk: Chunk) -> Iterator[Report]:
        """Hand a dead engine's elements out again, each alone, so that one that kills engines can be told."""
        where = self._where(chunk.engine)
        _log.warning("%s died with elements %d to %d; they run again elsewhere", where, chunk.first, chunk.stop - 1)
        for index in range(chunk.stop - 1, chunk.first - 1, -1):
            deaths = self._deaths.setdefault(index, [])
            deaths.append(where)
            if len(deaths) < MOST_DEATHS:
                self._again.appendleft(Chunk(index, 1))
            else:
                yield self._culprit(index)

    def _culprit(self, index: int) -> Report:
        places = " and ".join(self._deaths[index])
        message = (
            f"The engine that ran {self._work.describe(index)} died, {MOST_DEATHS} times: {places}. The element was not"
            " tried again. Look for what ends a process there: too little memory, a crash in compiled code, an exit."
        )
        self._limit = min(self._limit, index)
        outcome = ChunkOutcome(None, 0.0, failure=Failure(index, message, "", None))  # type: ignore[arg-type]
        return Report(None, outcome)

    def _check_health(self) -> None:
        """End the Map when nothing can come of it any more.

        :raises MapError: says what died and what was lost.
        """
        if self._connection.lost:
            raise MapError(f"{self._connection.lost} {self._progress()}")
        now = time.monotonic()
        for install in self._installs.values():
            if now > install.deadline:
                raise MapError(
                    f"{self._where(install.engine)} did not get ready within {INSTALL_TIMEOUT:.0f} seconds, in which it was"
                    " to start VisTrails and load packages. Look into its log, or stop that engine and start another."
                )
        if self._client.ids:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        elif now - self._alone_since > NO_ENGINE_TIMEOUT:
            raise MapError(
                f"No engine is left in the cluster: all have died or were stopped, and none has joined for "
                f"{NO_ENGINE_TIMEOUT:.0f} seconds. {self._progress()} Start engines and run the workflow again."
            )

    def _progress(self) -> str:
        return f"{self._done} of {self._work.count} elements were done."

    def _where(self, engine_id: int | None) -> str:
        if engine_id is None:
            return "An engine"
        host = self._hosts.get(engine_id)
        return f"Engine {engine_id} on {host}" if host else f"Engine {engine_id}"

    # ------------------------------------------------------------ the end

    def _cancel(self) -> Iterator[Report]:
        """Drop what waits, interrupt what runs, and pass on what still comes in within `CANCEL_TIMEOUT` seconds."""
        self._again.clear()
        self._next = self._limit = 0
        running = {chunk.engine_now for chunk in self._pending.values()} - {None}
        with contextlib.suppress(ipp_error.NoEnginesRegistered):
            self._client.abort(list(self._pending), block=False)
        # An engine that has not answered yet may be importing; what is interrupted there stays half imported, for good.
        self._interrupt(running & self._hosts.keys())
        deadline = time.monotonic() + CANCEL_TIMEOUT
        late = running - self._hosts.keys()
        while self._pending and time.monotonic() < deadline and not self._connection.lost:
            if late and time.monotonic() > deadline - CANCEL_TIMEOUT / 2:
                self._interrupt({chunk.engine_now for chunk in self._pending.values()} & late)
                late = set()
            with contextlib.suppress(MapError):  # aborted chunks answer with an error
                yield from self._collect(min(TICK, max(deadline - time.monotonic(), 0.0)))
            self._again.clear()

    def _interrupt(self, engines: set[int | None]) -> None:
        for engine_id in engines & set(self._client.ids):
            self._client.send_signal(signal.SIGINT, targets=engine_id, block=False)

    def _forget_messages(self) -> None:
        """Let client and hub forget what they keep of finished tasks; a long session would fill their memory."""
        names = self._finished_messages
        if not names:
            return
        self._client.purge_local_results(names)
        for name in (*self._pending, *self._installs):
            # Comes in late or never: it is forgotten when it does.
            future = self._client._futures.get(name)
            if future is not None:
                future.add_done_callback(lambda _, name=name: self._client.metadata.pop(name, None))
        if not self._connection.lost:
            # The hub answers in its own time, or never: nobody waits for it.
            threading.Thread(target=_purge, args=(self._client, names), name="parallelflow-purge", daemon=True).start()


def _purge(client: Any, names: list[str]) -> None:
    try:
        client.purge_hub_results(names)
    except Exception as error:  # a hub without a database, or one that has gone: nothing is kept there
        _log.debug("the hub did not forget %d tasks: %s", len(names), error)


def _trace(error: Any) -> str:
    return "\n".join(error.render_traceback())
