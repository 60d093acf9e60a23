"""Whatever stands around a Map or under it, ours does what the serial Map does: values, order, executions and log."""

from __future__ import annotations

import copy
import sys
from collections import Counter, deque
from pathlib import Path
from typing import Any

import numpy
import pytest
from parity import Seen, Stage, assert_same, both, differences
from parity_values import Makes
from workflows import CONTROL, Flow

pytestmark = pytest.mark.usefixtures("parity")


def _double(flow: Flow, kind: str = "Float") -> int:
    return flow.python("o = i * 2", {"i": kind}, {"o": kind})


# ---------------------------------------------------------------- input ports


def test_one_input_port() -> None:
    flow = Flow()
    flow.map(_double(flow), "i", "o", "[1, 2.5, -3]")
    assert_same(flow, "logged", "plain", "controller")


def test_several_input_ports() -> None:
    flow = Flow()
    source = flow.python("o = i + j * k", {"i": "Integer", "j": "Integer", "k": "Float"}, {"o": "Float"})
    flow.map(source, ["i", "j", "k"], "o", "[(1, 2, 3), (4, 5, 6.5), [7, 8, 9]]")
    assert_same(flow, "logged", "plain")


def test_a_module_that_runs_a_copy_of_itself() -> None:
    flow = Flow()
    flow.map(flow.parity("Copies", {"other": "5"}), "value", "value", "[1, 2, 30]")
    _, ours = assert_same(flow)
    assert ours.outputs[1]["Result"] == [6 + 605, 7 + 705, 35 + 3505]


def test_a_module_that_connects_something_and_runs_it() -> None:
    flow = Flow()
    flow.map(flow.parity("Connects"), "value", "value", "[1, 2]")
    _, ours = assert_same(flow)
    assert ours.outputs[1]["Result"] == [100, 200]


def test_a_module_with_a_helper_of_another_class() -> None:
    flow = Flow()
    flow.map(flow.parity("Helped"), "value", "value", "[1, 2]")
    assert_same(flow)


def test_a_constant_of_a_users_own_package() -> None:
    flow = Flow()
    flow.map(flow.parity("Scales", {"ratio": "3:2"}), "value", "value", "[1.0, 2.0]")
    flow.map(flow.parity("Scales", {"value": "6"}), "ratio", "value", "[(1, 2), (3, 1)]")
    flow.map(flow.parity("Ratio"), "value", "value", "[(1, 2), (3, 1)]")
    upstream, scales = flow.parity("Ratio", {"value": "5:1"}), flow.parity("Scales")
    flow.connect(upstream, "value", scales, "ratio")
    flow.map(scales, "value", "value", "[1.0, 2.0]")
    assert_same(flow, "logged", "plain")


def test_the_same_input_port_twice() -> None:
    flow = Flow()
    flow.map(_double(flow), ["i", "i"], "o", "[(1, 2), (3, 4)]")
    assert_same(flow)


def test_tuples_on_one_port() -> None:
    flow = Flow()
    source = flow.python("o = len(i[0]) + i[1]", {"i": "String,Integer"}, {"o": "Float"})
    flow.map(source, "i", "o", "[('aa', 1), ('', 8), ('a', 4)]")
    assert_same(flow, "logged", "plain")


def test_a_tuple_port_beside_another() -> None:
    flow = Flow()
    source = flow.python("o = [i, j]", {"i": "String,Integer", "j": "Float"}, {"o": "List"})
    flow.map(source, ["i", "j"], "o", "[(('aa', 1), 2.0), (('', 8), 3)]")
    assert_same(flow)


@pytest.mark.parametrize(
    "kind", ["Variant", "Module", "[Variant]", "[[Variant]]", "[Float]", "List", "Dictionary", "File"]
)
def test_ports_of_every_kind(kind: str, held: dict[str, Any]) -> None:
    from vistrails.core.modules.basic_modules import PathObject

    held["elements"] = {
        "Variant": [1, "a", None, [1], (1, 2), {"a": 1}],
        "Module": [1, "a", [1], {"a": 1}],
        "[Variant]": [[1, "a"], [], [[2]]],
        "[[Variant]]": [[[1], ["a"]], [[]]],
        "[Float]": [[1.5, 2], [3.0]],
        "List": [[1], [], ["a", [2]]],
        "Dictionary": [{"a": 1}, {}],
        "File": [PathObject("/etc/hostname"), PathObject("x")],
    }[kind]
    flow = Flow()
    source = flow.python("o = [i]", {"i": kind}, {"o": "Variant"})
    flow.map(source, "i", "o", (flow.held("elements"), "list"))
    assert_same(flow, "plain")


@pytest.mark.parametrize("port", ["value", "module", "items", "table", "list", "pair", "dictionary", "measure"])
def test_ports_of_a_module(port: str, held: dict[str, Any]) -> None:
    from userpackages.parity_package.values import Measure

    held["elements"] = {
        "value": [None, "x", 0.5],
        "module": ["x", 0.5],
        "items": [[1, "a"], [2]],
        "table": [[[1], [2]], [["a"]]],
        "list": [[], [1]],
        "pair": [("a", 1), ("b", 2)],
        "dictionary": [{}, {"a": 1}],
        "measure": [Measure(1.5, "m"), Measure(2, "s")],
    }[port]
    flow = Flow()
    flow.map(flow.parity("Echo"), port, "all", (flow.held("elements"), "list"))
    assert_same(flow)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_elements_deeper_than_the_port(depth: int, held: dict[str, Any]) -> None:
    element: Any = 1.5
    for _ in range(depth):
        element = [element, copy.deepcopy(element)]
    held["elements"] = [element, element]
    flow = Flow()
    source = flow.python("o = i", {"i": "Variant"}, {"o": "Variant"})
    flow.map(source, "i", "o", (flow.held("elements"), "list"))
    flow.map(_double(flow), "i", "o", (flow.held("elements"), "list"))
    assert_same(flow, "plain", fails=None)


# ---------------------------------------------------------------- the list


@pytest.mark.parametrize(
    "make",
    [
        lambda: [1, 2.5, 3],
        lambda: (1, 2.5, 3),
        lambda: numpy.array([1.0, 2.5]),
        lambda: numpy.array([[1.0, 2.5], [3, 4]]),
        lambda: numpy.arange(3),
        lambda: numpy.array(["a", "b"]),
        lambda: range(3),
        lambda: {1: "a", 2: "b"},
        lambda: {5},
        lambda: "abc",
        lambda: b"abc",
        list,
        lambda: (),
        lambda: numpy.zeros(0),
        lambda: None,
        lambda: 5,
        lambda: {}.keys(),
        lambda: iter([1, 2]),
        lambda: (x * 2 for x in [1, 2]),
        lambda: map(float, [1, 2]),
    ],
    ids=[
        "list", "tuple", "array", "array of two dimensions", "array of integers", "array of text", "range", "dictionary",
        "set", "text", "bytes", "empty list", "empty tuple", "empty array", "None", "number", "keys", "iterator",
        "generator", "map",
    ],
)  # fmt: skip
@pytest.mark.parametrize("port", ["list", "value"])
def test_what_arrives_on_input_list(make: Any, port: str, held: dict[str, Any]) -> None:
    held["elements"] = Makes(make)
    flow = Flow()
    flow.map(flow.parity("Echo"), "value", "value", (flow.held("elements"), port))
    assert_same(flow, "plain", fails=None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: [(1, 2), [3, 4]],
        lambda: numpy.array([[1.0, 2.5], [3, 4]]),
        lambda: ["ab", "cd"],
        lambda: ((x, x + 1) for x in [1, 2]),
        list,
        lambda: [(1, 2), (3,)],
        lambda: [(1, 2), (3, 4, 5)],
        lambda: [1, 2],
        lambda: [{"a": 1, "b": 2}],
        lambda: {"a": 1, "b": 2}.items(),
        lambda: {"ab": 1, "cd": 2},
        lambda: {(1, 2)},
        lambda: deque([(1, 2), (3, 4)]),
        lambda: zip([1, 2], [3, 4], strict=True),
    ],
    ids=[
        "tuples and lists", "array", "texts", "generator", "empty", "one too short", "one too long", "not iterable",
        "dictionaries", "items", "dictionary", "set", "deque", "zip",
    ],
)  # fmt: skip
def test_what_arrives_on_input_list_for_two_ports(make: Any, held: dict[str, Any]) -> None:
    held["elements"] = Makes(make)
    flow = Flow()
    flow.map(flow.parity("Echo"), ["value", "other"], "all", (flow.held("elements"), "value"))
    assert_same(flow, "plain", fails=None)


def test_input_list_from_several_connections(held: dict[str, Any]) -> None:
    held["first"], held["second"] = [1, 2], (3, 4.5)
    flow = Flow()
    sources = [
        (flow.held("first"), "list"),
        (flow.held("second"), "list"),
        (flow.add("List", {"value": "[5]"}), "value"),
    ]
    flow.map(_double(flow), "i", "o", sources)
    assert_same(flow, "logged", "plain")


def test_the_results_of_one_map_are_the_elements_of_the_next() -> None:
    flow = Flow()
    first = flow.map(_double(flow), "i", "o", "[1, 2, 3]")
    second = flow.map(_double(flow), "i", "o", (first, "Result"))
    flow.map(_double(flow), "i", "o", (second, "Result"))
    assert_same(flow)


def test_many_elements_come_back_in_order() -> None:
    flow = Flow()
    source = flow.python("import time\ntime.sleep(0.002 * (i % 3))\no = i", {"i": "Integer"}, {"o": "Integer"})
    flow.map(source, "i", "o", repr(list(range(120))))
    assert_same(flow, "logged")


def test_progress_is_reported() -> None:
    flow = Flow()
    number = flow.map(_double(flow), "i", "o", repr([float(i) for i in range(50)]))
    for seen in assert_same(flow):
        fractions = seen.progress[number]
        assert fractions[0] == 0.0
        assert fractions == sorted(fractions)
        assert 0.9 < fractions[-1] <= 1.0


# ---------------------------------------------------------------- other ports


def test_a_preset_on_the_mapped_port_is_replaced() -> None:
    flow = Flow()
    echo = flow.parity("Echo", {"number": "9.5"})
    flow.map(echo, "number", "all", "[1, 2]")
    listed = flow.parity("Echo", {"list": "[9]"})
    flow.map(listed, "list", "all", "[[1], [2]]")
    assert_same(flow, "logged", "plain")


@pytest.mark.parametrize("elements", ["[1.0, 2.0]", "[1.0, None]", "[[1.0], 2.0]"])
def test_a_module_that_asks_for_its_ports_finds_the_mapped_one_last(elements: str) -> None:
    flow = Flow()
    flow.map(flow.parity("Echo", {"number": "9.5", "text": "x"}), "number", "value", elements)
    ports = "o = [port for port in self.inputPorts if port != 'source']"
    source = flow.python(ports, {"i": "Float", "j": "Float"}, {"o": "List"}, presets={"i": "3", "j": "4.5"})
    flow.map(source, "i", "o", elements)
    assert_same(flow)


def test_presets_twice_on_one_port() -> None:
    flow = Flow()
    lists = flow.parity("Lists", [("text", "a"), ("text", "b")])
    flow.map(lists, "value", "all", "[1, 2]")
    assert_same(flow)


def test_a_preset_and_a_connection_on_one_port(held: dict[str, Any]) -> None:
    held["x"] = "connected"
    flow = Flow()
    lists = flow.parity("Lists", {"text": "preset"})
    flow.connect(flow.held("x"), "value", lists, "text")
    flow.map(lists, "value", "all", "[1, 2]")
    assert_same(flow)


def test_several_connections_on_another_port(held: dict[str, Any]) -> None:
    held["x"], held["y"] = "x", ["y"]
    flow = Flow()
    lists = flow.parity("Lists")
    for key in ("x", "y"):
        flow.connect(flow.held(key), "value", lists, "other")
    flow.map(lists, "value", "all", "[1, 2]")
    assert_same(flow)


def test_a_connection_on_the_mapped_port_is_replaced(held: dict[str, Any]) -> None:
    held["x"] = "upstream"
    flow = Flow()
    echo = flow.parity("Echo")
    flow.connect(flow.parity("Counts", {"text": "1", "tally": "?"}), "value", echo, "value")
    flow.map(echo, "value", "all", "[1, 2]")
    assert_same(flow)


def test_a_value_from_upstream_arrives_on_another_port_and_upstream_runs_once() -> None:
    flow = Flow()
    upstream = flow.parity("Counts", {"text": "upstream", "tally": "?"})
    echo = flow.parity("Echo")
    flow.connect(upstream, "value", echo, "other")
    flow.map(echo, "value", "all", "[1, 2, 3]")
    serial, _ = assert_same(flow, "logged", "plain")
    assert serial.tallies == Counter(Counts=1)


def test_a_chain_upstream_of_another_port() -> None:
    flow = Flow()
    first = flow.parity("CountsAlways", {"text": "3", "tally": "?"})
    second = flow.python("o = float(i) + 0.25", {"i": "Variant"}, {"o": "Float"})
    flow.connect(first, "value", second, "i")
    echo = flow.parity("Echo")
    flow.connect(second, "o", echo, "other")
    flow.connect(second, "o", echo, "number")
    flow.map(echo, "value", "all", "[1, 2, 3]")
    flow.map(echo, "value", "value", "[4]")
    assert_same(flow)


def test_ten_megabytes_on_another_port(held: dict[str, Any]) -> None:
    held["x"] = numpy.random.default_rng(1).random(1_250_000)
    flow = Flow()
    source = flow.python("o = float(big[i])", {"i": "Integer", "big": "Variant"}, {"o": "Float"})
    flow.connect(flow.held("x"), "value", source, "big")
    flow.map(source, "i", "o", "[0, 7, 1249999]")
    assert_same(flow, "plain")


def test_a_list_that_the_function_would_loop_over_fails_as_in_the_serial_map(held: dict[str, Any]) -> None:
    # The module's `self` is then a list, too, and neither Map can take it.
    held["x"] = [10, 20, 30]
    flow = Flow()
    source = flow.python("o = i + j", {"i": "Float", "j": "Float"}, {"o": "Float"})
    flow.connect(flow.held("x"), "numbers", source, "j")
    flow.map(source, "i", "o", "[1, 2]")
    assert_same(flow, fails=True)


def test_lists_arrive_on_other_ports_as_they_are(held: dict[str, Any]) -> None:
    held["x"], held["y"] = [10.5, 20], [[1], ["a"]]
    flow = Flow()
    source = flow.python("o = [i, j, k]", {"i": "Float", "j": "[Float]", "k": "[[Variant]]"}, {"o": "List"})
    flow.connect(flow.held("x"), "numbers", source, "j")
    flow.connect(flow.held("y"), "table", source, "k")
    flow.map(source, "i", "o", "[1, 2]")
    assert_same(flow)


def test_invalid_output_upstream_means_no_value() -> None:
    flow = Flow()
    nothing = flow.parity("Nothing", {"text": "1"})
    lists = flow.parity("Lists")
    flow.connect(nothing, "value", lists, "other")
    flow.map(lists, "value", "all", "[1, 2]")
    assert_same(flow)


def test_a_default_value_on_a_port_that_is_not_set() -> None:
    flow = Flow()
    source = flow.parity("Echo")
    flow.map(source, "standard", "all", "[1, 2]")
    flow.map(flow.parity("Echo"), "value", "all", "[1]")
    assert_same(flow)


def test_a_module_as_a_value_on_another_port() -> None:
    flow = Flow()
    used = flow.parity("Counts", {"text": "used", "tally": "?"})
    takes = flow.parity("Takes")
    flow.connect(used, "self", takes, "module")
    flow.map(takes, "value", "value", "[1, 2]")
    # What it gives is used elsewhere too: then it is enabled.
    flow.connect(used, "value", flow.parity("Holds"), "value")
    assert_same(flow)


# ---------------------------------------------------------------- FunctionPort


def test_of_several_modules_on_function_port_all_run_and_the_last_counts() -> None:
    flow = Flow()
    first = flow.parity("Counts", {"tally": "?"})
    second = flow.parity("Echo", {"tally": "?"})
    flow.map([first, second], "value", "value", "[1, 2, 3]")
    flow.map([second, first], "value", "value", "[4, 5]")
    serial, _ = assert_same(flow, "logged", "plain")
    assert serial.tallies == Counter(Counts=5, Echo=5)


def test_one_module_twice_on_function_port() -> None:
    flow = Flow()
    counts = flow.parity("Counts", {"tally": "?"})
    flow.map([counts, counts], "value", "value", "[1, 2, 3]")
    assert_same(flow)


def test_the_mapped_module_is_used_elsewhere_too() -> None:
    flow = Flow()
    counts = flow.parity("Counts", {"text": "own", "tally": "?"})
    flow.map(counts, "value", "value", "[1, 2, 3]")
    holds = flow.parity("Holds")
    flow.connect(counts, "value", holds, "value")
    serial, _ = assert_same(flow, "logged", "plain")
    assert serial.outputs[holds]["value"] == "own"


def test_two_maps_of_one_module() -> None:
    flow = Flow()
    double = _double(flow)
    flow.map(double, "i", "o", "[1, 2]")
    flow.map(double, "i", "o", "[3]")
    assert_same(flow)


def test_the_modules_self_is_connected_elsewhere_too() -> None:
    flow = Flow()
    counts = flow.parity("Counts", {"text": "own", "tally": "?"})
    flow.map(counts, "value", "value", "[1, 2]")
    flow.connect(counts, "self", flow.parity("Holds"), "module")
    assert_same(flow)


def test_something_upstream_is_used_by_the_map_and_elsewhere() -> None:
    flow = Flow()
    upstream = flow.parity("CountsAlways", {"text": "[1, 2]", "tally": "?"})
    turns = flow.python("o = eval(i)", {"i": "Variant"}, {"o": "List"})
    flow.connect(upstream, "value", turns, "i")
    echo = flow.parity("Echo")
    flow.connect(upstream, "value", echo, "other")
    mapped = flow.map(echo, "value", "all", (turns, "o"))
    holds = flow.parity("Holds")
    flow.connect(upstream, "value", holds, "value")
    flow.connect(mapped, "Result", holds, "list")
    assert_same(flow)


def test_sinks_that_have_nothing_to_do_with_the_map_run_too() -> None:
    flow = Flow()
    flow.parity("Counts", {"text": "before", "tally": "?"})
    flow.map(_double(flow), "i", "o", "[1, 2]")
    flow.parity("Counts", {"text": "after", "tally": "?"})
    assert_same(flow)


@pytest.mark.parametrize("sinks", [[1], [2], [0], [1, 2]])
def test_only_chosen_sinks_run(sinks: list[int]) -> None:
    flow = Flow()
    double = flow.python("o = i * 2", {"i": "Float"}, {"o": "Float"}, presets={"i": "5"})
    flow.map(double, "i", "o", "[1, 2]")
    flow.parity("Counts", {"text": "other", "tally": "?"})
    assert_same(flow, sinks=sinks)


# ---------------------------------------------------------------- self as the output


def test_self_as_the_output() -> None:
    flow = Flow()
    counts = flow.parity("Counts", {"other": "7"})
    flow.map(counts, "value", "self", "[1, 2]")
    assert_same(flow, "logged", "plain")


def test_self_as_the_output_can_be_used_downstream() -> None:
    flow = Flow()
    counts = flow.parity("Counts", {"other": "7"})
    mapped = flow.map(counts, "value", "self", "[1, 2]")
    reads = flow.python(
        "o = [(type(m).__name__, m.get_output('other'), m.get_input('value'), m.get_input('other')) for m in i]",
        {"i": "List"},
        {"o": "List"},
    )
    flow.connect(mapped, "Result", reads, "i")
    serial, _ = assert_same(flow)
    assert serial.outputs[reads]["o"] == [("Counts", "7", 1, "7"), ("Counts", "7", 2, "7")]


def test_self_of_a_group_as_the_output() -> None:
    inner = Flow()
    counts = inner.parity("Counts", {"other": "7"})
    inner.inputs, inner.outputs = {"in": (counts, "value")}, {"out": (counts, "value")}
    flow = Flow()
    mapped = flow.map(flow.group(inner), "in", "self", "[1, 2]")
    reads = flow.python("o = [sorted(m.outputPorts) for m in i]", {"i": "List"}, {"o": "List"})
    flow.connect(mapped, "Result", reads, "i")
    assert_same(flow, "logged", "plain")


def test_self_of_a_python_source_as_the_output() -> None:
    flow = Flow()
    flow.map(_double(flow), "i", "self", "[1, 2]")
    assert_same(flow)


def test_modules_that_are_results_are_the_elements_of_the_next_map() -> None:
    flow = Flow()
    counts = flow.parity("Counts", {"other": "7"})
    first = flow.map(counts, "value", "self", "[1, 2]")
    reads = flow.python(
        "o = (type(m).__name__, m.get_output('other'), m.outputPorts.get('value'), m.computed)",
        {"m": "Module"},
        {"o": "Variant"},
    )
    flow.map(reads, "m", "o", (first, "Result"))
    assert_same(flow)


def test_a_module_that_gives_another_module() -> None:
    flow = Flow()
    used = flow.parity("Counts", {"text": "used"})
    flow.connect(used, "value", flow.parity("Holds"), "value")
    echo = flow.parity("Echo")
    flow.connect(used, "self", echo, "module")
    mapped = flow.map(echo, "other", "value", "[1, 2]")
    reads = flow.python("o = [(type(m).__name__, m.get_output('value')) for m in i]", {"i": "List"}, {"o": "List"})
    flow.connect(mapped, "Result", reads, "i")
    # Its connections stay where it ran: see docs/differences.rst.
    serial, _ = assert_same(flow, but=[f"outputs of module {mapped}: port Result: [0].module['inputs']"])
    assert serial.outputs[reads]["o"] == [("Counts", "used")] * 2


def test_modules_in_a_list_on_another_port() -> None:
    flow = Flow()
    counts = flow.parity("Counts", {"other": "7"})
    first = flow.map(counts, "value", "self", "[1, 2]")
    reads = flow.python("o = [(i, m.get_output('other')) for m in l]", {"i": "Integer", "l": "List"}, {"o": "List"})
    flow.connect(first, "Result", reads, "l")
    flow.map(reads, "i", "o", "[1, 2]")
    assert_same(flow)


# ---------------------------------------------------------------- Groups and subworkflows


def _doubling(tally: bool = True) -> Flow:
    inner = Flow()
    counts = inner.parity("Counts", {"tally": "?"} if tally else {})
    double = inner.python("o = i * 2", {"i": "Variant"}, {"o": "Variant"})
    inner.connect(counts, "value", double, "i")
    inner.inputs = {"in": (counts, "value"), "other": (counts, "other")}
    inner.outputs = {"out": (double, "o"), "aside": (counts, "other")}
    inner.optional = {"other"}
    return inner


def _around(inner: Flow, kind: str, name: str = "") -> Flow:
    outer = Flow()
    made = outer.group(inner) if kind == "group" else outer.subworkflow(f"sub{name}", inner)
    outer.inputs = {"in": (made, "in"), "other": (made, "other")}
    outer.outputs = {"out": (made, "out"), "aside": (made, "aside")}
    outer.optional = {"other"}
    return outer


@pytest.mark.parametrize("kind", ["group", "subworkflow"])
def test_a_group_or_subworkflow_is_mapped(kind: str) -> None:
    flow = Flow()
    made = flow.group(_doubling()) if kind == "group" else flow.subworkflow("plain", _doubling())
    flow.map(made, "in", "out", "[1, 2, 'a']")
    assert_same(flow, "logged", "plain")


@pytest.mark.parametrize("outer", ["group", "subworkflow"])
@pytest.mark.parametrize("inner", ["group", "subworkflow"])
def test_one_inside_the_other(outer: str, inner: str) -> None:
    nested = _around(_doubling(), inner, f"in_{outer}_{inner}")
    flow = Flow()
    made = flow.group(nested) if outer == "group" else flow.subworkflow(f"out_{outer}_{inner}", nested)
    flow.map(made, "in", "out", "[1, 2]")
    assert_same(flow, "logged", "plain")


def test_three_deep() -> None:
    flow = Flow()
    nested = _around(_around(_doubling(), "subworkflow", "deep"), "group")
    flow.map(flow.subworkflow("deepest", nested), "in", "out", "[1, 2]")
    assert_same(flow)


def test_one_subworkflow_twice() -> None:
    flow = Flow()
    inner = _doubling(tally=False)
    first = flow.map(flow.subworkflow("twice", inner), "in", "out", "[1, 2]")
    flow.map(flow.subworkflow("twice", inner), "in", "out", (first, "Result"))
    assert_same(flow)


@pytest.mark.parametrize("kind", ["group", "subworkflow"])
def test_presets_and_connections_on_a_group(kind: str, held: dict[str, Any]) -> None:
    held["x"] = "from upstream"
    flow = Flow()
    for number, source in enumerate(("preset", "connection", "nothing")):
        presets = {"other": "set"} if source == "preset" else None
        inner = _doubling()
        made = flow.group(inner, presets) if kind == "group" else flow.subworkflow("ported", inner, presets)
        if source == "connection":
            flow.connect(flow.held("x"), "value", made, "other")
        flow.map(made, "in", "aside", repr([number, "b"]))
    assert_same(flow)


def test_a_list_arrives_on_a_groups_other_port(held: dict[str, Any]) -> None:
    held["x"] = [1.5, 2.5]
    inner = Flow()
    adds = inner.python("o = [i] + j", {"i": "Float", "j": "[Float]"}, {"o": "List"})
    inner.inputs, inner.outputs = {"i": (adds, "i"), "j": (adds, "j")}, {"o": (adds, "o")}
    flow = Flow()
    group = flow.group(inner)
    flow.connect(flow.held("x"), "numbers", group, "j")
    flow.map(group, "i", "o", "[1, 2]")
    assert_same(flow)


@pytest.mark.parametrize("combine", ["pairwise", "cartesian", '["pairwise", "i", "j"]'])
def test_a_module_in_a_group_combines_lists_as_it_says(combine: str, held: dict[str, Any]) -> None:
    held["x"], held["y"] = [10, 20], [1, 2]
    inner = Flow()
    source = inner.python("o = (i, j)", {"i": "Float", "j": "Float"}, {"o": "Variant"}, control={"loop_type": combine})
    for number, port in enumerate("ij"):
        turns = inner.python(f"o = [a * {number + 1}, a + 0.5]", {"a": "Float"}, {"o": "[Float]"})
        inner.connect(turns, "o", source, port)
        inner.inputs[port] = (turns, "a")
    inner.outputs = {"o": (source, "o")}
    flow = Flow()
    flow.map(flow.group(inner), ["i", "j"], "o", "[(1, 2), (3, 4)]")
    assert_same(flow)


def test_a_module_in_a_group_that_loops(held: dict[str, Any]) -> None:
    inner = Flow()
    many = inner.python("o = list(range(i))", {"i": "Integer"}, {"o": "[Integer]"})
    double = inner.python("o = i * 2", {"i": "Integer"}, {"o": "Integer"})
    inner.connect(many, "o", double, "i")
    inner.inputs, inner.outputs = {"i": (many, "i")}, {"o": (double, "o")}
    flow = Flow()
    flow.map(flow.group(inner), "i", "o", "[1, 3]")
    assert_same(flow, "logged", "plain")


@pytest.mark.parametrize("kind", ["group", "subworkflow"])
def test_our_map_inside_a_group_that_is_not_mapped(kind: str) -> None:
    inner = Flow()
    mapped = inner.map(inner.parity("Counts", {"tally": "?"}), "value", "value")
    inner.inputs, inner.outputs = {"in": (mapped, "InputList")}, {"out": (mapped, "Result")}
    flow = Flow()
    made = (
        flow.group(inner, {"in": "[1, 2]"}) if kind == "group" else flow.subworkflow("within", inner, {"in": "[1, 2]"})
    )
    flow.connect(made, "out", flow.parity("Holds"), "list")
    assert_same(flow, "logged", "plain")


@pytest.mark.parametrize("port", ["[Float]", "List", "[[Float]]", "Float", "Variant"])
def test_what_arrives_on_another_port_from_outside_the_group_of_the_map(port: str, held: dict[str, Any]) -> None:
    held["value"] = 2.5 if port == "Float" else [[1.5], [2.0, 3.0]] if port == "[[Float]]" else [1.5, 2.0]
    inner = Flow()
    source = inner.python("o = [i, w]", {"i": "Integer", "w": port}, {"o": "List"})
    mapped = inner.map(source, "i", "o", "[1, 2]")
    inner.inputs, inner.outputs = {"w": (source, "w")}, {"o": (mapped, "Result")}
    flow = Flow()
    group = flow.group(inner)
    kind = {"[Float]": "numbers", "List": "list", "[[Float]]": "table", "Float": "number"}.get(port, "value")
    flow.connect(flow.held("value"), kind, group, "w")
    flow.connect(group, "o", flow.parity("Holds"), "list")
    assert_same(flow)


@pytest.mark.parametrize("kind", ["group", "subworkflow"])
def test_our_map_inside_a_mapped_group_runs_in_place(kind: str) -> None:
    inner = Flow()
    mapped = inner.map(inner.parity("Counts", {"tally": "?"}), "value", "value")
    inner.inputs, inner.outputs = {"in": (mapped, "InputList")}, {"out": (mapped, "Result")}
    flow = Flow()
    made = flow.group(inner) if kind == "group" else flow.subworkflow("mapped_within", inner)
    flow.map(made, "in", "out", "[[1, 2], [], [3]]")
    assert_same(flow, "logged", "plain")


def test_our_map_is_the_function_of_another() -> None:
    flow = Flow()
    inner = flow.map(flow.parity("Counts", {"tally": "?"}), "value", "value")
    flow.map(inner, "InputList", "Result", "[[1, 2], [3], [4, 5]]")
    assert_same(flow, "logged", "plain")


def test_an_inner_map_takes_what_arrives_on_its_modules_other_port(held: dict[str, Any]) -> None:
    held["x"] = 0.1
    flow = Flow()
    echo = flow.parity("Echo")
    flow.connect(flow.held("x"), "value", echo, "other")
    inner = flow.map(echo, "value", "all")
    flow.map(inner, "InputList", "Result", "[[1, 2], [3]]")
    assert_same(flow)


def test_the_module_of_an_inner_map_is_chosen_per_element() -> None:
    flow = Flow()
    inner = flow.map(flow.parity("Counts"), "value", "value", "[1, 2]")
    flow.map(inner, "OutputPort", "Result", "['value', 'other']")
    assert_same(flow)


# ---------------------------------------------------------------- packages


def test_a_module_of_a_users_own_package_with_a_value_of_its_own_class() -> None:
    flow = Flow()
    own = flow.map(flow.parity("Own"), "value", "value", "[1.5, 2]")
    flow.map(flow.parity("Echo"), "measure", "value", (own, "Result"))
    assert_same(flow)


def _enabled(identifier: str) -> str:
    from vistrails.tests.utils import enable_package

    enable_package(identifier)
    return identifier


def test_a_package_found_by_entry_point() -> None:
    flow = Flow()
    package = _enabled("org.vistrails.parallelflow.parity_entry")
    flow.map(flow.add("Twice", package=package), "value", "value", "[1.5, 2]")
    assert_same(flow, "logged", "plain")


def test_a_package_that_is_not_enabled_by_default() -> None:
    flow = Flow()
    package = _enabled("org.vistrails.vistrails.pythoncalc")
    calc = flow.add("PythonCalc", {"value2": "2.5", "op": "*"}, package=package)
    flow.map(calc, "value1", "value", "[1.5, 2]")
    assert_same(flow)


# ---------------------------------------------------------------- PythonSource


SOURCES = {
    "imports": "import math, json as j\nfrom collections import Counter\no = (math.pi, j.dumps(i), Counter('aa'))",
    "functions of its own": "def f(x):\n    return x + 1\no = [f(x) for x in range(i)]",
    "self": "o = (type(self).__name__, sorted(self.inputPorts), self.get_input('i'), self.moduleInfo['moduleId'])",
    "version and reason": "o = (self.moduleInfo['version'], self.moduleInfo['reason'])",
    "locator": "o = (self.moduleInfo['locator'] is None, self.moduleInfo['controller'] is None)",
    "registry and packages": "o = (registry is not None, package_manager.has_package('org.vistrails.vistrails.basic'))",
    "set_output": "self.set_output('o', i * 3)",
    "nothing set": "pass",
    "None set": "o = None",
    "cache_this": "cache_this()\no = i",
    "has_input": "o = (self.has_input('i'), self.has_input('j'), self.force_get_input('j', 5))",
    "output ports": "o = sorted(self.outputPorts)",
    "global names": "global z\nz = i\no = z",
    "signature": "o = (type(self.signature).__name__, len(self.signature))",
    "depth": "o = (self.list_depth, self.in_pipeline, self.is_while)",
    "pipeline": "o = self.moduleInfo['pipeline'].modules[self.moduleInfo['moduleId']].name",
    "warnings": "import warnings\nwarnings.warn('careful')\no = i",
    "interrupts itself": "import _thread\ntry:\n    _thread.interrupt_main()\n    while True: pass\n"
    "except KeyboardInterrupt:\n    o = 'caught'",
    "interpreter": "o = type(self.interpreter).__name__ in ('CachedInterpreter', 'Interpreter')",
    "file pool": "f = self.interpreter.filePool.create_file()\no = f",
    "thread": "import threading\nr = []\nt = threading.Thread(target=lambda: r.append(i))\nt.start(); t.join()\no = r",
    "subprocess": "import subprocess, sys\no = subprocess.run([sys.executable, '-c', 'print(1)'], stdout=-1).stdout",
    "executable": "import sys\no = (sys.executable, sys.version, sys.prefix)",
    "folder": "import os\no = os.getcwd()",
    "argument": "import sys\no = type(sys.argv).__name__",
    "numpy": "import numpy\no = numpy.full(3, i)",
    "random": "import random\nrandom.seed(i)\no = random.random()",
    "recursion": "import sys\no = sys.getrecursionlimit()",
    "standard streams": "import sys\nsys.stdout.write('x\\n')\nsys.stdout.flush()\no = hasattr(sys.stdout, 'write')",
    "encoding": "import sys, locale\no = (sys.getdefaultencoding(), locale.getpreferredencoding(False))",
    "environment": "import os\no = os.environ.get('HOME', None) is not None",
    "main": "import threading\no = threading.current_thread() is threading.main_thread()",
    "name": "o = __name__",
}


@pytest.mark.parametrize("name", SOURCES)
def test_python_source_sees_what_it_sees_in_the_serial_map(name: str) -> None:
    flow = Flow()
    source = flow.python(SOURCES[name], {"i": "Integer", "j": "Integer"}, {"o": "Variant"})
    flow.map(source, "i", "o", "[1, 2]")
    assert_same(flow, fails=name in ("nothing set", "None set"))


def test_python_source_with_its_code_mapped() -> None:
    flow = Flow()
    source = flow.python("o = 0", {}, {"o": "Variant"})
    flow.map(source, "source", "o", "['o = 1', 'o = \"a\"']")
    assert_same(flow)


def test_text_that_elements_print_appears_in_their_order() -> None:
    flow = Flow()
    source = flow.python("import sys\nprint('out', i)\no = i", {"i": "Integer"}, {"o": "Integer"})
    flow.map(source, "i", "o", repr(list(range(40))))
    serial, _ = assert_same(flow, "logged", "plain")
    assert serial.printed == "".join(f"out {i}\n" for i in range(40))


def test_standard_output_is_mapped() -> None:
    flow = Flow()
    flow.map(flow.add("StandardOutput"), "value", "self", "['a', 'b', 3]")
    assert_same(flow)


# ---------------------------------------------------------------- other controls as the function


def test_while_as_the_function() -> None:
    flow = Flow()
    body = flow.python("o = i + 1\nc = o < 5", {"i": "Integer"}, {"o": "Integer", "c": "Boolean"}, presets={"i": "0"})
    loop = flow.add(
        "While",
        {"OutputPort": "o", "ConditionPort": "c", "StateInputPorts": "['i']", "StateOutputPorts": "['o']"},
        package=CONTROL,
    )
    flow.connect(body, "self", loop, "FunctionPort")
    flow.map(loop, "MaxIterations", "Result", "[1, 3, 10]")
    assert_same(flow, "logged", "plain")


@pytest.mark.parametrize("with_input", [False, True])
def test_for_as_the_function(with_input: bool) -> None:
    flow = Flow()
    body = flow.python("o = i * i", {"i": "Integer"}, {"o": "Integer"}, presets={"i": "3"})
    loop = flow.add("For", {"OutputPort": "o", **({"InputPort": "i"} if with_input else {})}, package=CONTROL)
    flow.connect(body, "self", loop, "FunctionPort")
    flow.map(loop, "HigherBound", "Result", "[1, 3]")
    assert_same(flow)


# Branches are modules that all elements share: see docs/differences.rst.
BRANCHES = (
    "outputs of module",
    "executions counted",
    "executions told",
    "log, /workflow None: inside",
    "log, /workflow None/module Counts: number",
)


def _choice(flow: Flow, kind: str = "Counts") -> int:
    choice = flow.add("If", {"TrueOutputPorts": "['value']", "FalseOutputPorts": "['value']"}, package=CONTROL)
    flow.connect(flow.parity(kind, {"text": "yes", "tally": "?"}), "self", choice, "TruePort")
    flow.connect(flow.parity(kind, {"text": "no", "tally": "?"}), "self", choice, "FalsePort")
    return choice


def test_if_as_the_function() -> None:
    flow = Flow()
    mapped = flow.map(_choice(flow), "Condition", "Result", "[True, False, True]")
    serial, ours = assert_same(flow, "logged", "plain", but=BRANCHES)
    assert ours.outputs[mapped] == serial.outputs[mapped] == {"Result": ["yes", "no", "yes"]}
    assert ours.taken or 2 <= ours.tallies["Counts"] <= 4


def test_each_element_has_branches_of_its_own_where_the_if_is_in_a_group() -> None:
    """What the guide says is to be done instead of mapping the If itself."""
    inner = Flow()
    choice = inner.add("If", {"TrueOutputPorts": "['o']", "FalseOutputPorts": "['o']"}, package=CONTROL)
    number = inner.python("o = i", {"i": "Integer"}, {"o": "Integer"})
    for port, factor in (("TruePort", 10), ("FalsePort", -1)):
        branch = inner.python(f"o = {factor} * i", {"i": "Integer"}, {"o": "Integer"})
        inner.connect(number, "o", branch, "i")
        inner.connect(branch, "self", choice, port)
    is_large = inner.python("o = i > 1", {"i": "Integer"}, {"o": "Boolean"})
    inner.connect(number, "o", is_large, "i")
    inner.connect(is_large, "o", choice, "Condition")
    inner.inputs, inner.outputs = {"i": (number, "i")}, {"o": (choice, "Result")}
    flow = Flow()
    mapped = flow.map(flow.group(inner), "i", "o", "[0, 1, 2, 3]")
    _, ours = assert_same(flow)
    assert ours.outputs[mapped]["Result"] == [0, -1, 20, 30]


def test_a_branch_runs_once_on_an_engine_and_is_in_the_log() -> None:
    flow = Flow()
    flow.map(_choice(flow), "Condition", "Result", "[True]")
    serial, _ = assert_same(flow, but=BRANCHES[:1])
    assert serial.tallies == Counter(Counts=1)


@pytest.mark.parametrize("kind", ["Counts", "CountsAlways"])
def test_a_branch_runs_again_in_the_next_run(kind: str) -> None:
    def flow(elements: str) -> Flow:
        made = Flow()
        made.map(_choice(made, kind), "Condition", "Result", elements)
        return made

    stages = Stage("serial"), Stage("ours")
    runs = [[stage.run(flow(elements)) for stage in stages] for elements in ("[True]", "[True] ", "[ True ]")]
    serial, ours = [[pair[side].tallies["Counts"] for pair in runs] for side in (0, 1)]
    assert serial == ([1, 0, 0] if kind == "Counts" else [1, 1, 1])
    assert ours == [1, 1, 1]


def test_execute_in_order_as_the_function() -> None:
    flow = Flow()
    order = flow.add("ExecuteInOrder", package=CONTROL)
    flow.connect(flow.parity("CountsAlways", {"text": "1", "tally": "?"}), "self", order, "module1")
    flow.map(order, "module2", "self", "[1]")
    assert_same(flow, fails=None, but=BRANCHES[:1])


def test_filter_and_map_together() -> None:
    flow = Flow()
    mapped = flow.map(_double(flow), "i", "o", "[1, 2, 3]")
    keeps = flow.python("o = i > 3", {"i": "Float"}, {"o": "Boolean"})
    filtered = flow.add("Filter", {"InputPort": "['i']", "OutputPort": "o"}, package=CONTROL)
    flow.connect(keeps, "self", filtered, "FunctionPort")
    flow.connect(mapped, "Result", filtered, "InputList")
    flow.connect(filtered, "Result", flow.add("Sum", package=CONTROL), "InputList")
    assert_same(flow)


def test_our_map_as_the_function_of_filter_and_for() -> None:
    flow = Flow()
    inner = flow.map(flow.parity("Counts", {"tally": "?"}), "value", "value", "[1, 2]")
    loop = flow.add("For", {"OutputPort": "Result", "HigherBound": "2"}, package=CONTROL)
    flow.connect(inner, "self", loop, "FunctionPort")
    assert_same(flow)


def test_our_map_loops_by_itself_over_a_list_of_output_ports(held: dict[str, Any]) -> None:
    held["ports"] = ["value", "other"]
    flow = Flow()
    names = flow.python("o = ['value', 'other']", {}, {"o": "[String]"})
    mapped = flow.map(flow.parity("Counts", {"tally": "?"}), "value", "value", "[1, 2]")
    flow.specs[mapped].presets = [each for each in flow.specs[mapped].presets if each[0] != "OutputPort"]
    flow.connect(names, "o", mapped, "OutputPort")
    flow.connect(mapped, "Result", flow.parity("Holds"), "value")
    assert_same(flow, fails=None)


def test_a_module_with_a_while_loop_of_its_own() -> None:
    flow = Flow()
    body = flow.python(
        "o = i + 1\nc = o < 5",
        {"i": "Integer"},
        {"o": "Integer", "c": "Boolean"},
        presets={"i": "0"},
        control={"while_cond": "c", "while_max": "10", "while_input": "i", "while_output": "o"},
    )
    flow.map(body, "i", "o", "[0, 3, 9]")
    flow.connect(body, "o", flow.parity("Holds"), "value")  # an output that nothing takes is not set, says VisTrails
    assert_same(flow)


def test_a_stream_on_another_port_is_refused_with_a_sentence() -> None:
    flow = Flow()
    stream = flow.python(
        "def g():\n    yield 1\n    yield 2\nself.set_streaming_output('o', g(), 2)", {}, {"o": "Variant"}
    )
    double = flow.python("o = i + j", {"i": "Integer", "j": "Variant"}, {"o": "Integer"})
    flow.connect(stream, "o", double, "j")
    flow.map(double, "i", "o", "[1, 2]")
    seen = Stage("ours").run(flow)
    ((carrier, _, message),) = seen.errors.values()
    assert carrier == "itself, Map"
    assert "port 'j'" in message
    assert "stream" in message


# ---------------------------------------------------------------- caches


def _runs(flow: Flow, *more: Flow) -> list[tuple[Seen, Seen]]:
    """Run flows one after the other in one interpreter each, with either Map; return what was seen of each run."""
    stages = Stage("serial"), Stage("ours")
    pairs = [(stages[0].run(each), stages[1].run(each)) for each in (flow, *more)]
    for number, (serial, ours) in enumerate(pairs):
        found = differences(serial, ours)
        assert not found, f"run {number}:\n" + "\n".join(found) + f"\n{serial.complained}\n{ours.complained}"
        assert not serial.errors, serial.errors
    return pairs


def _counting(elements: str, other: str = "x", always: bool = False) -> Flow:
    flow = Flow()
    counts = flow.parity("CountsAlways" if always else "Counts", {"other": other, "tally": "?"})
    mapped = flow.map(counts, "value", "value", elements)
    flow.connect(mapped, "Result", flow.parity("Holds"), "list")
    return flow


def test_a_second_run_takes_all_from_the_cache() -> None:
    (first, _), (second, _) = _runs(_counting("[1, 2]"), _counting("[1, 2]"))
    assert first.tallies == Counter(Counts=2)
    assert second.tallies == Counter()


def test_a_second_run_of_what_cannot_be_cached_runs_again() -> None:
    _, (second, _) = _runs(_counting("[1, 2]", always=True), _counting("[1, 2]", always=True))
    assert second.tallies == Counter(Counts=2)


def test_a_changed_list_runs_again() -> None:
    _, (second, _), _ = _runs(_counting("[1, 2]"), _counting("[1, 2, 3]"), _counting("[3]"))
    assert second.tallies == Counter(Counts=3)


def test_a_changed_preset_runs_again() -> None:
    _, (second, _) = _runs(_counting("[1, 2]", "x"), _counting("[1, 2]", "y"))
    assert second.tallies == Counter(Counts=2)


def test_a_changed_value_upstream_runs_again(held: dict[str, Any]) -> None:
    def flow() -> Flow:
        made = Flow()
        echo = made.parity("Echo")
        made.connect(made.held("x"), "value", echo, "other")
        made.map(echo, "value", "all", "[1, 2]")
        return made

    stages = Stage("serial"), Stage("ours")
    for value in ("first", numpy.arange(30_000), numpy.arange(30_000) + 1, "first"):
        held["x"] = value
        serial, ours = (stage.run(flow()) for stage in stages)
        assert not differences(serial, ours)


def test_a_module_whose_cache_is_switched_off() -> None:
    def flow() -> Flow:
        made = Flow()
        made.map(made.parity("Counts", {"tally": "?"}, cached=False), "value", "value", "[1, 2]")
        return made

    _runs(flow(), flow())


def test_a_run_after_a_failed_one() -> None:
    def flow(elements: str) -> Flow:
        made = Flow()
        made.map(made.parity("Fails"), "value", "value", elements)
        return made

    stages = Stage("serial"), Stage("ours")
    for elements in ("['fine', 'exception', 'fine']", "['fine', 'also']", "['module error']", "['fine', 'also']"):
        serial, ours = (stage.run(flow(elements)) for stage in stages)
        assert not differences(serial, ours)


@pytest.mark.parametrize("kind", ["Fails", "Suspends"])
def test_a_group_runs_again_after_it_failed_or_was_suspended(kind: str) -> None:
    def flow(elements: str) -> Flow:
        inner = Flow()
        first = inner.parity("Counts", {"tally": "?"})
        always = inner.parity("CountsAlways", {"tally": "?"})
        second = inner.parity(kind, {"tally": "?"})
        inner.connect(first, "value", always, "value")
        inner.connect(always, "value", second, "value")
        inner.inputs, inner.outputs = {"in": (first, "value")}, {"out": (second, "value")}
        made = Flow()
        made.map(made.group(inner), "in", "out", elements)
        return made

    stages = Stage("serial"), Stage("ours")
    lists = {
        "Fails": ["['exception']", "['fine']", "['fine', 'also']", "['module error', 'fine']", "['module error']"],
        "Suspends": ["[1]", "[2]", "[2, 1, 4, 3]", "[2, 4]"],
    }
    for number, elements in enumerate(lists[kind]):
        serial, ours = (stage.run(flow(elements)) for stage in stages)
        # In a Group the serial Map gives all elements the same job; see docs/differences.rst.
        found = [each for each in differences(serial, ours) if not each.startswith("jobs")]
        assert not found, f"run {number}: {found}"


def test_modules_inside_a_mapped_group_are_cached_as_in_the_serial_map() -> None:
    inner = Flow()
    constant = inner.parity("Counts", {"text": "same", "tally": "?"})
    joins = inner.parity("Counts", {"tally": "?"})
    inner.connect(constant, "value", joins, "other")
    inner.inputs, inner.outputs = {"in": (joins, "value")}, {"out": (joins, "value"), "other": (joins, "other")}
    flow = Flow()
    flow.map(flow.group(inner), "in", "other", repr(list(range(5))))
    both_sides = both(flow, "logged")
    assert not differences(*both_sides)


# ---------------------------------------------------------------- files


def test_files_in_the_file_pool_exist_afterwards_and_vanish_with_it() -> None:
    flow = Flow()
    for output in ("file", "directory"):
        flow.map(flow.parity("Scratch"), "value", output, "[1, 2, 3]")
    stage = Stage("ours")
    seen = stage.run(flow)
    assert not differences(Stage("serial").run(flow), seen)
    files, folders = [[Path(each.name) for each in seen.outputs[number]["Result"]] for number in (1, 3)]
    assert [path.read_text() for path in files] == ["number 1", "number 2", "number 3"]
    assert [(path / "inside").read_text() for path in folders] == ["number 1", "number 2", "number 3"]
    stage.interpreter.filePool.cleanup()
    assert not any(path.exists() for path in files + folders)


def test_files_that_elements_leave_are_read_downstream() -> None:
    flow = Flow()
    scratch = flow.map(flow.parity("Scratch"), "value", "file", "[1, 2, 3]")
    flow.map(flow.parity("Reads"), "file", "text", (scratch, "Result"))
    assert_same(flow, "logged", "plain", "controller")


def test_files_inside_a_group_exist_afterwards() -> None:
    inner = Flow()
    scratch = inner.parity("Scratch")
    reads = inner.parity("Reads")
    inner.connect(scratch, "file", reads, "file")
    inner.inputs = {"in": (scratch, "value")}
    inner.outputs = {"file": (scratch, "file"), "text": (reads, "text")}
    flow = Flow()
    group = flow.group(inner)
    flow.map(group, "in", "file", "[1, 2]")
    flow.map(group, "in", "text", "[1, 2]")
    assert_same(flow, "logged", "plain")


def test_relative_names_of_files_mean_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").write_text(folder)
        monkeypatch.chdir(tmp_path / folder)
        flow = Flow()
        flow.map(flow.parity("Reads"), "name", "text", "['x.txt']")
        serial, _ = assert_same(flow, "plain")
        assert serial.outputs[1]["Result"] == [folder]


def test_constants_of_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "grün.txt").write_text("text")
    flow = Flow()
    reads = flow.parity("Reads", {"file": str(tmp_path / "grün.txt")})
    flow.map(reads, "name", "text", "['unused']")
    assert_same(flow)


# ---------------------------------------------------------------- what runs around it


def test_an_element_that_changes_its_input_does_not_change_the_users_list(held: dict[str, Any]) -> None:
    """The serial Map changes the user's own list here; see docs/differences.rst."""
    held["elements"] = [[1, 2], [3, 4]]
    flow = Flow()
    mapped = flow.map(flow.parity("Changes"), "value", "value", (flow.held("elements"), "list"))
    ours = Stage("ours").run(flow)
    assert ours.outputs[mapped]["Result"] == [[99, 2], [99, 4]]
    assert held["elements"] == [[1, 2], [3, 4]]


def test_what_an_element_changes_in_place_is_as_before_in_the_next_run(held: dict[str, Any]) -> None:
    """Elements of one run share such a value on each engine; see docs/differences.rst."""
    held["elements"], held["shared"] = [1, 2, 3, 4], [0]
    flow = Flow()
    source = "c.append(len(c))\no = c[0], max(c) < 5"
    function = flow.python(source, {"i": "Variant", "c": "Variant"}, {"o": "Variant"})
    flow.connect(flow.held("shared"), "value", function, "c")
    mapped = flow.map(function, "i", "o", (flow.held("elements"), "list"))
    for _ in range(4):
        ours = Stage("ours").run(flow)
        assert ours.outputs[mapped]["Result"] == [(0, True)] * 4
    assert held["shared"] == [0]


def test_aliases_reach_the_elements() -> None:
    flow = Flow()
    flow.map(flow.parity("Echo", {"text": "as drawn"}), "value", "all", "[1, 2]")
    flow.specs[0].alias = "name"
    serial, _ = assert_same(flow, "controller", custom_aliases={"name": "changed"})
    assert serial.outputs[1]["Result"][0]["text"] == "changed"


def test_vistrail_variables_reach_the_elements() -> None:
    flow = Flow()
    variable = flow.add("Integer", {"value": "1"}, annotations={"__vistrail_var__": "the-id"})
    echo = flow.parity("Echo")
    flow.connect(variable, "value", echo, "whole")
    flow.map(echo, "value", "all", "[1, 2]")

    class Variable:
        value = "42"

    serial, _ = assert_same(flow, "logged", vistrail_variables=lambda uuid: Variable if uuid == "the-id" else None)
    assert serial.outputs[2]["Result"][0]["whole"] == 42


def test_what_has_changed_around_vistrails_reaches_engines_at_the_next_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Environment variables, the search path: of the process, so engines that are there already have other ones."""
    for name in ("antigravity", "parity_found_later"):
        (tmp_path / f"{name}.py").touch()
    flow = Flow()
    source = flow.python(
        "import importlib, os\nfrom importlib.util import find_spec\nimportlib.invalidate_caches()\n"
        "found = [find_spec(name) for name in ('antigravity', 'parity_found_later')]\n"
        "places = [each and os.path.dirname(each.origin) for each in found]\n"
        "seen = [os.environ.get(name) for name in ('PARITY_SET_LATER', 'HOME')]\n"
        "o = [*places, *seen, os.popen('echo $PARITY_SET_LATER').read(), i]",
        {"i": "Integer"},
        {"o": "List"},
    )
    mapped = flow.map(source, "i", "o", "[1, 2, 3, 4]")
    plain_path = list(sys.path)
    seen = []
    for before in (False, True, False):
        with monkeypatch.context() as meanwhile:
            if before:
                meanwhile.setenv("PARITY_SET_LATER", "now")
                meanwhile.setenv("HOME", str(tmp_path))
                meanwhile.setattr(sys, "path", [str(tmp_path), *plain_path])
            seen.append(assert_same(flow)[1].outputs[mapped]["Result"])
    assert [each[0][2] for each in seen] == [None, "now", None]
    assert [each[0][1] for each in seen] == [None, str(tmp_path), None]


def test_without_clusters_the_map_runs_one_element_after_the_other_and_says_so(
    vistrails: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vistrails.core import debug

    from parallelflow.map import module

    said: list[str] = []
    monkeypatch.setattr(debug, "warning", lambda text, *_: said.append(text))
    monkeypatch.setattr(module, "_HAS_CLUSTERS", False)
    flow = Flow()
    square = flow.python("o = i * i", {"i": "Integer"}, {"o": "Integer"})
    flow.map(square, "i", "o", "[1, 2, 3]")
    assert_same(flow)
    assert any("one element after the other" in text for text in said)
