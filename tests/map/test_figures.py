"""Figures of matplotlib that elements open on engines: they come as what they are, and none stays open there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from parity import Stage
from test_explorations import Explorer, explorer
from workflows import Flow

from parallelflow.cluster import Session

__all__ = ["explorer"]  # a fixture

pyplot = pytest.importorskip("matplotlib.pyplot")

# More than pyplot lets be open without a warning.
MANY = 25

OPENS = "import matplotlib.pyplot as p\nf = p.figure()\np.plot([i, 2 * i])\nn = len(p.get_fignums())\n"


@pytest.fixture(autouse=True)
def _none_open() -> Iterator[None]:
    pyplot.close("all")
    yield
    pyplot.close("all")


def _open_there(session: Session) -> list[int]:
    """How many figures are open on each engine."""
    code = "__import__('matplotlib.pyplot').pyplot.get_fignums()"
    return [len(each) for each in session.connection.client[:].apply_sync(eval, code)]  # type: ignore[union-attr]


def _shown(figure: Any) -> tuple[bool, list[float]]:
    """Whether pyplot knows a figure, as a cell of the spreadsheet expects it, and what is drawn in it."""
    known = pyplot.fignum_exists(figure.number) and pyplot.figure(figure.number) is figure
    return known, list(figure.axes[0].lines[0].get_ydata())


def test_a_map_leaves_no_figure_open_on_engines(parity: Any, on_shared_cluster: Session) -> None:
    flow = Flow()
    function = flow.python(f"{OPENS}o = [n, f]", {"i": "Integer"}, {"o": "List"})
    mapped = flow.map(function, "i", "o", repr(list(range(MANY))))
    seen = Stage("ours").run(flow)
    assert not seen.errors
    assert "figures have been opened" not in seen.printed
    results = seen.outputs[mapped]["Result"]
    assert [_shown(figure) for _, figure in results] == [(True, [i, 2 * i]) for i in range(MANY)]
    assert max(number for number, _ in results) < 20
    assert _open_there(on_shared_cluster) == [0, 0]


def test_an_exploration_leaves_open_what_cells_may_still_use(explorer: Explorer, on_shared_cluster: Session) -> None:
    flow = Flow()
    opens = flow.python(f"cache_this()\n{OPENS}", {"i": "Integer"}, {"f": "Variant", "n": "Integer"})
    # What it finds must be open, also where the cell before has opened it, and it has been sent.
    finds = flow.python(
        "import matplotlib.pyplot as p\ng = p.figure(f.number)", {"f": "Variant", "t": "String"}, {"g": "Variant"}
    )
    keeps = flow.parity("Keeps")
    flow.connect(opens, "f", finds, "f")
    flow.connect(finds, "g", keeps, "value")
    flow.connect(opens, "n", keeps, "other")
    explored = {(finds, "t"): ["one", "two"], (opens, "i"): list(range(1, MANY))}
    ours = explorer.ours(explorer.controller(flow), explored)
    assert ours.failed == []
    assert [_shown(each["value"]) for each in ours.kept] == [
        (True, [i, 2 * i]) for i in range(1, MANY) for _ in range(2)
    ]
    assert max(each["other"] for each in ours.kept) < 20
    assert max(_open_there(on_shared_cluster)) <= 1  # the last cell's, which VisTrails' cache has
