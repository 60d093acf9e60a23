"""Client and hub forget what is done with, and a hub that does not answer keeps nobody waiting."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from helpers import until
from ipyparallel.client.futures import MessageFuture

from parallelflow.map import forgetting
from parallelflow.map.forgetting import Forgetting


class Client:
    """Stands for a client whose hub answers what it is told to, or never."""

    _query_stream = None

    def __init__(self, *answers: str):
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.purged: list[str] = []

    def purge_local_results(self, names: list[str]) -> None:
        self.purged += names

    def _send(self, stream: object, kind: str, content: dict[str, Any], ident: None) -> MessageFuture:
        assert kind == "purge_request"
        self.asked.append(content)
        answer = MessageFuture("its name")
        if self.answers:
            answer.set_result({"content": {"status": self.answers.pop(0)}})
        return answer


def until_nobody_waits() -> None:
    until(lambda: all(thread.name != "parallelflow-purge" for thread in threading.enumerate()))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    until_nobody_waits()
    monkeypatch.setattr(forgetting, "_AGAIN", 0.01)
    monkeypatch.setattr(forgetting, "_ANSWER_TIMEOUT", 0.1)


def test_a_hub_that_has_not_heard_of_the_end_yet_is_asked_again() -> None:
    client = Client("error", "error", "ok")
    messages = Forgetting(client)
    messages.add("one")
    messages.add("two")
    messages.forget(hub=True)
    until_nobody_waits()
    assert client.purged == ["one", "two"]
    assert client.asked == 3 * [{"msg_ids": ["one", "two"], "engine_ids": []}]


def test_nobody_waits_for_a_hub_that_does_not_answer() -> None:
    client = Client()
    messages = Forgetting(client)
    messages.add("one")
    messages.forget(hub=True)
    until_nobody_waits()
    assert len(client.asked) == 1


def test_a_hub_that_has_gone_is_not_asked() -> None:
    client = Client()
    messages = Forgetting(client)
    messages.add("one")
    messages.forget(hub=False)
    assert (client.purged, client.asked) == (["one"], [])


def test_it_is_due_when_enough_has_come_together() -> None:
    messages = Forgetting(Client("ok"))
    for number in range(forgetting.EVERY):
        assert not messages.is_due
        messages.add(str(number))
    assert messages.is_due
    messages.forget(hub=True)
    assert not messages.is_due
