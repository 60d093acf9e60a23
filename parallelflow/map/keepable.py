"""What of a run can be kept, and by which key each element's result is found.

May import the map room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from parallelflow.map import named_files
from parallelflow.map.identity import PlanIdentity
from parallelflow.map.named_files import CannotBeKept, Kept
from parallelflow.map.seeds import Seeds
from parallelflow.map.work import Report

# What names no file by itself; a text that does cannot be told from another.
_PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None)})
_CONTAINERS = (list, tuple, dict, set, frozenset)

# From which generators an element may have drawn, Python's and numpy's.
_WAYS_TO_DRAW = (True, False), (False, True), (True, True)


def names_no_file(value: Any, depth: int = 3) -> bool:
    """Whether a value names no file for certain; looks no deeper than so many containers.

    :param value: any Python value.
    :param depth: how deep.
    """
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind not in _CONTAINERS:
        return kind.__module__ == "numpy" and not getattr(getattr(value, "dtype", None), "hasobject", True)
    if kind is dict and not names_no_file(list(value.values()), depth):
        return False
    return _PLAIN.issuperset(map(type, value)) or (depth > 0 and all(names_no_file(each, depth - 1) for each in value))


class Keepable:
    """What of one run can be kept.

    :param identity: what its plan is known by.
    :param elements: its elements.
    :param seeds: what their random numbers follow from.
    :param pool: VisTrails' file pool, its folder's name.
    :param pause: called every few milliseconds while something is large; may raise.
    :ivar why_not: why results of some engine cannot be kept, a sentence; '' if there is none.
    """

    def __init__(
        self,
        identity: PlanIdentity,
        elements: Sequence[Any],
        seeds: Seeds,
        pool: str,
        pause: Callable[[], None] = lambda: None,
    ):
        self.why_not = ""
        self._identity = identity
        self._elements = elements
        self._seeds = seeds.plain, seeds.numpy
        self._pool = pool
        self._pause = pause
        self._holds = True
        self._keys: dict[int, bytes | None] = {}
        self._engines: dict[int, str | None] = {}  # why their results cannot be kept, if so
        self._beside: dict[int, dict[str, bytes]] = {}  # files of code that they have loaded and that no key holds

    def prepare(self) -> None:
        """Make the keys of elements that may name files, before one runs: afterwards something else may be in them."""
        elements = self._elements
        if {list, tuple}.issuperset(map(type, elements)) and _PLAIN.issuperset(
            map(type, chain.from_iterable(elements))
        ):
            return  # nearly all lists, at a glance
        for index in range(len(elements)):
            if not names_no_file(elements[index]):
                self._key(index)
            self._pause()

    def keys(self, index: int) -> Iterator[bytes]:
        """Return the keys by which an element's result may have been kept.

        :param index: the element's.
        """
        key = self._key(index)
        if key is not None:
            yield key
            for drawn in _WAYS_TO_DRAW:
                yield self._random(key, drawn, index)

    def hear(self, report: Report) -> None:
        """Look whether what comes now can be kept at all: what an engine says of the code that it runs, and the plan's files.

        :param report: what has come of a chunk.
        """
        self._holds = self._holds and self._identity.holds()  # once for all elements of a chunk
        code = report.outcome.code
        if code is None or report.engine is None:
            return
        why = self._identity.why_not(code)
        self._engines[report.engine], self._beside[report.engine] = why, code.beside
        self.why_not = self.why_not or why or ""

    def kept(self, report: Report, index: int, value: Any, most: float, **how: Any) -> tuple[bytes, Kept]:
        """Return what can be kept of an element.

        :param report: what has come of its chunk, which `hear` has been told.
        :param index: the element's.
        :param value: its result.
        :param most: so many bytes it may have.
        :param how: what else `values.pack` is told.
        :returns: its key, and its result with the files that it names.
        :raises CannotBeKept: if nothing can.
        :raises CannotTravel: when the result cannot be pickled.
        """
        self._pause()
        outcome, engine = report.outcome, report.engine
        if engine is None or self._engines.get(engine, "it has not said what code it runs") is not None:
            raise CannotBeKept("it is not known what code its engine runs")
        if index in outcome.uncached:
            raise CannotBeKept("VisTrails would not cache it")
        kept = named_files.pack(value, self._pool, self._pause, most, **how)
        key = self._key(index)  # after that: a large element takes longer to hash than a large result to pack
        if key is None:
            raise CannotBeKept("its element cannot be known for certain")
        kept.others = {**self._beside[engine], **kept.others}
        if not self._holds or not self._identity.is_as_it_was(key):
            raise CannotBeKept("a file that it was made from has been changed meanwhile")
        if index in outcome.drawn:
            key = self._random(key, outcome.drawn[index], index)
        return key, kept

    def _random(self, key: bytes, drawn: tuple[bool, bool], index: int) -> bytes:
        """The key of an element that has drawn from the one generator, the other, or both."""
        plain, numpy = (seed if has else None for seed, has in zip(self._seeds, drawn, strict=True))
        return self._identity.of_random(key, (plain, numpy), index)

    def _key(self, index: int) -> bytes | None:
        if index not in self._keys:
            self._keys[index] = self._identity.of_element(self._elements[index])
        return self._keys[index]
