"""What is interrupted when a Map is broken off, when and how often. Alone, with a clock that is moved by hand."""

from __future__ import annotations

import signal
from concurrent.futures import Future
from typing import Any

import pytest
from ipyparallel import error

from parallelflow.map import breaking_off
from parallelflow.map.breaking_off import MOST_TIMES, BreakingOff


class Clock:
    """Stands for the module `time`."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Client:
    """Stands for a client: notes down which engines are interrupted."""

    def __init__(self) -> None:
        self.ids = [0, 1]
        self.interrupted: list[int] = []
        self.answers: list[Future[Any]] = []

    def abort(self, names: list[str], block: bool) -> Future[Any]:
        self.answers.append(Future())
        return self.answers[-1]

    def send_signal(self, number: int, targets: int, block: bool) -> Future[Any]:
        assert (number, block) == (signal.SIGINT, False)
        self.interrupted.append(targets)
        self.answers.append(Future())
        return self.answers[-1]


class Chunk:
    """Stands for a chunk on an engine."""

    def __init__(self, name: str, engine: int | None):
        self.engine_now = engine
        self.result: Any = Future()
        self.result.msg_ids = [name]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(breaking_off, "time", clock)
    return clock


def test_what_runs_is_interrupted_at_once_and_then_ever_more_seldom(clock: Clock) -> None:
    client = Client()
    broken_off = BreakingOff(client)
    chunk = Chunk("a", 1)
    times = []
    for _ in range(1000):
        broken_off.interrupt([chunk])
        if len(client.interrupted) > len(times):
            times.append(clock.now - 100.0)
        clock.now += 0.125  # which binary floating point has exactly
    assert client.interrupted == [1] * MOST_TIMES
    assert times == [0.0, 0.5, 1.5, 3.5, 7.5]


def test_neither_what_waits_nor_what_has_ended_nor_a_dead_engine_is_interrupted(clock: Clock) -> None:
    client = Client()
    broken_off = BreakingOff(client)
    waits, ended, dead = Chunk("a", None), Chunk("b", 0), Chunk("c", 7)
    ended.result.set_result("what it gave")
    broken_off.interrupt([waits, ended, dead])
    assert client.interrupted == []
    waits.engine_now = 0
    broken_off.interrupt([waits, ended, dead])
    assert client.interrupted == [0]


def test_the_next_one_on_the_same_engine_is_interrupted_at_once(clock: Clock) -> None:
    client = Client()
    broken_off = BreakingOff(client)
    broken_off.interrupt([Chunk("a", 0)])
    broken_off.interrupt([Chunk("b", 0)])
    assert client.interrupted == [0, 0]


def test_it_is_known_what_engines_have_heard(clock: Clock) -> None:
    client = Client()
    broken_off = BreakingOff(client)
    broken_off.drop(["a", "b"])
    assert not broken_off.is_dropped()
    assert broken_off.is_delivered()
    broken_off.interrupt([Chunk("a", 0)])
    assert not broken_off.is_delivered()
    for answer in client.answers:
        answer.set_result("ok")
    assert broken_off.is_dropped()
    assert broken_off.is_delivered()


def test_engines_that_are_gone_are_nothing_to_wait_for(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()

    def gone(*_: object, **__: object) -> None:
        raise error.NoEnginesRegistered("none")

    monkeypatch.setattr(client, "abort", gone)
    monkeypatch.setattr(client, "send_signal", gone)
    broken_off = BreakingOff(client)
    broken_off.drop(["a"])
    broken_off.interrupt([Chunk("a", 0)])
    assert broken_off.is_dropped()
    assert broken_off.is_delivered()
