"""How many elements travel together.

A chunk costs a round trip of some milliseconds, shared by three processes; an element may cost anything from
microseconds to hours. So chunks grow until the round trip no longer matters and shrink towards the end of the list,
so that no engine waits idle for another's last chunk.

Knows nothing of clusters: durations go in, sizes come out. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# A chunk shall last about this long, in seconds. Between two chunks an engine stands idle for 3 to 8 ms, while the
# result and the next chunk pass ipyparallel's scheduler: below 1 % of this. Longer would only make progress coarser.
TARGET_DURATION = 1.0

# Towards the end chunks shrink, but not below this, in seconds: the idle time between chunks would cost more than the
# wait for the last one.
SHORTEST_DURATION = 0.04

# A chunk that lasts longer than this, in seconds, because elements cost more than earlier ones, gives the rest of them back:
# other engines may have nothing to do, and what has been done is to be seen.
LONGEST_DURATION = 2.0

# An element is long if it takes so many seconds, and so many times what one is expected to take. It is no measure of others; and
# if it is known beforehand, it begins before them, alone: at the end of the list the other engines would wait for it.
LONG = 0.1
LONG_FACTOR = 4.0

# A chunk never holds more elements than this: writing their log must not hold up VisTrails' window for 100 ms.
MOST_ELEMENTS = 500

# Neither a chunk nor its results hold more bytes than this (estimated from earlier elements), so that memory stays bounded.
MOST_BYTES = 32 * 1024 * 1024

# Chunks go out in rounds of one per engine, which together hold this share of what is left (factoring, Flynn Hummel,
# Schonberg and Flynn 1992, doi:10.1145/135226.135232). Where costs differ little from chunk to chunk there is little to even
# out in the end, so fewer and larger chunks do: what is left for later is twice the share by which they differ.
SHARE_OF_REST = 0.6

# The first chunks hold one element each; their cost says how to go on. Until then nothing is known.
FIRST_CHUNK = 1

# Costs drift along a list; the newest measurement counts for this much.
SMOOTHING = 0.5


class ChunkPolicy:
    """Decides the size of the next chunk from what earlier ones cost.

    :param elements: how many elements the list has.
    :param cost: what an element is expected to cost, in seconds, until one has been measured; None if nothing is known.
    :param spread: by which share of that costs are expected to differ from chunk to chunk.
    :param nbytes: how many bytes an element or its result is expected to have on the wire.
    """

    def __init__(self, elements: int, cost: float | None = None, spread: float = 1.0, nbytes: float = 0.0):
        self._left = elements
        self._cost = cost  # seconds an element takes on an engine
        self._is_measured = False
        self._was_long = False  # whether the last chunk was, most of it
        self._spread = spread  # how far costs differ from chunk to chunk, as a share of their mean
        self._bytes = nbytes  # bytes an element or its result takes on the wire
        self._most_bytes = MOST_BYTES
        self._in_round = 0  # chunks of this round that are yet to be handed out
        self._fair = 0.0  # an engine's share of what was left when the round began
        self._share = SHARE_OF_REST  # which share of that it gets in this round

    @property
    def cost(self) -> float | None:
        """How long an element took on an engine lately, in seconds; None if none has been measured."""
        return self._cost if self._is_measured else None

    @property
    def expected(self) -> float | None:
        """How long an element is expected to take on an engine, in seconds; None if nothing is known."""
        return self._cost

    @property
    def spread(self) -> float:
        """How far costs have differed from chunk to chunk lately, as a share of their mean."""
        return self._spread

    @property
    def nbytes(self) -> float:
        """The most bytes that an element or its result had on the wire."""
        return self._bytes

    def next_size(self, engines: int, most: int = MOST_ELEMENTS) -> int:
        """Return the size of the next chunk and count its elements as handed out.

        :param engines: how many engines share the work; at least 1.
        :param most: how many elements there are at the place in the list where the chunk begins.
        :returns: at least 1 while elements are left, 0 after.
        """
        if self._left <= 0:
            return 0
        if self._in_round == 0:
            self._in_round = max(engines, 1)
            self._fair = self._left / self._in_round
            # Decided once for the round: its chunks are to end at the same time, so that the next round begins at once for all.
            self._share = max(SHARE_OF_REST, 1.0 - 2.0 * self._spread)
        self._in_round -= 1
        size = FIRST_CHUNK
        if self._cost is not None:
            cost = max(self._cost, 1e-6)
            wanted = max(self._fair * self._share, min(SHORTEST_DURATION / cost, self._fair))
            if self._share > SHARE_OF_REST and (self._fair - wanted) * cost < SHORTEST_DURATION:
                wanted = self._fair  # what would be left is not worth a chunk
            size = min(int(TARGET_DURATION / cost), math.ceil(wanted))
            by_bytes = int(min(MOST_BYTES, self._most_bytes) / self._bytes) if self._bytes else MOST_ELEMENTS
            size = min(size, by_bytes, MOST_ELEMENTS)
        size = max(1, min(size, self._left, most))
        self._left -= size
        return size

    def handed_out(self, elements: int) -> None:
        """Take note of elements that go out beside the chunks.

        :param elements: how many.
        """
        self._left -= elements

    def is_long(self, seconds: float) -> bool:
        """Return whether an element is long that takes so many seconds.

        :param seconds: how many.
        """
        return self._cost is not None and seconds >= max(LONG, LONG_FACTOR * self._cost)

    def given_back(self, elements: int) -> None:
        """Take note of elements that were handed out and have not been run.

        :param elements: how many.
        """
        self._left += elements

    def weighed(self, elements: int, nbytes: int) -> None:
        """Take note of how much some elements, or their results, are on the wire.

        :param elements: how many, at least 1.
        :param nbytes: bytes of all of them together.
        """
        self._bytes = max(self._bytes, nbytes / elements)

    def too_large(self, nbytes: int) -> None:
        """Take note that a chunk was too large for an engine.

        :param nbytes: how many bytes it had on the wire.
        """
        self._most_bytes = min(self._most_bytes, nbytes // 2)

    def measured(self, elements: int, seconds: float, slow: Sequence[float] = ()) -> None:
        """Take note of what a chunk cost on its engine.

        :param elements: how many of its elements were run.
        :param seconds: the time that all of them together took.
        :param slow: what those took that were slow, in seconds.
        """
        if elements <= 0:
            return
        long = [each for each in slow if self.is_long(each)]
        is_one_off = not self._was_long
        self._was_long = 2 * len(long) >= elements
        if not self._was_long:
            elements, seconds = elements - len(long), max(0.0, seconds - sum(long))
        elif is_one_off:
            return  # twice, and elements have become longer
        cost = seconds / elements
        expected, self._cost = self._cost, cost
        if expected is not None:
            difference = abs(cost - expected)
            if self._is_measured:
                self._cost = expected + SMOOTHING * (cost - expected)
            self._spread += SMOOTHING * (difference / max(self._cost, 1e-6) - self._spread)
        self._is_measured = True
