"""Measures what it costs to keep results and to take them again: the same Map with them and without, in turns."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workload import OURS, Workflow

# What is measured.
WHAT = {
    "hits": "1000 kept results taken again, in seconds",
    "10 ms": "1000 elements of 10 ms: time with results kept against without",
    "written": "the same with each of them written to the disk",
    "trivial": "10,000 elements without work: time with results kept against without",
    "many": "100,000 kept results taken again, in seconds",
    "gap": "the same in VisTrails' window: longest time that its event loop was blocked, in seconds",
}
MANY = 100_000


def measure(rounds: int) -> dict[str, list[float]]:
    """Return what each round gave of each thing that is measured.

    :param rounds: how often
    """
    trivial, sleep = Workflow(OURS, "trivial"), Workflow(OURS, "sleep", 0.01)
    found: dict[str, list[float]] = {name: [] for name in WHAT if name != "gap"}  # that needs a window
    trivial.run(1000)
    sleep.run(10)
    with _store(writes_all=True):
        trivial.run(1000)
        found["hits"] = [trivial.run(1000) for _ in range(2 * rounds)][rounds:]
    for _ in range(rounds):
        without = _seconds(sleep, 1000)
        for name, writes_all in (("10 ms", False), ("written", True)):
            with _store(writes_all):
                found[name].append(_seconds(sleep, 1000) / without)
        without = _seconds(trivial, 10_000)
        with _store(writes_all=False):
            found["trivial"].append(_seconds(trivial, 10_000) / without)
    with _store(writes_all=True):
        trivial.run(MANY)
        found["many"] = [trivial.run(MANY)]
    return found


def _seconds(workflow: Workflow, elements: int) -> float:
    time.sleep(0.2)  # whatever the last one has left to do
    return workflow.run(elements)


@contextlib.contextmanager
def _store(writes_all: bool) -> Iterator[None]:
    """Have results kept in a folder that goes afterwards.

    :param writes_all: whether those of elements are kept, too, that are so short that they would run again.
    """
    from vistrails.core.packagemanager import get_package_manager

    from parallelflow.map import kept

    preferences: Any = get_package_manager().get_package_configuration("ipyparallel_flow")
    plain = kept.folder, kept.SHORTEST, kept.READING, preferences.keep_results
    with tempfile.TemporaryDirectory(prefix="pfb") as folder:
        kept.folder, preferences.keep_results = lambda: Path(folder) / "results", "all"
        if writes_all:
            kept.SHORTEST, kept.READING = 0.0, math.inf
        try:
            yield
        finally:
            kept.folder, kept.SHORTEST, kept.READING, preferences.keep_results = plain
