"""Threads are to be had even when Python ends, which starts none any more from 3.12 on."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from helpers import until

from parallelflow.cluster import threads

_AT_THE_END = """
import atexit
from concurrent import futures
from parallelflow.cluster import threads

threads.reserve(2)

@atexit.register
def end():
    inner = []
    outer = threads.start(lambda: futures.wait([threads.start(lambda: inner.append(1), "inner")]), "outer")
    assert futures.wait([outer], 10).done, "the reserved threads do nothing"
    print(inner, flush=True)
"""


def test_reserved_threads_work_when_python_ends() -> None:
    run = subprocess.run([sys.executable, "-c", _AT_THE_END], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("[1]\n", "")


def test_the_outcome_tells_when_it_has_ended_and_what_was_raised() -> None:
    go = threading.Event()
    outcome = threads.start(go.wait, "waits")
    assert not outcome.done()
    go.set()
    assert outcome.result(10) is None
    with pytest.raises(ZeroDivisionError):
        threads.start(lambda: 1 / 0, "fails").result(10)


def test_dismissed_threads_end() -> None:
    def reserved() -> int:
        return sum(thread.name == "parallelflow-reserve" for thread in threading.enumerate())

    before = reserved()
    threads.reserve(3)
    assert reserved() == before + 3
    threads.dismiss(3)
    until(lambda: reserved() == before)
