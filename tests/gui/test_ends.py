"""However VisTrails or the package ends, nothing that was started survives, unless it was let go."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from play import DRIVER, Seen, without_display

from parallelflow.cluster import Session, Settings, profile
from parallelflow.cluster.record import Record
from parallelflow.cluster.tree import lives

pytestmark = [pytest.mark.kills, pytest.mark.window]


def test_nothing_survives_the_package_when_it_is_reloaded_or_disabled(play: Callable[..., Seen]) -> None:
    seen = play("disable_and_reload", may_block=("reloading",))
    assert seen["children"] == []
    assert seen["menu"] == []
    assert not seen["enabled"]


def test_vistrails_quits_with_engines_running_and_windows_open(play: Callable[..., Seen]) -> None:
    seen = play("quit_with_everything_open")
    assert len(seen["children"]) == 2


@pytest.fixture
def open_window(clean_home: Path) -> Callable[[str], subprocess.Popen[bytes]]:
    """Opens a VisTrails window in which a scenario goes on until the process ends."""

    def run(scenario: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, str(DRIVER), scenario, str(clean_home)],
            env=without_display(clean_home),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 240
        while not (clean_home / "ready").exists():
            assert process.poll() is None, "VisTrails ended"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return process

    return run


@pytest.mark.usefixtures("own_signals")
def test_a_signal_that_ends_vistrails_ends_what_it_started(
    open_window: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    window = open_window("wait_for_the_end")
    window.send_signal(signal.SIGTERM)
    assert window.wait(240) == -signal.SIGTERM


CRASH = """
import os, sys
from parallelflow.cluster import Session, Settings
Session(lambda: Settings(engines=1, profile=sys.argv[1])).client()
os.kill(os.getpid(), 9)
"""


def crash(name: str) -> list[psutil.Process]:
    """Leave a controller and an engine running on a profile, and who watches over them, as something that crashes does."""
    command = [sys.executable, "-c", CRASH, name]
    assert subprocess.run(command, check=False, timeout=240).returncode == -signal.SIGKILL
    found = [psutil.Process(entry.pid) for entry in Record(profile.folder_of(name)).read()]
    assert len(found) == 2
    return found


@pytest.fixture
def orphans(clean_home: Path) -> list[psutil.Process]:
    """What something that crashed has left running."""
    return crash("default")


def test_what_a_crash_left_is_found_and_stopped(orphans: list[psutil.Process], play: Callable[..., Seen]) -> None:
    seen = play("find_orphans", ANSWER="stop")
    assert sorted(seen["found"]) == ["Controller", "Engine"]
    assert not any(lives(process) for process in orphans)


def test_what_a_crash_left_on_another_profile_is_found_and_stopped(play: Callable[..., Seen]) -> None:
    profile.create("lab")
    left = crash("lab")
    seen = play("find_orphans_of_another_profile")
    assert sorted(seen["found"]) == [["Controller", "lab"], ["Engine", "lab"]]
    assert not any(lives(process) for process in left)


def test_what_a_crash_left_is_used_again_and_ends_with_vistrails(
    orphans: list[psutil.Process], play: Callable[..., Seen]
) -> None:
    seen = play("find_orphans", ANSWER="accept")
    assert seen["let go"] == [False, False]
    assert not any(lives(process) for process in orphans)


def test_what_a_crash_left_runs_on_if_the_user_says_so(
    orphans: list[psutil.Process], play: Callable[..., Seen]
) -> None:
    seen = play("find_orphans", ANSWER="reject")
    assert seen["let go"] == [True, True]
    assert all(lives(process) for process in orphans)
    Session(Settings).shutdown_cluster()


def test_a_signal_ends_vistrails_while_it_asks_about_what_a_crash_left(
    orphans: list[psutil.Process], open_window: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    window = open_window("hesitate")
    window.send_signal(signal.SIGTERM)
    assert window.wait(240) == -signal.SIGTERM
    assert all(lives(process) for process in orphans)
    # The question has not been answered, so the next VisTrails asks it again.
    assert not any(entry.let_go for entry in Record(profile.locate("default")).read())
    Session(Settings).shutdown_cluster()
