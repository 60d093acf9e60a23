"""Client and hub forget what is done with, and a hub that does not answer keeps nobody waiting."""

from __future__ import annotations

import time
from typing import Any

import pytest
from helpers import until
from ipyparallel.client.futures import MessageFuture

from parallelflow import api
from parallelflow.cluster import Session, profile
from parallelflow.cluster import session as session_module
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


def asked(client: Client) -> list[list[str]]:
    return [each["msg_ids"] for each in client.asked]


def test_what_a_hub_refuses_is_told_once_more_with_the_next() -> None:
    # It refuses all of a request while it has not heard of the end of one.
    client = Client("error", "error", "ok", "ok")
    for name in ("one", "two", "three", "four"):
        messages = Forgetting(client)
        messages.add(name)
        messages.forget(hub=True)
    assert client.purged == ["one", "two", "three", "four"]
    assert asked(client) == [["one"], ["one", "two"], ["two", "three"], ["four"]]


def test_nobody_waits_for_a_hub_that_does_not_answer() -> None:
    client = Client()
    messages = Forgetting(client)
    for name in ("one", "two"):
        messages.add(name)
        messages.forget(hub=True)
    assert asked(client) == [["one"], ["two"]]


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


def test_a_controller_that_keeps_a_record_of_tasks_has_little_in_it_afterwards(
    own_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = profile.create("default")
    (folder / "ipcontroller_config.py").write_text('c = get_config()\nc.IPController.db_class = "DictDB"\n')
    monkeypatch.setattr(session_module, "_session", own_session)
    monkeypatch.setattr(forgetting, "EVERY", 4)
    monkeypatch.setattr("parallelflow.map.chunks.TARGET_DURATION", 0.005)
    client = own_session.client()
    client[:].apply_sync(time.sleep, 0)
    until(lambda: len(client.db_query({}, keys=["msg_id"])) == 2)  # it hears of them after the client

    def keeps_little() -> bool:
        """What a busy hub has not heard of yet, it cannot forget."""
        api.parallel_map(time.sleep, 100 * [0.01])
        return len(client.db_query({}, keys=["msg_id"])) < 20

    until(keeps_little)
