"""Python's garbage collection on the client while a Map runs: in small steps, in the Map's own thread.

Left to itself it has two faults there. A full collection goes through the whole log, over and over while that grows: with
100,000 elements each blocks VisTrails' window for 0.4 s. And it runs in whichever thread happens to allocate, so that
ipyparallel's threads may come to delete objects of Qt, which must die in the window's thread.

So what is there when a Map begins is left out until it ends, and what it adds is, piece by piece, once it has been gone through.
A piece may hold garbage of the few chunks that were on their way in that moment; that waits for the end of the Map.

Standard library only.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Young objects are collected this often, in seconds: a chunk's worth each time.
YOUNG_EVERY = 0.2

# All objects are collected this often, in seconds: a chunk's results, which may be large, are among the garbage.
ALL_EVERY = 20.0

# So many objects make a piece; to go through them takes 40 ms. The log of an element has about ten.
PIECE = 100_000


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
    added = 0  # objects since the last piece

    def step() -> None:
        nonlocal young_at, all_at, added
        now = clock()
        if now < young_at:
            return
        young_at = now + YOUNG_EVERY
        made, _, _ = gc.get_count()
        added += made - gc.collect(0)
        if added >= PIECE or now >= all_at:
            gc.collect()
            all_at = now + ALL_EVERY
        if added >= PIECE:
            gc.freeze()
            added = 0

    gc.disable()
    gc.freeze()
    try:
        yield step
    finally:
        gc.unfreeze()
        gc.enable()
