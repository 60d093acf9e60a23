"""What kept results are known by: what makes a plan or an element another one, and what does not. Without engines."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from parity import open_controller
from vistrails.core.db.action import create_action
from vistrails.core.db.locator import FileLocator
from vistrails.core.interpreter.noncached import Interpreter
from vistrails.core.modules.basic_modules import PathObject
from vistrails.core.modules.module_registry import get_module_registry
from vistrails.core.modules.sub_module import new_abstraction
from vistrails.core.modules.vistrails_module import Module, new_module
from vistrails.core.vistrail.controller import VistrailController, abstraction_pkg, abstraction_ver
from workflows import OURS, PARITY, Flow

from parallelflow.map import execution, file_contents, identity, loaded_code, made_classes
from parallelflow.map.hashing import LATER, Later, Unknown
from parallelflow.map.identity import PlanIdentity
from parallelflow.map.keepable import names_no_file
from parallelflow.map.needs import Needed, Package
from parallelflow.map.plan import Connector, Content, PlannedModule, Spec, make_plan
from parallelflow.map.scheduler import MapError


@pytest.fixture
def identity_of(vistrails: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives what the Map in a flow or a pipeline is known by, and runs nothing but what is upstream of it."""
    made: list[PlanIdentity | str] = []

    def stop(map_module: Any, *arguments: Any) -> Any:
        made.append(identity.of_plan(map_module, make_plan(map_module, *arguments).content))
        raise MapError("planned")

    monkeypatch.setattr(execution, "make_plan", stop)

    def known_by(flow: Any) -> PlanIdentity | str:
        Interpreter.get().execute(flow.build(OURS) if isinstance(flow, Flow) else flow)
        return made.pop()

    return known_by


@pytest.fixture
def digest_of(identity_of: Any) -> Callable[[Any], bytes]:
    """Gives the digest of the plan in a flow or a pipeline."""

    def digest(flow: Any) -> bytes:
        found = identity_of(flow)
        assert isinstance(found, PlanIdentity), found
        return found.digest

    return digest


def flow_with(
    preset: str = "1",
    elements: str = "[1, 2]",
    port: str = "value",
    output: str = "value",
    other: str = "",
    before: int = 0,
) -> Flow:
    flow = Flow()
    for _ in range(before):  # others get other ids
        flow.parity("Echo", {"text": "another"})
    echo = flow.parity("Echo", {"text": preset})
    if other:
        flow.connect(flow.python(f"o = {other}", {}, {"o": "Variant"}), "o", echo, "other")
    flow.map(echo, port, output, elements)
    return flow


def python_flow(source: str, **ports: str) -> Flow:
    flow = Flow()
    flow.map(flow.python(source, {"i": "Variant", **ports}, {"o": "Variant"}), "i", "o", "[1]")
    return flow


def in_group(inner: Flow, port: str = "value", output: str = "value", subworkflow: str = "") -> Flow:
    flow = Flow()
    number = flow.subworkflow(subworkflow, inner) if subworkflow else flow.group(inner)
    flow.map(number, port, output, "[1]")
    return flow


def chain(first: str = "1", second: str = "2", turned: bool = False) -> Flow:
    """Two modules in a row, which a Group shows as one; they may have been made in either order."""
    inner = Flow()
    names = ["first", "second"][:: -1 if turned else 1]
    numbers = {name: inner.parity("Echo", {"text": {"first": first, "second": second}[name]}) for name in names}
    inner.connect(numbers["first"], "value", numbers["second"], "value")
    inner.inputs["value"], inner.outputs["value"] = (numbers["first"], "value"), (numbers["second"], "value")
    return inner


# ---------------------------------------------------------------- the plan


def test_a_plan_is_known_by_what_would_run(digest_of: Any) -> None:
    own = digest_of(flow_with())
    assert digest_of(flow_with()) == own
    assert digest_of(flow_with(elements="[3, 4, 5]")) == own
    assert digest_of(flow_with(before=3)) == own
    others = [
        flow_with(preset="2"),
        flow_with(port="other"),
        flow_with(output="all"),
        flow_with(other="5"),
        flow_with(other="6"),
    ]
    others += [flow_with(other=text) for text in ("5.0", "'5'", "True", "[5]", "(5,)", "{5}")]
    assert len({own, *map(digest_of, others)}) == len(others) + 1


def test_what_is_upstream_of_a_value_does_not_count(digest_of: Any) -> None:
    assert digest_of(flow_with(other="5")) == digest_of(flow_with(other="2 + 3"))
    named, otherwise = "{'a': 1, 'b': [2, 3]}", "dict(b=[2, 3], a=1)"
    assert digest_of(flow_with(other=named)) == digest_of(flow_with(other=otherwise))
    numpy_here = "__import__('numpy')"
    plain = f"{numpy_here}.arange(6.).reshape(2, 3)"
    assert digest_of(flow_with(other=plain)) == digest_of(flow_with(other=f"{numpy_here}.asfortranarray({plain})"))


def test_edits_that_change_nothing_of_what_runs_keep_a_plan(
    digest_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = open_controller(flow_with(other="5").build(OURS))
    own = digest_of(controller.current_pipeline)
    echo = next(each for each in controller.current_pipeline.module_list if each.name == "Echo")
    versions = [controller.current_version]
    controller.move_module_list([(each.id, 50.0 * each.id, -7.0) for each in controller.current_pipeline.module_list])
    versions.append(controller.current_version)
    assert digest_of(controller.current_pipeline) == own
    controller.add_annotation(("__desc__", "its label"), echo.id)
    versions.append(controller.current_version)
    assert digest_of(controller.current_pipeline) == own
    assert len(set(versions)) == 3
    controller.vistrail.set_tag(controller.current_version, "first name")
    controller.vistrail.set_tag(controller.current_version, "second name")
    assert digest_of(controller.current_pipeline) == own
    monkeypatch.chdir(tmp_path)
    assert digest_of(controller.current_pipeline) == own
    controller.update_function(echo, "text", ["2"])
    assert digest_of(controller.current_pipeline) != own
    echo = controller.current_pipeline.modules[echo.id]
    controller.update_function(echo, "text", ["1"])
    assert digest_of(controller.current_pipeline) == own


def test_a_saved_workflow_that_is_opened_again_has_the_same_plan(
    identity_of: Any, tmp_path: Path, own_temporaries: None
) -> None:
    inner = chain("a", "b")
    beside = inner.parity("Echo", {"text": "c"})
    inner.connect(beside, "value", 1, "other")
    inner.parity("Echo", {"text": "d"})
    flow = in_group(inner)
    controller = open_controller(flow.build(OURS))
    own = identity_of(controller.current_pipeline)
    locator = FileLocator(str(tmp_path / "saved.vt"))
    controller.write_vistrail(locator)
    again = VistrailController(locator.load().vistrail, locator, auto_save=False)
    again.change_selected_version(again.vistrail.get_latest_version())
    found = identity_of(again.current_pipeline)
    assert found.digest == own.digest
    assert found.of_random(b"key", (1, 2), 3) == own.of_random(b"key", (1, 2), 3)


def test_a_python_source_is_known_by_its_text_and_its_ports(digest_of: Any) -> None:
    flows = [python_flow("o = i"), python_flow("o = i "), python_flow("o = -i"), python_flow("o = i", other="Float")]
    flows += [python_flow("o = i", other="Integer"), python_flow("o = i", another="Float")]
    assert len(set(map(digest_of, flows))) == len(flows)
    assert digest_of(python_flow("o = i")) == digest_of(flows[0])


def test_loops_over_lists_and_other_control_parameters_count(digest_of: Any) -> None:
    def looping(**control: str) -> Flow:
        flow = Flow()
        flow.map(flow.parity("Echo", {"text": "1"}, control=control), "value", "value", "[1]")
        return flow

    flows = [looping(), looping(loop_type="pairwise"), looping(loop_type="cartesian"), looping(while_cond="value")]
    assert len(set(map(digest_of, flows))) == len(flows)


def test_order_counts_where_several_connections_meet(digest_of: Any) -> None:
    def meeting(*values: str) -> Flow:
        flow = Flow()
        lists = flow.parity("Lists")
        for value in values:
            flow.connect(flow.python(f"o = {value}", {}, {"o": "Variant"}), "o", lists, "other")
        flow.map(lists, "value", "all", "[1]")
        return flow

    assert digest_of(meeting("1", "2")) != digest_of(meeting("2", "1"))
    assert digest_of(meeting("1", "2")) == digest_of(meeting("1", "1 + 1"))


def test_a_module_that_only_its_consumer_runs_counts(digest_of: Any) -> None:
    def choosing(first: str, second: str) -> Flow:
        flow = Flow()
        branches = [flow.parity("Echo", {"text": text}) for text in (first, second)]
        chosen = flow.add(
            "If",
            {"TrueOutputPorts": "['value']", "FalseOutputPorts": "['value']"},
            package="org.vistrails.vistrails.control_flow",
        )
        flow.connect(branches[0], "self", chosen, "TruePort")
        flow.connect(branches[1], "self", chosen, "FalsePort")
        flow.map(chosen, "Condition", "Result", "[True, False]")
        return flow

    own = digest_of(choosing("a", "b"))
    assert digest_of(choosing("a", "b")) == own
    assert len({own, digest_of(choosing("b", "a")), digest_of(choosing("a", "c"))}) == 3


def test_nothing_of_a_plan_is_forgotten() -> None:
    """A field that a plan gets must be put into the description, or here."""
    in_pipeline = {"subworkflows", "pipeline", "parameters"}  # described as VisTrails stores them
    by_content = {"files"}  # where they are named
    does_not_count = {"map_id", "folder", "file_pool"}
    described = {"packages", "modules", "functions", "is_range", "input_ports", "output_port", "chunk"}
    assert {each.name for each in fields(Content)} == in_pipeline | by_content | does_not_count | described
    described = {"list_depth", "enabled_outputs", "connectors", "computed"}
    assert {each.name for each in fields(PlannedModule)} == {"module_id", "signature"} | described
    described = {"port", "spec", "typecheck", "source", "source_port", "value", "depth"}
    assert {each.name for each in fields(Connector)} == {"origin"} | described
    assert {each.name for each in fields(Spec)} == {"name", "sigstring", "depth", "optional"}  # the name is the port's
    by_code = {"code", "codepath", "prefix"}
    assert {each.name for each in fields(Package)} == {"identifier", "version"} | by_code


def test_what_names_no_file_is_told_at_a_glance(tmp_path: Path) -> None:
    none: list[Any] = [
        1,
        "a",
        [1],
        (1, [2.0, None]),
        {"a": [b""]},
        {1, 2},
        numpy.zeros(3),
        numpy.float64(1),
        [numpy.zeros(2, [("a", "i4")])],
    ]
    some: list[Any] = [
        PathObject("a"),
        Path("a"),
        [Path("a")],
        {"a": {"b": Path("a")}},
        {Path("a"): 1},
        [[[[[[1]]]]]],
        object(),
    ]
    some += [numpy.array([None], object), {"a": (1, [PathObject("a")])}, numpy.zeros(1, [("a", "O")])]
    assert [names_no_file(each) for each in none] == [True] * len(none)
    assert [names_no_file(each) for each in some] == [False] * len(some)


def test_where_a_cache_is_switched_off_nothing_is_known(identity_of: Any) -> None:
    off, inner = flow_with(), chain()
    off.specs[0].cached = inner.specs[1].cached = False
    for flow in (off, in_group(inner), in_group(inner, subworkflow="switched_off")):
        assert identity_of(flow) == "the cache of the module 'Echo' is switched off"


# ---------------------------------------------------------------- Groups and subworkflows


def test_a_group_is_known_by_what_is_in_it(digest_of: Any) -> None:
    own = digest_of(in_group(chain()))
    assert digest_of(in_group(chain(turned=True))) == own  # other ids, another order
    straight = chain()
    straight.connections.clear()
    inner = Flow()
    inner.inputs["value"] = (inner.group(chain()), "value")
    inner.outputs["value"] = (0, "value")
    others = [in_group(chain("2", "1")), in_group(chain("1", "3")), in_group(straight), in_group(inner)]
    assert len({own, *map(digest_of, others)}) == 5
    deeper = Flow()
    deeper.inputs["value"] = (deeper.group(chain("1", "3")), "value")
    deeper.outputs["value"] = (0, "value")
    assert digest_of(in_group(deeper)) != digest_of(in_group(inner))


def test_moving_what_is_in_a_group_keeps_it(digest_of: Any) -> None:
    pipeline = in_group(chain()).build(OURS)
    own = digest_of(pipeline)
    inside = next(each for each in pipeline.module_list if each.is_group()).pipeline
    for module in inside.module_list:
        module.location.x += 40.0
    assert digest_of(pipeline) == own
    changed = next(each for each in inside.module_list if each.name == "Echo")
    changed.functions[0].params[0].strValue = "changed"
    assert digest_of(pipeline) != own


def test_a_subworkflow_is_known_by_its_version(digest_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = in_group(chain(), subworkflow="identified")
    pipeline = flow.build(OURS)
    own = digest_of(pipeline)
    assert digest_of(flow.build(OURS)) == own
    assert digest_of(in_group(chain())) != own
    stored = next(each for each in pipeline.module_list if each.is_abstraction())
    # Of the same version, as if it came from a VisTrails that was closed before it was saved.
    parameter = next(each for each in stored.pipeline.module_list if each.name == "Echo").functions[0].params[0]
    text, parameter.strValue = parameter.strValue, "changed"
    assert digest_of(pipeline) != own
    parameter.strValue = text
    assert digest_of(pipeline) == own
    # A later version, in which a module has been moved.
    vistrail = copy.copy(stored.vistrail)
    echo = next(each for each in stored.pipeline.module_list if each.name == "Echo")
    moved = copy.copy(echo.location)
    moved.id = vistrail.idScope.getNewId(moved.vtType)
    vistrail.add_action(create_action([("change", echo.location, moved, echo.vtType, echo.id)]), 1, 0)
    version = str(vistrail.get_latest_version())
    module = new_abstraction(stored.name, vistrail, "", int(version))
    described = {"package": abstraction_pkg, "package_version": abstraction_ver, "namespace": stored.namespace}
    registry = get_module_registry()
    registry.auto_add_module((module, {**described, "version": version}))
    registry.auto_add_ports(module)
    make = VistrailController.create_module_static

    def make_later(*arguments: Any) -> Any:
        return make(*arguments[:-1], int(version)) if arguments[1] == abstraction_pkg else make(*arguments)

    monkeypatch.setattr(VistrailController, "create_module_static", make_later)
    later = flow.build(OURS)
    assert next(each for each in later.module_list if each.is_abstraction()).internal_version == int(version)
    assert digest_of(later) != own


# ---------------------------------------------------------------- code


@pytest.fixture
def restored(vistrails_folder: Path) -> Any:
    """A file of the tests' own package, which is as it was afterwards."""
    path = vistrails_folder / "userpackages" / "parity_package" / "values.py"
    text = path.read_text()
    yield path
    path.write_text(text)


def test_the_code_of_the_users_packages_counts(digest_of: Any, restored: Path) -> None:
    own = digest_of(flow_with())
    text = restored.read_text()
    restored.write_text(f"{text}\n# changed\n")
    assert digest_of(flow_with()) != own
    restored.write_text(text)
    assert digest_of(flow_with()) == own


def test_versions_of_packages_and_of_python_count(digest_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = digest_of(flow_with())
    packages = Needed.packages
    with monkeypatch.context() as changed:
        changed.setattr(Needed, "packages", lambda self: [replace(each, version="9.9.9") for each in packages(self)])
        assert digest_of(flow_with()) != own
    assert digest_of(flow_with()) == own
    monkeypatch.setattr(loaded_code, "python", lambda: ("CPython", (3, 99)))
    assert digest_of(flow_with()) != own


def test_what_engines_have_loaded_must_be_what_the_plan_says(
    identity_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pf_unit.py").write_text("f = 1\n")
    flow = python_flow("import pf_unit\no = i")
    flow.map(flow.parity("Echo"), "value", "value", "[1]")
    known = identity_of(flow)
    units, values = known.code.units, "userpackages.parity_package.values"
    assert "pf_unit" in units
    there = sys.modules[values].__file__
    assert there is not None
    same = loaded_code.Loaded(
        loaded_code.python(), dict(units), {values: file_contents.digest_of(there)}, {}, (), {}, dict(known._settings)
    )
    assert known.why_not(same) is None
    assert any(known._settings.values())
    package = next(name for name, digest in known._settings.items() if digest)
    for other, said in (
        (
            replace(same, changed=("/its/file.py",)),
            "/its/file.py is not what an engine has loaded of it: start engines anew",
        ),
        (replace(same, python=("CPython", (3, 99, 0))), "an engine has Python 3.99.0, and VisTrails has"),
        (
            replace(same, units={**units, "pf_unit": b"other"}),
            "what an engine has of 'pf_unit' is not what VisTrails has",
        ),
        (replace(same, units={}), "is not what VisTrails has"),
        (replace(same, modules={values: b"other"}), f"{there} is not what an engine has of it: start engines anew"),
        (replace(same, settings={}), "with which an engine has loaded it: start engines anew"),
        (replace(same, settings={**same.settings, package: None}), f"the preferences of the package '{package}'"),
    ):
        assert said in (known.why_not(other) or ""), said
    known._made["its:Tool:"] = b"made"
    assert "the module 'Tool' is not what VisTrails has: start engines anew" in known.why_not(same)
    assert known.why_not(replace(same, made={"its:Tool:": b"made"})) is None


def test_what_a_python_source_imports_counts(digest_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pf_helper.py").write_text("from pf_inner import f\n")
    (tmp_path / "pf_inner.py").write_text("f = 1\n")
    inner = Flow()
    number = inner.python("import pf_helper\no = i", {"i": "Variant"}, {"o": "Variant"})
    inner.inputs["i"], inner.outputs["o"] = (number, "i"), (number, "o")
    flows = [python_flow("import pf_helper\no = i"), in_group(inner, "i", "o")]
    before = [digest_of(flow) for flow in flows]
    assert [digest_of(flow) for flow in flows] == before
    (tmp_path / "pf_inner.py").write_text("f = 2\n")
    assert not {digest_of(flow) for flow in flows} & set(before)


def test_a_class_that_a_package_makes_is_known_by_what_it_was_made_of() -> None:
    def make(command: str, **more: Any) -> type:
        def compute(self: Any) -> str:
            return command

        made: type = new_module(Module, "Made", {"compute": compute, **more})
        return made

    assert made_classes.digest_of(make("a")) == made_classes.digest_of(make("a"))
    kinds = [make("a"), make("b"), make("a", conf={"a": 1}), make("a", conf={"a": 2}), new_module(make("a"), "Made")]
    assert len({made_classes.digest_of(kind) for kind in kinds}) == len(kinds)
    assert made_classes.digest_of(Module) is None
    with pytest.raises(Unknown):
        made_classes.digest_of(make("a", conf=lambda: 1, other=object().__str__))


def test_a_command_line_tool_is_known_by_its_description(digest_of: Any, tmp_path: Path) -> None:
    from vistrails.packages.CLTools import init as tools

    def digest(word: str) -> bytes:
        path = tmp_path / "identified.clt"
        path.write_text(
            json.dumps({"command": "echo", "args": [["constant", word, "flag", []]], "stdout": ["out", "file", []]})
        )
        tools.add_tool(str(path))
        try:
            flow = Flow()
            flow.map(flow.add("identified", {}, package="org.vistrails.vistrails.cltools"), [], "out", "[()]")
            return digest_of(flow)
        finally:
            del tools.cl_tools["identified"]
            get_module_registry().delete_module("org.vistrails.vistrails.cltools", "identified")

    assert digest("one") == digest("one")
    assert digest("one") != digest("other")


# ---------------------------------------------------------------- files


def file_flows(folder: Path) -> dict[str, Flow]:
    """Flows in which `file` and `folder` are named in all ways but as text."""
    name, inside = str(folder / "file"), str(folder / "folder")
    flows = {
        kind: Flow() for kind in ("preset", "folder's preset", "connected", "list", "group", "constant in a group")
    }
    flows["preset"].map(flows["preset"].parity("Echo", {"file": name}), "value", "value", "[1]")
    flows["folder's preset"].map(
        flows["folder's preset"].parity("Echo", {"directory": inside}), "value", "value", "[1]"
    )
    flow = flows["connected"]
    echo = flow.parity("Echo")
    flow.connect(flow.add("File", {"value": name}), "value", echo, "file")
    flow.map(echo, "value", "value", "[1]")
    flow = flows["list"]
    echo = flow.parity("Echo")
    made = flow.python(f"from pathlib import Path\no = {{'a': [Path({name!r})]}}", {}, {"o": "Variant"})
    flow.connect(made, "o", echo, "other")
    flow.map(echo, "value", "value", "[1]")
    inner = Flow()
    inner.inputs["value"] = (inner.parity("Echo", {"path": name}), "value")
    inner.outputs["value"] = (0, "value")
    flows["group"] = in_group(inner)
    inner = Flow()
    inner.inputs["value"] = (inner.parity("Echo"), "value")
    inner.outputs["value"] = (0, "value")
    inner.connect(inner.add("File", {"value": name}), "value", 0, "file")
    flows["constant in a group"] = in_group(inner)
    return flows


def test_files_are_known_by_what_is_in_them(digest_of: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for file in (tmp_path / "file", tmp_path / "folder" / "file"):
        file.write_text("one")
    flows = file_flows(tmp_path)
    before = {kind: digest_of(flow) for kind, flow in flows.items()}
    for file in (tmp_path / "file", tmp_path / "folder" / "file"):
        os.utime(file, (5, 5))
    assert {kind: digest_of(flow) for kind, flow in flows.items()} == before
    for file in (tmp_path / "file", tmp_path / "folder" / "file"):
        file.write_text("two")
    after = {kind: digest_of(flow) for kind, flow in flows.items()}
    assert [kind for kind in flows if after[kind] == before[kind]] == []


def test_what_is_to_be_written_does_not_count_as_content(digest_of: Any, tmp_path: Path) -> None:
    flow = Flow()
    flow.map(flow.add("FileSink", {"outputPath": str(tmp_path / "out")}), "file", "self", "[1]")
    before = digest_of(flow)
    (tmp_path / "out").write_text("written")
    assert digest_of(flow) == before


def test_a_file_of_the_pool_has_no_name(identity_of: Any, tmp_path: Path) -> None:
    known = identity_of(flow_with())
    pool = Interpreter.get().filePool
    one, other = pool.create_file(suffix=".txt"), pool.create_file(suffix=".txt")
    for file in (one, other):
        Path(file.name).write_text("same")
    assert known.of_element([one]) == known.of_element([other])
    assert known.of_element([one]) != known.of_element([pool.create_file(suffix=".txt")])
    # A name that a module has given counts: its consumer may go by it.
    folders = [Path(pool.create_directory().name) for _ in range(2)]
    for folder in folders:
        for name in ("a.txt", "b.txt"):
            (folder / name).write_text("same")
    first, second = (
        [known.of_element([PathObject(str(folder / name))]) for name in ("a.txt", "b.txt")] for folder in folders
    )
    assert first == second
    assert first[0] != first[1]
    assert known.of_element([PathObject(str(folders[0]))]) == known.of_element([PathObject(str(folders[1]))])
    outside = [tmp_path / "one.txt", tmp_path / "other.txt"]
    for path in outside:
        path.write_text("same")
    assert known.of_element([PathObject(str(outside[0]))]) != known.of_element([PathObject(str(outside[1]))])


def test_a_large_value_on_another_port_is_hashed_when_somebody_asks(
    identity_of: Any, held: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def flow(value: Any) -> Flow:
        held["large"] = value
        made = Flow()
        function = made.python("o = i", {"i": "Variant", "c": "Variant"}, {"o": "Variant"})
        made.connect(made.held("large"), "value", function, "c")
        made.map(function, "i", "o", "[1]")
        return made

    hashed: list[int] = []
    digest = Later.digest
    monkeypatch.setattr(Later, "digest", lambda self, pause: (hashed.append(1), digest(self, pause))[1])
    ones, twos = (numpy.full(LATER, number, "u1") for number in (1, 2))
    known, other = identity_of(flow(ones)), identity_of(flow(twos))
    assert known.begin == other.begin != identity_of(flow(ones[1:])).begin
    assert hashed == []
    assert known.digest != other.digest
    assert known.of_element([1]) != other.of_element([1])
    assert known.name != other.name
    assert known.name.startswith(known.begin)
    assert len(hashed) == 2  # each of them once
    again = identity_of(flow(ones.copy()))
    assert (again.name, again.digest, again.of_element([1])) == (known.name, known.digest, known.of_element([1]))
    later = identity_of(flow(ones))
    ones += 1
    assert later.of_element([1]) is None


# ---------------------------------------------------------------- elements


def test_an_element_is_known_with_its_plan(identity_of: Any) -> None:
    known, other = identity_of(flow_with()), identity_of(flow_with(preset="2"))
    values: list[Any] = [
        [1],
        [True],
        [1.0],
        ["1"],
        [b"1"],
        [[1]],
        [(1,)],
        [1, 2],
        [numpy.arange(3)],
        [numpy.arange(3.0)],
        [None],
    ]
    keys = {each.of_element(value) for each in (known, other) for value in values}
    assert len(keys) == 2 * len(values)
    assert None not in keys
    assert known.of_element([numpy.arange(3)]) == known.of_element([numpy.arange(3)])
    assert identity_of(flow_with()).of_element([1]) == known.of_element([1])


def test_an_element_that_cannot_be_known_has_no_key(identity_of: Any) -> None:
    known = identity_of(flow_with())
    assert [known.of_element([value]) for value in (lambda: 1, iter([1]), open)] == [
        None,
        None,
        known.of_element([open]),
    ]


def test_an_element_is_known_by_the_code_of_its_class(identity_of: Any, restored: Path) -> None:
    from userpackages.parity_package import values

    kind = next(each for each in vars(values).values() if isinstance(each, type) and each.__module__ == values.__name__)
    before = identity_of(python_flow("o = i"))
    key = before.of_element([kind])
    text = restored.read_text()
    restored.write_text(f"{text}\n# changed\n")
    after = identity_of(python_flow("o = i"))
    assert after.digest == before.digest
    assert after.of_element([kind]) != key
    restored.write_text(text)
    assert identity_of(python_flow("o = i")).of_element([kind]) == key


def test_a_module_as_an_element_is_known_by_what_arrives_of_it(identity_of: Any) -> None:
    known = identity_of(flow_with())

    def module(value: Any, **notes: Any) -> Any:
        made = get_module_registry().get_descriptor_by_name(PARITY, "Echo").module()
        made.set_output("value", value)
        vars(made).update(notes)
        return made

    assert known.of_element([module([1])]) == known.of_element([module([1])])
    others = [module([1]), module([2]), module([1], noted=1), module([1], noted=2)]
    assert len({known.of_element([each]) for each in others}) == 4
    assert known.of_element([module(lambda: 1)]) is None
    itself = module(1)
    itself.set_output("value", itself)
    assert known.of_element([itself]) != known.of_element([module(1)])


def test_a_file_that_is_changed_between_key_and_result_is_noticed(identity_of: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    known = identity_of(flow_with())
    key, plain = known.of_element([PathObject(str(file))]), known.of_element([1])
    assert known.is_as_it_was(key)
    file.write_text("two")
    assert not known.is_as_it_was(key)
    assert known.is_as_it_was(plain)
    flow = Flow()
    flow.map(flow.parity("Echo", {"file": str(file)}), "value", "value", "[1]")
    with_file = identity_of(flow)
    assert with_file.holds()
    file.write_text("one")
    assert not with_file.holds()
    assert known.holds()


def test_random_numbers_make_a_key_of_seed_and_index(identity_of: Any) -> None:
    known = identity_of(flow_with())
    key, other = known.of_element([1]), known.of_element([2])
    keys = {
        known.of_random(each, seeds, index)
        for each in (key, other)
        for seeds in ((1, 2), (1, 3), (2, 2))
        for index in (0, 1)
    }
    assert len(keys | {key, other}) == 14
    assert known.of_random(key, (1, 2), 0) == known.of_random(key, (1, 2), 0)


def test_in_which_order_modules_of_a_group_run_counts_for_random_numbers_only(identity_of: Any) -> None:
    def two(turned: bool) -> Flow:
        inner = Flow()
        sources = {text: inner.parity("Echo", {"text": text}) for text in ("first", "second")}
        both = inner.parity("Lists")
        connections = [(sources["first"], "value", both, "value"), (sources["second"], "value", both, "other")]
        for each in connections[:: -1 if turned else 1]:
            inner.connect(*each)
        inner.inputs["value"], inner.outputs["value"] = (sources["first"], "value"), (both, "all")
        return in_group(inner)

    straight, again, turned = (identity_of(two(each)) for each in (False, False, True))
    assert straight.digest == again.digest == turned.digest
    keys = [each.of_random(b"key", (1, None), 0) for each in (straight, again, turned)]
    assert keys[0] == keys[1] != keys[2]


def test_names_are_for_people(identity_of: Any) -> None:
    assert identity_of(flow_with()).map_name == "Map (Echo)"
    controller = open_controller(flow_with().build(OURS))
    the_map = next(each for each in controller.current_pipeline.module_list if each.name == "Map")
    controller.add_annotation(("__desc__", "all of them"), the_map.id)
    assert identity_of(controller.current_pipeline).map_name == "all of them"
