"""Python values as bytes for the wire, and back, exactly.

Everything that pickle or cloudpickle can carry travels as itself: no conversion to text, no loss. Large buffers (numpy
arrays above all) stay out of the pickle, by protocol 5 (PEP 574), so that they are sent without a copy.

May import the standard library, cloudpickle, `parallelflow.cluster.cores`, `parallelflow.texts`, `parallelflow.threads` and,
of the map room, `array_data`, `in_pieces`, `parts`, `shared_memory` and `vtk_data` only.
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
from typing import Any

import cloudpickle

from parallelflow import threads
from parallelflow.map import array_data, in_pieces, parts, shared_memory, vtk_data
from parallelflow.texts import tr

# Below this many bytes a buffer of its own costs more (a message frame, two allocations) than a copy into the pickle.
SMALLEST_BUFFER = 16 * 1024

# How often, in seconds, the caller of `digest` has its turn.
_TICK = 0.01

# What pickling and unpickling may raise: a class may do there whatever it likes, and end the program, too.
RAISED_BY_CLASSES = (Exception, SystemExit)

Packed = list[Any]  # what `parts.laid_out` makes


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
    turn: Callable[[], None]  # called now and then

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
            type(value).__name__ == array_data.NAME
            and (reduced := array_data.reduce(value, self.turn)) is not NotImplemented
        ):
            return reduced
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


class _PicklerOfTexts(_Pickler):
    """One that leaves long texts out of the pickle, which is asked about each value for that."""

    def __init__(self, *given: Any, **more: Any):
        super().__init__(*given, **more)
        self.texts: list[Any] = []
        # With the text: another one would lie where one was that has gone.
        self._numbers: dict[int, tuple[int, str]] = {}

    def persistent_id(self, value: Any) -> int | None:
        if type(value) is not str or len(value) < shared_memory.PIECE:
            return None
        known = self._numbers.get(id(value))
        if known is None:
            if len(self.texts) >= parts.MOST_BUFFERS // 2:
                return None
            known = self._numbers[id(value)] = (len(self.texts), value)
            self.texts.append(in_pieces.encoded(value, self.turn))
        return known[0]


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


def pack(value: Any, without: tuple[type, ...] = (), pause: Callable[[], None] | None = None) -> Packed:
    """Turn a value into bytes.

    :param value: any Python value.
    :param without: classes of which nothing may be in it, for such objects mean something in this process only.
    :param pause: called every few milliseconds; may raise.
    :returns: the pickle, the buffers that belong to it, and bytes and bytearrays that were left out of it, in order.
    :raises CannotTravel: when neither pickle nor cloudpickle can carry the value.
    """
    with in_pieces.turns(pause) as turn:
        try:
            return _packed(value, False, without, turn)
        except RAISED_BY_CLASSES as error:  # from a __reduce__ of theirs
            first = error
        try:
            return _packed(value, True, without, turn)
        except RAISED_BY_CLASSES:
            raise CannotTravel(value, first) from first


def _packed(value: Any, lenient: bool, without: tuple[type, ...], turn: Callable[[], None]) -> Packed:
    buffers: list[memoryview] = []

    def keep_in_pickle(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < SMALLEST_BUFFER or len(buffers) >= parts.MOST_BUFFERS:
            return True
        buffers.append(raw)
        return False

    written = in_pieces.Pieces(turn)  # to which the pickler hands what is large as it is
    kind = _PicklerOfTexts if in_pieces.has_long_text(value) else _Pickler
    pickler = kind(written, protocol=5, buffer_callback=keep_in_pickle)
    pickler.lenient, pickler.without, pickler.turn = lenient, without, turn
    pickler.dump(value)
    texts = pickler.texts if isinstance(pickler, _PicklerOfTexts) else []
    return parts.laid_out(written.pieces, buffers, texts, turn)


def why_not(value: Any, given: Sequence[Any]) -> str | None:
    """Return why a value cannot be pickled, or None if it can.

    :param value: any Python value.
    :param given: objects of which it is known that they can, and which are not looked into.
    """
    pickler = _Pickler(io.BytesIO(), protocol=5, buffer_callback=lambda _: False)
    pickler.turn = lambda: None
    known = set(map(id, given))
    pickler.persistent_id = lambda each: "known" if id(each) in known else None
    try:
        pickler.dump(value)
    except RAISED_BY_CLASSES as error:
        return str(CannotTravel(value, error))
    return None


def unpack(packed: Sequence[Any], pause: Callable[[], None] | None = None) -> Any:
    """Turn what `pack` made back into the value.

    :param packed: the pickle's bytes and its buffers, as bytes-like objects.
    :param pause: called every few milliseconds; may raise.
    :returns: an equal value; its arrays can be written to if the originals could.
    :raises: one of `RAISED_BY_CLASSES`, above all ImportError and AttributeError for a class that is not there.
    """
    if len(packed) == 1 and (pause is None or shared_memory.nbytes(packed[0]) <= shared_memory.PIECE):
        return pickle.loads(packed[0])
    return Unpacker().unpack(packed, pause)


class Unpacker:
    """Turns many packed values back into values, one by one, and looks up each class that they name only once.

    That counts in VisTrails, where whatever imports something, as a lookup does, takes up to a millisecond.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Any] = {}

    def unpack(self, packed: Sequence[Any], pause: Callable[[], None] | None = None) -> Any:
        """Do what `unpack` does.

        :param packed: the pickle's bytes and its buffers, as bytes-like objects.
        :param pause: called every few milliseconds; may raise.
        """
        with in_pieces.turns(pause) as turn:
            return _Unpickler(packed, self._found, turn).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, packed: Sequence[Any], found: dict[tuple[str, str], Any], turn: Callable[[], None]):
        stream, self._texts = parts.stream_of(packed, turn)
        super().__init__(stream, buffers=parts.buffers_of(packed, turn))
        self._found = found

    def find_class(self, module: str, name: str) -> Any:
        known = self._found.get((module, name))
        if known is None:
            known = self._found[module, name] = super().find_class(module, name)
        return known

    def persistent_load(self, number: int) -> str:
        return self._texts.text(number)


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
    before: BaseException | None = error
    while isinstance(before, MemoryError):
        before = before.__context__
    if before is not None and before is not error:  # there was no memory left for its text, perhaps
        name = f"{name}, after {describe_error(before, longest)}"
    try:
        text = str(error)
    except RAISED_BY_CLASSES:  # a message about an error must not break
        return name
    text = text if len(text) <= longest else f"{text[:longest]}…"
    return f"{name}: {text}" if text else name
