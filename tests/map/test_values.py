"""Values to bytes and back."""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parallelflow import threads
from parallelflow.map import parts, shared_memory, values


def test_large_arrays_travel_as_buffers_of_their_own() -> None:
    array = np.arange(100_000, dtype=float)
    packed = values.pack([array, "text"])
    assert len(packed) == 2
    assert memoryview(packed[1]).nbytes == array.nbytes
    assert len(packed[0]) < 1000


def test_small_arrays_stay_in_the_pickle() -> None:
    assert len(values.pack([np.arange(10)] * 100)) == 1


def test_an_array_that_comes_back_can_be_written_to() -> None:
    array = np.zeros(100_000)
    (back,) = values.unpack([bytes(part) for part in values.pack([array])])
    back[0] = 1
    assert back[0] == 1
    assert array[0] == 0


def test_more_arrays_than_a_message_takes_still_travel() -> None:
    arrays = [np.full(10_000, i) for i in range(200)]
    packed = values.pack(arrays)
    assert len(packed) <= parts.MOST_BUFFERS + 1
    back = values.unpack(packed)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, back, strict=True))


def test_functions_and_local_classes_travel() -> None:
    class Local:
        def __init__(self, x: int):
            self.x = x

    function, instance = values.unpack(values.pack((lambda x: x + 1, Local(3))))
    assert function(1) == 2
    assert instance.x == 3


def test_what_cannot_travel_is_named_by_its_type() -> None:
    with pytest.raises(values.CannotTravel, match="type lock cannot be pickled"):
        values.pack(threading.Lock())


def test_the_same_content_has_the_same_name_and_another_has_another() -> None:
    a, b, c = (values.digest(values.pack([text, np.arange(5)])) for text in ("x", "x", "y"))
    assert a == b != c


def test_a_name_does_not_depend_on_where_the_parts_are_cut() -> None:
    assert values.digest([b"ab", b"c"]) != values.digest([b"a", b"bc"])


def test_large_bytes_are_not_copied_into_the_pickle_and_come_back_as_they_were() -> None:
    large, other = bytes(range(256)) * 8192, bytearray(parts.SMALLEST_BYTES)
    array = np.arange(SMALL_ENOUGH, dtype="u1")
    for value in (large, [other, large], {"a": (large, "x" * 100_000, array, other), "b": [large, b"", large + b"x"]}):
        packed = values.pack(value)
        assert any(part is large for part in packed)
        assert sum(memoryview(part).nbytes for part in packed[:1]) < 200_000
        for arrived in (packed, [bytes(part) for part in packed], [memoryview(bytes(part)) for part in packed]):
            back, again = values.unpack(arrived), values.Unpacker().unpack(arrived)
            np.testing.assert_equal(back, value)
            np.testing.assert_equal(again, value)
        assert type(back) is type(value)
    many = [bytes([number]) * parts.SMALLEST_BYTES for number in range(parts.MOST_BUFFERS + 3)]
    packed = values.pack(many)
    assert len(packed) == parts.MOST_BUFFERS + 1
    assert values.unpack(packed) == many


SMALL_ENOUGH = 2 * values.SMALLEST_BUFFER


def test_a_large_value_is_hashed_by_threads_meanwhile_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    large = [b"head", bytes(3 * shared_memory.PIECE - 1) + b"x"]
    digest = values.digest(large)
    assert digest == values.digest(list(map(bytearray, large)))
    others = ([b"head", bytes(3 * shared_memory.PIECE)], [b"head", large[1] + b"x"], [b"heap", large[1]], [*large, b""])
    assert len({digest, *map(values.digest, others)}) == 5
    had_its_turn, hash_of = threading.Event(), values._hash_of

    def hash_after_a_turn(piece: memoryview) -> bytes:
        assert had_its_turn.wait(240)
        return hash_of(piece)

    monkeypatch.setattr(values, "_hash_of", hash_after_a_turn)
    assert values.digest(large, had_its_turn.set) == digest

    def break_off() -> None:
        had_its_turn.set()
        raise KeyboardInterrupt

    had_its_turn.clear()
    with pytest.raises(KeyboardInterrupt):
        values.digest(large, break_off)
    assert "parallelflow-digest" not in threads.running()


def test_size_counts_bytes_and_not_items() -> None:
    assert values.size([b"12345", memoryview(np.zeros(10))]) == 85


@pytest.mark.parametrize(
    ("value", "text"), [("a" * 100, "'" + "a" * 58 + "…"), ("a\nb", "'a\\nb'"), ([1, 2], "[1, 2]"), (np.eye(2), None)]
)
def test_a_value_in_a_message_is_short_and_on_one_line(value: object, text: str | None) -> None:
    shown = values.short(value)
    assert len(shown) <= 60
    assert "\n" not in shown
    assert text is None or shown == text


def test_a_value_without_a_text_is_shown_by_its_type() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "Broken" in values.short(Broken())


class Counted:
    """Counts how often its text is made."""

    made = 0

    def __repr__(self) -> str:
        Counted.made += 1
        return "c"

    def __hash__(self) -> int:
        return id(self)


@dataclasses.dataclass
class Holder:
    held: Any


class Listed(list[Any]):
    pass


LARGE: dict[str, Callable[[Any], Any]] = {
    "list": lambda c: [c] * 100_000,
    "tuple": lambda c: (c,) * 100_000,
    "dictionary": lambda c: dict.fromkeys(range(100_000), c),
    "set": lambda c: {Counted() for _ in range(1000)},
    "frozen set": lambda c: frozenset(Counted() for _ in range(1000)),
    "deque": lambda c: collections.deque([c] * 100_000),
    "ordered dictionary": lambda c: collections.OrderedDict.fromkeys(range(100_000), c),
    "subclass of list": lambda c: Listed([c] * 100_000),
    "inside": lambda c: [1, {"a": ([c] * 100_000,)}],
    "inside a subclass": lambda c: collections.OrderedDict(a=[c] * 100_000),
    "dataclass": lambda c: Holder([c] * 100_000),
    "text": lambda c: "x" * 10_000_000,
    "bytes": lambda c: bytes(10_000_000),
    "number": lambda c: 10**10_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_only_the_beginning_of_a_large_value_is_looked_at_for_a_message(name: str) -> None:
    value = LARGE[name](Counted())
    Counted.made = 0
    shown = values.short(value)
    assert 0 < len(shown) <= 60
    assert Counted.made <= 20


@pytest.mark.parametrize(
    "value",
    [
        [1, "a", None, 0.5], (1,), (), [], {}, set(), frozenset(), frozenset({1}), {1: "a"}, {1}, "a'b", b"a", bytearray(b"a"),
        True, collections.OrderedDict(a=1), collections.deque([1]), Listed([1, 2]), Holder(3), [[[1]]], range(3), 12345,
    ],
)  # fmt: skip
def test_the_text_of_a_small_value_is_its_own(value: object) -> None:
    assert values.short(value) == repr(value)


def test_an_error_is_described_by_type_and_text_however_broken_or_long_that_is() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert values.describe_error(ValueError("wrong")) == "ValueError: wrong"
    assert values.describe_error(MemoryError()) == "MemoryError"
    assert values.describe_error(Broken()) == "Broken"
    assert len(values.describe_error(ValueError("x" * 10**6))) < 2100


class Constructed(Exception):
    """Is made of something else than what it passes on."""

    def __init__(self, code: int, *, hint: str = ""):
        super().__init__(f"{hint} {code}")
        self.code = code


ERRORS = [
    Constructed(5, hint="careful"), ValueError("a", 1), KeyError("k"), OSError(2, "no", "file"), StopIteration(5),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"), SyntaxError("bad", ("f", 1, 2, "text")),
    ImportError("m", name="n"), SystemExit(3),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_travel_whatever_their_constructors_take(error: BaseException) -> None:
    error.note = [error]  # type: ignore[attr-defined]
    back = values.unpack(values.pack(error))
    assert (type(back), str(back)) == (type(error), str(error))
    assert back.note == [back]
    assert repr(back.args) == repr(error.args)
    for name in ("code", "errno", "filename", "value", "object", "lineno", "name"):
        assert getattr(back, name, None) == getattr(error, name, None)
