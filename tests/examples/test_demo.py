"""``make demo``: what it says, what it leaves, and what happens when it is interrupted."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from example_runs import EXAMPLES, run_python

from parallelflow.cluster.cores import usable_cores

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]

DEMO = EXAMPLES / "demo.py"
CORES = usable_cores()
LIMIT = 240.0  # seconds


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that all demos here write to, in which nothing of a run remains."""
    folder = tmp_path_factory.mktemp("o")
    yield folder
    assert not _working_for(folder)
    assert [path.name for path in folder.iterdir()] == ["hillshade.png"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home in which the demo runs that all tests look at."""
    return tmp_path_factory.mktemp("d")


@pytest.fixture(scope="module")
def said(output: Path, home: Path) -> str:
    """What a demo with six elements says."""
    process = run_python([str(DEMO), "--days", "2", "--hours", "3", "--output", str(output)], home)
    assert process.returncode == 0, process.stdout
    return process.stdout


def test_the_demo_has_48_elements_unless_told_otherwise(clean_home: Path) -> None:
    said = run_python([str(DEMO), "--help"], clean_home).stdout
    rows, columns = map(int, re.findall(r"(?:rows|columns) of the contact sheet \(default: (\d+)\)", said))
    assert rows * columns >= 48


def test_the_demo_says_how_many_elements_ran_on_how_many_engines(said: str) -> None:
    elements, engines, shares = re.search(
        r"^(\d+) elements ran on (\d+) engines?: (.*)\.$", said, re.MULTILINE
    ).groups()
    assert int(elements) == 6
    # An engine that is late finds nothing left to do.
    assert 1 <= int(engines) <= min(CORES, 6)
    numbers = [int(share) for share in shares.split(", ")]
    assert len(numbers) == int(engines)
    assert min(numbers) > 0
    assert sum(numbers) == 6


def test_the_demo_compares_times_that_were_measured_in_this_run(said: str) -> None:
    times = dict(re.findall(r"^  (Serial Map|Parallel Map, \w+).*? (\d+\.\d) s", said, re.MULTILINE))
    ratios = dict(re.findall(r"^  (Parallel Map, \w+).*, (\d+\.\d\d) times as fast$", said, re.MULTILINE))
    assert set(times) == {"Serial Map", "Parallel Map, on", "Parallel Map, starting"}
    assert set(ratios) == set(times) - {"Serial Map"}
    for name, ratio in ratios.items():
        # Computed before the times were rounded to tenths, which are a lot of a time that is short.
        serial, parallel = float(times["Serial Map"]), float(times[name])
        least, most = (serial - 0.05) / (parallel + 0.05), (serial + 0.05) / max(parallel - 0.05, 0.001)
        assert least - 0.01 <= float(ratio) <= most + 0.01


def test_the_demo_finds_identical_arrays(said: str) -> None:
    assert re.search(r"^All three gave identical results: 6 arrays of \d+ x \d+ x 3\.$", said, re.MULTILINE)


def test_the_demo_says_where_the_contact_sheet_lies_and_it_shows_terrain(said: str, output: Path, home: Path) -> None:
    import numpy as np
    from matplotlib import image

    place = re.search(r"^The contact sheet is (.*)$", said, re.MULTILINE)[1]
    assert (home / place).resolve() == output / "hillshade.png"
    sheet = image.imread(output / "hillshade.png")[..., :3]
    rows, columns, _ = sheet.shape
    assert rows > 400
    assert columns > 500
    assert len(np.unique(np.rint(255 * sheet).reshape(-1, 3), axis=0)) > 5000


def test_the_demo_shows_progress_in_a_few_lines_where_there_is_no_terminal(said: str) -> None:
    for title in ("Serial Map", "Parallel Map, starting a cluster", "Parallel Map, cluster running"):
        counts = [int(count) for count in re.findall(rf"^{title}: (\d+) of 6, \d+ s$", said, re.MULTILINE)]
        assert counts == sorted(counts)
        assert counts[0] == 0
        assert counts[-1] == 6
        assert 2 <= len(counts) <= 5
    assert "\r" not in said


def test_the_demo_says_in_the_end_that_nothing_is_left(said: str) -> None:
    assert said.splitlines()[-1] == "The cluster has stopped; no process is left."
    assert len(said.splitlines()) < 30


def test_the_demo_updates_one_line_on_a_terminal_and_ends_at_ctrl_c(clean_home: Path, output: Path) -> None:
    # So many that it does not end before Ctrl-C, whoever is held up meanwhile.
    terminal = _Terminal([str(DEMO), "--days", "100", "--output", str(output)], clean_home)
    # The first Map counts on one line.
    terminal.read_until(lambda text: "Serial Map: 2 of 800" in text)
    assert "\n" not in terminal.text.split("Serial Map: 0 of 800")[1].split("Serial Map: 2 of 800")[0]
    terminal.press_ctrl_c()
    terminal.read_until_the_end()
    assert terminal.status == 130, terminal.text
    assert "demo: interrupted" in terminal.text
    assert "Traceback" not in terminal.text


# Keeps engines from registering, so that the cluster starts until it is interrupted.
_NO_ENGINE = """
import sys, time
if "ipyparallel.engine" in " ".join(sys.orig_argv):
    time.sleep(600)
"""


def test_ctrl_c_while_the_cluster_starts_leaves_nothing(clean_home: Path, output: Path) -> None:
    (clean_home / "sitecustomize.py").write_text(_NO_ENGINE)
    terminal = _Terminal([str(DEMO), "--days", "1", "--hours", "3", "--output", str(output)], clean_home, clean_home)
    terminal.read_until(lambda text: "starting a cluster" in text and len(_working_for(output)) > 1)
    terminal.press_ctrl_c()
    terminal.press_ctrl_c()  # impatient users
    terminal.read_until_the_end()
    assert terminal.status == 130, terminal.text
    assert "Traceback" not in terminal.text
    assert "no process is left" in terminal.text


def test_a_missing_module_is_said_in_a_sentence(clean_home: Path) -> None:
    script = (
        "import importlib.util, runpy, sys;"
        " find = importlib.util.find_spec;"
        " importlib.util.find_spec = lambda name: None if name == 'matplotlib' else find(name);"
        f" sys.argv = [{str(DEMO)!r}]; runpy.run_path({str(DEMO)!r}, run_name='__main__')"
    )
    process = run_python(["-c", script], clean_home)
    assert process.returncode == 1
    assert process.stdout.startswith("demo: matplotlib cannot be imported")
    assert "make demo" in process.stdout


def test_a_folder_that_cannot_be_written_is_said_in_a_sentence(clean_home: Path) -> None:
    (clean_home / "file").touch()
    process = run_python([str(DEMO), "--output", str(clean_home / "file" / "folder")], clean_home)
    assert process.returncode == 1
    assert process.stdout == f"demo: cannot write to {clean_home}/file/folder: Not a directory\n"


def test_a_map_that_fails_ends_the_demo_with_a_sentence_and_leaves_the_log(clean_home: Path) -> None:
    # What the Map says when its engines cannot start, here because the preferences forbid it.
    script = (
        "import sys; import parallelflow.ipyparallel_flow as package; package.configuration.if_no_engines = 'never';"
        f" sys.path.insert(0, {str(EXAMPLES)!r}); import demo;"
        f" sys.exit(demo.main(['--days', '1', '--hours', '1', '--output', {str(clean_home / 'out')!r}]))"
    )
    process = run_python(["-c", script], clean_home)
    assert process.returncode == 1, process.stdout
    assert "demo: The module 'Map over the positions' failed: There are no engines" in process.stdout
    assert "Traceback" not in process.stdout
    (logs,) = (clean_home / "out").glob("run-*/dot-vistrails/logs")
    assert f"VisTrails' log is in {logs}" in process.stdout


@pytest.mark.parametrize("value", ["0", "-3", "101", "many"])
def test_a_bad_number_of_days_is_refused(clean_home: Path, value: str) -> None:
    process = run_python([str(DEMO), "--days", value], clean_home)
    assert process.returncode == 2
    assert "argument --days" in process.stdout
    assert "Traceback" not in process.stdout


def test_the_demo_neither_reads_nor_changes_the_users_files(said: str, home: Path) -> None:
    assert not (home / ".ipython").exists()
    assert not (home / ".vistrails").exists()


def _working_for(folder: Path) -> list[str]:
    """The processes, the demo's own included, that have an IPython folder in this one, whatever else they know."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("IPYTHONDIR", "").startswith(str(folder)):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


class _Terminal:
    """The demo in a terminal of its own, where Ctrl-C goes to all processes in the foreground."""

    def __init__(self, arguments: list[str], home: Path, *path: Path) -> None:
        self.text = ""
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=home,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (EXAMPLES, *path)))},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=_take_terminal,
        )
        os.close(slave)
        self._end = time.monotonic() + LIMIT

    @property
    def status(self) -> int:
        return self._process.wait(LIMIT)

    def read_until(self, seen: Callable[[str], bool]) -> None:
        import select

        while not seen(self.text):
            assert time.monotonic() < self._end, self.text
            assert self._process.poll() is None, self.text
            if select.select([self._master], [], [], 0.1)[0]:
                self.text += os.read(self._master, 4096).decode()

    def read_until_the_end(self) -> None:
        import select

        while True:
            assert time.monotonic() < self._end, self.text
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    part = os.read(self._master, 4096)
                except OSError:  # Linux says so when the last process has closed the terminal
                    break
                if not part:
                    break
                self.text += part.decode()
        os.close(self._master)

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")


def _take_terminal() -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
