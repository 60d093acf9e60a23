"""Python's garbage collection on the client while a Map runs: in small steps, in the Map's own thread.

Left to itself it has two faults there. A full collection goes through the whole log, over and over while that grows: with
100,000 elements each blocks VisTrails' window for 0.4 s. And it runs in whichever thread happens to allocate, so that
ipyparallel's threads may come to delete objects of Qt, which must die in the window's thread.

Standard library only.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Young objects are collected this often, in seconds: a chunk's worth each time.
YOUNG_EVERY = 0.2

# All objects are collected this often, in seconds, but never for more than this share of the time.
ALL_EVERY = 60.0
SHARE = 0.002


@contextmanager
def in_steps(clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[], None]]:
    """Collect garbage only when asked to.

    :param clock: tells the time in seconds.
    :returns: what to call now and then; it collects what is due.
    """
    if not gc.isenabled():
        yield lambda: None
        return
    young_at, all_at = clock() + YOUNG_EVERY, clock() + ALL_EVERY

    def step() -> None:
        nonlocal young_at, all_at
        begin = clock()
        if begin >= all_at:
            gc.collect()
            all_at = begin + max(ALL_EVERY, (clock() - begin) / SHARE)
        elif begin >= young_at:
            gc.collect(0)
            young_at = begin + YOUNG_EVERY

    gc.disable()
    try:
        yield step
    finally:
        gc.enable()
