"""VisTrails' batch mode, as it is called in a terminal: what a run is told there reaches its elements, and how it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import ours, until
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

    def run(
        side: str,
        flows: Sequence[Flow],
        options: Sequence[str],
        folder: Path,
        program: Sequence[str] = ("-m", "vistrails.run"),
        meanwhile: Callable[[subprocess.Popen[str]], None] = lambda process: None,
    ) -> subprocess.CompletedProcess[str]:
        startup = clean_home / ".vistrails" / "startup.xml"
        if not startup.exists():
            startup.parent.mkdir(exist_ok=True)
            startup.write_text(_STARTUP)
        folder.mkdir(exist_ok=True)
        files = []
        for number, flow in enumerate(flows):
            files.append(clean_home / f"{side}{number}.xml")
            save_vistrail_to_xml(open_controller(flow.build(PACKAGES[side])).vistrail, str(files[-1]))
        with subprocess.Popen(
            [sys.executable, *program, "--batch", *options, *map(str, files)],
            cwd=folder,
            env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(clean_home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                meanwhile(process)
                said, _ = process.communicate(timeout=250)
            finally:
                process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, said)

    return run


def test_nothing_of_ours_says_anything_after_a_run_that_failed(
    in_batch: InBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")  # a terminal that lacks letters of the element
    flow = Flow()
    function = flow.python("o = 1 / (len(i) - 1)", {"i": "String"}, {"o": "Float"})
    flow.map(function, "i", "o", "['höher', 'ö']")
    for side in PACKAGES:
        done = in_batch(side, [flow], [], tmp_path)
        assert done.returncode, done.stdout
        assert "division by zero" in done.stdout
        assert "finalize" not in done.stdout, done.stdout
        assert "UnicodeEncodeError" not in done.stdout, done.stdout


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


# What is in shared memory is in a folder of the test's: whatever VisTrails starts on this machine removes what others have left.
_IN_FOLDER = """
import runpy, sys
from parallelflow.map import shared_memory
shared_memory._ROOT = sys.argv.pop(1)
sys.argv[0] = "vistrails"
runpy.run_module("vistrails.run", run_name="__main__")
"""

_WAITS = """
import pathlib, time
pathlib.Path(%r, str(int(i[0]))).touch()
end = time.monotonic() + 200
while not pathlib.Path(%r).exists() and time.monotonic() < end:
    time.sleep(0.02)
o = float(i.sum() + c[0])
"""


@pytest.mark.kills
def test_what_a_vistrails_that_is_killed_in_a_map_left_in_memory_and_on_disk_goes_at_the_next_start(
    in_batch: InBatch, clean_home: Path, tmp_path: Path
) -> None:
    root, begun, go = Path("/dev/shm") / f"pytest-{os.getpid()}-{tmp_path.name}", tmp_path / "begun", tmp_path / "go"
    root.mkdir()
    begun.mkdir()
    flow = Flow()
    source = _WAITS % (str(begun), str(go))
    function = flow.python(source, {"i": "Variant", "c": "Variant"}, {"o": "Float"})
    elements = flow.python("import numpy\no = [numpy.full(10**6, n, dtype='u1') for n in range(4)]", {}, {"o": "List"})
    constant = flow.python("import numpy\no = numpy.full(5 * 10**6, 7, dtype='u1')", {}, {"o": "Variant"})
    flow.connect(constant, "o", function, "c")
    mapped = flow.map(function, "i", "o", (elements, "o"))
    flow.connect(mapped, "Result", flow.add("StandardOutput"), "value")

    def left() -> list[Path]:
        return [path for path in root.rglob("*") if path.is_file()]

    def pools() -> list[Path]:
        return list((clean_home / "tmp").rglob("vt_tmp*"))

    def kill(process: subprocess.Popen[str]) -> None:
        until(lambda: len(list(begun.iterdir())) == 2 or process.poll() is not None, 200)
        process.kill()

    try:
        done = in_batch("ours", [flow], [], tmp_path, ["-c", _IN_FOLDER, str(root)], kill)
        assert done.returncode == -signal.SIGKILL, done.stdout
        before = left()
        assert sum(path.stat().st_size for path in before) >= 5 * 10**6
        assert pools() != []
        go.touch()
        done = in_batch("ours", [flow], [], tmp_path, ["-c", _IN_FOLDER, str(root)])
        assert done.returncode == 0, done.stdout
        assert "[7.0, 1000007.0, 2000007.0, 3000007.0]" in done.stdout
        assert left() == []
        assert pools() == []
    finally:
        shutil.rmtree(root)
        for folder in (clean_home / "tmp").glob("vt_thumb*"):  # VisTrails' own, for pictures of workflows
            shutil.rmtree(folder)
        for process in ours():  # what the one that was killed has left
            with suppress(psutil.NoSuchProcess):
                process.kill()
        until(lambda: not ours())
