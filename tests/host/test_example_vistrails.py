"""VisTrails' own example vistrails in its real window: each tagged version runs, or is listed by name with what went wrong.

`make test` runs those of `SUBSET`, one of each kind; `make examples-check` all of them, which takes many minutes. The data that
they load from the internet are stand-ins.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dead_internet
import pytest
from screen import screen
from window_runs import places, run_each

from host import environment

# In one process of pytest: what is shared here takes long.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("example_vistrails")]

SCRIPT = Path(__file__).with_name("run_examples.py")
ALL = os.environ.get("EXAMPLES") == "all"
REPORT = environment.ROOT / "build" / "examples.txt"

# Of those that run; the others lack data that nobody has any more, a server, or a library.
AT_LEAST = 270

# The spreadsheet first: others offer it cells of theirs if it is there.
PACKAGES = (
    *("spreadsheet", "tabledata", "controlflow", "dialogs", "URL", "pythonCalc", "matplotlib", "vtk", "CLTools", "sql"),
    *("sklearn", "persistence", "mongodb", "tej", "persistent_archive", "gmaps", "ImageMagick", "pipelineEdit"),
)

Version = tuple[str, str]  # a file below the examples' folder, and a tag; "" is the latest version

# One of each kind, and the colour in which a cell must show something: as parts of 255, and how much of the cell at least.
SUBSET: dict[Version, tuple[tuple[int, int, int], float] | None] = {
    ("brain_vistrail.vt", "contour 4"): ((160, 220, 200), 0.05),
    ("gcd.vt", ""): None,
    ("lung.vt", "Axial View"): ((120, 110, 10), 0.05),
    ("matplotlib/bar_ex1.vt", ""): None,
    ("matplotlib/pie_ex1.vt", ""): ((255, 0, 0), 0.05),
    ("matplotlib/scatter.vt", ""): ((0, 0, 0), 0.025),
    ("matplotlib/semilog.vt", ""): None,
    ("mta-yankees.vt", "filtered"): ((240, 113, 115), 0.005),
    ("noaa_webservices.vt", "Wind Data, StationID: 8454000"): None,
    ("primes.vt", "test_3_1"): None,
    ("sklearn/roc_curve.vt", ""): None,
    ("spx.vt", "contour"): ((0, 255, 0), 0.05),
    ("terminator.vt", "Combined Rendering SW"): ((120, 70, 60), 0.2),
    ("usersguide/mashups.vt", "color 1"): None,
    ("vtk.vt", "Implicit Plane Clipper"): None,
    ("vtk_examples/Annotation/cubeAxes.vt", "Auto-Translated"): None,
    ("vtk_examples/Medical/Medical2.vt", "Auto-Translated"): ((190, 90, 40), 0.1),
    ("vtk_examples/Modelling/iceCream.vt", "Auto-Translated"): ((150, 200, 160), 0.1),
    ("vtk_examples/Rendering/rainbow.vt", "Auto-Translated"): ((150, 110, 10), 0.06),
    ("vtk_examples/VisualizationAlgorithms/officeTube.vt", "Auto-Translated"): ((0, 0, 255), 0.01),
    ("vtk_examples/VolumeRendering/SimpleRayCast.vt", "Auto-Translated"): None,
    ("offscreen.vt", "html"): None,
}

# The least share of a picture that differs from its background, which a few dots on a map have, and the least number of colours.
SHOWN, COLOURS = 0.002, 3

# Versions whose cells rightly show less, and why.
BLANK: dict[Version, str] = {
    ("vtk_book_3rd_p189.vt", "Almost there"): "nothing is connected to the cell yet",
}


@dataclass(frozen=True)
class Outcome:
    """What came of a version: what went wrong, by module, and pictures of its cells."""

    errors: dict[str, str]
    pictures: list[Path]


@pytest.fixture(scope="module")
def outcomes(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Version, Outcome]]:
    """What came of the versions that are run."""
    versions = every_version(examples, tmp_path_factory.mktemp("v")) if ALL else list(SUBSET)
    folder = tmp_path_factory.mktemp("examples")
    with screen() as display, dead_internet.proxy() as proxy:
        yield run_all(versions, examples, folder, {"DISPLAY": display, "http_proxy": proxy, "https_proxy": proxy})


LIST = """
import json, os, sys
from pathlib import Path
import vistrails.core.application
options = {"batch": True, "installBundles": False, "errorLog": False, "loadPackages": False, "dotVistrails": "settings"}
vistrails.core.application.init(options, args=[])
from vistrails.core.db.io import load_vistrail
from vistrails.core.db.locator import FileLocator
versions, top = [], Path(sys.argv[1])
for file in sorted(top.rglob("*.vt")):
    notes = load_vistrail(FileLocator(str(file)))[0].action_annotations
    tags = sorted(note.value for note in notes if note.key == "__tag__")
    versions += [[str(file.relative_to(top)), tag] for tag in tags or [""]]
Path("versions").write_text(json.dumps(versions))
os._exit(0)
"""


def every_version(examples: Path, folder: Path) -> list[Version]:
    """Each tagged version of each example, or its latest one if it has none."""
    subprocess.run([sys.executable, "-c", LIST, str(examples)], cwd=folder, timeout=300, check=True, env=places(folder))
    return [(file, tag) for file, tag in json.loads((folder / "versions").read_text())]


def run_all(versions: list[Version], examples: Path, folder: Path, variables: dict[str, str]) -> dict[Version, Outcome]:
    """Run versions one after the other."""
    return {
        version: Outcome({"the process": said}, [])
        if isinstance(said, str)
        else Outcome(said["errors"], [Path(cell) for cell in said["cells"]])
        for version, said in run_each(
            versions, examples, folder, SCRIPT, PACKAGES, variables, dead_internet.files()
        ).items()
    }


@pytest.mark.skipif(not ALL, reason="make examples-check runs all; here, one of each kind")
@pytest.mark.timeout(3 * 3600)
def test_as_many_versions_run_as_can(outcomes: dict[Version, Outcome]) -> None:
    failed = {version: outcome.errors for version, outcome in outcomes.items() if outcome.errors}
    report = [f"{len(outcomes) - len(failed)} of {len(outcomes)} versions of VisTrails' examples run; these do not:"]
    for (file, tag), errors in failed.items():
        causes = "; ".join(f"{module}: {' '.join(error.split())[:200]}" for module, error in errors.items())
        report.append(f"{file} {tag!r}: {causes}")
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join(report) + "\n", encoding="utf-8")
    assert len(outcomes) == 308
    assert len(outcomes) - len(failed) >= AT_LEAST, "\n".join(report)


@pytest.mark.skipif(not ALL, reason="make examples-check looks at all; here, at one of each kind")
@pytest.mark.timeout(3 * 3600)
def test_cells_show_something_in_all_versions_but_those_that_have_nothing_to_show(
    outcomes: dict[Version, Outcome],
) -> None:
    blank = {
        version: [f"{picture.name}: {share:.4f} of it in {colours} colours" for picture, share, colours in shown]
        for version, outcome in outcomes.items()
        if not outcome.errors
        and (
            shown := [
                (picture, share, colours)
                for picture in outcome.pictures
                for share, colours in [_shown(_pixels(picture))]
                if share < SHOWN or colours < COLOURS
            ]
        )
    }
    assert blank.keys() == BLANK.keys(), blank


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("version", SUBSET, ids=lambda version: " ".join(filter(None, version)))
def test_a_version_runs_and_its_cell_shows_something(outcomes: dict[Version, Outcome], version: Version) -> None:
    import numpy as np

    outcome = outcomes[version]
    assert outcome.errors == {}
    for picture in outcome.pictures:
        pixels = _pixels(picture)
        share, colours = _shown(pixels)
        assert share >= SHOWN, f"{picture} is nearly blank"
        assert colours > 15, f"{picture} is nearly blank"
        if SUBSET[version] is not None:
            colour, share = SUBSET[version]
            shown = (np.abs(pixels - colour).max(axis=2) < 90).mean()
            assert shown >= share, f"{picture} shows {shown:.4f} of {colour}"
    assert outcome.pictures or version[0] in ("gcd.vt", "primes.vt")


def _pixels(picture: Path) -> Any:
    """Red, green and blue of a picture, as parts of 255, by rows."""
    import numpy as np
    from matplotlib import image

    return np.rint(255 * image.imread(picture)[..., :3]).astype(int)


def _shown(pixels: Any) -> tuple[float, int]:
    """The share of a picture that differs clearly from its most frequent colour, and how many colours it has."""
    import numpy as np

    colours, times = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    background = colours[times.argmax()]
    return float((np.abs(pixels - background).max(axis=2) > 25).mean()), len(colours)
