"""SIGINT in an engine: it ends an element, and never what must not be left half done.

Cancel interrupts engines at any moment. What an interrupted import leaves is half a module, for good; an interrupt
while a finished chunk is packed would lose what it did; and an engine that is interrupted while it sends its answer owes
the task scheduler that answer for good, and never gets another task. An interrupt can be late, too, or somebody else's, and
find an element on the engine that it was not meant for: whoever asked for that has not dropped it.

A child that an element forks is no engine: signals end it as they end any process.

May import IPython and the standard library.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar

from IPython import get_ipython
from traitlets.config import Application


class Interrupts:
    """What has become of SIGINT while `held_back` is in force."""

    def __init__(self) -> None:
        self._arrived = False
        self._ending = False  # SIGTERM has arrived: the engine is to end, and waits for the element that runs
        self._obeyed = False
        self._before: dict[int, Any] = {}
        # Python delivers signals in the main thread only, which is where engines run their tasks.
        self._works = threading.current_thread() is threading.main_thread()
        self._kernel = getattr(get_ipython(), "kernel", None)
        parent = self._kernel.get_parent("shell") if self._kernel is not None else {}
        self._task = parent.get("header", {}).get("msg_id", "")

    @property
    def task(self) -> str:
        """The id of the message that runs; empty outside of an engine."""
        return str(self._task)

    @property
    def ending(self) -> bool:
        """Whether the engine is to end."""
        return self._ending

    @property
    def interrupted_by_mistake(self) -> bool:
        """Whether something was interrupted although whoever asked for it has not dropped it."""
        return self._obeyed and self._kernel is not None and self._task not in self._kernel.aborted

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._arrived = True

    def _obey(self, signum: int, frame: FrameType | None) -> None:
        self._obeyed = True
        raise KeyboardInterrupt

    def _end(self, signum: int, frame: FrameType | None) -> None:
        self._ending = True
        self._before[signal.SIGTERM](signum, frame)

    def _begin(self) -> None:
        if self._works:
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._note)
            ends = signal.getsignal(signal.SIGTERM)
            if self._kernel is not None and callable(ends):
                self._before[signal.SIGTERM] = ends
                signal.signal(signal.SIGTERM, self._end)

    def _finish(self) -> None:
        before = dict(self._before)
        if self._kernel is not None:
            # A kernel sets SIGINT back by itself, but only when it has sent the answer.
            before.pop(signal.SIGINT, None)
        for number, handler in before.items():
            signal.signal(number, handler)

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """Let SIGINT end what runs, beginning with one that is being held back.

        :raises KeyboardInterrupt: when it arrived or arrives.
        """
        if self._works:
            signal.signal(signal.SIGINT, self._obey)
        try:
            if self._arrived:
                self._obey(signal.SIGINT, None)
            yield
        finally:
            if self._works:
                signal.signal(signal.SIGINT, self._note)


class _Forking:
    """Has signals end children that are forked. With the engine's handlers they outlive whoever ends children by SIGTERM."""

    _USUAL: ClassVar[dict[signal.Signals, Any]] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }

    def __init__(self) -> None:
        self._thread = threading.local()
        os.register_at_fork(before=self._before, after_in_parent=self._after, after_in_child=self._in_child)

    def _engines(self) -> list[signal.Signals]:
        """The signals that are handled by us, or by the engine's program."""
        owners = {number: getattr(signal.getsignal(number), "__self__", None) for number in self._USUAL}
        return [number for number, owner in owners.items() if isinstance(owner, (Interrupts, Application))]

    def _before(self) -> None:
        # A signal that comes before the child has handlers of its own waits until it has.
        self._thread.signals = self._engines()
        self._thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._thread.signals)

    def _after(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._thread.mask)

    def _in_child(self) -> None:
        for number in self._thread.signals:
            signal.signal(number, self._USUAL[number])
        self._after()


_forking = _Forking()


@contextmanager
def held_back() -> Iterator[Interrupts]:
    """Hold SIGINT back; in an engine until the answer has been sent.

    What arrives and is not let through is dropped in the end: what it was to end is over.
    """
    interrupts = Interrupts()
    interrupts._begin()
    try:
        yield interrupts
    finally:
        interrupts._finish()
