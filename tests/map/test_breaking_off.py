"""What is interrupted when a Map is broken off, when and how often. Alone, with a clock that is moved by hand."""

from __future__ import annotations

import signal
from concurrent.futures import Future
from typing import Any

import pytest
from ipyparallel import error

from parallelflow.map import breaking_off
from parallelflow.map.breaking_off import MOST_TIMES, OBEY_TIMEOUT, BreakingOff


class Clock:
    """Stands for the module `time`."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Client:
    """Stands for a client: notes down which engines are told what is dropped, and which are interrupted."""

    def __init__(self) -> None:
        self.ids = [0, 1]
        self.told: list[tuple[list[str], list[int]]] = []
        self.interrupted: list[int] = []
        self.answers: list[Future[Any]] = []

    def abort(self, names: list[str], targets: list[int], block: bool) -> Future[Any]:
        assert not block
        self.told.append((names, targets))
        self.answers.append(Future())
        return self.answers[-1]

    def send_signal(self, number: int, targets: int, block: bool) -> Future[Any]:
        assert (number, block) == (signal.SIGINT, False)
        self.interrupted.append(targets)
        self.answers.append(Future())
        return self.answers[-1]


class Chunk:
    """Stands for a chunk on an engine, which runs it or has it wait."""

    def __init__(self, name: str, engine: int, runs: bool = True):
        self.name, self.engine, self.runs = name, engine, runs
        self.result: Any = Future()

    @property
    def engine_now(self) -> int | None:
        return self.engine if self.runs else None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(breaking_off, "time", clock)
    return clock


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def stopped() -> list[int]:
    return []


@pytest.fixture
def broken_off(clock: Clock, client: Client, stopped: list[int]) -> BreakingOff:
    """A Map that is being broken off, of which engines have heard already."""
    broken_off = BreakingOff(client, [Chunk("a", 1), Chunk("b", 0), Chunk("c", 7)], stopped.append)  # type: ignore[list-item]
    broken_off.drop()
    return broken_off


def pass_time(broken_off: BreakingOff, clock: Clock, seconds: float, *chunks: Chunk) -> None:
    end = clock.now + seconds
    while clock.now < end:
        broken_off.interrupt(chunks)
        clock.now += 0.125  # which binary floating point has exactly


def test_what_runs_is_interrupted_soon_and_then_ever_more_seldom(
    broken_off: BreakingOff, clock: Clock, client: Client
) -> None:
    chunk = Chunk("a", 1)
    times = []
    begin = clock.now
    while clock.now < begin + 100:
        broken_off.interrupt([chunk])
        if len(client.interrupted) > len(times):
            times.append(clock.now - begin)
        clock.now += 0.125
    assert client.interrupted == [1] * MOST_TIMES
    assert times == [0.125, 0.625, 1.625, 3.625, 7.625]


def test_neither_what_waits_nor_what_has_ended_nor_a_dead_engine_is_interrupted(
    broken_off: BreakingOff, clock: Clock, client: Client
) -> None:
    waits, ended, dead = Chunk("a", 0, runs=False), Chunk("b", 0), Chunk("c", 7)
    ended.result.set_result("what it gave")
    pass_time(broken_off, clock, 10.0, waits, ended, dead)
    assert client.interrupted == []
    waits.runs = True
    pass_time(broken_off, clock, 0.25, waits, ended, dead)
    assert client.interrupted == [0]


def test_the_next_one_on_the_same_engine_is_interrupted_as_soon(
    broken_off: BreakingOff, clock: Clock, client: Client
) -> None:
    pass_time(broken_off, clock, 0.25, Chunk("a", 0))
    pass_time(broken_off, clock, 0.25, Chunk("b", 0))
    assert client.interrupted == [0, 0]


def test_it_is_known_what_engines_have_heard(broken_off: BreakingOff, clock: Clock, client: Client) -> None:
    assert sorted(client.told) == [(["a"], [1]), (["b"], [0])]  # each its own; a dead one nothing
    assert not broken_off.is_dropped()
    assert broken_off.is_delivered()
    pass_time(broken_off, clock, 0.25, Chunk("a", 0))
    assert not broken_off.is_delivered()
    for answer in client.answers:
        answer.set_result("ok")
    assert broken_off.is_dropped()
    assert broken_off.is_delivered()


def test_an_engine_whose_nanny_does_not_answer_is_found_out(
    broken_off: BreakingOff, clock: Clock, client: Client
) -> None:
    obeys, deaf = Chunk("a", 0), Chunk("b", 1)
    pass_time(broken_off, clock, 0.25, obeys, deaf)
    client.answers[2].set_result("ok")  # two have heard what is dropped
    assert client.interrupted == [0, 1]
    clock.now += OBEY_TIMEOUT / 2
    assert broken_off.disobedient([obeys, deaf]) == []
    clock.now += OBEY_TIMEOUT
    assert broken_off.disobedient([obeys, deaf]) == [1]


def test_engines_that_are_gone_are_nothing_to_wait_for(
    clock: Clock, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise error.NoEnginesRegistered("none")

    monkeypatch.setattr(client, "abort", gone)
    monkeypatch.setattr(client, "send_signal", gone)
    broken_off = BreakingOff(client, [Chunk("a", 0)], lambda engine_id: None)  # type: ignore[list-item]
    broken_off.drop()
    pass_time(broken_off, clock, 10.0, Chunk("a", 0))
    assert broken_off.is_dropped()
    assert broken_off.is_delivered()
    assert broken_off.disobedient([Chunk("a", 0)]) == []
