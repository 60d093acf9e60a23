"""Runs Python in processes of its own, away from the user's home, with the examples' modules at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def run_python(
    arguments: list[str], home: Path, limit: float = 600, path: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run Python with its home in a folder, with ``examples`` on the path.

    :param limit: seconds that it may take
    :param path: more for PYTHONPATH
    """
    path = os.pathsep.join(filter(None, (path, str(EXAMPLES))))
    return run([sys.executable, *arguments], home, limit, PYTHONPATH=path)


def run(command: list[str], home: Path, limit: float = 600, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with its home in a folder, which is also where it runs.

    :param limit: seconds that it may take
    :param variables: more for its environment
    """
    # VisTrails leaves files behind that it has unpacked.
    temporary = home / "t"
    temporary.mkdir(mode=0o700, exist_ok=True)
    environment = {
        **os.environ,
        "HOME": str(home),
        "IPYTHONDIR": str(home / ".ipython"),
        "QT_QPA_PLATFORM": "offscreen",
        "TMPDIR": str(temporary),
        "XDG_RUNTIME_DIR": str(temporary),
        **variables,
    }
    return subprocess.run(
        command,
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit,
        check=False,
    )


# Does a job of `run_vistrails` and returns the outcome.
Batch = Callable[..., dict[str, Any]]
