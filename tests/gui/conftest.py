"""The fixtures by which tests use the real window."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from play import Seen, player


@pytest.fixture
def play(clean_home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Seen]:
    """Runs a scenario by name in a VisTrails window of its own; see `scenarios`."""
    return player(clean_home, capsys)


@pytest.fixture
def screen(clean_home: Path) -> Iterator[dict[str, str]]:
    """The environment for a window on a screen of 1920 x 1080 pixels, which is only in the memory of an X server."""
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed")
    mine, its = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(its), "-screen", "0", "1920x1080x24", "-nolisten", "tcp", "-noreset"],
        pass_fds=[its],
        stderr=subprocess.DEVNULL,
    )
    os.close(its)
    try:
        with os.fdopen(mine) as numbers:
            number = numbers.readline().strip()
        assert number, "the X server did not start"
        yield {"QT_QPA_PLATFORM": "xcb", "DISPLAY": f":{number}"}
    finally:
        server.terminate()
        server.wait(240)
