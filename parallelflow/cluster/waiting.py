"""A wait: a deadline, a caller who wants to hear how it goes, and who may call it off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

from .errors import Cancelled

_T = TypeVar("_T")
Progress: TypeAlias = Callable[[str, float], None]
Cancel: TypeAlias = Callable[[], bool]

POLL = 0.05
"""Seconds between two looks. Callers are promised at least 10 reports a second."""


class _Outcome(Generic[_T]):
    def __init__(self) -> None:
        self.done = threading.Event()
        self.value: _T
        self.error: BaseException | None = None


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

    def report(self, text: str, fraction: float) -> None:
        """Tell the caller how far it is, without waiting.

        :raises Cancelled: if the caller called it off
        """
        if self._progress is not None:
            self._progress(text, min(1.0, max(0.0, fraction)))
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("Cancelled; what had been started was stopped again.")

    def pause(self, text: str, fraction: float) -> None:
        """Report, then let a moment pass.

        :raises Cancelled: if the caller called it off
        """
        self.report(text, fraction)
        time.sleep(POLL)

    def call(self, function: Callable[[], _T], text: str, fraction: float) -> _T:
        """Run something that blocks, in a thread of its own, and go on reporting.

        The function must have a time limit of its own. If the caller calls the wait off, its result is dropped.

        :returns: what the function returns; :raises: what it raises
        """
        if self._progress is None and self._cancelled is None:
            return function()
        outcome: _Outcome[_T] = _Outcome()

        def run() -> None:
            try:
                outcome.value = function()
            except BaseException as error:
                outcome.error = error
            finally:
                outcome.done.set()

        threading.Thread(target=run, name="parallelflow-wait", daemon=True).start()
        while not outcome.done.wait(POLL):
            self.report(text, fraction)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value
