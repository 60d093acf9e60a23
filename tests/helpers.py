"""What tests in several folders need: waiting with a deadline, and what runs on behalf of the test."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

import psutil

from parallelflow.cluster.ports import listening_ports
from parallelflow.cluster.tree import TOKENS, carriers


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something holds, and fail if it does not within the deadline."""
    end_of_time = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_of_time, f"not within {seconds:g} s"
        time.sleep(0.02)


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
