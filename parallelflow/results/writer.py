"""Appends results to a file in a thread of its own, so that a slow disk keeps neither window nor engines waiting.

What has been written survives the end of the process, however that comes; of the machine, but for the last seconds. Where it cannot
be written, nothing more is, and `Writer.trouble` says why. Standard library, `parallelflow.threads` and `parallelflow.texts`
only.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

from parallelflow import threads
from parallelflow.results.file import Header, packed_entry, packed_header
from parallelflow.texts import tr

# So often, in seconds, what has been written is brought onto the disk itself.
SYNC = 2.0

# More bytes than this do not wait to be written: whoever adds some waits.
MOST_WAITING = 256 * 1024**2

# How long, in seconds, a writer that has nothing left to hear waits for its disk in the end.
CLOSING = 60.0

_TICK = 0.02


class Writer:
    """Writes one run's results.

    :param path: the file, which must not exist yet; it is made with the first result.
    :param header: what the results are of.
    :param make_room: called with a number of bytes before these are written; returns whether there is room for them. Called in the
        writer's thread.
    :ivar seconds: how long it has kept a core busy
    :ivar trouble: why nothing is written any more, a sentence, if there was trouble.
    """

    def __init__(self, path: Path, header: Header, make_room: Callable[[int], bool] = lambda nbytes: True):
        self.path = path
        self.seconds = 0.0
        self.trouble: str | None = None
        self._header = header
        self._make_room = make_room
        self._queue: queue.Queue[tuple[int, list[Any]] | None] = queue.Queue()
        self._waiting = 0  # bytes
        self._lock = threading.Lock()
        self._writing: Future[None] | None = None
        self._file = -1
        self._end = 0  # of what is whole in the file
        self._written = 0
        self._discarded = False

    @property
    def written(self) -> int:
        """How many results have been written."""
        return self._written

    def add(
        self,
        key: bytes,
        seconds: float,
        when: float,
        note: bytes,
        parts: Sequence[Any],
        pause: Callable[[], None] = lambda: None,
        waits: bool = True,
    ) -> None:
        """Have a result written. It must not be changed before the writer is closed.

        :param key: what the element is known by.
        :param seconds: how long it took.
        :param when: when it had been computed, in seconds since the epoch.
        :param note: bytes that belong to the result.
        :param parts: the result, bytes-like objects.
        :param pause: called while too much waits to be written; may raise.
        :param waits: whether to wait then; else the result is left out, so that a slow disk does not slow down what brings results.
        """
        if self.trouble is not None:
            return
        nbytes = sum(memoryview(part).nbytes for part in parts)
        while self._waiting and self._waiting + nbytes > MOST_WAITING and self.trouble is None:
            if not waits:
                return
            pause()
            time.sleep(_TICK)
        with self._lock:
            self._waiting += nbytes
        self._queue.put((nbytes, [key, seconds, when, note, parts]))
        if self._writing is None:
            self._writing = threads.start(self._run, "parallelflow-results")

    def close(self, pause: Callable[[], None] = lambda: None) -> None:
        """Wait until everything has been written.

        :param pause: called meanwhile; what it raises ends the wait, and what has not been written is written meanwhile.
        """
        if self._writing is None:
            return
        self._queue.put(None)
        end = time.monotonic() + CLOSING
        while not wait([self._writing], _TICK).done and time.monotonic() < end:
            pause()

    def discard(self) -> None:
        """Write nothing more, and remove the file."""
        self._discarded = True
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    # ------------------------------------------------------------ in its thread

    def _run(self) -> None:
        synced = time.monotonic()
        try:
            while (item := self._queue.get()) is not None:
                nbytes, entry = item
                if self.trouble is None and not self._discarded:
                    self._write(entry)
                self.seconds = time.thread_time()
                with self._lock:
                    self._waiting -= nbytes
                if self._file >= 0 and time.monotonic() > synced + SYNC:
                    self._sync()
                    synced = time.monotonic()
        finally:
            if self._file >= 0:
                if not self._discarded:
                    self._sync()
                os.close(self._file)

    def _write(self, entry: list[Any]) -> None:
        try:
            pieces = packed_entry(*entry)
            size = sum(memoryview(piece).nbytes for piece in pieces)
            if not self._make_room(size):
                self.trouble = tr(
                    "The limit of the preference 'results_limit' is reached: further results are not kept."
                )
                return
            if self._file < 0:
                self._begin()
            for piece in pieces:
                self._put(piece)
            self._end += size
            self._written += 1
        except OSError as error:
            self.trouble = tr(
                "Results of elements are not kept from now on: {path} cannot be written ({why}).",
                path=self.path,
                why=error.strerror or error,
            )
            self._leave_out_torn()

    def _begin(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        self._file = os.open(self.path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)
        header = packed_header(self._header)
        self._put(header)
        self._end = len(header)

    def _put(self, piece: Any) -> None:
        view = memoryview(piece).cast("B")
        while view.nbytes:
            view = view[os.write(self._file, view) :]

    def _leave_out_torn(self) -> None:
        if self._file < 0:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, self._end)
        if not self._written:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _sync(self) -> None:
        with contextlib.suppress(OSError):
            os.fsync(self._file)
