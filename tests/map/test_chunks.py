"""How many elements travel together, with a made-up clock: durations are told, none is waited for."""

from __future__ import annotations

import pytest

from parallelflow.map import chunks
from parallelflow.map.chunks import ChunkPolicy


def play(elements: int, cost: float, engines: int = 2, nbytes: int = 100) -> list[int]:
    """Hand out a whole list whose elements cost `cost` seconds each; return the chunks' sizes."""
    policy = ChunkPolicy(elements)
    sizes = []
    while size := policy.next_size(engines):
        sizes.append(size)
        policy.weighed(size, size * nbytes)
        policy.measured(size, size * cost)
    return sizes


@pytest.mark.parametrize("cost", [1e-6, 0.001, 0.01, 0.1, 10.0])
@pytest.mark.parametrize("elements", [1, 2, 17, 1000, 100_000])
def test_every_element_is_handed_out_once(elements: int, cost: float) -> None:
    assert sum(play(elements, cost)) == elements


def test_slow_elements_travel_alone() -> None:
    assert set(play(50, 2.0)) == {1}


def test_fast_elements_travel_in_hundreds() -> None:
    assert max(play(10_000, 0.0001)) == chunks.MOST_ELEMENTS


def test_nothing_is_known_of_the_first_so_it_travels_alone() -> None:
    assert play(10_000, 0.0001)[0] == 1


def test_a_chunk_lasts_no_longer_than_its_target() -> None:
    assert max(play(10_000, 0.01)) * 0.01 <= chunks.TARGET_DURATION


def test_chunks_shrink_towards_the_end_so_that_no_engine_waits_long() -> None:
    policy = ChunkPolicy(2000)
    sizes: list[int] = []
    while size := policy.next_size(4):
        sizes.append(size)
        policy.measured(size, size * (0.007, 0.013)[len(sizes) % 2])
    assert sizes[-1] * 0.013 <= 2 * chunks.SHORTEST_DURATION
    half = sizes[len(sizes) // 2 :]
    assert half[0] > 4 * half[-1]


def test_where_costs_do_not_differ_few_chunks_do() -> None:
    assert len(play(2000, 0.001, engines=2)) <= 10  # at least 4, of at most `MOST_ELEMENTS`


def test_where_costs_differ_more_is_left_for_the_end() -> None:
    def first_chunk(costs: list[float]) -> int:
        policy = ChunkPolicy(100)
        for cost in costs:
            policy.measured(1, cost)
        return policy.next_size(2)

    steady, unsteady = first_chunk([0.01] * 8), first_chunk([0.005, 0.015] * 4)
    assert unsteady < steady


def test_engines_get_equal_shares_in_a_round() -> None:
    policy = ChunkPolicy(1000)
    policy.measured(1, 0.002)
    assert len({policy.next_size(4) for _ in range(4)}) == 1


def test_many_engines_share_a_short_list() -> None:
    sizes = play(200, 0.001, engines=100)
    assert max(sizes) <= 2


def test_large_elements_do_not_pile_up_in_a_chunk() -> None:
    sizes = play(1000, 0.0001, nbytes=10_000_000)
    assert max(sizes) * 10_000_000 <= chunks.MOST_BYTES


def test_the_size_follows_when_elements_become_slower() -> None:
    policy = ChunkPolicy(100_000)
    policy.next_size(2)
    policy.measured(1, 0.0001)
    fast = policy.next_size(2)
    for _ in range(10):
        policy.measured(1, 1.0)
    assert policy.next_size(2) == 1 < fast


def test_a_chunk_that_completed_nothing_says_nothing_about_the_cost() -> None:
    policy = ChunkPolicy(100)
    policy.next_size(2)
    policy.measured(0, 5.0)
    assert policy.next_size(2) == 1


def test_what_is_known_from_an_earlier_run_is_gone_by_until_something_is_measured() -> None:
    policy = ChunkPolicy(1000, cost=0.01, nbytes=100)
    assert policy.cost is None
    assert policy.next_size(2) * 0.01 == pytest.approx(chunks.TARGET_DURATION)
    policy.measured(1, 10.0)
    assert policy.cost == 10.0
    assert policy.next_size(2) == 1


def test_where_costs_did_not_differ_in_an_earlier_run_less_is_left_for_the_end() -> None:
    assert ChunkPolicy(100, 0.01, spread=0.01).next_size(2) > ChunkPolicy(100, 0.01, spread=0.5).next_size(2)


def test_costs_that_are_not_as_expected_count_as_differing() -> None:
    policy = ChunkPolicy(1000, cost=0.01, spread=0.0)
    policy.measured(1, 1.0)
    assert policy.spread > 0.2


def test_the_last_chunk_is_not_split_where_engines_end_at_the_same_time_anyway() -> None:
    sizes = []
    policy = ChunkPolicy(40, cost=0.01, spread=0.01)
    while size := policy.next_size(2):
        sizes.append(size)
    assert sizes == [20, 20]


def test_large_elements_that_are_expected_do_not_travel_together() -> None:
    assert ChunkPolicy(1000, cost=1e-6, nbytes=chunks.MOST_BYTES / 2).next_size(2) == 2


def test_what_is_given_back_is_handed_out_again() -> None:
    policy = ChunkPolicy(100, cost=0.01)
    first = policy.next_size(2)
    policy.measured(1, 0.01)
    policy.given_back(first - 1)
    again = 0
    while size := policy.next_size(2, most=7):
        assert size <= 7
        again += size
    assert again == 99
