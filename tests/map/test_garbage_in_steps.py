"""Garbage is collected in steps while a Map runs, and by Python as ever afterwards."""

from __future__ import annotations

import gc
import weakref

import pytest

from parallelflow.map import garbage


class Knot:
    """Refers to itself, so that only the garbage collection ends it."""

    def __init__(self) -> None:
        self.self = self


def knots(count: int) -> list[weakref.ref[Knot]]:
    return [weakref.ref(Knot()) for _ in range(count)]


def test_nothing_is_collected_between_steps() -> None:
    now = 0.0
    with garbage.in_steps(lambda: now) as step:
        seen = knots(garbage.PIECE // 10)
        step()
        assert all(knot() is not None for knot in seen)
        now += garbage.EVERY
        step()
        assert not any(knot() is not None for knot in seen)


def test_many_objects_do_not_wait_for_the_time() -> None:
    with garbage.in_steps(lambda: 0.0) as step:
        seen = knots(1)
        kept = [[] for _ in range(2 * garbage.PIECE)]
        step()
        assert seen[0]() is None
    assert kept


def test_what_has_been_gone_through_is_left_out_so_that_collections_stay_short() -> None:
    with garbage.in_steps(lambda: 0.0) as step:
        assert len(gc.get_objects()) < 1000  # what was there before
        kept = []
        for _ in range(10):
            kept += [[] for _ in range(garbage.PIECE // 2)]
            step()
            assert len(gc.get_objects()) < 1.1 * garbage.PIECE
    assert len(gc.get_objects()) > len(kept)


def test_a_step_afterwards_does_nothing() -> None:
    with garbage.in_steps(lambda: 0.0) as step:
        pass
    kept = [[] for _ in range(2 * garbage.PIECE)]
    step()
    assert gc.get_freeze_count() == 0
    assert kept


def test_garbage_from_before_the_map_is_collected_after_it() -> None:
    gc.collect()
    gc.disable()
    before = Knot()
    seen = weakref.ref(before)
    gc.enable()
    with garbage.in_steps() as step:
        del before
        step()
        gc.collect()
        assert seen() is not None
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("enabled", [True, False])
def test_afterwards_it_is_as_before(enabled: bool) -> None:
    if not enabled:
        gc.disable()
    try:
        with pytest.raises(ValueError, match="of the Map"), garbage.in_steps():
            raise ValueError("of the Map")
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
