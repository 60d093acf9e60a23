"""What the scheduler does with engines that refuse, hang, lose messages or die: on a simulated cluster, in simulated time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from simulated import SimulatedEngine, World
from test_histories import Simulation

from parallelflow.map import watch
from parallelflow.map.work import Limits, MapError


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    simulation = Simulation()
    yield simulation
    simulation.close()


def squares(count: int) -> dict[int, int]:
    return {index: index * index for index in range(count)}


@pytest.mark.parametrize("joins_late", [False, True])
def test_an_engine_that_refuses_is_left_out_with_one_warning_until_it_is_a_new_process(
    simulation: Simulation, joins_late: bool
) -> None:
    world, outcomes = simulation.world, simulation.outcomes
    world.join()
    world.costs.update(dict.fromkeys(range(50), 0.2))
    bad = None if joins_late else world.join()
    if bad is None:
        world.after(3.0, lambda: setattr(world.join(), "refusal", "it lacks the package 'x'"))
    else:
        bad.refusal = "it lacks the package 'x'"
    assert simulation.run(range(50)) == squares(50)
    bad = world.engines[1]
    assert len(outcomes.warnings) == 1
    assert "Engine 1 on host1 is left out" in outcomes.warnings[0]
    assert "it lacks the package 'x'" in outcomes.warnings[0]
    assert bad.ran == []
    bad.refusal = None
    assert simulation.run(range(50)) == squares(50)
    assert bad.ran == []
    assert len(outcomes.warnings) == 1
    world.unregister(bad)
    new = world.join()
    assert simulation.run(range(50)) == squares(50)
    assert new.ran != []


def test_the_map_fails_when_no_engine_is_left_that_can_run_it(simulation: Simulation) -> None:
    for _ in range(2):
        simulation.world.join().refusal = "it has Parallel Flow 0.9"
    with pytest.raises(MapError) as error:
        simulation.run(range(10))
    assert str(error.value).count("cannot run this Map: it has Parallel Flow 0.9.") == 2
    assert simulation.outcomes.warnings == []


def test_engines_that_were_left_out_and_have_gone_since_are_named_with_the_last_one(simulation: Simulation) -> None:
    world = simulation.world
    world.costs.update(dict.fromkeys(range(50), 0.2))
    for place, reason in enumerate(("it lacks the package 'x'", "it has Parallel Flow 0.9")):
        world.join().refusal = reason
        world.after(3.0, lambda place=place: world.unregister(world.engines[place]))
    world.after(4.0, lambda: setattr(world.join(), "refusal", "it is too small"))
    good = world.join()
    world.after(8.0, lambda: world.unregister(good))
    with pytest.raises(MapError) as error:
        simulation.run(range(50))
    said = str(error.value)
    for reason in ("it lacks the package 'x'", "it has Parallel Flow 0.9", "it is too small"):
        assert reason in said


@pytest.mark.parametrize("what", ["this Filter", "this exploration", "parallel_map"])
def test_what_is_said_names_what_runs(simulation: Simulation, what: str) -> None:
    simulation.source.what = what
    world = simulation.world
    world.costs.update(dict.fromkeys(range(50), 0.2))
    world.join()
    world.join().refusal = "it lacks the package 'x'"
    assert simulation.run(range(50)) == squares(50)
    (warning,) = simulation.outcomes.warnings
    assert f"is left out of {what}, and others run its elements: it lacks" in warning
    world.engines[0].refusal = "it has Parallel Flow 0.9"
    world.kill(world.engines[0])
    world.join().refusal = "it has Parallel Flow 0.9"
    with pytest.raises(MapError, match=f"cannot run {what}: it has Parallel Flow 0.9"):
        simulation.run(range(10))


def test_an_engine_that_hangs_while_it_gets_ready_is_left_out(simulation: Simulation) -> None:
    world = simulation.world
    world.join()
    hangs = world.join()
    hangs.prepares_for = 1e6
    world.costs.update(dict.fromkeys(range(100), 3.0))
    assert simulation.run(range(100)) == squares(100)
    assert "Engine 1 on host1 is left out" in simulation.outcomes.warnings[0]
    assert "did not get ready within 120 seconds" in simulation.outcomes.warnings[0]
    before = world.now
    assert simulation.run(range(10)) == squares(100)
    assert world.now < before + 60


def test_an_engine_that_gets_ready_after_all_takes_part_in_the_next_map(simulation: Simulation) -> None:
    world = simulation.world
    world.join()
    slow = world.join()
    slow.prepares_for = 20.0
    world.costs.update(dict.fromkeys(range(100), 0.5))
    simulation.run(range(100), Limits(ready=5.0))
    assert slow.ran == []
    world.move(20.0)
    simulation.run(range(100), Limits(ready=5.0))
    assert slow.ran != []


@pytest.mark.parametrize("lost", ["loses", "loses_answers"])
def test_what_is_lost_runs_again_elsewhere(simulation: Simulation, lost: str) -> None:
    world = simulation.world
    one, _ = world.join(), world.join()
    world.costs.update(dict.fromkeys(range(40), 0.5))
    world.after(3.0, lambda: setattr(one, lost, 1))
    assert simulation.run(range(40)) == squares(40)
    assert max(simulation.outcomes.times.values()) == 1


@pytest.mark.parametrize("engines", [1, 2])
def test_an_element_that_is_always_lost_is_named_with_its_size(simulation: Simulation, engines: int) -> None:
    world = simulation.world
    for _ in range(engines):
        world.join()
    simulation.run(range(1))
    for engine in world.engines.values():
        receive = engine.receive

        def lose(result, function, arguments, receive=receive):  # type: ignore[no-untyped-def]
            if function.__name__ != "run" or 7 not in arguments[1]:
                receive(result, function, arguments)

        engine.receive = lose  # type: ignore[method-assign]
    with pytest.raises(MapError, match=r"was sent element 7 \(7\), \d+ bytes, .* the engine may hold 1000 MB"):
        simulation.run(range(20))


def test_an_engine_that_loses_the_plan_is_left_out_and_is_sent_little_meanwhile(simulation: Simulation) -> None:
    world = simulation.world
    good, bad = world.join(), world.join()
    received = []
    receive = bad.receive

    def lose(result, function, arguments):  # type: ignore[no-untyped-def]
        received.append(function.__name__)
        if function.__name__ != "install":
            receive(result, function, arguments)

    bad.receive = lose  # type: ignore[method-assign]
    world.costs.update(dict.fromkeys(range(50), 0.5))
    assert simulation.run(range(50)) == squares(50)
    assert set(good.ran) == set(range(50))
    assert received == ["greet", "install", "greet"]
    assert "got lost on the way" in simulation.outcomes.warnings[0]
    assert "nothing is large; the engine may hold 1000 MB" in simulation.outcomes.warnings[0]


@pytest.mark.parametrize("since", [0.0, 3.0])
def test_an_engine_that_nothing_reaches_any_more_is_left_out(simulation: Simulation, since: float) -> None:
    world = simulation.world
    one, other = world.join(), world.join()
    world.costs.update(dict.fromkeys(range(40), 0.5))
    world.after(since, lambda: setattr(one, "is_deaf", True))
    assert simulation.run(range(40)) == squares(40)
    (warning,) = simulation.outcomes.warnings
    assert "Engine 0 on host0 is left out" in warning or since == 0.0
    assert "nothing that is sent to it arrives any more" in warning
    ran, before = len(one.ran), world.now
    assert simulation.run(range(40)) == squares(40)
    assert len(one.ran) == ran
    assert world.now < before + 25
    world.kill(other)
    world.move(1.0)
    with pytest.raises(MapError, match="cannot run this Map: nothing that is sent to it arrives any more"):
        simulation.run(range(40))
    one.is_deaf = False  # a knock that was long under way arrives
    for result, engine in list(world._unanswered.values()):
        if engine is one:
            result.set(None)
    assert simulation.run(range(40)) == squares(40)


def test_no_chunk_is_sent_to_an_engine_whose_plan_is_under_way(simulation: Simulation) -> None:
    world = simulation.world
    engine = world.join()
    engine.prepares_for = 100.0
    received = []
    receive = engine.receive
    engine.receive = lambda *message: (received.append(message[1].__name__), receive(*message))  # type: ignore[method-assign]
    assert simulation.run(range(1)) == squares(1)
    assert received[:2] == ["greet", "install"]
    assert received[-1] == "run"
    assert set(received[2:-1]) == {"greet"}  # whether the plan is lost
    assert len(received) < 10


def test_an_answer_without_one_of_its_elements_is_refused(simulation: Simulation) -> None:
    simulation.world.join().garbles = 1
    with pytest.raises(MapError, match=r"Engine 0 on host0 sent back neither a result nor an error of element 0 \(0\)"):
        simulation.run(range(10))


def test_the_plan_is_to_blame_when_engines_die_one_after_the_other(simulation: Simulation) -> None:
    world = simulation.world
    for _ in range(5):
        world.join()
    world.killers.update(range(100))
    before = world.now
    with pytest.raises(
        MapError, match=r"(?s)3 engines died one after the other .*0 of 100 elements were done"
    ) as error:
        simulation.run(range(100))
    assert "while it ran element" in str(error.value)
    assert world.now < before + 5


def test_all_engines_that_die_of_the_plan_end_the_map_at_once(simulation: Simulation) -> None:
    world = simulation.world
    world.join()
    world.killers.add(0)
    before = world.now
    with pytest.raises(MapError, match="The only engine died"):
        simulation.run(range(10))
    assert world.now < before + 5


@pytest.mark.parametrize("is_here", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_engines_that_had_all_ended_before_are_replaced_and_blame_nothing(
    simulation: Simulation, count: int, is_here: bool
) -> None:
    world = simulation.world
    world.is_here = is_here
    before = [world.join() for _ in range(count)]
    assert simulation.run(range(100)) == squares(100)  # they hold the plan now
    for each in before:
        world.kill(each)  # of which the hub hears later

    def start(called_off: Callable[[], bool]) -> None:
        assert not world.engines
        assert not called_off()
        world.join()

    simulation.start = start
    simulation.outcomes.values.clear()
    assert simulation.run(range(100)) == squares(100)
    assert world.engines.keys() == {count}
    # Those that are started die of it: there are no others.
    world.killers.update(range(100))
    with pytest.raises(MapError, match="The only engine died"):
        simulation.run(range(100))


@pytest.mark.parametrize("count", [1, 2])
def test_what_was_sent_in_the_moment_in_which_an_engine_has_gone_runs_elsewhere(
    simulation: Simulation, count: int
) -> None:
    world = simulation.world
    world.costs.update(dict.fromkeys(range(20), 0.5))
    engines = [world.join() for _ in range(count + 1)]
    rounds = simulation.scheduler(range(20)).rounds()
    while not all(engine.ran for engine in engines):
        next(rounds)
    for each in engines[:count]:
        each.alive = False
        del world.engines[each.number]  # and nobody answers in its place, as ipyparallel does for what it knows of
    end = world.now + 60.0
    for _ in rounds:
        assert world.now < end
    assert simulation.outcomes.values == squares(20)


@pytest.mark.parametrize(("count", "is_here"), [(watch.FEW + 1, False), (2, True)])
def test_engines_that_hold_the_plan_are_sent_elements_and_nothing_else(
    simulation: Simulation, count: int, is_here: bool
) -> None:
    simulation.world.is_here = is_here
    engines = [simulation.world.join() for _ in range(count)]
    assert simulation.run(range(100)) == squares(100)
    for each in engines:
        each.received.clear()
    simulation.outcomes.values.clear()
    assert simulation.run(range(100)) == squares(100)
    assert {name for each in engines for name in each.received} == {"run"}


def kill_at_once(world: World, engines: list[SimulatedEngine], index: int, after: float = 0.0) -> None:
    """Have an element kill its engine before that has said that it begins."""
    for each in engines:
        each.announces = False
    world.killers.add(index)
    world.costs[index] = after


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_an_element_that_kills_before_an_engine_says_that_it_begins_is_to_blame(
    simulation: Simulation, gone: int
) -> None:
    world = simulation.world
    engines = [world.join() for _ in range(watch.FEW + 4)]
    assert simulation.run(range(60)) == squares(60)  # they hold the plan now
    for each in engines[:gone]:
        world.kill(each)  # of which the hub hears later
    kill_at_once(world, engines, 0)
    simulation.run(range(60))
    (failure,) = simulation.outcomes.failures
    assert failure.index == 0
    assert "The engine that ran element 0 (0) died twice" in failure.message
    # Of the first nobody knows whether it had gone before, as those that had; the next two have answered before they die.
    assert len(world.engines) == len(engines) - max(gone, 1) - 2


@pytest.mark.parametrize("is_here", [False, True])
@pytest.mark.parametrize("count", [1, 2, 6])
@pytest.mark.parametrize("kills", [0, 59])
def test_of_few_engines_none_has_to_go_before_it_is_known_what_ends_them(
    simulation: Simulation, count: int, kills: int, is_here: bool
) -> None:
    world = simulation.world
    world.is_here = is_here
    engines = [world.join() for _ in range(count)]
    assert simulation.run(range(60)) == squares(60)  # they hold the plan now
    kill_at_once(world, engines, kills)
    before = world.now
    if count == 1:
        with pytest.raises(MapError, match="The only engine died"):
            simulation.run(range(60))
    else:
        simulation.run(range(60))
        (failure,) = simulation.outcomes.failures
        assert f"The engine that ran element {kills} ({kills}) died twice" in failure.message
        assert len(world.engines) == count - 2
    assert world.now < before + 5


@pytest.mark.parametrize("count", [4, watch.FEW + 4])
def test_engines_that_can_leave_no_note_any_more_answer_once_one_has_gone_without_a_word(
    simulation: Simulation, count: int
) -> None:
    world = simulation.world
    world.is_here = True
    engines = [world.join() for _ in range(count)]
    assert simulation.run(range(60)) == squares(60)
    world.is_here = False  # their memory is full
    kill_at_once(world, engines, 0)
    simulation.run(range(60))
    (failure,) = simulation.outcomes.failures
    assert "The engine that ran element 0 (0) died twice" in failure.message
    assert len(world.engines) == count - 3


def test_engines_that_an_element_has_killed_are_not_taken_for_ended_before(simulation: Simulation) -> None:
    world = simulation.world
    world.is_here = True
    engines = [world.join() for _ in range(2)]
    assert simulation.run(range(60)) == squares(60)
    kill_at_once(world, engines, 0, after=0.08)
    started = []
    simulation.start = started.append
    simulation.run(range(1))
    (failure,) = simulation.outcomes.failures
    assert "The engine that ran element 0 (0) died twice" in failure.message
    assert not started


def test_an_engine_that_ended_while_it_got_ready_for_an_earlier_map_blames_nothing(simulation: Simulation) -> None:
    world = simulation.world
    before = [world.join() for _ in range(2)]
    before[1].prepares_for = 30.0
    assert simulation.run(range(100)) == squares(100)
    for each in before:
        world.kill(each)
    simulation.start = lambda _: world.join()
    simulation.outcomes.values.clear()
    assert simulation.run(range(100)) == squares(100)


def test_a_map_without_engines_fails_as_starting_some_does(simulation: Simulation) -> None:
    simulation.world.kill(simulation.world.join())

    def start(called_off: Callable[[], bool]) -> None:
        raise MapError("None are to be started.")

    simulation.start = start
    with pytest.raises(MapError, match=r"None are to be started\."):
        simulation.run(range(10))


def test_an_element_that_kills_two_engines_is_to_blame(simulation: Simulation) -> None:
    for _ in range(4):
        simulation.world.join()
    simulation.world.killers.add(17)
    values = simulation.run(range(60))
    (failure,) = simulation.outcomes.failures
    assert failure.index == 17
    assert "The engine that ran element 17 (17) died twice" in failure.message
    assert set(values) >= set(range(17))


def test_an_innocent_whose_engine_died_together_with_a_neighbour_is_not_to_blame(simulation: Simulation) -> None:
    """Element 3 takes the memory of its neighbour, too, as long as that runs at the same time."""
    world = simulation.world
    for _ in range(6):
        world.join()
    world.costs.update(dict.fromkeys(range(200), 0.2))
    kill = world.kill

    def together(engine):  # type: ignore[no-untyped-def]
        for other in list(world.engines.values()):
            if other is not engine and other.alive and other.ran and other.ran[-1] == 2 and other.running is not None:
                kill(other)
        kill(engine)

    world.kill = together  # type: ignore[method-assign]
    world.killers.add(3)
    simulation.run(range(200))
    (failure,) = simulation.outcomes.failures
    assert failure.index == 3


def test_what_waits_behind_an_element_that_lasts_is_taken_back(simulation: Simulation) -> None:
    world = simulation.world
    world.join(), world.join()
    world.costs.update({**dict.fromkeys(range(40), 1.0), 30: 600.0, 31: 500.0, 32: 400.0})
    before = world.now
    assert simulation.run(range(40)) == squares(40)
    assert world.now < before + 950  # one engine has the first, the other one those behind it
    assert sorted(index for engine in world.engines.values() for index in engine.ran) == list(range(40))


def test_when_whoever_takes_the_last_reports_raises_engines_are_told_to_break_off(simulation: Simulation) -> None:
    world = simulation.world
    world.join(), world.join()
    world.costs.update({0: 0.1, 1: 100.0})
    world.failing.add(0)
    take = simulation.outcomes.take

    def taking(report):  # type: ignore[no-untyped-def]
        take(report)
        if report.outcome.failure is None:
            raise ZeroDivisionError

    simulation.outcomes.take = taking  # type: ignore[method-assign]
    world.costs[1] = 0.4  # comes in while what runs is broken off
    world.join()
    world.costs[2] = 100.0
    with pytest.raises(ZeroDivisionError):
        simulation.run(range(3))
    assert simulation.threads  # goes on to interrupt what still runs
    assert any(engine.aborted for engine in world.engines.values())


def test_what_a_round_costs_does_not_grow_with_the_number_of_engines(simulation: Simulation) -> None:
    world = simulation.world
    for _ in range(300):
        world.join()
    world.costs.update(dict.fromkeys(range(600), 2.0))
    looks, rounds = 0, 0
    run = simulation.scheduler(range(600))
    look = run._watch._check_each

    def counting(now: float) -> None:
        nonlocal looks
        looks += 1
        look(now)

    run._watch._check_each = counting  # type: ignore[method-assign]
    began = world.now
    for _ in run.rounds():
        rounds += 1
    assert rounds > 300  # at least one per two answers
    assert looks <= 10 * (world.now - began) + 1
    assert simulation.outcomes.values == squares(600)
