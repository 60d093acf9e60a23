"""Control Flow's loops become ours, and Control Flow's again, as one version that can be undone."""

from __future__ import annotations

from typing import Any

import pytest
from parity import Stage, all_of, open_controller
from workflows import CONTROL, OURS, Flow

import parallelflow
from parallelflow.map.conversion import Change, Conversion, convert

pytestmark = pytest.mark.usefixtures("parity")


def _inner(flow: Flow) -> int:
    return flow.python("o = i * 2; b = i > 1", {"i": "Integer"}, {"o": "Integer", "b": "Boolean"})


def _group() -> Flow:
    inner = Flow()
    mapped = inner.map(_inner(inner), "i", "o")
    inner.inputs, inner.outputs = {"list": (mapped, "InputList")}, {"list": (mapped, "Result")}
    return inner


def _many() -> Flow:
    """A Map that feeds a Filter that feeds a Group with a Map, a For, and a Fold that is none of ours."""
    flow = Flow()
    function = _inner(flow)
    first = flow.map(
        function, "i", "o", "[1, 2, 3]", control={"job_cache": "false"}, annotations={"__desc__": "doubles"}
    )
    chosen = flow.add("Filter", {"InputPort": "['i']", "OutputPort": "b"}, package=CONTROL)
    flow.connect(function, "self", chosen, "FunctionPort")
    flow.connect(first, "Result", chosen, "InputList")
    group = flow.group(_group(), annotations={"__desc__": "inner loops"})
    flow.connect(chosen, "Result", group, "list")
    repeats = flow.add("For", {"InputPort": "i", "OutputPort": "o", "HigherBound": "3"}, package=CONTROL)
    flow.connect(function, "self", repeats, "FunctionPort")
    total = flow.add("Sum", package=CONTROL)
    flow.connect(repeats, "Result", total, "InputList")
    flow.connect(group, "list", flow.parity("Holds"), "list")
    return flow


def _apply(controller: Any, parallel: bool, *modules: int) -> Conversion:
    found = convert(controller.current_pipeline, controller.id_scope, parallel, modules)
    if found.action is not None:
        controller.add_new_action(found.action, "converted")
        controller.perform_action(found.action)
    return found


def _packages(pipeline: Any) -> list[tuple[str, str]]:
    found = []
    for module in pipeline.module_list:
        if module.is_group():
            found += _packages(module.pipeline)
        elif module.name in ("Map", "Filter", "For", "Sum"):
            found.append((module.name, module.package))
    return sorted(found)


def _shape(pipeline: Any) -> Any:
    """All of a pipeline but for ids: modules, what is set on them, and how they are connected."""
    numbers = {module.id: number for number, module in enumerate(sorted(pipeline.module_list, key=_place))}
    modules = [_place(module) for module in sorted(pipeline.module_list, key=_place)]
    connections = sorted(
        (numbers[each.source.moduleId], each.source.name, numbers[each.destination.moduleId], each.destination.name)
        for each in pipeline.connection_list
    )
    return modules, connections


def _place(module: Any) -> Any:
    return (
        module.name,
        module.package,
        module.version,
        sorted((each.name, [(p.strValue, p.alias) for p in each.params]) for each in module.functions),
        sorted((each.key, each.value) for each in module.annotations),
        sorted((each.name, each.value) for each in module.control_parameters),
        sorted((each.name, each.type, each.sigstring) for each in module.port_spec_list)
        if not module.is_group()
        else repr(_shape(module.pipeline)),
        (module.location.x, module.location.y),
    )


ALL = [("Filter", OURS), ("For", OURS), ("Map", OURS), ("Map", OURS), ("Sum", CONTROL)]


def _run(controller: Any) -> tuple[Any, set[str]]:
    """Run a controller's workflow: what comes of it, and where."""
    stage = Stage("ours", "controller")
    seen = stage.run(_Open(controller))
    notes = [note for each in all_of(seen.raw_log) for note in getattr(each, "annotations", ())]
    return seen, {note.value for note in notes if note.key == "parallel_engine"}


class _Open:
    """A workflow that exists, for a stage."""

    def __init__(self, controller: Any):
        self._controller = controller

    def build(self, *_: Any) -> Any:
        return self._controller.current_pipeline.do_copy()


def _told(changes: list[Change]) -> list[tuple[str, tuple[str, ...], str | None]]:
    return sorted(((each.name, each.path, each.subworkflow) for each in changes), key=repr)


def test_all_loops_become_parallel_in_one_version_and_serial_again() -> None:
    controller = open_controller(_many().build(CONTROL))
    before, shape = controller.current_version, _shape(controller.current_pipeline)
    found = _apply(controller, True)
    assert _told(found.changes) == [
        ("Filter", (), None),
        ("For", (), None),
        ("Map", ("inner loops",), None),
        ("Map", (), None),
    ]
    assert not found.left
    assert _packages(controller.current_pipeline) == ALL
    assert controller.current_pipeline.is_valid
    after = controller.current_version
    assert controller.vistrail.actionMap[after].parent == before
    controller.change_selected_version(before)
    assert _shape(controller.current_pipeline) == shape
    controller.change_selected_version(after)
    assert _packages(controller.current_pipeline) == ALL
    assert controller.current_pipeline.is_valid
    _apply(controller, False)
    assert _shape(controller.current_pipeline) == shape
    assert controller.current_pipeline.is_valid


def test_what_is_converted_does_the_same_on_engines() -> None:
    controller = open_controller(_many().build(CONTROL))
    serial, nowhere = _run(controller)
    _apply(controller, True)
    ours, engines = _run(controller)
    assert not nowhere
    assert engines, ours.errors
    shown = [sorted(map(repr, seen.outputs.values())) for seen in (serial, ours)]
    assert shown[0] == shown[1]
    assert "[4, 8, 12]" in "".join(shown[1])
    assert not ours.errors


def test_only_what_is_selected_is_converted() -> None:
    controller = open_controller(_many().build(CONTROL))
    by_name = {module.name: module.id for module in controller.current_pipeline.module_list}
    _apply(controller, True, by_name["Group"], by_name["Sum"])
    assert _packages(controller.current_pipeline) == [
        ("Filter", CONTROL),
        ("For", CONTROL),
        ("Map", OURS),
        ("Map", CONTROL),
        ("Sum", CONTROL),
    ]
    by_name = {module.name: module.id for module in controller.current_pipeline.module_list}
    found = _apply(controller, True, by_name["Filter"])
    assert found.new_ids.keys() == {by_name["Filter"]}
    assert controller.current_pipeline.modules[found.new_ids[by_name["Filter"]]].package == OURS
    assert _packages(controller.current_pipeline).count(("Map", CONTROL)) == 1


def test_nothing_to_convert_adds_no_version() -> None:
    controller = open_controller(_many().build(CONTROL))
    before = controller.current_version
    assert convert(controller.current_pipeline, controller.id_scope, False) == Conversion(None, [], [], {})
    assert _apply(controller, False).action is None
    assert controller.current_version == before


def test_subworkflows_are_shared_and_stay() -> None:
    flow = Flow()
    group = Flow()
    inside = group.subworkflow("converted", _group())
    group.inputs, group.outputs = {"list": (inside, "list")}, {"list": (inside, "list")}
    flow.group(group, {"list": "[1]"})
    flow.map(_inner(flow), "i", "o", "[1]")
    controller = open_controller(flow.build(CONTROL))
    found = _apply(controller, True)
    assert _told(found.changes) == [("Map", (), None)]
    (left,) = found.left
    assert left.path == ("Group",)
    assert left.subworkflow is not None
    assert left.subworkflow.startswith("converted")
    assert controller.current_pipeline.is_valid


def test_the_bundled_packages_map_becomes_serial_too() -> None:
    flow = Flow()
    flow.map(_inner(flow), "i", "o", "[1]")
    controller = open_controller(flow.build(OURS))
    assert _told(_apply(controller, False).changes) == [("Map", (), None)]
    assert _packages(controller.current_pipeline) == [("Map", CONTROL)]
    for module in controller.current_pipeline.module_list:
        if module.name == "Map":
            module.package = parallelflow.OLD_IDENTIFIERS[0]
    assert _told(convert(controller.current_pipeline, controller.id_scope, False).changes) == [("Map", (), None)]


def test_a_vistrail_variable_and_an_alias_stay_where_they_are() -> None:
    flow = Flow()
    mapped = flow.map(_inner(flow), "i", "o", "[1, 2]")
    flow.specs[mapped].presets = [flow.specs[mapped].presets[2], *flow.specs[mapped].presets[:2]]
    flow.specs[mapped].alias = "numbers"
    controller = open_controller(flow.build(CONTROL))
    _apply(controller, True)
    assert controller.current_pipeline.has_alias("numbers")
    assert controller.current_pipeline.get_alias_str_value("numbers") == "[1, 2]"
