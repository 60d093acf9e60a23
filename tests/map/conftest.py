"""A VisTrails for the parity tests, started once, with packages of the user's own."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host import vistrails_window

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def vistrails_folder() -> Iterator[Path]:
    """The folder of the tests' VisTrails, with the user's packages in it."""
    folder = Path(tempfile.mkdtemp(prefix="parity_vistrails"))
    shutil.copytree(HERE / "userpackages", folder / "userpackages")
    (folder / "userpackages" / "__init__.py").write_text("")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def distribution(vistrails_folder: Path) -> Path:
    """A folder with an installed distribution that has a VisTrails package, as an entry point."""
    place = vistrails_folder / "site"
    shutil.copytree(HERE / "distribution", place)
    info = place / "parity_distribution-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: parity-distribution\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[vistrails.packages]\nparity = parity_distribution.parity_entry\n")
    sys.path.append(str(place))
    import pkg_resources

    pkg_resources.working_set.add_entry(str(place))
    return place


@pytest.fixture(scope="session")
def vistrails(vistrails_folder: Path, distribution: Path) -> Iterator[Any]:
    """VisTrails without a window, with our package and the tests' own enabled."""
    plain_import = builtins.__import__
    home = os.environ["HOME"]
    os.environ["HOME"] = str(vistrails_folder)
    said = io.StringIO()
    vistrails_window.prepare(vistrails_folder)  # VisTrails' own settings enable all that is large, VTK for instance
    try:
        with contextlib.redirect_stderr(said):
            import vistrails.core.application
            from vistrails.tests.utils import enable_package

            application = vistrails.core.application.init(
                {
                    "batch": True,
                    "installBundles": False,
                    "errorLog": False,
                    "singleInstance": False,
                    "dotVistrails": str(vistrails_folder),
                    "userPackageDir": str(vistrails_folder / "userpackages"),
                },
                args=[],
            )
            for identifier in (
                "org.vistrails.vistrails.control_flow",
                "org.vistrails.parallelflow",
                "org.vistrails.parallelflow.parity",
            ):
                enable_package(identifier)
    except SystemExit:
        pytest.fail(f"VisTrails did not start:\n{said.getvalue()}")
    finally:
        os.environ["HOME"] = home
    yield application
    builtins.__import__ = plain_import
    from vistrails.core.interpreter.cached import CachedInterpreter

    CachedInterpreter.cleanup()
    application.destroy()
    # It would do so again, when half of Python is gone already.
    application.destroy = lambda: None


@pytest.fixture
def parity(vistrails: Any, on_shared_cluster: Any) -> Any:
    """VisTrails and two engines, to run workflows with either Map."""
    return vistrails


@pytest.fixture
def held() -> Iterator[dict[str, Any]]:
    """What the module Held gives."""
    import parity_values

    parity_values.HELD.clear()
    yield parity_values.HELD
    parity_values.HELD.clear()


@pytest.fixture
def own_temporaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for the temporary folders that VisTrails leaves when it saves or opens a file."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
