"""Random numbers: every element begins with global generators of its own, which follow from VisTrails' and its index.

The client draws a seed of each of its two global generators (`random`'s and `numpy.random`'s) for each run of a Map, so that
a workflow that seeds them upstream is reproducible, and two Maps in it get different numbers. On an engine, each element finds
both generators in a state that depends on that seed and the element's index only: not on the engine, the chunk, or what
ran before.

Seeding a Mersenne Twister takes 10 µs, a fifth of what a trivial element costs. So states are made for many elements at
once, as consecutive parts of one stream that can be entered anywhere (PCG64DXSM), and copied into the generators' memory.
Where that does not look as it is known to, they are set the usual way.

Standard library; numpy, where it is installed.
"""

from __future__ import annotations

import ctypes
import hashlib
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

# A Mersenne Twister's state: so many words of 32 bits, and how many of them are used up. All are, after seeding.
_WORDS = 624
_NBYTES = 4 * (_WORDS + 1)

# For so many elements states are made at once, 5 kB each.
_BLOCK = 32


@dataclass(frozen=True)
class Seeds:
    """What the generators of one run's elements follow from: 128 bits each.

    :ivar plain: for Python's `random`.
    :ivar numpy: for `numpy.random`.
    """

    plain: int
    numpy: int


@contextmanager
def drawn() -> Iterator[Seeds]:
    """Draw seeds from this process's global generators. Afterwards these go on from there, whatever else has used them."""
    numpy = sys.modules.get("numpy.random")  # not loaded, nobody can have seeded it
    plain, other = random.getrandbits(128), random.getrandbits(128)  # as many in either case, for what is drawn later
    own = other if numpy is None else int.from_bytes(numpy.bytes(16), "little")
    state, numpy_state = random.getstate(), numpy and numpy.get_state(legacy=False)
    try:
        yield Seeds(plain, own)
    finally:
        random.setstate(state)
        if numpy is not None:
            numpy.set_state(numpy_state)


class Generators:
    """The global generators of an engine during one run.

    :param seeds: the run's.
    """

    def __init__(self, seeds: Seeds):
        self._seeds = seeds
        self._plain = _plain()
        self._plain_memory = _memory_of_plain()
        self._plain_words = None if self._plain_memory is None else self._plain_memory.cast("I")
        self._first = -_BLOCK  # of the elements that there are states for
        self._numpy = _numpy()
        if self._numpy is not None:
            self._streams = [self._numpy.random.PCG64DXSM(seed) for seed in (seeds.plain, seeds.numpy)]
            self._starts = [stream.state for stream in self._streams]
            self._global = self._numpy.random.mtrand._rand
            self._block = self._numpy.empty((_BLOCK, 2, _WORDS + 1), "<u4")
            self._block[:, 0, 0] = self._block[:, 1, _WORDS] = _WORDS
            memory = memoryview(self._block).cast("B")
            parts = [memory[at : at + _NBYTES] for at in range(0, memory.nbytes, _NBYTES)]
            self._states = list(zip(parts[::2], parts[1::2], strict=True))
            self._take_over()

    def _take_over(self) -> None:
        """See to it that numpy's global generator is a Mersenne Twister, as it is unless an element has changed that."""
        self._twister = self._global._bit_generator
        if type(self._twister) is not self._numpy.random.MT19937:
            self._twister = self._numpy.random.MT19937()
            self._numpy.random.set_bit_generator(self._twister)
        self._numpy_memory = _memory_of_numpy(self._twister)
        if self._numpy_memory is not None:
            self._words = self._numpy_memory.cast("I")
        self._head = -1  # the first word of the state that was set last

    def begin(self, index: int) -> None:
        """Set the generators for an element.

        :param index: the element's in the user's list.
        """
        self._plain.gauss_next = None
        if self._numpy is None:
            digest = hashlib.sha256(f"{self._seeds.plain} {index}".encode()).digest()
            self._plain.seed(int.from_bytes(digest, "little"))
            return
        if self._global._bit_generator is not self._twister:
            self._take_over()
        place = index - self._first
        if not 0 <= place < _BLOCK:
            self._make(index)
            place = 0
        plain, own = self._states[place]
        if self._plain_memory is not None:
            self._plain_memory[:] = plain
            self._plain_head = self._heads[place]
        else:
            used, *words = plain.cast("I").tolist()
            self._plain.setstate((self._plain.VERSION, (*words, used), None))
        if self._numpy_memory is not None:
            # A number of a normal distribution may be kept from before, where only numpy can reach it.
            if self._words[_WORDS] != _WORDS or self._words[0] != self._head:
                self._numpy.random.seed(0)
            self._numpy_memory[:] = own
            self._head = self._words[0]
        else:
            *words, used = own.cast("I").tolist()
            self._numpy.random.set_state(("MT19937", words, used, 0, 0.0))

    def used(self) -> tuple[bool, bool]:
        """Return whether the element that they were set for has drawn from Python's and from numpy's, or changed them."""
        if self._numpy is None or self._plain_words is None or self._numpy_memory is None:
            return True, True  # nobody can tell
        words = self._plain_words
        plain = self._plain.gauss_next is not None or words[0] != _WORDS or words[1] != self._plain_head
        own = (
            self._global._bit_generator is not self._twister
            or self._words[_WORDS] != _WORDS
            or self._words[0] != self._head
        )
        return plain, own

    def _make(self, first: int) -> None:
        """Make the states of some elements: what lies in memory for `random`, then what does for `numpy.random`."""
        for number, (stream, start) in enumerate(zip(self._streams, self._starts, strict=True)):
            stream.state = start
            stream.advance(first * _WORDS // 2)
            words = stream.random_raw(_BLOCK * _WORDS // 2).astype("<u8", copy=False).view("<u4")
            self._block[:, number, 1 - number : _WORDS + 1 - number] = words.reshape(_BLOCK, _WORDS)
        self._first = first
        self._heads = self._block[:, 0, 1].tolist()


def _plain() -> Any:
    return random.random.__self__  # type: ignore[attr-defined]


def _numpy() -> Any:
    try:
        import numpy.random
    except ImportError:
        return None
    return numpy


@cache
def _memory_of_plain() -> memoryview | None:
    """Where CPython keeps the state of `random`'s generator: the number of used words, then the words."""
    generator, start = _plain(), object.__basicsize__
    if sys.getsizeof(generator) < start + _NBYTES:
        return None
    generator.setstate((generator.VERSION, (*range(1, _WORDS + 1), 5), None))
    return _view(id(generator) + start, [5, *range(1, _WORDS + 1)])


@cache
def _memory_of_numpy(generator: Any) -> memoryview | None:
    """Where numpy keeps the state of a Mersenne Twister: the words, then the number of used ones."""
    words = list(range(1, _WORDS + 1))
    generator.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 5}}
    return _view(generator.ctypes.state_address, [*words, 5])


def _view(address: int, expected: list[int]) -> memoryview | None:
    view = memoryview((ctypes.c_char * _NBYTES).from_address(address)).cast("B")
    return view if view.cast("I").tolist() == expected else None
