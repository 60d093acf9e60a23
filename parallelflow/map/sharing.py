"""Which of a Map's values go to which engines through shared memory, and which over the network: found out by trying.

Everything is tried through memory first. An engine that cannot have it says so, and nothing has been done then; from that time on
it gets all over the network.

May import `parallelflow.cluster.internals`, `parallelflow.map.shared_memory` and `parallelflow.map.values`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from parallelflow.cluster import internals
from parallelflow.map import shared_memory, values

# By client, the uuids of engines that do not share its memory.
_apart: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def may_share(client: Any) -> bool:
    """Whether there is an engine of which it is not known that it does not share a client's memory.

    :param client: the ``ipyparallel.Client``.
    """
    return not _apart.get(client, set()).issuperset(internals.engines(client).values())


class Sharing:
    """What one Map shares with the engines of its host.

    :param client: the ``ipyparallel.Client``.
    :param pause: called every few milliseconds while something large is copied; may raise.
    :param sent: returns what an engine is to be sent of the plan, given its uuid, where there is a copy of it already.
    """

    def __init__(
        self, client: Any, pause: Callable[[], None], sent: Callable[[str], values.Packed | None] = lambda uuid: None
    ):
        self._pause = pause
        self._sent = sent
        self._apart = _apart.setdefault(client, set())
        self._room = shared_memory.new_room()
        self._plan: values.Packed | None = None

    @property
    def room(self) -> str:
        """Where engines put results that are large, if they can; '' if there is no such place."""
        return self._room.path if self._room is not None else ""

    def reaches(self, uuid: str) -> bool:
        """Whether memory is tried for what goes to an engine.

        :param uuid: the engine's.
        """
        return self._room is not None and uuid not in self._apart

    def elements(self, packed: values.Packed, uuid: str) -> values.Packed:
        """Return a chunk's elements as they are to be sent to an engine.

        :param packed: the elements.
        :param uuid: the engine's.
        """
        return self._room.put(packed, self._pause) if self._room is not None and self.reaches(uuid) else packed

    def plan(self, packed: values.Packed, uuid: str) -> values.Packed:
        """Return the plan as it is to be sent to an engine.

        :param packed: the plan.
        :param uuid: the engine's.
        """
        if self._room is None or uuid in self._apart:
            return packed
        if (sent := self._sent(uuid)) is not None:
            return sent
        if self._plan is None:  # one for all engines
            self._plan = self._room.put(packed, self._pause)
        return self._plan

    def begun(self) -> set[str]:
        """Return the ids of the chunks' messages of which engines have noted that they began: each of its first one, if it can."""
        return self._room.notes() if self._room is not None else set()

    def failed(self, uuid: str) -> None:
        """Take note that an engine could not have what was sent through memory.

        :param uuid: the engine's.
        """
        self._apart.add(uuid)

    def close(self) -> None:
        """Remove what nobody has taken. What engines have mapped they keep."""
        if self._room is not None:
            self._room.close()
