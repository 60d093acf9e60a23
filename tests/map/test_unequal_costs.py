"""Elements that take much longer than others: known from the run before, they begin first. A simulated cluster, a clock moved by
hand."""

from __future__ import annotations

import pytest
from test_histories import Simulation, simulation

from parallelflow.map import experience, scheduler
from parallelflow.map.chunks import ChunkPolicy
from parallelflow.map.supply import Supply

__all__ = ["simulation"]  # the fixture

SHORT, LONG = 0.002, 2.0


def nobody_asks() -> list[str]:
    raise AssertionError("a chunk must not cost more the more engines there are")


def handed_out(supply: Supply) -> list[list[int]]:
    chunks = []
    while (chunk := supply.next_chunk("a", 2, nobody_asks, False, lambda _: None)) is not None:
        chunks.append(list(chunk.indices))
    return chunks


def seconds_for(simulation: Simulation, elements: int) -> float:
    before = simulation.world.now
    simulation.outcomes.values.clear()
    assert simulation.run(range(elements)) == {index: index * index for index in range(elements)}
    return simulation.world.now - before


@pytest.mark.parametrize("place", [400, 200, 0])
def test_the_second_run_is_over_soon_after_the_long_element(simulation: Simulation, place: int) -> None:
    world = simulation.world
    world.cost, world.costs[place] = SHORT, LONG
    engines = [world.join(), world.join()]
    seconds_for(simulation, 401)
    known = experience.of(world).plan("plan").cost
    assert known is not None
    assert dict(known.long) == {place: LONG}
    assert known.seconds == pytest.approx(SHORT)  # not what the long one took
    for engine in engines:
        engine.ran.clear()
    assert seconds_for(simulation, 401) <= 2.05
    assert place in [engine.ran[0] for engine in engines]


def test_what_an_earlier_session_has_left_is_gone_by_until_there_is_experience(simulation: Simulation) -> None:
    world, place = simulation.world, 400
    world.cost, world.costs[place] = SHORT, LONG
    engines = [world.join(), world.join()]
    simulation.cost = experience.Cost(2 * SHORT, 1.0, 100.0, {place: LONG})
    assert seconds_for(simulation, 401) <= engines[0].prepares_for + 2.05
    assert place in [engine.ran[0] for engine in engines]
    simulation.cost = experience.Cost(SHORT, 1.0, 100.0, {7: LONG})  # it is wrong, and there is experience by now
    for engine in engines:
        engine.ran.clear()
    assert seconds_for(simulation, 401) <= 2.05
    assert place in [engine.ran[0] for engine in engines]


@pytest.mark.parametrize(("large", "waiting"), [(1, 1), (10**9, 0)])
def test_one_waits_behind_a_long_element_only_where_it_is_large_and_so_long_on_its_way(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch, large: int, waiting: int
) -> None:
    world = simulation.world
    engines = [world.join(), world.join()]
    monkeypatch.setattr(scheduler, "LARGE", large)
    world.cost, world.costs[0], world.costs[1] = SHORT, LONG, LONG
    simulation.cost = experience.Cost(SHORT, 0.1, 100.0, {0: LONG, 1: LONG})
    rounds = simulation.scheduler(range(100)).rounds()
    while not all(engine.ran for engine in engines):
        next(rounds)
    world.move(LONG / 4)
    assert [len(engine.queue) for engine in engines] == [waiting, waiting]
    for _ in rounds:
        pass
    assert len(simulation.outcomes.values) == 100


def test_long_ones_begin_in_the_order_of_what_they_take_each_alone() -> None:
    policy = ChunkPolicy(1000, 0.002, 0.1)
    chunks = handed_out(Supply(range(1000), policy, {7: 1.0, 900: 3.0, 5000: 9.0}))
    assert chunks[:2] == [[900], [7]]
    assert sorted(index for chunk in chunks for index in chunk) == list(range(1000))
    assert len(chunks[2]) > 1


def test_long_ones_after_one_that_has_failed_are_left_out() -> None:
    supply = Supply(range(100), ChunkPolicy(100, 0.002, 0.1), {7: 1.0, 90: 3.0})
    supply.fail(50)
    assert supply.is_needed
    chunks = handed_out(supply)
    assert chunks[0] == [7]
    assert sorted(index for chunk in chunks for index in chunk) == list(range(50))
    assert not supply.is_needed


def test_a_long_one_is_no_measure_of_the_others_but_many_are() -> None:
    policy = ChunkPolicy(1000)
    policy.measured(10, 0.02)
    policy.measured(10, 2.018, [2.0])
    assert policy.cost == pytest.approx(0.002)
    policy.measured(1, 2.0, [2.0])
    assert policy.cost == pytest.approx(0.002)
    for _ in range(8):
        policy.measured(2, 2.0, [1.0, 1.0])
    assert policy.cost is not None
    assert policy.cost > 0.9
