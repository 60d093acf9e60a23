"""What an engine records is what VisTrails' own log controller would have put into the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from vistrails.core.log.controller import LogController, LogWorkflowExecController
from vistrails.core.log.log import Log
from vistrails.core.log.module_exec import ModuleExec
from vistrails.core.modules.sub_module import Abstraction, Group
from vistrails.core.modules.vistrails_module import Module
from vistrails.core.vistrail.pipeline import Pipeline

from parallelflow.map.outcomes import ExecutionRecord, IterationRecord, LoopRecord
from parallelflow.map.provenance import record_of
from parallelflow.map.recorder import Recorder


def succeeds(log: Any) -> None:
    module = Module()
    log.start_execution(module, 3, "Step")
    log.insert_module_annotations(module, {"a": 1, "b": "two"})
    log.finish_execution(module, "")


def fails(log: Any) -> None:
    for trace in (None, "where"):
        module = Module()
        log.start_execution(module, 3, "Step")
        log.finish_execution(module, "why", trace)


def is_suspended(log: Any) -> None:
    module = Module()
    log.start_execution(module, 3, "Step")
    log.finish_execution(module, "not yet", suspended=True)
    log.finish_execution(Module(), "further up", suspended=True)  # it never began


def is_cached(log: Any) -> None:
    module = Module()
    log.start_execution(module, 3, "Step", cached=1)
    log.finish_execution(module, "")


def never_ends(log: Any) -> None:
    log.start_execution(Module(), 3, "Step")


def loops(log: Any) -> None:
    module, iterations = Module(), [Module() for _ in range(3)]
    log.start_execution(module, 3, "Map")
    loop = log.start_loop_execution(module, 3)
    for number, each in enumerate(iterations):
        loop.start_iteration(each, number)
        log.start_execution(each, 4, "Step")
        if number < 2:
            log.finish_execution(each, "")
            loop.finish_iteration(each)
    assert [log.get_iteration_from_module(each) for each in iterations] == [0, 1, 2]
    assert log.get_iteration_from_module(module) is None
    log.finish_execution(iterations[2], "why")
    log.finish_execution(module, "an element failed")


def loops_twice(log: Any) -> None:
    module = Module()
    log.start_execution(module, 3, "Map")
    for _ in range(2):
        loop = log.start_loop_execution(module, 1)
        each = Module()
        loop.start_iteration(each, 0)
        loop.finish_iteration(each)
        loop.finish_loop_execution()
    log.finish_execution(module, "")


def nests(log: Any) -> None:
    group, subworkflow, inner = Group(), Abstraction(), Module()
    log.start_execution(group, 3, "Group")
    inside = log.recursing(group)
    inside.start_execution(subworkflow, 1, "Sub")
    inside.recursing(subworkflow).start_execution(inner, 0, "Step")
    inside.finish_execution(subworkflow, "")
    loop = inside.start_loop_execution(Module())  # of a module that is not being executed
    loop.finish_loop_execution()
    log.start_loop_execution(group)
    log.finish_execution(group, "")


def brings_its_own(log: Any) -> None:
    log.add_exec(ModuleExec(id=0, module_id=5, module_name="Own", completed=1))


@pytest.mark.parametrize(
    "story",
    [succeeds, fails, is_suspended, is_cached, never_ends, loops, loops_twice, nests, brings_its_own],
)
def test_it_records_what_vistrails_would(story: Callable[[Any], None]) -> None:
    recorded: list[ExecutionRecord | LoopRecord] = []
    story(Recorder(recorded))
    own = LogWorkflowExecController(Log(), LogController.get_local_machine(), None, pipeline=Pipeline())
    story(own)
    expected = [record_of(each) for each in own.workflow_exec.item_execs]
    assert recorded
    assert [timeless(each) for each in recorded] == [timeless(each) for each in expected]


def timeless(record: Any) -> Any:
    """A record with no more of its times than whether they are there."""
    changes: dict[str, Any] = {"started": bool(record.started), "ended": bool(record.ended)}
    if isinstance(record, LoopRecord):
        changes["iterations"] = [timeless(each) for each in record.iterations]
    else:
        assert isinstance(record, ExecutionRecord | IterationRecord)
        changes["inner"] = [timeless(each) for each in record.inner]
    return replace(record, **changes)


def test_times_are_in_order() -> None:
    recorded: list[ExecutionRecord | LoopRecord] = []
    loops(Recorder(recorded))
    (execution,) = recorded
    assert isinstance(execution, ExecutionRecord)
    (loop,) = execution.inner
    assert isinstance(loop, LoopRecord)
    first, second, third = loop.iterations
    times = [execution.started, loop.started, first.started, first.ended, second.started, second.ended, third.started]
    assert None not in times
    assert times == sorted(times)  # type: ignore[type-var]
    assert third.ended is None


def test_a_module_may_ask_for_the_log_and_the_machine() -> None:
    recorder = Recorder([])
    first, second = (recorder.log.id_scope.getNewId(ModuleExec.vtType) for _ in range(2))
    assert first != second
    assert recorder.machine.name
    assert recorder.add_machine(recorder.machine) == -1
