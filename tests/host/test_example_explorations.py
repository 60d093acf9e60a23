"""The parameter explorations of VisTrails' own examples in its real window: on the cluster they fill the cells as Execute does.

`make test` runs a small one; `make examples-check` all of them. The data that they load from the internet are stand-ins.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dead_internet
import numpy as np
import pytest
from matplotlib import image
from screen import screen
from window_runs import run_each

# In one process of pytest, with what else unpacks the examples.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("example_vistrails")]

SCRIPT = Path(__file__).with_name("run_explorations.py")
PACKAGES = ("spreadsheet", "tabledata", "controlflow", "URL", "vtk", "ipyparallel_flow")
FILE = "usersguide/parameter_exploration.vt"

# By number, how many cells there are; the first two were made with another VisTrails, whose modules have other numbers now, so
# that its window has nothing to explore in them.
CELLS = {1: 1, 2: 1, 3: 16, 4: 7, 8: 16, 12: 2, 16: 4, 20: 7}
EVERY = os.environ.get("EXAMPLES") == "all"
NUMBERS = list(CELLS) if EVERY else [12]

# With maps of the web.
MAPS_FILE = "mta-yankees.vt"
MAPS = {1: 2, 2: 4} if EVERY else {}


@pytest.fixture(scope="module")
def seen(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What there was to see of the explorations, by file and number, and way."""
    folder = tmp_path_factory.mktemp("explorations")
    with screen() as display, dead_internet.proxy() as proxy:
        variables = {"DISPLAY": display, "http_proxy": proxy, "https_proxy": proxy}
        every = [*((FILE, each) for each in NUMBERS), *((MAPS_FILE, each) for each in MAPS)]
        packages = (*PACKAGES, "matplotlib", "gmaps") if MAPS else PACKAGES
        return run_each(every, examples, folder, SCRIPT, packages, variables)


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("number", NUMBERS)
def test_cells_are_what_vistrails_own_execute_makes_them(seen: Any, number: int) -> None:
    found = seen[FILE, number]
    assert not isinstance(found, str), found
    own, ours = found["own"], found["ours"]
    assert ours["sheets"] == own["sheets"]
    assert [Path(cell).name for cell in ours["cells"]] == [Path(cell).name for cell in own["cells"]] != []
    for mine, its in zip(ours["cells"] + ours["near"], own["cells"] + own["near"], strict=True):
        assert np.array_equal(image.imread(mine), image.imread(its)), f"{mine} differs"
    for mine in ours["near"]:
        assert len(np.unique(image.imread(mine))) > 100, f"{mine} is nearly blank"
    assert [_without_where(cell) for cell in ours["log"]] == [_without_where(cell) for cell in own["log"]]
    assert len(ours["log"]) == CELLS[number]
    if CELLS[number] > 1:
        assert all(cell["modules"]["vtkContourFilter"][1] for cell in ours["log"])
        assert not [text for text in ours["said"] if "Parameter exploration" in text]


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("number", MAPS)
def test_one_that_vistrails_has_upgraded_has_all_its_cells(seen: Any, number: int) -> None:
    found = seen[MAPS_FILE, number]
    assert not isinstance(found, str), found
    ours = found["ours"]
    assert ours["sheets"] == [["mta-yankees.vt 0", [1, MAPS[number]]]]
    assert len(ours["cells"]) == MAPS[number]
    for cell in ours["cells"]:
        red, _, blue = np.moveaxis(image.imread(cell)[..., :3], 2, 0)
        assert (red > blue + 0.1).mean() > 0.01, f"{cell} shows no heat"
    assert [cell["completed"] for cell in ours["log"]] == [1] * MAPS[number]
    assert all(cell["modules"][name] == [1, True] for cell in ours["log"] for name in ("DownloadFile", "JoinTables"))
    assert not [text for text in ours["said"] if "Parameter exploration" in text]


def _without_where(cell: dict[str, Any]) -> Any:
    return cell["completed"], {name: completed for name, (completed, _) in cell["modules"].items()}
