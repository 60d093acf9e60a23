"""Ends what is still on the cluster when a Map ends early: has what waits dropped, and what runs interrupted.

Two things take care. An interrupted engine begins the next task at once, so it must have heard before that this one is
dropped. And a single interrupt can miss: ipykernel announces a task before it lets SIGINT through to it.

May import ipyparallel and the standard library.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from ipyparallel import error as ipp_error

_log = logging.getLogger(__name__)

# How long, in seconds, a chunk may go on until it is interrupted again, twice as long each time; and how often in all. What
# has arrived once need not be sent again: compiled code ends when it returns to Python, however long that takes.
AGAIN = 0.5
MOST_TIMES = 5

# For how many seconds it is looked whether chunks that did not end in time have begun or ended, and how often.
LATE = 60.0
_LOOK_EVERY = 0.1


class Running(Protocol):
    """A chunk on its way; see `parallelflow.map.scheduler.Chunk`."""

    result: Any

    @property
    def engine_now(self) -> int | None:
        """The id of the engine that runs it, None while it waits."""


@dataclass
class _Interrupted:
    due: float = 0.0  # when it is interrupted next, on the monotonic clock
    times: int = 0


@dataclass
class BreakingOff:
    """Breaks off one Map.

    :ivar client: the ``ipyparallel.Client``.
    """

    client: Any
    _drop: Future[Any] | None = None
    _signals: list[Future[Any]] = field(default_factory=list)
    _chunks: dict[str, _Interrupted] = field(default_factory=dict)

    def drop(self, names: list[str]) -> None:
        """Have engines drop these messages when they come to them."""
        with _as_far_as_possible():
            self._drop = self.client.abort(names, block=False)

    def is_dropped(self) -> bool:
        """Whether every engine has heard what is dropped."""
        return self._drop is None or self._drop.done()

    def interrupt(self, chunks: Iterable[Running]) -> None:
        """Interrupt the engines that run these chunks, unless they were only just interrupted."""
        now = time.monotonic()
        there = set(self.client.ids)
        for chunk in chunks:
            engine_id = chunk.engine_now
            if engine_id not in there or chunk.result.done():
                continue
            seen = self._chunks.setdefault(chunk.result.msg_ids[0], _Interrupted())
            if now < seen.due or seen.times == MOST_TIMES:
                continue
            seen.due, seen.times = now + AGAIN * 2**seen.times, seen.times + 1
            with _as_far_as_possible():
                self._signals.append(self.client.send_signal(signal.SIGINT, targets=engine_id, block=False))

    def is_delivered(self) -> bool:
        """Whether every interrupt has arrived; one that is late would hit whatever runs then."""
        return all(answer.done() for answer in self._signals)

    def go_on(self, chunks: Sequence[Running]) -> None:
        """Go on in the background: what does not end would keep its engine from every later run.

        :param chunks: what is given up; for at most `LATE` seconds it is looked whether they have ended.
        """
        arguments = (chunks, time.monotonic() + LATE)
        threading.Thread(target=self._until_ended, args=arguments, name="parallelflow-break-off", daemon=True).start()

    def _until_ended(self, chunks: Sequence[Running], end: float) -> None:
        while time.monotonic() < end and not self.client._closed:
            left = [chunk for chunk in chunks if not chunk.result.done()]
            if not left:
                return
            self.interrupt(left)
            time.sleep(_LOOK_EVERY)


@contextmanager
def _as_far_as_possible() -> Iterator[None]:
    """Ignore that engines or the connection have gone: there is nothing left to ask them for."""
    try:
        yield
    except (ipp_error.NoEnginesRegistered, OSError, RuntimeError, IndexError) as error:
        _log.debug("Some of what runs could not be broken off: %s", error)
