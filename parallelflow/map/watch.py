"""Looks after engines while a Map runs: which there are, which hang or are silent, what is lost, and what waits for too long.

All of them are looked at only every `LOOK_EVERY` seconds, so that what a round of the scheduler costs does not grow with their
number.

May import the map room; nothing of VisTrails.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

from parallelflow.map import complaints, engine, taking_back
from parallelflow.map.crew import LARGE, Engine, Message, Standing
from parallelflow.map.faults import Faults
from parallelflow.map.progress import ChunkProgress
from parallelflow.map.state import MapState
from parallelflow.map.work import MapError

# How often, in seconds, it is looked which engines there are, and whether all is well with each.
LOOK_EVERY = 0.1

# A chunk is taken back for an idle engine when it has waited so long, in seconds, longer than its engine was expected to take.
TAKE_BACK_AFTER = 0.3

# Of so many engines each answers before it gets its first chunk, unless it leaves a note when it begins. For all of hundreds that
# would take longer than a short Map.
FEW = 8

# How long, in seconds, what an engine has answered may take to be dealt with after it has gone, or after a later answer of it.
STRAGGLE = 0.5


# How slowly large messages may travel, in bytes a second, before they count as lost: between machines, and within one.
SLOWEST = 10e6
SLOWEST_HERE = 50e6


class Watch:
    """Looks after the engines of one Map.

    :param state: the Map.
    :param faults: is told what goes wrong.
    :param stop_deaf: stops an engine that nothing reaches any more, if that may be.
    :param start_anew: starts engines as before a Map that finds none, if that may be, and raises `MapError` if it does not work.
    :ivar under_way: the chunks that are out, with the engine where it has begun, as they were when they were looked at.
    :ivar prepares: whether an engine is making the plan ready, for which the first time it starts VisTrails.
    """

    def __init__(
        self, state: MapState, faults: Faults, stop_deaf: Callable[[Engine], None], start_anew: Callable[[], None]
    ):
        self._state = state
        self._faults = faults
        self._stop_deaf = stop_deaf
        self._start_anew: Callable[[], None] | None = start_anew
        self._looked = float("-inf")
        self._alone_since: float | None = None
        self.under_way: tuple[ChunkProgress, ...] = ()
        self.prepares = False

    def look(self) -> None:
        """Look which engines there are and how they do, every now and then.

        :raises MapError: when nothing can come of the Map any more.
        """
        now = time.monotonic()
        if now < self._looked + LOOK_EVERY:
            return
        self._looked = now
        if self._state.connection.lost:
            raise MapError(f"{self._state.connection.lost} {self._state.progress}")
        joined, gone = self._state.crew.look()
        for each in gone:
            # What it had is answered by ipyparallel; but for what was sent in the very moment of its end.
            self._state.overdue += [(now + STRAGGLE, message) for message in self._outstanding(each)[:1]]
        for each in joined:
            if each.standing is Standing.READY:
                self._state.hungry[each.uuid] = each
            elif each.standing is not Standing.OUT:
                self._state.send_errand(each)
        self._check_each(now)
        self._find_lost(now)
        self._faults.decide()
        self._check_any(now)

    def greet(self, each: Engine) -> None:
        """Have an engine that has said nothing yet answer before its next chunk, where one has gone without a word.

        With that chunk it may die at once; its answer shows that it lived until then, and had not gone before. Of a few engines no
        more are to die than an element has to kill to be found guilty, so there that counts from the first one on. One that leaves
        a note when it begins need not answer then, for which it would take as long as for a small chunk.
        """
        if each.has_spoken or each.knock is not None:
            return
        leaves_a_note = self._state.sharing.room != "" and each.uuid in self._state.experience.noting
        if self._state.is_wary or (self._state.crew.size <= FEW and not leaves_a_note):
            self._greet(each, self._state.crew.send)

    def answered(self, knock: Message) -> None:
        """Take note of a knock that is answered: what was sent before it and is not answered soon is lost."""
        self._state.overdue.append((knock.engine.heard + STRAGGLE, knock))

    def _outstanding(self, each: Engine) -> list[Message]:
        chunks = [chunk.message for chunk in each.chunks if chunk.message is not None]
        return [*([each.errand] if each.errand is not None else []), *chunks]

    def _check_each(self, now: float) -> None:
        """Look at every engine: what it runs, and whether it hangs or is silent."""
        self.prepares = False
        idle, crowded, progress = 0, [], []
        for each in [*self._state.crew.engines.values()]:
            if each.standing is Standing.PREPARING:
                if each.began is None and each.errand is not None and each.errand.has_begun:
                    each.began = now
                self.prepares = self.prepares or each.began is not None
            if each.errand is not None and each.began is not None and now > each.began + self._state.limits.ready:
                self._hangs(each)
            for chunk in each.chunks:
                number = chunk.engine_now
                progress.append(ChunkProgress(number, min(chunk.indices), len(chunk.indices), chunk.since))
                if number is not None:
                    self._state.moved = now
            if each.is_idle:
                idle += 1
            elif len(each.chunks) > 1:
                crowded.append(each)
            if each.chunks or each.errand is not None:
                self._knock(each, now)
        if self.prepares:
            self._state.moved = now
        self.under_way = tuple(progress)
        if idle:
            self._take_back(crowded, now)

    def _hangs(self, each: Engine) -> None:
        """Leave an engine out that takes too long to get ready, for as long as it does."""
        assert each.errand is not None
        unfit, unfinished, uuid = self._state.experience.unfit, self._state.experience.unfinished, each.uuid

        def recover(_: object) -> None:
            unfit.pop(uuid, None)
            unfinished.pop(uuid, None)

        errand = each.errand
        self._faults.leave_out(each, complaints.hangs(self._state.limits.ready), is_unfit=True)
        errand.result.add_done_callback(recover)  # without a reference to the client, in ipyparallel's own thread

    def _take_back(self, crowded: list[Engine], now: float) -> None:
        """Take chunks back that have waited for long, or that have been taken back by now."""
        for each in crowded:
            chunk = each.chunks[-1]
            assert chunk.message is not None
            if chunk.recall is None:
                wait = (self._state.policy.expected or 0.0) * len(each.chunks[0].indices) + TAKE_BACK_AFTER
                if now > max(each.heard, chunk.message.sent) + wait and not chunk.message.has_begun:
                    self._state.crew.take_back(chunk, taking_back.REQUEST)
            elif not chunk.result.done() and self._state.crew.has_given_back(chunk):
                each.chunks.remove(chunk)
                self._state.done_with.forget_when_answered([chunk.name])
                self._state.pending.pop(chunk.name)
                self._state.supply.again([chunk])

    def _knock(self, each: Engine, now: float) -> None:
        """Send something that takes no time to an engine of which nothing has come for long."""
        silent = self._state.limits.silent
        each.patience = each.patience or silent
        due = (each.heard if each.knock is None else each.knock.sent) + each.patience
        elsewhere = float("inf")
        if each.knock is not None:
            # What is large may take its time; then the other way would overtake it.
            slowest = SLOWEST_HERE if each.host == platform.node() else SLOWEST
            large = sum(message.nbytes for message in self._outstanding(each)) / slowest
            elsewhere = each.heard + 2 * silent + large
            if not each.knock.is_elsewhere:
                due = min(due, max(elsewhere, each.knock.sent + silent))
        if now > due:
            sender: Callable[..., Message | None] = self._state.crew.send
            if now > elsewhere:
                sender = self._state.crew.knock_elsewhere
            self._greet(each, sender)
            each.patience *= 2

    def _greet(self, each: Engine, sender: Callable[..., Message | None]) -> None:
        """Send an engine what takes no time."""
        begun = [message for message in self._outstanding(each) if message.has_begun]
        each.knock = sender(each, engine.greet, self._state.work.digest)
        if each.knock is not None:
            each.knock.after = begun
            self._state.knocks[each.knock.name] = each.knock

    def _find_lost(self, now: float) -> None:
        """Deal with what was sent before something that has been answered, and is not: it is lost, or what came of it."""
        due = [message for at, message in self._state.overdue if now > at]
        self._state.overdue = [(at, message) for at, message in self._state.overdue if now <= at]
        for knock in due:
            each = knock.engine
            if each.uuid not in self._state.crew.engines:
                if any(not message.result.done() for message in self._outstanding(each)):
                    self._faults.died(each, broken_off=False)
                continue
            lost = [message for message in self._outstanding(each) if message.sent < knock.sent]
            if knock.is_elsewhere:
                # What has begun since may still run; what had before was at its end when this was answered.
                lost = [message for message in lost if not message.has_begun or message in knock.after]
            if not lost or any(message.result.done() for message in lost):
                continue
            answer = knock.result.result()
            each.most_bytes, each.free_bytes = answer.most_bytes, answer.free_bytes
            if each.errand in lost and not (knock.is_elsewhere and each.standing is Standing.UNKNOWN):
                nbytes = each.errand.nbytes if each.errand is not None else 0
                reason = complaints.lost_plan(nbytes, self._state.source.describe_plan(), answer.most_bytes)
                self._faults.leave_out(each, reason, is_unfit=False)
            chunks = [chunk for chunk in each.chunks if chunk.message in lost]
            for chunk in chunks:
                each.chunks.remove(chunk)
                self._state.pending.pop(chunk.name, None)
            if knock.is_elsewhere:
                self._is_deaf(each, knock)
            else:
                self._state.hungry[each.uuid] = each
            # Where nothing arrives, what is small is not to blame.
            innocent = [
                chunk for chunk in chunks if knock.is_elsewhere and chunk.message and chunk.message.nbytes < LARGE
            ]
            self._state.supply.again(innocent)
            for chunk in [chunk for chunk in chunks if chunk not in innocent]:
                self._faults.set_back(chunk, each, None)

    def _is_deaf(self, each: Engine, knock: Message) -> None:
        """Leave an engine out that hears only what goes another way than chunks.

        ZeroMQ gives up a connection through which comes what it has no memory for, and does not make it anew.
        """
        unfit, uuid = self._state.experience.unfit, each.uuid
        knocks = [message for message in self._state.knocks.values() if message.engine is each]
        unheard = [message for message in knocks if not message.is_elsewhere and message.sent <= knock.sent]
        if each.standing is not Standing.OUT:
            self._faults.leave_out(each, complaints.deaf(), is_unfit=True)
        unfit[uuid] = complaints.deaf()
        for message in unheard:
            # Should it hear after all; without a reference to the client, in ipyparallel's own thread.
            message.result.add_done_callback(lambda _: unfit.pop(uuid, None))
        self._stop_deaf(each)

    def _check_any(self, now: float) -> None:
        """See to it that an engine is left."""
        if self._state.crew.engines:
            self._alone_since = None
            if not self._state.crew.size:
                what, crew = self._state.source.what, self._state.crew
                out = [*crew.were_left_out, *crew.left_out.values()]
                reasons = [complaints.cannot_run(each.name, what, each.why_out) for each in out]
                raise MapError("\n".join(reasons))
        elif self._alone_since is None:
            self._alone_since = now
            if not self._state.has_met_one and self._start_anew is not None:
                # All of them had ended before this Map began, of which the hub has heard only now.
                start_anew, self._start_anew = self._start_anew, None
                start_anew()
                self._alone_since = time.monotonic()
        elif now - self._alone_since > self._state.limits.no_engine:
            raise MapError(complaints.no_engine(self._state.limits.no_engine, self._state.progress))
