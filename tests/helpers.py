"""What tests in several folders need: waiting with a deadline, and what runs on behalf of the test."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import psutil

from parallelflow.cluster.tree import TOKENS, carriers


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something holds, and fail if it does not within the deadline."""
    end_of_time = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_of_time, f"not within {seconds:g} s"
        time.sleep(0.02)


def ours() -> list[psutil.Process]:
    """Whatever runs that this test has started, directly or not."""
    return carriers([os.environ[TOKENS]])
