"""Modules that are values: what they have noted on themselves in `compute` arrives, whichever way they go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from parity import Stage, assert_same, differences
from workflows import Flow

pytestmark = pytest.mark.usefixtures("parity")

OUTPUTS = ["self", "value", "list", "dictionary", "pair", "helper"]

# What a module downstream makes of a value that is, or has in it, a module.
READ = """
def read(value):
    if hasattr(value, "told"):
        return [value.noted, value.told(), value.myself is value, sorted(value.children), value.children["other"].later]
    if callable(value):
        return value()
    if isinstance(value, dict):
        return [read(each) for each in value.values()]
    if isinstance(value, (list, tuple)):
        return [read(each) for each in value]
    return getattr(value, "later", value)
"""


@pytest.mark.parametrize("name", ["Notes", "Locks"])
@pytest.mark.parametrize("output", [*OUTPUTS, "method", "function"])
def test_a_module_in_a_result_has_its_notes(output: str, name: str) -> None:
    flow = Flow()
    notes = flow.parity(name, {"preset": "p"})
    mapped = flow.map(notes, "value", output, "[1, 'two', 3]")
    reads = flow.python(f"{READ}o = [read(each) for each in i]", {"i": "List"}, {"o": "List"})
    flow.connect(mapped, "Result", reads, "i")
    # What cannot be pickled stays behind; what the copy has on itself refers to the original.
    but = [f"outputs of module {mapped}"] if name == "Locks" or output in ("method", "function") else []
    serial, _ = assert_same(flow, "logged", "plain", but=but)
    assert "told" in repr(serial.outputs[reads]["o"]) or output == "helper"


def test_a_note_that_had_to_stay_behind_says_so_to_who_uses_it() -> None:
    flow = Flow()
    mapped = flow.map(flow.parity("Locks"), "value", "self", "[1]")
    reads = flow.python("o = i[0].lock.locked()", {"i": "List"}, {"o": "Boolean"})
    flow.connect(mapped, "Result", reads, "i")
    error = Stage("ours").run(flow).errors[reads][2]
    assert "what Locks noted as 'lock' has stayed in another process" in error
    assert "cannot pickle" in error


@pytest.mark.parametrize("output", [*OUTPUTS, "method", "function"])
def test_a_module_on_another_port_has_its_notes(output: str) -> None:
    flow = Flow()
    notes = flow.parity("Notes", {"preset": "p"})
    flow.connect(flow.parity("Counts", {"text": "from upstream"}), "value", notes, "value")
    reads = flow.python(f"{READ}o = (i, read(m))", {"i": "Integer", "m": "Variant"}, {"o": "Variant"})
    flow.connect(notes, output, reads, "m")
    flow.map(reads, "i", "o", "[1, 2, 3]")
    stages = Stage("serial"), Stage("ours")
    for _ in range(2):  # the second time with values made anew
        serial, ours = (stage.run(flow) for stage in stages)
        assert not differences(serial, ours)
        assert not serial.errors
        assert "from upstream" in repr(serial.outputs) or output == "helper"


def test_a_module_that_an_element_changes_is_as_it_was_in_the_next_run() -> None:
    flow = Flow()
    notes = flow.parity("Notes", {"preset": "p"})
    flow.connect(flow.parity("Counts", {"text": "x"}), "value", notes, "value")
    changes = flow.python(
        "o = (m.noted, l[0] is m)\nm.noted = 'changed'\nm.more = 5",
        {"i": "Integer", "m": "Module", "l": "List"},
        {"o": "Variant"},
    )
    flow.connect(notes, "self", changes, "m")
    flow.connect(notes, "list", changes, "l")
    mapped = flow.map(changes, "i", "o", "[1]", cached=False)
    stage = Stage("ours", "plain")
    for _ in range(3):
        assert stage.run(flow).outputs[mapped]["Result"] == [("x", True)]


def test_the_cell_location_idiom() -> None:
    """A module that notes what it gets, and whose `self` another one reads attributes of."""
    flow = Flow()
    location = flow.python("self.row, self.col = r, r + 1", {"r": "Integer"}, {}, presets={"r": "3"})
    uses = flow.python("o = (i, l.row, l.col)", {"i": "Integer", "l": "Module"}, {"o": "Variant"})
    flow.connect(location, "self", uses, "l")
    flow.map(uses, "i", "o", "[1, 2]")
    serial, _ = assert_same(flow, "logged", "plain")
    assert (1, 3, 4) in serial.outputs[2]["Result"]


def test_modules_with_notes_go_on_into_the_next_map() -> None:
    flow = Flow()
    first = flow.map(flow.parity("Notes", {"preset": "p"}), "value", "self", "[1, 2]")
    reads = flow.python(f"{READ}o = read(m)", {"m": "Module"}, {"o": "Variant"})
    flow.map(reads, "m", "o", (first, "Result"))
    serial, _ = assert_same(flow)
    assert not serial.errors


def test_a_module_inside_a_group_is_a_value_with_its_notes() -> None:
    inner = Flow()
    notes = inner.parity("Notes", {"preset": "p"})
    inner.inputs, inner.outputs = {"in": (notes, "value")}, {"out": (notes, "self")}
    flow = Flow()
    mapped = flow.map(flow.group(inner), "in", "out", "[1, 2]")
    reads = flow.python(f"{READ}o = [read(each) for each in i]", {"i": "List"}, {"o": "List"})
    flow.connect(mapped, "Result", reads, "i")
    # Its connections stay where it ran: see docs/differences.rst.
    serial, _ = assert_same(flow, but=[f"outputs of module {mapped}: port Result: [0].module"])
    assert serial.outputs[reads]["o"][0][:2] == [1, "told 1 p"]


def test_a_module_passed_through_by_an_element_keeps_what_the_element_notes() -> None:
    flow = Flow()
    notes = flow.parity("Notes", {"preset": "p"})
    flow.connect(flow.parity("Counts", {"text": "x"}), "value", notes, "value")
    adds = flow.python("m.added = m.noted * 2\no = m", {"i": "Integer", "m": "Module"}, {"o": "Module"})
    flow.connect(notes, "self", adds, "m")
    mapped = flow.map(adds, "i", "o", "[1]")
    reads = flow.python("o = [(m.added, m.told(), m.get_input('value')) for m in i]", {"i": "List"}, {"o": "List"})
    flow.connect(mapped, "Result", reads, "i")
    # The workflow's own module stays as it is, and copies inside it are without their connections.
    but = [f"outputs of module {notes}", f"outputs of module {mapped}: port Result: [0].module['outputs']"]
    serial, ours = assert_same(flow, but=but)
    assert ours.outputs[reads]["o"] == [("xx", "told x p", "x")] == serial.outputs[reads]["o"]


def test_constants_of_a_users_package_and_registered_values() -> None:
    flow = Flow()
    ratio = flow.parity("Ratio", {"value": "3:4"})
    uses = flow.python(
        "o = (type(m).__name__, m.get_output('value'), m.validate((1, 2)))",
        {"i": "Integer", "m": "Module"},
        {"o": "Variant"},
    )
    flow.connect(ratio, "self", uses, "m")
    flow.map(uses, "i", "o", "[1, 2]")
    serial, _ = assert_same(flow)
    assert not serial.errors


def _reading(flow: Flow, mapped: int, code: str) -> Flow:
    flow.connect(mapped, "Result", flow.python(code, {"i": "List"}, {"o": "List"}), "i")
    return flow


def _class_of_the_source() -> Flow:
    flow = Flow()
    source = flow.python(
        "class C:\n    def __init__(self, x): self.x = x\n    def __eq__(self, other): return self.x == other.x\n"
        "self.c = C(i)\nself.f = lambda: self.c.x + 1",
        {"i": "Integer"},
        {},
    )
    return _reading(flow, flow.map(source, "i", "self", "[1, 2]"), "o = [(m.c.x, m.f()) for m in i]")


def _into_a_group() -> Flow:
    flow, inner = Flow(), Flow()
    first = flow.map(flow.parity("Notes", {"preset": "p"}), "value", "self", "[1, 2]")
    tells = inner.python("o = (m.told(), m.noted, m.get_input('preset'))", {"m": "Module"}, {"o": "Variant"})
    inner.inputs, inner.outputs = {"in": (tells, "m")}, {"out": (tells, "o")}
    flow.map(flow.group(inner), "in", "out", (first, "Result"))
    return flow


def _inside_a_group() -> Flow:
    flow, inner = Flow(), Flow()
    mapped = inner.map(inner.parity("Notes", {"preset": "p"}), "value", "method", "[1, 2]")
    calls = inner.python("o = [f() for f in i]", {"i": "List"}, {"o": "List"})
    inner.connect(mapped, "Result", calls, "i")
    inner.outputs = {"out": (calls, "o")}
    flow.connect(flow.group(inner), "out", flow.parity("Holds"), "value")
    return flow


def _two_functions() -> Flow:
    flow = Flow()
    functions = [flow.parity("Notes", {"preset": text}) for text in "ab"]
    return _reading(flow, flow.map(functions, "value", "self", "[1, 2]"), "o = [m.told() for m in i]")


def _large_note() -> Flow:
    flow = Flow()
    source = flow.python(
        "import numpy\nself.a = numpy.arange(50000.0) + i\no = self", {"i": "Integer"}, {"o": "Module"}
    )
    return _reading(flow, flow.map(source, "i", "o", "[1, 2]"), "o = [float(m.a.sum()) for m in i]")


def _in_an_error() -> Flow:
    flow = Flow()
    error = "from vistrails.core.modules.vistrails_module import ModuleError\nself.x = i\no = ModuleError(self, 'bad')"
    upstream, mapped = (flow.python(error, {"i": "Integer"}, {"o": "Variant"}, presets=p) for p in ({"i": "7"}, {}))
    read = flow.python("o = [(e.msg, e.module.x) for e in (a, b)]", {"a": "Variant", "b": "Variant"}, {"o": "List"})
    flow.connect(upstream, "o", read, "b")
    flow.map(read, "a", "o", (flow.map(mapped, "i", "o", "[1, 2]"), "Result"))
    return flow


@pytest.mark.parametrize(
    "make", [_class_of_the_source, _into_a_group, _inside_a_group, _two_functions, _large_note, _in_an_error]
)
def test_modules_as_values_elsewhere(make: Callable[[], Flow]) -> None:
    serial, _ = assert_same(make())
    assert not serial.errors
