"""Where there is no Unix: what is ours can be imported, and its Map runs its elements one after the other, and says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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
del signal.SIGHUP, select.poll
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


def test_nothing_is_imported_that_only_unix_has(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT + IMPORTS],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert (tmp_path / "results").exists(), process.stdout[-3000:]
    tried, failed = json.loads((tmp_path / "results").read_text())
    assert tried > 80
    assert failed == {}
