"""The example package for authors of packages: it installs, VisTrails finds it, and its module uses the cluster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean

import pytest
from example_runs import EXAMPLES, run_python

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("example package")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package is installed into, as with ``pip install``."""
    folder = tmp_path_factory.mktemp("i")
    # pip builds in the source's folder.
    source = shutil.copytree(EXAMPLES / "package", folder / "source")
    target = folder / "site"
    command = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(target),
    ]
    process = run_python([*command, str(source)], folder)
    assert process.returncode == 0, process.stdout
    return target


def test_a_package_that_uses_the_api_runs_on_the_cluster(installed: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("use_package.py")
    process = run_python([str(script), str(tmp_path)], tmp_path, path=str(installed))
    assert process.returncode == 0, process.stdout
    outcome = json.loads((tmp_path / "outcome.json").read_text(encoding="utf-8"))
    assert outcome["errors"] == {}
    assert outcome["left"] == []
    mean, low, high = (outcome["outputs"][name] for name in ("mean", "low", "high"))
    assert mean == pytest.approx(fmean(n % 17 for n in range(200)))
    # The standard error of the mean of these numbers is 0.35; the interval is about two of them to each side.
    assert mean - 1 < low < mean - 0.4
    assert mean + 0.4 < high < mean + 1
    assert outcome["outputs"]["on_cluster"] is True
