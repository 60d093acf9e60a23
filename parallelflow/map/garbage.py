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

# So many objects make a piece; to go through them takes 8 ms. The log of an element has about ten.
PIECE = 20_000

# What makes no piece is collected this often, in seconds: a chunk's results, which may be large, are among the garbage.
EVERY = 1.0


@contextmanager
def in_steps(clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[], None]]:
    """Collect garbage only when asked to.

    :param clock: tells the time in seconds.
    :returns: what to call now and then; it collects what is due. Once this has ended it does nothing.
    """
    if not gc.isenabled():
        yield lambda: None
        return
    due = clock() + EVERY
    is_over = False
    added = 0  # objects since the last piece

    def step() -> None:
        nonlocal due, added
        now = clock()
        made, _, _ = gc.get_count()
        if is_over or (made < PIECE and now < due):
            return
        added += made - gc.collect()
        if added >= PIECE:
            gc.freeze()
            added = 0
        due = now + EVERY

    gc.disable()
    gc.freeze()
    try:
        yield step
    finally:
        is_over = True
        gc.unfreeze()
        gc.enable()
