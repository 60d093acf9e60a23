"""Jobs that are waited for, and parameter explorations, without a window: VisTrails' own package and vistrail of jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from host import vistrails_window

pytestmark = pytest.mark.slow

START = """
import json, os, sys
import vistrails.core.application
options = {"batch": True, "installBundles": False, "errorLog": False, "loadPackages": False}
options |= {"dotVistrails": "settings", "jobAutorun": True}  # without that, it waits for jobs
vistrails.core.application.init(options, args=[])
from vistrails.core import console_mode
from vistrails.core.db.locator import FileLocator
from vistrails.core.packagemanager import get_package_manager
manager = get_package_manager()
manager.late_enable_package("controlflow")
manager.late_enable_package("myjob", {"myjob": "vistrails.tests.resources."})
def tell(what):
    with open("results", "w") as file:
        file.write(json.dumps(what))
    os._exit(0)
"""

# Opens a vistrail, runs a version and saves it, as `vistrails --batch` does.
RUN = """
(result,) = console_mode.run_and_get_results([(FileLocator(sys.argv[1]), sys.argv[2])])
tell({"errors": [str(error) for error in result.errors.values()], "suspended": len(result.suspended)})
"""

# Opens a vistrail, and tells what its job monitor knows.
LOOK = """
from vistrails.core.db.io import load_vistrail
from vistrails.core.vistrail.controller import VistrailController
locator = FileLocator(sys.argv[1])
controller = VistrailController(load_vistrail(locator)[0], locator, auto_save=False)
tell([[job.finished for job in workflow.jobs.values()] for workflow in controller.jobMonitor.workflows.values()])
"""


def python(folder: Path, code: str, *arguments: str) -> Any:
    """Run code in a VisTrails of its own, and return what it tells."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", START + code, *arguments],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert (folder / "results").exists(), process.stdout[-5000:]
    told = json.loads((folder / "results").read_text())
    (folder / "results").unlink()
    return told


@pytest.fixture
def jobs(tmp_path: Path) -> str:
    """VisTrails' own vistrail of jobs, to be changed."""
    import vistrails

    source = Path(str(vistrails.__file__)).parent / "tests" / "resources" / "jobs.vt"
    copy = tmp_path / "jobs.vt"
    copy.write_bytes(source.read_bytes())
    return str(copy)


@pytest.mark.parametrize("tag", ["SuspendOnce", "SuspendMap", "SuspendGroup", "SuspendLoop"])
def test_a_suspended_workflow_is_saved_closed_opened_and_goes_on(jobs: str, tmp_path: Path, tag: str) -> None:
    first = python(tmp_path, RUN, jobs, tag)
    assert first["errors"] == []
    assert first["suspended"]
    ((*finished,),) = python(tmp_path, LOOK, jobs)
    assert finished
    assert not all(finished)
    # A job of this package is done after it has been looked at so many times.
    second = python(tmp_path, RUN, jobs, tag)
    assert second == {"errors": [], "suspended": 0}
    assert all(all(workflow) for workflow in python(tmp_path, LOOK, jobs))


# An exploration of three columns and two rows, in which the second column of the second row fails.
MAKE = """
sys.path.insert(0, {examples!r})
from building import Vistrail
from vistrails.core.paramexplore.function import PEFunction
from vistrails.core.paramexplore.param import PEParam
from vistrails.core.paramexplore.paramexplore import ParameterExploration
vistrail = Vistrail()
code = '''
with open({ran!r}, "a") as file:
    file.write(f"{{column}} {{row}}\\\\n")
if (column, row) == (1, 7):
    fail("seven is too much")
'''
source = vistrail.add_source((0, 0), "cell", code, {{"column": "Integer", "row": "Integer"}}, {{}}, column=0, row=0)
vistrail.tag("all", "x")
exploration = ParameterExploration(dims="[3, 2, 1, 1]", layout="{{}}", name="six cells", action_id=vistrail.version)
for number, (port, values) in enumerate((("column", "['0', '1', '2']"), ("row", "['5', '7']"))):
    parameter = PEParam(id=number, pos=0, interpolator="List", value=values, dimension=number)
    function = PEFunction(id=number, module_id=source, port_name=port, is_alias=0, parameters=[parameter])
    exploration.db_add_function(function)
vistrail._controller.vistrail.add_paramexp(exploration)
import pathlib
vistrail.save(pathlib.Path(sys.argv[1]))
tell("made")
"""

EXPLORE = """
tell([list(map(str, error)) for error in console_mode.run_parameter_explorations([(FileLocator(sys.argv[1]), "six cells")])])
"""

CELLS = [f"{column} {row}" for row in (5, 7) for column in range(3)]
SENTENCE = "1 cell failed; the first is column 2, row 2, sheet 1: "


@pytest.fixture
def exploration(tmp_path: Path) -> Path:
    """A vistrail with a parameter exploration."""
    examples = Path(__file__).resolve().parents[2] / "examples"
    python(tmp_path, MAKE.format(examples=str(examples), ran=str(tmp_path / "ran")), str(tmp_path / "explored.vt"))
    return tmp_path / "explored.vt"


def test_an_exploration_runs_without_qt_and_says_which_cell_failed(exploration: Path, tmp_path: Path) -> None:
    ((_, name, sentence, details),) = python(tmp_path, EXPLORE, str(exploration))
    assert (tmp_path / "ran").read_text().splitlines() == CELLS
    assert name == "six cells"
    assert sentence.startswith(SENTENCE)
    assert "seven is too much" in sentence
    assert details.startswith("column 2, row 2, sheet 1: ")


def test_an_exploration_runs_in_batch_mode_and_says_which_cell_failed(exploration: Path, tmp_path: Path) -> None:
    vistrails_window.prepare(tmp_path / ".vistrails")
    said = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "vistrails.run", "--batch"),
            *("--parameter-exploration", f"{exploration}:six cells"),
        ],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    ).stdout
    assert (tmp_path / "ran").exists(), said
    assert (tmp_path / "ran").read_text().splitlines() == CELLS
    assert SENTENCE in said
    assert "seven is too much" in said
