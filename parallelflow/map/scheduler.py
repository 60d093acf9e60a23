"""Elements into chunks, chunks onto engines, outcomes back; what to do when something dies, hangs or is lost.

The scheduler knows chunks and outcomes. It does not know what an element means, and keeps no list of results. Each engine has a
chunk that runs and, where chunks are short, one that waits behind it, so that it never waits for the client. A chunk that waits
too long, because an element lasts, is taken back for an engine that has nothing to do.

May import ipyparallel and the map room; nothing of VisTrails.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from typing import Any

from parallelflow import threads
from parallelflow.map import answers, complaints, engine, shared_memory, unreadable, values
from parallelflow.map.breaking_off import BreakingOff
from parallelflow.map.crew import LARGE, Chunk, Engine, Message, Standing
from parallelflow.map.faults import Faults
from parallelflow.map.outcomes import (
    ChunkDropped,
    ElementsUnread,
    Greeting,
    MemoryOutOfReach,
    PlanMissing,
    PlanReady,
    PlanRefused,
)
from parallelflow.map.progress import ChunkProgress
from parallelflow.map.state import Autopsy, MapState, Watched
from parallelflow.map.watch import Watch
from parallelflow.map.work import Limits, MapError, Report, Sink, Source, Work

_log = logging.getLogger(__name__)

# Chunks in flight per engine: one runs and one waits behind it.
IN_FLIGHT = 2

# None waits behind one that is expected to last longer, in seconds: it costs nothing then to send the next when it is done, which
# takes some milliseconds.
LONGEST_TO_WAIT_BEHIND = 1.5

# How often, in seconds, the caller is told of progress while nothing arrives: often enough for a responsive window.
TICK = 0.04

# How long, in seconds, an engine may take to say which version of a package it has, where a message would like to know.
VERSION_TIMEOUT = 2.0

# Errors by which ipyparallel says that an engine has gone.
_DEATHS = ("EngineError", "ImpossibleDependency")


class Scheduler:
    """Runs one Map on one cluster.

    :param connection: the cluster.
    :param work: the plan, and which elements are to be run.
    :param source: where elements come from.
    :param sink: where outcomes go; what it raises ends the Map.
    :param limits: how long is waited for what.
    :param tick: called at least every `TICK` seconds; what it raises ends the Map.
    :param pause: called as often while what runs is broken off, when `tick` no longer is; must not raise.
    :param stop: stops an engine that cannot be interrupted, given its number; called in another thread, must not raise.
    :param autopsy: says how engines ended, given their uuids, a sentence for each of which that is known, and what is last in the
        log of one; must not raise.
    :param taken: says whether an engine that has died, given its uuid, was ended from outside, so that no element did it.
    :param is_ours: says whether an engine, given its uuid, is to be stopped when nothing reaches it any more; called in another
        thread, must not raise.
    :param start: starts engines as before a Map that finds none, given what says whether that has been called off; called in
        another thread, raises `MapError`.
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
        stop: Callable[[int], None] = lambda number: None,
        autopsy: Autopsy = lambda uuids: ({}, ""),
        taken: Callable[[str], bool] | None = None,
        is_ours: Callable[[str], bool] | None = None,
        start: Callable[[Callable[[], bool]], object] | None = None,
    ):
        self._state = MapState(connection, work, source, sink, limits, autopsy, lambda: tick(self))
        self._taken, self._is_ours, self._start = taken, is_ours, start
        self._faults = Faults(self._state, self._was_taken)
        self._watch = Watch(self._state, self._faults, self._stop_deaf, self._start_anew)
        self._tick = tick
        self._pause = pause
        self._stop = stop
        self._interrupted: set[int] = set()  # elements that an interrupt has hit which was not meant for them

    @property
    def done(self) -> int:
        """How many elements have run, or were suspended."""
        return self._state.done

    @property
    def waits_for_engines(self) -> float:
        """For how many seconds everything has been waiting because every engine is busy with something else."""
        return time.monotonic() - self._state.moved if self._state.crew.size else 0.0

    def under_way(self) -> tuple[ChunkProgress, ...]:
        """Return the chunks that are out, with the engine where it has begun, as they were when engines were last looked at."""
        return self._watch.under_way

    @property
    def prepares(self) -> bool:
        """Whether an engine is making the plan ready, for which the first time it starts VisTrails."""
        return self._watch.prepares

    def run(self) -> None:
        """Run all elements, or all up to the first that fails. Reports go to the sink.

        :raises MapError: when the Map cannot go on.
        """
        with contextlib.closing(self.rounds()) as rounds:
            for _ in rounds:
                self._tick(self)

    def rounds(self) -> Generator[None, float | None, None]:
        """Do the same in rounds; what has not been run when the generator is closed is broken off.

        :returns: a generator of rounds; what is sent to it is for how many seconds at most the next one waits, else `TICK`.
        :raises MapError: when the Map cannot go on.
        """
        grace, timeout = 0.0, None
        try:
            while True:
                self._watch.look()
                self._hand_out()
                if not self._is_needed():
                    grace = self._state.limits.grace
                    return
                self._collect(TICK if timeout is None else timeout)
                if self._state.done_with.is_due:
                    self._state.done_with.forget(hub=not self._state.connection.lost)
                timeout = yield
        finally:
            try:
                if self._state.pending:
                    self._break_off(grace)
            finally:
                self._state.done_with.forget(hub=not self._state.connection.lost)
                self._state.done_with.forget_when_answered(
                    [*self._state.pending, *self._state.errands, *self._state.knocks]
                )
                self._state.remember()
                self._state.sharing.close()

    def _is_needed(self) -> bool:
        """Whether something is on its way, or yet to be sent, that is needed."""
        limit = self._state.supply.limit
        if limit is None:
            return len(self._state.finished) < len(self._state.work.indices)
        chunks, undecided = self._state.pending.values(), self._state.undecided
        return (
            any(chunk.is_needed(limit) for chunk in chunks)
            or any(index < limit for index, _ in undecided)
            or self._state.supply.is_needed
        )

    def _was_taken(self, uuid: str) -> bool:
        if self._taken is None:
            return False
        taken, answer = self._taken, list[bool]()
        self._meanwhile(lambda: answer.append(taken(uuid)), "parallelflow-taken")  # a batch system may be slow
        return any(answer)

    def _stop_deaf(self, each: Engine) -> None:
        """Stop an engine that nothing reaches any more, unless it is somebody else's."""
        if self._is_ours is not None:
            is_ours = self._is_ours
            self._meanwhile(lambda: is_ours(each.uuid) and self._stop(each.number), "parallelflow-stop-deaf")

    def _start_anew(self) -> None:
        """Start engines where there are none, if that may be."""
        if self._start is None:
            return
        start, called_off = self._start, threading.Event()
        try:
            self._meanwhile(lambda: start(called_off.is_set), "parallelflow-start").result()
        finally:
            called_off.set()

    def _meanwhile(self, action: Callable[[], object], name: str) -> Future[Any]:
        """Do what may be slow: the window is not to wait for it."""
        done = threads.start(action, name)
        while not wait([done], TICK).done:
            self._tick(self)
        return done

    # ------------------------------------------------------------ out

    def _hand_out(self) -> None:
        """Send chunks while there are any and an engine has room: first to those that have nothing to do."""
        for depth in range(IN_FLIGHT):
            if not self._state.hungry or not self._state.supply.is_needed or self._is_quiet():
                return
            for each in [each for each in self._state.hungry.values() if len(each.chunks) <= depth]:
                if each.standing is not Standing.READY:
                    del self._state.hungry[each.uuid]
                elif depth < self._room(each):
                    chunk = self._next_chunk(each)
                    if chunk is not None:
                        self._send(each, chunk)
                    elif not self._state.supply.is_needed:
                        return
                if len(each.chunks) >= self._room(each):
                    self._state.hungry.pop(each.uuid, None)

    def _is_quiet(self) -> bool:
        """Whether something runs beside which nothing else may."""
        return self._state.deaths.has_suspects and any(chunk.alone for chunk in self._state.pending.values())

    def _room(self, each: Engine) -> int:
        """How many chunks an engine may have."""
        expected = self._state.policy.expected
        if each.chunks and each.chunks[0].is_long and self._state.policy.nbytes < LARGE:
            return 1  # but what is large is long on its way, too
        waits_long = each.chunks and (expected or 0.0) * len(each.chunks[0].indices) > LONGEST_TO_WAIT_BEHIND
        return 1 if waits_long else IN_FLIGHT

    def _next_chunk(self, each: Engine) -> Chunk | None:
        state = self._state
        crew = state.crew
        return state.supply.next_chunk(each.uuid, crew.size, lambda: crew.uuids, bool(state.pending), self._weigh_first)

    def _weigh_first(self, index: int) -> None:
        """Elements may be larger than they were in the earlier run, after which the first chunk goes."""
        if self._state.plan.cost is not None:
            self._state.policy.weighed(1, values.size(self._state.source.pack([index])))

    def _send(self, each: Engine, chunk: Chunk) -> None:
        work = self._state.work
        packed = self._state.source.pack(chunk.indices)
        nbytes = values.size(packed)
        self._state.policy.weighed(len(chunk.indices), nbytes)
        if nbytes >= LARGE and not self._has_room(each, chunk, nbytes):
            return
        self._watch.greet(each)
        sharing = self._state.sharing
        chunk.parts = sharing.elements(packed, each.uuid)
        message = self._state.crew.send(
            each, engine.run, work.digest, chunk.indices, work.run_info, sharing.room, *chunk.parts, nbytes=nbytes
        )
        if message is None:
            shared_memory.forget(chunk.parts)
            self._state.supply.again([chunk])
            self._state.hungry.pop(each.uuid, None)
            return
        chunk.message, chunk.since, chunk.recall = message, time.time(), None
        each.chunks.append(chunk)
        each.first = each.first or message.name
        self._state.pending[message.name] = chunk

    def _has_room(self, each: Engine, chunk: Chunk, nbytes: int) -> bool:
        """Whether a large chunk fits into an engine's memory; if not, or if the engine is asked first, it is handed out again.

        What does not fit is not sent: it would not arrive, and ZeroMQ would give up its connection to that engine for good.
        """
        if each.uuid in self._state.experience.unlimited and self._state.sharing.reaches(each.uuid):
            return True  # where it has been set a limit since, it says so, and can be sent less
        if each.has_told and each.fits(nbytes):
            each.has_told = each.free_bytes is None
            return True
        if each.has_told:
            self._faults.too_large(chunk, each, nbytes)
        else:
            self._state.supply.again([chunk])
            each.standing = Standing.UNKNOWN
            self._state.hungry.pop(each.uuid, None)
            self._state.send_errand(each)
        return False

    # ------------------------------------------------------------ back

    def _collect(self, timeout: float = TICK, broken_off: bool = False) -> None:
        """Wait for arrivals for at most `timeout` seconds, and deal with those that are there."""
        arrived = self._state.crew.arrived
        try:
            self._deal_with(arrived.get(timeout=timeout), broken_off)
            # No more than one engine's worth at a time, so that the window gets its turn.
            for _ in range(IN_FLIGHT - 1):
                self._deal_with(arrived.get_nowait(), broken_off)
        except queue.Empty:
            return

    def _deal_with(self, name: str, broken_off: bool) -> None:
        message = self._state.errands.get(name) or self._state.knocks.get(name)
        chunk = self._state.pending.get(name)
        if chunk is not None:
            message = chunk.message
        if message is None:
            return  # it was given up
        self._state.done_with.add(name)
        each = message.engine
        error = message.result.exception()
        if getattr(error, "ename", type(error).__name__) in _DEATHS:
            self._faults.died(each, broken_off)
            return
        self._state.moved = each.heard = time.monotonic()
        each.patience = 0.0
        each.has_spoken = self._state.has_met_one = True
        if chunk is not None:
            del self._state.pending[name]
            each.chunks.remove(chunk)
            self._state.hungry[each.uuid] = each
            self._answered(chunk, each, broken_off)
        elif self._state.errands.pop(name, None) is not None:
            each.errand = None
            self._errand_done(each, message)
        else:
            del self._state.knocks[name]
            each.knock = None if each.knock is message else each.knock
            self._watch.answered(message)

    def _errand_done(self, each: Engine, message: Message) -> None:
        error = message.result.exception()
        if error is not None:
            if complaints.lacks_memory(error) and message.nbytes >= LARGE:
                self._plan_too_large(each, each.most_bytes, each.free_bytes)
            else:
                self._faults.leave_out(each, complaints.unfit(error), is_unfit=True)
            return
        answer, unlimited = message.result.result(), self._state.experience.unlimited
        each.began = None
        if isinstance(answer, MemoryOutOfReach):
            self._state.sharing.failed(each.uuid)
            each.host, each.standing = answer.host, Standing.LACKING
        elif isinstance(answer, Greeting):
            each.host, each.most_bytes, each.free_bytes = answer.host, answer.most_bytes, answer.free_bytes
            (unlimited.add if answer.free_bytes is None else unlimited.discard)(each.uuid)
            each.standing, each.has_told = Standing.READY if answer.has_plan else Standing.LACKING, True
        elif isinstance(answer, PlanReady):
            each.host, each.standing = answer.host.name, Standing.READY
            each.has_told = each.has_told and each.free_bytes is None
        elif isinstance(answer, PlanRefused):
            each.host = answer.host
            if complaints.lacks_memory(answer) and message.nbytes >= LARGE:
                self._plan_too_large(each, answer.most_bytes, each.free_bytes)
            else:
                self._faults.leave_out(each, answer.reason, answer.is_unfit)
        if each.standing is Standing.LACKING:
            self._send_plan(each)
        elif each.standing is Standing.READY:
            self._state.hungry[each.uuid] = each

    def _send_plan(self, each: Engine) -> None:
        """Send an engine the plan, unless it does not fit into its memory."""
        nbytes = values.size(self._state.work.plan)
        if nbytes < LARGE or (each.has_told and each.fits(nbytes)):
            self._state.send_errand(each)
        elif each.has_told:
            self._plan_too_large(each, each.most_bytes, each.free_bytes)
        else:
            each.standing = Standing.UNKNOWN
            self._state.send_errand(each)

    def _plan_too_large(self, each: Engine, most: int | None, free: int | None) -> None:
        nbytes, what = values.size(self._state.work.plan), self._state.source.describe_plan()
        self._faults.leave_out(each, complaints.plan_too_large(nbytes, what, most, free), is_unfit=False)

    def _answered(self, chunk: Chunk, each: Engine, broken_off: bool) -> None:
        assert chunk.message is not None
        shared_memory.forget(chunk.parts)  # not taken if the engine lacks the plan
        error = chunk.message.result.exception()
        if error is not None:
            if not broken_off:  # aborted chunks answer with an error
                self._faults.set_back(chunk, each, error)
            return
        answer = chunk.message.result.result()
        if isinstance(answer, ChunkDropped):
            self._state.supply.again([chunk])
        elif isinstance(answer, MemoryOutOfReach):
            self._state.sharing.failed(each.uuid)
            self._state.supply.again([chunk])
        elif isinstance(answer, PlanMissing):
            self._state.supply.again([chunk])
            each.host = answer.host
            self._state.plan.holders.discard(each.uuid)
            if each.standing is Standing.READY and not broken_off:
                each.standing = Standing.LACKING
                self._send_plan(each)
        elif isinstance(answer, ElementsUnread):
            each.host = answer.host
            if not broken_off:
                self._faults.set_back(chunk, each, answer)
        else:
            self._completed(chunk, each, answer, broken_off)

    def _version_there(self, each: Engine, package: str) -> str:
        view = self._state.client.direct_view(each.number)
        return str(view.apply_async(unreadable.version_of, package).get(VERSION_TIMEOUT))

    def _completed(self, chunk: Chunk, each: Engine, answer: Any, broken_off: bool) -> None:
        try:
            answer = shared_memory.taken(answer)
        except shared_memory.OutOfReach as error:  # somebody has emptied the folder
            _log.warning("results are lost, and their elements run again: %s", error)
            self._state.supply.again([chunk])
            return
        outcome = answers.read(
            answer,
            chunk.indices,
            self._state.source,
            each.name,
            lambda package: self._version_there(each, package),
            self._pause if broken_off else lambda: self._tick(self),
        )
        each.host, each.has_answered = outcome.host.name, True
        if outcome.interrupted and outcome.failure is not None and outcome.failure.index not in self._interrupted:
            # Perhaps another user's Cancel, or a late one; if it interrupts itself, it will do so again.
            self._interrupted.add(outcome.failure.index)
            outcome.give_back_failed()
        wanted, finished = set(chunk.indices), {*outcome.values, *outcome.suspended}
        failed = outcome.failure.index if outcome.failure is not None else None
        missing = wanted - finished - {failed}
        if not finished <= wanted or (failed is not None and failed not in wanted):
            raise MapError(complaints.of_other_elements(each.name, chunk.indices))
        self._state.done += len(finished - self._state.finished)
        self._state.finished |= finished
        if finished:
            self._state.deaths.completed()
            self._state.policy.weighed(len(finished), values.size(answer))
        self._state.slow.update(outcome.slow)
        if not chunk.is_long:
            self._state.policy.measured(len(finished), outcome.seconds, list(outcome.slow.values()))
        if failed is not None:
            self._state.fail(failed)
        self._state.supply.give_back([index for index in chunk.indices if index in missing])
        self._state.sink.take(Report(each.number, outcome, broken_off))
        while self._state.warnings and finished:
            self._state.sink.warn(self._state.warnings.pop(0))

    # ------------------------------------------------------------ the end

    def _break_off(self, grace: float) -> None:
        """Drop what waits, interrupt what runs, and pass on what still comes in.

        :param grace: seconds until what runs is interrupted; for what has not ended `Limits.cancel` seconds later
            nobody waits any longer.
        """
        self._state.supply.clear()
        breaking_off = BreakingOff(self._state.client, list(self._state.pending.values()), self._stop)
        breaking_off.drop()
        try:
            self._interrupt(breaking_off, grace)
        finally:
            if self._state.pending:
                breaking_off.go_on(list(self._state.pending.values()))

    def _interrupt(self, breaking_off: BreakingOff, grace: float) -> None:
        limits = self._state.limits
        self._collect_until(time.monotonic() + grace)
        begin = time.monotonic()
        end = begin + limits.cancel
        self._collect_until(begin + limits.drop, breaking_off.is_dropped)
        while self._state.pending and time.monotonic() < end and not self._state.connection.lost:
            # An engine that has not answered yet may be importing; what is interrupted there stays half imported, for good.
            late = time.monotonic() > begin + limits.cancel / 2
            chunks = self._state.pending.values()
            breaking_off.interrupt(
                [each for each in chunks if late or (each.message and each.message.engine.has_answered)]
            )
            self._collect_until(min(end, time.monotonic() + TICK))
        while not breaking_off.is_delivered() and time.monotonic() < end and not self._state.connection.lost:
            self._pause()
            time.sleep(TICK / 4)

    def _collect_until(self, end: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Pass on what comes in until that time, until nothing is left to come, or until it is enough."""
        while (
            self._state.pending
            and not enough()
            and (left := end - time.monotonic()) > 0
            and not self._state.connection.lost
        ):
            self._pause()
            with contextlib.suppress(MapError):
                self._collect(min(TICK, left), broken_off=True)
            self._state.supply.clear()
