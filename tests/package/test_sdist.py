"""The source distribution: it holds what the clone holds, and what is built from it works outside the clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

import pytest

import parallelflow

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sdist")]

CLONE = Path(__file__).resolve().parent.parent.parent

# What building takes, and what the README tells to do: without any of these it would fail, or make something else.
NEEDED = (
    ".ci/run",
    "LICENSE",
    "MANIFEST.in",
    "Makefile",
    "PKG-INFO",
    "README.rst",
    "benchmarks/run.py",
    "docs/conf.py",
    "docs/index.rst",
    "docs/pictures/hillshade.jpg",
    "examples/demo.py",
    "examples/hillshade.vt",
    "examples/package/setup.py",
    "examples/profiles/ssh/ipcluster_config.py",
    "host/__main__.py",
    "parallelflow/__init__.py",
    "parallelflow/ipyparallel_flow/init.py",
    "parallelflow/py.typed",
    "pyproject.toml",
    "setup.py",
    "tests/conftest.py",
    "tests/data/old_map.vt",
    "tests/lowest.txt",
)

# The folders that the clone has files of its own in.
FOLDERS = (".ci", "benchmarks", "docs", "examples", "host", "parallelflow", "tests")

# What the other targets of make, Python and pip leave in a clone.
GENERATED = (
    "build/lib/parallelflow/api.py",
    "docs/_build/html/index.html",
    "examples/__pycache__/demo.cpython-311.pyc",
    "examples/package/build/lib/bootstrap_example/init.py",
    "examples/package/vistrails_bootstrap_example.egg-info/PKG-INFO",
    "host/__pycache__/debian.cpython-311.pyc",
    "tests/map/__pycache__/parity.cpython-311.pyc",
)

GENERATED_PARTS = {"__pycache__", ".venv", "build", "dist", "_build", "log"}

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
        timeout=240,
        cwd=folder,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, built from a copy of the clone, so that building leaves nothing there."""
    copy = tmp_path_factory.mktemp("clone") / "copy"
    ignored = shutil.ignore_patterns(
        *(".git", ".venv*", ".*_cache", ".coverage*", "build", "dist", "*.egg-info"),
        "__pycache__",  # others write there meanwhile: a file that was listed may be gone when it is copied
    )
    shutil.copytree(CLONE, copy, ignore=ignored)
    for place in GENERATED:
        (copy / place).parent.mkdir(parents=True, exist_ok=True)
        (copy / place).touch()
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


def test_the_oldest_dependencies_that_are_tested_are_the_oldest_that_are_allowed() -> None:
    lines = (CLONE / "tests" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    tested = {line.replace("==", ">=") for line in lines if not line.startswith("#")}
    allowed = {line for line in metadata.requires("vistrails-parallelflow") or () if ";" not in line}
    assert {with_zeros(line) for line in tested} == {with_zeros(line) for line in allowed}


def with_zeros(requirement: str) -> tuple[str, ...]:
    """A requirement's name and lowest version, three numbers of it."""
    name, version = requirement.split(">=")
    return (name, *[*version.split("."), "0", "0"][:3])


def test_its_name_says_which_version_it_is(sdist: Path, unpacked: Path) -> None:
    stem = f"vistrails_parallelflow-{parallelflow.__version__}"
    assert sdist.name == f"{stem}.tar.gz"
    assert unpacked.name == stem


def test_it_holds_what_building_takes_and_the_rest_of_the_clone(unpacked: Path) -> None:
    assert [name for name in NEEDED if not (unpacked / name).is_file()] == []
    for folder in FOLDERS:
        assert files(unpacked, folder) == files(CLONE, folder)


def files(root: Path, folder: str) -> set[str]:
    """The files in a folder of a clone, but for those that were generated."""
    found = {str(path.relative_to(root)) for path in (root / folder).rglob("*") if path.is_file()}
    return {name for name in found if not GENERATED_PARTS & set(Path(name).parts) and ".egg-info" not in name}


def test_it_holds_nothing_that_was_generated(unpacked: Path) -> None:
    found = {path.relative_to(unpacked) for path in unpacked.rglob("*")}
    assert not {path for path in found if GENERATED_PARTS & set(path.parts)}
    # Setuptools' own, whole: what is in the current folder counts before what is installed.
    assert {path.parts[0] for path in found if ".egg-info" in str(path)} == {"vistrails_parallelflow.egg-info"}
    for name in ("PKG-INFO", "entry_points.txt", "requires.txt"):
        assert (unpacked / "vistrails_parallelflow.egg-info" / name).is_file()


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
