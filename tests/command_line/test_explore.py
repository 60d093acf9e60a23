"""``python -m parallelflow explore``: a parameter exploration where there is no window."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import PATIENT, prefer, until

from host import vistrails_window
from parallelflow.cluster.errors import ClusterError
from parallelflow.command_line import explore as explore_module

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

# Three columns and two rows, of which one cell fails; each writes a file.
MAKE = """
import sys
import zipfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from batch import PACKAGES, vistrails_in
with vistrails_in(Path("making"), (*PACKAGES, "matplotlib")):
    from building import MATPLOTLIB, Vistrail
    vistrail = Vistrail()
    code = "print('adding', a, b)\\nif (a, b) == (2, 20): fail('too much')\\no = a + b"
    ports = {"a": "Integer", "b": "Integer"}
    source = vistrail.add_source((0, 1), "sum", code, ports, {"o": "Integer"}, a=0, b=0)
    file = {"file": {"basename": "sum", "series": True}}
    output = vistrail.add("GenericOutput", (0, 0), "", mode_type="file", configuration=repr(file))
    vistrail.connect(source, "o", output, "value")
    vistrail.tag("sums", "Adds.")
    vistrail.explore("six sums", {(source, "a"): [1, 2, 3], (source, "b"): [10, 20]})
    vistrail.go_back_to(0)
    source = vistrail.add_source((0, 3), "line", "y = [1, f]", {"f": "Float"}, {"y": "List"}, f=1)
    plot, figure = (vistrail.add(name, (0, 2), "", MATPLOTLIB) for name in ("MplLinePlot", "MplFigure"))
    file = {"file": {"basename": "figure", "series": True, "format": "png"}}
    output = vistrail.add("MplFigureOutput", (0, 0), "", MATPLOTLIB, configuration=repr(file))
    vistrail.connect(source, "y", plot, "y")
    vistrail.connect(plot, "value", figure, "addPlot")
    vistrail.connect(figure, "figure", output, "value")
    vistrail.explore("figures", {(source, "f"): [2, 3, 4]})
    for name, value in (("on engines", "a"), ("in VisTrails", "threading.Lock()")):
        vistrail.go_back_to(0)
        code = "import os, threading, time\\nif a > 2:\\n    open(f'waits{os.getpid()}', 'w')\\n    time.sleep(600)\\no = " + value
        source = vistrail.add_source((0, 1), "waits", code, {"a": "Integer"}, {"o": "Variant"}, a=0)
        file = {"file": {"basename": "done", "series": True}}
        output = vistrail.add("GenericOutput", (0, 0), "", mode_type="file", configuration=repr(file))
        vistrail.connect(source, "o", output, "value")
        vistrail.explore(name, {(source, "a"): [1, 2, 3, 4]})
    vistrail.save(Path("sums.vt"))
"""


# Goes to a folder that is not there any more.
GONE = ["sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh"]


def explore(folder: Path, *words: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "QT_QPA_PLATFORM")}
    environment["XDG_RUNTIME_DIR"] = str(folder)  # Qt makes it otherwise
    return subprocess.run(
        [*before, sys.executable, "-m", "parallelflow", "explore", *words],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )


def enable(settings: Path) -> None:
    """Make settings of VisTrails in which our package is enabled."""
    vistrails_window.prepare(settings)
    prefer(settings, **PATIENT)


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """A folder with a vistrail that has an exploration."""
    subprocess.run(
        [sys.executable, "-c", MAKE, str(ROOT / "examples")], cwd=tmp_path, timeout=800, check=True, capture_output=True
    )
    return tmp_path


def test_it_prints_a_table_writes_files_and_saves_the_log(sums: Path, clean_home: Path) -> None:
    refused = explore(sums, "sums.vt")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "python -m parallelflow enable" in refused.stderr
    enable(clean_home / ".vistrails")
    done = explore(sums, "sums.vt", "--exploration", "six sums", "--output-directory", "results")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("adding")] == [
        f"adding {a} {b}" for b in (10, 20) for a in (1, 2, 3)
    ]
    head, *rows, end = lines[6:]
    assert head.split() == ["column", "row", "sheet", "sum.a", "sum.b", "seconds", "engine", "result"]
    assert [row.split()[:5] for row in rows] == [
        [str(column), str(row), "1", str(column), str(10 * row)] for row in (1, 2) for column in (1, 2, 3)
    ]
    assert [row.endswith("done") for row in rows] == [True] * 4 + [False, True]
    assert "too much" in rows[4]
    assert end == "5 of 6 cells of 'six sums' done."
    written = sorted((sums / "results").iterdir())
    assert [path.read_text().strip() for path in written] == ["11", "12", "13", "21", "23"]
    # The log is in the file now.
    more = [
        "--exploration",
        "sums",
        "--json",  # the version's tag
        "--output-directory",
        str(sums / "more"),
    ]
    again = explore(sums, str(sums / "sums.vt"), *more, before=GONE)
    answer = json.loads(again.stdout)
    assert [cell["error"] for cell in answer["cells"]] == [None] * 4 + ["too much", None]
    assert answer["cells"][5]["parameters"] == {"sum.a": "3", "sum.b": "20"}
    assert all(cell["engine"] is not None and cell["host"] for cell in answer["cells"])
    assert _logged(sums / "sums.vt") == 12


def test_figures_are_made_on_engines_and_written_here(sums: Path, clean_home: Path) -> None:
    enable(clean_home / ".vistrails")
    done = explore(sums, "sums.vt", "--exploration", "figures", "--json", "--output-directory", "results")
    assert done.returncode == 0, done.stderr
    cells = json.loads(done.stdout)["cells"]
    assert [cell["parameters"] for cell in cells] == [{"line.f": f} for f in ("2.0", "3.0", "4.0")]
    assert all(cell["engine"] is not None for cell in cells)
    files = sorted((sums / "results").iterdir())
    assert [path.name for path in files] == [f"figure00{number}.png" for number in range(3)]
    written = [path.read_bytes() for path in files]
    assert {content[:4] for content in written} == {b"\x89PNG"}
    assert len(set(written)) == 3


def test_without_a_folder_files_are_written_into_the_current_one(sums: Path, clean_home: Path) -> None:
    enable(clean_home / ".vistrails")
    done = explore(sums, "sums.vt", "--exploration", "six sums", "--json")
    assert [cell["error"] for cell in json.loads(done.stdout)["cells"]] == [None] * 4 + ["too much", None], done.stderr
    assert [path.read_text().strip() for path in sorted(sums.glob("sum0*"))] == ["11", "12", "13", "21", "23"]


@pytest.mark.parametrize("where", ["on engines", "in VisTrails"])
def test_ctrl_c_leaves_what_is_done(sums: Path, clean_home: Path, where: str) -> None:
    enable(clean_home / ".vistrails")
    command = [sys.executable, "-m", "parallelflow", "explore", "sums.vt", "--exploration", where, "--json"]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(sums), "QT_QPA_PLATFORM": "offscreen"}
    terminal, its_end = pty.openpty()  # how far it has come is said in a terminal only
    complained = bytearray()

    def read() -> None:
        with suppress(OSError):  # nobody holds the other end any more
            while piece := os.read(terminal, 4096):
                complained.extend(piece)

    reader = threading.Thread(target=read, daemon=True)
    with subprocess.Popen(
        [*command, "--output-directory", "results"], cwd=sums, env=environment, stdout=subprocess.PIPE, stderr=its_end
    ) as process:
        os.close(its_end)
        reader.start()
        waits = "waits*" if where == "on engines" else f"waits{process.pid}"  # an engine has tried it before
        until(lambda: any(sums.glob(waits)) and b"2 done" in complained, 300)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=300)
    reader.join(60)
    os.close(terminal)
    # Python itself ends by the signal where code that it was given as text has been interrupted; for a shell that is 130 as well.
    assert process.returncode in (130, -signal.SIGINT), complained.decode()
    answer = json.loads(said)
    assert answer["error"] == "Interrupted."
    assert [cell["error"] for cell in answer["cells"]] == [None, None, "not run", "not run"]
    assert {cell["host"] is None for cell in answer["cells"][:2]} == {where == "in VisTrails"}
    assert len(list((sums / "results").iterdir())) == 2
    assert _logged(sums / "sums.vt") >= 2


# Ctrl-C is pressed in a `__del__`, where Python ignores that it is raised.
UNRAISED = """
import os, signal, sys
from parallelflow.command_line import main
from parallelflow.command_line.output import Output

class Presses:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

def show(self, text, fraction):
    if "2 done" in text and not pressed:
        pressed.append(True)
        Presses()

pressed, Output.progress = [], show
sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_counts_wherever_it_comes(sums: Path, clean_home: Path) -> None:
    enable(clean_home / ".vistrails")
    command = [sys.executable, "-c", UNRAISED, "explore", "sums.vt", "--exploration", "on engines", "--json"]
    command += ["--output-directory", "results"]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(sums), "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(command, cwd=sums, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert "Exception ignored in" in done.stderr
    assert done.returncode in (130, -signal.SIGINT), done.stderr
    answer = json.loads(done.stdout)
    assert answer["error"] == "Interrupted."
    assert [cell["error"] for cell in answer["cells"]] == [None, None, "not run", "not run"]


def test_what_cannot_be_explored_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no vistrail")
    for words, sentence in {
        ("nowhere.vt",): "There is no file ",
        (".",): "is a folder, not a vistrail.",
        ("file", "--output-directory", "file"): "file is a file: --output-directory takes a folder.",
    }.items():
        refused = explore(tmp_path, *words)
        assert (refused.returncode, refused.stdout) == (1, ""), words
        assert sentence in refused.stderr
        assert "Traceback" not in refused.stderr


def test_an_exploration_that_is_not_there_is_named_with_those_that_are() -> None:
    known = [_known(1, "six sums", 10), _known(2, "", 20)]
    upgrades, tags = {20: 21, 10: 11}, {10: "sums", 30: "empty"}
    vistrail = SimpleNamespace(
        parameter_explorations=known, get_upgrade=upgrades.get, get_tag=tags.get, get_tagMap=lambda: tags
    )
    controller = SimpleNamespace(vistrail=vistrail)
    assert [explore_module._find(controller, wanted).id for wanted in ("six sums", "sums", "1", "2")] == [1, 1, 1, 2]
    every = r"six sums \(version 'sums'\), 2 \(version 20\)"
    with pytest.raises(ClusterError, match=rf"no parameter exploration 'seven' .* It has: {every}\.$"):
        explore_module._find(controller, "seven")
    with pytest.raises(ClusterError, match=rf"no parameter exploration 'empty' .* It has: {every}\.$"):
        explore_module._find(controller, "empty")
    with pytest.raises(ClusterError, match=rf"2 parameter explorations .*: {every}\. Say which"):
        explore_module._find(controller, None)
    # VisTrails upgrades versions, and their explorations with them; what was saved then has both.
    known += [_known(3, "six sums", 11), _known(4, "", 21)]
    assert [explore_module._find(controller, wanted).id for wanted in ("six sums", "sums", "4", "1")] == [3, 3, 4, 1]
    known.append(_known(5, "seven sums", 11))
    with pytest.raises(
        ClusterError, match=r"There are 2 .* 'sums' .*: 3 \('six sums', .*\), 5 \('seven sums', .*\)\. Say"
    ):
        explore_module._find(controller, "sums")
    del known[-1]
    with pytest.raises(ClusterError, match=r": six sums \(version 'sums'\), 4 \(version 21\)\. Say which"):
        explore_module._find(controller, None)
    # The same name in versions of other tags is another exploration; in one without a tag it is a later state.
    tags[40] = "others"
    known.append(_known(6, "six sums", 40))
    both = r"3 \('six sums', version 'sums'\), 6 \('six sums', version 'others'\)"
    with pytest.raises(ClusterError, match=rf"There are 2 parameter explorations 'six sums' .*: {both}\. Say which"):
        explore_module._find(controller, "six sums")
    assert [explore_module._find(controller, wanted).id for wanted in ("sums", "others")] == [3, 6]
    known[-1] = _known(6, "six sums", 41)
    assert explore_module._find(controller, "six sums").id == 6
    del known[-1]
    del known[1::2]
    assert explore_module._find(controller, None).id == 3
    known.clear()
    with pytest.raises(ClusterError, match=r"no parameter exploration in this vistrail"):
        explore_module._find(controller, None)


def test_ctrl_c_does_not_end_it_while_the_log_is_being_written(tmp_path: Path) -> None:
    written = []

    def write(locator: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        written.append(locator)

    controller = SimpleNamespace(set_changed=lambda changed: None, write_vistrail=write)
    before = signal.getsignal(signal.SIGINT)
    assert explore_module._save(controller, "the file", tmp_path) == ""
    assert written == ["the file"]
    assert signal.getsignal(signal.SIGINT) is before


def _known(number: int, name: str, version: int) -> SimpleNamespace:
    return SimpleNamespace(id=number, name=name, action_id=version)


def _logged(path: Path) -> int:
    """How many cells' executions, with their parameters, a vistrail's log has."""
    with zipfile.ZipFile(path) as archive:
        return archive.read("log").decode().count('key="exploration_parameters"')
