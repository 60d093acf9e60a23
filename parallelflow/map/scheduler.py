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
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import ipyparallel
from ipyparallel import error as ipp_error

import parallelflow
from parallelflow.cluster import internals, threads
from parallelflow.map import answers, engine, experience, unreadable, values
from parallelflow.map.breaking_off import BreakingOff
from parallelflow.map.chunks import ChunkPolicy
from parallelflow.map.forgetting import Forgetting
from parallelflow.map.outcomes import ChunkOutcome, ElementsUnread, Failure, PlanMissing, PlanReady, PlanRefused
from parallelflow.map.progress import ChunkProgress
from parallelflow.map.work import Limits, MapError, Report, Sink, Source, Work
from parallelflow.texts import tr

_log = logging.getLogger(__name__)

# Chunks in flight per engine: one runs and one waits at ipyparallel's scheduler, so that no engine waits for us.
IN_FLIGHT = 2

# How long, in seconds, an engine may take to say which version of a package it has, where a message would like to know.
VERSION_TIMEOUT = 2.0

# How often, in seconds, the caller is told of progress while nothing arrives: often enough for a responsive window.
TICK = 0.04

# Errors by which ipyparallel says that a chunk's engine has gone.
_DEATHS = ("EngineError", "ImpossibleDependency")


class Watched(Protocol):
    """A connection whose health can be asked; see `parallelflow.cluster.connection.Connection`."""

    @property
    def client(self) -> Any:
        """The ``ipyparallel.Client``."""

    @property
    def lost(self) -> str | None:
        """Why the cluster is lost, as a sentence; None while it is well."""


@dataclass
class Chunk:
    """Some elements, on their way.

    :ivar indices: their indices.
    :ivar result: ipyparallel's `AsyncResult`, once it has been sent.
    :ivar engine: the id of the engine that it runs or ran on, as far as it is known.
    """

    indices: Sequence[int]
    client: Any = None
    result: Any = None
    engine: int | None = None
    since: float = 0.0  # when it was sent, in seconds since the epoch
    sent: float = 0.0  # the same on the monotonic clock, which nobody sets

    def is_needed(self, limit: int | None) -> bool:
        """Whether it has an element with an index below the limit, if there is one."""
        return limit is None or min(self.indices) < limit

    @property
    def engine_now(self) -> int | None:
        """The id of the engine that it runs or ran on, None while it waits; engines announce the start of each task."""
        # Not from the client's own table: an entry leaves that as soon as its task is done. The answer for a dead engine
        # brings no id any more, so the last one is kept.
        metadata = self.result.metadata
        engine_id = metadata["engine_id"]
        if engine_id is None:  # it may have begun before the client had heard of the engine
            uuid = metadata["engine_uuid"]
            engine_id = next((number for number, each in internals.engines(self.client).items() if each == uuid), None)
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


class Scheduler:
    """Runs one Map on one cluster.

    :param connection: the cluster.
    :param work: the plan, and which elements are to be run.
    :param source: where elements come from.
    :param sink: where outcomes go; what it raises ends the Map.
    :param limits: how long is waited for what.
    :param tick: called at least every `TICK` seconds; what it raises ends the Map.
    :param pause: called as often while what runs is broken off, when `tick` no longer is; must not raise.
    :param stop: stops an engine that cannot be interrupted, given its id; called in another thread, must not raise.
    :param taken: says whether an engine that has died, given its uuid, was ended from outside, so that no element did it.
    """

    def __init__(
        self,
        connection: Watched,
        work: Work,
        source: Source,
        sink: Sink,
        limits: Limits,
        tick: Callable[[Scheduler], None],
        pause: Callable[[], None] = lambda: None,
        stop: Callable[[int], None] = lambda engine_id: None,
        taken: Callable[[str], bool] = lambda uuid: False,
    ):
        self._connection = connection
        self._client: ipyparallel.Client = connection.client
        self._view = self._client.load_balanced_view()
        self._work = work
        self._source = source
        self._sink = sink
        self._limits = limits
        self._tick = tick
        self._pause = pause
        self._stop = stop
        self._taken = taken
        known = self._known = experience.recall(self._client, work.digest)
        self._policy = ChunkPolicy(len(work.indices), *((known.cost, known.spread, known.nbytes) if known else ()))
        self._next = 0  # the place in the work's indices of what has not been handed out
        self._rests: list[Sequence[int]] = []  # what chunks that lasted too long have given back, in order
        self._limit: int | None = None  # elements from here on are not needed: an earlier one has failed
        self._again: deque[Chunk] = deque()
        self._pending: dict[str, Chunk] = {}
        self._installs: dict[str, _Install] = {}
        self._earlier = _unfinished.setdefault(self._client, {})
        self._arrived: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._done = 0
        self._deaths: dict[int, list[str]] = {}  # by element, the engines that died with it
        self._times_taken: Counter[int] = Counter()  # by element, how many were ended from outside while it ran
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
            ChunkProgress(chunk.engine_now, min(chunk.indices), len(chunk.indices), chunk.since)
            for chunk in self._pending.values()
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

    def run(self) -> None:
        """Run all elements, or all up to the first that fails. Reports go to the sink.

        :raises MapError: when the Map cannot go on.
        """
        grace = 0.0
        try:
            while True:
                self._hand_out()
                if not self._is_under_way():
                    grace = self._limits.grace
                    return
                for report in self._collect():
                    self._sink.take(report)
                self._tick(self)
                self._check_health()
                if self._done_with.is_due:
                    self._done_with.forget(hub=not self._connection.lost)
        finally:
            try:
                if self._pending:
                    self._break_off(grace)
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
        if self._done == len(self._work.indices) and policy.cost is not None:
            seen = experience.Experience(policy.cost, policy.spread, policy.nbytes, frozenset(self._holders))
        experience.remember(self._client, self._work.digest, seen)

    def _is_under_way(self) -> bool:
        """Whether something is on its way, or yet to be sent, that is needed."""
        chunks = (*self._pending.values(), *self._again)
        return any(chunk.is_needed(self._limit) for chunk in chunks) or any(map(self._needed, self._rests))

    # ------------------------------------------------------------ out

    def _hand_out(self) -> None:
        """Keep enough chunks in flight."""
        engines = len(self._client.ids)
        self._numbers.update((identity, number) for number, identity in internals.engines(self._client).items())
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
            if chunk.is_needed(self._limit):
                return chunk
        while self._rests:
            rest = self._needed(self._rests.pop(0))
            if rest:
                size = self._policy.next_size(engines, len(rest))
                if size < len(rest):
                    self._rests.insert(0, rest[size:])
                return Chunk(rest[:size])
        indices = self._work.indices
        if self._next == 0 and self._known:  # elements may be larger than they were in the earlier run
            self._policy.weighed(1, values.size(self._source.pack(indices[:1])))
        while self._next < len(indices):
            size = self._policy.next_size(engines)
            chunk_indices = self._needed(indices[self._next : self._next + size])
            self._next += size
            if chunk_indices:
                return Chunk(chunk_indices)
        return None

    def _needed(self, indices: Sequence[int]) -> Sequence[int]:
        """Leave out elements that are not needed because an earlier one has failed."""
        if self._limit is None:
            return indices
        return [index for index in indices if index < self._limit]

    def _send(self, chunk: Chunk) -> None:
        work = self._work
        packed = self._source.pack(chunk.indices)
        self._policy.weighed(len(chunk.indices), values.size(packed))
        arguments = (work.digest, chunk.indices, work.run_info)
        chunk.client, chunk.result = self._client, self._view.apply_async(engine.run, *arguments, *packed)
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
        arguments = (work.digest, parallelflow.__version__, work.environment)
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
            answer = self._answer(chunk.result, chunk)
        finally:
            self._done_with.add(name)
        if answer is None:
            yield from self._died(chunk)
        elif isinstance(answer, PlanMissing):
            self._plan_missing(chunk, answer.host)
        elif isinstance(answer, ElementsUnread):
            yield from self._unread(chunk, answer)
        else:
            yield self._completed(chunk, answer)

    def _plan_missing(self, chunk: Chunk, host: str) -> None:
        """Hand a chunk out again whose engine lacks the plan, and send the plan there."""
        if self._limit is not None and not chunk.is_needed(self._limit):
            return  # nothing is to begin any more
        self._again.append(chunk)
        if chunk.engine is None:
            return  # it has gone since
        self._hosts[chunk.engine] = host
        self._holders.discard(chunk.engine)
        # An answer from before the plan was there may come in after the word that it is: two ways, two schedulers.
        if chunk.sent > self._ready_since.get(chunk.engine, 0.0):
            self._send_plan(chunk.engine)

    def _unread(self, chunk: Chunk, answer: ElementsUnread) -> Iterator[Report]:
        """Hand elements out again that an engine could not read, each alone, so that the one to blame can be told."""
        if chunk.engine is not None:
            self._hosts[chunk.engine] = answer.host
        if len(chunk.indices) > 1:
            self._again.extendleft(Chunk([index]) for index in reversed(chunk.indices))
            return
        (index,) = chunk.indices
        message = tr(
            "{engine} cannot read {element}: {why}.",
            engine=self._where(chunk.engine),
            element=self._source.describe(index),
            why=answer.reason,
        )
        yield self._failed(index, message)

    def _failed(self, index: int, message: str) -> Report:
        """Report an element that failed without having run."""
        self._fail(index)
        outcome = ChunkOutcome(None, 0.0, failure=Failure(index, message, "", None))  # type: ignore[arg-type]
        return Report(None, outcome)

    def _answer(self, result: Any, chunk: Chunk | None = None) -> Any:
        """Return what the engine answered, or None if it died.

        :raises MapError: when it answered with an error of its own.
        """
        error = result.exception()
        if error is None:
            return result.result()
        if isinstance(error, ipp_error.RemoteError):
            if error.ename in _DEATHS:
                return None
            raise MapError(self._explain(error, chunk)) from error
        if type(error).__name__ in _DEATHS:
            return None
        raise MapError(tr("An engine's answer could not be read: {why}", why=values.describe_error(error))) from error

    def _explain(self, error: Any, chunk: Chunk | None) -> str:
        where = self._where((error.engine_info or {}).get("engine_id"))
        return answers.explain(error, where, None if chunk is None else answers.name(self._source, chunk.indices))

    def _read(self, chunk: Chunk, answer: Any) -> ChunkOutcome:
        where = self._where(chunk.engine)

        def version_there(package: str) -> str:
            view = self._client.direct_view(chunk.engine)
            return str(view.apply_async(unreadable.version_of, package).get(VERSION_TIMEOUT))

        return answers.read(answer, chunk.indices, self._source, where, version_there)

    def _completed(self, chunk: Chunk, answer: Any) -> Report:
        outcome = self._read(chunk, answer)
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
            self._fail(outcome.failure.index)
        rest = self._needed(
            [index for index in chunk.indices if index not in outcome.values and index not in outcome.suspended]
        )
        if rest and (outcome.gives_back or outcome.failure is not None):
            self._policy.given_back(len(rest))
            self._rests.append(rest)
            self._rests.sort(key=min)
        return Report(chunk.engine, outcome)

    def _fail(self, index: int) -> None:
        """Take note of an element that has failed: none after it is needed."""
        self._limit = index if self._limit is None else min(self._limit, index)

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
        first, last = min(chunk.indices), max(chunk.indices)
        _log.warning("%s died with elements %d to %d; they run again elsewhere", where, first, last)
        if self._was_taken(self._uuid(chunk)):
            yield from self._again_after_it_was_taken(chunk)
            return
        for index in reversed(chunk.indices):
            deaths = self._deaths.setdefault(index, [])
            deaths.append(where)
            if len(deaths) < self._limits.deaths:
                self._again.appendleft(Chunk([index]))
            else:
                yield self._culprit(index)

    def _uuid(self, chunk: Chunk) -> str:
        """The uuid of the engine that a chunk was on."""
        uuid = chunk.result.metadata["engine_uuid"]
        return uuid or next((each for each, number in self._numbers.items() if number == chunk.engine), "")

    def _was_taken(self, uuid: str) -> bool:
        answer: list[bool] = []
        asked = threads.start(lambda: answer.append(self._taken(uuid)), "parallelflow-taken")
        while not wait([asked], TICK).done:  # a batch system may be slow, and the window is not to wait for it
            self._tick(self)
        return any(answer)

    def _again_after_it_was_taken(self, chunk: Chunk) -> Iterator[Report]:
        """Hand elements out again that did nothing to their engine; but one that never comes to its end is not tried for ever."""
        for index in reversed(chunk.indices):
            self._times_taken[index] += 1
            if self._times_taken[index] < self._limits.taken:
                self._again.appendleft(Chunk([index]))
                continue
            message = tr(
                "{element} was not at its end when the batch system ended its engine, {times} times, and was not tried again."
                " It may take longer than a job may: raise the time limit in the profile's ipcluster_config.py.",
                element=self._source.describe(index).capitalize(),
                times=self._limits.taken,
            )
            yield self._failed(index, message)

    def _culprit(self, index: int) -> Report:
        message = tr(
            "The engine that ran {element} died, {times} times: {engines}. The element was not tried again. Look for what"
            " ends a process there: too little memory, a crash in compiled code, an exit.",
            element=self._source.describe(index),
            times=self._limits.deaths,
            engines=tr(" and ").join(self._deaths[index]),
        )
        return self._failed(index, message)

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
            if engine_id in there and now > since + self._limits.ready:
                raise MapError(
                    tr(
                        "{engine} did not get ready within {limit:.0f} seconds, in which it was to start VisTrails and load"
                        " packages. Look into its log, or stop that engine and start another.",
                        engine=self._where(engine_id),
                        limit=self._limits.ready,
                    )
                )
        if self._client.ids:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        elif now - self._alone_since > self._limits.no_engine:
            raise MapError(
                tr(
                    "No engine is left in the cluster: all have died or were stopped, and none has joined for {limit:.0f}"
                    " seconds. {progress} Start engines and run the workflow again.",
                    limit=self._limits.no_engine,
                    progress=self._progress(),
                )
            )

    def _progress(self) -> str:
        return tr("{done} of {all} elements were done.", done=self._done, all=len(self._work.indices))

    def _where(self, engine_id: int | None) -> str:
        if engine_id is None:
            return tr("An engine")
        host = self._hosts.get(engine_id)
        if host:
            return tr("Engine {engine} on {host}", engine=engine_id, host=host)
        return tr("Engine {engine}", engine=engine_id)

    # ------------------------------------------------------------ the end

    def _break_off(self, grace: float) -> None:
        """Drop what waits, interrupt what runs, and pass on what still comes in.

        :param grace: seconds until what runs is interrupted; for what has not ended `Limits.cancel` seconds later
            nobody waits any longer.
        """
        self._again.clear()
        self._rests.clear()
        self._limit = -1  # nothing is to begin any more
        breaking_off = BreakingOff(self._client, list(self._pending), self._stop)
        breaking_off.drop()
        try:
            self._interrupt(breaking_off, grace)
        finally:
            if self._pending:
                breaking_off.go_on(list(self._pending.values()))

    def _interrupt(self, breaking_off: BreakingOff, grace: float) -> None:
        limits = self._limits
        self._collect_until(time.monotonic() + grace)
        begin = time.monotonic()
        end = begin + limits.cancel
        self._collect_until(begin + limits.drop, breaking_off.is_dropped)
        while self._pending and time.monotonic() < end and not self._connection.lost:
            # An engine that has not answered yet may be importing; what is interrupted there stays half imported, for good.
            late = time.monotonic() > begin + limits.cancel / 2
            ready = self._holders | self._hosts.keys()
            breaking_off.find(self._pending.values())
            breaking_off.interrupt([chunk for chunk in self._pending.values() if late or chunk.engine_now in ready])
            self._collect_until(min(end, time.monotonic() + TICK))
        while not breaking_off.is_delivered() and time.monotonic() < end and not self._connection.lost:
            self._pause()
            time.sleep(TICK / 4)

    def _collect_until(self, end: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Pass on what comes in until that time, until nothing is left to come, or until it is enough."""
        while self._pending and not enough() and (left := end - time.monotonic()) > 0 and not self._connection.lost:
            self._pause()
            with contextlib.suppress(MapError):  # aborted chunks answer with an error
                for report in self._collect(min(TICK, left)):
                    report.broken_off = True
                    self._sink.take(report)
            self._again.clear()
