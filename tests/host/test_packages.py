"""VisTrails' bundled packages with today's libraries, in the real window on a screen of its own, and without a window."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from screen import screen
from window_runs import results_of

# In one process of pytest: what is shared here takes long.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packages")]

SCRIPT = Path(__file__).with_name("package_checks.py")
CHECKS = re.findall(r"^def check_(\w+)", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str | None]]:
    """What each check raised, in one window."""
    folder = tmp_path_factory.mktemp("packages")
    with screen() as display:
        variables = {"QT_QPA_PLATFORM": "xcb", "DISPLAY": display}
        yield results_of(folder, str(SCRIPT), str(folder / "settings"), str(folder / "results"), **variables)


@pytest.mark.parametrize("check", CHECKS)
def test_in_vistrails_window(outcome: dict[str, str | None], check: str) -> None:
    assert outcome[check] is None, outcome[check]


WITHOUT_A_WINDOW = """
import json, os
import vistrails.core.application
options = {"batch": True, "installBundles": False, "errorLog": False, "loadPackages": False}
vistrails.core.application.init({**options, "dotVistrails": "settings"}, args=[])
from vistrails.core.packagemanager import get_package_manager
manager, said = get_package_manager(), {}
for codepath in ("tabledata", "matplotlib", "vtk", "persistence", "sql", "pythonCalc", "pythonCalcQt", "pipelineEdit"):
    try:
        manager.late_enable_package(codepath)
        said[codepath] = ""
    except Exception as error:
        said[codepath] = str(error)
import matplotlib
said["backend"] = matplotlib.get_backend()
open("results", "w").write(json.dumps(said))
os._exit(0)
"""


def test_without_a_window_packages_are_enabled_or_say_that_they_need_one(tmp_path: Path) -> None:
    said = results_of(tmp_path, "-c", WITHOUT_A_WINDOW, DISPLAY="")
    for codepath in ("pythonCalcQt", "pipelineEdit"):
        assert said.pop(codepath) == "it needs VisTrails' window, which is missing here"
    assert said.pop("backend").lower() == "agg"
    assert set(said.values()) == {""}, said
