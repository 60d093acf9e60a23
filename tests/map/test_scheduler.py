"""What client and hub keep of a Map's messages, and what is on its way meanwhile. On real engines."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers import until
from ipyparallel import RemoteError
from meeting import together
from vistrails.core.interpreter.noncached import Interpreter
from workflows import OURS, Flow

from parallelflow.cluster import Session
from parallelflow.map import execution, forgetting, scheduler, values
from parallelflow.map.work import Report


@pytest.fixture
def client(vistrails: Any, on_shared_cluster: Session) -> Any:
    return on_shared_cluster.client()


def run(source: str, elements: int) -> Any:
    return execute(source, list(range(elements)))[0]


def execute(source: str, elements: list[Any]) -> tuple[Any, Any]:
    """The errors and, if there are none, the results."""
    flow = Flow()
    function = flow.python(source, {"i": "Variant"}, {"o": "Variant"})
    the_map = flow.map(function, "i", "o", repr(elements))
    done = Interpreter.get().execute(flow.build(OURS))
    return done.errors, None if done.errors else done.objects[the_map].get_output("Result")


def known_to(client: Any) -> set[str]:
    """The messages that the client keeps something of."""
    return set(client.metadata) - {"submitted"}  # which ipyparallel puts there by mistake, once and for all


@pytest.mark.parametrize(
    "source",
    ["time.sleep(0.03)\no = bytes(200_000)", "time.sleep(0.03)\nassert i < 30\no = i"],
    ids=["done", "failed"],
)
def test_nothing_is_kept_of_a_map_that_has_ended(client: Any, source: str) -> None:
    before = known_to(client)  # tests before may have left something that has not ended
    assert bool(run(f"import time\n{source}", 100)) == ("assert" in source)
    until(lambda: not client.results and known_to(client) <= before)
    with pytest.raises(RemoteError, match="doesn't store any data"):  # nor does the hub
        client.db_query({})


def test_messages_are_forgotten_while_the_map_runs(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "EVERY", 4)
    monkeypatch.setattr("parallelflow.map.chunks.TARGET_DURATION", 0.05)
    before = known_to(client)  # tests before may have left something that has not ended
    completed = scheduler.Scheduler._completed
    seen = 0

    def count(self: scheduler.Scheduler, *arguments: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 30:
            most = 4 + scheduler.IN_FLIGHT * len(client.ids)
            assert len(known_to(client) - before) <= most
        completed(self, *arguments)

    monkeypatch.setattr(scheduler.Scheduler, "_completed", count)
    assert run("import time\ntime.sleep(0.02)\no = i", 120) == {}
    assert seen > 30


def test_large_results_do_not_travel_together(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    completed = scheduler.Scheduler._completed

    def weigh(self: scheduler.Scheduler, chunk: scheduler.Chunk, each: Any, answer: Any, broken_off: bool) -> None:
        sizes.append(values.size(answer))
        completed(self, chunk, each, answer, broken_off)

    monkeypatch.setattr(scheduler.Scheduler, "_completed", weigh)
    monkeypatch.setattr("parallelflow.map.chunks.MOST_BYTES", 2_000_000)
    assert run("o = bytes(500_000)", 60) == {}
    assert len(sizes) >= 15
    assert max(sizes) < 2_100_000


def test_the_second_run_of_a_plan_knows_what_elements_cost_and_bears_it_if_that_has_changed(
    client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sent: list[tuple[int, int]] = []
    outcomes: list[Any] = []
    send, take = scheduler.Scheduler._send, execution.Execution.take

    def sending(self: scheduler.Scheduler, each: Any, chunk: scheduler.Chunk) -> None:
        sent.append((chunk.indices[0], len(chunk.indices)))
        send(self, each, chunk)

    def taking(self: execution.Execution, report: Report) -> None:
        outcomes.append(report.outcome)
        take(self, report)

    monkeypatch.setattr(scheduler.Scheduler, "_send", sending)
    monkeypatch.setattr(execution.Execution, "take", taking)
    # The long ones wait for each other, so that each engine has some, however late it begins.
    waits = "\n    ".join(together(tmp_path, "time.sleep(i)").splitlines())
    source = f"import os\nif i:\n    {waits}\no = (i, os.getpid())"
    assert execute(source, [0] * 40)[0] == {}
    assert sent[0][1] == 1

    sent.clear()
    assert execute(source, [0] * 40)[0] == {}
    assert sent[0][1] > 1

    sent.clear()
    outcomes.clear()
    elements = [0.7 + number / 1000 for number in range(12)]
    errors, results = execute(source, elements)
    assert errors == {}
    assert [element for element, _ in results] == elements
    assert len({pid for _, pid in results}) == len(client.ids)
    assert sent[0][1] > 1
    assert any(outcome.gives_back for outcome in outcomes)
    assert sorted(index for outcome in outcomes for index in outcome.values) == list(range(12))  # each ran once
    executed = Counter[int]()
    for outcome in outcomes:
        executed.update(outcome.executed)
    assert max(executed.values()) == 12


def test_nothing_is_known_of_a_plan_that_has_failed(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first: list[int] = []
    send = scheduler.Scheduler._send

    def sending(self: scheduler.Scheduler, each: Any, chunk: scheduler.Chunk) -> None:
        if chunk.indices[0] == 0:
            first.append(len(chunk.indices))
        send(self, each, chunk)

    source = "assert i < 10\no = i  # of its own"
    assert execute(source, [1] * 40)[0] == {}
    assert execute(source, [1] * 39 + [10])[0] != {}
    monkeypatch.setattr(scheduler.Scheduler, "_send", sending)
    assert execute(source, [1] * 40)[0] == {}
    assert first[0] == 1
