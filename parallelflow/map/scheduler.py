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
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import ipyparallel
from ipyparallel import error as ipp_error

import parallelflow
from parallelflow.map import engine, experience, values
from parallelflow.map.breaking_off import BreakingOff
from parallelflow.map.chunks import ChunkPolicy
from parallelflow.map.forgetting import Forgetting
from parallelflow.map.outcomes import ChunkOutcome, Failure, PlanMissing, PlanReady, PlanRefused
from parallelflow.map.progress import ChunkProgress
from parallelflow.texts import tr

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

# How long of that, in seconds, at most until all engines have heard what they need not begin any more.
DROP_TIMEOUT = 0.4

# How long, in seconds, elements that run beside one that has failed may go on, so that short ones are not broken off.
GRACE = 0.5

# An element that was running on this many engines when they died is what killed them.
MOST_DEATHS = 2

# Errors by which ipyparallel says that a chunk's engine has gone.
_DEATHS = ("EngineError", "ImpossibleDependency")


class MapError(Exception):
    """A Map cannot go on; `str()` says what happened and what to do, in sentences."""


class Watched(Protocol):
    """A connection whose health can be asked; see `parallelflow.cluster.connection.Connection`."""

    @property
    def client(self) -> Any:
        """The ``ipyparallel.Client``."""

    @property
    def lost(self) -> str | None:
        """Why the cluster is lost, as a sentence; None while it is well."""


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
    """Some consecutive elements, on their way.

    :ivar first: the first one's index in the user's list.
    :ivar count: how many they are.
    :ivar result: ipyparallel's `AsyncResult`, once it has been sent.
    :ivar engine: the id of the engine that it runs or ran on, as far as it is known.
    """

    first: int
    count: int
    result: Any = None
    engine: int | None = None
    since: float = 0.0  # when it was sent, in seconds since the epoch
    sent: float = 0.0  # the same on the monotonic clock, which nobody sets

    @property
    def stop(self) -> int:
        """The index of the first element after it."""
        return self.first + self.count

    @property
    def engine_now(self) -> int | None:
        """The id of the engine that it runs or ran on, None while it waits; engines announce the start of each task."""
        # Not from the client's own table: an entry leaves that as soon as its task is done. The answer for a dead engine
        # brings no id any more, so the last one is kept.
        metadata = self.result.metadata
        engine_id = metadata["engine_id"]
        if engine_id is None:  # it may have begun before the client had heard of the engine
            engine_id = self.result._client._engines.get(metadata["engine_uuid"])
        if engine_id is not None:
            self.engine = engine_id
        return self.engine


@dataclass
class _Install:
    engine: int
    result: Any
    began: float | None = None  # on the monotonic clock; before that it waits for what others have the engine do


# Engines that were still making a plan ready when the Map that sent it ended, by client and message, with when they began. An
# engine that hangs in that gives no answer to the next Map either, and takes its chunks all the same.
_unfinished: WeakKeyDictionary[Any, dict[str, tuple[int, float]]] = WeakKeyDictionary()


@dataclass
class Report:
    """A chunk's outcome.

    :ivar engine: the id of the engine that it came from, if that is known.
    :ivar broken_off: whether it came after its elements had been given up: what failed then may have failed because of that.
    """

    engine: int | None
    outcome: ChunkOutcome
    broken_off: bool = False


class Scheduler:
    """Runs one Map on one cluster.

    :param connection: the cluster.
    :param work: the elements and the plan.
    :param tick: called at least every `TICK` seconds; what it raises ends the Map.
    :param pause: called as often while what runs is broken off, when `tick` no longer is; must not raise.
    :param stop: stops an engine that cannot be interrupted, given its id; called in another thread, must not raise.
    """

    def __init__(
        self,
        connection: Watched,
        work: Work,
        tick: Callable[[Scheduler], None],
        pause: Callable[[], None] = lambda: None,
        stop: Callable[[int], None] = lambda engine_id: None,
    ):
        self._connection = connection
        self._client: ipyparallel.Client = connection.client
        self._view = self._client.load_balanced_view()
        self._work = work
        self._tick = tick
        self._pause = pause
        self._stop = stop
        known = self._known = experience.recall(self._client, work.identity)
        self._policy = ChunkPolicy(work.count, *((known.cost, known.spread, known.nbytes) if known else ()))
        self._next = 0
        self._rests: list[Chunk] = []  # what chunks that lasted too long have given back, in the list's order
        self._limit = work.count  # elements from here on are not needed: an earlier one has failed
        self._again: deque[Chunk] = deque()
        self._pending: dict[str, Chunk] = {}
        self._installs: dict[str, _Install] = {}
        self._earlier = _unfinished.setdefault(self._client, {})
        self._arrived: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._done = 0
        self._deaths: dict[int, list[str]] = {}  # by element, the engines that died with it
        self._interrupted: set[int] = set()  # elements that an interrupt has hit which was not meant for them
        self._hosts: dict[int, str] = {}
        self._numbers: dict[str, int] = {}  # engines' ids by their identity at the hub, of those that died as well
        self._holders: set[int] = set(known.engines if known else ())  # engines that hold the plan
        self._ready_since: dict[int, float] = {}  # by engine, when it made the plan ready, on the monotonic clock
        self._alone_since: float | None = None
        self._done_with = Forgetting(self._client)
        self._moved = time.monotonic()  # when a chunk was last seen to run or to have run

    @property
    def done(self) -> int:
        """How many elements have run, or were suspended."""
        return self._done

    def under_way(self) -> tuple[ChunkProgress, ...]:
        """Return the chunks that are out, with the engine where it is known."""
        return tuple(
            ChunkProgress(chunk.engine_now, chunk.first, chunk.count, chunk.since) for chunk in self._pending.values()
        )

    @property
    def waits_for_engines(self) -> float:
        """For how many seconds all chunks have been waiting because every engine is busy with something else."""
        now = time.monotonic()
        if not self._pending or self.prepares or any(chunk.engine_now is not None for chunk in self._pending.values()):
            self._moved = now
        return now - self._moved

    @property
    def prepares(self) -> bool:
        """Whether an engine is making the plan ready, for which the first time it starts VisTrails."""
        return bool(self._earlier) or any(install.began is not None for install in self._installs.values())

    @cached_property
    def _environment(self) -> bytes:
        return self._work.environment()

    def run(self) -> Iterator[Report]:
        """Run all elements, or all up to the first that fails.

        :returns: reports in the order of their arrival; together they hold every element once, up to the failed one
            with the lowest index; elements after that one that happened to be completed are among them.
        :raises MapError: when the Map cannot go on.
        """
        grace, heard = 0.0, True
        try:
            while True:
                self._hand_out()
                if not any(map(self._is_needed, (self._pending.values(), self._again, self._rests))):
                    grace = GRACE
                    return
                yield from self._collect()
                self._tick(self)
                self._check_health()
                if self._done_with.is_due:
                    self._done_with.forget(hub=not self._connection.lost)
        except GeneratorExit:
            heard = False
            raise
        finally:
            try:
                if self._pending:
                    last = self._break_off(grace)
                    if heard:
                        yield from last
                    else:
                        deque(last, maxlen=0)
            finally:
                self._done_with.forget(hub=not self._connection.lost)
                self._done_with.forget_when_answered([*self._pending, *self._installs])
                self._keep_unfinished()
                self._remember()

    def _keep_unfinished(self) -> None:
        earlier = self._earlier
        for name, install in self._installs.items():
            if install.began is not None:
                earlier[name] = install.engine, install.began
                # Without a reference to the client, in ipyparallel's own thread.
                install.result.add_done_callback(lambda _, name=name: earlier.pop(name, None))

    def _remember(self) -> None:
        """Keep what the next run of the same plan may go by; engines drop a plan of which a module has failed."""
        seen = None
        policy = self._policy
        if self._done == self._work.count and policy.cost is not None:
            seen = experience.Experience(policy.cost, policy.spread, policy.nbytes, frozenset(self._holders))
        experience.remember(self._client, self._work.identity, seen)

    def _is_needed(self, chunks: Iterable[Chunk]) -> bool:
        return any(chunk.first < self._limit for chunk in chunks)

    # ------------------------------------------------------------ out

    def _hand_out(self) -> None:
        """Keep enough chunks in flight."""
        engines = len(self._client.ids)
        self._numbers.update((identity, number) for number, identity in dict(self._client._engines).items())
        # At first no more than can run at once: an engine without the plan gives its chunk back, and elements that waited
        # behind that one would run before it. A first one that fails would wait for them, however long they take. It
        # costs nothing: the second chunks' size follows from the first ones' time, if it is not known from an earlier run.
        in_flight = IN_FLIGHT if self._known or self._done or self._ready_since else 1
        while len(self._pending) < in_flight * max(engines, 1):
            chunk = self._next_chunk(engines)
            if chunk is None:
                return
            self._send(chunk)

    def _next_chunk(self, engines: int) -> Chunk | None:
        while self._again:
            chunk = self._again.popleft()
            if chunk.first < self._limit:
                return chunk
        if self._rests and self._rests[0].first < self._limit:
            rest = self._rests.pop(0)
            size = self._policy.next_size(engines, rest.count)
            if size < rest.count:
                self._rests.insert(0, Chunk(rest.first + size, rest.count - size))
            return Chunk(rest.first, size)
        if self._next >= self._limit:
            return None
        if self._next == 0 and self._known:  # elements may be larger than they were in the earlier run
            self._policy.weighed(1, values.size(self._work.pack(0, 1)))
        chunk = Chunk(self._next, self._policy.next_size(engines))
        self._next = chunk.stop
        return chunk

    def _send(self, chunk: Chunk) -> None:
        work = self._work
        packed = work.pack(chunk.first, chunk.count)
        self._policy.weighed(chunk.count, values.size(packed))
        arguments = (work.identity, chunk.first, work.run)
        chunk.result = self._view.apply_async(engine.run, *arguments, *packed)
        chunk.engine, chunk.since, chunk.sent = None, time.time(), time.monotonic()
        self._pending[chunk.result.msg_ids[0]] = chunk
        self._call_when_done(chunk.result)

    def _send_plan(self, engine_id: int) -> None:
        """Send the plan to an engine, unless it is on its way there."""
        if any(install.engine == engine_id for install in self._installs.values()):
            return
        if engine_id not in self._client.ids:
            return  # gone since; its chunks come back as deaths
        work = self._work
        arguments = (work.identity, parallelflow.__version__, self._environment)
        try:
            result = self._client.direct_view(engine_id).apply_async(engine.install, *arguments, *work.plan)
        except (LookupError, ipp_error.NoEnginesRegistered):
            return  # gone in this very moment
        self._installs[result.msg_ids[0]] = _Install(engine_id, result)
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
        if chunk.engine_now is None:
            # It died before it could announce that it had begun.
            chunk.engine = self._numbers.get(chunk.result.metadata["engine_uuid"])
        self._moved = time.monotonic()
        try:
            answer = self._answer(chunk.result)
        finally:
            self._done_with.add(name)
        if answer is None:
            yield from self._died(chunk)
        elif isinstance(answer, PlanMissing):
            self._plan_missing(chunk, answer.host)
        else:
            yield self._completed(chunk, answer)

    def _plan_missing(self, chunk: Chunk, host: str) -> None:
        """Hand a chunk out again whose engine lacks the plan, and send the plan there."""
        if not self._limit:
            return  # nothing is to begin any more
        self._again.append(chunk)
        if chunk.engine is None:
            return  # it has gone since
        self._hosts[chunk.engine] = host
        self._holders.discard(chunk.engine)
        # An answer from before the plan was there may come in after the word that it is: two ways, two schedulers.
        if chunk.sent > self._ready_since.get(chunk.engine, 0.0):
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
        raise MapError(tr("An engine's answer could not be read: {why}", why=error)) from error

    def _explain(self, error: Any) -> str:
        info = error.engine_info or {}
        where = self._where(info.get("engine_id"))
        if error.ename in ("ModuleNotFoundError", "ImportError") and "parallelflow" in error.evalue:
            return tr(
                "{engine} has no Parallel Flow: install vistrails-parallelflow {version} into the Python that the engine"
                " runs in ({why}).",
                engine=where,
                version=parallelflow.__version__,
                why=error.evalue,
            )
        said = tr("{engine} could not run a chunk: {kind}: {why}", engine=where, kind=error.ename, why=error.evalue)
        return f"{said}\n{_trace(error)}"

    def _completed(self, chunk: Chunk, answer: Any) -> Report:
        outcome: ChunkOutcome = values.unpack(answer)
        if chunk.engine is not None:
            self._hosts[chunk.engine] = outcome.host.name
            self._holders.add(chunk.engine)
        done = len(outcome.values) + len(outcome.suspended)
        self._done += done
        if done:
            self._policy.weighed(done, values.size(answer))
        self._policy.measured(done, outcome.seconds)
        if outcome.interrupted and outcome.failure is not None and outcome.failure.index not in self._interrupted:
            # Perhaps another user's Cancel, or a late one; if it interrupts itself, it will do so again.
            self._interrupted.add(outcome.failure.index)
            outcome.give_back_failed()
        if outcome.failure is not None:
            self._limit = min(self._limit, outcome.failure.index)
        elif outcome.gives_back:
            self._policy.given_back(chunk.count - done)
            self._rests.append(Chunk(chunk.first + done, chunk.count - done))
            self._rests.sort(key=lambda rest: rest.first)
        return Report(chunk.engine, outcome)

    def _installed(self, install: _Install, name: str) -> None:
        self._done_with.add(name)
        answer = self._answer(install.result)
        if isinstance(answer, PlanRefused):
            self._hosts[install.engine] = answer.host
            raise MapError(
                tr("{engine} cannot run this Map: {why}.", engine=self._where(install.engine), why=answer.reason)
            )
        if isinstance(answer, PlanReady):
            self._hosts[install.engine] = answer.host.name
            self._ready_since[install.engine] = time.monotonic()

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
        message = tr(
            "The engine that ran {element} died, {times} times: {engines}. The element was not tried again. Look for what"
            " ends a process there: too little memory, a crash in compiled code, an exit.",
            element=self._work.describe(index),
            times=MOST_DEATHS,
            engines=tr(" and ").join(self._deaths[index]),
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
            if install.began is None and install.result.metadata["engine_id"] is not None:
                install.began = now
        there = set(self._client.ids)
        began = [(install.engine, install.began) for install in self._installs.values() if install.began is not None]
        for engine_id, since in (*began, *tuple(self._earlier.values())):
            if engine_id in there and now > since + INSTALL_TIMEOUT:
                raise MapError(
                    tr(
                        "{engine} did not get ready within {limit:.0f} seconds, in which it was to start VisTrails and load"
                        " packages. Look into its log, or stop that engine and start another.",
                        engine=self._where(engine_id),
                        limit=INSTALL_TIMEOUT,
                    )
                )
        if self._client.ids:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        elif now - self._alone_since > NO_ENGINE_TIMEOUT:
            raise MapError(
                tr(
                    "No engine is left in the cluster: all have died or were stopped, and none has joined for {limit:.0f}"
                    " seconds. {progress} Start engines and run the workflow again.",
                    limit=NO_ENGINE_TIMEOUT,
                    progress=self._progress(),
                )
            )

    def _progress(self) -> str:
        return tr("{done} of {all} elements were done.", done=self._done, all=self._work.count)

    def _where(self, engine_id: int | None) -> str:
        if engine_id is None:
            return tr("An engine")
        host = self._hosts.get(engine_id)
        if host:
            return tr("Engine {engine} on {host}", engine=engine_id, host=host)
        return tr("Engine {engine}", engine=engine_id)

    # ------------------------------------------------------------ the end

    def _break_off(self, grace: float) -> Iterator[Report]:
        """Drop what waits, interrupt what runs, and pass on what still comes in.

        :param grace: seconds until what runs is interrupted; for what has not ended `CANCEL_TIMEOUT` seconds later
            nobody waits any longer.
        """
        self._again.clear()
        self._rests.clear()
        self._next = self._limit = 0
        breaking_off = BreakingOff(self._client, list(self._pending), self._stop)
        breaking_off.drop()
        yield from self._collect_until(time.monotonic() + grace)
        begin = time.monotonic()
        end = begin + CANCEL_TIMEOUT
        yield from self._collect_until(begin + DROP_TIMEOUT, breaking_off.is_dropped)
        while self._pending and time.monotonic() < end and not self._connection.lost:
            # An engine that has not answered yet may be importing; what is interrupted there stays half imported, for good.
            late = time.monotonic() > begin + CANCEL_TIMEOUT / 2
            ready = self._holders | self._hosts.keys()
            breaking_off.find(self._pending.values())
            breaking_off.interrupt([chunk for chunk in self._pending.values() if late or chunk.engine_now in ready])
            yield from self._collect_until(min(end, time.monotonic() + TICK))
        while not breaking_off.is_delivered() and time.monotonic() < end and not self._connection.lost:
            self._pause()
            time.sleep(TICK / 4)
        if self._pending:
            breaking_off.go_on(list(self._pending.values()))

    def _collect_until(self, end: float, enough: Callable[[], bool] = lambda: False) -> Iterator[Report]:
        """Pass on what comes in until that time, until nothing is left to come, or until it is enough."""
        while self._pending and not enough() and (left := end - time.monotonic()) > 0 and not self._connection.lost:
            self._pause()
            with contextlib.suppress(MapError):  # aborted chunks answer with an error
                for report in self._collect(min(TICK, left)):
                    report.broken_off = True
                    yield report
            self._again.clear()


def _trace(error: Any) -> str:
    return "\n".join(error.render_traceback())
