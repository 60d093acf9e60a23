"""By which names engines know plans: small ones by the digest of their content, large ones by comparing them with what was sent.

To hash a value takes more than four times the CPU that it takes to compare it. So the copy that went to engines through shared
memory is kept for as long as engines have it mapped, which it takes no more memory for, and a plan of the same content gets the
same name. Where nothing is shared, the digest is computed, however long that takes: to send the plan again would take longer.

May import the standard library, `parallelflow.cluster.internals`, `parallelflow.threads` and, of the map room, `in_pieces`,
`shared_memory`, `sharing` and `values`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from parallelflow import threads
from parallelflow.cluster import internals
from parallelflow.map import in_pieces, shared_memory, sharing, values
from parallelflow.map.shared_memory import Reference

# Plans of fewer bytes are known by their digest: it takes some hundredths of a second.
SMALLEST = 32 * 1024**2

# Of how many bytes copies are kept, all together; the last one is kept in any case. Engines keep no more either.
MOST_BYTES = 1024**3

# How often, in seconds, it is looked whether engines are left that have them.
LOOK_EVERY = 1.0


@dataclass(eq=False)
class _Copy:
    """What was sent of a large plan.

    :ivar outline: what is small in it, and how large the rest is.
    :ivar parts: the plan's parts, with references in place of large ones.
    :ivar room: where these lie.
    :ivar name: the plan's.
    :ivar holders: the uuids of engines that were sent it.
    :ivar used: by how many runs.
    """

    outline: list[bytes | int]
    parts: values.Packed
    room: shared_memory.Room
    name: str = field(default_factory=lambda: f"{uuid.uuid4().hex}{uuid.uuid4().hex}")
    holders: set[str] = field(default_factory=set)
    used: int = 1

    @property
    def nbytes(self) -> int:
        return values.size(self.parts)

    def holds(self, packed: values.Packed, pause: Callable[[], None]) -> bool:
        """Whether a plan of the same outline is the same.

        :raises OutOfReach: when the copy is not there any more.
        """
        pairs = zip(packed, self.parts, strict=True)
        with in_pieces.turns(pause) as turn:
            return all(known.open().holds(part, turn) for part, known in pairs if isinstance(known, Reference))


class Copies:
    """What one client has sent of large plans.

    :param client: the ``ipyparallel.Client``.
    """

    def __init__(self, client: Any):
        self._client = weakref.ref(client)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._copies: list[_Copy] = []  # the one used last is the last
        self._is_watched = False

    @contextlib.contextmanager
    def named(
        self, packed: values.Packed, digest: Callable[[], str], pause: Callable[[], None] = lambda: None
    ) -> Iterator[str]:
        """Give the name of a plan, by which it is the same one for as long as this lasts.

        :param packed: the plan.
        :param digest: returns its digest, for one that is small, or of which nothing can be shared.
        :param pause: called every few milliseconds; may raise.
        """
        copy = self._copy_of(packed, pause) if values.size(packed) >= SMALLEST else None
        if copy is None:
            yield digest()
            return
        try:
            yield copy.name
        finally:
            self._leave(copy)
            self._drop()
            self._watch()

    def _leave(self, copy: _Copy) -> None:
        with self._lock:
            copy.used -= 1

    def parts(self, name: str, engine: str) -> values.Packed | None:
        """Return what an engine is to be sent of a plan; None if no copy of it is kept.

        :param name: the plan's.
        :param engine: the engine's uuid.
        """
        with self._lock:
            for copy in self._copies:
                if copy.name == name:
                    copy.holders.add(engine)
                    return copy.parts
        return None

    def _copy_of(self, packed: values.Packed, pause: Callable[[], None]) -> _Copy | None:
        client = self._client()
        if client is None or not sharing.may_share(client):
            return None
        outline = [
            size if (size := shared_memory.nbytes(part)) >= shared_memory.SMALLEST else bytes(part) for part in packed
        ]
        for copy in self._taken(outline):
            with contextlib.ExitStack() as undo:
                undo.callback(self._leave, copy)
                try:
                    is_same = copy.holds(packed, pause)
                except shared_memory.OutOfReach:  # somebody has emptied the folder
                    copy.outline, is_same = [], False
                if is_same:
                    undo.pop_all()
                    with self._lock:
                        self._copies.remove(copy)
                        self._copies.append(copy)
                    return copy
        self._drop(values.size(packed))
        room = shared_memory.new_room()
        if room is None:
            return None
        with contextlib.ExitStack() as undo:
            undo.callback(room.close)
            parts = room.put(packed, pause)
            if not any(isinstance(part, Reference) for part in parts):
                return None
            undo.pop_all()
        made = _Copy(outline, parts, room)
        with self._lock:
            self._copies.append(made)
        return made

    def _taken(self, outline: list[bytes | int]) -> Iterator[_Copy]:
        """Go through the copies of an outline, each of which counts as used from then on."""
        if self._pid != os.getpid():  # a process that was forked: they are its parent's
            self._pid, self._copies, self._is_watched = os.getpid(), [], False
        for copy in reversed(self._copies):
            with self._lock:
                if copy not in self._copies or copy.outline != outline:
                    continue
                copy.used += 1
            yield copy

    def _drop(self, coming: int = 0) -> None:
        """Remove the copies that nobody has any more, and those for which another one needs the room.

        :param coming: how large that one is.
        """
        client = self._client()
        there: set[str] = set()
        if client is not None and not internals.is_closed(client):
            there = set(internals.engines(client).values())
        with self._lock:
            left = sum(copy.nbytes for copy in self._copies) + coming
            for copy in [copy for copy in self._copies if not copy.used]:
                is_last = not coming and copy is self._copies[-1]
                if not copy.outline or not (copy.holders & there) or (left > MOST_BYTES and not is_last):
                    left -= copy.nbytes
                    self._copies.remove(copy)
                    copy.room.close()

    def _watch(self) -> None:
        with self._lock:
            if self._is_watched or not self._copies:
                return
            self._is_watched = True
        threads.start(self._look, "parallelflow-plan-names")

    def _look(self) -> None:
        while self._is_watched:
            time.sleep(LOOK_EVERY)
            self._drop()
            with self._lock:
                self._is_watched = bool(self._copies)


_by_client: WeakKeyDictionary[Any, Copies] = WeakKeyDictionary()


def of(client: Any) -> Copies:
    """Return what a client has sent of large plans.

    :param client: the ``ipyparallel.Client``.
    """
    return _by_client.setdefault(client, Copies(client))
