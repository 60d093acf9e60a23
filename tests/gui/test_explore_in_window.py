"""Parameter explorations in the real window: VisTrails' own Execute, and ours on the cluster."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from play import Seen

pytestmark = pytest.mark.slow


def test_an_exploration_fills_the_same_cells_as_vistrails_own_and_can_be_run_again(play: Callable[..., Seen]) -> None:
    seen = play("explore_both_ways")
    own, first, second = (seen[turn] for turn in ("own", "first", "second"))
    cells = [[str(a), str(b)] for b in (10, 20) for a in (1, 2, 3)]
    shown = {
        f"{row} {column}": f"a is {a}, b is {b}" for row, b in enumerate((10, 20)) for column, a in enumerate((1, 2, 3))
    }
    del shown["1 1"]  # it fails
    said = [run["said"] for run in (own, first, second)]
    assert seen["sheets"] == {f"PE#{number} explored.vt 0": {"size": [2, 3], **shown} for number in range(3)}, said
    for run in (own, first, second):
        assert sorted(cells) == [[a, b] for a, b, _ in run["ran"]]
        assert run["view"] == own["view"]
        assert run["printed"] == [f"cell {a} {b}" for a, b in cells if (a, b) != ("2", "20")]
    assert {pid for *_, pid in own["ran"]} == {seen["pid"]}
    assert seen["pid"] not in {pid for run in (first, second) for *_, pid in run["ran"]}
    for run in (first, second):
        assert [cell["parameters"] for cell in run["log"]] == [
            f"PythonSource.a = {a}, PythonSource.b = {b}" for a, b in cells
        ]
        for cell, its_own in zip(run["log"], own["log"], strict=True):
            assert cell["completed"] == its_own["completed"]
            assert {name: state[:1] for name, state in cell["modules"].items()} == {
                name: state[:1] for name, state in its_own["modules"].items()
            }
            assert {name for name, state in cell["modules"].items() if state[2]} == {"PythonSource"}
        assert "1 of 6 cells of the parameter exploration failed" in run["said"]
        assert "column 2, row 2, sheet 1 (PythonSource.a = 2, PythonSource.b = 20): two and twenty" in run["said"]
    # It depends on the spreadsheet, which is enabled here, and which no engine can load.
    assert "org.vistrails.vistrails.tabledata" in seen["needed by a table"]
    assert "org.vistrails.vistrails.spreadsheet" not in seen["needed by a table"]
    # Nothing of what cells were given is left for it to take.
    assert seen["normal"] == {"errors": [], "ran": [["0", "0", seen["pid"]]]}


def test_without_an_exploration_it_says_so_and_cancel_leaves_the_cells_that_are_there(
    play: Callable[..., Seen],
) -> None:
    seen = play("explore_and_cancel")
    assert "There is no parameter exploration here" in seen.text("Message")
    assert 1 <= seen["cells after cancel"] < 6
    assert seen["ran"] == sorted([str(a), str(b)] for a in (1, 2, 3) for b in (10, 20))
    *_, last = seen["sheets"].values()
    assert len(last) == 1 + 5  # its size, and the cells but for the one that fails


def test_figures_are_made_on_engines_and_shown_in_the_same_cells(play: Callable[..., Seen]) -> None:
    seen = play("explore_figures")
    (name, own), (_, ours) = seen["sheets"].items()
    assert name == "PE#0 figures.vt 0"
    assert ours == own
    points = [[float(x), float(y)] for x, y in enumerate((3, 6, 9))]
    assert own["1 2"] == f"MplFigureCellWidget: {[['x', points]]}"
    assert len(own) == 1 + 6
    for mine, its in zip(seen["ours"], seen["own"], strict=True):
        assert {name: state[:1] for name, state in mine["modules"].items()} == {
            name: state[:1] for name, state in its["modules"].items()
        }
        assert {name for name, state in mine["modules"].items() if state[2]} == {
            *("PythonSource", "MplLinePlot", "MplFigure"),
        }
    assert not [text for text in seen["messages"] if "Parameter exploration" in text]


def test_without_the_spreadsheet_cells_are_computed_all_the_same(play: Callable[..., Seen]) -> None:
    seen = play("explore_without_spreadsheet")
    own, ours = seen["own"], seen["ours"]
    cells = sorted([str(a), str(b)] for b in (10, 20) for a in (1, 2, 3))
    assert [each[:2] for each in ours["ran"]] == [each[:2] for each in own["ran"]] == cells
    assert {pid for *_, pid in own["ran"]} == {seen["pid"]}
    assert seen["pid"] not in {pid for *_, pid in ours["ran"]}
    assert [cell["completed"] for cell in ours["log"]] == [cell["completed"] for cell in own["log"]]
    assert seen["shown of an older one"] == 0
    assert [each[:2] for each in seen["older"]["ran"]] == cells
    for run in (ours, seen["older"]):
        assert "1 of 6 cells of the parameter exploration failed" in run["said"]
