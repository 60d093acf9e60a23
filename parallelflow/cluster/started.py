"""A process that we started, or found on record and took over; or a job, which is several of them.

Also collects our children when they have ended.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from parallelflow.texts import tr

from .launchers import Job
from .record import Entry
from .tree import Root

CONTROLLER = "controller"
ENGINE = "engine"
JOB = "job"

_REAP_EVERY = 0.5  # seconds


@dataclass
class Started:
    """One process that we started, or found on record and took over; or one job.

    :param entry: what is on record about it
    :param popen: our handle on it, if this process is its parent
    :param job: the job, if it is one
    :param registered: whether it became ready
    :param only_shown: whether somebody else is to deal with it
    :param exit_status: as ``subprocess`` has it, once it is known
    """

    entry: Entry
    popen: subprocess.Popen[bytes] | None = None
    job: Job | None = None
    registered: bool = False
    only_shown: bool = False
    exit_status: int | None = None

    @property
    def running(self) -> bool:
        """Whether its leader runs at this moment, as far as can be known."""
        if self.job is not None:
            return not self.job.ended
        if self.popen is not None:
            status = self.popen.poll()
            if status is not None:
                self.exit_status = status
            return status is None
        identity = self.entry.identity
        if identity is None:
            return True  # it is just being started
        return identity.process(self.entry.token) is not None

    @property
    def number(self) -> int:
        """The signal or the exit status with which it ended, 0 if neither is known."""
        return abs(self.exit_status or 0)

    def by_status(self, ended: str, killed: str, exited: str) -> str:
        """Choose what to say about its end.

        :param ended: if nothing more is known
        :param killed: if a signal ended it
        :param exited: if it ended by itself
        """
        if self.exit_status is None:
            return ended
        return killed if self.exit_status < 0 else exited

    @property
    def ending(self) -> str:
        """How it ended, as the end of a sentence."""
        return self.by_status(
            tr("ended"),
            tr("was killed by signal {number}", number=self.number),
            tr("ended with exit status {number}", number=self.number),
        )

    @property
    def root(self) -> Root:
        """What is to be ended with it."""
        return Root(self.entry.token, self.entry.identity, self.popen is not None and self.popen.poll() is None)

    @property
    def log_path(self) -> Path | None:
        """Its log, if it has one."""
        return Path(self.entry.log_path) if self.entry.log_path else None

    @property
    def uuids(self) -> set[str]:
        """The identities at the hub of the engines that it is."""
        if self.job is not None:
            return self.job.uuids
        return {self.entry.uuid} if self.entry.uuid else set()


class Reaper:
    """Collects children that have ended, in a thread that lives while there are any.

    To others, such as ``ipcluster stop``, a child that nobody has collected looks as if it still ran.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: list[subprocess.Popen[bytes]] = []
        self._pid = 0

    def add(self, child: subprocess.Popen[bytes]) -> None:
        """Collect a child when it ends."""
        with self._lock:
            if self._pid != os.getpid():
                self._children, self._pid = [], os.getpid()
            self._children.append(child)
            if len(self._children) == 1:
                threading.Thread(target=self._run, name="parallelflow-reaper", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(_REAP_EVERY)
            with self._lock:
                self._children = [child for child in self._children if child.poll() is None]
                if not self._children:
                    return


reaper = Reaper()
os.register_at_fork(after_in_child=reaper.__init__)  # type: ignore[misc]
