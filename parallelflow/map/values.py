"""Python values as bytes for the wire, and back, exactly.

Everything that pickle or cloudpickle can carry travels as itself: no conversion to text, no loss. Large buffers (numpy
arrays above all) stay out of the pickle, by protocol 5 (PEP 574), so that they are sent without a copy.

May import the standard library, cloudpickle, `parallelflow.cluster.cores`, `parallelflow.map.shared_memory`, `parallelflow.texts`
and `parallelflow.threads` only.
"""

from __future__ import annotations

import copyreg
import dataclasses
import functools
import hashlib
import io
import itertools
import pickle
import reprlib
from collections import ChainMap
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from types import FunctionType
from typing import IO, Any

import cloudpickle

from parallelflow import threads
from parallelflow.map import shared_memory, vtk_data
from parallelflow.texts import tr

# Below this many bytes a buffer of its own costs more (a message frame, two allocations) than a copy into the pickle.
SMALLEST_BUFFER = 16 * 1024

# ipyparallel looks into an answer of fewer than 64 items for buffers, and pickles a longer one whole, which cannot
# carry memory views at all.
MOST_BUFFERS = 48

# How often, in seconds, the caller of `digest` has its turn.
_TICK = 0.01

# What pickling and unpickling may raise: a class may do there whatever it likes, and end the program, too.
RAISED_BY_CLASSES = (Exception, SystemExit)

# From so many bytes on, bytes and bytearrays are kept out of the pickle as well: nobody has to wait while they are copied.
SMALLEST_BYTES = 1024**2

# The pickle's bytes, then its out-of-band buffers, then bytes and bytearrays that were left out of it. Behind the pickle, where
# nothing of Python looks, stands where each of these belongs, in 8 bytes, and then a byte for each buffer and each of these, which
# says whether a buffer may be written to, or that it is a part of the pickle.
Packed = list[Any]
_WRITEABLE, _READ_ONLY, _PART_OF_PICKLE = b"\0", b"\1", b"\2"


class _Pickler(cloudpickle.Pickler):
    """cloudpickle's, without two conversions: an open file would arrive as its text, a view of memory as bytes."""

    dispatch_table = ChainMap(
        {
            kind: reduce
            for kind, reduce in cloudpickle.Pickler.dispatch_table.items()
            if kind not in (io.TextIOWrapper, memoryview)
        },
        copyreg.dispatch_table,
    )

    lenient = False  # whether what belongs to a value, but is no part of it, may stay behind
    without: tuple[type, ...] = ()  # of what there must be nothing in the value

    def reducer_override(self, value: Any) -> Any:
        if self.without and isinstance(value, self.without):
            raise TypeError(f"it holds an object of type {type(value).__name__}")
        named = _named.get(type(value).__name__)
        if named is not None and (reduced := named(value, self.lenient)) is not NotImplemented:
            return reduced
        for kind, reduce in _reducers.items():
            if isinstance(value, kind):
                return reduce(value, self.lenient)
        if (
            type(value).__module__.startswith(vtk_data.HOME)
            and (reduced := vtk_data.reduce(value)) is not NotImplemented
        ):
            return reduced
        return super().reducer_override(value)


_reducers: dict[type, Callable[[Any, bool], Any]] = {}
_named: dict[str, Callable[[Any, bool], Any]] = {}


def register(kind: type, reduce: Callable[[Any, bool], Any]) -> None:
    """Say how instances of a class and its subclasses travel.

    :param kind: the class.
    :param reduce: gives what `object.__reduce__` would; called with the instance, and whether what cannot be pickled may stay
        behind where it is no part of the value, because without that the value cannot travel.
    """
    _reducers[kind] = reduce


def register_named(name: str, reduce: Callable[[Any, bool], Any]) -> None:
    """Say how instances of a class travel that may not have been imported yet.

    :param name: the class's name.
    :param reduce: as for `register`; returns NotImplemented for an instance of another class of that name.
    """
    _named[name] = reduce


def _reduce_error(error: BaseException, lenient: bool) -> Any:
    """An error travels by its state where its class has a constructor of its own, which may take something else than what
    Python would call it with."""
    kind = type(error)
    own = next(base for base in kind.__mro__ if not base.__flags__ & _MADE_IN_PYTHON)
    if (
        isinstance(kind.__init__, FunctionType)
        and kind.__reduce__ is BaseException.__reduce__
        and kind.__reduce_ex__ is BaseException.__reduce_ex__
        and own.__basicsize__
        == BaseException.__basicsize__  # others keep values where only their constructors put them
    ):
        return _error, (kind, error.args), vars(error) or None
    return NotImplemented


def _error(kind: type[BaseException], arguments: tuple[Any, ...]) -> BaseException:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    return error


_MADE_IN_PYTHON = 1 << 9  # CPython's Py_TPFLAGS_HEAPTYPE

register(BaseException, _reduce_error)


class CannotTravel(Exception):
    """A value that cannot be turned into bytes; `str()` says which type and why.

    :param value: the value.
    :param cause: what pickling it raised.
    """

    def __init__(self, value: Any, cause: BaseException):
        self.type_name = type(value).__name__
        super().__init__(
            tr("a value of type {type} cannot be pickled: {cause}", type=self.type_name, cause=describe_error(cause))
        )


def pack(value: Any, without: tuple[type, ...] = ()) -> Packed:
    """Turn a value into bytes.

    :param value: any Python value.
    :param without: classes of which nothing may be in it, for such objects mean something in this process only.
    :returns: the pickle, the buffers that belong to it, and bytes and bytearrays that were left out of it, in order.
    :raises CannotTravel: when neither pickle nor cloudpickle can carry the value.
    """
    buffers: list[memoryview] = []

    def keep_in_pickle(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < SMALLEST_BUFFER or len(buffers) >= MOST_BUFFERS:
            return True
        buffers.append(raw)
        return False

    try:
        return _with_buffers(_dumps(value, keep_in_pickle, without=without), buffers)
    except RAISED_BY_CLASSES as error:  # from a __reduce__ of theirs
        first = error
    buffers.clear()
    try:
        return _with_buffers(_dumps(value, keep_in_pickle, True, without), buffers)
    except RAISED_BY_CLASSES:
        raise CannotTravel(value, first) from first


def _with_buffers(pickled: Sequence[Any], buffers: list[memoryview]) -> Packed:
    if len(pickled) == 1 and not buffers:
        return [pickled[0]]
    pickle_itself: list[Any] = []
    beside: list[Any] = []
    places: list[int] = []
    length = 0
    for each in pickled:
        piece = (
            each.raw() if isinstance(each, pickle.PickleBuffer) else each if type(each) is bytes else memoryview(each)
        )
        if len(piece) >= SMALLEST_BYTES and len(buffers) + len(beside) < MOST_BUFFERS:
            beside.append(piece)
            places.append(length)
        else:
            pickle_itself.append(piece)
            length += len(piece)
    pickle_itself += [place.to_bytes(8, "little") for place in places]
    pickle_itself += [_READ_ONLY if buffer.readonly else _WRITEABLE for buffer in buffers]
    pickle_itself.append(_PART_OF_PICKLE * len(beside))
    return [b"".join(pickle_itself), *buffers, *beside]


def _dumps(
    value: Any,
    keep_in_pickle: Callable[[pickle.PickleBuffer], bool],
    lenient: bool = False,
    without: tuple[type, ...] = (),
) -> list[Any]:
    pieces = _Pieces()  # to which the pickler hands what is large as it is
    pickler = _Pickler(pieces, protocol=5, buffer_callback=keep_in_pickle)
    pickler.lenient, pickler.without = lenient, without
    pickler.dump(value)
    return pieces


class _Pieces(list[Any]):
    """A file that keeps what is written to it in pieces."""

    write = list.append


def why_not(value: Any, given: Sequence[Any]) -> str | None:
    """Return why a value cannot be pickled, or None if it can.

    :param value: any Python value.
    :param given: objects of which it is known that they can, and which are not looked into.
    """
    pickler = _Pickler(io.BytesIO(), protocol=5, buffer_callback=lambda _: False)
    known = set(map(id, given))
    pickler.persistent_id = lambda each: "known" if id(each) in known else None
    try:
        pickler.dump(value)
    except RAISED_BY_CLASSES as error:
        return str(CannotTravel(value, error))
    return None


def unpack(packed: Sequence[Any]) -> Any:
    """Turn what `pack` made back into the value.

    :param packed: the pickle's bytes and its buffers, as bytes-like objects.
    :returns: an equal value; its arrays can be written to if the originals could.
    :raises: one of `RAISED_BY_CLASSES`, above all ImportError and AttributeError for a class that is not there.
    """
    if len(packed) == 1:
        return pickle.loads(packed[0])
    return pickle.Unpickler(stream_of(packed), buffers=buffers_of(packed)).load()


class Unpacker:
    """Turns many packed values back into values, one by one, and looks up each class that they name only once.

    That counts in VisTrails, where whatever imports something, as a lookup does, takes up to a millisecond.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Any] = {}

    def unpack(self, packed: Sequence[Any]) -> Any:
        """Do what `unpack` does.

        :param packed: the pickle's bytes and its buffers, as bytes-like objects.
        """
        return _Unpickler(stream_of(packed), self._found, buffers_of(packed)).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: IO[bytes], found: dict[tuple[str, str], Any], buffers: list[Any]):
        super().__init__(stream, buffers=buffers)
        self._found = found

    def find_class(self, module: str, name: str) -> Any:
        known = self._found.get((module, name))
        if known is None:
            known = self._found[module, name] = super().find_class(module, name)
        return known


def buffers_of(packed: Sequence[Any]) -> list[Any]:
    """Return the buffers that belong to a pickle, for this process alone.

    :param packed: what `pack` made, as bytes-like objects.
    """
    return [
        _own(each, kind == _READ_ONLY)
        for each, kind in zip(packed[1:], _kinds(packed), strict=True)
        if kind != _PART_OF_PICKLE
    ]


def stream_of(packed: Sequence[Any]) -> IO[bytes]:
    """Return a pickle as a file to read from, with what was left out of it in its place.

    :param packed: what `pack` made, as bytes-like objects.
    """
    kinds = _kinds(packed)
    beside = [
        memoryview(part).cast("B") for part, kind in zip(packed[1:], kinds, strict=True) if kind == _PART_OF_PICKLE
    ]
    if not beside:
        return io.BytesIO(packed[0])
    head, segments, done = memoryview(packed[0]).cast("B"), list[memoryview](), 0
    first = len(head) - len(kinds) - 8 * len(beside)
    for number, part in enumerate(beside):
        start = first + 8 * number
        place = int.from_bytes(head[start : start + 8], "little")
        segments += [head[done:place], part]
        done = place
    return io.BufferedReader(_Segments([*segments, head[done:first]]))


class _Segments(io.RawIOBase):
    """Bytes that lie in several places, as a file."""

    def __init__(self, segments: Sequence[memoryview]):
        self._left = [segment for segment in reversed(segments) if segment.nbytes]

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not self._left:
            return 0
        segment = self._left.pop()
        count = min(len(target), len(segment))
        target[:count] = segment[:count]
        if count < len(segment):
            self._left.append(segment[count:])
        return count


def _kinds(packed: Sequence[Any]) -> list[bytes]:
    count = len(packed) - 1
    last = bytes(memoryview(packed[0]).cast("B")[-count:]) if count else b""
    return [last[place : place + 1] for place in range(count)]


def _own(buffer: Any, read_only: bool) -> Any:
    if isinstance(buffer, shared_memory.Mapped):
        own = memoryview(buffer).cast("B")
        return own.toreadonly() if read_only else own
    # What comes off the wire is read-only, and shares its memory with other messages; a module may change its input in place.
    return bytes(buffer) if read_only else bytearray(buffer)


def size(packed: Sequence[Any]) -> int:
    """Return the number of bytes of a packed value, buffers included.

    :param packed: what `pack` made.
    """
    return sum(map(shared_memory.nbytes, packed))


def digest(packed: Sequence[Any], pause: Callable[[], None] = lambda: None) -> str:
    """Return a packed value's digest, which depends on its content only: a BLAKE2b of 256 bits in hexadecimal digits.

    What is large is hashed in pieces, by as many threads as there are cores: the window does not wait for them.

    :param packed: what `pack` made.
    :param pause: called every few milliseconds; may raise.
    """
    contents = [memoryview(part).cast("B") for part in packed]
    pieces = [
        content[start : start + shared_memory.PIECE]
        for content in contents
        for start in range(0, content.nbytes, shared_memory.PIECE)
    ]
    hashed = _hash()
    for content in contents:
        hashed.update(content.nbytes.to_bytes(8, "little"))
    for each in _hashes(pieces, pause) if len(pieces) > len(packed) else map(_hash_of, pieces):
        hashed.update(each)
    return hashed.hexdigest()


_hash = functools.partial(hashlib.blake2b, digest_size=32)


def _hash_of(piece: memoryview) -> bytes:
    return _hash(piece).digest()


def _hashes(pieces: Sequence[memoryview], pause: Callable[[], None]) -> list[bytes]:
    hashes = [b""] * len(pieces)
    waiting = iter(range(len(pieces)))
    is_needed = True

    def work() -> None:
        for place in waiting:  # in one step, so that no two threads have the same
            if not is_needed:
                return
            hashes[place] = _hash_of(pieces[place])

    from parallelflow.cluster.cores import usable_cores  # which only the client needs, and only for what is large

    workers = [threads.start(work, "parallelflow-digest") for _ in range(min(len(pieces), usable_cores()))]
    try:
        while wait(workers, _TICK).not_done:
            pause()
        for worker in workers:
            worker.result()
    finally:
        is_needed = False
        wait(workers)  # they look at memory that may be changed afterwards
    return hashes


def short(value: Any, longest: int = 60) -> str:
    """Return a value's text for a message, on one line. However large the value is, only its beginning is looked at.

    :param value: any Python value.
    :param longest: at most so many characters; what is cut off is told by an ellipsis.
    """
    try:
        text = _Short(longest).repr(value)
    except RAISED_BY_CLASSES:  # a message about a broken value must not break
        text = f"<{type(value).__name__}>"
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


class _Short(reprlib.Repr):
    """Texts of values that end after so many characters, or soon after."""

    def __init__(self, longest: int):
        super().__init__()
        self.maxlevel = 4
        self._most = longest // 3  # an item takes at least so many characters, with its comma
        self.maxlist = self.maxtuple = self.maxdeque = self.maxarray = self._most
        # They would be cut in the middle otherwise.
        self.maxstring = self.maxlong = self.maxother = 10 * longest

    def repr_str(self, value: str, level: int) -> str:
        return repr(value[: self.maxstring])

    def repr_bytes(self, value: Any, level: int) -> str:
        return repr(value[: self.maxstring])

    repr_bytearray = repr_bytes

    # The inherited ones sort, all of it.

    def repr_dict(self, value: dict[Any, Any], level: int) -> str:
        items = itertools.islice(value.items(), self._most)
        return f"{{{', '.join(f'{self.repr1(k, level - 1)}: {self.repr1(v, level - 1)}' for k, v in items)}}}"

    def repr_set(self, value: Any, level: int) -> str:
        if not value:
            return repr(value)
        return f"{{{', '.join(self.repr1(each, level - 1) for each in itertools.islice(value, self._most))}}}"

    def repr_frozenset(self, value: Any, level: int) -> str:
        return f"frozenset({self.repr_set(value, level) if value else ''})"

    def repr_instance(self, value: Any, level: int) -> str:
        kind = type(value)
        if dataclasses.is_dataclass(kind):
            names = [each.name for each in dataclasses.fields(value) if each.repr]
            parts = (f"{name}={self.repr1(getattr(value, name), level - 1)}" for name in names[: self._most])
            return f"{kind.__qualname__}({', '.join(parts)})"
        bases: tuple[Any, ...] = (list, tuple, dict, set, frozenset)
        for base in bases:
            if isinstance(value, base):
                if kind.__repr__ is base.__repr__:
                    return str(getattr(self, f"repr_{base.__name__}")(value, level))
                items = value.values() if isinstance(value, dict) else value
                if len(value) > self._most or not _PLAIN.issuperset(map(type, items)):
                    return f"<{kind.__name__} of {len(value)}>"
        return repr(value)


_PLAIN = frozenset({bool, int, float, str, type(None)})


def describe_error(error: BaseException, longest: int = 2000) -> str:
    """Return an error's type and text for a message.

    :param error: any error, also one whose text cannot be made.
    :param longest: at most so many characters of its text.
    """
    name = type(error).__name__
    try:
        text = str(error)
    except RAISED_BY_CLASSES:  # a message about an error must not break
        return name
    text = text if len(text) <= longest else f"{text[:longest]}…"
    return f"{name}: {text}" if text else name
