"""Executions into the log, in the shape that the serial Map gives it: Map > loop > iteration i > execution.

`LoopLog` writes records, which `parallelflow.map.recorder` makes on an engine, under the Map's loop in the user's log, with
ids of that log, one machine record per host, and a note on each execution of where it ran.

May import VisTrails' log classes and `parallelflow.map.outcomes`.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from vistrails.core.log.group_exec import GroupExec
from vistrails.core.log.loop_exec import LoopExec, LoopIteration
from vistrails.core.log.machine import Machine
from vistrails.core.log.module_exec import ModuleExec
from vistrails.core.vistrail.annotation import Annotation

from parallelflow.map.outcomes import ExecutionRecord, Host, IterationRecord, LoopRecord

# The annotations' keys, as the provenance browser shows them.
ENGINE_KEY = "parallel_engine"
HOST_KEY = "parallel_host"

# When an element had been computed whose result was kept; HOST_KEY says where then.
COMPUTED_KEY = "parallel_computed"


def record_of(execution: ModuleExec | GroupExec) -> ExecutionRecord:
    """Read a module's or Group's execution that is a log object.

    :param execution: the log's execution.
    """
    record = _record_of(execution)
    assert isinstance(record, ExecutionRecord)
    return record


def _inner_records(executions: Iterable[Any]) -> list[ExecutionRecord | LoopRecord]:
    return [_record_of(execution) for execution in executions]


def _record_of(execution: Any) -> ExecutionRecord | LoopRecord:
    if execution.vtType == LoopExec.vtType:
        return LoopRecord(
            execution.ts_start, execution.ts_end, [_iteration(each) for each in execution.loop_iterations]
        )
    is_group = execution.vtType == GroupExec.vtType
    return ExecutionRecord(
        "group" if is_group else "module",
        execution.module_id,
        execution.group_name if is_group else execution.module_name,
        execution.group_type if is_group else "",
        execution.cached,
        execution.ts_start,
        execution.ts_end,
        execution.completed,
        execution.error,
        [(a.key, a.value) for a in execution.annotations],
        _inner_records(execution.item_execs if is_group else execution.loop_execs),
    )


def _iteration(iteration: LoopIteration) -> IterationRecord:
    return IterationRecord(
        iteration.iteration,
        iteration.ts_start,
        iteration.ts_end,
        iteration.completed,
        iteration.error,
        _inner_records(iteration.item_execs),
    )


class WorkflowLog:
    """Writes executions into the log of the workflow that is being executed.

    :param logging: the `logging` of a module of that workflow, which gives access to the log.

    Where no log is kept (VisTrails' dummy logger, a module outside of a pipeline), nothing is written.
    """

    def __init__(self, logging: Any):
        self._logging = logging
        self._log_controller = getattr(logging, "log", None)
        self._machines: dict[str, int] = {}
        self._places: dict[tuple[int | None, str], _Place] = {}

    @property
    def kept(self) -> bool:
        """Whether a log is kept at all."""
        return getattr(self._log_controller, "workflow_exec", None) is not None

    def write_beside(self, record: ExecutionRecord, engine: int | None, host: Host, notes: bool = True) -> None:
        """Add an execution that belongs to no element, where VisTrails puts it: beside that of the module whose log this is.

        :param record: what the engine recorded.
        :param engine: the engine's id in the cluster, or None if it is not known any more.
        :param host: where the engine runs.
        :param notes: whether to note that it ran there.
        """
        if self.kept:
            controller = self._log_controller
            parent = controller.parent_exec or controller.workflow_exec  # type: ignore[union-attr]
            parent.add_item_exec(self._place(engine, host).execution(record, notes))

    def _place(self, engine: int | None, host: Host) -> _Place:
        place = self._places.get((engine, host.name))
        if place is None:
            place = _Place(self._new_id, self._machine_id(host), _clock_difference(host), engine, host.name)
            self._places[engine, host.name] = place
        return place

    def _new_id(self, kind: str) -> int:
        return self._log_controller.log.id_scope.getNewId(kind)  # type: ignore[no-any-return, union-attr]

    def _machine_id(self, host: Host) -> int:
        if host.name not in self._machines:
            own = self._log_controller.machine  # type: ignore[union-attr]
            known = [own, *self._log_controller.workflow_exec.machine_list]  # type: ignore[union-attr]
            same = [machine for machine in known if machine.name == host.machine["name"]]
            self._machines[host.name] = (
                same[0].id if same else self._logging.add_machine(Machine(id=-1, **host.machine))
            )
        return self._machines[host.name]


class LoopLog(WorkflowLog):
    """Writes the iterations of one Map, or of another loop, into the log of the workflow that it runs in.

    :param logging: the Map module's `logging`, which gives access to the workflow's log.
    :param loop: what `logging.begin_loop_execution` returned.
    :param first: the number of the first iteration.

    Where no log is kept, nothing is written.
    """

    def __init__(self, logging: Any, loop: Any, first: int = 0):
        super().__init__(logging)
        self._first = first
        self._loop = loop
        self._loop_exec = getattr(getattr(loop, "log", None), "loop_exec", None)

    @property
    def kept(self) -> bool:
        """Whether a log is kept at all."""
        return self._loop_exec is not None

    def write(self, record: IterationRecord, engine: int | None, host: Host) -> None:
        """Add one element's executions to the loop.

        :param record: what the engine recorded.
        :param engine: the engine's id in the cluster, or None if it is not known any more.
        :param host: where the engine runs.
        """
        if self._loop_exec is not None:
            iteration = self._place(engine, host).iteration(record)
            iteration.iteration += self._first
            self._loop_exec.add_loop_iteration(iteration)

    def assign(self, module: Any, index: int) -> None:
        """Tell VisTrails which element a module belongs to, as a loop does when it begins one.

        :param module: the module.
        :param index: the element's index in the user's list.
        """
        if self.kept:
            self._log_controller.parent_execs[id(module)] = LoopIteration(iteration=self._first + index)  # type: ignore[union-attr]

    def discard(self) -> None:
        """Take the loop out of the log, with all that has been written into it: it is to be run anew."""
        if not self.kept:
            return
        controller, looping, loop_exec = self._loop.log.controller, id(self._loop.log.loop_module), self._loop_exec
        controller.children_execs[looping].discard(loop_exec)
        execution = controller.module_execs[looping]
        (execution.db_delete_item_exec if isinstance(execution, GroupExec) else execution.db_delete_loop_exec)(
            loop_exec
        )


def _clock_difference(host: Host) -> datetime.timedelta:
    """How much to add to a host's local time to get ours."""
    here = datetime.datetime.now().astimezone().utcoffset() or datetime.timedelta()
    return here - datetime.timedelta(seconds=host.utc_offset)


class _Place:
    """Turns records from one engine into log objects."""

    def __init__(self, new_id: Any, machine_id: int, difference: datetime.timedelta, engine: int | None, host: str):
        self._new_id = new_id
        self._machine_id = machine_id
        self._difference = difference
        self._notes = [(HOST_KEY, host)] if engine is None else [(ENGINE_KEY, str(engine)), (HOST_KEY, host)]

    def _time(self, time: datetime.datetime | None) -> datetime.datetime | None:
        return time + self._difference if time is not None and self._difference else time

    def iteration(self, record: IterationRecord, notes: bool = True) -> LoopIteration:
        return LoopIteration(
            id=self._new_id(LoopIteration.vtType),
            iteration=record.iteration,
            ts_start=self._time(record.started),
            ts_end=self._time(record.ended),
            completed=record.completed,
            error=record.error,
            item_execs=[self._inner(item, notes) for item in record.inner],
        )

    def execution(self, record: ExecutionRecord, notes: bool) -> ModuleExec | GroupExec | LoopExec:
        return self._inner(record, notes)

    def _inner(self, record: ExecutionRecord | LoopRecord, notes: bool) -> ModuleExec | GroupExec | LoopExec:
        if isinstance(record, LoopRecord):
            return LoopExec(
                id=self._new_id(LoopExec.vtType),
                ts_start=self._time(record.started),
                ts_end=self._time(record.ended),
                loop_iterations=[self.iteration(inner, notes=False) for inner in record.iterations],
            )
        pairs = record.annotations + self._notes if notes else record.annotations
        common = {
            "machine_id": self._machine_id,
            "module_id": record.module_id,
            "cached": record.cached,
            "ts_start": self._time(record.started),
            "ts_end": self._time(record.ended),
            "completed": record.completed,
            "error": record.error,
            "annotations": [Annotation(id=self._new_id(Annotation.vtType), key=k, value=v) for k, v in pairs],
        }
        inner = [self._inner(item, notes=False) for item in record.inner]
        if record.kind == "group":
            kind = GroupExec.vtType
            return GroupExec(
                id=self._new_id(kind), group_name=record.name, group_type=record.group_type, item_execs=inner, **common
            )
        kind = ModuleExec.vtType
        return ModuleExec(id=self._new_id(kind), module_name=record.name, loop_execs=inner, **common)
