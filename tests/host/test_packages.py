"""VisTrails' bundled packages with today's libraries, in the real window on a screen of its own, and without a window."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from screen import screen

from host import environment

# In one process of pytest: what is shared here takes long.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packages")]

SCRIPT = Path(__file__).with_name("package_checks.py")
CHECKS = re.findall(r"^def check_(\w+)", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str | None]]:
    """What each check raised, in one window."""
    folder = tmp_path_factory.mktemp("packages")
    with screen() as display:
        yield run(folder, [str(SCRIPT), str(folder / "settings"), str(folder / "results")], DISPLAY=display)


def run(folder: Path, arguments: list[str], **variables: str) -> Any:
    """Run Python in a folder of its own, and return what it wrote to the file `results` there."""
    place = {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(environment.ROOT)}
    process = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "QT_QPA_PLATFORM": "xcb", **place, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=800,
        check=False,
    )
    assert (folder / "results").exists(), process.stdout[-5000:]
    return json.loads((folder / "results").read_text())


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
    said = run(tmp_path, ["-c", WITHOUT_A_WINDOW], QT_QPA_PLATFORM="offscreen", DISPLAY="")
    for codepath in ("pythonCalcQt", "pipelineEdit"):
        assert said.pop(codepath) == "it needs VisTrails' window, which is missing here"
    assert said.pop("backend").lower() == "agg"
    assert set(said.values()) == {""}, said
