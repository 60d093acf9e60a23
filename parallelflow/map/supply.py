"""What is yet to be handed out of a Map's elements, and in which chunks.

Knows no cluster. May import `parallelflow.map.chunks` and `parallelflow.map.crew`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from parallelflow.map.chunks import ChunkPolicy
from parallelflow.map.crew import Chunk


class Supply:
    """The elements of one Map that have not been handed out.

    :param indices: all of them, in the order in which they are to begin.
    :param policy: says how many go together.
    :param long: those of which it is known that they take long, and how many seconds: they begin first, the longest one first, each
        in a chunk of its own.
    :ivar limit: elements with this index and later ones are not needed: an earlier one has failed.
    """

    def __init__(self, indices: Sequence[int], policy: ChunkPolicy, long: Mapping[int, float] = MappingProxyType({})):
        first = sorted((index for index in indices if index in long), key=lambda index: -long[index]) if long else []
        self._long = deque(first)
        self._indices = [index for index in indices if index not in long] if first else indices
        self._policy = policy
        self._next = 0  # the place in the indices of what has not been handed out
        self._again: deque[Chunk] = deque()  # what is to be handed out once more
        self._rests: list[Sequence[int]] = []  # what chunks that lasted too long have given back
        self.limit: int | None = None

    def clear(self) -> None:
        """Let nothing be handed out any more."""
        self._again.clear()
        self._rests.clear()
        self._long.clear()
        self._next, self.limit = len(self._indices), -1

    def fail(self, index: int) -> None:
        """Take note of an element that has failed: none after it is needed."""
        self.limit = index if self.limit is None else min(self.limit, index)

    def needed(self, indices: Sequence[int]) -> Sequence[int]:
        """Leave out elements that are not needed."""
        limit = self.limit
        return indices if limit is None else [index for index in indices if index < limit]

    @property
    def is_needed(self) -> bool:
        """Whether there is something that is needed."""
        if self.limit is None:
            return self._next < len(self._indices) or bool(self._again or self._rests or self._long)
        return (
            any(chunk.is_needed(self.limit) for chunk in self._again)
            or any(map(self.needed, self._rests))
            or bool(self.needed(self._long))
            or bool(self.needed(self._indices[self._next :]))
        )

    def again(self, chunks: Iterable[Chunk]) -> None:
        """Have chunks handed out once more, before anything else, in their order."""
        self._again.extendleft(
            reversed([Chunk(chunk.indices, chunk.avoid, chunk.alone, chunk.is_long) for chunk in chunks])
        )

    def give_back(self, indices: Sequence[int]) -> None:
        """Have elements handed out again that their chunk has not come to."""
        rest = self.needed(indices)
        if rest:
            self._policy.given_back(len(rest))
            self._rests.append(rest)
            self._rests.sort(key=min)

    def next_chunk(
        self,
        uuid: str,
        engines: int,
        uuids: Callable[[], Iterable[str]],
        has_pending: bool,
        first: Callable[[int], None],
    ) -> Chunk | None:
        """Return the next chunk for an engine, None if there is none for it.

        :param uuid: the engine's.
        :param engines: how many can have chunks.
        :param uuids: returns their uuids; called only where a chunk is not to go to this one, for that costs more the more there
            are.
        :param has_pending: whether others are on their way.
        :param first: called with the first element before the size of the first chunk is decided.
        """
        for place, chunk in enumerate(self._again):
            if not chunk.is_needed(self.limit) or (chunk.alone and has_pending):
                continue
            if uuid not in chunk.avoid or chunk.avoid.issuperset(uuids()):
                del self._again[place]
                return chunk
        while self._long:
            index = self._long.popleft()
            self._policy.handed_out(1)
            if self.needed([index]):
                return Chunk([index], is_long=True)
        size = max(1, engines)
        while self._rests:
            rest = self.needed(self._rests.pop(0))
            if rest:
                count = self._policy.next_size(size, len(rest))
                if count < len(rest):
                    self._rests.insert(0, rest[count:])
                return Chunk(rest[:count])
        if self._next == 0 and self._indices:
            first(self._indices[0])
        while self._next < len(self._indices):
            count = self._policy.next_size(size)
            wanted = self.needed(self._indices[self._next : self._next + count])
            self._next += count
            if wanted:
                return Chunk(wanted)
        return None
