"""Digests of Python values, by which kept results are found: the same for equal values in every process, never the same for others.

A value is walked through and written down in one way, however it lies in memory: sets and dictionaries in an order of their
own content, arrays row by row, other objects by what pickle would take of them. What is neither plain data, nor such an array,
nor an object of a class that can be imported cannot be known, and neither can what is looked up elsewhere. Because a module may
change what it gets, the digest also tells whether a list is twice the same one or two that are equal.

What VisTrails' own values are, `vistrails_values` knows. May import the standard library and `hashing`, and numpy where
that has been loaded.
"""

from __future__ import annotations

import copyreg
import datetime
import decimal
import enum
import fractions
import hashlib
import itertools
import operator
import re
import struct
import sys
import uuid
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType
from typing import Any

from parallelflow.map.hashing import LATER, PIECE, SIZE, Later, Stream, Unknown

# Parts of a value after which it is given up, and after which there is a pause.
_MOST_PARTS, _PARTS_BETWEEN = 20_000_000, 20_000

# A tuple of more items is hashed by itself, so that it is walked through once however often it is met.
_LONG = 100


class Digester:
    """Writes values down.

    :param pause: called every few milliseconds; may raise.
    :ivar modules: the names of the Python modules that the values' classes and functions are from.
    :ivar later: contents that are not in the digests, because they are long; None if all of them are to be.
    """

    def __init__(self, pause: Callable[[], None] = lambda: None):
        self.pause = pause
        self.modules: set[str] = set()
        self.later: list[Later] | None = None
        self.in_key = False  # within what has to be put in order, where nothing may be met twice
        self._numbers: dict[int, int] = {}  # of what can be changed, in the order of its first appearance
        self._alive: list[Any] = []  # so that no other object gets the identity of one that is known by it
        self._known: dict[int, bytes] = {}  # digests of what cannot be changed
        self._parts = 0

    def digest(self, value: Any, key: bytes = b"") -> bytes:
        """Return a value's digest.

        :param value: any Python value.
        :param key: up to 64 bytes; the digest depends on them as well.
        :raises Unknown: when its content cannot be known for certain.
        """
        stream = Stream(self.pause, hashlib.blake2b(key=key, digest_size=SIZE))
        self.begin(value, stream)
        return stream.digest()

    def begin(self, value: Any, stream: Stream) -> None:
        """Write a value down.

        :raises Unknown: when its content cannot be known for certain.
        """
        try:
            self.write(value, stream)
        except RecursionError as error:
            raise Unknown(f"a value of type {type(value).__name__} is too deeply nested") from error

    def write(self, value: Any, stream: Stream) -> None:
        """Write a part of a value down."""
        self._parts += 1
        if not self._parts % _PARTS_BETWEEN:
            self.pause()
            if self._parts > _MOST_PARTS:
                raise Unknown("a value has too many parts")
        kind = type(value)
        plain = _PLAIN.get(kind)
        if plain is not None:
            stream.put(plain(value))
            return
        own = _CONTAINERS.get(kind)
        if own is not None:
            own(self, value, stream)
            return
        if not self.write_special(value, stream):
            self._write_other(value, stream)

    def write_special(self, value: Any, stream: Stream) -> bool:
        """Write down what only a subclass knows, and say whether it has."""
        return False

    def fresh(self) -> Digester:
        """Return one to which all objects are new."""
        return Digester(self.pause)

    def was_met(self, value: Any, stream: Stream) -> bool:
        """Whether an object that can be changed has been met before; then that is what is written down."""
        if self.in_key:
            raise Unknown(f"an object of type {type(value).__name__} in a set, or as a key, may be changed")
        number = self._numbers.get(id(value))
        if number is not None:
            stream.put(b"@%d;" % number)
            return True
        self._numbers[id(value)] = len(self._numbers)
        self._alive.append(value)
        return False

    def keep(self, value: Any) -> None:
        """Keep an object that has been made for being written down: another one must not get its identity."""
        self._alive.append(value)

    def name(self, value: Any, stream: Stream) -> None:
        """Write down a class or a function by its name.

        :raises Unknown: when it cannot be found by it in another process.
        """
        module = getattr(value, "__module__", None) or ""
        name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
        self._name(value, module, str(name), stream)

    def _name(self, value: Any, module: str, name: str, stream: Stream) -> None:
        found: Any = sys.modules.get(module)
        try:
            for part in name.split("."):
                found = getattr(found, part)
        except AttributeError:
            found = None
        if module in ("", "__main__", "__mp_main__") or (found is not value and not _same_method(found, value)):
            raise Unknown(f"{name or value!r} can only be found in this process")
        self.modules.add(module)
        stream.put(b"n")
        stream.put(_text(module))
        stream.put(_text(name))

    # ------------------------------------------------------------ containers

    def _write_tuple(self, value: tuple[Any, ...], stream: Stream) -> None:
        if len(value) <= _LONG and {bytes, *_PLAIN} >= set(map(type, value)):
            stream.put(b"t%d;" % len(value))
            for item in value:
                self._write_bytes(item, stream) if type(item) is bytes else stream.put(_PLAIN[type(item)](item))
            return
        self._write_by_digest(value, b"T", lambda into: self._write_items(b"t", value, into), stream)

    def _write_frozenset(self, value: frozenset[Any], stream: Stream) -> None:
        self._write_by_digest(value, b"Z", lambda into: self._write_in_order(value, into), stream)

    def _write_by_digest(self, value: Any, tag: bytes, write: Callable[[Stream], None], stream: Stream) -> None:
        """Write down something that cannot be changed itself, so that it does not count whether it is twice the same."""
        known = self._known.get(id(value))
        if known is not None:
            stream.put(known)
            return
        met = len(self._numbers)
        into = Stream(self.pause, hashlib.blake2b(digest_size=SIZE))
        number = self._numbers.get(id(value))
        if number is not None:  # it holds what can be changed, and that has been met with it
            stream.put(b"@%d;" % number)
            return
        write(into)
        stream.put(tag)
        digest = into.digest()
        stream.put(digest)
        if len(self._numbers) == met:
            self._known[id(value)] = tag + digest
        else:
            self._numbers[id(value)] = len(self._numbers)
        self._alive.append(value)

    def _write_list(self, value: Any, stream: Stream) -> None:
        if not self.was_met(value, stream):
            self._write_items(b"l", value, stream)

    def _write_items(self, tag: bytes, value: Any, stream: Stream) -> None:
        stream.put(tag + b"%d;" % len(value))
        if len(value) > _LONG and _write_numbers(value, stream):
            return
        for item in value:
            plain = _PLAIN.get(type(item))
            if plain is not None and self._parts % _PARTS_BETWEEN:
                self._parts += 1
                stream.put(plain(item))
            else:
                self.write(item, stream)

    def _write_bytearray(self, value: bytearray, stream: Stream) -> None:
        if not self.was_met(value, stream):
            stream.put(b"y%d;" % len(value))
            self._put_long(value, len(value), stream)

    def _write_bytes(self, value: bytes, stream: Stream) -> None:
        stream.put(b"b%d;" % len(value))
        self._put_long(value, len(value), stream)

    def _put_long(self, content: Any, nbytes: int, stream: Stream) -> None:
        if self.later is None or self.in_key or nbytes < LATER:
            stream.put_long(content)
        else:
            stream.put(b"L%d;" % len(self.later))
            self.later.append(Later(content))

    def _write_set(self, value: set[Any], stream: Stream) -> None:
        if not self.was_met(value, stream):
            stream.put(b"z")
            self._write_in_order(value, stream)

    def _write_in_order(self, value: Iterable[Any], stream: Stream) -> None:
        written = sorted(self._as_key(item) for item in value)
        stream.put(b"%d;" % len(written))
        for each in written:
            stream.put(b"%d;" % len(each))
            stream.put(each)

    def _write_dict(self, value: dict[Any, Any], stream: Stream) -> None:
        if not self.was_met(value, stream):
            self.write_pairs(value, stream)

    def write_pairs(self, value: dict[Any, Any], stream: Stream) -> None:
        """Write down a dictionary, whose order means nothing."""
        pairs = sorted(((self._as_key(key), key) for key in value), key=operator.itemgetter(0))
        if any(one[0] == next_one[0] for one, next_one in itertools.pairwise(pairs)):
            raise Unknown("two keys of a dictionary are written the same")  # two that are not a number, for instance
        stream.put(b"d%d;" % len(pairs))
        for written, key in pairs:
            stream.put(b"%d;" % len(written))
            stream.put(written)
            self.write(value[key], stream)

    def _as_key(self, value: Any) -> bytes:
        plain = _PLAIN.get(type(value))
        if plain is not None:
            return plain(value)
        before, self.in_key = self.in_key, True
        stream = Stream(self.pause)
        self.write(value, stream)
        self.in_key = before
        return bytes(stream.data)

    # ------------------------------------------------------------ anything else

    def _write_other(self, value: Any, stream: Stream) -> None:
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic | numpy.dtype):
            self._write_numpy(numpy, value, stream)
        elif isinstance(value, type | FunctionType | BuiltinFunctionType | MethodDescriptorType):
            self.name(value, stream)
        elif isinstance(value, enum.Enum) and type(value).__members__.get(str(value.name)) is value:
            stream.put(b"E")
            self.name(type(value), stream)
            stream.put(_text(str(value.name)))
        elif type(value) in _UNCHANGING:
            self._write_reduced(value, stream)
        elif self.in_key and isinstance(value, tuple | str | int | float | bytes):
            self._write_reduced(value, stream, bare=True)
        elif not self.was_met(value, stream):
            self._write_reduced(value, stream)

    def _write_reduced(self, value: Any, stream: Stream, bare: bool = False) -> None:
        """Write an object down by what pickle takes of it."""
        kind = type(value)
        reduce = copyreg.dispatch_table.get(kind)
        try:
            # Not by protocol 5, in which buffers stay outside.
            reduced: Any = value.__reduce_ex__(4) if reduce is None else reduce(value)
        except RecursionError:
            raise
        except (Exception, SystemExit) as error:  # any class may raise anything
            raise Unknown(f"a value of type {kind.__name__} cannot be pickled") from error
        if isinstance(reduced, str):
            self._name(value, getattr(value, "__module__", None) or "", reduced, stream)
            return
        if type(reduced) is not tuple or not 2 <= len(reduced) <= 6:
            raise Unknown(f"a value of type {kind.__name__} is pickled in a way that is not known")
        self.keep(reduced)
        padded: list[Any] = [*reduced, *[None] * (6 - len(reduced))]
        make, arguments, state, items, pairs, fill = padded
        if bare and not (state is items is pairs is fill is None):
            raise Unknown(f"an object of type {kind.__name__} in a set, or as a key, may be changed")
        stream.put(b"o")
        self.name(kind, stream)
        self.name(make, stream)
        self._write_items(b"a", arguments, stream)
        was_in_key, self.in_key = self.in_key, self.in_key and kind not in _UNCHANGING
        for each in (state, fill):
            self.write(each, stream)
        for more in (items, pairs):
            if more is None:
                stream.put(b"N")
            elif more is pairs and kind is defaultdict:
                self.write_pairs(dict(more), stream)
            else:
                listed = list(more)
                self.keep(listed)
                self._write_items(b"l", listed, stream)
        self.in_key = was_in_key

    # ------------------------------------------------------------ numpy

    def _write_numpy(self, numpy: Any, value: Any, stream: Stream) -> None:
        if isinstance(value, numpy.dtype):
            self._write_dtype(value, stream)
        elif isinstance(value, numpy.generic):
            if isinstance(value, numpy.void) and self.was_met(value, stream):
                return
            stream.put(b"g")
            self.name(type(value), stream)
            self._write_array(numpy, numpy.asarray(value), stream)
        elif not self.was_met(value, stream):
            kind = type(value)
            masked = sys.modules.get("numpy.ma")
            if masked is not None and kind is masked.MaskedArray and not value.dtype.hasobject:
                stream.put(b"M")
                for part in (value.data, masked.getmaskarray(value), numpy.asarray(value.fill_value)):
                    self._write_array(numpy, part.view(numpy.ndarray), stream)
                return
            if kind.__reduce__ is not numpy.ndarray.__reduce__ or kind.__reduce_ex__ is not numpy.ndarray.__reduce_ex__:
                if value.dtype.hasobject:
                    raise Unknown(f"an array of type {kind.__name__} with objects in it")
                self._write_reduced(value, stream)  # a masked array, for instance
                return
            # Whether it may be written to decides what a module can do with it.
            stream.put(b"W" if value.flags.writeable else b"R")
            self.name(kind, stream)
            self._write_array(numpy, value.view(numpy.ndarray), stream)

    def _write_dtype(self, dtype: Any, stream: Stream) -> None:
        if not 0 <= dtype.num < _TYPES_OF_NUMPY:
            raise Unknown(f"the type of numbers {dtype} is not numpy's own")
        if dtype.names is None and dtype.subdtype is None and not dtype.metadata:
            stream.put(b"D" + _text(dtype.str))
            return
        was_in_key, self.in_key = self.in_key, False
        _, _, state = dtype.__reduce__()
        stream.put(b"S" + _text(dtype.str))
        self.keep(state)
        self.write(state, stream)
        self.in_key = was_in_key

    def _write_array(self, numpy: Any, values: Any, stream: Stream) -> None:
        dtype = values.dtype
        self._write_dtype(dtype, stream)
        stream.put(b"s")
        self.write(values.shape, stream)
        if dtype.names is not None:  # field by field: what lies between them has no meaning
            self.keep(values)
            for name in dtype.names:
                self._write_array(numpy, values[name], stream)
        elif dtype.hasobject:
            items = values.ravel().tolist()
            self.keep(items)
            self._write_items(b"l", items, stream)
        else:
            stream.put(b"b%d;" % values.nbytes)
            if values.flags.c_contiguous and type(values) is numpy.ndarray:
                self._put_long(values.reshape(-1).view(numpy.uint8), values.nbytes, stream)
                return
            for piece in _pieces(values):
                stream.put_long(numpy.ascontiguousarray(piece).reshape(-1).view(numpy.uint8))


def _write_numbers(value: Sequence[Any], stream: Stream) -> bool:
    """Write many numbers of one type down at once, and say whether that is what they are."""
    kinds = set(map(type, value))
    code = {float: "d", int: "q"}.get(kinds.pop()) if len(kinds) == 1 else None
    if code is None:
        return False
    try:
        numbers = array(code, value)
    except OverflowError:
        return False
    stream.put(b"A" + code.encode())
    stream.put_long(numbers)
    return True


def _pieces(values: Any) -> Iterator[Any]:
    """Cut an array up, in the order of its elements: one that does not lie in that order in memory is not copied as a whole."""
    if not values.size or not values.itemsize:
        return
    if values.flags.c_contiguous or values.nbytes <= PIECE:
        yield values
        return
    rows = max(1, PIECE * len(values) // values.nbytes)
    for start in range(0, len(values), rows):
        part = values[start : start + rows]
        if rows == 1 and part.nbytes > PIECE and values.ndim > 1:
            yield from _pieces(part[0])
        else:
            yield part


# numpy's own types have the numbers below; those of other packages, and its texts of any length, have higher ones.
_TYPES_OF_NUMPY = 24


def _text(value: str) -> bytes:
    encoded = value.encode("utf-8", "surrogatepass")
    return b"s%d;%b" % (len(encoded), encoded)


def _whole(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return b"i%d;%b" % (size, value.to_bytes(size, "little", signed=True))


# How values are written that cannot be changed and hold no others.
_PLAIN: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"N",
    bool: lambda value: b"1" if value else b"0",
    int: _whole,
    float: lambda value: b"f" + struct.pack("<d", value),
    complex: lambda value: b"c" + struct.pack("<dd", value.real, value.imag),
    str: _text,
    type(Ellipsis): lambda _: b".",
    type(NotImplemented): lambda _: b"!",
}

_CONTAINERS: dict[type, Callable[[Digester, Any, Stream], None]] = {
    tuple: Digester._write_tuple,
    list: Digester._write_list,
    dict: Digester._write_dict,
    set: Digester._write_set,
    frozenset: Digester._write_frozenset,
    bytearray: Digester._write_bytearray,
    bytes: Digester._write_bytes,
}

# Of these it does not count whether they are twice the same object.
_UNCHANGING = frozenset(
    {
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        datetime.timezone,
        decimal.Decimal,
        fractions.Fraction,
        uuid.UUID,
        range,
        slice,
        re.Pattern,
    }
)


def _same_method(found: Any, value: Any) -> bool:
    """Whether two are the same method of a class in C, which Python makes an object of each time it is asked for."""
    own = getattr(value, "__self__", None)
    return isinstance(own, type) and getattr(found, "__self__", None) is own and found == value
