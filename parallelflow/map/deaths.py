"""Who is to blame when engines die: an element, the plan, or nobody.

An element was running when its engine died: so were others, on engines that died at the same moment, of which one may have taken
all the memory. So nobody is blamed who was not alone.

Standard library only.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

# Engines that die within so many seconds of each other may have died of the same.
TOGETHER = 3.0


class Verdict(enum.Enum):
    """What is to be done with an element whose engine died."""

    AGAIN = "it runs again, in a chunk of its own"
    ALONE = "it runs again while nothing else does: others may be to blame"
    WAIT = "another suspect is running, whose engine may be about to die of the same"
    GUILTY = "it is to blame"


@dataclass(frozen=True)
class Death:
    """An engine that died.

    :ivar uuid: the engine's.
    :ivar engine: what to call it in a message.
    :ivar indices: the elements that may have been running there; none if it was making the plan ready.
    :ivar at: when, in seconds on the monotonic clock.
    """

    uuid: str
    engine: str
    indices: tuple[int, ...]
    at: float


class Deaths:
    """The deaths of engines in one Map.

    :param most: an element that was running on so many engines when they died is what killed them.
    """

    def __init__(self, most: int):
        self._most = most
        self._all: list[Death] = []
        self._in_a_row: list[Death] = []

    @property
    def has_suspects(self) -> bool:
        """Whether an engine has died."""
        return bool(self._all)

    @property
    def all(self) -> tuple[Death, ...]:
        """The engines that died while they ran something or made the plan ready."""
        return tuple(self._all)

    @property
    def in_a_row(self) -> tuple[Death, ...]:
        """The engines that died while they ran something, since the last element was completed."""
        return tuple(self._in_a_row)

    def of(self, index: int) -> tuple[Death, ...]:
        """Return the deaths in which an element was running."""
        return tuple(death for death in self._all if index in death.indices)

    def is_suspect(self, index: int) -> bool:
        """Whether an element was running when an engine died."""
        return any(index in death.indices for death in self._all)

    def note(self, death: Death) -> None:
        """Take note of an engine that died while it ran something or made the plan ready."""
        self._all.append(death)
        self._in_a_row.append(death)

    def completed(self) -> None:
        """Take note that an element was completed: it is not the plan that kills engines."""
        self._in_a_row.clear()

    def judge(self, index: int, was_alone: bool, running: Iterable[int]) -> Verdict:
        """Say what is to be done with an element whose engine died, which has been noted.

        :param index: the element.
        :param was_alone: whether nothing else was running.
        :param running: elements that are running elsewhere.
        """
        own = self.of(index)
        if len(own) < self._most:
            return Verdict.AGAIN
        if was_alone:
            return Verdict.GUILTY
        last = own[-1]
        neighbours = [death for death in self._all if index not in death.indices and abs(last.at - death.at) < TOGETHER]
        if len(last.indices) > 1 or neighbours:
            return Verdict.ALONE
        return Verdict.WAIT if any(self.is_suspect(each) for each in running) else Verdict.GUILTY
