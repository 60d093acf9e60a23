"""The record's lock: where there are no locks, where it is ours already, and what is said when it cannot be had."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers import ours

from parallelflow.cluster import ClusterError
from parallelflow.cluster import record as records
from parallelflow.cluster.record import Entry, NotWritten, Record, locked
from parallelflow.cluster.waiting import Wait


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_gets_one_of_this_machine(
    profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    flock = fcntl.flock

    def lacks(descriptor: int, operation: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(profile)):
            raise OSError(number, os.strerror(number))
        flock(descriptor, operation)

    monkeypatch.setattr(records.fcntl, "flock", lacks)
    monkeypatch.setattr(records.tempfile, "tempdir", str(tmp_path))
    Record(profile).put(Entry("a", "engine"))
    assert [entry.token for entry in Record(profile).read()] == ["a"]
    path = profile / "security" / "parallelflow.lock"
    refused: list[ClusterError] = []

    def other() -> None:
        try:
            with locked(path, Wait(0.1), "it"):
                pass
        except ClusterError as error:
            refused.append(error)

    with locked(path, Wait(5), "it"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "holds" in str(refused[0])


def test_a_lock_that_cannot_be_had_is_no_other_vistrails(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(records.fcntl, "flock", fails)
    with pytest.raises(NotWritten, match="cannot be written: Input/output error"):
        Record(profile).put(Entry("a", "engine"))


_INTERRUPTED = """
import os, signal
from parallelflow.cluster import Session, Settings
session = Session(lambda: Settings(profile="test", engines=1))
session.client()
def change(old):
    os.kill(os.getpid(), signal.SIGTERM)
    return old
session.processes.record.change(change)
"""


def test_sigterm_while_the_record_is_written_ends_all_the_same(profile: Path, own_signals: None) -> None:
    command = [sys.executable, "-c", _INTERRUPTED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert "Another VisTrails" not in done.stderr
    assert ours() == []
    assert Record(profile).read() == []
