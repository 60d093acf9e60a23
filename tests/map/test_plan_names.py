"""Which names plans have for engines: the same one only for the same content, and no memory is kept for what no engine has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import until
from test_shared_memory import MEGABYTE, files, run_map
from test_shared_memory import root as root

from parallelflow.cluster.session import get_session
from parallelflow.map import crew, plan_names, shared_memory, sharing, values
from parallelflow.map.plan_names import Copies

LARGE = 4 * shared_memory.SMALLEST


class Client:
    """What is asked of ipyparallel's client here."""

    def __init__(self, *engines: str):
        self._engines = dict(enumerate(engines))
        self._closed = False


@pytest.fixture(autouse=True)
def compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans need not be large to be compared."""
    monkeypatch.setattr(plan_names, "SMALLEST", LARGE)
    monkeypatch.setattr(plan_names, "LOOK_EVERY", 0.01)


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client("a", "b")
    yield made
    made._closed = True
    until(lambda: not plan_names.of(made)._copies, 30)


def name_of(client: Any, *content: Any, taken_by: str = "a") -> str:
    """The name of a plan, which an engine has then been sent; 'digest' if that is what it is known by."""
    copies = plan_names.of(client)
    with copies.named(values.pack(content), lambda: "digest") as name:
        copies.parts(name, taken_by)
        return name


def plan(first: int = 0, last: int = 0) -> Any:
    content = np.arange(LARGE, dtype="u1")
    content[0], content[-1] = first, last
    return content


def test_a_large_plan_has_the_same_name_for_the_same_content_only(client: Client) -> None:
    name = name_of(client, plan(), "text", plan(1))
    assert name_of(client, plan(), "text", plan(1)) == name
    others = [
        name_of(client, plan(1), "text", plan(1)),
        name_of(client, plan(), "text", plan(1, 1)),
        name_of(client, plan(last=1), "text", plan(1)),
        name_of(client, plan(), "texts", plan(1)),
        name_of(client, plan()[:-1], "text", plan(1)),
        name_of(client, plan(), "text", plan(1), plan()),
        name_of(client, plan(1), "text", plan()),
    ]
    assert len({name, *others}) == 8
    assert name_of(client, plan(), "text", plan(1)) == name
    assert name_of(client, plan()[: LARGE // 2]) == "digest"


@pytest.mark.parametrize("size", [LARGE, LARGE + 1, shared_memory._COMPARED - 1, 3 * shared_memory._COMPARED + 5])
def test_every_byte_is_compared(client: Client, size: int) -> None:
    content = np.zeros(size, dtype="u1")
    copies = plan_names.of(client)
    with copies.named([b"head", content], lambda: "digest") as name:
        reference = (copies.parts(name, "a") or [])[1]
        for place in (0, 1, size // 2, size - 2, size - 1, shared_memory._COMPARED - 1, shared_memory._COMPARED):
            if place < size:
                content[place] = 1
                assert not reference.open().holds(content)
                content[place] = 0
        assert reference.open().holds(content)
        assert not reference.open().holds(content[:-1])


def test_where_nothing_is_shared_the_digest_is_the_name(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sharing._apart, client, {"a", "b"})
    assert name_of(client, plan()) == "digest"
    monkeypatch.setitem(sharing._apart, client, {"a"})
    assert name_of(client, plan()) != "digest"
    monkeypatch.setattr(shared_memory.Room, "_free", lambda self: 0.0)
    assert name_of(client, plan(1)) == "digest"
    monkeypatch.setattr(shared_memory, "new_room", lambda: None)
    assert name_of(client, plan(1)) == "digest"


def test_a_copy_lasts_as_long_as_an_engine_that_was_sent_it(client: Client, root: Path) -> None:
    name = name_of(client, plan(), taken_by="b")
    assert len(files(root)) == 1
    del client._engines[0]
    assert name_of(client, plan(), taken_by="b") == name
    del client._engines[1]
    until(lambda: files(root) == [], 30)
    client._engines[2] = "c"
    assert name_of(client, plan(), taken_by="c") != name


def test_a_copy_that_no_engine_was_sent_goes_with_the_run(client: Client, root: Path) -> None:
    with plan_names.of(client).named(values.pack((plan(),)), lambda: "digest") as name:
        assert name != "digest"
        assert len(files(root)) == 1
    assert files(root) == []


def test_what_is_used_is_not_removed_by_other_runs(client: Client, root: Path) -> None:
    copies = plan_names.of(client)
    with copies.named(values.pack((plan(),)), lambda: "digest") as name:
        name_of(client, plan(1), taken_by="")
        copies._drop()
        assert len(files(root)) == 1
        assert name_of(client, plan()) == name


def test_no_more_is_kept_than_engines_keep(client: Client, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_names, "MOST_BYTES", 2.5 * LARGE)
    names = [name_of(client, plan(each)) for each in (1, 2)]
    assert name_of(client, plan(1)) == names[0]
    name_of(client, plan(3))  # makes room: what was used longest ago goes
    assert len(files(root)) == 2
    assert name_of(client, plan(1)) == names[0]
    assert name_of(client, plan(2)) != names[1]
    monkeypatch.setattr(plan_names, "MOST_BYTES", 0)
    name = name_of(client, plan(4))
    assert len(files(root)) == 1
    assert name_of(client, plan(4)) == name


def test_a_copy_that_somebody_has_removed_is_made_anew(client: Client, root: Path) -> None:
    name = name_of(client, plan())
    for each in files(root):
        each.unlink()
    again = name_of(client, plan())
    assert again not in (name, "digest")
    assert name_of(client, plan()) == again


def test_comparing_and_copying_can_be_broken_off(client: Client, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "PIECE", shared_memory._COMPARED)
    monkeypatch.setattr("parallelflow.map.in_pieces.EVERY", 0.0)
    content = np.zeros(4 * shared_memory._COMPARED, dtype="u1")

    def break_off() -> None:
        raise KeyboardInterrupt

    def named(copies: Copies) -> None:
        with copies.named(values.pack((content,)), lambda: "digest", break_off):
            pytest.fail("it was not broken off")

    with pytest.raises(KeyboardInterrupt):
        named(plan_names.of(client))
    assert files(root) == []
    name = name_of(client, content)
    with pytest.raises(KeyboardInterrupt):
        named(plan_names.of(client))
    assert name_of(client, content) == name
    assert [each.used for each in plan_names.of(client)._copies] == [0]


def test_engines_are_sent_a_large_plan_once_and_another_one_when_it_has_changed(
    held: dict[str, Any], parity: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = get_session().client()
    monkeypatch.setitem(sharing._apart, client, set())
    installed: list[Any] = []
    send = crew.Crew.send

    def counting(self: crew.Crew, each: crew.Engine, function: Any, *arguments: Any, **more: Any) -> Any:
        if function.__name__ == "install":
            installed.append(arguments)
        return send(self, each, function, *arguments, **more)

    monkeypatch.setattr(crew.Crew, "send", counting)
    elements = [np.full(10, index, dtype="u1") for index in range(6)]
    constant = np.full(MEGABYTE, 5, dtype="u1")

    def results() -> list[int]:
        found = run_map(held, "o = int(i[0]) + int(c.min()) + int(c[-1])\nc[1] = 9", elements, constant)
        return [each - index for index, each in enumerate(found)]

    assert results() == [10] * 6
    first = len(installed)
    assert 1 <= first <= len(client.ids)
    assert len(files(root)) == 1  # one copy for all
    assert results() == [10] * 6
    assert len(installed) <= len(client.ids)  # one that had not begun before
    constant[-1] = 7  # in place: the same object, in the same memory
    before = len(installed)
    assert results() == [12] * 6
    assert len(installed) > before
    constant[-1] = 5
    assert results() == [10] * 6
    assert constant.min() == constant[1] == 5
    plan_names.of(client)._copies.clear()
