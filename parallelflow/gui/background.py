"""Work that takes time, off the GUI's thread. Everything that touches the cluster runs through here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, TypeAlias

from PyQt5.QtCore import QCoreApplication, QEventLoop, QObject, pyqtSignal

from parallelflow import threads
from parallelflow.cluster.waiting import Cancel, Progress

Work: TypeAlias = Callable[[Progress, Cancel], Any]

_PUMP = 20  # milliseconds of the event loop between two looks


class Job(QObject):
    """One piece of work in a thread of its own.

    The signals arrive in the GUI's thread. Exactly one of `succeeded` and `failed` is emitted.

    :param work: called with a function that reports progress, and one that says whether it is to be given up
    """

    progressed = pyqtSignal(str, float)
    succeeded = pyqtSignal(object)
    failed = pyqtSignal(object)
    _ended = pyqtSignal(object, object)

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work
        self._cancelled = threading.Event()
        self._outcome: Future[None] | None = None
        # A signal of its own, emitted in the thread and received here, takes the outcome across.
        self._ended.connect(self._deliver)

    def start(self) -> None:
        """Begin."""
        _jobs.add(self)
        self._outcome = threads.start(self._run, "parallelflow-gui")

    def cancel(self) -> None:
        """Ask the work to give up; it ends, with an error or a result, when it has."""
        self._cancelled.set()

    @property
    def running(self) -> bool:
        """Whether the thread runs."""
        return self._outcome is not None and not self._outcome.done()

    def _run(self) -> None:
        result, error = None, None
        try:
            result = self._work(self._report, self._cancelled.is_set)
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # Qt has gone
            self._ended.emit(result, error)

    def _report(self, text: str, fraction: float) -> None:
        with suppress(RuntimeError):
            self.progressed.emit(text, fraction)

    def _deliver(self, result: object, error: BaseException | None) -> None:
        _jobs.discard(self)
        if error is not None:
            self.failed.emit(error)
        else:
            self.succeeded.emit(result)


_jobs: set[Job] = set()


def run(function: Callable[[], Any]) -> Job:
    """Return a job for a function that neither reports progress nor can be cancelled.

    :param function: what is done
    """
    return Job(lambda progress, cancelled: function())


def wait_for(job: Job, timeout: float) -> bool:
    """Let the event loop run, without the user's input, until a job has ended.

    For the few places that VisTrails does not let return before something is done.

    :param job: the job, begun
    :param timeout: seconds
    :returns: whether it has ended
    """
    end = time.monotonic() + timeout
    while job.running and time.monotonic() < end:
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents, _PUMP)
        if job._outcome is not None:
            wait([job._outcome], _PUMP / 1000)
    return not job.running


def give_up() -> None:
    """Cancel everything that runs, without waiting."""
    for job in list(_jobs):
        job.cancel()


def cancel_all(timeout: float) -> None:
    """Cancel everything that runs, and wait until it has ended.

    :param timeout: seconds
    """
    running = list(_jobs)
    give_up()
    end = time.monotonic() + timeout
    for job in running:
        wait_for(job, max(0.0, end - time.monotonic()))
    # What ended in the meantime has been told; what did not has nobody left to tell.
    QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
