"""The parity tests' own tools find what they look for: a planted difference does not go unnoticed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy
import parity_values
import pytest
from parity import both, differences, value_difference
from workflows import Flow

from parallelflow.map.outcomes import ChunkOutcome

pytestmark = pytest.mark.usefixtures("parity")


def _read_only() -> Any:
    value = numpy.arange(3.0)
    value.flags.writeable = False
    return value


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        (1.1, math.nextafter(1.1, 2)),
        (math.nan, 1.0),
        (None, ""),
        ("a", b"a"),
        ("a", parity_values.MyStr("a")),
        ((1,), [1]),
        ([1, 2], [2, 1]),
        ([1], [1, 2]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": 2}),
        ({1}, {2}),
        (parity_values.Point(1, 2), parity_values.Point(1, 2.0)),
        (parity_values.Plain(a=1), parity_values.Plain(a=1, b=2)),
        (parity_values.Slotted(1, 2), parity_values.Slotted(1, 3)),
        (parity_values.MyList([1]), [1]),
        (numpy.arange(3), numpy.arange(3.0)),
        (numpy.arange(4), numpy.arange(4).reshape(2, 2)),
        (numpy.arange(3), numpy.arange(3)[::-1]),
        (numpy.arange(3.0), _read_only()),
        (numpy.float64(1), 1.0),
        (numpy.float32(1), numpy.float64(1)),
        (numpy.array([1], dtype="<i4"), numpy.array([1], dtype=">i4")),
        (numpy.ma.masked_array([1, 2], [0, 1]), numpy.ma.masked_array([1, 2], [1, 0])),
        (numpy.array([1, None], dtype=object), numpy.array([1, ""], dtype=object)),
        (lambda x: x, lambda x: x + 1),
        (complex(0, 0.0), complex(0, -0.0)),
        ([[[1.0]]], [[[1]]]),
    ],
)
def test_different_values_are_told_apart(a: Any, b: Any) -> None:
    assert value_difference(a, b) is not None
    assert value_difference(b, a) is not None
    assert value_difference(a, a) is None


def _flow() -> Flow:
    flow = Flow()
    counts = flow.parity("Annotates")
    mapped = flow.map(counts, "value", "value", "[1, 2, 3]")
    flow.connect(mapped, "Result", flow.parity("Holds"), "list")
    flow.map(flow.python("print(i)\no = i", {"i": "Integer"}, {"o": "Integer"}), "i", "o", "[1]")
    return flow


def _failing() -> Flow:
    flow = Flow()
    flow.map(flow.parity("Fails"), "value", "value", "['fine', 'exception']")
    return flow


def _change(outcome: ChunkOutcome, **changes: Any) -> None:
    for record in outcome.records:
        for name, value in changes.items():
            for inner in record.inner:
                setattr(inner, name, value)


def _give_as_float(outcome: ChunkOutcome) -> None:
    outcome.values = {index: float(value) for index, value in outcome.values.items()}


def _lose_annotations(outcome: ChunkOutcome) -> None:
    _change(outcome, annotations=[])


def _lose_an_execution(outcome: ChunkOutcome) -> None:
    for record in outcome.records:
        record.inner.clear()


def _name_another_module(outcome: ChunkOutcome) -> None:
    _change(outcome, module_id=17)


def _say_cached(outcome: ChunkOutcome) -> None:
    _change(outcome, cached=1)


def _say_failed(outcome: ChunkOutcome) -> None:
    _change(outcome, completed=-1)


def _count_twice(outcome: ChunkOutcome) -> None:
    outcome.executed = {number: 2 * times for number, times in outcome.executed.items()}


def _print_more(outcome: ChunkOutcome) -> None:
    outcome.printed.between = ("x", "")


def _renumber(outcome: ChunkOutcome) -> None:
    for record in outcome.records:
        record.iteration += 1


PLANTS = [
    _give_as_float,
    _lose_annotations,
    _lose_an_execution,
    _name_another_module,
    _say_cached,
    _say_failed,
    _count_twice,
    _print_more,
    _renumber,
]


def _plant(monkeypatch: pytest.MonkeyPatch, plant: Callable[[ChunkOutcome], None]) -> None:
    from parallelflow.map import execution

    take = execution.Execution.take

    def spoilt(self: Any, report: Any) -> None:
        plant(report.outcome)
        take(self, report)

    monkeypatch.setattr(execution.Execution, "take", spoilt)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_difference_is_found(plant: Callable[[ChunkOutcome], None], monkeypatch: pytest.MonkeyPatch) -> None:
    assert not differences(*both(_flow()))
    _plant(monkeypatch, plant)
    assert differences(*both(_flow()))


@pytest.mark.parametrize("spoil", ["message", "carrier", "kind"])
def test_a_planted_difference_in_an_error_is_found(spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from vistrails.core.modules.vistrails_module import ModuleError

    from parallelflow.map.execution import Execution

    proper = Execution._error

    class Other(ModuleError):
        pass

    def spoilt(self: Any, failure: Any) -> ModuleError:
        error = proper(self, failure)
        module = self.module if spoil == "carrier" else error.module
        kind = Other if spoil == "kind" else ModuleError
        return kind(module, ("Oh: " if spoil == "message" else "") + error.msg, errorTrace=error.errorTrace)

    assert not differences(*both(_failing()))
    monkeypatch.setattr(Execution, "_error", spoilt)
    assert differences(*both(_failing()))


def test_a_module_that_ran_once_more_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from parity import Stage

    flow = Flow()
    flow.map(flow.parity("Counts", {"tally": "?"}), "value", "value", "[1, 2]")
    serial, ours = both(flow)
    assert not differences(serial, ours)
    ours.tallies["Counts"] = serial.tallies["Counts"] + 1
    assert differences(serial, ours)
    assert Stage("ours").run(flow).tallies["Counts"] == 2
