"""SIGINT in an engine: it ends an element, and never what must not be left half done.

Cancel interrupts engines at any moment. What an interrupted import leaves is half a module, for good; an interrupt
while a finished chunk is packed would lose what it did; and an engine that is interrupted while it sends its answer owes
the task scheduler that answer for good, and never gets another task.

May import IPython and the standard library.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from IPython import get_ipython


class Interrupts:
    """What has become of SIGINT while `held_back` is in force."""

    def __init__(self) -> None:
        self._arrived = False
        self._before: Callable[[int, FrameType | None], Any] | int | None = None
        # Python delivers signals in the main thread only, which is where engines run their tasks.
        self._works = threading.current_thread() is threading.main_thread()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._arrived = True

    def _hold(self) -> None:
        if self._works:
            self._before = signal.signal(signal.SIGINT, self._note)

    def _release(self) -> None:
        if self._works:
            signal.signal(signal.SIGINT, self._before)

    def _end(self) -> None:
        # A kernel sets SIGINT back by itself, but only when it has sent the answer.
        if getattr(get_ipython(), "kernel", None) is None:
            self._release()

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """Let SIGINT do what it did before, beginning with one that is being held back.

        :raises KeyboardInterrupt: when SIGINT arrived or arrives.
        """
        self._release()
        try:
            if self._arrived:
                raise KeyboardInterrupt
            yield
        finally:
            self._hold()


@contextmanager
def held_back() -> Iterator[Interrupts]:
    """Hold SIGINT back; in an engine until the answer has been sent.

    What arrives and is not let through is dropped in the end: what it was to end is over.
    """
    interrupts = Interrupts()
    interrupts._hold()
    try:
        yield interrupts
    finally:
        interrupts._end()
