"""A wait: a deadline, a caller who wants to hear how it goes, and who may call it off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from typing import TypeAlias, TypeVar

from parallelflow import threads
from parallelflow.texts import tr

from .errors import Cancelled

_T = TypeVar("_T")
Progress: TypeAlias = Callable[[str, float], None]
Cancel: TypeAlias = Callable[[], bool]

POLL = 0.05
"""Seconds between two looks. Callers are promised at least 10 reports a second."""


class Wait:
    """One wait.

    :param timeout: seconds until the deadline
    :param progress: called with a text and a fraction from 0 to 1, in the thread that waits, at least 10 times a second;
        an exception that it raises ends the wait
    :param cancelled: asked as often; True ends the wait with :class:`Cancelled`
    """

    def __init__(self, timeout: float, progress: Progress | None = None, cancelled: Cancel | None = None) -> None:
        self.timeout = timeout
        self._end = time.monotonic() + timeout
        self._furthest = 0.0  # a bar that goes back is no help
        self._progress = progress
        self._cancelled = cancelled

    @property
    def left(self) -> float:
        """Seconds until the deadline; 0 when it has passed."""
        return max(0.0, self._end - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether the deadline has passed."""
        return self.left == 0.0

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """While in this context, the time does not run: a user who is asked something may think."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self._end += time.monotonic() - begin

    def report(self, text: str, fraction: float) -> None:
        """Tell the caller how far it is, without waiting.

        :param text: what is waited for
        :param fraction: how much is done, from 0 to 1
        :raises Cancelled: if the caller called it off
        """
        if self._progress is not None:
            self._furthest = min(1.0, max(self._furthest, fraction))
            self._progress(text, self._furthest)
        if self._cancelled is not None and self._cancelled():
            raise Cancelled(tr("Cancelled; what had been started was stopped again."))

    def pause(self, text: str, fraction: float) -> None:
        """Report, then let a moment pass.

        :param text: what is waited for
        :param fraction: how much is done, from 0 to 1
        :raises Cancelled: if the caller called it off
        """
        self.report(text, fraction)
        time.sleep(POLL)

    def call(
        self,
        function: Callable[[], _T],
        text: str,
        fraction: float,
        discard: Callable[[_T], object] = lambda value: None,
    ) -> _T:
        """Run something that blocks, in a thread of its own, and go on reporting.

        :param function: what blocks; it must have a time limit of its own
        :param text: for the report
        :param fraction: for the report
        :param discard: what to do with the result if the caller calls the wait off meanwhile
        :returns: what the function returns
        :raises Exception: what the function raises
        :raises Cancelled: if the caller called it off
        """
        if self._progress is None and self._cancelled is None:
            return function()

        def drop(late: Future[_T]) -> None:
            if late.exception() is None:
                discard(late.result())

        outcome = threads.start(function, "parallelflow-wait")
        try:
            while True:
                with suppress(TimeoutError, FutureTimeoutError):
                    return outcome.result(POLL)
                if outcome.done():
                    return outcome.result()
                self.report(text, fraction)
        except BaseException:
            outcome.add_done_callback(drop)
            raise
