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
