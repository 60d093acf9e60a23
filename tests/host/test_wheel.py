"""The wheel made of the repaired VisTrails is a distribution like any other."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from host import wheel

pytestmark = pytest.mark.host


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder like the one that Debian's package unpacks to."""
    packages = tmp_path / "dist-packages"
    files = {
        "vistrails/__init__.py": "answer = 42\n",
        "vistrails/gui/resources/icon.png": "not really\n",
        "vistrails/__pycache__/__init__.cpython-311.pyc": "stale\n",
        "vistrails-3.0.egg-info/PKG-INFO": (
            "Metadata-Version: 2.1\nName: vistrails\nVersion: 3.0\nSummary: Ä\nHome-page: x\nAuthor: x\n"
            "Author-email: x\nLicense: BSD\nKeywords: x\nClassifier: Python :: 2 :: Only\n\nText\n"
        ),
    }
    for name, text in files.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(text, encoding="utf-8")
    return packages


def test_pip_installs_the_wheel_with_its_data_files(tree: Path, tmp_path: Path) -> None:
    wheel.build(tree, tmp_path / wheel.NAME)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(tmp_path / "to"), str(tmp_path / wheel.NAME)], check=True, timeout=240)
    assert (tmp_path / "to/vistrails/gui/resources/icon.png").read_text() == "not really\n"
    metadata = (tmp_path / "to/vistrails-3.0.dist-info/METADATA").read_text(encoding="utf-8")
    assert "Requires-Dist: setuptools<81" in metadata
    assert "Python :: 2" not in metadata


def test_the_record_names_every_file_with_its_hash_and_size(tree: Path, tmp_path: Path) -> None:
    wheel.build(tree, tmp_path / wheel.NAME)
    with zipfile.ZipFile(tmp_path / wheel.NAME) as archive:
        rows = csv.reader(io.StringIO(archive.read("vistrails-3.0.dist-info/RECORD").decode()))
        record = {name: (digest, size) for name, digest, size in rows}
        assert set(record) == set(archive.namelist())
        assert not any("__pycache__" in name for name in record)
        for name, (digest, size) in record.items():
            if name.endswith("RECORD"):
                continue
            data = archive.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={expected}", str(len(data)))


def test_the_same_tree_makes_the_same_wheel(tree: Path, tmp_path: Path) -> None:
    for name in ("one.whl", "two.whl"):
        wheel.build(tree, tmp_path / name)
    assert (tmp_path / "one.whl").read_bytes() == (tmp_path / "two.whl").read_bytes()


def test_a_wheel_that_could_not_be_finished_is_not_there(tree: Path, tmp_path: Path) -> None:
    (tree / "vistrails-3.0.egg-info/PKG-INFO").unlink()
    with pytest.raises(FileNotFoundError):
        wheel.build(tree, tmp_path / wheel.NAME)
    assert not (tmp_path / wheel.NAME).exists()


def test_the_installed_vistrails_is_whole() -> None:
    vistrails = importlib.metadata.distribution("vistrails")
    assert (vistrails.version, vistrails.metadata["License"]) == ("3.0", "BSD")
    assert set(vistrails.requires or ()) == set(wheel.requirements())
    assert vistrails.metadata.get_all("Provides-Extra") == ["visual"]
    files = vistrails.files or []
    assert len(files) > 900
    assert all(Path(str(file.locate())).exists() for file in files)


@pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")
def test_vistrails_finds_this_projects_entry_point() -> None:
    from pkg_resources import iter_entry_points

    assert "parallelflow.ipyparallel_flow" in [point.module_name for point in iter_entry_points("vistrails.packages")]
