"""The entries of Packages > Parallel Flow, chosen and answered as a user would, in the real window."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import psutil
from play import Seen


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_engines_are_started_and_cleaned_up(play: Callable[..., Seen]) -> None:
    seen = play("start_and_stop")
    assert seen["menu"] == [
        "Start new engine processes",
        "Show information on the cluster",
        "Change profile",
        "Cleanup started processes",
        "Request cluster shutdown",
        "Preferences...",
    ]
    nothing_to_clean, nothing_to_shut_down, started, stopped = (s["text"] for s in seen.said if s["kind"] == "Message")
    assert "nothing to clean up" in nothing_to_clean
    assert "nothing to shut down" in nothing_to_shut_down
    assert "2 engines were started" in started
    assert seen["processes"] == ["controller", "engine", "engine"]
    assert "502 engines" in seen["warning"]
    assert "1 controller and 2 engines" in seen.text("CleanupDialog")
    assert stopped == "Stopped: 1 controller and 2 engines."
    assert seen["left"] == []


def test_a_start_can_be_cancelled_and_a_failed_one_shows_why(play: Callable[..., Seen]) -> None:
    seen = play("cancel_and_fail")
    assert "stopped again" in seen["cancelling"]
    assert seen["after_cancel"] == []
    assert "did not start" in seen.text("FailureDialog")
    assert "Traceback" not in seen.text("FailureDialog")
    assert "no licence for engines" in seen["tail"]
    assert "no licence for engines" in seen["log"]
    assert seen["after_failure"] == []


def test_the_clusters_window_keeps_up_to_date_and_rests_when_closed(play: Callable[..., Seen]) -> None:
    seen = play("watch_the_cluster")
    assert "Connected" in seen["window"]
    assert "this VisTrails" in seen["window"]
    assert "2 engines on 1 host" in seen["window"]
    assert len(seen["copied"].splitlines()) == 3
    assert "signal 9" in seen["ended"]
    assert "gone" in seen["lost"]
    assert seen["asked_when_closed"] == 0


def test_what_runs_is_dealt_with_before_the_profile_is_changed(play: Callable[..., Seen], clean_home: Path) -> None:
    seen = play("change_profile")
    ((name, running),) = seen["profiles"]
    assert name == "default (in use)"
    assert "running on" in running
    assert "'not a name'" in seen["problem"]
    assert not seen["may_be_made"]
    assert seen["profile_after_reject"] == "default"
    assert seen["processes_after_reject"] == ["controller", "engine"]
    assert seen["profile_after_accept"] == "lab"
    assert seen["processes_after_accept"] == []
    assert 'value="lab"' in (clean_home / "settings" / "startup.xml").read_text()


def test_what_was_left_running_is_found_again_and_shut_down(play: Callable[..., Seen], clean_home: Path) -> None:
    seen = play("leave_running")
    assert "Left running: 1 controller and 1 engine." in seen.text("Message")
    record = clean_home / ".ipython" / "profile_default" / "security" / "parallelflow.json"
    pids = [entry["pid"] for entry in json.loads(record.read_text())["processes"]]
    assert len(pids) == 2
    assert all(lives(pid) for pid in pids)
    seen = play("find_and_shut_down")
    assert "earlier VisTrails" in seen["starter"]
    assert "1 engine on 1 host" in seen.text("ShutdownDialog")
    assert "has been shut down" in seen.text("Message")
    assert not any(lives(pid) for pid in pids)
