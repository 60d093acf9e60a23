"""Parameter explorations without a window: cells get what VisTrails' own execution of them gets, from engines."""

from __future__ import annotations

import contextlib
import datetime
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import parity_values
import pytest
from test_parity_exports import exported
from vistrails.core.db.locator import UntitledLocator
from vistrails.core.interpreter.cached import CachedInterpreter
from vistrails.core.paramexplore.function import PEFunction
from vistrails.core.paramexplore.param import PEParam
from vistrails.core.paramexplore.paramexplore import ParameterExploration
from vistrails.core.vistrail.controller import VistrailController
from vistrails.core.vistrail.vistrail import Vistrail
from vistrails.core.vistrail.vistrailvariable import VistrailVariable
from workflows import BASIC, OURS, Flow

from parallelflow.cluster import Session
from parallelflow.explorations.cells import ExplorationError, explore
from parallelflow.explorations.client import PARAMETERS_KEY, CalledOff, Client
from parallelflow.explorations.exploring import Exploring
from parallelflow.map import lacking, running
from parallelflow.map.work import Limits

Explored = Mapping[tuple[int, str], Sequence[object]]

# Adds what it gets, notes that it has run, and in which process.
ADDS = """
with open({tally!r}, "a") as file:
    file.write(f"{{a}} {{b}}\\n")
o = a + b
"""


@dataclass
class Seen:
    """What there was to see of an exploration.

    :ivar kept: what modules got that keep it in VisTrails, cell by cell.
    :ivar failed: by cell, who failed and why.
    :ivar log: by cell, its parameters and what was executed: name, how it ended, whether taken from the cache, and whether there.
    :ivar warned: what the user was told.
    :ivar ran: what modules noted.
    :ivar printed: what was on standard output.
    """

    kept: list[Any] = field(default_factory=list)
    failed: list[tuple[int, str, str]] = field(default_factory=list)
    log: list[tuple[str, list[tuple[str, int, int, bool]]]] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    printed: str = ""


class Explorer:
    """Explores a workflow as VisTrails does, and on the cluster."""

    def __init__(self, folder: Path):
        self.tally = folder / "tally"
        self.marks = folder

    def adds(self) -> str:
        return ADDS.format(tally=str(self.tally))

    def controller(self, flow: Flow) -> VistrailController:
        controller = VistrailController(Vistrail(), UntitledLocator())
        controller.change_selected_version(0)
        controller.current_pipeline = flow.build(OURS, self.tally)
        return controller

    def both(self, flow: Flow, explored: Explored, **more: Any) -> tuple[Seen, Seen]:
        """Return what there was to see of VisTrails' own, and of ours."""
        return self.own(self.controller(flow), explored, **more), self.ours(self.controller(flow), explored, **more)

    def own(self, controller: Any, explored: Explored, **more: Any) -> Seen:
        """VisTrails' own way, in which cells are executed one after the other."""

        def run(client: Client, seen: Seen) -> None:
            for cell in client.exploration.cells:
                result = client.execute(cell)
                seen.failed += [
                    (cell.index, error.module.__class__.__name__, error.msg) for error in result.errors.values()
                ]

        return self._explore(controller, explored, run, **more)

    def ours(self, controller: Any, explored: Explored, client: type[Client] = Client, **more: Any) -> Seen:
        """The cluster's."""

        def run(client: Client, seen: Seen) -> None:
            exploring = Exploring(client)
            with contextlib.suppress(CalledOff):
                exploring.run()
            seen.failed = [
                (each.cell.index, each.error.module.__class__.__name__, each.error.msg) for each in exploring.failures
            ]

        return self._explore(controller, explored, run, client, **more)

    def _explore(
        self,
        controller: Any,
        explored: Explored,
        run: Callable[[Client, Seen], None],
        kind: type[Client] = Client,
        fresh: bool = True,
    ) -> Seen:
        if fresh:
            CachedInterpreter.flush()
        counts = [*(len(values) for values in explored.values()), 1, 1, 1][:4]
        exploration = ParameterExploration(dims=str(counts), layout="{}", name="", action_id=controller.current_version)
        for number, ((module_id, port), values) in enumerate(explored.items()):
            parameter = PEParam(
                id=number, pos=0, interpolator="List", value=repr(list(map(str, values))), dimension=number
            )
            exploration.db_add_function(
                PEFunction(id=number, module_id=module_id, port_name=port, is_alias=0, parameters=[parameter])
            )
        seen, kept = Seen(), parity_values.HELD
        kept["kept"] = seen.kept
        client = kind(controller, explore(controller, exploration))
        client.warn = seen.warned.append  # type: ignore[method-assign]
        before = len(controller.log.workflow_execs)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            run(client, seen)
        seen.printed = output.getvalue()
        for execution in controller.log.workflow_execs[before:]:
            notes = {note.key: note.value for note in execution.annotations}
            seen.log.append((notes.get(PARAMETERS_KEY, ""), sorted(map(_said, execution.item_execs))))
        if self.tally.exists():
            seen.ran = sorted(self.tally.read_text().splitlines())
            self.tally.unlink()
        return seen


def _said(execution: Any) -> tuple[str, int, int, bool]:
    name = execution.module_name if hasattr(execution, "module_name") else execution.group_name
    there = any(note.key == "parallel_engine" for note in execution.annotations)
    return name, execution.completed, execution.cached, there


@pytest.fixture
def explorer(parity: Any, held: dict[str, Any], tmp_path: Path) -> Iterator[Explorer]:
    """VisTrails with two engines, and someone who explores."""
    yield Explorer(tmp_path)
    CachedInterpreter.flush()


def there(log: list[tuple[str, list[tuple[str, int, int, bool]]]]) -> set[str]:
    """The names of the modules that ran on engines."""
    return {name for _, executions in log for name, _, _, is_there in executions if is_there}


def what(log: list[tuple[str, list[tuple[str, int, int, bool]]]]) -> list[Any]:
    """The same log without where it ran."""
    return [(parameters, [each[:3] for each in executions]) for parameters, executions in log]


def test_cells_get_what_they_get_in_vistrails_and_one_that_fails_leaves_the_others(explorer: Explorer) -> None:
    flow = Flow()
    code = explorer.adds() + "if (a, b) == (2, 20): fail('too much')\nprint('sum', o)"
    adds = flow.python(code, {"a": "Integer", "b": "Integer"}, {"o": "Integer"}, presets={"a": "0", "b": "0"})
    doubles = flow.add("ConcatenateString", {"str1": "sum: "})
    text = flow.python("t = str(o)", {"o": "Integer"}, {"t": "String"})
    keeps = flow.parity("Keeps")
    flow.connect(adds, "o", text, "o")
    flow.connect(text, "t", doubles, "str2")
    flow.connect(doubles, "value", keeps, "value")
    flow.connect(adds, "o", keeps, "other")
    own, ours = explorer.both(flow, {(adds, "a"): [1, 2, 3], (adds, "b"): [10, 20]})
    assert len(own.kept) == 5
    assert ours.kept == own.kept
    assert ours.failed == own.failed == [(4, "PythonSource", "too much")]
    assert ours.ran == own.ran
    assert len(ours.ran) == 6
    assert what(ours.log) == what(own.log)
    assert there(ours.log) == {"PythonSource", "ConcatenateString"}
    assert ours.printed == own.printed
    assert own.printed.splitlines() == ["sum 11", "sum 12", "sum 13", "sum 21", "sum 23"]
    assert ours.log[4][0] == "PythonSource.a = 2, PythonSource.b = 20"
    assert ours.warned == []


def test_times_in_the_log_are_when_a_cells_modules_ran(explorer: Explorer) -> None:
    flow = Flow()
    now = "datetime.datetime.now()"
    code = f"import os, time, datetime\nbegin = {now}\ntime.sleep(0.4)\no = (os.getpid(), begin, {now})"
    works = flow.python(code, {"a": "Integer"}, {"o": "Variant"}, presets={"a": "0"})
    keeps = flow.parity("Keeps")
    flow.connect(works, "o", keeps, "value")
    controller = explorer.controller(flow)
    started = datetime.datetime.now()
    seen = explorer.ours(controller, {(works, "a"): list(range(10))})
    cells = sorted(zip(controller.log.workflow_execs, seen.kept, strict=True), key=lambda each: each[1]["value"][1])
    # Of each engine's, one after the other: however long a busy machine makes it wait, a cell does not run beside another.
    ended: dict[int, datetime.datetime] = {}
    for cell, kept in cells:
        pid, begin, end = kept["value"]
        (there,) = [each for each in cell.item_execs if each.module_name == "PythonSource"]
        assert ended.get(pid, started) <= there.ts_start <= begin
        assert end <= there.ts_end <= cell.ts_end
        ended[pid] = there.ts_end


@pytest.mark.parametrize("kind", ["opm", "prov"])
def test_what_vistrails_exports_of_it_is_the_same(explorer: Explorer, kind: str, tmp_path: Path) -> None:
    flow = Flow()
    adds = flow.python("o = a + 1", {"a": "Integer"}, {"o": "Integer"}, presets={"a": "0"})
    mapped = flow.python("o = i + j", {"i": "Integer", "j": "Integer"}, {"o": "Integer"})
    flow.connect(adds, "o", mapped, "j")
    flow.connect(flow.map(mapped, "i", "o", "[1, 2]"), "Result", flow.parity("Keeps", cached=False), "value")
    graphs = []
    for run in (explorer.own, explorer.ours):
        controller = explorer.controller(flow)
        seen = run(controller, {(adds, "a"): (1, 2, 3)})
        assert not seen.failed
        assert len(seen.kept) == 3
        pipeline, version = controller.current_pipeline, controller.current_version
        graphs.append(exported(kind, controller.log, version, pipeline, tmp_path / "graph.xml"))
    assert there(seen.log)
    assert not [each for each in graphs if isinstance(each, tuple)], graphs
    own, ours = (Counter(node.tag for node in graph.iter()) for graph in graphs)
    assert ours == own
    assert len(own) > 5


def test_what_is_the_same_for_all_cells_runs_once_in_vistrails(explorer: Explorer) -> None:
    flow = Flow()
    common = flow.parity("Echo", {"whole": "5", "tally": ""})
    adds = flow.python(explorer.adds(), {"a": "Integer", "b": "Variant"}, {"o": "Integer"}, presets={"a": "0"})
    keeps = flow.parity("Keeps")
    code = f"cache_this()\nwith open({str(explorer.tally)!r}, 'a') as file: file.write('cached\\n')\no = b"
    cached = flow.python(code, {"b": "Variant"}, {"o": "Variant"})
    flow.connect(common, "value", cached, "b")
    flow.connect(cached, "o", adds, "b")
    flow.connect(adds, "o", keeps, "value")
    flow.connect(common, "value", keeps, "other")
    own, ours = explorer.both(flow, {(adds, "a"): [1, 2, 3, 4]})
    assert ours.kept == own.kept == [{"value": 5 + a, "other": 5} for a in (1, 2, 3, 4)]
    assert ours.ran == own.ran
    assert ours.ran.count("Echo") == ours.ran.count("cached") == 1
    assert what(ours.log) == what(own.log)
    assert there(ours.log) == {"PythonSource"}


def test_variables_groups_subworkflows_and_loops_are_as_in_vistrails(explorer: Explorer) -> None:
    inner = Flow()
    adds = inner.python(explorer.adds(), {"a": "Integer", "b": "Integer"}, {"o": "Integer"})
    inner.inputs, inner.outputs = {"a": (adds, "a"), "b": (adds, "b")}, {"o": (adds, "o")}
    flow = Flow()
    variable = flow.add("Integer", {"value": ""}, annotations={"__vistrail_var__": "known"})  # as VisTrails makes it
    explored_variable = flow.add("Integer", {"value": "0"}, annotations={"__vistrail_var__": "explored"})
    group = flow.group(inner, {"a": "1"})
    sub = flow.subworkflow("explored_sub", inner)
    numbers = flow.python("l = [1, 2, n]", {"n": "Integer"}, {"l": "[Integer]"})
    loops = flow.python("o = 2 * i", {"i": "Integer"}, {"o": "Integer"})
    keeps = flow.parity("Keeps")
    flow.connect(variable, "value", group, "b")
    flow.connect(group, "o", sub, "a")
    flow.connect(explored_variable, "value", sub, "b")
    flow.connect(sub, "o", numbers, "n")
    flow.connect(numbers, "l", loops, "i")
    flow.connect(loops, "o", keeps, "value")
    flow.connect(group, "o", keeps, "other")

    def run(way: Callable[..., Seen]) -> Seen:
        controller = explorer.controller(flow)
        for name, value in (("known", "100"), ("explored", "7000")):
            variable_of_vistrail = VistrailVariable(name, name, BASIC, "Integer", "", value)
            controller.vistrail.set_vistrail_var(name, variable_of_vistrail)
        return way(controller, {(group, "a"): [1, 2], (explored_variable, "value"): [1000, 2000]})

    own, ours = run(explorer.own), run(explorer.ours)
    assert ours.kept == own.kept
    assert [each["other"] for each in ours.kept[::3]] == [101, 102, 101, 102]  # it loops, too
    assert ours.ran == own.ran
    assert there(ours.log) >= {"Group", "PythonSource"}
    assert ours.failed == own.failed == []


@pytest.mark.parametrize("kind", ["File", "String"])
def test_files_that_a_host_of_engines_lacks_are_told_before_any_cell_runs(
    explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    names = [str(tmp_path / name) for name in ("one", "two")]
    for name in names:
        Path(name).write_text(name)
    flow = Flow()
    file = flow.add(kind, {"value": names[0]})
    read = flow.python("o = open(f if isinstance(f, str) else f.name).read()", {"f": kind}, {"o": "String"})
    flow.connect(file, "value", read, "f")
    flow.connect(read, "o", flow.parity("Keeps"), "value")
    asked: list[list[str]] = []

    def hosts_without(client: object, paths: list[str], pause: Callable[[], None]) -> dict[str, list[str]]:
        pause()
        asked.append(sorted(paths))
        return {"node2": [names[1]]}

    monkeypatch.setattr(lacking, "hosts_without", hosts_without)
    said = f"node2 does not see '{names[1]}', which VisTrails' machine has: keep them in a folder that both share."
    controller, explored = explorer.controller(flow), {(file, "value"): names}
    if kind == "File":
        with pytest.raises(ExplorationError, match=re.escape(f"{said} No cell was run.")):
            explorer.ours(controller, explored)
        assert parity_values.HELD["kept"] == []
    else:  # which may mean something else
        ours = explorer.ours(controller, explored)
        assert ours.kept == [{"value": name} for name in names]
        assert ours.warned == [f"Parameter exploration: {said}"]
    assert asked == [sorted(names)]


def test_outputs_that_go_to_vistrails_are_computed_as_connected_ones(explorer: Explorer) -> None:
    flow = Flow()
    code = "o = a if 'o' in self.outputPorts else 'not connected'\np = 'p' in self.outputPorts"
    source = flow.python(code, {"a": "Integer"}, {"o": "Variant", "p": "Variant"}, presets={"a": "0"})
    flow.connect(source, "o", flow.parity("Keeps"), "value")
    own, ours = explorer.both(flow, {(source, "a"): [1, 2]})
    assert ours.kept == own.kept == [{"value": 1}, {"value": 2}]
    assert there(ours.log) == {"PythonSource"}


def test_what_cannot_travel_is_computed_in_vistrails_from_what_engines_have_computed(explorer: Explorer) -> None:
    flow = Flow()
    adds = flow.python(explorer.adds(), {"a": "Integer", "b": "Integer"}, {"o": "Integer"}, presets={"b": "1"})
    opens = flow.python(
        "import threading\nl = threading.Lock()\nl_of = o", {"o": "Integer"}, {"l": "Variant", "l_of": "Integer"}
    )
    keeps = flow.parity("Keeps")
    closed = flow.python("t = type(l).__name__", {"l": "Variant"}, {"t": "String"})
    flow.connect(adds, "o", opens, "o")
    flow.connect(opens, "l", keeps, "value")
    flow.connect(opens, "l", closed, "l")
    flow.connect(closed, "t", keeps, "other")
    own, ours = explorer.both(flow, {(adds, "a"): [1, 2, 3]})
    assert [each["other"] for each in ours.kept] == [each["other"] for each in own.kept] == ["lock"] * 3
    assert ours.ran == own.ran
    assert what(ours.log) == what(own.log)
    assert all(sum(is_there for *_, is_there in executions) == 2 for _, executions in ours.log)
    assert ours.warned == []


@pytest.mark.parametrize("reason", ["window", "value"])
def test_where_nothing_can_run_on_engines_it_says_why_and_runs_as_in_vistrails(explorer: Explorer, reason: str) -> None:
    flow = Flow()
    if reason == "window":
        explored = flow.parity("Keeps", {"text": "x"}), "text"
    else:
        source = flow.python(
            "import threading\nl = threading.Lock()", {"value": "String"}, {"l": "Variant"}, presets={"value": ""}
        )
        explored = source, "value"
        flow.connect(source, "l", flow.parity("Keeps"), "value")
    own, ours = explorer.both(flow, {explored: ["one", "two"]})
    assert len(ours.kept) == len(own.kept) == 2
    assert what(ours.log) == what(own.log)
    assert there(ours.log) == set()
    (warning,) = ours.warned
    assert (
        "'Keeps' has to run in VisTrails"
        if reason == "window"
        else "'PythonSource' computes cannot be sent to VisTrails: the value on port 'l': a value of type lock cannot be pickled"
    ) in warning


def test_a_single_cell_that_cannot_run_on_engines_is_no_reason_to_say_so(explorer: Explorer) -> None:
    flow = Flow()
    keeps = flow.parity("Keeps", {"text": "x"})
    ours = explorer.ours(explorer.controller(flow), {(keeps, "text"): ["one"]})
    assert len(ours.kept) == 1
    assert ours.warned == []


def test_a_normal_execution_afterwards_and_a_second_exploration_compute_what_they_need(explorer: Explorer) -> None:
    flow = Flow()
    echo = flow.parity("Echo", {"whole": "0", "tally": ""})
    keeps = flow.parity("Keeps")
    flow.connect(echo, "value", keeps, "value")
    controller = explorer.controller(flow)
    first = explorer.ours(controller, {(echo, "whole"): [1, 2]})
    assert first.ran == ["Echo"] * 2
    # The pipeline of a cell, with another port of the same module in use: that was not sent back.
    pipeline = controller.current_pipeline
    interpreter = CachedInterpreter.get()
    result = interpreter.execute(pipeline)
    assert parity_values.HELD["kept"][-1] == {"value": 0}
    assert not result.errors
    assert all(
        module.outputPorts.get("all") is not None
        for module in interpreter._objects.values()
        if type(module).__name__ == "Echo" and module.upToDate
    )
    assert not any("update" in vars(module) for module in interpreter._objects.values())
    second = explorer.ours(controller, {(echo, "whole"): [1, 2]}, fresh=False)
    assert second.kept == first.kept[:2]


def test_a_cell_that_kills_its_engines_is_named_and_the_others_are_there(
    explorer: Explorer, on_shared_cluster: Session
) -> None:
    flow = Flow()
    source = flow.python(
        "import os, signal\nif a == 2: os.kill(os.getpid(), signal.SIGKILL)\no = a", {"a": "Integer"}, {"o": "Integer"}
    )
    keeps = flow.parity("Keeps")
    flow.connect(source, "o", keeps, "value")
    ours = explorer.ours(explorer.controller(flow), {(source, "a"): [1, 2, 3, 4]})
    on_shared_cluster.stop_started()  # there may be engines that it has started for the cells that were left
    assert ours.kept == [{"value": a} for a in (1, 3, 4)]
    ((index, name, message),) = ours.failed
    assert (index, name) == (1, "PythonSource")
    assert "the cell in column 2, row 1, sheet 1 (PythonSource.a = 2)" in message.lower().replace(
        "pythonsource", "PythonSource"
    )


class _Impatient(Client):
    """Calls the exploration off when two cells are shown."""

    def progress(self, computed: int, shown: int, taken: int = 0) -> None:
        if shown == 2:
            raise CalledOff


@pytest.mark.parametrize("when", ["while others are computed", "when all are computed"])
def test_called_off_between_cells_it_leaves_what_is_there_and_the_next_run_works(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    # It hears of all that has begun: on a busy machine that could note itself in the next run.
    monkeypatch.setattr(running, "_limits", lambda settings: Limits(cancel=30.0))
    flow = Flow()
    adds = flow.python(explorer.adds(), {"a": "Integer", "b": "Integer"}, {"o": "Integer"}, presets={"b": "1"})
    keeps = flow.parity("Keeps")
    flow.connect(adds, "o", keeps, "value")
    controller, explored = explorer.controller(flow), {(adds, "a"): list(range(8))}
    if when == "when all are computed":
        monkeypatch.setattr(Exploring, "_tick", lambda self, scheduler: None)
    first = explorer.ours(controller, explored, _Impatient)
    assert first.kept == [{"value": 1}, {"value": 2}]
    assert len(first.log) == 2
    second = explorer.ours(controller, explored, fresh=False)
    assert second.kept == [{"value": a + 1} for a in range(8)]
    assert len(second.ran) == 8
