"""What VisTrails sees of the package."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pkg_resources
import pytest

from parallelflow import ipyparallel_flow
from parallelflow.cluster import PREFERENCES

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("registration")]

CLONE = Path(__file__).resolve().parent.parent.parent


def test_the_entry_point_has_a_codepath_that_the_bundled_package_does_not_shadow() -> None:
    names = [point.module_name for point in pkg_resources.iter_entry_points("vistrails.packages")]
    assert "parallelflow.ipyparallel_flow" in names
    assert not any(name.rsplit(".", 1)[-1] == "parallelflow" for name in names)


def test_identifiers_and_name_are_those_that_workflows_depend_on() -> None:
    assert ipyparallel_flow.identifier == "org.vistrails.parallelflow"
    assert ipyparallel_flow.old_identifiers == ["edu.poly.vistrails.parallel_flow"]
    assert ipyparallel_flow.name == "Parallel Flow"


def test_the_configuration_offers_each_preference_with_its_default() -> None:
    offered = {key: getattr(ipyparallel_flow.configuration, key) for key in (each.key for each in PREFERENCES)}
    assert offered == {each.key: each.default for each in PREFERENCES}
    for each in PREFERENCES:
        assert isinstance(offered[each.key], (bool, int) if isinstance(each.default, float) else type(each.default))


SHOW = """
import vistrails.core.application
application = vistrails.core.application.init({"batch": True, "installBundles": False, "loadPackages": False}, args=[])
from vistrails.core.modules.module_registry import get_module_registry
from vistrails.core.packagemanager import get_package_manager
from vistrails.tests.utils import enable_package
enable_package("org.vistrails.parallelflow")
package = get_package_manager().get_package("org.vistrails.parallelflow")
print("codepath", package.codepath, package.version)
print("menu", [text for text, _ in package.menu_items()])
descriptor = get_module_registry().get_descriptor_by_name("org.vistrails.parallelflow", "Map")
registry = get_module_registry()
ports = registry.module_destination_ports_from_descriptor(True, descriptor)
ports += registry.module_source_ports_from_descriptor(True, descriptor)
print("ports", sorted({(port.name, port.sigstring) for port in ports}))
hidden = get_module_registry().get_descriptor_by_name("org.vistrails.parallelflow", "MapChunk")
print("hidden", descriptor.is_hidden, hidden.is_hidden)
palette = package.descriptor_list
print("palette", sorted(each.name for each in palette if not each.is_hidden))
application.destroy()
application.destroy = lambda: None
"""

INSTALLED = "import parallelflow; print(parallelflow.__file__)"


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **environment},
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    # What several tests share is made before a test has a home of its own.
    home = str(tmp_path_factory.mktemp("h"))
    return run(SHOW, HOME=home, TMPDIR=home)


def test_vistrails_shows_the_menu(shown: str) -> None:
    for entry in (
        "Start new engine processes",
        "Show information on the cluster",
        "Change profile",
        "Cleanup started processes",
        "Request cluster shutdown",
    ):
        assert repr(entry) in shown


def test_map_is_in_the_palette_with_its_ports_and_its_engine_half_is_not(shown: str) -> None:
    basic = "org.vistrails.vistrails.basic"
    for port in (
        ("FunctionPort", f"({basic}:Module)"),
        ("InputList", f"({basic}:List)"),
        ("InputPort", f"({basic}:List)"),
        ("OutputPort", f"({basic}:String)"),
        ("Result", f"({basic}:List)"),
    ):
        assert repr(port) in shown
    assert "hidden False True" in shown
    assert "palette ['Filter', 'For', 'Map']" in shown


def test_a_wheel_installs_and_works_outside_the_clone(tmp_path: Path, vistrails_only: Path) -> None:
    wheels, place = tmp_path / "wheels", tmp_path / "place"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(vistrails_only)],
        check=True,
        timeout=240,
    )
    (wheel,) = wheels.glob("vistrails_parallelflow-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "parallelflow/py.typed" in names
    assert not any(name.startswith(("tests", "host", "examples")) for name in names)
    subprocess.run([*pip, "install", "--no-deps", "--target", str(place), str(wheel)], check=True, timeout=240)
    assert str(place) in run(INSTALLED, PYTHONPATH=str(place))
    assert "codepath ipyparallel_flow" in run(SHOW, PYTHONPATH=str(place))


@pytest.fixture
def vistrails_only(tmp_path: Path) -> Path:
    """A copy of the clone's package and metadata, so that building leaves nothing in the clone."""
    import shutil

    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.rst", "LICENSE"):
        shutil.copy(CLONE / name, copy)
    shutil.copytree(CLONE / "parallelflow", copy / "parallelflow", ignore=shutil.ignore_patterns("__pycache__"))
    return copy
