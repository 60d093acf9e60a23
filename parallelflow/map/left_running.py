"""What elements have left running: threads and children that may print when the element that started them is over.

In VisTrails they print when they like, and VisTrails waits for threads before it ends. So a Map whose engines say that something
goes on there has a thread fetch and show what is printed still, until nothing does or a minute has passed; and batch mode waits
for threads in the end, though not for long.

The first half runs on engines, the second on the client. May import the map room, `parallelflow.threads` and
the standard library.
"""

from __future__ import annotations

import concurrent.futures.thread
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from parallelflow import threads
from parallelflow.map import printed
from parallelflow.map.outcomes import Text

_log = logging.getLogger(__name__)

# How soon it is looked for what was printed, in seconds, each time twice as late, but at most; and for how long.
_SOON, _LATE = 0.1, 5.0
_FOR = 60.0

# For how many seconds an answer is waited for, and VisTrails' end waits for threads.
_ANSWER_TIMEOUT = 5.0
_AT_END = 5.0

# So many bytes of the numbers of its children are read at once of each thread.
_PIECE = 2**16


class Left(NamedTuple):
    """What an engine says of what elements have left running: what it has printed, and whether threads and children go on."""

    text: Text
    threads: bool
    children: bool


# ------------------------------------------------------------ on engines


class Known:
    """The threads and children that this process has by itself."""

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())
        self._children = set(_children())

    def threads(self) -> bool:
        """Whether there are other threads that Python waits for when it ends."""
        workers = concurrent.futures.thread._threads_queues  # they wait for work, and end when Python does
        others = set(threading.enumerate()) - self._threads
        return any(not thread.daemon and thread not in workers for thread in others)

    def children(self) -> bool:
        """Whether there are other children."""
        return any(_runs(child) for child in _children() if child not in self._children)


@cache
def known() -> Known:
    """Return what this process has by itself, which is what it has when it is first asked for."""
    return Known()


def _children() -> Iterator[int]:
    """The process ids of this process's children; none where the system does not tell in a moment."""
    with contextlib.suppress(OSError, ValueError):
        for task in os.listdir("/proc/self/task"):
            # Not by `pathlib` or a Python file, for it is done after each chunk.
            file = os.open(f"/proc/self/task/{task}/children", os.O_RDONLY)
            try:
                found = b""
                while more := os.read(file, _PIECE):  # no more than a page comes at once
                    found += more
            finally:
                os.close(file)
            yield from map(int, found.split())


def _runs(child: int) -> bool:
    """Whether a child has not ended."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# ------------------------------------------------------------ on the client

# Held by whoever sends to engines: a client's sockets are for one thread at a time.
sending = threading.RLock()


class _Watch:
    """Shows what some engines print still."""

    def __init__(self, ask: Callable[[Any, int], Any]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._until: dict[tuple[Any, int], float] = {}  # by client and engine's id
        self._runs = False
        self._hurry = threading.Event()
        self.over = threading.Event()
        self.over.set()

    def add(self, client: Any, engines: Iterable[int]) -> None:
        """Watch engines, beginning anew for those that are watched."""
        with self._lock:
            self._until.update({(client, engine): time.monotonic() + _FOR for engine in engines})
            if self._until and not self._runs:
                self.over.clear()
                self._runs = True
                threads.start(self._run, "parallelflow-left-running")

    def wait(self) -> None:
        """Wait until no thread goes on, but not for long."""
        self._hurry.set()
        self.over.wait(_AT_END)
        self._hurry.clear()

    def _run(self) -> None:
        pause = _SOON
        while True:
            hurries = self._hurry.wait(pause)
            with self._lock:
                watched = dict(self._until)
            for key, until in watched.items():
                left = self._look(*key)
                goes_on = left is None or left.threads or (left.children and not hurries)
                with self._lock:
                    if (not goes_on or time.monotonic() > until) and self._until.get(key) == until:
                        del self._until[key]
            with self._lock:
                if not self._until:
                    self._runs = False
                    self.over.set()
                    return
            pause = min(2 * pause, _LATE)
            if hurries:
                time.sleep(_SOON)

    def _look(self, client: Any, engine: int) -> Left | None:
        """Show what an engine has printed; None if it is busy."""
        try:
            if not sending.acquire(blocking=False):
                return None  # a Map runs, and brings it along
            try:
                result = self._ask(client, engine)
            finally:
                sending.release()
            left: Left = result.get(timeout=_ANSWER_TIMEOUT)
            client.purge_local_results(result)
        except TimeoutError:
            return None
        except Exception as error:  # the engine has gone, or the whole cluster
            _log.debug("Engine %s does not tell what was printed: %s", engine, error)
            return Left(("", ""), False, False)
        printed.show(left.text)
        return left


_watch: _Watch | None = None


def watch(client: Any, engines: Iterable[int], ask: Callable[[Any, int], Any]) -> None:
    """Show what is still printed on engines, from now on, in the background.

    :param client: the ``ipyparallel.Client``.
    :param engines: the ids of those that said that something goes on.
    :param ask: asks an engine of a client for its `Left`, and returns ipyparallel's `AsyncResult`.
    """
    global _watch
    if _watch is None:
        _watch = _Watch(ask)
    _watch.add(client, engines)


def wait() -> None:
    """Wait until no thread goes on any more, but not for long: VisTrails is about to end."""
    if _watch is not None:
        _watch.wait()
