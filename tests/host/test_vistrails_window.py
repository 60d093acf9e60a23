"""VisTrails' window, as ``make vistrails`` opens it, with each repair that only a window shows."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from window_runs import results_of

from host import environment, vistrails_window

pytestmark = [pytest.mark.host, pytest.mark.window, pytest.mark.xdist_group("host's window")]

SCRIPT = Path(__file__).with_name("window_checks.py")
CHECKS = re.findall(r"^def check_(\w+)", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What each check raised, in one window."""
    folder = tmp_path_factory.mktemp("window")
    found: dict[str, str | None] = results_of(folder, str(SCRIPT), str(folder / "settings"), str(folder / "results"))
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_in_vistrails_window(outcome: dict[str, str | None], check: str) -> None:
    assert outcome[check] is None, outcome[check]


# Opens the window with what follows as arguments, and tells which vistrails are open in it.
OPEN = """
import json, os, sys
from pathlib import Path
from host import vistrails_window
from vistrails.gui import application as gui

def look():
    from PyQt5 import QtCore
    from PyQt5.QtWidgets import QApplication
    def tell():
        window = gui.get_vistrails_application().builderWindow
        views = [window.stack.widget(number) for number in range(window.stack.count())]
        Path("results").write_text(json.dumps([view.controller.name for view in views]))
        os._exit(0)  # Python's own exit may end in a segmentation fault after a window was open
    QtCore.QTimer.singleShot(0, tell)
    return QApplication.exec_()

gui.VistrailsApplicationSingleton.exec_ = lambda application: look()
vistrails_window.main(sys.argv[1:], Path("settings"))
"""


def test_files_that_are_named_are_opened(tmp_path: Path) -> None:
    said = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "vistrails", "FILES=examples/table.vt examples/sweep.vt"],
        cwd=environment.ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout.splitlines()
    python, _, files = said[-1].partition(" -m host.vistrails_window ")
    assert python.endswith("/bin/python")
    names = files.split()
    assert names == ["examples/table.vt", "examples/sweep.vt"]
    paths = [shutil.copy(environment.ROOT / name, tmp_path) for name in names]
    assert {"table.vt", "sweep.vt"} <= set(results_of(tmp_path, "-c", OPEN, *map(str, paths)))


def test_settings_that_are_there_are_kept(tmp_path: Path) -> None:
    vistrails_window.prepare(tmp_path / "new")
    assert "ipyparallel_flow" in (tmp_path / "new" / "startup.xml").read_text()
    (tmp_path / "startup.xml").write_text("the user's own")
    vistrails_window.prepare(tmp_path)
    assert (tmp_path / "startup.xml").read_text() == "the user's own"
