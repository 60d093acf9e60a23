"""How a packed value lies in parts: the pickle, the buffers that belong to it, and what is long in the pickle itself.

`parallelflow.map.values` makes them and reads them. May import the standard library and, of the map room, `in_pieces` and
`shared_memory`.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from typing import IO, Any

from parallelflow.map import in_pieces, shared_memory

# ipyparallel looks into an answer of fewer than 64 items for buffers, and pickles a longer one whole, which cannot
# carry memory views at all.
MOST_BUFFERS = 48

# From so many bytes on, bytes and bytearrays are kept out of the pickle as well: nobody has to wait while they are copied.
SMALLEST_BYTES = 1024**2

# The pickle's bytes, then its out-of-band buffers, then long texts, which the pickle knows by their numbers, then bytes, bytearrays
# and texts that were left out of it. Behind the pickle, where nothing of Python looks, stands where each of these last ones
# belongs, in 8 bytes, and then a byte for each buffer and all the others, which says whether a buffer may be written to, or what
# it is.
_WRITEABLE, _READ_ONLY, _PART_OF_PICKLE, _LONG_TEXT = b"\0", b"\1", b"\2", b"\3"

# How a pickle says that a text follows, with its length in so many bytes; and how it names what is known by a number of one byte.
_TEXTS = ((pickle.BINUNICODE, 4), (pickle.BINUNICODE8, 8))
_NUMBER, _KNOWN = pickle.BININT1, pickle.BINPERSID

# So much is read of a stream at once, in bytes.
_READ_AHEAD = 256 * 1024


def laid_out(
    pickled: Sequence[Any], buffers: list[memoryview], texts: list[Any], turn: Callable[[], None]
) -> list[Any]:
    """Return the parts that a pickle is sent as.

    :param pickled: the pickle, as the pickler has written it.
    :param buffers: those that belong to it.
    :param texts: the bytes of those that it knows by their numbers, which are their places here.
    :param turn: called now and then.
    """
    if len(pickled) == 1 and not buffers and not texts:
        return [pickled[0]]
    pickle_itself: list[Any] = []
    beside: list[Any] = []
    places: list[int] = []
    length = 0
    for each in pickled:
        piece = (
            each.raw() if isinstance(each, pickle.PickleBuffer) else each if type(each) is bytes else memoryview(each)
        )
        if len(piece) >= SMALLEST_BYTES and len(buffers) + len(texts) + len(beside) < MOST_BUFFERS:
            beside.append(piece)
            places.append(length)
        else:
            pickle_itself.append(piece)
            length += len(piece)
    pickle_itself += [place.to_bytes(8, "little") for place in places]
    pickle_itself += [_READ_ONLY if buffer.readonly else _WRITEABLE for buffer in buffers]
    pickle_itself.append(_LONG_TEXT * len(texts) + _PART_OF_PICKLE * len(beside))
    return [in_pieces.joined(pickle_itself, turn), *buffers, *texts, *beside]


def _no_turn() -> None:
    pass


def buffers_of(packed: Sequence[Any], turn: Callable[[], None] = _no_turn) -> list[Any]:
    """Return the buffers that belong to a pickle, for this process alone.

    :param packed: what `laid_out` made, as bytes-like objects.
    :param turn: called now and then.
    """
    return [
        _own(each, kind == _READ_ONLY, turn)
        for each, kind in zip(packed[1:], _kinds(packed), strict=True)
        if kind in (_WRITEABLE, _READ_ONLY)
    ]


class Texts:
    """Long texts, which a pickle knows by their numbers.

    :param turn: called now and then while one is decoded.
    :ivar contents: their bytes, as long as they have not been asked for.
    """

    def __init__(self, contents: list[memoryview], turn: Callable[[], None]):
        self.contents = contents
        self._decoded: dict[int, str] = {}
        self._turn = turn

    def text(self, number: int) -> str:
        """Return a text, the same one each time."""
        text = self._decoded.get(number)
        if text is None:
            text = self._decoded[number] = in_pieces.decoded(self.contents[number], self._turn)
        return text


def stream_of(packed: Sequence[Any], turn: Callable[[], None] = _no_turn) -> tuple[IO[bytes], Texts]:
    """Return a pickle as a file to read from, with what was left out of it in its place.

    :param packed: what `laid_out` made, as bytes-like objects.
    :param turn: called now and then.
    :returns: the file, and the texts that are known by their numbers: an unpickler would decode each of them in one go.
    """
    kinds = _kinds(packed)
    head = memoryview(packed[0]).cast("B")
    of_kind: dict[bytes, list[memoryview]] = {kind: [] for kind in (*kinds, _LONG_TEXT, _PART_OF_PICKLE)}
    for part, kind in zip(packed[1:], kinds, strict=True):
        of_kind[kind].append(memoryview(part).cast("B"))
    texts, beside = of_kind[_LONG_TEXT], of_kind[_PART_OF_PICKLE]
    if not beside and len(head) <= shared_memory.PIECE:
        return io.BytesIO(head), Texts(texts, turn)
    segments, done = list[memoryview](), 0
    first = len(head) - len(kinds) - 8 * len(beside)
    for number, part in enumerate(beside):
        start = first + 8 * number
        place = int.from_bytes(head[start : start + 8], "little")
        length = _of_text(head[done:place], part.nbytes)
        if length:
            segments += [head[done : place - length], memoryview(_NUMBER + bytes([len(texts)]) + _KNOWN)]
            texts.append(part)
        else:
            segments += [head[done:place], part]
        done = place
    stream = io.BufferedReader(in_pieces.Stream([*segments, head[done:first]], turn), _READ_AHEAD)
    return stream, Texts(texts, turn)


def _of_text(before: memoryview, nbytes: int) -> int:
    """How many bytes it takes pickle to say that a text of so many bytes follows; 0 if it does not say so."""
    for opcode, size in _TEXTS:
        if before[-1 - size :][:1] == opcode and int.from_bytes(before[-size:], "little") == nbytes:
            return 1 + size
    return 0


def _kinds(packed: Sequence[Any]) -> list[bytes]:
    count = len(packed) - 1
    last = bytes(memoryview(packed[0]).cast("B")[-count:]) if count else b""
    return [last[place : place + 1] for place in range(count)]


def _own(buffer: Any, read_only: bool, turn: Callable[[], None]) -> Any:
    if isinstance(buffer, shared_memory.Mapped):
        own = memoryview(buffer).cast("B")
        return own.toreadonly() if read_only else own
    # What comes off the wire is read-only, and shares its memory with other messages; a module may change its input in place.
    size = shared_memory.nbytes(buffer)
    if size <= shared_memory.PIECE:
        return bytes(buffer) if read_only else bytearray(buffer)
    copy = bytearray(size)
    in_pieces.copy_into(memoryview(copy), buffer, turn)
    return memoryview(copy).toreadonly() if read_only else copy
