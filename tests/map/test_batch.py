"""VisTrails' batch mode, as it is called in a terminal: what a run is told there reaches its elements, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from parity import PACKAGES, open_controller
from vistrails.core.db.io import save_vistrail_to_xml
from workflows import Flow

from parallelflow.command_line import main as command_line

pytestmark = pytest.mark.slow

# Runs VisTrails without a window and without its graphical program, which does nothing more in batch mode.
_STARTUP = """\
<startup version="0.1">
  <configuration>
    <key name="handlerDontAsk"><bool value="True"/></key>
    <key name="installBundles"><bool value="False"/></key>
    <key name="singleInstance"><bool value="False"/></key>
  </configuration>
  <packages>
    <package name="controlflow"/>
    <package name="ipyparallel_flow">
      <configuration><key name="engines"><int value="2"/></key></configuration>
    </package>
  </packages>
  <disabledpackages/>
</startup>
"""

InBatch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def in_batch(vistrails: Any, clean_home: Path) -> InBatch:
    """Runs workflows in batch mode, as many as there are, with one Map or the other, in a folder."""

    def run(side: str, flows: Sequence[Flow], options: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        startup = clean_home / ".vistrails" / "startup.xml"
        if not startup.exists():
            startup.parent.mkdir(exist_ok=True)
            startup.write_text(_STARTUP)
        folder.mkdir(exist_ok=True)
        files = []
        for number, flow in enumerate(flows):
            files.append(clean_home / f"{side}{number}.xml")
            save_vistrail_to_xml(open_controller(flow.build(PACKAGES[side])).vistrail, str(files[-1]))
        return subprocess.run(
            [sys.executable, "-m", "vistrails.run", "--batch", *options, *map(str, files)],
            cwd=folder,
            env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(clean_home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=250,
            check=False,
        )

    return run


def test_nothing_of_ours_says_anything_after_a_run_that_failed(in_batch: InBatch, tmp_path: Path) -> None:
    flow = Flow()
    function = flow.python("o = 1 / i", {"i": "Integer"}, {"o": "Float"})
    flow.map(function, "i", "o", "[1, 0]")
    for side in PACKAGES:
        done = in_batch(side, [flow], [], tmp_path)
        assert done.returncode, done.stdout
        assert "division by zero" in done.stdout
        assert "finalize" not in done.stdout, done.stdout


def test_batch_mode_asks_nothing_after_enable_has_made_the_settings(
    in_batch: InBatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["enable"]) == 0
    assert "Answered the questions of VisTrails' first start with No" in capsys.readouterr().out
    flow = Flow()
    function = flow.python("o = 7 * i", {"i": "Integer"}, {"o": "Integer"})
    mapped = flow.map(function, "i", "o", "[1, 2]")
    flow.connect(mapped, "Result", flow.add("StandardOutput"), "value")
    done = in_batch("serial", [flow], [], tmp_path)
    assert done.returncode == 0, done.stdout
    assert "[7, 14]" in done.stdout


def test_output_directory_and_output_settings_reach_elements(in_batch: InBatch, tmp_path: Path) -> None:
    inner = Flow()
    number = inner.python("o = 10 * i", {"i": "Integer"}, {"o": "Integer"})
    inner.connect(number, "o", inner.add("GenericOutput", {"mode_type": "file"}), "value")
    inner.inputs, inner.outputs = {"i": (number, "i")}, {"o": (number, "o")}
    flow = Flow()
    flow.map(flow.group(inner), "i", "o", "[0, 1, 2, 3, 4, 5]")
    left = {}
    for side in PACKAGES:
        folder = tmp_path / side
        folder.mkdir()
        settings = "file.series=True,file.basename=n,file.suffix=.txt"
        done = in_batch(side, [flow], ["--output-directory", str(folder), "--output-settings", settings], tmp_path)
        assert done.returncode == 0, done.stdout
        left[side] = {path.name: path.read_text() for path in folder.iterdir()}
    assert left["serial"] == {f"n{index:03d}.txt": f"{10 * index}\n" for index in range(6)}
    assert left["ours"] == left["serial"]
