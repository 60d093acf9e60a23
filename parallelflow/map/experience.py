"""What is known of a cluster from earlier Maps: what a plan's elements cost, and what each engine holds, refuses or hangs in.

Kept for as long as the client. An engine is known by its uuid, so one that is started anew is a new one.

What it pays: of 400 elements of 2 ms and one of 2 s at the end, which then begins first, a second run on two engines takes 2.0 s
instead of 2.4 s; and an engine that cannot run a plan is not asked again by each Map.

Standard library and `parallelflow.map.chunks` only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median_low
from typing import Any
from weakref import WeakKeyDictionary

from parallelflow.map.chunks import LONG, LONG_FACTOR

# Of so many plans: engines keep no more ready (`parallelflow.map.engine.MOST_PLANS`).
MOST = 8


@dataclass(frozen=True)
class Cost:
    """What the last run of a plan has shown of its elements.

    :ivar seconds: that an element took on an engine.
    :ivar spread: by which share of that costs differed from chunk to chunk.
    :ivar nbytes: the most bytes that an element or its result had on the wire.
    :ivar long: the elements that took much longer than others, by their index, and how many seconds.
    """

    seconds: float
    spread: float
    nbytes: float
    long: Mapping[int, float] = field(default_factory=dict)


def from_durations(durations: Sequence[float], nbytes: float, of_these: Mapping[int, float]) -> Cost | None:
    """Return what is known of elements by what others of the same plan have taken in an earlier session.

    :param durations: what these took, in seconds.
    :param nbytes: the most bytes that one of their results had.
    :param of_these: what some of the elements themselves took, by their index, in seconds.
    :returns: that; None if there are none.
    """
    if not durations:
        return None
    long = max(LONG, LONG_FACTOR * median_low(durations))
    usual = fmean(each for each in durations if each < long)
    return Cost(usual, 1.0, nbytes, {index: seconds for index, seconds in of_these.items() if seconds >= long})


@dataclass
class PlanExperience:
    """What is known of one plan.

    :ivar cost: what its elements cost, if the last run of it came to its end.
    :ivar holders: the uuids of engines that hold it, as far as is known.
    :ivar refused: by uuid, why an engine cannot run it.
    """

    cost: Cost | None = None
    holders: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)


class Experience:
    """What is known of one cluster.

    :ivar unfit: by uuid, why an engine can run no plan at all.
    :ivar unlimited: the uuids of engines that have said that the system sets their process's memory no limit.
    :ivar noting: the uuids of engines that have left a note in a Map's room when they began, as those of the client's host do.
    :ivar unfinished: by uuid, since when an engine has been making a plan ready of a Map that has ended, on the monotonic clock.
        One that hangs in that gives no answer to the next Map either.
    """

    def __init__(self) -> None:
        self.unfit: dict[str, str] = {}
        self.unlimited: set[str] = set()
        self.noting: set[str] = set()
        self.unfinished: dict[str, float] = {}
        self._plans: OrderedDict[str, PlanExperience] = OrderedDict()

    def plan(self, digest: str) -> PlanExperience:
        """Return what is known of a plan, to be added to.

        :param digest: the plan digest.
        """
        known = self._plans.pop(digest, None) or PlanExperience()
        self._plans[digest] = known
        while len(self._plans) > MOST:
            self._plans.popitem(last=False)
        return known


_known: WeakKeyDictionary[Any, Experience] = WeakKeyDictionary()


def of(client: Any) -> Experience:
    """Return what is known of a client's cluster, to be added to.

    :param client: the ``ipyparallel.Client``.
    """
    return _known.setdefault(client, Experience())
