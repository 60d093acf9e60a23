"""1 GB on another port of the mapped module, and eight engines on one host: how soon they begin, and what memory they need for it.

``python benchmarks/large_port.py`` runs it in a process of its own, as `run.py` does, and prints what was measured as JSON. Both
Maps, with and without the large value, find fresh engines, which start VisTrails first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

ENGINES = 8
SIZE = 1_000_000_000

# What is to be reached: the time until the first element begins, against one and a half copies and VisTrails' start; gigabytes that
# the engines need together for the value.
WHEN, MEMORY = 1.0, 1.2

_EVERY = 0.2  # seconds between two looks at the engines' memory


class _Memory(threading.Thread):
    """Looks at what engines need together, what they share counted once.

    :ivar most: the most that was seen, in bytes
    """

    def __init__(self, pids: list[int]) -> None:
        super().__init__(daemon=True)
        import psutil

        self.most = 0
        self._engines = [psutil.Process(pid) for pid in pids]
        self._over = threading.Event()

    def run(self) -> None:
        """Look until it is over."""
        while not self._over.wait(_EVERY):
            with suppress(Exception):  # one of them ends
                self.most = max(self.most, sum(each.memory_full_info().pss for each in self._engines))

    def close(self) -> None:
        """Have it end."""
        self._over.set()
        self.join()


def _fresh(session: Any) -> list[int]:
    """Have as many engines as are wanted, none of which has run anything, and return their process ids."""
    session.stop_engines(session.client().ids)
    session.start_engines(ENGINES)
    return list(session.client()[:].apply_sync(os.getpid))


def _one_copy() -> float:
    """Seconds to copy the value into shared memory, once."""
    from parallelflow.map import shared_memory

    room, value = shared_memory.new_room(), bytearray(SIZE)
    if room is None:
        raise RuntimeError("there is no shared memory here")
    value[::4096] = b"x" * len(range(0, SIZE, 4096))
    started = time.perf_counter()
    sent = room.put([memoryview(value)])
    took = time.perf_counter() - started
    shared_memory.forget(sent)
    return took


def measure() -> dict[str, float]:
    """Measure it.

    :returns: seconds: `copy`, one copy; `start`, until the first element begins without the value, `large`, with it; and gigabytes:
        `memory`, what the engines need more with it than without it
    """
    import run
    from workload import OURS, Workflow

    with tempfile.TemporaryDirectory(prefix="pfb") as home, run._vistrails(Path(home)) as session:
        began, most = [], []
        for constant in (8, SIZE):
            workflow = Workflow(OURS, "look", constant=constant)
            memory = _Memory(_fresh(session))
            memory.start()
            workflow.run(4 * ENGINES)
            memory.close()
            began.append(workflow.first)
            most.append(memory.most)
        copy = _one_copy()
    return {"copy": copy, "start": began[0], "large": began[1], "memory": (most[1] - most[0]) / 1e9}


def report() -> dict[str, float]:
    """Measure it in a process of its own, and print what came of it."""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise RuntimeError(f"large_port.py failed:\n{done.stdout}{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1].lstrip("."))
    found["ratio"] = found["large"] / (1.5 * found["copy"] + found["start"])
    print(
        f"{SIZE / 1e9:g} GB on another port, {ENGINES} fresh engines: the first element begins after {found['large']:.1f} s; one"
        f" copy takes {found['copy']:.2f} s, and without the value it begins after {found['start']:.1f} s"
    )
    for name, what, bound in (
        ("ratio", "against one and a half copies and VisTrails' start", WHEN),
        ("memory", "GB that the engines need for it together", MEMORY),
    ):
        verdict = "reached" if found[name] <= bound else "NOT reached"
        print(f"  {what}: {found[name]:.2f} (to reach: at most {bound:g}): {verdict}")
    print()
    return found


if __name__ == "__main__":
    print(json.dumps(measure()))
