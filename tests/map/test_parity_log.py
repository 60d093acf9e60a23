"""The log of a run reads like the serial Map's, with times and places that are true, and it survives saving."""

from __future__ import annotations

import datetime
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import LONG, Watch
from meeting import marked, together, while_fewer
from parity import Executed, Seen, Stage, all_of, assert_same, both, differences, log_differences, log_of
from vistrails.core.db.io import load_vistrail
from vistrails.core.db.locator import FileLocator
from vistrails.core.log.group_exec import GroupExec
from vistrails.core.log.loop_exec import LoopIteration
from vistrails.core.log.module_exec import ModuleExec
from workflows import Flow

from parallelflow.map import execution, running
from parallelflow.map.work import Limits, Report

pytestmark = pytest.mark.usefixtures("parity")


def _mapping(elements: str = "[1, 2, 3, 4]") -> Flow:
    flow = Flow()
    flow.map(flow.parity("Annotates"), "value", "value", elements)
    return flow


def _grouped(elements: str = "[1, 2]") -> Flow:
    inner, middle = Flow(), Flow()
    counts, annotates = inner.parity("Counts"), inner.parity("Annotates")
    inner.connect(counts, "value", annotates, "value")
    inner.inputs, inner.outputs = {"in": (counts, "value")}, {"out": (annotates, "value")}
    group = middle.group(inner)
    loops = middle.python("o = [i, i]", {"i": "Variant"}, {"o": "[Variant]"})
    each = middle.python("o = str(i)", {"i": "Variant"}, {"o": "String"})
    middle.connect(group, "out", loops, "i")
    middle.connect(loops, "o", each, "i")
    middle.inputs, middle.outputs = {"in": (group, "in")}, {"out": (each, "o")}
    flow = Flow()
    flow.map(flow.subworkflow("logged", middle), "in", "out", elements)
    return flow


def _failing() -> Flow:
    flow = Flow()
    flow.map(flow.parity("Fails"), "value", "value", "['fine', 'fine', 'exception', 'fine']")
    return flow


def _suspending() -> Flow:
    flow = Flow()
    flow.map(flow.parity("Suspends"), "value", "value", "[2, 1, 4, 3]")
    return flow


def _inner_map() -> Flow:
    flow = Flow()
    inner = flow.map(flow.parity("Counts"), "value", "value")
    flow.map(inner, "InputList", "Result", "[[1, 2], [3]]")
    return flow


FLOWS: dict[str, Callable[[], Flow]] = {
    "module": _mapping,
    "groups and loops": _grouped,
    "failed": _failing,
    "suspended": _suspending,
    "map in map": _inner_map,
}
flows = pytest.mark.parametrize("name", FLOWS)


def _run(name: str, side: str = "ours", how: str = "logged") -> Seen:
    return Stage(side, how).run(FLOWS[name]())


def _executions(seen: Seen) -> list[Any]:
    return [each for each in all_of(seen.raw_log) if isinstance(each, (ModuleExec, GroupExec))]


def _iterations(seen: Seen) -> list[Any]:
    return [each for each in all_of(seen.raw_log) if isinstance(each, LoopIteration)]


def _of_elements(seen: Seen) -> list[Any]:
    """The executions right under the Map's own loop."""
    (own,) = [each for each in seen.raw_log.item_execs if isinstance(each, ModuleExec) and each.module_name == "Map"]
    return [item for loop in own.loop_execs for iteration in loop.loop_iterations for item in iteration.item_execs]


@flows
def test_the_log_has_the_serial_maps_shape(name: str) -> None:
    assert_same(FLOWS[name](), "logged", "controller", fails=None)


def test_several_runs_in_one_log() -> None:
    stages = Stage("serial"), Stage("ours")
    for elements in ("[1, 2]", "[1, 2]", "[3]", "[1, 2]"):
        serial, ours = (stage.run(_mapping(elements)) for stage in stages)
        assert not differences(serial, ours)
    assert len(stages[1].log.workflow_execs) == 4


@flows
def test_ids_are_unique(name: str) -> None:
    stage = Stage("ours")
    for _ in range(2):
        stage.run(FLOWS[name]())
    everything = [each for run in stage.log.workflow_execs for each in all_of(run)]
    ids = Counter((each.vtType, each.id) for each in everything)
    notes = Counter(note.id for each in everything for note in getattr(each, "annotations", ()))
    assert set(ids.values()) == {1}
    assert not notes or set(notes.values()) == {1}
    assert all(isinstance(number, int) and number >= 0 for _, number in ids)


@flows
def test_times_are_from_the_engines_within_the_run_and_in_order(name: str) -> None:
    seen = _run(name)
    assert seen.started is not None
    assert seen.ended is not None
    for each in all_of(seen.raw_log):
        assert isinstance(each.ts_start, datetime.datetime)
        assert seen.started <= each.ts_start <= seen.ended
        if each.ts_end is not None:
            assert each.ts_start <= each.ts_end <= seen.ended
        for name_of in ("item_execs", "loop_execs", "loop_iterations"):
            for inner in getattr(each, name_of, ()):
                assert each.ts_start <= inner.ts_start
                if each.ts_end is not None and inner.ts_end is not None:
                    # VisTrails ends the loop of a suspended module a moment after the module.
                    assert inner.ts_end <= each.ts_end or name == "suspended"


def test_times_are_when_an_element_ran_not_when_it_came_back(monkeypatch: pytest.MonkeyPatch) -> None:
    came_back: dict[int, datetime.datetime] = {}
    take = execution.Execution.take

    def note(self: execution.Execution, report: Report) -> None:
        came_back.update(dict.fromkeys(report.outcome.values, datetime.datetime.now()))
        take(self, report)

    monkeypatch.setattr(execution.Execution, "take", note)
    flow = Flow()
    now = "datetime.datetime.now()"
    source = flow.python(
        f"import datetime, os, time\na = {now}\ntime.sleep(0.4)\no = (os.getpid(), a, {now})",
        {"i": "Integer"},
        {"o": "Variant"},
    )
    mapped = flow.map(source, "i", "o", repr(list(range(10))))
    seen = Stage("ours").run(flow)
    times = seen.outputs[mapped]["Result"]
    # Of each engine's, one after the other: however long a busy machine makes it wait, an element does not run beside another.
    ended = dict.fromkeys((pid for pid, *_ in times), seen.started)
    for index, (pid, start, end) in sorted(enumerate(times), key=lambda each: each[1][1]):
        iteration = _iterations(seen)[index]
        (executed,) = iteration.item_execs
        for each in (iteration, executed):
            assert ended[pid] <= each.ts_start <= start
            assert end <= each.ts_end <= came_back[index]
        ended[pid] = iteration.ts_end


@flows
def test_each_element_says_on_which_engine_and_host_it_ran(on_shared_cluster: Any, name: str) -> None:
    seen = _run(name)
    engines = {str(number) for number in on_shared_cluster.client().ids}
    elements = _of_elements(seen)
    assert elements
    for each in elements:
        notes = {note.key: note.value for note in each.annotations}
        assert notes["parallel_host"] == socket.gethostname()
        assert notes["parallel_engine"] in engines
    noted = [each for each in _executions(seen) if any(note.key.startswith("parallel_") for note in each.annotations)]
    assert {each.id for each in noted} == {each.id for each in elements}


def test_the_engine_noted_is_the_one_that_it_ran_on(parity: Any, on_shared_cluster: Any, tmp_path: Path) -> None:
    flow = Flow()
    mapped = flow.map(
        flow.python(together(tmp_path, "o = os.getpid()"), {"i": "Integer"}, {"o": "Integer"}),
        "i",
        "o",
        repr(list(range(10))),
    )
    seen = Stage("ours").run(flow)
    pids = on_shared_cluster.client()[:].apply_async(__import__("os").getpid).get_dict()
    for element, pid in zip(_of_elements(seen), seen.outputs[mapped]["Result"], strict=True):
        (noted,) = [note.value for note in element.annotations if note.key == "parallel_engine"]
        assert pids[int(noted)] == pid
    assert len(set(seen.outputs[mapped]["Result"])) == 2


@flows
def test_there_is_one_machine_per_host(name: str) -> None:
    serial, ours = _run(name, "serial"), _run(name)
    machines = [
        [(each.name, each.os, each.architecture, each.processor, each.ram) for each in seen.raw_log.machine_list]
        for seen in (serial, ours)
    ]
    assert machines[0] == machines[1]
    (machine,) = ours.raw_log.machine_list
    assert {each.machine_id for each in _executions(ours)} == {machine.id}


def test_an_element_beyond_the_failed_one_is_in_the_log_if_it_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks, taken = tmp_path / "marks", tmp_path / "taken"
    marks.mkdir()
    taken.mkdir()
    take = execution.Execution.take

    def note(self: execution.Execution, report: Report) -> None:
        take(self, report)
        for index in report.outcome.values:
            (taken / str(index)).touch()

    monkeypatch.setattr(execution.Execution, "take", note)
    flow = Flow()
    waits = "\n    ".join(while_fewer(1, taken).splitlines())
    source = flow.python(
        marked(marks, f"if i == 0:\n    {waits}\n    fail('late')\no = i"),
        {"i": "Integer"},
        {"o": "Integer"},
    )
    flow.map(source, "i", "o", repr(list(range(5))))
    seen = Stage("ours").run(flow)
    numbers = {each.iteration: each.completed for each in _iterations(seen)}
    assert numbers.pop(0) is None
    ran = {int(each.name) for each in taken.iterdir()}
    assert ran
    assert {number for number, completed in numbers.items() if completed == 1} == ran
    assert all(
        numbers[number] is None for number in numbers.keys() - ran
    )  # interrupted, where its engine had no core for long


def test_without_a_log_nothing_is_kept_and_all_works() -> None:
    assert_same(_grouped(), "plain")


# ---------------------------------------------------------------- saving


@pytest.mark.usefixtures("own_temporaries")
@flows
def test_the_log_survives_saving_and_reopening_the_vistrail(name: str, tmp_path: Path) -> None:
    runs = {}
    for side in ("serial", "ours"):
        stage = Stage(side, "controller")
        seen = stage.run(FLOWS[name]())
        controller = stage.controller
        locator = FileLocator(str(tmp_path / f"{side}.vt"))
        controller.set_changed(True)
        controller.jobMonitor.workflows.clear()  # VisTrails 3 cannot save jobs of modules in loops
        controller.jobMonitor.jobs.clear()
        controller.write_vistrail(locator)
        vistrail, *_ = load_vistrail(FileLocator(str(tmp_path / f"{side}.vt")))
        (run,) = vistrail.get_persisted_log().workflow_execs
        runs[side] = log_of(run)
        assert seen.log is not None
        assert not log_differences(_in_memory(seen.log), _in_memory(runs[side]))
        _same_objects(seen.raw_log, run)
    assert not log_differences(_in_memory(runs["serial"]), _in_memory(runs["ours"]), failed=name == "failed")


def _in_memory(node: Executed) -> Executed:
    """A log's node without what VisTrails' files cannot tell apart: no error, and an empty one."""
    node.error = node.error or None
    if node.kind == "iteration" and node.completed is None:
        node.completed = 0
    node.annotations = [(key, str(value)) for key, value in node.annotations]
    node.inner = [_in_memory(each) for each in node.inner]
    return node


def _same_objects(before: Any, after: Any) -> None:
    """Times to the second, ids and places, which `log_of` leaves out."""
    pairs = zip(all_of(before), all_of(after), strict=True)
    for a, b in pairs:
        assert a.vtType == b.vtType
        assert abs(a.ts_start - b.ts_start) < datetime.timedelta(seconds=1)
        assert (a.ts_end is None) == (b.ts_end is None)
        if isinstance(a, (ModuleExec, GroupExec)):
            assert (a.machine_id, a.id) == (b.machine_id, b.id)
            assert [(n.key, str(n.value)) for n in a.annotations] == [(n.key, n.value) for n in b.annotations]


@pytest.mark.usefixtures("own_temporaries")
def test_a_log_with_unusual_text_can_be_saved(tmp_path: Path) -> None:
    flow = Flow()
    source = flow.python(
        "self.annotate({'note': 'ümläut <&> \"'})\nif i:\n    fail('grün <b>&amp;</b> 漢字')\no = i",
        {"i": "Integer"},
        {"o": "Integer"},
    )
    flow.map(source, "i", "o", "[0, 1]")
    stage = Stage("ours", "controller")
    stage.run(flow)
    locator = FileLocator(str(tmp_path / "x.vt"))
    stage.controller.set_changed(True)
    stage.controller.write_vistrail(locator)
    vistrail, *_ = load_vistrail(FileLocator(str(tmp_path / "x.vt")))
    (run,) = vistrail.get_persisted_log().workflow_execs
    (failed,) = [each for each in all_of(run) if isinstance(each, ModuleExec) and each.completed == -1]
    assert "grün <b>&amp;</b> 漢字" in failed.error
    assert {note.value for each in all_of(run) for note in getattr(each, "annotations", ()) if note.key == "note"} == {
        'ümläut <&> "'
    }


def test_ten_thousand_elements_have_their_log_in_order() -> None:
    flow = Flow()
    flow.map(flow.parity("Counts"), "value", "value", repr(list(range(10_000))))
    watch = Watch()
    seen = Stage("ours").run(flow)
    watch.stop()
    assert [each.iteration for each in _iterations(seen)] == list(range(10_000))
    assert watch.within(60)


# ---------------------------------------------------------------- cancelled


def test_elements_that_were_running_when_the_user_cancelled_are_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parity import View
    from vistrails.core.interpreter.base import AbortExecution

    class Impatient(View):
        def set_module_progress(self, number: int, fraction: float) -> None:
            super().set_module_progress(number, fraction)
            # Both engines run one of the others.
            if fraction >= 0.4 and len(list(stay.iterdir())) == 2:
                raise AbortExecution

    monkeypatch.setattr(running, "_limits", lambda settings: Limits(cancel=30.0))  # a busy machine may take its time
    # One that stays does so alone: where one engine begins late, the other one would have the first and that in a chunk.
    monkeypatch.setattr("parallelflow.map.chunks.MOST_ELEMENTS", 1)
    flow, meet, stay = Flow(), tmp_path / "meet", tmp_path / "stay"
    meet.mkdir()
    stay.mkdir()
    meets, stays = (
        "\n    ".join(each.splitlines()) for each in (together(meet, "pass"), marked(stay, f"time.sleep({LONG})"))
    )
    source = flow.python(f"if i < 4:\n    {meets}\nelse:\n    {stays}\no = i", {"i": "Integer"}, {"o": "Integer"})
    flow.map(source, "i", "o", repr(list(range(10))))
    seen = Stage("ours").run(flow, view=Impatient())
    numbers = [each.iteration for each in _iterations(seen)]
    assert numbers[:4] == [0, 1, 2, 3]
    assert len(numbers) == 6  # and the two that were running
    for each in _iterations(seen):
        (execution,) = each.item_execs
        assert (each.completed, execution.completed) == ((1, 1) if each.iteration < 4 else (None, -1))
        assert each.iteration < 4 or execution.error == "Interrupted by user"
    # The next run is not disturbed.
    assert not differences(*both(_mapping()))
