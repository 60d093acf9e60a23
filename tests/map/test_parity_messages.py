"""What is said when a value, an element or an error cannot make its way: sentences that name it. On real engines."""

from __future__ import annotations

import platform
import sys
import types
from typing import Any

import parity_values
import pytest
from parity import Seen, Stage, both
from workflows import Flow

from parallelflow.map import answers, values
from parallelflow.map.elements import Elements
from parallelflow.map.looping import Looping
from parallelflow.map.outcomes import ChunkOutcome, Failure, Host
from parallelflow.map.work import MapError

pytestmark = pytest.mark.usefixtures("parity")


def _said(seen: Seen, module: int) -> str:
    assert list(seen.errors) == [module]
    text = seen.errors[module][2]
    assert "\x1b" not in text
    return text


# ---------------------------------------------------------------- values on ports


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (
            "FailsIn(os.getpid())",
            "of type parity_values.fail_outside, cannot be read there: ValueError: not in this process",
        ),
        ("[TooLarge()]", "of type list, with a parity_values.fill_memory inside, cannot be read there: MemoryError"),
    ],
)
def test_a_value_on_another_port_that_an_engine_cannot_read(value: str, why: str) -> None:
    flow = Flow()
    code = f"import os\nfrom parity_values import FailsIn, TooLarge\no = {value}"
    reads = flow.python("o = i", {"i": "Integer", "v": "Variant"}, {"o": "Variant"})
    flow.connect(flow.python(code, {}, {"o": "Variant"}), "o", reads, "v")
    mapped = flow.map(reads, "i", "o", "[1]")
    text = _said(Stage("ours").run(flow), mapped)
    assert f"cannot run this Map: the value on port 'v', {why}" in text


@pytest.mark.parametrize("kind", ["Filter", "For"])
def test_a_text_names_the_loop_that_runs(kind: str) -> None:
    flow = Flow()
    code = "import os\nfrom parity_values import FailsIn\no = FailsIn(os.getpid())"
    reads = flow.python("o = True", {"i": "Integer", "v": "Variant"}, {"o": "Boolean"})
    flow.connect(flow.python(code, {}, {"o": "Variant"}), "o", reads, "v")
    if kind == "For":
        loop = flow.loop(reads, {"InputPort": "i", "OutputPort": "o", "HigherBound": "1"})
    else:
        loop = flow.map(reads, "i", "o", "[1]", kind=kind)
    assert f"cannot run this {kind}: the value on port 'v'" in _said(Stage("ours").run(flow), loop)


# ---------------------------------------------------------------- results


ONLY_THERE = """
import sys, types
if "only_there" not in sys.modules:
    there = types.ModuleType("only_there")
    there.__version__ = "2.0"
    exec("class Thing:\\n    def __init__(self, x): self.x = x", vars(there))
    there.Thing.__module__ = "only_there"
    sys.modules["only_there"] = there
import only_there
"""


def _ours(source: str, elements: str = "[0, 1, 2, 3, 4]") -> tuple[Seen, int]:
    flow = Flow()
    mapped = flow.map(flow.python(source, {"i": "Variant"}, {"o": "Variant"}), "i", "o", elements)
    return Stage("ours").run(flow), mapped


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        ("only_there.Thing(i)", "of type only_there.Thing, cannot be read"),
        ("[1, {'a': only_there.Thing(i)}]", "of type list, with a only_there.Thing inside, cannot be read"),
    ],
)
def test_a_result_of_a_class_that_is_not_in_vistrails(result: str, kind: str) -> None:
    seen, mapped = _ours(f"o = i\nif i >= 2:\n    exec({ONLY_THERE!r})\n    o = {result}")
    text = _said(seen, mapped)
    assert kind in text
    assert "No module named 'only_there'" in text
    assert "Of only_there, the engine has 2.0, and VisTrails has none." in text
    assert "This was element 2 (2) on engine" in text


def test_a_result_that_fails_in_vistrails_only() -> None:
    seen, mapped = _ours("import parity_values\no = parity_values.FailsIn(__import__('os').getpid()) if i == 3 else i")
    text = _said(seen, mapped)
    assert "ValueError: not in this process" in text
    assert "element 3 (3)" in text


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ("TakesNoState()", "of type parity_values.TakesNoState, cannot be read in VisTrails: ValueError: no state"),
        ("[EndsWhenMade()]", "of type list, with a sys.exit inside, cannot be read in VisTrails: SystemExit: 3"),
        ("EndsWhenPickled()", "a value of type EndsWhenPickled cannot be pickled: SystemExit: 4"),
    ],
)
def test_whatever_a_results_class_does_is_its_elements_failure(result: str, why: str) -> None:
    seen, mapped = _ours(f"o = i\nif i == 1:\n    from parity_values import *\n    o = {result}", "[0, 1]")
    text = _said(seen, mapped)
    assert why in text
    assert "This was element 1 (1) on engine" in text
    if result == "[EndsWhenMade()]":
        python = platform.python_version()
        assert text.count(f"Of Python, the engine has {python}, and VisTrails has {python}.") == 1


@pytest.mark.parametrize(
    ("value", "why"), [("EndsWhenMade", "SystemExit: 3"), ("EndsWhenPickled", "cannot be pickled: SystemExit: 4")]
)
def test_an_element_whose_class_ends_the_program_is_a_failure(value: str, why: str) -> None:
    flow = Flow()
    made = flow.python(f"import parity_values\no = [1, parity_values.{value}()]", {}, {"o": "List"})
    mapped = flow.map(flow.python("o = 1", {"i": "Variant"}, {"o": "Integer"}), "i", "o", (made, "o"))
    text = _said(Stage("ours").run(flow), mapped)
    assert why in text
    assert "element 1" in text.lower()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        ("o = []\nfor _ in range(100_000):\n    o = [o]", "of type list, cannot be sent back"),
        ("o = (j for j in 'ab')", "TypeError: cannot pickle 'generator' object"),
        ("import parity_values\no = parity_values.NoMemory()", "cannot be pickled: MemoryError"),
    ],
)
def test_a_result_that_cannot_be_pickled_names_the_type_of_the_error(make: str, why: str) -> None:
    seen, mapped = _ours("o = i\nif i == 1:\n" + "\n".join(f"    {line}" for line in make.splitlines()))
    text = _said(seen, mapped)
    assert why in text
    assert "element 1 (1)" in text


# ---------------------------------------------------------------- elements


def test_an_element_that_no_engine_can_read_is_named(held: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    only_here = types.ModuleType("only_here")
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    exec("class Thing:\n    pass", vars(only_here))
    only_here.Thing.__module__ = "only_here"  # type: ignore[attr-defined]
    held["elements"] = [*range(30), only_here.Thing(), *range(30)]  # type: ignore[attr-defined]
    flow = Flow()
    mapped = flow.map(flow.parity("Echo"), "value", "kind", (flow.held("elements"), "list"))
    text = _said(Stage("ours").run(flow), mapped)
    assert "cannot read element 30 (<only_here.Thing object" in text
    assert "ModuleNotFoundError: No module named 'only_here'" in text


def test_an_element_that_does_not_fit_an_engines_memory_is_named(held: dict[str, Any]) -> None:
    held["elements"] = [0, 1, parity_values.TooLarge()]
    flow = Flow()
    mapped = flow.map(flow.parity("Echo"), "value", "kind", (flow.held("elements"), "list"))
    text = _said(Stage("ours").run(flow), mapped)
    assert "cannot read element 2 (<parity_values.TooLarge object" in text
    assert "MemoryError" in text


def test_an_element_as_long_as_a_book_is_cut_where_it_is_named(held: dict[str, Any]) -> None:
    held["elements"] = [[0] * 300_000, "x" * 3_000_000]
    flow = Flow()
    source = flow.python("raise ValueError('no')\no = 1", {"i": "Variant"}, {"o": "Variant"})
    flow.map(source, "i", "o", (flow.held("elements"), "list"))
    text = _said(Stage("ours").run(flow), source)
    assert "This was element 0 ([0, 0, 0" in text
    assert len(text) < 500


# ---------------------------------------------------------------- errors


ERRORS = {
    "no text": "class E(Exception):\n    def __str__(self):\n        raise RuntimeError('no text')\nraise E()",
    "a long text": "raise ValueError('x' * 3_000_000)",
    "arguments that cannot be pickled": "import threading\nraise ValueError(threading.Lock())",
    "a group of errors": "raise ExceptionGroup('several', [ValueError(1), KeyError(2)])",
    "a cause": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('because') from e",
    "another process's error": "from vistrails.core.interpreter.base import AbortExecution\nraise AbortExecution('stop')",
    "a module's that had failed": (
        "from vistrails.core.modules.vistrails_module import ModuleHadError\nraise ModuleHadError(self)"
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_the_serial_maps(name: str) -> None:
    if name == "a group of errors" and sys.version_info < (3, 11):
        pytest.skip("Python has no groups of errors yet")
    flow = Flow()
    flow.map(
        flow.python(f"o = i\nif i == 1:\n{_indented(ERRORS[name])}", {"i": "Integer"}, {"o": "Integer"}),
        "i",
        "o",
        "[0, 1, 2]",
    )
    serial, ours = both(flow)
    assert set(serial.errors) == set(ours.errors), (serial.errors, ours.errors)
    for module, (carrier, kind, text) in serial.errors.items():
        assert ours.errors[module][:2] == (carrier, kind)
        # Addresses in memory differ.
        assert ours.errors[module][2].split(" at 0x")[0].startswith(text.split(" at 0x")[0])


def _indented(source: str) -> str:
    return "\n".join(f"    {line}" for line in source.splitlines())


STREAM = """
from vistrails.core.modules.basic_modules import Generator

def numbers(self):
    for number in [*range(3), None]:
        self.set_output("o", number)
        yield None if number is None else True

self.set_output("o", Generator(size=3, module=self, generator=numbers(self), port="o"))
"""


def test_a_stream_that_leaves_a_group_is_the_elements_failure() -> None:
    """VisTrails drops the error, whose module is inside the Group: the serial Map says nothing at all."""
    inner = Flow()
    streams = inner.python(STREAM, {"i": "Variant"}, {"o": "Variant"})
    inner.inputs, inner.outputs = {"in": (streams, "i")}, {"out": (streams, "o")}
    flow = Flow()
    mapped = flow.map(flow.group(inner), "in", "out", "[1, 2]")
    serial, ours = both(flow)
    assert not serial.errors
    assert not serial.executed[mapped]
    text = _said(ours, mapped)
    assert text.startswith("output port 'ExternalPipe' not found\n")
    assert "element 0 (1)" in text


def test_an_error_of_a_module_in_no_pipeline_is_the_elements_failure() -> None:
    flow = Flow()
    raises = flow.python(
        "from vistrails.core.modules.vistrails_module import Module, ModuleError\n"
        "m = Module()\nm.id, m.interpreter = 4711, self.interpreter\nm.logging = self.logging\no = i\n"
        "if i == 1:\n    raise ModuleError(m, 'dropped')",
        {"i": "Integer"},
        {"o": "Integer"},
    )
    mapped = flow.map(raises, "i", "o", "[0, 1, 2]")
    text = _said(Stage("ours", "plain").run(flow), mapped)
    assert text.startswith("dropped\n")
    assert "element 1 (1)" in text


# ---------------------------------------------------------------- answers


def _read(outcome: ChunkOutcome, *indices: int) -> ChunkOutcome:
    source = Elements(Looping([[index] for index in range(9)], ["i"], "o", takes_apart=False), "this Map")
    return answers.read(values.pack(outcome), indices, source, "Engine 1", lambda package: "?", lambda: None)


HOST = Host("h", 1, 0.0, {})


def test_an_outcome_that_does_not_say_what_became_of_an_element_is_refused() -> None:
    with pytest.raises(MapError, match=r"Engine 1 sent back neither a result nor an error of element 4 \(4\)"):
        _read(ChunkOutcome(HOST, 0.0, values={3: 1}), 3, 4)
    with pytest.raises(MapError, match="element 3"):
        _read(ChunkOutcome(HOST, 0.0, failure=Failure(4, "", "", None)), 3, 4)


def test_an_outcome_is_believed_that_tells_of_all_elements_up_to_where_it_ended() -> None:
    failed = Failure(4, "", "", None)
    for outcome in (
        ChunkOutcome(HOST, 0.0, values={3: 1, 4: 2}),
        ChunkOutcome(HOST, 0.0, values={3: 1}, failure=failed),
        ChunkOutcome(HOST, 0.0, values={3: 1}, gives_back=True),
        ChunkOutcome(HOST, 0.0, suspended={3: []}, values={4: 1}),
    ):
        assert _read(outcome, 3, 4) == outcome


def test_bytes_that_are_no_outcome_are_refused_with_a_sentence() -> None:
    source = Elements(Looping([[1]], ["i"], "o", takes_apart=False), "this Map")
    with pytest.raises(MapError, match=r"What Engine 1 sent back of element 0 \(1\) cannot be read in VisTrails"):
        answers.read([b"\x80\x05nonsense"], [0], source, "Engine 1", lambda package: "?", lambda: None)


def test_what_ipython_says_of_an_error_has_no_colours() -> None:
    class Remote:
        ename, evalue = "MemoryError", "\x1b[31mtoo much\x1b[0m"

        def render_traceback(self) -> list[str]:
            return ["\x1b[0;31m----\x1b[0m", "\x1b[1;32mline\x1b[0m"]

    assert answers.explain(Remote(), "Engine 1", "element 0 (1)") == (
        "Engine 1 could not run element 0 (1): MemoryError: too much\n----\nline"
    )
