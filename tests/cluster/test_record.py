"""The record's lock: where there are no locks, where it is ours already, and what is said when it cannot be had."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import ours

from parallelflow.cluster import ProcessManager, Session, Settings
from parallelflow.cluster import profile as profiles
from parallelflow.cluster.lock import Locked, NotWritten, locked
from parallelflow.cluster.record import CONTROLLER, Entry, Record
from parallelflow.cluster.started import StartedProcess
from parallelflow.cluster.waiting import Wait

# How a file system without locks shows in a process.
_WITHOUT = """
import errno, fcntl, os, sys
flock = fcntl.flock
def lacks(descriptor, operation):
    if os.readlink(f"/proc/self/fd/{descriptor}").startswith(sys.argv[1]):
        raise OSError(int(sys.argv[2]), os.strerror(int(sys.argv[2])))
    flock(descriptor, operation)
fcntl.flock = lacks
"""
_HOLDS = """
from pathlib import Path
from parallelflow.cluster.lock import locked
from parallelflow.cluster.waiting import Wait
with locked(Path(sys.argv[1], "security", "parallelflow.lock"), Wait(240), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path, number: int | None = None) -> subprocess.Popen[str]:
    """A process that holds the lock of a profile's record until its standard input is closed."""
    code = "import sys\n" + _HOLDS if number is None else _WITHOUT + _HOLDS
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(number)], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n", process.communicate()[1]
    return process


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_has_locks_all_the_same(
    profile: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    flock = fcntl.flock

    def lacks(descriptor: int, operation: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(profile)):
            raise OSError(number, os.strerror(number))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lacks)
    path = profile / "security" / "parallelflow.lock"
    Record(profile).put(Entry("a", "engine"))
    assert [entry.token for entry in Record(profile).read()] == ["a"]
    other = holder(profile, number)
    with (
        pytest.raises(Locked, match=r"Another VisTrails holds .*-held; .*remove that file"),
        locked(path, Wait(0.1), "it"),
    ):
        pass
    said = other.communicate(timeout=240)  # ends, and gives it back
    assert (other.returncode, said[1]) == (0, "")
    Record(profile).put(Entry("b", "engine"))
    killed = holder(profile, number)
    killed.kill()
    killed.communicate(timeout=240)
    Record(profile).put(Entry("c", "engine"))
    assert [entry.token for entry in Record(profile).read()] == ["a", "b", "c"]


def test_a_lock_that_cannot_be_had_is_no_other_vistrails(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(NotWritten, match="cannot be written: Input/output error"):
        Record(profile).put(Entry("a", "engine"))


def test_connecting_takes_no_lock(profile: Path, make_session: Callable[..., Session]) -> None:
    session = make_session(profile="test", engines=1)
    session.client()
    for name in ("parallelflow.lock", "parallelflow-start.lock"):
        (profile / "security" / name).unlink(missing_ok=True)  # as some versions of filelock leave them
    assert make_session(profile="test").connect() is not None
    assert [path.name for path in (profile / "security").glob("*.lock")] == []
    session.let_go()  # which is on record
    other = holder(profile)
    try:
        second = make_session(profile="test", engines=1)
        connection = second.connect()
        assert connection is not None
        assert len(connection.client.ids) == 1
        assert [process.let_go for process in second.state().processes] == [True, True]
    finally:
        other.communicate(timeout=240)
    second.stop_started()
    assert ours() == []


_INTERRUPTED = """
import os, signal
from parallelflow.cluster import Session, Settings
session = Session(lambda: Settings(profile="test", engines=1, start_timeout=200, connect_timeout=60))
session.client()
def change(old):
    os.kill(os.getpid(), signal.SIGTERM)
    return old
session.processes.record.change(change)
"""


def test_sigterm_while_the_record_is_written_ends_all_the_same(profile: Path, own_signals: None) -> None:
    command = [sys.executable, "-c", _INTERRUPTED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert "Another VisTrails" not in done.stderr
    assert ours() == []
    assert Record(profile).read() == []


def test_what_another_controller_has_written_meanwhile_stays(profile: Path) -> None:
    manager = ProcessManager(profile, Settings(profile="test"))
    engines, client = profile / "log" / "engines.json", profiles.client_file(profile)
    client.parent.mkdir(exist_ok=True)
    engines.parent.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        info = {"interface": "tcp://127.0.0.1", "registration": server.getsockname()[1], "key": "another's"}
        for path in (engines, client):
            path.write_text(json.dumps(info))
        mine = StartedProcess(Entry("token", CONTROLLER, hub="the mark of ours"))
        manager._forget([mine])
        assert (engines.exists(), client.exists()) == (True, True)
        mine.entry = replace(mine.entry, hub=profiles.fingerprint(info))
        manager._forget([mine])
        assert (engines.exists(), client.exists()) == (False, False)
