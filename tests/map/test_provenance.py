"""Records from engines into the log: ids of its own, one machine per host, times of the clock here."""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any

from vistrails.core.log.controller import LogController
from vistrails.core.log.log import Log
from vistrails.core.log.loop_exec import LoopExec
from vistrails.core.log.machine import Machine
from vistrails.core.log.module_exec import ModuleExec
from vistrails.core.log.workflow_exec import WorkflowExec

from parallelflow.map.outcomes import ExecutionRecord, Host, IterationRecord, LoopRecord
from parallelflow.map.provenance import ENGINE_KEY, HOST_KEY, LoopLog, record_of

NOON = datetime.datetime(2026, 5, 4, 12, 0, 0)
HERE = datetime.datetime.now().astimezone().utcoffset() or datetime.timedelta()


def loop_log() -> tuple[LoopLog, Any]:
    """A Map's loop that has begun in a log of its own, and what VisTrails' log controller has of both."""
    log = Log()
    machine = LogController.get_local_machine()
    machine.id = log.id_scope.getNewId(Machine.vtType)
    controller = SimpleNamespace(
        log=log,
        machine=machine,
        workflow_exec=WorkflowExec(id=log.id_scope.getNewId(WorkflowExec.vtType), machines=[machine]),
        loop_exec=LoopExec(id=log.id_scope.getNewId(LoopExec.vtType)),
    )

    def add_machine(added: Machine) -> int:
        added.id = log.id_scope.getNewId(Machine.vtType)
        controller.workflow_exec.add_machine(added)
        return int(added.id)

    logging = SimpleNamespace(log=controller, add_machine=add_machine)
    return LoopLog(logging, SimpleNamespace(log=controller)), controller


def host(name: str, hours: float = 0.0) -> Host:
    offset = HERE + datetime.timedelta(hours=hours)
    machine = {"name": name, "os": "Linux", "architecture": "64bit", "processor": "x", "ram": "1"}
    return Host(name, 1, offset.total_seconds(), machine)


def execution(name: str = "Step", *inner: Any, kind: str = "module", error: str | None = None) -> ExecutionRecord:
    end = NOON + datetime.timedelta(seconds=2)
    completed = -1 if error else 1
    group_type = "Group" if kind == "group" else ""
    return ExecutionRecord(kind, 7, name, group_type, 0, NOON, end, completed, error, [("own", "note")], list(inner))


def iteration(number: int, *inner: Any) -> IterationRecord:
    return IterationRecord(number, NOON, NOON + datetime.timedelta(seconds=3), 1, None, list(inner))


def notes(executed: Any) -> dict[str, str]:
    return {note.key: note.value for note in executed.annotations}


def test_there_is_one_machine_for_each_host() -> None:
    log, controller = loop_log()
    for number, name in enumerate(["alpha", "beta", "alpha", controller.machine.name]):
        log.write(iteration(number, execution()), number, host(name))
    names = [machine.name for machine in controller.workflow_exec.machine_list]
    assert sorted(names) == sorted({"alpha", "beta", controller.machine.name})
    by_id = {machine.id: machine.name for machine in controller.workflow_exec.machine_list}
    where = [by_id[each.item_execs[0].machine_id] for each in controller.loop_exec.loop_iterations]
    assert where == ["alpha", "beta", "alpha", controller.machine.name]


def test_times_are_those_of_the_clock_here() -> None:
    log, controller = loop_log()
    log.write(iteration(0, execution()), 0, host("same zone"))
    log.write(iteration(1, execution()), 1, host("three hours ahead", hours=3))
    same, ahead = controller.loop_exec.loop_iterations
    assert same.ts_start == NOON
    assert ahead.ts_start == NOON - datetime.timedelta(hours=3)
    assert ahead.item_execs[0].ts_end - ahead.item_execs[0].ts_start == datetime.timedelta(seconds=2)


def test_ids_are_the_logs_own_at_every_depth() -> None:
    log, controller = loop_log()
    inner = LoopRecord(NOON, NOON, [iteration(0, execution("in")), iteration(1, execution("in"))])
    for number in range(3):
        log.write(iteration(number, execution("Group", execution("Map", inner), kind="group")), 0, host("alpha"))

    ids: dict[str, list[int]] = {}

    def collect(executed: Any) -> None:
        ids.setdefault(executed.vtType, []).append(executed.id)
        for part in ("loop_iterations", "item_execs", "loop_execs", "annotations"):
            for each in getattr(executed, part, ()):
                collect(each)

    collect(controller.loop_exec)
    assert all(len(set(found)) == len(found) for found in ids.values())
    assert len(ids[ModuleExec.vtType]) == 3 * 3


def test_each_execution_says_where_it_ran_and_keeps_its_notes() -> None:
    log, controller = loop_log()
    log.write(iteration(0, execution(error="no")), 5, host("alpha"))
    log.write(iteration(1, execution("Group", execution("in"), kind="group")), None, host("beta"))
    first, second = (each.item_execs[0] for each in controller.loop_exec.loop_iterations)
    assert notes(first) == {"own": "note", ENGINE_KEY: "5", HOST_KEY: "alpha"}
    assert (first.completed, first.error) == (-1, "no")
    assert notes(second) == {"own": "note", HOST_KEY: "beta"}  # of an engine whose number nobody knows any more
    assert notes(second.item_execs[0]) == {"own": "note"}


def test_what_is_read_is_what_was_written() -> None:
    log, controller = loop_log()
    inner = LoopRecord(NOON, NOON, [iteration(0, execution("in", error="no"))])
    record = execution("Step", inner)
    log.write(iteration(0, record), None, host("alpha"))
    read = record_of(controller.loop_exec.loop_iterations[0].item_execs[0])
    assert isinstance(controller.loop_exec.loop_iterations[0].item_execs[0], ModuleExec)
    record.annotations.append((HOST_KEY, "alpha"))
    assert read == record


def test_without_a_log_nothing_is_written() -> None:
    log = LoopLog(None, None)
    assert not log.kept
    log.write(iteration(0, execution()), 0, host("alpha"))
    log.write_beside(execution(), 0, host("alpha"))
