"""All but the GUI works where there is no Qt."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import parallelflow

pytestmark = pytest.mark.slow

BLOCKED = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("PyQt5", "PyQt6", "PySide2", "PySide6", "sip"):
            raise ModuleNotFoundError(f"no {name} here", name=name)

sys.meta_path.insert(0, Blocker())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_everything_but_the_gui_is_imported_without_qt() -> None:
    names = [module.name for module in pkgutil.walk_packages(parallelflow.__path__, "parallelflow.")]
    others = [name for name in names if not name.startswith("parallelflow.gui")]
    assert len(others) > 10
    # VisTrails must be started before modules of packages are imported.
    first = "import vistrails.core.application as a; a.init({'batch': True, 'installBundles': False}, args=[])\n"
    done = subprocess.run(
        [sys.executable, "-c", first + BLOCKED, *others], capture_output=True, text=True, check=False, timeout=800
    )
    assert done.returncode == 0, done.stderr
