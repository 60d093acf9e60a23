"""Threads that can also be had when Python ends: from Python 3.12 on none can be started any more by then.

Standard library only.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

_work: queue.SimpleQueue[Callable[[], bool]] = queue.SimpleQueue()
_lock = threading.Lock()
_reserved = 0


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


def start(function: Callable[[], object], name: str) -> Future[None]:
    """Call a function in a thread of its own or, when Python ends, in one that was reserved.

    :param function: the function; what it raises is in the outcome
    :param name: the thread's name
    :returns: is done when the function has returned
    :raises RuntimeError: if Python ends and no thread is reserved
    """
    outcome: Future[None] = Future()

    def run() -> bool:
        try:
            function()
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)
        return True

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError:
        if not _reserved:
            raise
        _work.put(run)
    return outcome


def _serve() -> None:
    while _work.get()():
        pass
