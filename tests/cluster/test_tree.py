"""Processes: recognised for certain, found wherever they hide, ended for certain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from helpers import Watch, until

from parallelflow.cluster.tree import Identity, Root, carriers, descendants, end, environment, lives, tokens_of

# Reports its process id in a file, then does what the test wants of it.
_PROGRAM = """
import os, signal, subprocess, sys, time
{setup}
open(sys.argv[1] + ".new", "w").write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""
_DEAF = "[signal.signal(s, signal.SIG_IGN) for s in (signal.SIGTERM, signal.SIGINT)]"

Start = Callable[..., tuple[Root, int]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program with a token; returns its root and its process id once it is set up."""
    made: list[subprocess.Popen[bytes]] = []

    def start(setup: str = "", token: str | None = None) -> tuple[Root, int]:
        token = token or uuid.uuid4().hex
        path = tmp_path / token
        command = [sys.executable, "-c", _PROGRAM.format(setup=setup), str(path)]
        made.append(subprocess.Popen(command, env=environment(token), start_new_session=True))
        until(path.exists)
        return Root(token, Identity.of(made[-1].pid)), made[-1].pid

    yield start
    for popen in made:
        popen.kill()
        popen.wait()


def test_a_process_that_obeys_ends_at_once(start: Start) -> None:
    root, _ = start()
    watch = Watch()
    assert end([root], 300) == []
    assert watch.within(90)  # before anything is killed
    assert not carriers([root.token])


def test_a_process_that_does_not_obey_is_killed_in_time(start: Start) -> None:
    root, _ = start(_DEAF)
    assert end([root], 9) == []


@pytest.mark.parametrize("limit", [-1.0, 0.0, 1e-6])
def test_where_the_time_is_over_it_is_killed_at_once(start: Start, limit: float) -> None:
    root, pid = start(_DEAF)
    assert end([root], limit) == []
    assert not lives(psutil.Process(pid))


def test_what_is_waited_for_may_take_longer_than_the_time(start: Start) -> None:
    root, pid = start(_DEAF)
    assert end([root], 0.2, pause=lambda: time.sleep(0.4)) == []
    assert not lives(psutil.Process(pid))


def test_a_stopped_process_ends(start: Start) -> None:
    root, pid = start()
    deaf, deaf_pid = start(_DEAF)
    os.kill(pid, signal.SIGSTOP)
    os.kill(deaf_pid, signal.SIGSTOP)
    assert end([root, deaf], 9) == []


def test_descendants_end_with_it_even_those_in_sessions_of_their_own(start: Start) -> None:
    child = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)"
    root, _ = start(child)
    until(lambda: len(carriers([root.token])) == 2)
    assert end([root], 60) == []
    assert not carriers([root.token])


def test_children_of_a_killed_process_are_found_although_they_belong_to_init(start: Start) -> None:
    child = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)"
    root, pid = start(child)
    until(lambda: len(carriers([root.token])) == 2)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not lives(psutil.Process(pid)))
    assert len(carriers([root.token])) == 1
    assert end([root], 60) == []


def test_a_child_that_dropped_its_environment_ends_with_its_parent(start: Start) -> None:
    child = "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], env={})"
    root, pid = start(child)
    until(lambda: len(descendants([pid]).get(pid, [])) == 1)
    (child_process,) = descendants([pid])[pid]
    assert end([root], 60) == []
    assert not lives(child_process)


def test_a_child_that_overwrote_its_environment_ends_although_its_token_is_gone(start: Start) -> None:
    root, pid = start(
        "import ctypes\n"
        "first = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), 'environ')\n"
        "number = next(n for n in range(10**6) if not first[n])\n"
        "end = first[number - 1] + len(ctypes.string_at(first[number - 1]))\n"
        "ctypes.memset(first[0], ord('x'), end - first[0])\n"
        "first[0] = None"
    )
    assert root.token not in tokens_of(psutil.Process(pid))
    assert end([root], 0.5) == []  # somebody else's, for all that can be seen
    assert lives(psutil.Process(pid))
    assert end([Root(root.token, root.identity, child=True)], 60) == []
    assert not lives(psutil.Process(pid))


def test_a_process_id_that_belongs_to_another_process_now_is_left_alone(start: Start) -> None:
    root, pid = start()
    assert root.identity is not None
    earlier = Identity(pid, root.identity.create_time - 100)
    assert earlier.process() is None
    assert end([Root("", earlier), Root(uuid.uuid4().hex, root.identity)], 0.5) == []
    assert lives(psutil.Process(pid))


def test_tokens_add_up_so_that_nested_starts_belong_to_both(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = uuid.uuid4().hex
    monkeypatch.setenv("PARALLELFLOW_TOKENS", outer)
    root, pid = start()
    assert [process.pid for process in carriers([outer])] == [pid]
    assert [process.pid for process in carriers([root.token])] == [pid]


def test_a_zombie_does_not_count_as_living() -> None:
    popen = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: psutil.Process(popen.pid).status() == psutil.STATUS_ZOMBIE)
    assert not lives(psutil.Process(popen.pid))
    popen.wait()
