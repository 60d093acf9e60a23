"""The scheduler against a simulated cluster, with a clock that is moved by hand, through histories that hypothesis makes up.

Whatever happens, each element is in the result exactly once, or there is an error; and nothing waits without end.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from simulated import Clock, Queues, SimulatedEngine, Watched, World

from parallelflow.map import breaking_off, crew, experience, faults, forgetting, scheduler, state, values, watch
from parallelflow.map.experience import Cost
from parallelflow.map.outcomes import Failure
from parallelflow.map.scheduler import Scheduler
from parallelflow.map.work import Limits, MapError, Report, Work

# Nothing may take longer, in simulated seconds, once nothing happens any more: what hangs while it gets ready does so for
# `Limits.ready`, what is lost is looked for again after twice the time, and what lasts lasts 30 s.
DEADLINE = 1000.0


class Elements:
    """A source of numbers."""

    plan = values.pack("the plan")
    what = "this Map"

    def pack(self, indices: Any) -> values.Packed:
        return values.pack(list(indices))

    def describe(self, index: int) -> str:
        return f"element {index} ({index})"

    def describe_plan(self) -> str:
        return "nothing is large"


class Outcomes:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.values: dict[int, Any] = {}
        self.times: Counter[int] = Counter()
        self.failures: list[Failure] = []
        self.warnings: list[str] = []
        self.raises = False

    def take(self, report: Report) -> None:
        if self.raises:
            raise ZeroDivisionError
        self.times.update(list(report.outcome.values))
        self.values.update(report.outcome.values)
        if report.outcome.failure is not None and not report.broken_off:
            self.failures.append(report.outcome.failure)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class Simulation:
    """One cluster, and what is patched for it."""

    def __init__(self) -> None:
        self.world = World()
        self.source = Elements()
        self.outcomes = Outcomes()
        self.cost: Cost | None = None  # that an earlier session has left
        self.start: Callable[[Callable[[], bool]], object] | None = None  # starts engines
        self.threads: list[Callable[[], object]] = []
        self.patches = ExitStack()
        clock, queues = Clock(self.world), Queues(self.world)
        for module in (scheduler, crew, breaking_off, state, faults, watch):
            self.patches.enter_context(patch.object(module, "time", clock))
        for module in (scheduler, crew):
            self.patches.enter_context(patch.object(module, "queue", queues))
        self.patches.enter_context(patch.object(breaking_off.threads, "start", self._start_thread))
        self.patches.enter_context(patch.object(forgetting, "_tell", lambda client, names: None))

    def _start_thread(self, function: Callable[[], object], name: str) -> Future[object]:
        """What is waited for is done at once."""
        done: Future[object] = Future()
        if name != "parallelflow-start":
            self.threads.append(function)
            return done
        try:
            done.set_result(function())
        except Exception as error:
            done.set_exception(error)
        return done

    def scheduler(self, indices: Any, limits: Limits | None = None, digest: str = "plan") -> Scheduler:
        work = Work(Elements.plan, digest, bytes, b"", indices, self.cost)
        return Scheduler(
            Watched(self.world),
            work,
            self.source,
            self.outcomes,
            limits or Limits(),
            lambda _: None,
            start=self.start,
        )

    def run(self, indices: Any, limits: Limits | None = None) -> dict[int, Any]:
        self.scheduler(indices, limits).run()
        return self.outcomes.values

    def close(self) -> None:
        self.patches.close()


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    simulation = Simulation()
    yield simulation
    simulation.close()


class Histories(RuleBasedStateMachine):
    """A Map of which anything may happen meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.simulation = Simulation()
        self.world, self.outcomes = self.simulation.world, self.simulation.outcomes
        self.harm = False  # something happened that may end the Map
        self.killed = 0  # engines that nothing of the Map has ended
        self.error: BaseException | None = None
        self.over = self.cancelled = False

    @initialize(
        engines=st.integers(1, 4),
        is_here=st.booleans(),
        elements=st.integers(1, 120),
        offset=st.integers(0, 3),
        step=st.integers(1, 3),
        costs=st.dictionaries(st.integers(0, 60), st.sampled_from([0.0, 0.05, 1.0, 4.0, 30.0]), max_size=8),
        long=st.dictionaries(st.integers(0, 60), st.sampled_from([0.2, 9.0]), max_size=3),
    )
    def begin(
        self,
        engines: int,
        is_here: bool,
        elements: int,
        offset: int,
        step: int,
        costs: dict[int, float],
        long: dict[int, float],
    ) -> None:
        self.world.is_here = is_here
        if long:  # so says an earlier run, with other elements perhaps
            experience.of(self.world).plan("plan").cost = Cost(0.01, 0.5, 100.0, long)
        self.indices = range(offset, offset + elements * step, step)
        self.world.costs.update(costs)
        for _ in range(engines):
            self.world.join()
        self.scheduler = self.simulation.scheduler(self.indices)
        self.rounds = self.scheduler.rounds()

    def proceed(self, seconds: float) -> None:
        """Let the Map go on for so long, or to its end."""
        end = self.world.now + seconds
        try:
            while not self.over and self.world.now < end:
                before = self.world.now
                next(self.rounds)
                if self.world.now == before and self.world.after:
                    self.world.move(0.0001)  # what the client itself takes
        except StopIteration:
            self.over = True
        except (MapError, ZeroDivisionError) as error:
            self.over, self.error = True, error

    def some(self, number: int) -> SimulatedEngine | None:
        engines = list(self.world.engines.values())
        return engines[number % len(engines)] if engines else None

    running = precondition(lambda self: not self.over)

    @running
    @rule(seconds=st.sampled_from([0.01, 0.1, 0.5, 2.0, 7.0, 20.0]))
    def go_on(self, seconds: float) -> None:
        self.proceed(seconds)

    @rule()
    def time_passes(self) -> None:
        self.world.move(0.5)

    @running
    @rule(number=st.integers(0, 3))
    def an_engine_dies(self, number: int) -> None:
        if engine := self.some(number):
            self.harm = True
            self.killed += 1
            self.world.kill(engine)

    @running
    @rule()
    def an_engine_joins(self) -> None:
        self.world.join()

    @running
    @rule(number=st.integers(0, 3), name=st.sampled_from(["loses", "loses_answers", "garbles"]))
    def something_is_lost(self, number: int, name: str) -> None:
        if engine := self.some(number):
            self.harm = True
            setattr(engine, name, 1)

    @running
    @rule(number=st.integers(0, 3))
    def an_engine_goes_deaf(self, number: int) -> None:
        if engine := self.some(number):
            self.harm = True
            engine.is_deaf = True

    @running
    @rule(number=st.integers(0, 3))
    def a_chunk_is_given_back(self, number: int) -> None:
        if engine := self.some(number):
            engine.gives_back += 1

    @running
    @rule(number=st.integers(0, 3))
    def an_engine_forgets_the_plan(self, number: int) -> None:
        if engine := self.some(number):
            engine.forgetful = True

    @running
    @rule(number=st.integers(0, 3))
    def an_element_is_interrupted(self, number: int) -> None:
        if (engine := self.some(number)) and engine.running is not None and engine.running in self.chunks():
            engine.interrupt()

    def chunks(self) -> list[Any]:
        return [chunk.result for each in self.scheduler._state.crew.engines.values() for chunk in each.chunks]

    @running
    @rule(refusal=st.sampled_from([None, "it lacks everything"]), seconds=st.sampled_from([0.5, 1e6]))
    def a_bad_engine_joins(self, refusal: str | None, seconds: float) -> None:
        self.harm = True
        engine = self.world.join()
        engine.refusal, engine.prepares_for = refusal, seconds

    @running
    @rule(index=st.integers(0, 100))
    def an_element_kills(self, index: int) -> None:
        self.harm = True
        self.world.killers.add(index)

    @running
    @rule(index=st.integers(0, 100))
    def an_element_fails(self, index: int) -> None:
        self.world.failing.add(index)

    @running
    @rule()
    def the_consumer_raises(self) -> None:
        self.outcomes.raises = self.harm = True

    @running
    @rule()
    def the_user_cancels(self) -> None:
        self.over = self.cancelled = True
        try:
            self.rounds.close()  # takes what still comes in
        except ZeroDivisionError as error:
            self.error = error

    def teardown(self) -> None:
        if not hasattr(self, "rounds"):
            self.simulation.close()
            return
        try:
            if not self.over:
                self.proceed(DEADLINE)
                assert self.over, "it waits without end"
            assert max(self.outcomes.times.values(), default=1) == 1, "an element is there twice"
            if self.error is not None:
                assert self.harm, f"nothing was wrong: {self.error}"
            elif self.outcomes.failures and not self.cancelled:
                first = min(failure.index for failure in self.outcomes.failures)
                # Nobody can tell an element that ends its engines from one whose engines others have ended.
                blamed = first not in self.world.failing | self.world.killers
                assert not blamed or self.killed >= Limits().deaths
                assert {index for index in self.indices if index < first} <= set(self.outcomes.values)
            elif not self.cancelled:
                assert self.outcomes.values == {index: index * index for index in self.indices}
        finally:
            self.rounds.close()
            self.simulation.close()


Histories.TestCase.settings = settings(
    # The same histories each time; with HISTORIES=3000 in the environment so many others.
    max_examples=int(os.environ.get("HISTORIES", "200")),
    derandomize="HISTORIES" not in os.environ,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
test_whatever_happens_each_element_is_there_once_or_there_is_an_error = Histories.TestCase


def test_engines_are_told_to_break_off_also_if_whoever_takes_the_last_reports_raises(simulation: Simulation) -> None:
    world = simulation.world
    world.costs.update({0: 500.0, 1: 500.0})
    engines = [world.join(), world.join()]
    rounds = simulation.scheduler(range(2)).rounds()
    while not all(engine.ran for engine in engines):
        next(rounds)
    world.move(2.0)
    next(rounds)
    simulation.outcomes.raises = True
    with pytest.raises(ZeroDivisionError):
        rounds.close()
    assert simulation.threads  # goes on with those that have not reported


def test_the_lost_answer_of_an_engine_that_hears_nothing_more_is_not_waited_for(simulation: Simulation) -> None:
    engines = [simulation.world.join(), simulation.world.join()]
    engines[0].prepares_for = engines[1].prepares_for = 0.1
    rounds = simulation.scheduler(range(2)).rounds()
    simulation.world.costs.update({0: 1.0, 1: 1.0})
    while not all(engine.ran for engine in engines):
        next(rounds)
    engines[0].loses_answers, engines[0].is_deaf = 1, True
    end = simulation.world.now + DEADLINE
    with closing(rounds):
        for _ in rounds:
            assert simulation.world.now < end, "it waits without end"
    assert simulation.outcomes.values == {0: 0, 1: 1}
    assert len(simulation.outcomes.warnings) == 1
