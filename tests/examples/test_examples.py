"""Every example opens in VisTrails' window, runs in its batch mode, and gives the same with each Map."""

from __future__ import annotations

import colorsys
import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest
from example_runs import EXAMPLES, ROOT, Batch, run, run_python

from host import vistrails_window

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("examples")]

NAMES = ["failing", "hillshade", "isosurface", "loops", "plots", "sweep", "table", "tolerances", "viewshed"]
PACKAGES = ["controlflow", "pythonCalc", "ipyparallel_flow", "matplotlib", "vtk"]
OURS = "org.vistrails.parallelflow"

# Small, so that all of them run in a few seconds.
ALIASES = {
    "hillshade": {"days": 1, "hours": 4, "cell": 120.0},
    "isosurface": {"count": 6},
    "loops": {"size": 16, "steps": 20},
    "plots": {"rows": 2, "columns": 3},
    "sweep": {"size": 24, "steps": 50},
    "viewshed": {"fineness": 1, "rows": 2, "columns": 3},
}


@pytest.fixture(scope="module")
def outcome(batch: Batch) -> dict[str, Any]:
    """What came of all versions of all examples."""
    vistrails = [{"file": str(EXAMPLES / f"{name}.vt"), "aliases": ALIASES.get(name, {})} for name in NAMES]
    return batch(vistrails, PACKAGES)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What VisTrails' window shows of all examples."""
    folder = tmp_path_factory.mktemp("w")
    files = [str(EXAMPLES / f"{name}.vt") for name in NAMES]
    process = run_python([str(Path(__file__).with_name("open_in_window.py")), str(folder), *files], folder, limit=800)
    result = folder / "shown.json"
    assert result.is_file(), process.stdout[-5000:]
    content: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    assert "failure" not in content, content["failure"]
    return content


def test_every_example_is_tested() -> None:
    # What `rates` is for is its parameter exploration; it has one version only.
    assert sorted(path.stem for path in EXAMPLES.glob("*.vt")) == sorted([*NAMES, "rates"])


@pytest.mark.parametrize("name", NAMES)
def test_an_example_opens_in_the_window(shown: dict[str, Any], name: str) -> None:
    versions = shown[f"{name}.vt"]
    assert {"Serial", "Parallel"} <= set(versions)
    for version in versions.values():
        assert version["drawn"] == len(version["modules"]) > 3
        assert not version["invalid"]
        assert version["notes"].startswith("<p>")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("failing", "loops")])
def test_an_example_gives_the_same_with_each_map(outcome: dict[str, Any], name: str) -> None:
    serial, parallel = (outcome["runs"][f"{name}: {tag}"] for tag in ("Serial", "Parallel"))
    assert serial["errors"] == parallel["errors"] == {}
    assert [package for _, package, _ in parallel["maps"]] == [OURS]
    # Modules whose outputs VisTrails still has from the first version are not executed in the second.
    both = serial["outputs"].keys() & parallel["outputs"].keys()
    assert any(label.startswith("Map over") for label in both)
    for label in both:
        assert serial["outputs"][label] == parallel["outputs"][label], label


def test_a_loop_gives_the_same_with_the_mark(outcome: dict[str, Any]) -> None:
    serial, parallel = (outcome["runs"][f"loops: {tag}"] for tag in ("Serial", "Parallel"))
    assert serial["errors"] == parallel["errors"] == {}
    for port in ("magnetisation", "energy"):
        values = parallel["outputs"]["Let it settle"][port]
        assert values == serial["outputs"]["Let it settle"][port]
        assert len(values) == 16
    table = parallel["outputs"]["Table"]["report"]
    assert len(table.splitlines()) == 17
    assert table == serial["outputs"]["Table"]["report"]


def test_no_process_is_left(outcome: dict[str, Any]) -> None:
    assert outcome["left"] == []


def test_pictures_go_where_output_is_to_go(outcome: dict[str, Any]) -> None:
    assert outcome["written"] == ["hillshade.png", "isosurface.png", "plots.png", "sweep.png", "viewshed.png"]
    for name in outcome["written"]:
        assert (outcome["folder"] / "output" / name).read_bytes().startswith(b"\x89PNG")


def test_the_sweep_reads_files_and_writes_files(outcome: dict[str, Any]) -> None:
    files = outcome["runs"]["sweep: Parallel"]["outputs"]["Map over the rates"]["Result"]
    assert len(files) == 12
    assert len(set(files)) == 12  # each pair of rates ends in another state
    assert all(text.startswith("file ") for text in files)


def test_what_vtk_and_matplotlib_draw_on_engines_shows_what_it_should(outcome: dict[str, Any]) -> None:
    import numpy as np
    from matplotlib import image

    surfaces = image.imread(outcome["folder"] / "output" / "isosurface.png")[..., :3]
    assert surfaces.shape == (160, 6 * 160, 3)
    for number in range(6):
        cell = surfaces[:, 160 * number : 160 * (number + 1)]
        shown = np.abs(cell - cell[0, 0]).max(axis=2) > 0.1
        assert 0.001 < shown.mean() < 0.7, number  # smaller and smaller, in front of the background
        # As its level: VTK's table goes from red to blue over the range that the example gives.
        level = 110 + number * (250 - 110) / 5
        expected = colorsys.hsv_to_rgb(2 / 3 * (level - 37) / (277 - 37), 1, 1)
        assert cell[shown].max(axis=0).argmax() == np.argmax(expected), number
    plots = image.imread(outcome["folder"] / "output" / "plots.png")[..., :3]
    assert plots.shape == (2 * 160, 3 * 160, 3)
    blue = np.abs(plots - np.array([0x1F, 0x77, 0xB4]) / 255).max(axis=2) < 0.02
    for row, column in ((row, column) for row in range(2) for column in range(3)):
        assert blue[160 * row : 160 * (row + 1), 160 * column : 160 * (column + 1)].sum() > 100, (row, column)


def test_the_table_is_the_one_that_matplotlib_ships(outcome: dict[str, Any]) -> None:
    run = outcome["runs"]["table: Parallel"]["outputs"]
    percents = run["Map over the rows"]["Result"]
    assert len(percents) == 65
    assert percents[0] == pytest.approx(100 * (29.97 - 29.52) / 29.76)
    assert run["The widest days"]["report"].splitlines()[1] == "26-Jun-03: 5.12 %"
    assert "26-Jun-03: 5.12 %" in outcome["printed"]


def test_the_large_constant_is_large_unless_made_small() -> None:
    # 18 MB: 1376 x 1612 values of 8 bytes, as the notes say; the run above makes it small.
    import numpy as np
    from matplotlib import cbook

    rows, columns = np.shape(cbook.get_sample_data("jacksboro_fault_dem.npz")["elevation"])
    assert round(4 * rows * 4 * columns * 8 / 1e6) == 18


def test_an_element_that_fails_is_named_with_its_value_and_its_engine(outcome: dict[str, Any]) -> None:
    serial = outcome["runs"]["failing: Serial"]["errors"]
    parallel = outcome["runs"]["failing: Parallel"]["errors"]
    assert set(serial) == set(parallel) == {"Square root"}
    assert serial["Square root"] in parallel["Square root"]
    assert "element 3 (-16)" in parallel["Square root"]
    assert "on engine " in parallel["Square root"]


def test_a_failure_can_be_kept_as_a_value(outcome: dict[str, Any]) -> None:
    run = outcome["runs"]["failing: Failures as values"]
    assert run["errors"] == {}
    assert run["outputs"]["Map over the numbers"]["Result"] == [1, 2, 3, "-16: math domain error", 5, 6]


def test_of_a_list_that_has_changed_only_what_is_new_runs(outcome: dict[str, Any]) -> None:
    # The versions run in the order of their names.
    runs = [outcome["runs"][f"tolerances: {tag}"] for tag in ("Another tolerance", "Parallel")]
    label = "Map over the tolerances"
    first, second = (run["outputs"][label]["Result"] for run in runs)
    assert first[:3] == second[1:]
    assert [tolerance for tolerance, _, _ in [*second, first[3]]] == [1e-5, 1e-6, 1e-7, 1e-8, 1e-9]
    gaps = [gap for _, _, gap in [*second, first[3]]]
    assert gaps == sorted(gaps, reverse=True)  # the finer the tolerance, the better the orbit closes
    assert [run["cached"][label] for run in runs] == [[0, 0, 0, 0], [0, 1, 1, 1]]


def test_the_command_line_in_the_guide_runs_an_example(clean_home: Path) -> None:
    command = block_after("To run one without a window")
    parameters = block_after("Some parameters have a name").strip()
    # The second block is the end of the first, with more after it.
    shorter, option, _ = parameters.partition(" --parameters ")
    assert option
    assert command.endswith(shorter)
    # As in a clone after `make setup`.
    for name, place in {"examples": EXAMPLES, ".venv": Path(sys.prefix)}.items():
        (clean_home / name).symlink_to(place)
    vistrails_window.prepare(clean_home / "build" / vistrails_window.SETTINGS.name)
    before = (EXAMPLES / "hillshade.vt").read_bytes()
    process = run(["sh", "-ec", command.replace(shorter, parameters)], clean_home)
    assert process.returncode == 0, process.stdout
    assert (clean_home / "build" / "hillshade.png").stat().st_size > 10_000
    assert (EXAMPLES / "hillshade.vt").read_bytes() == before


def block_after(beginning: str) -> str:
    """The first literal block after a line of the guide's page that begins like that."""
    _, found, text = (ROOT / "docs" / "examples.rst").read_text(encoding="utf-8").partition(f"\n{beginning}")
    assert found, beginning
    return text.split("::\n\n", 1)[1].split("\n\n", 1)[0]


def test_the_saved_vistrails_are_what_the_script_makes(tmp_path: Path) -> None:
    process = run_python([str(EXAMPLES / "make_examples.py"), str(tmp_path)], tmp_path)
    assert process.returncode == 0, process.stdout
    for name in NAMES:
        assert _contents(tmp_path / f"{name}.vt") == _contents(EXAMPLES / f"{name}.vt"), (
            f"{name}.vt is not what make_examples.py makes: run python examples/make_examples.py"
        )


def test_no_example_names_a_place_of_this_machine() -> None:
    home = pwd.getpwuid(os.getuid()).pw_dir
    for path in [*EXAMPLES.glob("*.vt"), ROOT / "tests" / "data" / "old_map.vt"]:
        text = " ".join(_contents(path).values())
        assert str(ROOT) not in text
        assert home not in text
        assert "/home/" not in text
        assert "/tmp/" not in text


def _contents(path: Path) -> dict[str, str]:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}
