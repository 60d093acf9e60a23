"""A marked module's own loops over lists run on engines, and do what they do in VisTrails."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest
from parity import Seen, Stage, all_of, assert_same, differences
from parity_values import FailsIn, Refuses
from vistrails.core.modules.vistrails_module import Module
from workflows import CONTROL, Flow

from parallelflow.map import implicit_loops
from parallelflow.map.marks import KEY

pytestmark = pytest.mark.usefixtures("parity")

WINDOW = "org.vistrails.parallelflow.parity_window"

Mark = dict[str, str]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What loops say in VisTrails' messages."""
    texts: list[str] = []
    monkeypatch.setattr(implicit_loops.debug, "warning", texts.append)
    return texts


def _engines(seen: Seen) -> set[str]:
    notes = [note for each in all_of(seen.raw_log) for note in getattr(each, "annotations", ())]
    return {note.value for note in notes if note.key == "parallel_engine"}


def _same(make: Callable[[Mark], Flow], *hows: str, on_engines: bool = True, **more: Any) -> Seen:
    """Assert that a workflow does the same without the mark and with it; `make` gets the annotations of the module."""
    _, ours = assert_same(lambda side: make({KEY: ""} if side == "ours" else {}), *hows, **more)
    assert bool(_engines(ours)) == on_engines
    return ours


def _gives(flow: Flow, expression: str, kind: str) -> int:
    """A module that gives a value on its port `o`."""
    return flow.python(f"o = {expression}", {}, {"o": kind})


def _over(
    mark: Mark, source: str, lists: dict[str, tuple[str, str, str]], outputs: dict[str, str], **more: Any
) -> Flow:
    """A module that loops.

    :param lists: by input port: its type, and a value and its type that arrive there.
    """
    flow = Flow()
    ports = {port: kind for port, (kind, _, _) in lists.items()}
    loop = flow.python(source, ports, outputs, annotations=mark, **more)
    for port, (_, expression, kind) in lists.items():
        flow.connect(_gives(flow, expression, kind), "o", loop, port)
    holds = flow.parity("Lists")
    for port, kind in outputs.items():
        flow.connect(loop, port, holds, "other" if kind == "Variant" else "value")
    return flow


# ---------------------------------------------------------------- values and order


def test_all_outputs_of_one_list() -> None:
    def make(mark: Mark) -> Flow:
        flow = Flow()
        square = flow.python("o, p = i * i, -i", {"i": "Integer"}, {"o": "Integer", "p": "Integer"}, annotations=mark)
        total = flow.python("o = [sum(i), j]", {"i": "[Integer]", "j": "[Integer]"}, {"o": "List"})
        flow.connect(_gives(flow, "list(range(10))", "[Integer]"), "o", square, "i")
        flow.connect(square, "o", total, "i")
        flow.connect(square, "p", total, "j")
        return flow

    ours = _same(make, "logged", "plain", "controller")
    assert ours.outputs[1]["o"] == [285, [-i for i in range(10)]]


PAIR = {"i": ("Integer", "[1, 2, 3]", "[Integer]"), "j": ("Integer", "[10, 20]", "[Integer]")}
THREE = {**PAIR, "k": ("Integer", "[100, 200]", "[Integer]")}


@pytest.mark.parametrize(
    ("lists", "combine", "elements"),
    [
        (PAIR, None, 6),
        (PAIR, "cartesian", 6),
        (PAIR, "pairwise", 2),
        (THREE, '["pairwise", ["cartesian", "i", "j"], "k"]', 2),
        (THREE, '["cartesian", ["pairwise", "k", "j"], "i"]', 6),
        (THREE, '["cartesian", "j", "i", "k"]', 12),
    ],
)
def test_combinations(lists: dict[str, tuple[str, str, str]], combine: str | None, elements: int) -> None:
    source = f"o = [{', '.join(lists)}]"

    def make(mark: Mark) -> Flow:
        return _over(mark, source, lists, {"o": "List"}, control={"loop_type": combine} if combine else {})

    ours = _same(make)
    assert len(ours.outputs[0]["o"]) == elements


@pytest.mark.parametrize("combine", ['["cartesian", "i", "nowhere"]', "sideways", '["sideways", "i", "j"]'])
def test_combinations_that_cannot_be(combine: str) -> None:
    def make(mark: Mark) -> Flow:
        return _over(mark, "o = [i, j]", PAIR, {"o": "List"}, control={"loop_type": combine})

    _same(make, fails=True, on_engines=False)


@pytest.mark.parametrize(
    "lists",
    [
        {"i": ("Integer", "[[1, 2], [3], [], [4, 5, 6]]", "[[Integer]]")},
        {"i": ("Integer", "[[[1], [2, 3]], [[4]]]", "[[[Integer]]]")},
        {"i": ("Integer", "[[1, 2], [3]]", "[[Integer]]"), "j": ("Integer", "[10, 20]", "[Integer]")},
        {"i": ("[Integer]", "[[1, 2], [3]]", "[[Integer]]"), "j": ("Integer", "[10, 20]", "[Integer]")},
        {"i": ("List", "[[1, 2], [3]]", "[List]"), "j": ("Integer", "7", "Integer")},
        {"i": ("Variant", "[[1, 2], ['a'], [None]]", "[[Variant]]"), "j": ("Variant", "[(1, 2)]", "[Variant]")},
    ],
)
def test_lists_of_lists(lists: dict[str, tuple[str, str, str]]) -> None:
    ours = _same(lambda mark: _over(mark, f"o = [{', '.join(lists)}]", lists, {"o": "List"}), fails=None)
    assert ours.outputs[0]["o"]


@pytest.mark.parametrize("expression", ["[]", "[[], []]"])
def test_empty_lists(expression: str) -> None:
    kind = "[Integer]" if expression == "[]" else "[[Integer]]"
    _same(
        lambda mark: _over(mark, "o = i", {"i": ("Integer", expression, kind)}, {"o": "Integer"}),
        on_engines=expression != "[]",
        fails=None,
    )


def test_several_lists_on_one_port_and_presets() -> None:
    def make(mark: Mark) -> Flow:
        flow = Flow()
        loop = flow.python(
            "o = i + j", {"i": "Integer", "j": "Integer"}, {"o": "Integer"}, annotations=mark, presets={"j": "5"}
        )
        flow.connect(_gives(flow, "[1, 2]", "[Integer]"), "o", loop, "i")
        flow.connect(_gives(flow, "[3]", "[Integer]"), "o", loop, "i")
        return flow

    assert _same(make).outputs[0]["o"] == [6, 7, 8]


def _inner() -> Flow:
    inner = Flow()
    first = inner.python("o = i + 1", {"i": "Integer"}, {"o": "Integer"})
    second = inner.python(
        "print(i); o, p = i * j, i - j", {"i": "Integer", "j": "Integer"}, {"o": "Integer", "p": "Integer"}
    )
    inner.connect(first, "o", second, "i")
    inner.inputs = {"i": (first, "i"), "j": (second, "j")}
    inner.outputs = {"o": (second, "o"), "p": (second, "p")}
    return inner


@pytest.mark.parametrize("kind", ["group", "subworkflow"])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_group_that_loops(kind: str, depth: int) -> None:
    def make(mark: Mark) -> Flow:
        flow = Flow()
        loop = (
            flow.group(_inner(), annotations=mark)
            if kind == "group"
            else flow.subworkflow("looping", _inner(), annotations=mark)
        )
        flow.connect(
            _gives(flow, "[1, 2, 3]" if depth == 1 else "[[1], [2, 3]]", "[" * depth + "Integer" + "]" * depth),
            "o",
            loop,
            "i",
        )
        flow.connect(_gives(flow, "[10, 20]", "[Integer]"), "o", loop, "j")
        holds = flow.parity("Lists")
        flow.connect(loop, "o", holds, "value")
        flow.connect(loop, "p", holds, "other")
        return flow

    _same(make, "logged", "plain")


@pytest.mark.parametrize("outer", ["group", "subworkflow", "looping group"])
def test_a_module_that_loops_inside_a_group(outer: str) -> None:
    def make(mark: Mark) -> Flow:
        inner = Flow()
        numbers = inner.python("o = list(range(n))", {"n": "Integer"}, {"o": "[Integer]"})
        loop = inner.python("o = i * j", {"i": "Integer", "j": "Integer"}, {"o": "Integer"}, annotations=mark)
        total = inner.python("o = sum(i)", {"i": "[Integer]"}, {"o": "Integer"})
        inner.connect(numbers, "o", loop, "i")
        inner.connect(loop, "o", total, "i")
        inner.inputs, inner.outputs = {"n": (numbers, "n"), "j": (loop, "j")}, {"o": (total, "o")}
        flow = Flow()
        group = flow.subworkflow(f"holds_loop{len(mark)}", inner) if outer == "subworkflow" else flow.group(inner)
        flow.connect(
            _gives(flow, *(("[4, 5]", "[Integer]") if "looping" in outer else ("4", "Integer"))), "o", group, "n"
        )
        flow.connect(_gives(flow, "2", "Integer"), "o", group, "j")
        flow.connect(group, "o", flow.parity("Lists"), "value")
        return flow

    but = ["log, /workflow None: inside are", "log, /workflow None/group SubWorkflow"] if outer == "subworkflow" else []
    _same(make, but=but)


def test_a_list_of_a_group_that_a_module_in_it_takes_whole() -> None:
    def make(mark: Mark) -> Flow:
        inner = Flow()
        loop = inner.python("o = i * sum(w)", {"i": "Integer", "w": "[Integer]"}, {"o": "Integer"}, annotations=mark)
        numbers = inner.python("o = [1, 2]", {}, {"o": "[Integer]"})
        inner.connect(numbers, "o", loop, "i")
        inner.inputs, inner.outputs = {"w": (loop, "w")}, {"o": (loop, "o")}
        flow = Flow()
        group = flow.group(inner)
        flow.connect(_gives(flow, "[3, 4]", "[Integer]"), "o", group, "w")
        flow.connect(group, "o", flow.parity("Lists"), "value")
        return flow

    _same(make)


def test_a_loop_after_a_loop() -> None:
    def make(mark: Mark) -> Flow:
        flow = Flow()
        first = flow.python("o = [i] * i", {"i": "Integer"}, {"o": "[Integer]"}, annotations=mark)
        second = flow.python("o = i + 1", {"i": "Integer"}, {"o": "Integer"}, annotations=mark)
        flow.connect(_gives(flow, "[1, 2, 3]", "[Integer]"), "o", first, "i")
        flow.connect(first, "o", second, "i")
        flow.connect(second, "o", flow.parity("Lists"), "value")
        return flow

    assert _same(make).outputs[1]["o"] == [[2], [3, 3], [4, 4, 4]]


def test_a_map_that_loops() -> None:
    def make(mark: Mark) -> Flow:
        flow = Flow()
        function = flow.python("o = i * 2", {"i": "Integer"}, {"o": "Integer"})
        loop = flow.add("Map", {"InputPort": "['i']", "OutputPort": "o"}, package=CONTROL, annotations=mark)
        flow.connect(function, "self", loop, "FunctionPort")
        flow.connect(_gives(flow, "[[1, 2], [3]]", "[List]"), "o", loop, "InputList")
        flow.connect(loop, "Result", flow.parity("Lists"), "value")
        return flow

    assert _same(make).outputs[1]["Result"] == [[2, 4], [6]]


def test_a_module_that_repeats_until_it_is_done() -> None:
    def make(mark: Mark) -> Flow:
        control = {"while_cond": "c", "while_max": "10", "while_input": "i", "while_output": "o"}
        lists = {"i": ("Integer", "[1, 5, 90]", "[Integer]")}
        return _over(mark, "o = i * 2; c = o < 100", lists, {"o": "Integer", "c": "Boolean"}, control=control)

    _same(make)


# ---------------------------------------------------------------- what goes wrong


def _fails(mark: Mark, hows: list[Any], depth: int = 1) -> Flow:
    flow = Flow()
    loop = flow.parity("Fails", annotations=mark)
    flow.connect(_gives(flow, repr(hows), "[" * depth + "String" + "]" * depth), "o", loop, "value")
    flow.connect(loop, "value", flow.parity("Lists"), "value")
    return flow


@pytest.mark.parametrize("how", ["module error", "exception", "unset"])
@pytest.mark.parametrize("depth", [1, 2])
def test_an_element_that_fails(how: str, depth: int) -> None:
    hows = ["fine", "fine", how, "fine"] if depth == 1 else [["fine"], ["fine", how], ["fine"]]
    _same(lambda mark: _fails(mark, hows, depth), "logged", "plain", fails=None)


def _group_of(name: str, mark: Mark, expression: str, kind: str) -> Flow:
    """A Group that loops, with one of our modules in it."""
    flow, inner = Flow(), Flow()
    module = inner.parity(name)
    inner.inputs, inner.outputs = {"value": (module, "value")}, {"value": (module, "value")}
    loop = flow.group(inner, annotations=mark)
    flow.connect(_gives(flow, expression, kind), "o", loop, "value")
    flow.connect(loop, "value", flow.parity("Lists"), "value")
    return flow


def test_an_element_that_fails_in_a_group() -> None:
    _same(lambda mark: _group_of("Fails", mark, "['fine', 'exception', 'fine']", "[String]"), fails=True)


@pytest.mark.parametrize("depth", [1, 2])
def test_elements_of_the_wrong_type(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from vistrails.core.configuration import get_vistrails_configuration

    monkeypatch.setattr(get_vistrails_configuration(), "showConnectionErrors", True)
    expression = "['x', 'y']" if depth == 1 else "[[1], [2, 'a']]"
    lists = {"i": ("Integer", expression, "[" * depth + "Variant" + "]" * depth)}
    _same(lambda mark: _over(mark, "o = i", lists, {"o": "Integer"}), fails=True, on_engines=depth == 2)


@pytest.mark.parametrize("depth", [1, 2])
def test_elements_that_are_suspended(depth: int) -> None:
    def make(mark: Mark) -> Flow:
        flow = Flow()
        loop = flow.parity("Suspends", annotations=mark)
        expression = "[0, 1, 2, 3]" if depth == 1 else "[[0], [1, 2, 3], [4]]"
        flow.connect(_gives(flow, expression, "[" * depth + "Integer" + "]" * depth), "o", loop, "value")
        flow.connect(loop, "value", flow.parity("Lists"), "value")
        return flow

    _same(make)


def test_elements_that_are_suspended_in_a_group() -> None:
    _same(lambda mark: _group_of("Suspends", mark, "[0, 1, 2]", "[Integer]"))


# ---------------------------------------------------------------- what runs in VisTrails


def _here(make: Callable[[Mark], Flow], said: list[str], why: str, **more: Any) -> Seen:
    """Assert that a marked loop runs in VisTrails, and says why, once."""
    ours = _same(make, on_engines=False, **more)
    told = [each for each in said if each.startswith("The loop of ")]
    assert len(told) == 1, said
    assert " runs in VisTrails, one element after the other: " in told[0]
    assert why in told[0]
    return ours


def test_a_loop_over_a_stream(said: list[str]) -> None:
    def make(mark: Mark) -> Flow:
        flow = Flow()
        numbers = flow.python("self.set_streaming_output('o', iter([1, 2, 3]), 3)", {}, {"o": "[Integer]"})
        loop = flow.python("o = i * i", {"i": "Integer"}, {"o": "Integer"}, annotations=mark)
        total = flow.python("print(i); o = sum(i)", {"i": "[Integer]"}, {"o": "Integer"})
        flow.connect(numbers, "o", loop, "i")
        flow.connect(loop, "o", total, "i")
        return flow

    assert _here(make, said, "a stream arrives").printed == "[1, 4, 9]\n"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (Refuses(), "element 1 (<parity_values.Refuses object at "),
        (FailsIn(os.getpid()), "cannot read element 1 (<parity_values.FailsIn object at "),
    ],
    ids=["not packed", "not read"],
)
def test_elements_that_cannot_travel(value: Any, why: str, said: list[str], held: dict[str, Any]) -> None:
    held["values"] = [1, value, 3]

    def make(mark: Mark) -> Flow:
        flow = Flow()
        loop = flow.python("o = type(i).__name__", {"i": "Variant"}, {"o": "String"}, annotations=mark)
        flow.connect(flow.held("values"), "items", loop, "i")
        return flow

    # What engines have run before it was noticed has been told to VisTrails already.
    ours = _here(make, said, why, but=["executions told"])
    assert ours.outputs[0]["o"] == ["int", type(value).__name__, "int"]


def test_engines_that_cannot_run_it_say_which_loop() -> None:
    flow = Flow()
    loop = flow.python("o = i", {"i": "Integer", "v": "Variant"}, {"o": "Variant"}, annotations={KEY: ""})
    flow.connect(_gives(flow, "[1, 2]", "List"), "o", loop, "i")
    code = "import os\nfrom parity_values import FailsIn\no = FailsIn(os.getpid())"
    flow.connect(flow.python(code, {}, {"o": "Variant"}), "o", loop, "v")
    ((_, _, text),) = Stage("ours").run(flow).errors.values()
    assert "cannot run this loop of PythonSource: the value on port 'v'" in text


def test_a_value_on_another_port_that_cannot_travel(said: list[str], held: dict[str, Any]) -> None:
    held["value"] = Refuses()

    def make(mark: Mark) -> Flow:
        lists = {"i": ("Integer", "[1, 2]", "[Integer]")}
        flow = _over(mark, "o = [i, type(self.get_input('j')).__name__]", lists, {"o": "List"})
        flow.specs[0].inputs = {"i": "Integer", "j": "Variant"}
        flow.connect(flow.held("value"), "value", 0, "j")
        return flow

    ours = _here(
        make, said, "The value on port 'j' cannot be sent to an engine: a value of type Refuses cannot be pickled"
    )
    assert ours.outputs[0]["o"] == [[1, "Refuses"], [2, "Refuses"]]


def _gives_awkward(mark: Mark, source: str, depth: int) -> Flow:
    flow = Flow()
    loop = flow.python(source, {"i": "Integer"}, {"o": "Variant", "p": "Integer"}, annotations=mark)
    lists = "[1, 2, 3, 4]" if depth == 1 else "[[1, 2], [3, 4]]"
    flow.connect(_gives(flow, lists, "[" * depth + "Integer" + "]" * depth), "o", loop, "i")
    flow.connect(loop, "o", flow.python("o = len(i)", {"i": "[Variant]"}, {"o": "Integer"}), "i")
    flow.connect(loop, "p", flow.parity("Lists"), "value")
    return flow


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import threading; o, p = threading.Lock() if i == 3 else i, -i", "The result on output 'o', of type "),
        (
            "import os, parity_values; o, p = parity_values.FailsIn(os.getpid()) if i == 3 else i, -i",
            "cannot be read in VisTrails: ValueError: not in this process",
        ),
    ],
    ids=["not packed", "not read"],
)
@pytest.mark.parametrize("depth", [1, 2])
def test_results_that_cannot_travel(depth: int, source: str, why: str, said: list[str]) -> None:
    ours = _here(
        lambda mark: _gives_awkward(mark, source, depth), said, why, but=["outputs of module 0", "executions told"]
    )
    assert ours.outputs[0]["p"] == ([-1, -2, -3, -4] if depth == 1 else [[-1, -2], [-3, -4]])


@pytest.mark.parametrize("kind", ["module", "group"])
def test_modules_that_need_the_window(kind: str, said: list[str]) -> None:
    from vistrails.tests.utils import enable_package

    enable_package(WINDOW)

    def make(mark: Mark) -> Flow:
        flow, inner = Flow(), Flow()
        asks = inner.add("Asks", package=WINDOW)
        inner.inputs, inner.outputs = {"value": (asks, "value")}, {"value": (asks, "value")}
        loop = (
            flow.group(inner, annotations=mark)
            if kind == "group"
            else flow.add("Asks", package=WINDOW, annotations=mark)
        )
        flow.connect(_gives(flow, "[1, 2]", "[Integer]"), "o", loop, "value")
        flow.connect(loop, "value", flow.parity("Lists"), "value")
        return flow

    ours = _here(make, said, "the module 'Asks' needs VisTrails' window")
    assert ours.outputs[0]["value"] == [[1, os.getpid()], [2, os.getpid()]]


def _processes(mark: Mark, **more: Any) -> Flow:
    lists = {"i": ("Integer", "[[1, 2], [3]]", "[[Integer]]")}
    return _over(mark, "import os; o = os.getpid()", lists, {"o": "Integer"}, **more)


def test_without_the_mark_a_loop_runs_in_vistrails() -> None:
    here = os.getpid()
    assert Stage("ours").run(_processes({})).outputs[0]["o"] == [[here, here], [here]]
    assert Stage("ours").run(_processes({"other.annotation": "parallel"})).outputs[0]["o"] == [[here, here], [here]]


def _functions() -> dict[str, FunctionType]:
    return {name: value for name, value in vars(Module).items() if isinstance(value, FunctionType)}


def test_when_the_package_is_disabled_nothing_of_it_is_left() -> None:
    from vistrails.core.packagemanager import get_package_manager

    here = os.getpid()
    before = _functions()
    manager = get_package_manager()
    package = manager.get_package("org.vistrails.parallelflow")
    stage = Stage("ours")
    first = stage.run(_processes({KEY: ""})).outputs[0]["o"]
    assert here not in first[0] + first[1]
    implicit_loops.leave()
    try:
        # What wraps a function bears that one's name and module; where its code is, it cannot hide.
        owners = {value.__globals__["__name__"] for value in _functions().values()}
        assert "vistrails.core.modules.vistrails_module" in owners
        assert not any(owner.startswith("parallelflow") for owner in owners)
        assert Stage("ours").run(_processes({KEY: ""})).outputs[0]["o"] == [[here, here], [here]]
    finally:
        implicit_loops.take_part()
    assert _functions() == before
    assert package is not None


def test_somebody_else_who_has_taken_hold_of_the_loop_keeps_it() -> None:
    ours = Module.compute_all

    def others(self: Any) -> None:
        ours(self)

    Module.compute_all = others
    here = os.getpid()
    try:
        implicit_loops.leave()
        assert Module.compute_all is others
        assert Stage("ours").run(_processes({KEY: ""})).outputs[0]["o"] == [[here, here], [here]]
    finally:
        Module.compute_all = ours
        implicit_loops.take_part()


def test_the_mark_does_not_touch_vistrails_cache() -> None:
    def flow(mark: Mark) -> Flow:
        flow = Flow()
        loop = flow.parity("Suspends", annotations=mark)  # for even numbers it is not
        flow.connect(flow.add("List", {"value": "[2, 4]"}), "value", loop, "value")
        return flow

    stage = Stage("ours")
    first, second, third = (stage.run(flow(mark)) for mark in ({}, {KEY: ""}, {}))
    assert first.hooks[0] == 3
    assert not second.hooks
    assert not third.hooks
    assert first.outputs == second.outputs == third.outputs
    assert first.outputs[0] == {"value": [2, 4]}


def test_it_runs_again_with_other_values_on_the_same_cache() -> None:
    serial, ours = Stage("serial"), Stage("ours")
    for expression in ("[1, 2]", "[1, 2, 3]", "[1, 2]"):
        lists = {"i": ("Integer", expression, "[Integer]")}
        pair = [
            stage.run(_over(mark, "o = i * i", lists, {"o": "Integer"}))
            for stage, mark in ((serial, {}), (ours, {KEY: ""}))
        ]
        assert not differences(*pair)
