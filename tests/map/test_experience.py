"""What is known of a cluster goes with its client, and of so many plans as engines keep."""

from __future__ import annotations

from parallelflow.map import experience
from parallelflow.map.experience import Cost, Experience


class Client:
    """Stands for a client."""


def test_each_client_has_its_own() -> None:
    one, other = Client(), Client()
    experience.of(one).unfit["engine"] = "it is old"
    assert experience.of(one).unfit == {"engine": "it is old"}
    assert experience.of(other).unfit == {}


def test_the_plans_used_last_are_kept() -> None:
    known = Experience()
    known.plan("used each time").cost = Cost(0.5, 0.1, 100.0)
    known.plan("0").holders.add("engine")
    for number in range(1, experience.MOST):
        known.plan(str(number))
        known.plan("used each time")
    assert known.plan("used each time").cost == Cost(0.5, 0.1, 100.0)
    assert known.plan("0").holders == set()


def test_what_is_known_from_durations_leaves_long_ones_out_of_what_is_usual() -> None:
    assert experience.from_durations([], 0.0, {3: 1.0}) is None
    known = experience.from_durations([0.06] * 8 + [0.07] * 2 + [5.0, 0.25], 1000.0, {3: 0.06, 7: 5.0, 9: 0.25})
    assert known is not None
    assert 0.06 < known.seconds < 0.07
    assert known.nbytes == 1000.0
    assert dict(known.long) == {7: 5.0, 9: 0.25}
    short = experience.from_durations([0.001] * 3, 1.0, {0: 0.05, 1: 0.2})
    assert short is not None
    assert dict(short.long) == {1: 0.2}
