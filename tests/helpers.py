"""What tests in several folders need: waiting with a deadline, and what runs on behalf of the test."""

from __future__ import annotations

import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from parallelflow.cluster.ports import listening_ports
from parallelflow.cluster.tree import TOKENS, carriers

# Options of an engine that a test starts by hand: ipyparallel's own 10 and 5 seconds may be over on a busy machine.
PATIENT_ENGINE = ("--IPEngine.wait_for_url_file=240", "--IPEngine.timeout=240")

# No deadline for what succeeds need be shorter: a busy machine has made seconds of everything.
LONG = 240

# What is meant to succeed may take its time on a busy machine; a test of what takes too long has limits of its own.
PATIENT = {"start_timeout": 200, "stop_timeout": 30, "connect_timeout": 60}


def prefer(folder: Path, **preferences: int) -> None:
    """Have VisTrails' settings say so of our package.

    :param folder: where they are, or are made
    """
    startup = folder / "startup.xml"
    ours = '<package name="ipyparallel_flow"/>'
    before = f'<startup version="0.1"><packages>{ours}</packages></startup>'
    if startup.exists():
        before = startup.read_text(encoding="utf-8")
    keys = "".join(f'<key name="{name}"><int value="{value}"/></key>' for name, value in preferences.items())
    assert ours in before
    folder.mkdir(exist_ok=True)
    after = before.replace(ours, f"{ours[:-2]}><configuration>{keys}</configuration></package>")
    startup.write_text(after, encoding="utf-8")


def until(condition: Callable[[], object], seconds: float = LONG) -> None:
    """Wait until something holds, and fail if it does not within the deadline."""
    end_of_time = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_of_time, f"not within {seconds:g} s"
        time.sleep(0.02)


def with_enough_time(attempt: Callable[[int], bool], *limits: int) -> int:
    """Try something with a time limit that must not be over too soon, and with longer ones where the machine was too busy for that.

    :param attempt: takes a limit in seconds, and tells whether it sufficed
    :param limits: those to try
    :returns: the one that did
    """
    for limit in limits:
        if attempt(limit):
            return limit
    raise AssertionError(f"not even {limits[-1]} s were enough")


class Watch:
    """Tells how long something took, without the time for which a busy machine made it wait."""

    _COUNTS_EVERY = 2.5  # seconds, after which the kernel has counted for certain

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._end: float | None = None
        self._waited = self._wait()

    def stop(self) -> Watch:
        """Count no further."""
        self._end = time.monotonic()
        return self

    def within(self, seconds: float) -> bool:
        """Whether no more than some seconds have passed in which each process of the machine had a core and its files."""
        took = (time.monotonic() if self._end is None else self._end) - self._begin
        if took < seconds:
            return True
        time.sleep(self._COUNTS_EVERY)
        return took - (self._wait() - self._waited) < seconds

    @staticmethod
    def _wait() -> float:
        """For how many seconds any process has waited for a core or for a file since the machine runs."""
        total = 0.0
        for kind in ("cpu", "io"):
            with suppress(OSError):
                some = Path(f"/proc/pressure/{kind}").read_text().splitlines()[0]
                total += int(some.rpartition("=")[2]) / 1e6
        return total


def free_ports(count: int) -> range:
    """Ports in a row that nobody has, below those that the kernel gives away."""
    for first in random.sample(range(20101, 30000, count), k=9800 // count):  # others look for some at the same time
        ports = range(first, first + count)
        with ExitStack() as stack:
            try:
                for port in ports:
                    stack.enter_context(socket.socket()).bind(("", port))
            except OSError:
                continue
            return ports
    raise AssertionError


def is_json(path: Path) -> bool:
    """Whether a file is there that somebody writes, and is whole."""
    try:
        return bool(json.loads(path.read_text()))
    except (OSError, ValueError):
        return False


def command_line(process: psutil.Process) -> list[str]:
    """The words of a process' command line; none if it has ended meanwhile."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def ours() -> list[psutil.Process]:
    """Whatever runs that this test has started, directly or not."""
    return carriers([os.environ[TOKENS].split("/")[-1]])


def listener_at(port: int, processes: Iterable[psutil.Process]) -> psutil.Process:
    """The one of some processes that listens on a port."""
    candidates, found = list(processes), list[psutil.Process]()

    def look() -> bool:
        # The kernel's table of sockets can lack some while others come and go.
        found[:] = [process for process in candidates if port in listening_ports(process)]
        return len(found) == 1

    until(look)
    return found[0]
