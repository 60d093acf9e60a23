"""Workflows that were saved with the package that VisTrails bundles open and run with ours.

`tests/data/old_map.vt` was saved by that package's own Map, see `make_old_map`.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from example_runs import ROOT, Batch, run_python

from parallelflow import ipyparallel_flow

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("old workflow")]

OLD_MAP = ROOT / "tests" / "data" / "old_map.vt"
OURS = [ipyparallel_flow.identifier, ipyparallel_flow.version]
SQUARES = [n * n for n in range(10)]

# The bundled package cannot be loaded with a current IPython. With an old one it can; this puts back what it needs.
OLD_IPYTHON = """
import IPython.paths, IPython.utils.path
IPython.utils.path.get_ipython_dir = IPython.paths.get_ipython_dir
IPython.utils.path.locate_profile = IPython.paths.locate_profile
"""

# The packages in the user's settings, and whether the bundled one can be loaded.
SETTINGS = {
    "ours is enabled": (["controlflow", "ipyparallel_flow"], False),
    "ours is not enabled": (["controlflow"], False),
    "both are in the settings": (["controlflow", "parallelflow", "ipyparallel_flow"], False),
    "both are in the settings, the bundled one works": (["parallelflow", "ipyparallel_flow", "controlflow"], True),
    "the bundled one is in the settings and does not work": (["controlflow", "parallelflow"], False),
}


@pytest.fixture(params=SETTINGS, scope="module")
def outcome(request: pytest.FixtureRequest, batch: Batch, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of the old workflows, with the settings of a user."""
    packages, bundled_works = SETTINGS[request.param]
    folder = tmp_path_factory.mktemp("p")
    (folder / "old_ipython.py").write_text(OLD_IPYTHON, encoding="utf-8")
    more = {"import": ["old_ipython"]} if bundled_works else {}
    return batch([{"file": str(OLD_MAP)}], packages, path=str(folder), **more)


def test_an_old_workflow_is_upgraded_and_gives_the_right_results(outcome: dict[str, Any]) -> None:
    runs = outcome["runs"]
    assert [run["errors"] for run in runs.values()] == [{}, {}, {}]
    assert runs["old_map: source"]["outputs"]["Map"]["Result"] == SQUARES
    assert runs["old_map: group"]["outputs"]["Map"]["Result"] == [n * n + 100 * n for n in range(10)]
    assert runs["old_map: inside a group"]["outputs"]["Total"]["Result"] == sum(SQUARES)
    assert runs["old_map: source"]["maps"] == runs["old_map: group"]["maps"] == [["", *OURS]]
    assert runs["old_map: inside a group"]["maps"] == [["Squares", *OURS]]
    assert "ipyparallel_flow" in outcome["enabled after"]
    assert outcome["left"] == []


def test_the_bundled_package_is_switched_off_in_the_settings(outcome: dict[str, Any]) -> None:
    settings = (outcome["folder"] / "dot-vistrails" / "startup.xml").read_text(encoding="utf-8")
    enabled = settings.split("<disabledpackages")[0]
    assert 'name="ipyparallel_flow"' in enabled
    assert 'name="parallelflow"' not in enabled


def test_an_old_workflow_opens_in_the_window(tmp_path: Path) -> None:
    process = run_python([str(Path(__file__).with_name("open_in_window.py")), str(tmp_path), str(OLD_MAP)], tmp_path)
    result = tmp_path / "shown.json"
    assert result.is_file(), process.stdout[-5000:]
    shown = json.loads(result.read_text(encoding="utf-8"))
    assert "failure" not in shown, shown["failure"]
    versions = shown["old_map.vt"]
    assert set(versions) == {"source", "group", "inside a group"}
    assert all(version["drawn"] == 3 and not version["invalid"] for version in versions.values())


def test_the_file_is_from_the_bundled_package() -> None:
    with zipfile.ZipFile(OLD_MAP) as archive:
        text = archive.read("vistrail").decode()
    assert text.count('name="Map" namespace="" package="edu.poly.vistrails.parallel_flow" version="0.1.1"') >= 3
    assert ipyparallel_flow.identifier not in text
