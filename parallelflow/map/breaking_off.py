"""Ends what is still on the cluster when a Map ends early: has what waits dropped, and what runs interrupted.

Three things take care. An interrupted engine begins the next task at once, so it must have heard before that this one is
dropped; and an element that an interrupt hits which is not dropped runs again. A single interrupt can miss. And an engine is
reached only through its nanny, which can be gone, and nobody notices.

May import ipyparallel, `parallelflow.cluster.internals` and the standard library.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from ipyparallel import error as ipp_error

from parallelflow.cluster import internals

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


class Running(Protocol):
    """A chunk on its way; see `parallelflow.map.scheduler.Chunk`."""

    result: Any
    engine: int | None

    @property
    def engine_now(self) -> int | None:
        """The id of the engine that runs it, None while it waits."""


@dataclass
class _Interrupted:
    due: float  # when it is interrupted next, on the monotonic clock
    times: int = 0
    first: Future[Any] | None = None  # the nanny's answer to the first interrupt
    since: float = 0.0


class BreakingOff:
    """Breaks off one Map.

    :param client: the ``ipyparallel.Client``.
    :param names: the messages of its chunks that have not been answered.
    :param stop: stops an engine for good, given its id; waits for its end, and raises nothing.
    """

    def __init__(self, client: Any, names: list[str], stop: Callable[[int], None]):
        self._client = client
        self._names = names
        self._stop = stop
        self._told: set[int] = set()  # engines that have been sent what is dropped
        self._answers: list[Future[Any]] = []  # of nannies, to interrupts
        self._drops: list[Future[Any]] = []
        self._chunks: dict[str, _Interrupted] = {}
        self._question: Future[Any] | None = None

    def drop(self) -> None:
        """Have engines drop the messages when they come to them, those as well that have joined since they were told last."""
        new = [engine for engine in list(self._client.ids) if engine not in self._told]
        if new:
            with _as_far_as_possible():
                self._drops.append(self._client.abort(self._names, targets=new, block=False))
                self._told.update(new)

    def is_dropped(self) -> bool:
        """Whether every engine has heard what is dropped."""
        return all(answer.done() for answer in self._drops)

    def find(self, chunks: Iterable[Running]) -> None:
        """Ask the hub, once, where chunks run of which no engine has said so; what it says is on record with them later."""
        lost = {chunk.result.msg_ids[0]: chunk for chunk in chunks if chunk.engine_now is None}
        if not lost:
            return
        if self._question is None:
            with _as_far_as_possible():
                content = {"targets": "all", "verbose": True}
                self._question = internals.send(self._client, internals.HUB, "queue_request", content)
        elif self._question.done():
            for engine, queues in self._question.result()["content"].items():
                for name in queues.get("tasks", ()) if isinstance(queues, dict) else ():
                    if name in lost:
                        lost[name].engine = int(engine)

    def interrupt(self, chunks: Iterable[Running]) -> None:
        """Interrupt the engines that run these chunks, unless they were only just interrupted."""
        now = time.monotonic()
        there = self._told.intersection(self._client.ids)
        self.drop()
        for chunk in chunks:
            engine_id = chunk.engine_now
            if engine_id not in there or chunk.result.done():
                continue
            seen = self._chunks.setdefault(chunk.result.msg_ids[0], _Interrupted(now + FIRST_AFTER))
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

    def go_on(self, chunks: Sequence[Running]) -> None:
        """Go on in the background: what does not end would keep its engine from every later run.

        :param chunks: what is given up; for at most `LATE` seconds it is looked whether they have ended.
        """
        arguments = (chunks, time.monotonic() + LATE)
        threading.Thread(target=self._until_ended, args=arguments, name="parallelflow-break-off", daemon=True).start()

    def _until_ended(self, chunks: Sequence[Running], end: float) -> None:
        while time.monotonic() < end and not internals.is_closed(self._client):
            left = [chunk for chunk in chunks if not chunk.result.done()]
            if not left:
                return
            self.find(left)
            self.interrupt(left)
            for engine in self.disobedient(left):
                _log.warning(
                    "Engine %d cannot be interrupted, because its nanny does not answer; it is stopped", engine
                )
                self._told.discard(engine)
                self._stop(engine)
            time.sleep(_LOOK_EVERY)

    def disobedient(self, chunks: Iterable[Running]) -> list[int]:
        """Return the engines of chunks that were interrupted `OBEY_TIMEOUT` seconds ago, and no nanny has said so."""
        now = time.monotonic()
        return [
            chunk.engine_now
            for chunk in chunks
            if chunk.engine_now in self._told
            and (seen := self._chunks.get(chunk.result.msg_ids[0])) is not None
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
