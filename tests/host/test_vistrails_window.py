"""VisTrails' window, as ``make vistrails`` opens it, with each repair that only a window shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from host import environment, vistrails_window

SCRIPT = Path(__file__).with_name("window_checks.py")
CHECKS = re.findall(r"^def check_(\w+)", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What each check raised, in one window."""
    folder = tmp_path_factory.mktemp("window")
    results = folder / "results.json"
    variables = {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(environment.ROOT)}
    variables["QT_QPA_PLATFORM"] = "offscreen"
    process = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder / "settings"), str(results)],
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert results.exists(), process.stdout[-5000:]
    found: dict[str, str | None] = json.loads(results.read_text())
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_in_vistrails_window(outcome: dict[str, str | None], check: str) -> None:
    assert outcome[check] is None, outcome[check]


def test_settings_that_are_there_are_kept(tmp_path: Path) -> None:
    vistrails_window.prepare(tmp_path / "new")
    assert "ipyparallel_flow" in (tmp_path / "new" / "startup.xml").read_text()
    (tmp_path / "startup.xml").write_text("the user's own")
    vistrails_window.prepare(tmp_path)
    assert (tmp_path / "startup.xml").read_text() == "the user's own"
