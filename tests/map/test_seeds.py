"""The states that random number generators have when an element begins, without VisTrails and engines."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy
import numpy.random
import pytest

from parallelflow.map import seeds
from parallelflow.map.seeds import Generators, Seeds


@pytest.fixture(autouse=True)
def _own_generators() -> Iterator[None]:
    plain, own = random.getstate(), numpy.random.get_state()
    yield
    random.setstate(plain)
    numpy.random.set_bit_generator(numpy.random.MT19937())
    numpy.random.set_state(own)


def _numbers(generators: Generators, index: int) -> tuple[Any, ...]:
    generators.begin(index)
    return random.random(), random.gauss(0, 1), numpy.random.rand(), numpy.random.randn(), numpy.random.randint(2**60)


def test_an_elements_numbers_depend_on_its_index_alone() -> None:
    generators = Generators(Seeds(1, 2))
    there = {index: _numbers(generators, index) for index in range(70)}
    back = {index: _numbers(Generators(Seeds(1, 2)), index) for index in reversed(range(70))}
    assert there == back
    for place in zip(*there.values(), strict=True):
        assert len(set(place)) == 70
    assert not {number for numbers in there.values() for number in numbers[:2]}.intersection(
        number for numbers in there.values() for number in numbers[2:]
    )


def test_the_ways_without_known_memory_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = [_numbers(Generators(Seeds(1, 2)), index) for index in (0, 31, 32, 10**12)]
    monkeypatch.setattr(seeds, "_memory_of_plain", lambda: None)
    monkeypatch.setattr(seeds, "_memory_of_numpy", lambda generator: None)
    assert [_numbers(Generators(Seeds(1, 2)), index) for index in (0, 31, 32, 10**12)] == usual


def test_each_generator_follows_from_its_own_seed() -> None:
    first = _numbers(Generators(Seeds(1, 2)), 3)
    other_plain, other_numpy = _numbers(Generators(Seeds(5, 2)), 3), _numbers(Generators(Seeds(1, 5)), 3)
    assert other_plain[2:] == first[2:] != other_numpy[2:]
    assert other_numpy[:2] == first[:2] != other_plain[:2]


def _takes_one_normal() -> None:
    numpy.random.randn()
    random.gauss(0, 1)


def _seeds_itself() -> None:
    random.seed(1)
    numpy.random.seed(1)


def _takes_as_many_as_a_state_has() -> None:
    numpy.random.randn()
    numpy.random.randint(0, 2**32, 624 * 5, dtype=numpy.uint32)


def _brings_another_generator() -> None:
    numpy.random.set_bit_generator(numpy.random.PCG64(5))


@pytest.mark.parametrize(
    "before", [_takes_one_normal, _seeds_itself, _takes_as_many_as_a_state_has, _brings_another_generator]
)
def test_what_an_element_does_to_the_generators_is_without_effect_on_the_next(before: Any) -> None:
    generators = Generators(Seeds(1, 2))
    generators.begin(4)
    numbers = numpy.random.randn(3).tolist(), random.gauss(0, 1), random.random()
    generators.begin(3)
    before()
    generators.begin(4)
    assert (numpy.random.randn(3).tolist(), random.gauss(0, 1), random.random()) == numbers


def test_without_numpy_pythons_own_generator_is_seeded_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "_numpy", lambda: None)
    generators = Generators(Seeds(1, 2))

    def number(index: int) -> float:
        generators.begin(index)
        return random.random()

    numbers = [number(index) for index in (1, 2, 1)]
    assert numbers[0] == numbers[2] != numbers[1]


def test_seeds_follow_from_the_generators_which_go_on_whatever_else_uses_them() -> None:
    def two() -> tuple[Seeds, Seeds, float, float]:
        random.seed(1)
        numpy.random.seed(1)
        with seeds.drawn() as first:
            random.random()
            numpy.random.rand(random.randint(1, 9))
        with seeds.drawn() as second:
            random.seed()
        return first, second, random.random(), numpy.random.rand()

    first, second, *_ = two()
    assert len({first.plain, first.numpy, second.plain, second.numpy}) == 4
    assert two() == two()
