"""The entries of Packages > Parallel Flow, chosen and answered as a user would, in the real window."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from helpers import until
from play import Seen

from parallelflow.cluster import Session, Settings
from parallelflow.cluster import profile as profiles
from parallelflow.cluster.machine import this_machine
from parallelflow.cluster.record import Entry, Record

pytestmark = pytest.mark.slow


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_engines_are_started_and_cleaned_up(play: Callable[..., Seen]) -> None:
    seen = play("start_and_stop")
    assert seen["menu"] == [
        "Start new engine processes",
        "Show information on the cluster",
        "Change profile",
        "Cleanup started processes",
        "Request cluster shutdown",
        "Run parameter exploration on the cluster",
        "Run loops of selected modules in parallel",
        "Run loops of selected modules one after the other",
        "Make selected Maps parallel",
        "Make them serial again",
        "Kept results...",
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
    assert seen["processes after a shutdown that was cancelled"] == ["controller", "engine", "engine"]
    assert seen["left"] == []


def test_a_start_can_be_cancelled_and_a_failed_one_shows_why(play: Callable[..., Seen]) -> None:
    seen = play("cancel_and_fail")
    assert "stopped again" in seen["cancelling"]
    assert seen["after_cancel"] == []
    assert "did not start" in seen.text("FailureDialog")
    assert "Traceback" not in seen.text("FailureDialog")
    assert "no licence for engines" in seen["tail"]
    assert "no licence for engines" in seen["log"]
    # Where two engines say two things, both are shown.
    assert seen.text("FailureDialog").startswith("2 of 2 engines did not start. | The ends of their logs:")
    for text in (seen["tails"], seen["logs"]):
        assert "no licence for engines" in text
        assert "the folder is taken" in text
    assert seen["tails"].count("ended with exit status 3. Its log is /") == 2
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


def test_what_cannot_be_stopped_is_shown_and_let_go_of(play: Callable[..., Seen], clean_home: Path) -> None:
    folder = profiles.create("default")
    state = {"job_id": "4711", "profile_dir": str(folder)}
    job = {"launcher": "ipyparallel.cluster.launcher.SlurmEngineSetLauncher", "n": 1, "uuids": [], "state": state}
    machine = {"host": socket.gethostname(), "machine": this_machine()}
    Record(folder).put(Entry("token", "job", job=job, let_go=True, stuck="It is on a machine that is gone.", **machine))
    seen = play("let_go_of_what_cannot_be_stopped")
    assert "It is on a machine that is gone.\nIt is tried again at each start and stop." in seen["stuck"]
    assert "gone" not in seen["after"]
    assert Record(folder).read() == []


def test_what_runs_is_dealt_with_before_the_profile_is_changed(play: Callable[..., Seen], clean_home: Path) -> None:
    seen = play("change_profile")
    ((name, running),) = seen["profiles"]
    assert name == "default (in use)"
    assert "running on" in running
    assert "'not a name'" in seen["problem"]
    assert not seen["may_be_made"]
    stayed, left, back, stopped = seen["steps"]
    assert stayed[:2] == ["default", ["controller", "engine"]]
    assert left[:2] == ["lab", []]
    assert "Left running under 'default': 1 controller and 1 engine." in left[2]
    assert back[:2] == ["default", ["controller", "engine"]]
    assert "It is connected to its cluster: 1 engine on 1 host." in back[2]
    assert stopped[:2] == ["lab", []]
    assert "No cluster of it is running." in stopped[2]
    assert 'value="lab"' in (clean_home / "settings" / "startup.xml").read_text()


def test_kept_results_are_cleared_one_or_all(play: Callable[..., Seen]) -> None:
    seen = play("clear_kept_results")
    one, two, three = ["one.vt", "Map", "1"], ["two.vt", "Map", "2"], ["three.vt", "Map", "3"]
    assert seen["listed"] == [[one, three, two], ["one.vt", "three.vt"], [one, three]]
    assert seen["may clear before a row is selected"] is False
    assert seen["files"] == 0
    assert [each["text"].split(".")[0] for each in seen.said if each["kind"] == "Message"] == [
        "No results are kept"
    ] * 2


@pytest.fixture
def somebody_elses(clean_home: Path) -> Iterator[Session]:
    """A cluster with one engine that somebody else has started."""
    process = subprocess.Popen([sys.executable, "-m", "parallelflow", "start", "-n", "1"], stdout=subprocess.DEVNULL)
    assert process.wait(240) == 0
    # What a terminal starts is on record as left running by VisTrails; without the record it is anybody's.
    profile = clean_home / ".ipython" / "profile_default"
    (profile / "security" / "parallelflow.json").unlink()
    session = Session(Settings)
    connection = session.connect()
    assert connection is not None
    yield session
    session.shutdown_cluster()


def test_vistrails_disconnects_from_somebody_elses_cluster_and_leaves_it_running(
    somebody_elses: Session, play: Callable[..., Seen]
) -> None:
    seen = play("with_somebody_elses_controller")
    first, second = (each["text"] for each in seen.said if each["kind"] == "CleanupDialog")
    assert "VisTrails started none of the processes" in first
    assert "VisTrails started these processes" in second
    disconnected, started, stopped = (each["text"] for each in seen.said if each["kind"] == "Message")
    assert disconnected == "VisTrails is disconnected from the cluster, which goes on running."
    assert "1 engine was started." in started
    assert "Stopped: 1 engine." in stopped
    assert "disconnected from the cluster" in stopped
    assert seen["disconnected"]
    assert seen["processes"] == ["engine"]
    assert seen["engines"] == 2
    assert seen["left"] == [[], False]
    until(lambda: len(somebody_elses.state().engines) == 1)  # which the hub tells its clients after it has heard of it


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
