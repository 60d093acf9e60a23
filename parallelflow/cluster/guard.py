"""What must still be done when this process ends, whichever way that is."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any

log = logging.getLogger(__name__)

# Windows has no SIGHUP.
_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))

_armed: list[Guard] = []
_previous: dict[int, Any] = {}


class Guard:
    """While armed, calls a function when the process ends: by itself, by an exception or by a signal.

    SIGTERM and SIGHUP are handled only where nobody else handles them, and only if a guard was armed in the main
    thread; the process then still ends by that signal. Nothing can be done about SIGKILL.

    :param last_act: the function; it must have a time limit of its own
    """

    def __init__(self, last_act: Callable[[], None]) -> None:
        self._last_act = last_act
        self._pid = os.getpid()

    def arm(self) -> None:
        """From now on."""
        if self not in _armed:
            self._pid = os.getpid()
            _armed.append(self)
            atexit.register(self._act)
        if threading.current_thread() is threading.main_thread():
            for number in _ENDING:
                if signal.getsignal(number) == signal.SIG_DFL:
                    _previous[number] = signal.signal(number, _on_signal)

    def disarm(self) -> None:
        """No longer."""
        if self in _armed:
            _armed.remove(self)
            atexit.unregister(self._act)
        if not _armed and threading.current_thread() is threading.main_thread():
            for number, previous in _previous.items():
                if signal.getsignal(number) is _on_signal:
                    signal.signal(number, previous)
            _previous.clear()

    def _act(self) -> None:
        if os.getpid() != self._pid:
            return  # a forked child: its parent's processes are none of its business
        main = threading.current_thread() is threading.main_thread()
        # Whoever presses Ctrl-C a second time gets what he wants in a few seconds, but not half of it.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
        try:
            self._last_act()
        finally:
            if main:
                signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)


def _on_signal(number: int, frame: types.FrameType | None) -> None:
    log.warning("Ending because of signal %d", number)
    signal.signal(number, signal.SIG_IGN)
    for guard in reversed(_armed.copy()):
        with suppress(Exception):
            guard._act()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
