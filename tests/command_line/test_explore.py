"""``python -m parallelflow explore``: a parameter exploration where there is no window."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

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
    vistrails_window.prepare(clean_home / ".vistrails")
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
    more = ["--exploration", "six sums", "--json", "--output-directory", str(sums / "more")]
    again = explore(sums, str(sums / "sums.vt"), *more, before=GONE)
    answer = json.loads(again.stdout)
    assert [cell["error"] for cell in answer["cells"]] == [None] * 4 + ["too much", None]
    assert answer["cells"][5]["parameters"] == {"sum.a": "3", "sum.b": "20"}
    assert all(cell["engine"] is not None and cell["host"] for cell in answer["cells"])
    assert _logged(sums / "sums.vt") == 12


def test_figures_are_made_on_engines_and_written_here(sums: Path, clean_home: Path) -> None:
    vistrails_window.prepare(clean_home / ".vistrails")
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


def test_an_exploration_that_is_not_there_is_named_with_those_that_are() -> None:
    known = [SimpleNamespace(id=1, name="six sums"), SimpleNamespace(id=2, name="")]
    controller = SimpleNamespace(vistrail=SimpleNamespace(parameter_explorations=known))
    assert [explore_module._find(controller, wanted).id for wanted in ("six sums", "1", "2")] == [1, 1, 2]
    with pytest.raises(ClusterError, match=r"no parameter exploration 'seven' .* It has: six sums, 2\.$"):
        explore_module._find(controller, "seven")
    with pytest.raises(ClusterError, match=r"2 parameter explorations .* Say which"):
        explore_module._find(controller, None)
    known.clear()
    with pytest.raises(ClusterError, match=r"no parameter exploration in this vistrail"):
        explore_module._find(controller, None)


def _logged(path: Path) -> int:
    """How many cells' executions, with their parameters, a vistrail's log has."""
    with zipfile.ZipFile(path) as archive:
        return archive.read("log").decode().count('key="exploration_parameters"')
