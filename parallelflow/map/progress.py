"""How far the Map that runs in this process has come, for whoever wants to show it. Imports nothing of ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class ChunkProgress(NamedTuple):
    """Consecutive elements that are on their way.

    :ivar engine: the number of the engine that has them, or None while they wait for one.
    :ivar first: the first one's index in the user's list.
    :ivar elements: how many they are.
    :ivar since: when they were sent, in seconds since the epoch.
    """

    engine: int | None
    first: int
    elements: int
    since: float


@dataclass(frozen=True)
class MapProgress:
    """A Map at one moment.

    :param module: the name of the module that runs once per element.
    :param elements: how many elements the list has.
    :param done: how many have run.
    :param started: when the first chunk was sent, in seconds since the epoch.
    :param chunks: what is on its way.
    """

    module: str
    elements: int
    done: int
    started: float
    chunks: tuple[ChunkProgress, ...] = ()
    taken: int = 0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take if it goes on as so far; None while nothing is known."""
        since, before = self.started, self.taken
        if _first is not None and _first[0] == self.started:
            # Before the first results came, engines were starting VisTrails.
            _, since, before = _first
        if self.done <= before:
            return None
        return (time.time() - since) * (self.elements - self.done) / (self.done - before)


Listener = Callable[[MapProgress | str], None]
"""Is told how far a Map has come or, while it waits for something, a text that says what for; in the Map's thread."""

_current: MapProgress | None = None
_listener: Listener | None = None

# Of the Map that runs: when it was started, when its first results came, and how many they were.
_first: tuple[float, float, int] | None = None


def publish(progress: MapProgress | None) -> None:
    """Say how far the Map has come. Costs nothing.

    :param progress: how far; None when it has ended.
    """
    global _current, _first
    _current = progress
    if progress is None:
        _first = None
        return
    if progress.done > progress.taken and (_first is None or _first[0] != progress.started):
        _first = (progress.started, time.time(), progress.done)
    tell(progress)


def tell(progress: MapProgress | str) -> None:
    """Tell the listener, if there is one, how far the Map has come or what it waits for.

    :param progress: how far, or a text that says what for.
    """
    if _listener is not None:
        _listener(progress)


def listen(listener: Listener | None) -> None:
    """Have someone told from now on, instead of whoever was told before.

    :param listener: is told; None for nobody.
    """
    global _listener
    _listener = listener


def is_shown() -> bool:
    """Whether somebody is told: whether there is a window."""
    return _listener is not None


def current() -> MapProgress | None:
    """Return how far the Map has come that runs now, or None if none runs. May be called in any thread."""
    return _current
