"""Values arrive on engines and come back as themselves: to the last bit, types included, as in the serial Map."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import enum
import fractions
import functools
import math
import pathlib
import re
import sys
import threading
import types
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import parity_values
import pytest
import scipy.sparse
from parity import Seen, Stage, assert_same, both, value_difference
from workflows import Flow

pytestmark = pytest.mark.usefixtures("parity")


def _recursive() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


def _shared() -> list[Any]:
    value = [1.5]
    return [value, value]


def _closure() -> Callable[[int], int]:
    step = 3

    def add(number: int, times: int = 2) -> int:
        return number + step * times

    return add


def _local_class() -> Any:
    class Local:
        def __init__(self, value: Any):
            self.value = value

    return Local("of a function")


def _in_main() -> Any:
    main = sys.modules["__main__"]
    exec(
        "class ParityInMain:\n    kind = 'main'\n    def __init__(self, value):\n        self.value = value\n",
        main.__dict__,
    )
    return main.ParityInMain([1, "two"])  # type: ignore[attr-defined]


def _in_user_package() -> Any:
    from userpackages.parity_package.values import Measure

    return Measure(0.1, "m")


def _file(name: str) -> Any:
    from vistrails.core.modules.basic_modules import PathObject

    return PathObject(name)


def _color() -> Any:
    from vistrails.core.utils import InstanceObject

    return InstanceObject(tuple=(0.1, 0.2, 1 / 3))


def _read_only(size: int) -> Any:
    value = numpy.arange(size, dtype=float)
    value.flags.writeable = False
    return value


def _structured() -> Any:
    return numpy.array([(1, 2.5, "ü"), (3, -0.0, "x")], dtype=[("a", "<i2"), ("b", ">f8"), ("c", "U4")])


def _masked(size: int) -> Any:
    return numpy.ma.masked_array(numpy.arange(size) / 3, mask=numpy.arange(size) % 2 == 0, fill_value=-7.0)


class _Subclass(numpy.ndarray):
    pass


VALUES: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "zero": lambda: 0,
    "a big integer": lambda: -(7**400),
    "tenth": lambda: 0.1,
    "a float to the last bit": lambda: math.nextafter(1.1, 2),
    "minus zero": lambda: -0.0,
    "infinity": lambda: -math.inf,
    "not a number": lambda: math.nan,
    "the smallest float": lambda: 5e-324,
    "the largest float": lambda: sys.float_info.max,
    "complex": lambda: complex(-0.0, math.nan),
    "empty text": lambda: "",
    "text": lambda: "grün 漢字 🎉",
    "text with control characters": lambda: "tab\tnew\nreturn\r\nnul\0one\x01del\x7fnext\x85line\u2028end ",
    "half a character": lambda: "\ud800",
    "markup": lambda: '<a href="x">&amp;</a> %20 + %',
    "bytes": lambda: bytes(range(256)),
    "bytearray": lambda: bytearray(b"\0abc"),
    "tuple": lambda: (1, (2.5, "x"), ()),
    "list": lambda: [1, [2, [None]], []],
    "dictionary": lambda: {"b": 1, ("a", 2): [None], 3: {}},
    "set": lambda: {1, 2, 3},
    "frozenset": lambda: frozenset("ab"),
    "range": lambda: range(3, 30, 4),
    "slice": lambda: slice(1, None, 2),
    "Ellipsis": lambda: ...,
    "a list that holds itself": _recursive,
    "one object twice": _shared,
    "a type": lambda: dict,
    "a class": lambda: parity_values.Point,
    "a function": lambda: parity_values.function,
    "a lambda": lambda: lambda x: x * 2,
    "a closure": _closure,
    "a built-in function": lambda: math.sin,
    "a partial function": lambda: functools.partial(int, base=7),
    "a method": lambda: parity_values.MyList([1]).index,
    "a Python module": lambda: math,
    "date and time": lambda: datetime.datetime(2020, 2, 29, 1, 2, 3, 4, datetime.timezone.utc),
    "timedelta": lambda: datetime.timedelta(days=-1, microseconds=1),
    "decimal": lambda: decimal.Decimal("1.100"),
    "fraction": lambda: fractions.Fraction(1, 3),
    "uuid": lambda: uuid.UUID(int=5),
    "a path": lambda: pathlib.PurePosixPath("/a/ü"),
    "enum": lambda: parity_values.Shade.DARK,
    "flags": lambda: parity_values.Flags.ONE | parity_values.Flags.TWO,
    "an enum of http": lambda: enum.auto(),
    "dataclass": lambda: parity_values.Point(0.1, -0.0),
    "frozen dataclass": lambda: parity_values.Frozen("ü"),
    "object": lambda: parity_values.Plain(a=1, b=[2]),
    "slots": lambda: parity_values.Slotted(1, "b"),
    "nested class": lambda: parity_values.Outer.Inner((1, 2)),
    "subclass of int": lambda: parity_values.MyInt(5),
    "subclass of str": lambda: parity_values.MyStr("five"),
    "subclass of list": lambda: parity_values.MyList([1, 2]),
    "subclass of dict": lambda: parity_values.MyDict(a=1),
    "class in __main__": _in_main,
    "class of a function": _local_class,
    "class in a user package": _in_user_package,
    "exception": lambda: ValueError("wrong", 3),
    "pattern": lambda: re.compile("a+", re.IGNORECASE),
    "deque": lambda: collections.deque([1, 2], maxlen=3),
    "ordered dictionary": lambda: collections.OrderedDict(b=1, a=2),
    "default dictionary": lambda: collections.defaultdict(list, a=[1]),
    "counter": lambda: collections.Counter("aab"),
    "namespace": lambda: types.SimpleNamespace(a=1),
    "array": lambda: array.array("d", [0.1, -0.0]),
    "file": lambda: _file("/tmp/grün.txt"),
    "relative file": lambda: _file("some folder/x.txt"),
    "color": _color,
    "large text": lambda: "ü" * 200_000,
    "large bytes": lambda: bytes(300_000),
    # numpy
    "numpy float": lambda: numpy.float64(0.1),
    "numpy single": lambda: numpy.float32(0.1),
    "numpy half": lambda: numpy.float16(0.1),
    "numpy long double": lambda: numpy.longdouble("0.1"),
    "numpy integer": lambda: numpy.int8(-3),
    "numpy truth": lambda: numpy.bool_(True),
    "numpy complex": lambda: numpy.complex64(1 - 2j),
    "numpy text": lambda: numpy.str_("ü"),
    "numpy bytes": lambda: numpy.bytes_(b"\0a"),
    "numpy date": lambda: numpy.datetime64("2020-02-29T01:02:03.000004"),
    "numpy time": lambda: numpy.timedelta64(5, "h"),
    "numpy record": lambda: _structured()[0],
    "numpy type": lambda: numpy.dtype([("a", ">i4")]),
    "array without dimensions": lambda: numpy.array(3.5),
    "empty array": lambda: numpy.zeros((0, 3)),
    "small array": lambda: numpy.array([0.1, -0.0, math.nan, math.inf]),
    "large array": lambda: numpy.arange(300_000) / 7,
    "array of integers": lambda: numpy.arange(12, dtype="u2").reshape(3, 4),
    "array of truth": lambda: numpy.array([True, False]),
    "array of text": lambda: numpy.array(["a", "grün"]),
    "array of bytes": lambda: numpy.array([b"a", b"bc\0"]),
    "array of objects": lambda: numpy.array([1, "two", None, [3]], dtype=object),
    "array of dates": lambda: numpy.array(["2020-02-29", "NaT"], dtype="M8[D]"),
    "big-endian array": lambda: numpy.arange(5, dtype=">f8"),
    "structured array": _structured,
    "record array": lambda: _structured().view(numpy.recarray),
    "small array in Fortran's order": lambda: numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3)),
    "large array in Fortran's order": lambda: numpy.asfortranarray(numpy.arange(60_000.0).reshape(200, 300)),
    "array with gaps": lambda: numpy.arange(60_000.0).reshape(200, 300)[::2, 5:100:3],
    "array backwards": lambda: numpy.arange(10)[::-1],
    "array of one value many times": lambda: numpy.broadcast_to(numpy.array([1.5]), (3, 4)),
    "small read-only array": lambda: _read_only(4),
    "large read-only array": lambda: _read_only(30_000),
    "small masked array": lambda: _masked(5),
    "large masked array": lambda: _masked(30_000),
    "masked array with a hard mask": lambda: numpy.ma.masked_array([1, 2], mask=[1, 0], hard_mask=True),
    "the masked constant": lambda: numpy.ma.masked,
    "matrix": lambda: numpy.matrix([[1, 2], [3, 4]]),
    "subclass of array": lambda: numpy.arange(3.0).view(_Subclass),
    "list of arrays": lambda: [numpy.arange(3), numpy.arange(30_000.0)],
    "hundred arrays": lambda: [numpy.full(3000, float(i)) for i in range(100)],
    "sparse matrix": lambda: scipy.sparse.csr_matrix(numpy.eye(3)),
}


# numpy's own pickling leaves these out; see docs/differences.rst.
ONLY_BY_NUMPY = {
    "array of one value many times": "flags.writeable is False / True",
    "masked array with a hard mask": "hardmask is True / False",
}


@functools.cache
def _all_as_elements() -> dict[str, str | None]:
    """Map over (name, value, value) with each value as element and as result; return what differs, by name."""
    parity_values.HELD["elements"] = [(name, make(), make()) for name, make in VALUES.items()]
    flow = Flow()
    mapped = flow.map(flow.parity("Echo"), ["text", "value", "other"], "all", (flow.held("elements"), "list"))
    return _by_name(*both(flow, "plain"), mapped, list(VALUES))


@functools.cache
def _all_on_another_port() -> dict[str, str | None]:
    """Map with all values on another port; return what differs, by name."""
    flow = Flow()
    bundle = flow.python("o = dict(i)", {"i": "List"}, {"o": "Variant"})
    parity_values.HELD["values"] = [(f"{number:03}", make()) for number, make in enumerate(VALUES.values())]
    flow.connect(flow.held("values"), "list", bundle, "i")
    echo = flow.parity("Echo")
    flow.connect(bundle, "o", echo, "other")
    mapped = flow.map(echo, "value", "all", "[1]")
    serial, ours = both(flow, "plain")
    for seen in (serial, ours):
        (result,) = seen.outputs[mapped]["Result"]
        seen.outputs[mapped]["Result"] = list(result["other"].values())
    return _by_name(serial, ours, mapped, list(VALUES))


def _by_name(serial: Seen, ours: Seen, mapped: int, names: list[str]) -> dict[str, str | None]:
    assert serial.raised is None
    assert ours.raised is None
    assert serial.errors == ours.errors == {}
    pairs = zip(names, serial.outputs[mapped]["Result"], ours.outputs[mapped]["Result"], strict=True)
    return {name: value_difference(a, b) for name, a, b in pairs}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_itself_as_element_and_as_result(name: str) -> None:
    _check(_all_as_elements()[name], name)


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_itself_on_another_port(name: str) -> None:
    _check(_all_on_another_port()[name], name)


def _check(difference: str | None, name: str) -> None:
    if name in ONLY_BY_NUMPY:
        assert difference is not None, "numpy has become better: take it out of ONLY_BY_NUMPY and of the docs"
        assert difference.endswith(ONLY_BY_NUMPY[name])
    else:
        assert difference is None


@pytest.mark.parametrize(
    "name", ["a class", "class in __main__", "class in a user package", "file", "numpy float", "None"]
)
def test_a_module_finds_the_same_type_on_an_engine(name: str, held: dict[str, Any]) -> None:
    held["elements"] = [VALUES[name](), VALUES[name]()]
    flow = Flow()
    flow.map(flow.parity("Echo"), "value", "kind", (flow.held("elements"), "list"))
    assert_same(flow, "plain")


# Presets are texts in the workflow's file; each type reads them in its own way.
PRESETS = {
    "truth": ["True", "false"],
    "whole": ["-3", "0x1F", str(7**60)],
    "number": ["0.1", "-0.0", "inf", "nan", "1e-323", "1.1000000000000003"],
    "text": [
        "",
        " leading and trailing ",
        "grün 漢字 🎉",
        "tab\there",
        "two\nlines",
        "carriage\r\nreturn",
        "nul\0bell\x07escape\x1b",
        "next\x85line\u2028\ufffe",
        '<a b="c">&amp;&#10;</a>',
        "%20%41",
        "]]>",
    ],
    "list": ["[1, 'a', None, 0.1, b'x', (1, 2)]", "[]", r"['tab\t', '\x00', '\ud800']"],
    "dictionary": ["{'a': [1, None], 2: {'ü': 0.1}}"],
    "color": ["0.1,0.2,0.3"],
    "file": ["/tmp/grün x.txt", "relative.txt"],
    "directory": ["/tmp/none"],
    "path": ["~/x"],
}
TEXTS = PRESETS["text"]


@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_presets_on_other_ports_have_the_serial_values(number: int) -> None:
    presets: dict[str, Any] = {port: texts[number % len(texts)] for port, texts in PRESETS.items()}
    presets["pair"] = [TEXTS[number], "5"]
    flow = Flow()
    flow.map(flow.parity("Echo", presets), "value", "all", "[1, 2]")
    assert_same(flow, "plain")


def test_presets_inside_a_group_have_the_serial_values() -> None:
    inner = Flow()
    names = []
    for number, text in enumerate(TEXTS):
        echo = inner.parity("Echo", {"text": text, "pair": [text, "0x1"]})
        inner.inputs[f"in{number}"] = (echo, "value")
        inner.outputs[f"out{number}"] = (echo, "all")
        names.append(f"in{number}")
    flow = Flow()
    group = flow.group(inner)
    elements = repr([tuple(range(len(names)))] * 2)
    flow.map(group, names, "self", elements)
    assert_same(flow, "plain")


def test_a_preset_that_utf8_cannot_carry_fails_as_in_the_serial_map() -> None:
    flow = Flow()
    flow.map(flow.parity("Echo", {"text": "\ud800"}), "value", "all", "[1, 2]")
    assert_same(flow, "plain", fails=True)


@pytest.mark.parametrize("text", TEXTS)
def test_python_source_may_hold_any_character(text: str) -> None:
    text = text.replace("\0", "").replace("\r", "")  # Python's own source cannot hold these
    flow = Flow()
    source = flow.python(f"o = [i, '''{text} ''']  # \t grün\n\n", {"i": "Integer"}, {"o": "List"})
    flow.map(source, "i", "o", "[1, 2]")
    assert_same(flow, "plain")


CONSTANTS = {
    "Boolean": "[True, False]",
    "Integer": f"[0, -1, {7**60}]",
    "Float": "[0.1, 1e308, -0.0, 3, True]",
    "String": r"['', 'gr\xfcn', 'tab\t\n\x00']",
    "List": "[[], [1, 'a', None]]",
    "Dictionary": "[{}, {'a': 1}]",
}


@pytest.mark.parametrize("kind", CONSTANTS)
def test_a_constant_is_mapped_itself(kind: str) -> None:
    flow = Flow()
    constant = flow.add(kind)
    for output in ("value", "value_as_string"):
        flow.map(constant, "value", output, CONSTANTS[kind])
    assert_same(flow, "plain")


@pytest.mark.parametrize("kind", ["File", "Directory", "Path", "OutputPath", "Color"])
def test_a_constant_of_an_object_is_mapped_itself(kind: str, held: dict[str, Any], tmp_path: pathlib.Path) -> None:
    (tmp_path / "grün").write_text("x")
    objects = {
        "File": [_file(str(tmp_path / "grün"))],
        "Directory": [_file(str(tmp_path))],
        "Path": [_file(str(tmp_path)), _file("x")],
        "OutputPath": [_file(str(tmp_path / "new"))],
        "Color": [_color(), _color()],
    }
    held["elements"] = objects[kind]
    flow = Flow()
    flow.map(flow.add(kind), "value", "value", (flow.held("elements"), "list"))
    assert_same(flow, "plain")


def test_a_class_made_by_a_python_source_comes_back() -> None:
    flow = Flow()
    source = flow.python(
        "class Made:\n    def __init__(self, x):\n        self.x = x\no = Made(i)\nf = lambda y: y + i",
        {"i": "Integer"},
        {"o": "Variant", "f": "Variant"},
    )
    made = flow.map(source, "i", "o", "[1, 2]")
    reads = flow.python("o = [each.x for each in i]", {"i": "List"}, {"o": "List"})
    flow.connect(made, "Result", reads, "i")
    calls = flow.python("o = [each(10) for each in i]", {"i": "List"}, {"o": "List"})
    flow.connect(flow.map(source, "i", "f", "[1, 2]"), "Result", calls, "i")
    serial, _ = assert_same(flow, "plain", fails=None)
    assert serial.outputs[reads]["o"] == [1, 2]


def _generator() -> Iterator[int]:
    yield 1


CANNOT_TRAVEL: dict[str, tuple[Callable[[], Any], str]] = {
    "lock": (threading.Lock, "lock"),
    "open file": (lambda: open(__file__), "TextIOWrapper"),  # noqa: SIM115
    "generator": (_generator, "generator"),
    "object like vtk's": (parity_values.Refuses, "Refuses"),
    "object without text": (parity_values.Unreadable, "Refuses"),
    "view of memory": (lambda: memoryview(b"abc"), "memoryview"),
    "a thread": (threading.Thread, "_thread."),
}


def _message(how: str, flow: Any) -> tuple[str, Any]:
    seen = Stage("ours", how).run(flow)
    ((carrier, kind, message),) = seen.errors.values()
    assert kind == "ModuleError"
    return f"{carrier}: {message}", seen


@pytest.mark.parametrize("name", CANNOT_TRAVEL)
def test_an_element_that_cannot_be_sent_is_named_with_port_index_and_type(name: str, held: dict[str, Any]) -> None:
    make, kind = CANNOT_TRAVEL[name]
    held["elements"] = [(1, 2), ("Big.TXT", [make()])]
    flow = Flow()
    flow.map(flow.parity("Echo"), ["value", "other"], "value", (flow.held("elements"), "list"))
    message, _ = _message("logged", flow)
    assert message.startswith("itself, Map: Element 1 (")
    assert name == "object without text" or "('Big.TXT', [" in message
    assert "port 'other'" in message
    assert kind in message


@pytest.mark.parametrize("name", CANNOT_TRAVEL)
def test_a_value_on_another_port_that_cannot_be_sent_is_named_with_port_and_type(
    name: str, held: dict[str, Any]
) -> None:
    make, kind = CANNOT_TRAVEL[name]
    held["other"] = make()
    flow = Flow()
    echo = flow.parity("Echo")
    flow.connect(flow.held("other"), "value", echo, "other")
    flow.map(echo, "value", "value", "[1, 2]")
    message, _ = _message("logged", flow)
    assert message.startswith("itself, Map: ")
    assert "port 'other'" in message
    assert kind in message


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("import threading\no = threading.Lock()", "lock"),
        ("o = open('/dev/null')", "TextIOWrapper"),
        ("o = (x for x in [1])", "generator"),
        ("import parity_values\no = [0, parity_values.Refuses()]", "Refuses"),
    ],
)
def test_a_result_that_cannot_be_sent_back_is_named_with_port_element_and_type(code: str, kind: str) -> None:
    flow = Flow()
    source = flow.python(
        f"if i < 2:\n    o = i\nelse:\n    exec({code!r}, globals())", {"i": "Integer"}, {"o": "Variant"}
    )
    flow.map(source, "i", "o", "[0, 1, 2, 3]")
    message, _ = _message("logged", flow)
    assert "output 'o'" in message
    assert "element 2 (2)" in message
    assert kind in message
