"""What is long is done in pieces, between which whoever waits has its turn: VisTrails' window, above all.

May import the standard library and `parallelflow.map.shared_memory`.
"""

from __future__ import annotations

import ctypes
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from parallelflow.map.shared_memory import PIECE

# At least so many seconds are between two turns.
EVERY = 0.015


# Of Python's C interface: a text that is filled later.
_place = ctypes.c_ssize_t
_new_text = ctypes.PYFUNCTYPE(ctypes.c_void_p, _place, ctypes.c_uint32)(("PyUnicode_New", ctypes.pythonapi))
_copy_characters = ctypes.PYFUNCTYPE(_place, ctypes.c_void_p, _place, ctypes.py_object, _place, _place)(
    ("PyUnicode_CopyCharacters", ctypes.pythonapi)
)
_drop = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("Py_DecRef", ctypes.pythonapi))


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

    What such an object pickles by itself, its class names in `PACKED_APART`.

    :param value: any value.
    :param depth: how deep to look.
    """
    kind = type(value)
    if kind is str:
        return len(value) >= PIECE
    if kind is dict:
        value = [*value, *value.values()]
    elif kind.__module__.startswith("parallelflow.") and hasattr(value, "__dict__"):
        apart = getattr(kind, "PACKED_APART", ())
        value = [each for name, each in vars(value).items() if name not in apart]
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
    return "".join(parts) if len(content) <= PIECE else _one_text(parts, turn)


def _one_text(parts: list[str], turn: Callable[[], None]) -> str:
    """Return texts as one, and empty their list. `str.join` would have nobody else get a turn meanwhile: 0.1 s for 100 MB."""
    # Nobody else knows of it until it is full: Python lets only such a text be written to.
    text = _new_text(sum(map(len, parts)), max(map(_largest_character, parts)))
    try:
        parts.reverse()
        done = 0
        while parts:
            turn()
            part = parts.pop()
            _copy_characters(text, done, part, 0, len(part))
            done += len(part)
        return cast(str, ctypes.cast(text, ctypes.py_object).value)
    finally:
        _drop(text)


def _largest_character(part: str) -> int:
    """The largest that fits into the bytes that Python has for each character of a text."""
    if part.isascii():
        return 0x7F
    if len(part) < 1000:  # it is shorter than what Python has beside its characters
        return ord(max(part))
    return {1: 0xFF, 2: 0xFFFF, 4: 0x10FFFF}[sys.getsizeof(part) // len(part)]


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
