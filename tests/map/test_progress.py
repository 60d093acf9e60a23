"""How far a Map has come, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from parallelflow.map import progress
from parallelflow.map.progress import MapProgress


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    yield clock
    progress.publish(None)
    progress.listen(None)


def at(done: int) -> MapProgress:
    return MapProgress("Step", 100, done, 1000.0)


def test_nothing_is_known_of_the_rest_before_the_second_results(clock: Clock) -> None:
    progress.publish(at(0))
    assert at(0).seconds_left is None
    clock.now += 10
    progress.publish(at(4))
    assert at(4).seconds_left is None


def test_the_rest_takes_as_long_as_elements_do_and_not_as_engines_take_to_start(clock: Clock) -> None:
    clock.now += 10  # in which engines start VisTrails
    progress.publish(at(4))
    clock.now += 6
    progress.publish(at(16))
    assert at(16).seconds_left == pytest.approx(6 / 12 * 84)


def test_the_next_map_starts_from_nothing(clock: Clock) -> None:
    progress.publish(at(50))
    progress.publish(None)
    assert progress.current() is None
    clock.now += 5
    assert at(50).seconds_left == pytest.approx(5)


def test_whoever_listens_is_told(clock: Clock) -> None:
    told: list[Any] = []
    assert not progress.is_shown()
    progress.listen(told.append)
    assert progress.is_shown()
    progress.tell("waiting")
    progress.publish(at(1))
    assert told == ["waiting", at(1)]
    assert progress.current() == at(1)
    progress.listen(None)
    progress.tell("nobody hears this")
    assert len(told) == 2
