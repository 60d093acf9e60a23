"""What is long is done in pieces, between which whoever waits has its turn: VisTrails' window, above all.

May import the standard library and `parallelflow.map.shared_memory`.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from parallelflow.map.shared_memory import PIECE

# At least so many seconds are between two turns.
EVERY = 0.015


class _BrokenOff(BaseException):
    """What was raised in a turn, on its way through code that would take it for an error of its own."""

    def __init__(self, error: BaseException):
        super().__init__(str(error))
        self.error = error


@contextmanager
def turns(pause: Callable[[], None] | None) -> Iterator[Callable[[], None]]:
    """Give somebody a turn now and then.

    :param pause: called at most every `EVERY` seconds; what it raises is raised where this ends. None for nobody.
    :returns: what to call between two pieces.
    """
    if pause is None:
        yield lambda: None
        return
    given, last = pause, time.monotonic()

    def turn() -> None:
        nonlocal last
        if time.monotonic() < last + EVERY:
            return
        try:
            given()
        except BaseException as error:
            raise _BrokenOff(error) from error
        last = time.monotonic()

    try:
        yield turn
    except _BrokenOff as broken_off:
        raise broken_off.error from None


class Pieces:
    """A file that keeps what is written to it as it is, in pieces.

    :param turn: called with each.
    :ivar pieces: what was written.
    """

    def __init__(self, turn: Callable[[], None]):
        self._turn = turn
        self.pieces: list[Any] = []

    def write(self, piece: Any) -> None:
        """Add a piece."""
        self._turn()
        self.pieces.append(piece)


def joined(pieces: Sequence[Any], turn: Callable[[], None]) -> Any:
    """Return pieces as one: bytes, or a memoryview where it is long.

    :param pieces: bytes-like objects.
    :param turn: called now and then.
    """
    size = sum(map(len, pieces))
    if size <= PIECE:
        return b"".join(pieces)
    whole, done = memoryview(bytearray(size)), 0
    for piece in pieces:
        copy_into(whole[done : done + len(piece)], piece, turn)
        done += len(piece)
    return whole.toreadonly()


def copy_into(target: memoryview, content: Any, turn: Callable[[], None]) -> None:
    """Copy bytes.

    :param target: where to.
    :param content: a bytes-like object, as large.
    :param turn: called now and then.
    """
    source = memoryview(content).cast("B")
    for start in range(0, len(source), PIECE):
        turn()
        target[start : start + PIECE] = source[start : start + PIECE]


def has_long_text(value: Any, depth: int = 8) -> bool:
    """Whether there is a text in a value that takes long to be encoded; looks into plain containers and what is of this package.

    :param value: any value.
    :param depth: how deep to look.
    """
    kind = type(value)
    if kind is str:
        return len(value) >= PIECE
    if kind is dict:
        value = [*value, *value.values()]
    elif kind.__module__.startswith("parallelflow.") and hasattr(value, "__dict__"):
        value = vars(value).values()
    elif kind not in (list, tuple):
        return False
    if depth == 0 or _SHORT.issuperset(map(type, value)):
        return False
    return any(has_long_text(each, depth - 1) for each in value)


_SHORT = frozenset({bool, int, float, type(None)})


def encoded(text: str, turn: Callable[[], None]) -> Any:
    """Return a text's bytes, as pickle would write them.

    :param text: the text.
    :param turn: called now and then.
    """
    parts = []
    for start in range(0, len(text), PIECE):
        turn()
        parts.append(text[start : start + PIECE].encode("utf-8", "surrogatepass"))
    return joined(parts, turn)


def decoded(content: memoryview, turn: Callable[[], None]) -> str:
    """Return the text that `encoded` or pickle has written.

    :param content: its bytes.
    :param turn: called now and then.
    """
    parts, start = [], 0
    while start < len(content):
        turn()
        end = min(start + PIECE, len(content))
        while end < len(content) and content[end] & 0xC0 == 0x80:  # in the middle of a character
            end -= 1
        parts.append(str(content[start:end], "utf-8", "surrogatepass"))
        start = end
    return "".join(parts)


class Stream(io.RawIOBase):
    """Bytes that lie in several places, as a file.

    :param segments: where they lie.
    :param turn: called now and then while it is read.
    """

    def __init__(self, segments: Sequence[memoryview], turn: Callable[[], None]):
        self._left = [segment for segment in reversed(segments) if segment.nbytes]
        self._turn = turn

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, target: Any) -> int:
        """Read what comes next, or the beginning of it."""
        self._turn()
        if not self._left:
            return 0
        segment = self._left.pop()
        count = min(len(target), len(segment), PIECE)
        target[:count] = segment[:count]
        if count < len(segment):
            self._left.append(segment[count:])
        return count
