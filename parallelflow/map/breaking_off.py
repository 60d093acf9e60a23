"""Ends what is still on the cluster when a Map ends early: has what waits dropped, and what runs interrupted.

Three things take care. An interrupted engine begins the next task at once, so it must have heard before that this one is
dropped; and an element that an interrupt hits which is not dropped runs again. A single interrupt can miss. And an engine is
reached only through its nanny, which can be gone, and nobody notices.

May import ipyparallel, `parallelflow.cluster.internals` and the standard library.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from ipyparallel import error as ipp_error

from parallelflow import threads
from parallelflow.cluster import internals
from parallelflow.map.crew import Chunk

_log = logging.getLogger(__name__)

# How long, in seconds, a chunk has been seen to run before it is interrupted: ipykernel announces a task some microseconds
# before it is ready for that, and what is interrupted there is never answered.
FIRST_AFTER = 0.1

# How long, in seconds, a chunk may go on until it is interrupted again, twice as long each time; and how often in all. What
# has arrived once need not be sent again: compiled code ends when it returns to Python, however long that takes.
AGAIN = 0.5
MOST_TIMES = 5

# For how many seconds it is looked whether chunks that did not end in time have begun or ended, and how often.
LATE = 60.0
_LOOK_EVERY = 0.1

# How long, in seconds, an engine's nanny may take to pass an interrupt on; one that has not by then is gone or hangs.
OBEY_TIMEOUT = 5.0


@dataclass
class _Interrupted:
    due: float  # when it is interrupted next, on the monotonic clock
    times: int = 0
    first: Future[Any] | None = None  # the nanny's answer to the first interrupt
    since: float = 0.0


class BreakingOff:
    """Breaks off one Map.

    :param client: the ``ipyparallel.Client``.
    :param chunks: those that have not been answered.
    :param stop: stops an engine for good, given its number; waits for its end, and raises nothing.
    """

    def __init__(self, client: Any, chunks: Sequence[Chunk], stop: Callable[[int], None]):
        self._client = client
        self._unanswered = chunks
        self._stop = stop
        self._told: set[int] = set()  # engines that have been sent what is dropped
        self._answers: list[Future[Any]] = []  # of nannies, to interrupts
        self._drops: list[Future[Any]] = []
        self._chunks: dict[str, _Interrupted] = {}

    def drop(self) -> None:
        """Have engines drop the chunks when they come to them."""
        names: dict[int, list[str]] = {}
        for chunk in self._unanswered:
            names.setdefault(chunk.engine, []).append(chunk.name)
        there = set(self._client.ids)
        for engine in [each for each in names if each in there]:
            with _as_far_as_possible():
                self._drops.append(self._client.abort(names[engine], targets=[engine], block=False))
                self._told.add(engine)

    def is_dropped(self) -> bool:
        """Whether every engine has heard what is dropped."""
        return all(answer.done() for answer in self._drops)

    def interrupt(self, chunks: Iterable[Chunk]) -> None:
        """Interrupt the engines that run these chunks, unless they were only just interrupted."""
        now = time.monotonic()
        there = self._told.intersection(self._client.ids)
        for chunk in chunks:
            engine_id = chunk.engine_now
            if engine_id not in there or chunk.result.done():
                continue
            seen = self._chunks.setdefault(chunk.name, _Interrupted(now + FIRST_AFTER))
            if now < seen.due or seen.times == MOST_TIMES:
                continue
            with _as_far_as_possible():
                answer = self._client.send_signal(signal.SIGINT, targets=engine_id, block=False)
                self._answers.append(answer)
                if seen.times == 0:
                    seen.first, seen.since = answer, now
            seen.due, seen.times = now + AGAIN * 2**seen.times, seen.times + 1

    def is_delivered(self) -> bool:
        """Whether every interrupt has arrived."""
        return all(answer.done() for answer in self._answers)

    def go_on(self, chunks: Sequence[Chunk]) -> None:
        """Go on in the background: what does not end would keep its engine from every later run.

        :param chunks: what is given up; for at most `LATE` seconds it is looked whether they have ended.
        """
        arguments = (chunks, time.monotonic() + LATE)
        threads.start(partial(self._until_ended, *arguments), "parallelflow-break-off")

    def _until_ended(self, chunks: Sequence[Chunk], end: float) -> None:
        while time.monotonic() < end and not internals.is_closed(self._client):
            left = [chunk for chunk in chunks if not chunk.result.done()]
            if not left:
                return
            self.interrupt(left)
            for engine in self.disobedient(left):
                _log.warning(
                    "Engine %d cannot be interrupted, because its nanny does not answer; it is stopped", engine
                )
                self._told.discard(engine)
                self._stop(engine)
            time.sleep(_LOOK_EVERY)

    def disobedient(self, chunks: Iterable[Chunk]) -> list[int]:
        """Return the engines of chunks that were interrupted `OBEY_TIMEOUT` seconds ago, and no nanny has said so."""
        now = time.monotonic()
        return [
            chunk.engine_now
            for chunk in chunks
            if chunk.engine_now in self._told
            and (seen := self._chunks.get(chunk.name)) is not None
            and seen.first is not None
            and not seen.first.done()
            and now > seen.since + OBEY_TIMEOUT
        ]


@contextmanager
def _as_far_as_possible() -> Iterator[None]:
    """Ignore that engines or the connection have gone: there is nothing left to ask them for."""
    try:
        yield
    except (ipp_error.NoEnginesRegistered, OSError, RuntimeError, LookupError) as error:
        _log.debug("Some of what runs could not be broken off: %s", error)
