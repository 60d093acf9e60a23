"""Results that are kept are taken only for what they are of: real workflows, real engines, each run as of a new session."""

from __future__ import annotations

import itertools
import math
import os
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from helpers import until
from parity import Seen, Stage
from vistrails.core.modules.basic_modules import PathObject
from workflows import Flow

from parallelflow.map import digests, hashing, kept
from parallelflow.map.marks import KEY

pytestmark = pytest.mark.usefixtures("parity")

LONG = "cache_this()\nimport time\ntime.sleep(0.06)\n"
NOTES = "import os\n_t = os.open(tally, os.O_WRONLY | os.O_APPEND)\nos.write(_t, b'ran\\n')\nos.close(_t)\n"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty store."""
    place = tmp_path / "results"
    monkeypatch.setattr(kept, "folder", lambda: place)
    return place


def python(source: str, elements: Any = (1, 2, 3), keep: str = "all", held: str = "", **ports: str) -> Flow:
    """A Map over a PythonSource that notes down that it runs."""
    flow = Flow()
    code = LONG + NOTES + source
    inputs = {"value": "Variant", "tally": "String", **ports}
    function = flow.python(code, inputs, {"result": "Variant"}, presets={"tally": ""})
    where = (flow.held(held), "list") if held else repr(list(elements))
    flow.map(function, "value", "result", where)
    flow.specs[-1 if not held else len(flow.specs) - 1].presets.append(("KeepResults", keep))
    return flow


def run(flow: Flow) -> Seen:
    return Stage("ours").run(flow)


def result(seen: Seen) -> Any:
    assert not seen.errors, (seen.errors, seen.complained)
    number = max(number for number, outputs in seen.outputs.items() if "Result" in outputs)
    return seen.outputs[number]["Result"]


def ran(seen: Seen) -> int:
    return sum(seen.tallies.values())


def test_elements_that_draw_random_numbers_are_taken_only_with_the_same_seed() -> None:
    def seed(number: int) -> None:
        random.seed(number)
        numpy.random.seed(number)  # both belong to the key, if both are there

    flow = python("import random\nresult = random.random()", [7, 7, 7])
    seed(5)
    first = run(flow)
    assert len(set(result(first))) == 3  # equal elements, other numbers
    seed(6)
    other = run(flow)
    assert ran(other) == 3
    assert not set(result(other)) & set(result(first))
    seed(5)
    again = run(flow)
    assert (ran(again), result(again)) == (0, result(first))
    flow = python("import numpy\nresult = numpy.random.rand()", [7, 7])
    seed(1)
    first = run(flow)
    seed(2)
    assert ran(run(flow)) == 2
    seed(1)
    again = run(flow)
    assert (ran(again), result(again)) == (0, result(first))


def groups(source: str) -> list[Flow]:
    """Maps over a PythonSource in a Group, and in one in another."""
    inner = Flow()
    number = inner.python(source, {"value": "Variant", "tally": "String"}, {"result": "Variant"})
    inner.inputs.update(value=(number, "value"), tally=(number, "tally"))
    inner.outputs["result"] = (number, "result")
    middle = Flow()
    number = middle.group(inner)
    middle.inputs.update(value=(number, "value"), tally=(number, "tally"))
    middle.outputs["result"] = (number, "result")
    flows = []
    for content in (inner, middle):
        flow = Flow()
        flow.map(flow.group(content, {"tally": ""}), "value", "result", "[1, 2]")
        flow.specs[-1].presets.append(("KeepResults", "all"))
        flows.append(flow)
    return flows


def test_groups_are_taken_unless_they_draw_random_numbers() -> None:
    for flow in groups(LONG + NOTES + "result = value"):
        first, again = run(flow), run(flow)
        assert [ran(first), ran(again), result(again)] == [2, 0, result(first)]
    for flow in groups(LONG + NOTES + "import random\nresult = random.random()"):
        assert [ran(run(flow)), ran(run(flow))] == [2, 2]


def a_group(source: str, subworkflow: str = "", **ports: str) -> tuple[Flow, Flow]:
    """A Map over a PythonSource in a Group or a subworkflow, and what is in that."""
    inner, flow = Flow(), Flow()
    ports = {"value": "Variant", "tally": "String", **ports}
    number = inner.python(source, ports, {"result": "Variant"})
    inner.inputs.update(value=(number, "value"), tally=(number, "tally"))
    inner.outputs["result"] = (number, "result")
    made = flow.subworkflow(subworkflow, inner, {"tally": ""}) if subworkflow else flow.group(inner, {"tally": ""})
    flow.map(made, "value", "result", "[1, 2]")
    flow.specs[-1].presets.append(("KeepResults", "all"))
    return flow, inner


def test_all_that_is_in_a_group_or_subworkflow_decides_whether_it_is_taken(tmp_path: Path) -> None:
    cached = LONG + NOTES + "result = value"
    beside, inner = a_group(cached)
    always = inner.parity("CountsAlways")
    inner.connect(0, "result", always, "value")  # whose own result goes nowhere
    for flow, again in (
        (a_group(cached, "kept_cached")[0], 0),
        (a_group(cached.removeprefix("cache_this()\n"), "kept_uncached")[0], 2),
        (a_group(cached.replace("= value", "= __import__('random').random()"), "kept_random")[0], 2),
        (a_group(f"{cached}\nif value == 2: self.is_cacheable = lambda *_: False")[0], 1),
        (beside, 2),
    ):
        assert [ran(run(flow)), ran(run(flow))] == [2, again], flow
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("one")
    flow, inner = a_group(LONG + NOTES + "result = open(file.name).read()", file="File")
    inner.specs[0].presets.append(("file", str(file)))
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns

    def runs(text: str) -> None:
        first, again = run(flow), run(flow)
        assert [ran(first), ran(again), result(first), result(again)] == [2, 0, [text] * 2, [text] * 2]

    runs("one")
    file.write_text("two")
    os.utime(file, ns=times)
    runs("two")
    other.write_text("new")
    os.utime(other, ns=times)
    other.replace(file)
    runs("new")
    other.write_text("its")
    file.unlink()
    file.symlink_to(other.name)
    runs("its")


def test_what_vistrails_would_not_cache_runs_each_time() -> None:
    plain = "import time\ntime.sleep(0.06)\n" + NOTES + "result = value"
    flows = groups(plain)
    flow = Flow()
    flow.map(
        flow.python(plain, {"value": "Variant", "tally": "String"}, {"result": "Variant"}, presets={"tally": ""}),
        "value",
        "result",
        "[1, 2]",
    )
    flow.specs[-1].presets.append(("KeepResults", "all"))
    flows.append(flow)
    off = python("result = value", [1, 2])
    off.specs[0].cached = False
    for each in (*flows, off):
        assert [ran(run(each)), ran(run(each))] == [2, 2]


def test_suspended_elements_are_not_kept_and_those_beside_them_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SHORTEST", 0.0)
    monkeypatch.setattr(kept, "READING", math.inf)
    flow = Flow()
    mapped = flow.map(flow.parity("Suspends", {"tally": "?"}), "value", "value", "[2, 1, 4, 3]")
    flow.specs[mapped].presets.append(("KeepResults", "all"))
    first, second = run(flow), run(flow)
    assert first.suspended == second.suspended != {}
    assert (ran(first), ran(second)) == (4, 2)


def test_files_of_elements_and_ports_are_known_by_content(held: dict[str, Any], tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text("one")
    held["files"] = [PathObject(str(file)) for file in files]
    flow = python("result = open(value.name).read()", held="files")
    assert result(run(flow)) == ["one", "one"]
    assert ran(run(flow)) == 0
    files[1].write_text("two")
    seen = run(flow)
    assert (ran(seen), result(seen)) == (1, ["one", "two"])
    files[1].write_text("one")
    seen = run(flow)
    assert (ran(seen), result(seen)) == (0, ["one", "one"])
    flow = python("result = value + open(file.name).read()", ["x"], file="File")
    flow.specs[0].presets.append(("file", str(files[0])))
    assert result(run(flow)) == ["xone"]
    assert ran(run(flow)) == 0
    files[0].write_text("new")
    seen = run(flow)
    assert (ran(seen), result(seen)) == (1, ["xnew"])


def test_a_file_that_changes_while_elements_run_is_not_taken_for_what_it_was(
    held: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    held["files"] = [PathObject(str(file))]
    changed = "open(value.name, 'w').write('two')\nresult = open(value.name).read()"
    assert result(run(python(changed, held="files"))) == ["two"]
    file.write_text("one")
    assert ran(run(python(changed, held="files"))) == 1


def test_a_file_on_another_port_that_changes_meanwhile_is_not_taken_for_what_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    flow = python("open(file.name, 'w').write('two')\nresult = value", file="File")
    flow.specs[0].presets.append(("file", str(file)))
    assert result(run(flow)) == [1, 2, 3]
    file.write_text("one")
    assert ran(run(flow)) == 3


def test_results_that_name_files_bring_them(tmp_path: Path) -> None:
    flow = python(
        "result = self.interpreter.filePool.create_file(suffix='.txt')\nopen(result.name, 'w').write(f'of {value}')"
    )
    first = result(run(flow))
    assert [Path(each.name).read_text() for each in first] == ["of 1", "of 2", "of 3"]
    for each in first:
        os.unlink(each.name)
    seen = run(flow)
    assert ran(seen) == 0
    assert [Path(each.name).read_text() for each in result(seen)] == ["of 1", "of 2", "of 3"]
    assert not {each.name for each in result(seen)} & {each.name for each in first}
    outside = python(
        f"from vistrails.core.modules.basic_modules import PathObject\nresult = PathObject({str(tmp_path)!r} + f'/out{{value}}')\n"
        "open(result.name, 'w').write(str(value))"
    )
    run(outside)
    assert ran(run(outside)) == 0
    (tmp_path / "out2").write_text("changed")
    (tmp_path / "out3").unlink()
    assert ran(run(outside)) == 2
    assert (tmp_path / "out2").read_text() == "2"
    text = python("result = self.interpreter.filePool.create_file().name")
    assert [ran(run(text)), ran(run(text))] == [3, 3]


def test_code_that_is_loaded_beside_what_can_be_read_in_the_text_counts(tmp_path: Path) -> None:
    (tmp_path / "pf_hidden.py").write_text("def f(x): return x\n")
    here = f"import sys, importlib\nsys.path.insert(0, {str(tmp_path)!r})\n"
    source = f"{here}result = importlib.import_module('pf_' + 'hidden').f(value)"
    flow, engines, turns = python(source), set[str](), itertools.count()

    def both_have_loaded_it() -> bool:
        seen = run(python(f"{source}  # {next(turns)}"))
        assert seen.log is not None
        notes = [note for each in seen.log.find("module") for note in each.raw.annotations]
        engines.update(note.value for note in notes if note.key == "parallel_engine")
        return len(engines) == 2

    until(both_have_loaded_it)  # on a busy machine one engine may run all
    assert result(run(flow)) == [1, 2, 3]
    assert ran(run(flow)) == 0
    (tmp_path / "pf_hidden.py").write_text("def f(x): return -x\n")
    # Engines have the old code loaded: what they compute is not kept for the new one.
    assert ran(run(flow)) == 3
    assert ran(run(flow)) == 3
    (tmp_path / "pf_hidden.py").write_text("def f(x): return x\n")
    assert ran(run(flow)) == 0


def test_equal_values_of_other_types_are_other_elements(held: dict[str, Any]) -> None:
    held["values"] = [1, True, 1.0, "1", b"1", numpy.int64(1), numpy.float32(1), [1], {1}, 0.0, -0.0]
    flow = python("result = repr(value)", held="values")
    first = result(run(flow))
    assert len(set(first)) == len(first)
    held["values"].reverse()
    seen = run(flow)
    assert (ran(seen), result(seen)) == (0, first[::-1])


def test_what_elements_change_in_place_does_not_become_their_key(held: dict[str, Any]) -> None:
    held["values"] = [[1], [2]]
    flow = python("value.append(5)\nresult = value", held="values")
    assert result(run(flow)) == [[1, 5], [2, 5]]
    held["values"] = [[1, 5], [2]]
    seen = run(flow)
    assert (ran(seen), result(seen)) == (1, [[1, 5, 5], [2, 5]])


def test_a_branch_that_all_elements_share_counts(tmp_path: Path) -> None:
    def choosing(text: str, cached: bool = True) -> Flow:
        flow = Flow()
        code = LONG + NOTES + "result = text"
        branch = flow.python(
            code if cached else code.removeprefix("cache_this()\n"),
            {"text": "String", "tally": "String"},
            {"result": "Variant"},
            presets={"text": text, "tally": ""},
        )
        chosen = flow.add(
            "If",
            {"TrueOutputPorts": "['result']", "FalseOutputPorts": "['result']"},
            package="org.vistrails.vistrails.control_flow",
        )
        flow.connect(branch, "self", chosen, "TruePort")
        flow.connect(branch, "self", chosen, "FalsePort")
        flow.map(chosen, "Condition", "Result", "[True]")
        flow.specs[-1].presets.append(("KeepResults", "all"))
        return flow

    assert result(run(choosing("a"))) == ["a"]
    assert ran(run(choosing("a"))) == 0
    assert result(run(choosing("b"))) == ["b"]
    assert [ran(run(choosing("c", False))), ran(run(choosing("c", False)))] == [1, 1]


def test_what_a_run_has_noted_of_engines_holds_for_it_alone() -> None:
    """Two Maps in turn on the same engines: each one's results are kept."""
    one, other = python("result = value"), python("result = -value")
    for flow in (one, other):
        assert ran(run(flow)) == 3
    for flow in (one, other):
        assert ran(run(flow)) == 0


def test_a_modules_own_loop_keeps_what_vistrails_would_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SimpleNamespace(keep_results="all", results_limit=1)
    monkeypatch.setattr(kept, "get_session", lambda: SimpleNamespace(settings=settings))

    def looping(source: str, numbers: str) -> Flow:
        flow = Flow()
        given = flow.python(f"o = {numbers}", {}, {"o": "[Integer]"})
        ports = {"value": "Integer", "tally": "String"}
        loop = flow.python(source, ports, {"result": "Variant"}, presets={"tally": ""}, annotations={KEY: ""})
        flow.connect(given, "o", loop, "value")
        holds = flow.parity("Lists")
        flow.connect(loop, "result", holds, "other")
        return flow

    cached = LONG + NOTES + "result = value * 2"
    drawing = LONG + NOTES + "import random\nresult = random.random()"
    assert ran(run(looping(cached, "[1, 2, 3]"))) == 3
    assert ran(run(looping(cached, "[3, 4, 1]"))) == 1
    for source in (cached.removeprefix("cache_this()\n"), drawing):
        assert [ran(run(looping(source, "[5, 5]"))), ran(run(looping(source, "[5, 5]")))] == [2, 2]


def test_a_large_value_on_another_port_is_hashed_only_for_what_is_kept(
    held: dict[str, Any], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(digests, "LATER", 100_000)
    hashed: list[int] = []
    digest = hashing.Later.digest
    monkeypatch.setattr(hashing.Later, "digest", lambda self, pause: (hashed.append(1), digest(self, pause))[1])

    def flow(pause: str) -> Flow:
        made = Flow()
        source = f"cache_this()\n{pause}{NOTES}result = value + int(c[0])"
        inputs = {"value": "Variant", "tally": "String", "c": "Variant"}
        function = made.python(source, inputs, {"result": "Variant"}, presets={"tally": ""})
        made.connect(made.held("large"), "value", function, "c")
        made.map(function, "value", "result", "[1, 2, 3]")
        made.specs[-1].presets.append(("KeepResults", "all"))
        return made

    held["large"] = bytearray(200_000)
    assert result(run(flow(""))) == [1, 2, 3]
    assert hashed == []  # elements that take no time are not kept
    long = flow("import time\ntime.sleep(0.06)\n")
    assert result(run(long)) == [1, 2, 3]
    assert len(hashed) == 1
    again = run(long)
    assert (ran(again), result(again)) == (0, [1, 2, 3])
    held["large"] = bytearray(b"\x01" * 200_000)  # as large, and something else
    other = run(long)
    assert (ran(other), result(other)) == (3, [2, 3, 4])
    again = run(long)
    assert (ran(again), result(again)) == (0, [2, 3, 4])
