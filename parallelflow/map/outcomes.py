"""What travels back from an engine: outcomes of elements, and what an engine says instead.

Plain data, so that a log can be written, a result stored or a run resumed without the engine that made it. Times are
naive local times of the engine's host, as in VisTrails' log. Standard library only.
"""

from __future__ import annotations

import datetime
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from parallelflow.map.loaded_code import Loaded

# What VisTrails' job monitor knows: a job's parameters and state by its signature (`Job.to_dict`).
Jobs = dict[str, dict[str, Any]]

# What a text is cut to, in characters, where there is no memory to send it whole.
_LONG = 5000


@dataclass(frozen=True)
class Host:
    """The machine and process an engine runs in.

    `utc_offset` is in seconds; `machine` holds what VisTrails records of a machine: name, os, architecture, processor
    and ram.
    """

    name: str
    pid: int
    utc_offset: float
    machine: dict[str, Any]


@dataclass
class ExecutionRecord:
    """One execution in the log: of a module, a Group or a subworkflow, and what ran inside it.

    `module_id` is its id in the pipeline that it is in, `cached` 1 if nothing was computed anew; `group_type` is '' for a module.
    """

    kind: str  # "module" or "group"
    module_id: int
    name: str
    group_type: str
    cached: int
    started: datetime.datetime
    ended: datetime.datetime | None
    completed: int  # VisTrails' own codes: 1 done, -1 failed, -2 suspended, 0 never ended
    error: str | None
    annotations: list[tuple[str, Any]]
    inner: list[ExecutionRecord | LoopRecord]

    def __reduce__(self) -> tuple[Any, ...]:
        # A thousand of these travel in one message; as a bare tuple each takes half the bytes and half the time.
        return ExecutionRecord, tuple(self.__dict__.values())


@dataclass
class LoopRecord:
    """A loop inside an execution."""

    started: datetime.datetime
    ended: datetime.datetime | None
    iterations: list[IterationRecord]

    def __reduce__(self) -> tuple[Any, ...]:
        return LoopRecord, tuple(self.__dict__.values())


@dataclass
class IterationRecord:
    """One element in the log.

    `iteration` is its index in the user's list, or in that of the loop that it is in.
    """

    iteration: int
    started: datetime.datetime
    ended: datetime.datetime | None
    completed: int | None  # VisTrails leaves it out for one that never ended
    error: str | None
    inner: list[ExecutionRecord | LoopRecord]

    def __reduce__(self) -> tuple[Any, ...]:
        return IterationRecord, tuple(self.__dict__.values())


@dataclass(frozen=True)
class Failure:
    """Why an element failed: VisTrails' message, the module that carries it, and the trace on the engine.

    `index` is the element's in the user's list. `module_id` is None where the Map itself carries the error. `abort` means that
    VisTrails shall run nothing else, even where the user wants to go on after errors. `is_own` says that it is the workflow's
    own module that carries the error, not a copy of it that stood for an element. `cannot_travel` says that it is no
    fault of the module: the element cannot be read on engines, or its result cannot come back.
    """

    index: int
    message: str
    trace: str
    module_id: int | None
    abort: bool = False
    is_own: bool = False
    cannot_travel: bool = False

    @property
    def is_long(self) -> bool:
        """Whether what it says is more than anybody reads."""
        return len(self.message) + len(self.trace) > 4 * _LONG

    def shortened(self) -> Failure:
        """Return the same with the beginning of each of its texts."""
        texts = {
            name: text[:_LONG] + "…" for name, text in vars(self).items() if isinstance(text, str) and len(text) > _LONG
        }
        return replace(self, **texts)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Suspension:
    """A `ModuleSuspended` as data: what the module said, the handle that knows its job, and children.

    `module_id` is None for a module inside a Group; `kind` is its package, name and namespace, `name` what the job
    monitor calls it, `position` its place in the loop that it is in, if any, `iteration` that in VisTrails' own loop over a list.
    """

    message: str
    handle: Any
    module_id: int | None
    kind: tuple[str, str, str]
    name: str | None
    position: int | None
    signature: Any
    iteration: int | None
    children: list[Suspension] | None


class LostHandle:
    """Stands for a handle that cannot leave its engine. Whether its job has finished, only another run can find out."""

    def finished(self) -> bool:
        """Say that it is time to look, by running again."""
        return True


# What was printed on standard output and on standard error; bytes that are no text are in it as `surrogateescape` has them.
Text = tuple[str, str]
NOTHING: Text = ("", "")


@dataclass
class Printed:
    """What was printed: by each element of a chunk that has printed something, by its index; and in between, by what elements of
    earlier chunks have left running."""

    elements: dict[int, Text] = field(default_factory=dict)
    between: Text = NOTHING


@dataclass
class ChunkOutcome:
    """What became of a chunk.

    `values` maps the index of each element that completed to its result. An element that is in none of `values`,
    `suspended` and `failure` was not run; `gives_back` says that this was because the chunk had lasted long enough, or
    because the engine is to end. `interrupted` says that the failed element was interrupted, though it was not dropped.
    `indices` are those of the chunk's elements, `executed` how often each module of the plan has run to its end, by its
    id in the user's pipeline. `records` are the elements' executions, `beside` those of modules that run once for all of
    them (the branches of an If). `seconds` is the time that the elements took together, `jobs` what VisTrails' job
    monitor has learnt there. `after_series` is the number after the last one that was given to a file of a series. `goes_on` says
    that threads or children which elements have started still run.

    `slow` are the elements that took long, with how many seconds (`chunks.LONG`), `longest` is how many the longest of all took.

    What decides whether results can be kept: `uncached` are elements in which a module ran that VisTrails does not cache, or that
    have asked the system for random numbers, `drawn` those that have drawn them from Python's or numpy's generator, with whether it
    was the one and the other. `code` is what code the engine runs, the first time in a run, and when there is more.
    """

    PACKED_APART: ClassVar = frozenset({"records", "beside"})

    host: Host
    seconds: float
    indices: Sequence[int] = ()
    values: dict[int, Any] = field(default_factory=dict)
    suspended: dict[int, list[Suspension]] = field(default_factory=dict)
    failure: Failure | None = None
    gives_back: bool = False
    interrupted: bool = False
    records: list[IterationRecord] = field(default_factory=list)
    beside: list[ExecutionRecord] = field(default_factory=list)
    executed: dict[int, int] = field(default_factory=dict)
    jobs: Jobs = field(default_factory=dict)
    printed: Printed = field(default_factory=Printed)
    after_series: int = 0
    goes_on: bool = False
    slow: dict[int, float] = field(default_factory=dict)
    longest: float = 0.0
    uncached: set[int] = field(default_factory=set)
    drawn: dict[int, tuple[bool, bool]] = field(default_factory=dict)
    code: Loaded | None = None

    def untold(self, indices: Iterable[int]) -> int | None:
        """Return the first element of which it does not say what became, though it was to run; None if there is none.

        :param indices: the chunk's elements, in their order.
        """
        if self.gives_back:
            return None
        for index in indices:
            if self.failure is not None and self.failure.index == index:
                return None
            if index not in self.values and index not in self.suspended:
                return index
        return None

    def give_back_failed(self) -> None:
        """Have the failed element run again, with those after it: it is not its own fault."""
        assert self.failure is not None
        self.records = [record for record in self.records if record.iteration != self.failure.index]
        self.printed.elements.pop(self.failure.index, None)  # it will print that again
        self.failure, self.gives_back = None, True

    def __getstate__(self) -> dict[str, Any]:
        # Records are plain data and many. What packs the values asks Python about each object; this does not.
        try:
            plain = pickle.dumps((self.records, self.beside), protocol=5)
        except Exception:  # a module may note anything on its execution
            return dict(vars(self))
        return {**vars(self), "records": plain, "beside": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.beside is None:
            self.records, self.beside = pickle.loads(state["records"])


@dataclass(frozen=True)
class Greeting:
    """What an engine says of itself.

    `has_plan` is whether it holds the plan in question; `most_bytes` how much memory it may have, as far as the system says;
    `free_bytes` how much of that it has not taken, None where the system sets the process no limit.
    """

    host: str
    has_plan: bool
    most_bytes: int | None
    free_bytes: int | None = None


@dataclass(frozen=True)
class ChunkDropped:
    """An engine's answer to a chunk that was taken back from it."""


@dataclass(frozen=True)
class PlanMissing:
    """An engine's answer to a chunk of a plan that it does not hold."""

    host: str


@dataclass(frozen=True)
class MemoryOutOfReach:
    """An engine's answer to what was sent through memory that it cannot have, so that nothing was done; see `shared_memory`."""

    host: str


@dataclass(frozen=True)
class ElementsUnread:
    """An engine's answer to a chunk of which it could not read the elements, so that none has run; `reason` says why.

    `most_bytes` is given if they do not fit into its memory: how much it may have.
    """

    host: str
    reason: str
    most_bytes: int | None = None


@dataclass(frozen=True)
class PlanReady:
    """An engine's answer to a plan that it has made ready."""

    host: Host


@dataclass(frozen=True)
class PlanRefused:
    """An engine's answer to a plan that it cannot run; `reason` is a sentence without the engine's name.

    `is_unfit` says that it is the engine, which can run no other plan either. `most_bytes` is given if the plan does not fit into
    its memory: how much it may have.
    """

    host: str
    reason: str
    is_unfit: bool = False
    most_bytes: int | None = None
