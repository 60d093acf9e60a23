"""Values to bytes and back."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from parallelflow.map import values


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
    assert len(packed) <= values.MOST_BUFFERS + 1
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
