"""A profile's folder to which nothing can be written: only starting fails. And records that a full disk has cost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import ours

from parallelflow.cluster import ClusterError, Session, StartError
from parallelflow.cluster import profile as profiles
from parallelflow.cluster.record import Record
from parallelflow.command_line import main

pytestmark = pytest.mark.cluster

Make = Callable[..., Session]


@pytest.fixture
def disk(clean_home: Path) -> Iterator[Path]:
    """A small file system for IPython's folder, with a profile named ``test`` on it."""
    place = clean_home / ".ipython"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a file system of its own takes root: {done.stderr.strip()}")
    try:
        profiles.create("test")
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room on it."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0
    return filler


@pytest.fixture
def left_running(disk: Path, make_session: Make) -> Path:
    """The profile's folder, with two engines that were let go."""
    session = make_session(profile="test")
    session.client()
    session.let_go()
    return profiles.folder_of("test")


def test_a_cluster_on_a_full_disk_is_used_and_stopped(left_running: Path, disk: Path, make_session: Make) -> None:
    filler = fill(disk)
    session = make_session(profile="test")
    engines = session.client()[:].apply_sync(os.getpid)
    assert len(engines) == 2
    with pytest.raises(ClusterError, match="No space left on device"):
        session.start_engines(1)
    assert session.client()[:].apply_sync(os.getpid) == engines
    # What could not go on record was not started; what was stopped is off the record, which has room for less.
    session.stop_engines([0])
    kinds = sorted(entry.kind for entry in Record(left_running).read())
    assert kinds == ["controller", "engine"]
    session.stop_started()
    assert ours() == []
    assert Record(left_running).read() == []
    filler.unlink()
    assert len(session.client().ids) == 2


def test_a_cluster_on_a_disk_that_has_become_read_only_is_stopped(
    left_running: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Whatever has a file open there can write on, as on a network file system that is exported read-only from now on.
    subprocess.run(["mount", "--bind", str(disk), str(disk)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=True)
    assert main(["stop", "--profile", "test"]) == 0
    assert "3 processes stopped" in capsys.readouterr().out
    assert ours() == []
    assert main(["start", "--profile", "test"]) == 1
    assert "Read-only file system" in capsys.readouterr().err
    subprocess.run(["umount", "-l", str(disk)], check=True)
    assert main(["status", "--profile", "test"]) == 1
    assert "Left running" not in capsys.readouterr().out


def test_what_a_vistrails_on_a_full_disk_has_started_ends_with_it(disk: Path, make_session: Make) -> None:
    session = make_session(profile="test")
    session.client()
    fill(disk)
    session.close()
    assert ours() == []


def test_a_start_on_a_full_disk_leaves_nothing(disk: Path, make_session: Make) -> None:
    fill(disk)
    with pytest.raises(ClusterError, match="No space left on device") as error:
        make_session(profile="test").client()
    assert not isinstance(error.value, StartError) or "Traceback" not in str(error.value)
    assert ours() == []


@pytest.mark.parametrize(
    "lost", ["parallelflow.json ipcontroller-client.json ipcontroller-engine.json", "parallelflow.json"]
)
def test_processes_are_found_whose_record_is_lost(profile: Path, capsys: pytest.CaptureFixture[str], lost: str) -> None:
    # In a process of its own: while that runs, it may well be the one to stop them.
    start = [sys.executable, "-m", "parallelflow", "start", "-n", "2", "--profile", "test"]
    subprocess.run(start, check=True, timeout=240, stdout=subprocess.DEVNULL)
    before = Record(profile).read()
    for name in lost.split():
        (profiles.security_dir(profile) / name).write_text("")
    assert main(["status", "--profile", "test"]) == (1 if "client" in lost else 0)
    assert (
        "Left running by Parallel Flow, and stopped by 'stop': 1 controller and 2 engines." in capsys.readouterr().out
    )
    found = Record(profile).read()
    assert [(e.token, e.kind, e.uuid, e.pid, e.log_path) for e in found] == [
        (e.token, e.kind, e.uuid, e.pid, e.log_path) for e in before
    ]
    assert main(["doctor", "--profile", "test"]) == 0
    assert main(["stop", "--profile", "test"]) == 0
    assert "3 processes stopped." in capsys.readouterr().out
    assert ours() == []
    assert not Record(profile).path.exists()


def test_a_lost_record_gives_nobody_what_a_running_vistrails_has(profile: Path, make_session: Make) -> None:
    session = make_session(profile="test", engines=1)
    session.client()
    for name in ("parallelflow.json", "ipcontroller-client.json"):
        (profiles.security_dir(profile) / name).unlink()
        (profiles.security_dir(profile) / name).touch()
    running = {process.pid for process in ours()}
    assert main(["stop", "--profile", "test"]) == 0
    assert {process.pid for process in ours()} == running
    # Its own Map goes on.
    assert len(session.client()[:].apply_sync(os.getpid)) == 1
    session.stop_started()
    assert ours() == []


def test_to_stop_or_look_makes_no_profile(clean_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("stop", "stop --all", "status", "profiles", "doctor"):
        main(words.split())
        assert list(clean_home.rglob("*")) == [clean_home / "tmp"], words
    said = capsys.readouterr().out
    assert "there to stop" in said
    assert said.count("No cluster is running for the IPython profile 'default'.") == 2


def test_to_look_for_a_cluster_makes_no_profile(clean_home: Path, make_session: Make) -> None:
    session = make_session()
    assert session.connect() is None
    session.stop_started()
    assert not profiles.folder_of("default").exists()
    assert len(session.client().ids) == 2
