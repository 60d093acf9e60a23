"""What becomes of elements and engines when something goes wrong: an engine dies, is left out, or cannot run what it was sent.

May import the map room; nothing of VisTrails.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from parallelflow.map import answers, complaints, shared_memory
from parallelflow.map.crew import LARGE, Chunk, Engine, Standing
from parallelflow.map.deaths import TOGETHER, Death, Verdict
from parallelflow.map.outcomes import ChunkOutcome, ElementsUnread, Failure
from parallelflow.map.state import MapState
from parallelflow.map.work import MapError, Report
from parallelflow.texts import tr

_log = logging.getLogger(__name__)

# Errors which say that an engine lacks something that elements are made of.
_LACKS = ("ImportError", "ModuleNotFoundError", "AttributeError")


class Faults:
    """What goes wrong with one Map.

    :param state: the Map.
    :param was_taken: says whether an engine that has died, given its uuid, was ended from outside, so that no element did it.
    """

    def __init__(self, state: MapState, was_taken: Callable[[str], bool]):
        self._state = state
        self._was_taken = was_taken
        self._times_taken: Counter[int] = Counter()  # by element, how many were ended from outside while it ran

    def set_back(self, chunk: Chunk, each: Engine, why: Any) -> None:
        """Hand elements out again that an engine could not run: each alone, and elsewhere if there is an engine.

        :param why: the error or the `ElementsUnread` that it has answered; None if the chunk, or what came of it, is lost.
        """
        assert chunk.message is not None
        if isinstance(why, ElementsUnread) and why.most_bytes is not None:
            each.most_bytes = why.most_bytes
        if chunk.message.nbytes >= LARGE and complaints.lacks_memory(why):
            self.too_large(chunk, each, chunk.message.nbytes)
            return
        avoid = chunk.avoid | {each.uuid}
        is_elsewhere = any(other.uuid not in avoid for other in self._state.crew.usable)
        if getattr(why, "ename", "") in _LACKS and is_elsewhere:
            self.leave_out(each, complaints.unfit(why), is_unfit=False)
            self._state.supply.again([Chunk(chunk.indices, avoid, chunk.alone)])
            return
        if len(chunk.indices) > 1:
            self._state.policy.too_large(chunk.message.nbytes)
            self._state.supply.again([Chunk([index], avoid) for index in chunk.indices])
            return
        (index,) = chunk.indices
        setbacks = self._state.setbacks[index] = self._state.setbacks.get(index, 0) + 1
        if setbacks < self._state.limits.deaths and is_elsewhere:
            self._state.supply.again([Chunk(chunk.indices, avoid, chunk.alone)])
            return
        element = self._state.source.describe(index)
        if isinstance(why, ElementsUnread):
            reason = tr("{engine} cannot read {element}: {why}.", engine=each.name, element=element, why=why.reason)
            self._failed(index, reason, cannot_travel=True)
        elif why is None:
            raise MapError(complaints.lost_element(element, chunk.message.nbytes, each.name, each.most_bytes))
        else:
            raise MapError(answers.explain(why, each.name, element))

    def too_large(self, chunk: Chunk, each: Engine, nbytes: int) -> None:
        """Hand elements out again that do not fit into an engine's memory: each alone, and to engines where that was not tried.

        :raises MapError: when there is no other.
        """
        avoid = chunk.avoid | {each.uuid}
        if len(chunk.indices) > 1:
            self._state.policy.too_large(nbytes)
            self._state.supply.again([Chunk([index], chunk.avoid, chunk.alone) for index in chunk.indices])
        elif any(other.uuid not in avoid for other in self._state.crew.usable):
            self._state.supply.again([Chunk(chunk.indices, avoid, chunk.alone)])
        else:
            element = self._state.source.describe(chunk.indices[0])
            raise MapError(complaints.element_too_large(element, nbytes, each.name, each.most_bytes, each.free_bytes))

    def _failed(self, index: int, message: str, cannot_travel: bool = False) -> None:
        """Report an element that failed without having run."""
        self._state.fail(index)
        failure = Failure(index, message, "", None, cannot_travel=cannot_travel)
        self._state.sink.take(Report(None, ChunkOutcome(None, 0.0, failure=failure)))  # type: ignore[arg-type]

    def leave_out(self, each: Engine, reason: str, is_unfit: bool) -> None:
        """Have an engine's chunks run elsewhere, now and until it is started anew."""
        self._state.crew.leave_out(each, reason, is_unfit)
        self._give_up(each)
        self._state.warnings.append(complaints.left_out(each.name, self._state.source.what, reason))

    def _give_up(self, each: Engine) -> None:
        """Expect nothing of an engine any more; what it has been sent is handed out again."""
        chunks = [chunk for chunk in each.chunks if not chunk.result.done()]
        for chunk in chunks:
            shared_memory.forget(chunk.parts)
            each.chunks.remove(chunk)
            self._state.pending.pop(chunk.name, None)
        for message in (each.errand, each.knock):
            if message is not None:
                self._state.errands.pop(message.name, None)
                self._state.knocks.pop(message.name, None)
        each.errand = each.knock = None
        self._state.supply.again(chunks)

    def died(self, each: Engine, broken_off: bool) -> None:
        """Hand a dead engine's elements out again: those that may have killed it, each alone."""
        self._state.crew.forget(each)
        self._state.hungry.pop(each.uuid, None)
        # What it was getting ready for an earlier Map says nothing of this one.
        was_preparing = each.standing is Standing.PREPARING and each.errand is not None and each.errand.has_begun
        began = [chunk for chunk in each.chunks if chunk.engine_now is not None]
        has_begun = bool(began) or each.first in self._state.sharing.begun()
        self._state.has_met_one |= has_begun or was_preparing
        answered = [chunk for chunk in each.chunks if chunk.result.done() and chunk.result.exception() is None]
        lost = [chunk for chunk in each.chunks if chunk not in answered]
        each.chunks = answered
        for chunk in lost:
            shared_memory.forget(chunk.parts)
            self._state.pending.pop(chunk.name, None)
            if chunk.result.done():
                self._state.done_with.add(chunk.name)
            else:
                self._state.done_with.forget_when_answered([chunk.name])
        self._give_up(each)
        if broken_off or not (lost or was_preparing):
            return
        if not (each.has_spoken or was_preparing or has_begun):
            # It had ended before, and nobody knew; what it was sent now did nothing to it. Or that has ended it at once, before it
            # could say that it begins: then the next engine has said something before it gets it.
            self._state.is_wary = True
            self._state.supply.again(lost)
            return
        # The first one ran, if any did; one behind it only if it has said so.
        suspects = [chunk for chunk in lost if chunk is lost[0] or chunk.engine_now is not None]
        indices = tuple(index for chunk in suspects for index in chunk.indices)
        _log.warning("%s died%s", each.name, _what_runs_again(indices))
        if self._was_taken(each.uuid):
            self._again_after_it_was_taken([chunk for chunk in lost if chunk not in suspects], indices)
            return
        self._state.deaths.note(Death(each.uuid, each.name, indices, time.monotonic()))
        was_alone = any(chunk.alone for chunk in suspects)
        running = [index for chunk in self._state.pending.values() for index in chunk.indices]
        verdicts = {index: self._state.deaths.judge(index, was_alone, running) for index in indices}
        self._state.supply.again([chunk for chunk in lost if chunk not in suspects])
        again = [index for index in indices if verdicts[index] in (Verdict.AGAIN, Verdict.ALONE)]
        # A machine in trouble, such as one whose network has failed, loses its engines one after the other.
        there = frozenset(other.uuid for other in self._state.crew.usable if each.host and other.host == each.host)
        self._state.supply.again([Chunk([index], there, verdicts[index] is Verdict.ALONE) for index in again])
        self._state.undecided += [(index, time.monotonic()) for index in indices if verdicts[index] is Verdict.WAIT]
        guilty = [index for index in indices if verdicts[index] is Verdict.GUILTY]
        row, most = self._state.deaths.in_a_row, self._state.crew.most
        if not self._state.crew.engines and len(self._state.deaths.all) >= most:
            row = self._state.deaths.all
        if guilty:
            self._blame(min(guilty))
        elif len(row) >= min(self._state.limits.plan_deaths, most):
            how, tail = self._state.autopsy([death.uuid for death in row])
            told = [(death, self._shown(death.indices), how.get(death.uuid)) for death in row]
            said = complaints.plan_kills(told, self._state.source.what, tail)
            raise MapError(f"{said}\n{self._state.progress}")

    def _again_after_it_was_taken(self, waiting: Sequence[Chunk], indices: Sequence[int]) -> None:
        """Hand elements out again that did nothing to their engine; but one that never comes to its end is not tried for ever."""
        self._times_taken.update(indices)
        again = [index for index in indices if self._times_taken[index] < self._state.limits.taken]
        self._state.supply.again(waiting)
        self._state.supply.again([Chunk([index]) for index in again])
        for index in [index for index in indices if index not in again]:
            message = tr(
                "{element} was not at its end when the batch system ended its engine, {times} times, and was not tried again."
                " It may take longer than a job may: raise the time limit in the profile's ipcluster_config.py.",
                element=self._state.source.describe(index).capitalize(),
                times=self._state.limits.taken,
            )
            self._failed(index, message)

    def decide(self) -> None:
        """Judge elements of which it had to be seen first whether a neighbour's engine dies of the same."""
        due = [index for index, since in self._state.undecided if time.monotonic() > since + TOGETHER]
        self._state.undecided = [each for each in self._state.undecided if each[0] not in due]
        for index in due:
            if self._state.deaths.judge(index, False, ()) is Verdict.ALONE:
                self._state.supply.again([Chunk([index], alone=True)])
            else:
                self._blame(index)

    def _shown(self, indices: Sequence[int]) -> str:
        """Elements for a message: one, or the first of several."""
        if not indices:
            return ""
        first = self._state.source.describe(min(indices))
        return tr("{first} and {more} more", first=first, more=len(indices) - 1) if len(indices) > 1 else first

    def _blame(self, index: int) -> None:
        """Report an element that has killed its engines; it is not tried again."""
        deaths = self._state.deaths.of(index)
        how, tail = self._state.autopsy([death.uuid for death in deaths])
        message = complaints.element_kills(self._state.source.describe(index), deaths, how, tail)
        self._failed(index, message)


def _what_runs_again(indices: Sequence[int]) -> str:
    """What the end of an engine means for the elements that it ran, as the end of a line in the log."""
    if not indices:
        return ""
    if len(indices) == 1:
        return f"; element {indices[0]} runs again"
    return f"; elements {min(indices)} to {max(indices)} run again"
