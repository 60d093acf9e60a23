"""Filter and For do what Control Flow's do: values, errors and who carries them, executions, log."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from parity import Stage, assert_same
from parity_values import Makes
from vistrails.core.modules.module_registry import get_module_registry
from workflows import CONTROL, OURS, PARITY, Flow

pytestmark = pytest.mark.usefixtures("parity")


@pytest.mark.parametrize("name", ["Filter", "For"])
def test_ports_are_those_of_control_flow(name: str) -> None:
    registry = get_module_registry()

    def ports(package: str) -> set[tuple[Any, ...]]:
        descriptor = registry.get_descriptor_by_name(package, name)
        both = [
            *registry.module_destination_ports_from_descriptor(True, descriptor),
            *registry.module_source_ports_from_descriptor(True, descriptor),
        ]
        return {(port.type, port.name, port.sigstring, port.depth, str(port.defaults)) for port in both}

    more = ports(OURS) - ports(CONTROL)
    assert not ports(CONTROL) - ports(OURS)
    assert [port[:2] for port in more] == [("input", "KeepResults")]


# ---------------------------------------------------------------- Filter


def test_a_filter_keeps_elements_as_they_are(held: dict[str, Any]) -> None:
    held["arrays"] = [numpy.arange(3.0), numpy.zeros(4), numpy.full(2, -1.0)]
    held["rows"] = [(1, 2), [2, 1], (3, 3), (3, 4)]
    flow = Flow()
    third = flow.python("o = i % 3 == 1", {"i": "Integer"}, {"o": "Boolean"})
    filtered = flow.map(third, "i", "o", repr(list(range(200))), kind="Filter")
    some = flow.python("o = bool(i.any())", {"i": "Variant"}, {"o": "Boolean"})
    flow.map(some, "i", "o", (flow.held("arrays"), "list"), kind="Filter")
    ordered = flow.python("o = i < j", {"i": "Integer", "j": "Integer"}, {"o": "Boolean"})
    flow.map(ordered, ["i", "j"], "o", (flow.held("rows"), "list"), kind="Filter")
    never = flow.python("o = False", {"i": "Integer"}, {"o": "Boolean"})
    flow.map([third, never], "i", "o", "[1, 2, 3]", kind="Filter")
    flow.map(third, "i", "o", "[]", kind="Filter")
    _, ours = assert_same(flow, "logged", "plain", "controller")
    assert ours.outputs[filtered]["Result"] == list(range(1, 200, 3))


def test_a_filter_of_a_group_and_what_takes_its_result() -> None:
    inner = Flow()
    keeps = inner.python("o = i > 3", {"i": "Float"}, {"o": "Boolean"})
    inner.connect(inner.parity("Counts", {"text": "7", "tally": "?"}), "value", keeps, "j")
    inner.specs[keeps].inputs = {"i": "Float", "j": "Variant"}
    inner.inputs, inner.outputs = {"in": (keeps, "i")}, {"out": (keeps, "o")}
    flow = Flow()
    filtered = flow.map(flow.group(inner), "in", "out", "[1.5, 4.0, 3.0, 8]", kind="Filter")
    flow.connect(filtered, "Result", flow.add("Sum", package=CONTROL), "InputList")
    assert_same(flow)


@pytest.mark.parametrize("given", [1, None, "True", numpy.True_], ids=repr)
def test_a_filter_wants_true_or_false(given: Any, held: dict[str, Any]) -> None:
    held["elements"] = [True, False, given, True]
    flow = Flow()
    flow.map(flow.parity("Echo"), "value", "value", (flow.held("elements"), "list"), kind="Filter")
    serial, ours = assert_same(flow, fails=True)
    assert ours.errors == serial.errors
    assert ours.errors[2][0] == "itself, Filter"


def test_the_first_of_a_filters_errors_counts() -> None:
    flow = Flow()
    some = "import time\ntime.sleep(0.3 * (i == 1))\no = {1: i // 0 if bad else 1, 2: 'x'}.get(i, True)"
    for bad in ("True", "False"):
        source = flow.python(some, {"i": "Integer", "bad": "Boolean"}, {"o": "Variant"}, presets={"bad": bad})
        flow.map(source, "i", "o", "[0, 1, 2, 3]", kind="Filter")
    serial, ours = assert_same(flow, fails=True, stop_on_error=False)
    assert len(ours.errors) == len(serial.errors) == 2


def test_suspended_elements_are_left_out_and_suspend_the_loop() -> None:
    flow = Flow()
    flow.map(flow.parity("Suspends"), "value", "value", repr([0] * 50 + [1] * 4 + [0] * 50), kind="Map")
    flow.map(flow.parity("Suspends"), "value", "value", "[1, 3]", kind="Filter")
    flow.loop(flow.parity("Suspends"), {"InputPort": "value", "LowerBound": "3", "HigherBound": "60"})
    assert_same(flow)


def test_what_is_no_list_fails_as_in_control_flow(held: dict[str, Any]) -> None:
    for number, make in enumerate((lambda: None, lambda: 5, lambda: iter([1]), lambda: "abc")):
        held[str(number)] = Makes(make)
    flow = Flow()
    for key in held:
        flow.map(flow.parity("Echo"), "value", "value", (flow.held(key), "value"), kind="Filter")
        flow.map(flow.parity("Echo"), ["value", "other"], "all", (flow.held(key), "value"), kind="Filter")
    assert_same(flow, "plain", fails=True, stop_on_error=False)


# ---------------------------------------------------------------- For


def test_a_for_runs_over_a_range() -> None:
    flow = Flow()
    source = flow.python("o = [i, type(i).__name__]", {"i": "Float"}, {"o": "List"})
    wide = flow.loop(source, {"InputPort": "i", "OutputPort": "o", "LowerBound": "3", "HigherBound": "160"})
    preset = flow.python("o = i * 2", {"i": "Integer"}, {"o": "Integer"}, presets={"i": "4"})
    flow.loop(preset, {"InputPort": "i", "OutputPort": "o", "HigherBound": "5"})
    flow.loop(preset, {"OutputPort": "o", "HigherBound": "5"})
    flow.loop(preset, {"OutputPort": "o", "LowerBound": "-2", "HigherBound": "1"})
    flow.loop(preset, {"InputPort": "i", "OutputPort": "o", "LowerBound": "3", "HigherBound": "3"})
    flow.loop(preset, {"InputPort": "i", "OutputPort": "o", "LowerBound": "-2", "HigherBound": "-5"})
    _, ours = assert_same(flow, "logged", "plain", "controller")
    assert ours.outputs[wide]["Result"] == [[number, "int"] for number in range(3, 160)]


def test_a_for_without_a_port_for_results_gives_the_modules() -> None:
    flow = Flow()
    loop = flow.loop(flow.parity("Notes"), {"InputPort": "value", "LowerBound": "1", "HigherBound": "4"})
    flow.connect(loop, "Result", flow.parity("Holds"), "list")
    assert_same(flow)


def test_bounds_and_values_from_upstream() -> None:
    flow = Flow()
    upstream = flow.parity("Counts", {"text": "x", "tally": "?"})
    counts = flow.parity("Counts", {"tally": "?"})
    flow.connect(upstream, "value", counts, "other")
    loop = flow.loop(counts, {"InputPort": "value", "OutputPort": "value", "LowerBound": "2"})
    flow.connect(flow.add("Integer", {"value": "6"}), "value", loop, "HigherBound")
    flow.connect(loop, "Result", flow.parity("Holds"), "list")
    assert_same(flow, "logged", "plain")


def test_a_for_of_groups_inside_a_group_and_inside_a_map() -> None:
    body = Flow()
    square = body.python("o = i * i", {"i": "Integer"}, {"o": "Integer"})
    body.inputs, body.outputs = {"in": (square, "i")}, {"out": (square, "o")}
    inner = Flow()
    loop = inner.loop(inner.group(body), {"InputPort": "in", "OutputPort": "out"})
    inner.inputs, inner.outputs = {"count": (loop, "HigherBound")}, {"out": (loop, "Result")}
    flow = Flow()
    flow.group(inner, {"count": "4"})
    flow.map(flow.group(inner), "count", "out", "[1, 0, 3]")
    flow.loop(flow.group(inner), {"InputPort": "count", "OutputPort": "out", "HigherBound": "3"})
    assert_same(flow)


@pytest.mark.parametrize(
    "presets",
    [
        {"InputPort": "nowhere", "OutputPort": "o", "HigherBound": "5"},
        {"InputPort": "i", "OutputPort": "nowhere", "LowerBound": "2", "HigherBound": "5"},
        {"InputPort": "i", "OutputPort": "o"},
        {"OutputPort": "o", "HigherBound": "5"},
    ],
    ids=["no such port", "no such output", "no bound", "the module fails"],
)
def test_a_for_fails_as_in_control_flow(presets: dict[str, str]) -> None:
    flow = Flow()
    flow.loop(flow.python("o = 1 // (2 - i)", {"i": "Integer"}, {"o": "Integer"}), presets)
    assert_same(flow, fails=True)


def test_one_iteration_that_fails_is_named_by_its_number() -> None:
    flow = Flow()
    source = flow.python("o = 1 // (i - 7)", {"i": "Integer"}, {"o": "Integer"})
    flow.loop(source, {"InputPort": "i", "OutputPort": "o", "LowerBound": "5", "HigherBound": "9"})
    _, ours = assert_same(flow, fails=True)
    assert "This was iteration 7 on engine" in ours.errors[0][2]


def test_a_for_of_several_modules_or_none_or_of_numbers_below_0_says_so() -> None:
    flow = Flow()
    source = flow.python("o = i", {"i": "Integer"}, {"o": "Integer"})
    flow.loop([source, source], {"OutputPort": "o", "HigherBound": "5"})
    assert_same(flow, fails=True)
    for functions, said in (([], "Nothing is connected to FunctionPort"), ([source], "numbers below 0")):
        flow = Flow()
        flow.python("o = i", {"i": "Integer"}, {"o": "Integer"}, presets={"i": "1"})
        presets = {"InputPort": "i", "OutputPort": "o", "LowerBound": "-1", "HigherBound": "5"}
        flow.loop(functions, presets)
        but = ["error of module 1: message", "log, /workflow None/module For: error"]
        _, ours = assert_same(flow, fails=True, but=but)
        assert ours.errors[1][0] == "itself, For"
        assert said in ours.errors[1][2]


# ---------------------------------------------------------------- folds of a user's own


def test_a_fold_of_a_users_own_runs_in_parallel() -> None:
    flow = Flow()
    length = flow.python("o = len(i)", {"i": "String"}, {"o": "Integer"})
    made = []
    for name in ("Lengths", "ParallelLengths"):
        presets = {"InputPort": "['i']", "OutputPort": "o", "InputList": "['a', 'bcd', 'e', 'fg']"}
        made.append(flow.add(name, presets, package=PARITY))
        flow.connect(length, "self", made[-1], "FunctionPort")
    seen = Stage("ours").run(flow)
    assert not seen.errors
    assert seen.outputs[made[0]] == seen.outputs[made[1]] == {"Result": {1: ["a", "e"], 3: ["bcd"], 2: ["fg"]}}
    assert seen.log is not None
    parallel = [
        note.key
        for execution in seen.log.inner
        if execution.name == "ParallelLengths"
        for iteration in execution.find("iteration")
        for each in iteration.inner
        for note in each.raw.annotations
    ]
    assert parallel.count("parallel_engine") == 4
