"""The one way to do something in a thread: it has a name, gives a future, is known while it runs, and can be had when Python ends.

From Python 3.12 on no thread can be started any more by then, so some are reserved. Standard library only.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_work: queue.SimpleQueue[Callable[[], bool]] = queue.SimpleQueue()
_lock = threading.Lock()
_reserved = 0
_running: dict[int, str] = {}
"""What runs, by numbers that mean nothing."""


def reserve(count: int) -> None:
    """Have so many more threads wait for what :func:`start` is given when Python ends.

    :param count: how many
    """
    global _reserved
    with _lock:
        for _ in range(count):
            threading.Thread(target=_serve, name="parallelflow-reserve", daemon=True).start()
            _reserved += 1


def dismiss(count: int) -> None:
    """End as many of the threads that wait.

    :param count: how many; no more than were reserved
    """
    global _reserved
    with _lock:
        _reserved -= count
    for _ in range(count):
        _work.put(lambda: False)


def start(function: Callable[[], _T], name: str) -> Future[_T]:
    """Call a function in a thread of its own or, when Python ends, in one that was reserved.

    Python does not wait for it in the end. Whoever needs it to have ended waits for what is returned.

    :param function: the function; what it returns or raises is in the outcome. What it raises is logged if nobody asks for it
    :param name: the thread's name
    :returns: is done when the function has returned
    :raises RuntimeError: if Python ends and no thread is reserved
    """
    outcome: Future[_T] = _Outcome(name)
    run = partial(_run, function, outcome)
    _running[id(outcome)] = name
    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError:
        if not _reserved:
            del _running[id(outcome)]
            raise
        _work.put(run)
    return outcome


def _run(function: Callable[[], _T], outcome: Future[_T]) -> bool:
    try:
        value = function()
    except BaseException as error:
        _running.pop(id(outcome), None)
        outcome.set_exception(error)
        del outcome  # which has the error, whose traceback has this frame
    else:
        _running.pop(id(outcome), None)
        outcome.set_result(value)
    return True


def running() -> list[str]:
    """The names of what runs at this moment."""
    return sorted(_running.values())


class _Outcome(Future[_T]):
    """What a thread comes to."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._asked = False

    def result(self, timeout: float | None = None) -> _T:
        self._asked = True
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._asked = True
        return super().exception(timeout)

    def __del__(self) -> None:
        if not self._asked and self.done() and not sys.is_finalizing():
            error = super().exception()
            if error is not None:
                log.error("The thread %s has failed", self._name, exc_info=error)


def _serve() -> None:
    while _work.get()():
        pass


@atexit.register
def _tell() -> None:
    if _running:
        log.debug("Python ends while these threads run: %s", ", ".join(running()))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_running.clear)
