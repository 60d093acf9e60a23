"""Large values are packed and unpacked in pieces, between which VisTrails' window has its turn, and arrive as they were."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parallelflow.map import answers, array_data, in_pieces, parts, shared_memory, unreadable, values
from parallelflow.map.outcomes import ChunkOutcome, Host

PIECE = 64 * 1024
LONG = 20 * PIECE


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is large is small here, and a turn is due each time."""
    for module in (in_pieces, shared_memory, array_data):
        monkeypatch.setattr(module, "PIECE", PIECE)
    monkeypatch.setattr(in_pieces, "EVERY", 0.0)


VALUES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: b"x" * LONG,
    "bytearray": lambda: bytearray(LONG),
    "many bytes": lambda: [bytes([number]) * 1000 for number in range(256)] * 10,
    "text": lambda: "a" * LONG,
    "text of two bytes each": lambda: "ä" * (LONG // 2),
    "text of three, cut anywhere": lambda: "a" + "€" * (LONG // 3),
    "text with what is no character": lambda: ("\udc80" + "😀" * 10) * (LONG // 43),
    "text in the depth": lambda: {"a": [("b" * LONG, 1)], "c": "d" * LONG},
    "array": lambda: np.arange(LONG, dtype="u1"),
    "array with gaps": lambda: np.arange(2.0 * LONG / 8).reshape(128, -1)[:, ::2],
    "array of one long row with gaps": lambda: np.arange(2 * LONG, dtype="u1")[None, ::2],
    "transposed array": lambda: np.asfortranarray(np.arange(LONG / 8).reshape(64, -1)),
    "arrays": lambda: [np.full(PIECE, number, dtype="u1") for number in range(60)],
    "numbers": lambda: [float(number) for number in range(LONG // 8)],
}

# None of these needs to be copied by who sends it, or by who gets it.
_AT_ONCE = {"array", "transposed array"}


def same(value: Any, other: Any) -> bool:
    """Whether one value is as the other, which may be large."""
    if isinstance(value, np.ndarray):
        return np.array_equal(value, other)
    if isinstance(value, list) and isinstance(value[0], np.ndarray):
        return len(value) == len(other) and all(map(np.array_equal, value, other))
    return bool(value == other)


@pytest.mark.parametrize("name", VALUES)
def test_each_kind_of_value_is_packed_and_read_in_pieces(name: str) -> None:
    value, turns = VALUES[name](), list[str]()
    packed = values.pack(value, pause=lambda: turns.append("packed"))
    for arrived in (packed, [bytes(part) for part in packed]):
        turns.append("read")
        back = values.unpack(arrived, lambda: turns.append("turn"))
        assert same(back, value)
        assert type(back) is type(value)
    if name not in _AT_ONCE:
        # Each piece, and there are twenty; bytes themselves are sent as they are.
        assert turns.count("packed") >= (1 if name in ("bytes", "bytearray") else 10), turns
        assert turns.count("turn") >= 10
    # Who has no window reads the same.
    assert same(values.unpack(packed), value)
    assert same(values.unpack(values.pack(value)), value)


def test_a_long_text_that_is_there_twice_is_sent_once_and_arrives_as_one() -> None:
    text = "ä" * LONG
    packed = values.pack([text, {"again": text}], pause=lambda: None)
    assert values.size(packed) < 3 * LONG
    first, second = values.unpack(packed)
    assert first == text
    assert second["again"] is first


class Writes:
    """A value that makes a text of itself when it is pickled, and keeps none."""

    def __init__(self, letter: str):
        self.letter = letter

    def __getstate__(self) -> str:
        return self.letter * LONG

    def __setstate__(self, text: str) -> None:
        self.letter = text[0]


@pytest.mark.parametrize("widest", ["\x7f", "\xff", "\uffff", "\ud800", "\U0010ffff"])
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_text_is_put_together_as_python_would_have_it(
    widest: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_pieces, "PIECE", 5000)
    filler = "ab" * 12_000  # in some pieces, of which one character decides how Python has all of them
    text = widest + filler if place == "first" else filler + widest
    turns: list[int] = []
    back = in_pieces.decoded(memoryview(text.encode("utf-8", "surrogatepass")), lambda: turns.append(1))
    assert back == text
    assert hash(back) == hash(text)
    assert sys.getsizeof(back) == sys.getsizeof(text)
    assert sys.getrefcount(back) == sys.getrefcount(text)
    assert len(turns) >= 10  # while it is decoded, and while it is put together


def test_texts_that_values_make_of_themselves_are_not_taken_for_each_other() -> None:
    value = ["x" * LONG, *map(Writes, "abcdef")]  # where one was, the next may lie
    assert [each.letter for each in values.unpack(values.pack(value))[1:]] == list("abcdef")


def test_more_texts_than_a_message_takes_still_travel() -> None:
    texts = [chr(ord("A") + number) * 2 * PIECE for number in range(parts.MOST_BUFFERS)]
    packed = values.pack(texts, pause=lambda: None)
    assert len(packed) <= parts.MOST_BUFFERS + 1
    assert values.unpack(packed) == texts


def test_an_array_with_gaps_goes_out_of_the_pickle_as_all_others_do() -> None:
    packed = values.pack(VALUES["array with gaps"]())
    assert len(packed) == 2
    assert values.unpack(packed).flags.writeable
    for kept_inside in (np.array([{}, 1] * PIECE, dtype=object)[::2], np.zeros(PIECE, dtype="u1,f8")[::2]):
        back = values.unpack(values.pack(kept_inside))
        np.testing.assert_array_equal(back, kept_inside)


class Stopped(Exception):
    """The user has cancelled."""


def _stop() -> None:
    raise Stopped


@pytest.mark.parametrize("name", [name for name in VALUES if name not in _AT_ONCE])
def test_what_a_turn_raises_ends_it_and_is_not_taken_for_an_error_of_the_value(name: str) -> None:
    value = VALUES[name]()
    with pytest.raises(Stopped):
        values.pack(value, pause=_stop)
    packed = values.pack(value)
    with pytest.raises(Stopped):
        values.unpack(packed, _stop)


def test_what_a_turn_raises_while_an_answer_is_read_is_not_taken_for_an_unreadable_result() -> None:
    outcome = ChunkOutcome(Host("here", 1, 0.0, {}), 0.0, [0], {0: b"x" * 2 * parts.SMALLEST_BYTES})
    source: Any = None  # nothing asks it
    with pytest.raises(Stopped):
        answers.read(values.pack(outcome), [0], source, "Engine 1", str, _stop)


def test_texts_beside_a_value_that_cannot_be_read_are_read() -> None:
    outcome = ChunkOutcome(Host("here", 1, 0.0, {}), 0.0, [0, 1], {0: "ä" * LONG, 1: Stopped})
    packed = [bytes(part) for part in values.pack(outcome)]
    packed[0] = packed[0].replace(b"Stopped", b"Slopped")
    found = unreadable.read(packed)
    assert found.index == 1
    assert found.outcome is not None
    assert found.outcome.values[0] == "ä" * LONG
