"""Work as data: a plan, elements known by their index, and what becomes of them.

The scheduler knows nothing else: where elements come from is a `Source`, where outcomes go is a `Sink`, what it waits for, and
how long, are `Limits`. A `Work` could be written into a folder and taken up by another process.

May import `experience`, `outcomes` and `values` of the map room; nothing of VisTrails or ipyparallel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from parallelflow.map import values
from parallelflow.map.experience import Cost
from parallelflow.map.outcomes import ChunkOutcome


class MapError(Exception):
    """A Map cannot go on; `str()` says what happened and what to do, in sentences."""


@dataclass(frozen=True)
class Work:
    """What is to be run.

    :ivar plan: the plan, packed.
    :ivar digest: the plan's digest, or another name by which engines know it, see `plan_names`.
    :ivar environment: describes this VisTrails to an engine that has none yet, see `needs.environment`; empty where none is needed.
        Asked for when the first such engine is there, for that takes milliseconds.
    :ivar run_info: what engines must know of this run; see `plan.make_run`.
    :ivar indices: the elements to run, each once, in the order in which they are to begin: any of the source's.
    :ivar cost: what is known of them from earlier sessions; what the cluster's own experience says counts more.
    """

    plan: values.Packed
    digest: str
    environment: Callable[[], bytes]
    run_info: bytes
    indices: Sequence[int]
    cost: Cost | None = None


class Source(Protocol):
    """Where elements come from.

    :ivar what: what runs, as messages call it: this Map, for instance.
    """

    what: str

    def pack(self, indices: Sequence[int]) -> values.Packed:
        """Pack elements, a list, for the wire.

        :param indices: which ones.
        :raises MapError: for one that cannot travel.
        """

    def describe(self, index: int) -> str:
        """Return an element's index and value for a message."""

    def describe_plan(self) -> str:
        """Say for a message what in the plan is large."""


@dataclass
class Report:
    """A chunk's outcome.

    :ivar engine: the number of the engine that it came from, if that is known.
    :ivar outcome: what became of the chunk.
    :ivar broken_off: whether it came after its elements had been given up: what failed then may have failed because of that.
    """

    engine: int | None
    outcome: ChunkOutcome
    broken_off: bool = False


class Sink(Protocol):
    """Where outcomes go."""

    def take(self, report: Report) -> None:
        """Take over what has come of a chunk, in the order of arrival.

        :param report: the outcome. Together they hold every element once, up to the failed one with the lowest index; elements
            after that one that happened to be completed are among them.
        """

    def warn(self, text: str) -> None:
        """Tell the user what does not end the run.

        :param text: a sentence or several.
        """


@dataclass(frozen=True)
class Limits:
    """How long is waited for what, in seconds, and how often something is tried.

    :ivar deaths: an element that was running on so many engines when they died is what killed them.
    :ivar taken: an element that was running so often when a batch system ended its engine is not tried again.
    :ivar plan_deaths: after so many engines that died one after the other, or all there are, the plan is what kills them.
    :ivar ready: how long an engine may take to start VisTrails and make a plan ready.
    :ivar no_engine: how long to wait for an engine to join when there is none, before giving up.
    :ivar silent: after how long without an answer it is looked whether what was sent to an engine is lost.
    :ivar cancel: how long Cancel waits for interrupted elements to report, so that they are in the log.
    :ivar drop: how long of that at most until all engines have heard what they need not begin any more.
    :ivar grace: how long elements that run beside one that has failed may go on, so that short ones are not broken off.
    """

    deaths: int = 2
    taken: int = 5
    plan_deaths: int = 3
    ready: float = 120.0
    no_engine: float = 10.0
    silent: float = 5.0
    cancel: float = 1.2
    drop: float = 0.4
    grace: float = 0.5
