"""The source distribution: it holds what building takes, and what is built from it works outside the clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from configparser import ConfigParser
from pathlib import Path

import pytest

import parallelflow

CLONE = Path(__file__).resolve().parent.parent.parent

# What building takes: without any of these it would fail, or make something else.
NEEDED = (
    "LICENSE",
    "PKG-INFO",
    "README.rst",
    "pyproject.toml",
    "setup.py",
    "parallelflow/__init__.py",
    "parallelflow/ipyparallel_flow/init.py",
    "parallelflow/py.typed",
)

# Where the parts of the package lie that are found at run time, by VisTrails and by engines.
IMPORT = """
import parallelflow.api, parallelflow.cluster, parallelflow.command_line, parallelflow.map.engine
from parallelflow import ipyparallel_flow
print(parallelflow.__file__, parallelflow.__version__, ipyparallel_flow.identifier)
"""

ENTRY_POINTS = """
from importlib.metadata import distribution
found = distribution("vistrails-parallelflow")
print(found.locate_file(""), found.version, sorted(point.value for point in found.entry_points))
"""


def run(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, built from a copy of the clone, so that building leaves nothing there."""
    copy = tmp_path_factory.mktemp("clone") / "copy"
    generated = shutil.ignore_patterns(
        ".git", ".venv*", ".*_cache", ".coverage*", "__pycache__", "build", "dist", "_build", "*.egg-info", "log"
    )
    shutil.copytree(CLONE, copy, ignore=generated)
    place = tmp_path_factory.mktemp("sdist")
    run([sys.executable, "setup.py", "--quiet", "sdist", "--formats=gztar", "--dist-dir", place], copy)
    (archive,) = place.iterdir()
    return archive


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one folder that the source distribution unpacks into."""
    place = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(place, filter="data")
        else:
            archive.extractall(place)
    (folder,) = place.iterdir()
    return folder


def modules(folder: Path) -> set[str]:
    """The modules of the package below a folder that holds it."""
    return {str(path.relative_to(folder)) for path in (folder / "parallelflow").rglob("*.py")}


def test_its_name_says_which_version_it_is(sdist: Path, unpacked: Path) -> None:
    stem = f"vistrails_parallelflow-{parallelflow.__version__}"
    assert sdist.name == f"{stem}.tar.gz"
    assert unpacked.name == stem


def test_it_holds_what_building_takes(unpacked: Path) -> None:
    assert [name for name in NEEDED if not (unpacked / name).is_file()] == []
    assert modules(unpacked) == modules(CLONE)


def test_it_holds_nothing_that_was_generated(unpacked: Path) -> None:
    parts = {part for path in unpacked.rglob("*") for part in path.relative_to(unpacked).parts}
    assert not parts & {"__pycache__", ".venv", "build", "dist", "_build", "log"}


def test_a_wheel_built_from_it_works_outside_the_clone(unpacked: Path, tmp_path: Path) -> None:
    wheels, place = tmp_path / "wheels", tmp_path / "place"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    own = ["--no-index", "--no-deps"]
    run([*pip, "wheel", *own, "--no-build-isolation", "--wheel-dir", wheels, unpacked], tmp_path)
    (wheel,) = wheels.glob("vistrails_parallelflow-*.whl")

    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (file,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
        points = ConfigParser()
        points.read_string(archive.read(file).decode())
    assert dict(points["vistrails.packages"]) == {"parallelflow": "parallelflow.ipyparallel_flow"}
    assert "parallelflow/py.typed" in names
    assert any(name.endswith("LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"parallelflow"}

    run([*pip, "install", *own, "--target", place, wheel], tmp_path)
    assert modules(place) == modules(CLONE)
    assert run([sys.executable, "-c", IMPORT], tmp_path, PYTHONPATH=str(place)).split() == [
        str(place / "parallelflow" / "__init__.py"),
        parallelflow.__version__,
        "org.vistrails.parallelflow",
    ]
    found = run([sys.executable, "-c", ENTRY_POINTS], tmp_path, PYTHONPATH=str(place))
    assert found.split() == [str(place), parallelflow.__version__, "['parallelflow.ipyparallel_flow']"]
