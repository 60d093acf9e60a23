"""VisTrails' log controller for an engine: what is executed is written down as the plain records that travel.

VisTrails' own makes log objects, which would be turned into records at once: a quarter of what it spends on an element, and
more after a module that sleeps, because so much memory is touched. Its methods' names and what they do are those of
`vistrails.core.log.controller.LogWorkflowController`.

May import VisTrails and the map room.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import Any

from vistrails.core.interpreter.cached import ViewUpdatingLogController
from vistrails.core.log.controller import LogController
from vistrails.core.log.log import Log
from vistrails.core.log.machine import Machine
from vistrails.core.modules.module_registry import get_module_registry
from vistrails.core.modules.sub_module import Abstraction, Group

from parallelflow.map.outcomes import ExecutionRecord, IterationRecord, LoopRecord
from parallelflow.map.provenance import record_of


class Recorder:
    """Records the executions of one pipeline, and of the Groups in it.

    :param executions: where to record what is executed at the top level, in the order of its beginning.
    :param ended: called with each module that has completed, and whether VisTrails took it from its cache.
    """

    def __init__(
        self,
        executions: list[ExecutionRecord | LoopRecord],
        ended: Callable[[Any, bool], None] = lambda module, cached: None,
    ):
        self._executions = executions
        self._ended = ended
        # By the identity of a module: what it executes, the iteration that it is, the loops that it runs.
        self._executing: dict[int, ExecutionRecord] = {}
        self._iterations: dict[int, IterationRecord] = {}
        self._loops: dict[int, list[LoopRecord]] = {}

    @cached_property
    def log(self) -> Log:
        """An empty log, for modules that make log objects, with ids of their own."""
        return Log()

    @cached_property
    def machine(self) -> Machine:
        """The engine's machine, for the same."""
        return LogController.get_local_machine()

    def recursing(self, group: Any) -> Recorder:
        """Return a recorder for the pipeline inside a Group that is being executed."""
        execution = self._executing.get(id(group))
        return Recorder(self._executions if execution is None else execution.inner, self._ended)

    def start_execution(self, module: Any, module_id: int, module_name: str, cached: int = 0) -> None:
        """Note that a module begins to compute."""
        kind, group_type = "module", ""
        if isinstance(module, Group):
            kind, group_type = "group", "SubWorkflow" if isinstance(module, Abstraction) else "Group"
        record = ExecutionRecord(
            kind, module_id, module_name, group_type, cached, datetime.now(), None, 0, None, [], []
        )
        key = id(module)
        self._executing[key] = record
        iteration = self._iterations.get(key)
        (self._executions if iteration is None else iteration.inner).append(record)

    def finish_execution(self, module: Any, error: str, errorTrace: str | None = None, suspended: bool = False) -> None:
        """Note that a module has ended; one that never began, because it was suspended further up, is left out."""
        key = id(module)
        record = self._executing.pop(key, None)
        if record is None:
            return
        record.ended = datetime.now()
        if suspended:
            record.completed, record.error = -2, error
        elif error:
            record.completed, record.error = -1, error
            if errorTrace:
                record.annotations.append(("errorTrace", errorTrace))
        else:
            record.completed = 1
            self._ended(module, bool(record.cached))
        for loop in self._loops.pop(key, ()):
            if loop.ended is None:
                loop.ended = record.ended

    def start_loop_execution(self, module: Any, total_iterations: int | None = None) -> _Loop:
        """Note that a module begins to loop."""
        record = LoopRecord(datetime.now(), None, [])
        key = id(module)
        execution = self._executing.get(key)
        (self._executions if execution is None else execution.inner).append(record)
        self._loops.setdefault(key, []).append(record)
        return _Loop(self._iterations, record)

    def get_iteration_from_module(self, module: Any) -> int | None:
        """Return the number of the iteration that a module was begun as."""
        iteration = self._iterations.get(id(module))
        return None if iteration is None else iteration.iteration

    def insert_module_annotations(self, module: Any, notes: dict[str, Any]) -> None:
        """Note something on a module's execution."""
        self._executing[id(module)].annotations += notes.items()

    def insert_workflow_exec_annotations(self, notes: dict[str, Any]) -> None:
        """Leave it out: the execution of the workflow is the user's VisTrails'."""

    def add_machine(self, machine: Any) -> int:
        """Leave it out: the engine's machine is noted anyway."""
        return -1

    def add_exec(self, execution: Any) -> None:
        """Take over an execution that a module has made itself."""
        self._executions.append(record_of(execution))


class _Loop:
    """What a loop tells of its iterations."""

    def __init__(self, iterations: dict[int, IterationRecord], record: LoopRecord):
        self._iterations = iterations
        self._record = record

    def start_iteration(self, module: Any, iteration: int) -> None:
        record = IterationRecord(iteration, datetime.now(), None, None, None, [])
        self._record.iterations.append(record)
        self._iterations[id(module)] = record

    def finish_iteration(self, module: Any) -> None:
        record = self._iterations[id(module)]
        record.ended, record.completed = datetime.now(), 1

    def finish_loop_execution(self) -> None:
        self._record.ended = datetime.now()


class ElementLogging(ViewUpdatingLogController):
    """What tells VisTrails' view and log how the modules of elements get on; in an engine there is no view.

    :param logging: VisTrails' own, of the pipeline that is being executed; they know the same from then on.
    """

    def __init__(self, logging: ViewUpdatingLogController):
        self.__dict__ = logging.__dict__
        self._known: dict[tuple[int, type], tuple[int, str]] = {}  # what the log calls a module, by its id and class

    def begin_update(self, obj: Any) -> None:
        """Nothing to do: this is for the view."""

    def update_progress(self, obj: Any, progress: float = 0.0) -> None:
        """Nothing to do: this is for the view."""

    def begin_compute(self, obj: Any) -> None:
        """Note that a module begins to compute."""
        key = obj.id, obj.__class__
        if key not in self._known:
            name = get_module_registry().get_descriptor(obj.__class__).name
            self._known[key] = self.remap_id(obj.id), name
        self.log.start_execution(obj, *self._known[key])

    def end_update(
        self, obj: Any, error: Any = None, errorTrace: str | None = None, was_suspended: bool = False
    ) -> None:
        """Note that a module has ended."""
        if error is None and (obj.id, obj.__class__) in self._known:
            self.log.finish_execution(obj, "")
        else:
            super().end_update(obj, error, errorTrace, was_suspended)
