"""Parameter explorations and kept results: what engines have computed for a cell need not be computed again."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_explorations import Explorer, _Impatient, explorer
from test_kept_truly import folder
from workflows import Flow

from parallelflow.cluster import Session
from parallelflow.explorations.client import Client
from parallelflow.explorations.exploring import Exploring
from parallelflow.results.store import Store

__all__ = ["explorer", "folder"]  # fixtures

SLOW = "cache_this()\nimport time\ntime.sleep(0.06)\n"


@pytest.fixture
def keep(on_shared_cluster: Session, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the preference."""
    plain = on_shared_cluster._settings

    def setting(mode: str) -> None:
        monkeypatch.setattr(on_shared_cluster, "_settings", lambda: replace(plain(), keep_results=mode))

    return setting


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What explorations say at their end about what is kept."""
    sentences: list[str] = []
    run = Exploring.run

    def run_and_ask(self: Exploring) -> Any:
        try:
            return run(self)
        finally:
            sentences.append(self.what_is_kept())

    monkeypatch.setattr(Exploring, "run", run_and_ask)
    return sentences


def adding(explorer: Explorer, code: str = "", tail: str = "", third: str = "0") -> tuple[Flow, int]:
    """A workflow that adds `a`, `b` and `c` on engines, slowly enough to be kept, and the module that does."""
    flow = Flow()
    adds = flow.python(
        SLOW + explorer.adds() + code,
        {"a": "Integer", "b": "Integer", "c": "Integer"},
        {"o": "Integer"},
        presets={"a": "1", "b": "10", "c": third},
    )
    keeps = flow.parity("Keeps", {"text": tail} if tail else {})
    flow.connect(adds, "o", keeps, "value")
    return flow, adds


def test_an_exploration_in_which_a_cell_failed_goes_on_there_and_keeps_nothing_once_it_has_completed(
    explorer: Explorer, folder: Path, tmp_path: Path, said: list[str]
) -> None:
    (mark := tmp_path / "mark").touch()
    flow, adds = adding(explorer, f"if a == 3 and __import__('os').path.exists({str(mark)!r}): fail('no')")
    explored = {(adds, "a"): [1, 2, 3, 4, 5]}
    first = explorer.ours(explorer.controller(flow), explored)
    assert first.failed == [(2, "PythonSource", "no")]
    assert len(first.ran) == 5
    assert said == ["What engines have computed for 4 of 5 cells is kept; execute again to go on from there."]
    assert [(each.module, each.results) for each in Store(folder, 0).listing()] == [("Parameter exploration", 4)]
    mark.unlink()
    own, second = explorer.both(flow, explored)
    assert second.failed == own.failed == []
    assert second.kept == own.kept == [{"value": a + 10} for a in (1, 2, 3, 4, 5)]
    assert second.ran == ["3 10"]
    executions = [[each for each in log if each[0] == "PythonSource"] for _, log in second.log]
    assert executions == [[("PythonSource", 1, int(a != 3), a == 3)] for a in (1, 2, 3, 4, 5)]
    assert list(folder.iterdir()) == []
    assert len(explorer.ours(explorer.controller(flow), explored).ran) == 5


def test_cells_are_known_by_all_that_decides_them_in_whichever_exploration(
    explorer: Explorer, keep: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep("all")
    flow, adds = adding(explorer)

    def ran(flow: Flow, **explored: list[int]) -> list[str]:
        seen = explorer.ours(explorer.controller(flow), {(adds, port): each for port, each in explored.items()})
        assert seen.failed == []
        assert seen.warned == []
        firsts, seconds = explored.get("a", [1]), explored.get("b", [10])
        assert [each["value"] for each in seen.kept] == [a + b for b in seconds for a in firsts]
        return seen.ran

    assert ran(flow, a=[1, 2, 3]) == ["1 10", "2 10", "3 10"]
    assert ran(flow, a=[2, 4, 3]) == ["4 10"]
    assert ran(flow, b=[20, 10]) == ["1 20"]
    assert ran(flow, a=[1, 2], b=[10, 20]) == ["2 20"]
    assert ran(adding(explorer, tail="another")[0], a=[3, 1]) == []  # in VisTrails, downstream of the engines' part
    with monkeypatch.context() as patched:
        patched.setattr("parallelflow.map.connected.wait_for_engines", lambda *_: pytest.fail("no engine is needed"))
        assert ran(flow, a=[4, 1]) == []
    assert ran(adding(explorer, code="\n")[0], a=[1, 2]) == ["1 10", "2 10"]
    assert ran(adding(explorer, third="1")[0], a=[1, 2]) == ["1 10", "2 10"]
    keep("none")
    assert ran(flow, a=[1, 2]) == ["1 10", "2 10"]


def test_files_of_cells_are_known_by_content(explorer: Explorer, keep: Callable[[str], None], tmp_path: Path) -> None:
    keep("all")
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    flow = Flow()
    file = flow.add("File", {"value": str(one)}, package="org.vistrails.vistrails.basic")
    code = SLOW + f"o = open(f.name).read()\nwith open({str(explorer.tally)!r}, 'a') as t: t.write(o + '\\n')"
    reads = flow.python(code, {"f": "File"}, {"o": "String"})
    keeps = flow.parity("Keeps")
    flow.connect(file, "value", reads, "f")
    flow.connect(reads, "o", keeps, "value")
    explored = {(file, "value"): [one, two]}

    def run() -> tuple[list[Any], list[str]]:
        seen = explorer.ours(explorer.controller(flow), explored)
        return [each["value"] for each in seen.kept], seen.ran

    assert run() == (["1", "2"], ["1", "2"])
    assert run() == (["1", "2"], [])
    two.write_text("3")
    assert run() == (["1", "3"], ["3"])
    assert run() == (["1", "3"], [])


@pytest.mark.parametrize("code", ["o = a + __import__('random').randrange(2)", "o = a\ncache_this = None"])
def test_cells_that_draw_random_numbers_or_are_not_to_be_cached_run_each_time(
    explorer: Explorer, keep: Callable[[str], None], code: str
) -> None:
    keep("all")
    flow = Flow()
    # The first is cached within an exploration: the second cell gets by the cache what the first has drawn.
    text = SLOW.replace("cache_this()", "" if "cache_this" in code else "cache_this()")
    first = flow.python(text + explorer.adds() + code, {"a": "Integer", "b": "Integer"}, {"o": "Integer"})
    flow.specs[first].presets += [("a", "1"), ("b", "2")]
    adds = flow.python(SLOW + "o = a + b", {"a": "Integer", "b": "Integer"}, {"o": "Integer"}, presets={"b": "0"})
    keeps = flow.parity("Keeps")
    flow.connect(first, "o", adds, "a")
    flow.connect(adds, "o", keeps, "value")
    explored = {(first, "b"): [2, 3], (adds, "b"): [4, 5]}
    assert {*explorer.ours(explorer.controller(flow), explored).ran} == {"1 2", "1 3"}
    assert {*explorer.ours(explorer.controller(flow), explored).ran} == {"1 2", "1 3"}


def test_what_was_computed_before_it_was_called_off_is_kept(
    explorer: Explorer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, adds = adding(explorer)
    explored = {(adds, "a"): list(range(12))}
    assert len(explorer.ours(explorer.controller(flow), explored, _Impatient).kept) == 2
    (listed,) = Store(folder, 0).listing()
    assert listed.results >= 2
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(Client, "progress", lambda self, computed, shown, taken=0: told.append((computed, taken)))
    second = explorer.ours(explorer.controller(flow), explored)
    assert second.kept == [{"value": a + 10} for a in range(12)]
    # Each of them; an engine may still have been at one of the first run, which it then had run once more.
    assert len({*second.ran}) == 12 - listed.results
    assert (listed.results, listed.results) in told
    assert all(re.fullmatch(r"\d+ 10", each) for each in second.ran)
