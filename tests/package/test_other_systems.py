"""Where there is no Unix: what is ours can be imported, and its Map runs its elements one after the other, and says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# Our modules find neither what Windows lacks nor its names; everybody else's still do.
WITHOUT = """
import builtins, importlib, json, pkgutil, select, signal, sys
import asyncio, ipyparallel, psutil, zmq
lacking = {"fcntl", "termios", "pwd", "grp", "resource", "pty", "tty"}
real = builtins.__import__
def without(name, globals=None, *rest):
    if name in lacking and (globals or {}).get("__name__", "").split(".")[0] in ("parallelflow", "host"):
        raise ImportError(f"no {name} here")
    return real(name, globals, *rest)
builtins.__import__ = without
import os
del signal.SIGHUP, select.poll, os.geteuid
"""

IMPORTS = """
import vistrails.core.application
options = {"batch": True, "installBundles": False, "errorLog": False, "loadPackages": False, "dotVistrails": "settings"}
vistrails.core.application.init(options, args=[])
import parallelflow, host
failed, tried = {}, 0
for package in (parallelflow, host):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__"):
            tried += 1
            try:
                importlib.import_module(found.name)
            except Exception as error:
                failed[found.name] = repr(error)
open("results", "w").write(json.dumps([tried, failed]))
import os
os._exit(0)
"""


MAP = """
import os, vistrails.core.application
options = {"batch": True, "installBundles": False, "errorLog": False, "loadPackages": False, "dotVistrails": "settings"}
vistrails.core.application.init(options, args=[])
from vistrails.core import debug
from vistrails.core.packagemanager import get_package_manager
from vistrails.tests.utils import execute
for codepath in ("controlflow", "ipyparallel_flow"):
    get_package_manager().late_enable_package(codepath)
from parallelflow.map import module as maps
maps._HAS_CLUSTERS = False
said = []
debug.warning = debug.log = lambda text, *more: said.append(text)
from vistrails.tests.utils import intercept_result
source = ("PythonSource", "org.vistrails.vistrails.basic", [("source", [("String", "o%20%3D%20i%20%2A%20i")])])
with intercept_result(maps.Map, "Result") as results:
    errors = execute(
        [
            source,
            ("Map", "org.vistrails.parallelflow", [
                ("InputPort", [("List", "['i']")]), ("OutputPort", [("String", "o")]), ("InputList", [("List", "[1, 2, 3]")]),
            ]),
        ],
        [(0, "self", 1, "FunctionPort")],
        [(0, "input", "i", "org.vistrails.vistrails.basic:Integer"), (0, "output", "o", "org.vistrails.vistrails.basic:Integer")],
    )
open("results", "w").write(json.dumps([bool(errors), results, said]))
os._exit(0)
"""


def run(folder: Path, code: str) -> Any:
    """Run code where there is no Unix, and return what it wrote to the file `results`."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT + code],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    assert (folder / "results").exists(), process.stdout[-3000:]
    return json.loads((folder / "results").read_text())


def test_nothing_is_imported_that_only_unix_has(tmp_path: Path) -> None:
    tried, failed = run(tmp_path, IMPORTS)
    assert tried > 80
    assert failed == {}


def test_a_map_runs_its_elements_one_after_the_other_and_says_that_clusters_cannot_be_had(tmp_path: Path) -> None:
    failed, results, said = run(tmp_path, MAP)
    assert not failed
    assert results == [[1, 4, 9]]
    assert [text for text in said if "Clusters need Linux" in text]
