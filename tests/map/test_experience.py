"""What a run of a plan has shown is known to the next one on the same engines, and to no other."""

from __future__ import annotations

from parallelflow.map import experience
from parallelflow.map.experience import Experience


class Client:
    def __init__(self, *ids: int):
        self.ids = list(ids)


SEEN = Experience(0.5, 0.1, 100.0, frozenset({0, 1}))


def test_it_is_known_while_all_engines_are_known() -> None:
    client = Client(0, 1)
    experience.remember(client, "plan", SEEN)
    assert experience.recall(client, "plan") == SEEN
    assert experience.recall(client, "other plan") is None
    assert experience.recall(Client(0, 1), "plan") is None
    client.ids = [1]
    assert experience.recall(client, "plan") == SEEN
    for others in ([0, 1, 2], [2], []):
        client.ids = others
        assert experience.recall(client, "plan") is None


def test_the_last_run_counts() -> None:
    client = Client(0)
    experience.remember(client, "plan", SEEN)
    later = Experience(2.0, 0.1, 0.0, frozenset({0}))
    experience.remember(client, "plan", later)
    assert experience.recall(client, "plan") == later
    experience.remember(client, "plan", None)
    assert experience.recall(client, "plan") is None


def test_the_plans_used_last_are_kept() -> None:
    client = Client(0)
    for number in range(experience.MOST + 1):
        experience.remember(client, str(number), SEEN)
        experience.remember(client, "used each time", SEEN)
    assert experience.recall(client, "used each time") == SEEN
    assert experience.recall(client, "0") is None
    assert experience.recall(client, "1") is None
    assert experience.recall(client, str(experience.MOST)) == SEEN
