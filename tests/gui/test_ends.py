"""However VisTrails or the package ends, nothing that was started survives, unless it was let go."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from play import DRIVER, Seen, without_display


def test_nothing_survives_the_package_when_it_is_reloaded_or_disabled(play: Callable[..., Seen]) -> None:
    seen = play("disable_and_reload", may_block=("reloading",))
    assert seen["children"] == []
    assert seen["menu"] == []
    assert not seen["enabled"]


def test_vistrails_quits_with_engines_running_and_windows_open(play: Callable[..., Seen]) -> None:
    seen = play("quit_with_everything_open")
    assert len(seen["children"]) == 2


@pytest.fixture
def window(clean_home: Path) -> subprocess.Popen[bytes]:
    """A VisTrails window in which engines run."""
    process = subprocess.Popen(
        [sys.executable, str(DRIVER), "wait_for_the_end", str(clean_home)],
        env=without_display(clean_home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (clean_home / "ready").exists():
        assert process.poll() is None, "VisTrails ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_a_signal_that_ends_vistrails_ends_what_it_started(window: subprocess.Popen[bytes]) -> None:
    window.send_signal(signal.SIGTERM)
    assert window.wait(30) == -signal.SIGTERM


def test_what_a_crash_left_is_found_and_stopped(window: subprocess.Popen[bytes], play: Callable[..., Seen]) -> None:
    window.kill()
    window.wait()
    seen = play("find_orphans")
    assert sorted(seen["found"]) == ["Controller", "Engine"]
