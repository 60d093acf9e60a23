"""The logs of a profile's processes: not too many, not too long, and no key in what is shown of them."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from . import profile
from .started import Started

_TAIL_LINES = 15
_KEEP = 20
_LIMIT = 32 * 2**20  # bytes
_TRIM_EVERY = 10.0  # seconds


class Logs:
    """The logs in a profile's folder.

    :param profile_dir: the profile's folder
    """

    def __init__(self, profile_dir: Path) -> None:
        self._profile_dir = profile_dir
        self._trimmed = time.monotonic()

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return profile.log_dir(self._profile_dir)

    def path(self, kind: str, token: str) -> Path:
        """Where the log of a process belongs.

        :param kind: ``controller`` or ``engine``
        :param token: the process's token
        """
        return self.folder / f"parallelflow-{kind}-{token[:12]}.log"

    def tail(self, started: Started) -> str:
        """The last lines of what a process or a batch job has printed, with every connection key blanked out.

        :param started: the process or batch job
        """
        text = started.output()
        for secret in profile.secrets(self._profile_dir):
            text = text.replace(secret, "(key)")
        return "\n".join(text.rstrip().splitlines()[-_TAIL_LINES:])

    def prune(self, in_use: Collection[str]) -> None:
        """Remove all but the newest logs of processes that are gone.

        :param in_use: paths of logs that stay
        """
        with suppress(OSError):
            logs = [path for path in self.folder.glob("parallelflow-*.log") if str(path) not in in_use]
            logs.sort(key=lambda path: path.stat().st_mtime, reverse=True)
            for path in logs[_KEEP:]:
                path.unlink(missing_ok=True)

    def trim(self, running: Iterable[Started]) -> None:
        """Empty logs that have become too long, looking at them now and then: a controller writes some lines for every task.

        :param running: whose logs to look at
        """
        if time.monotonic() - self._trimmed < _TRIM_EVERY:
            return
        self._trimmed = time.monotonic()
        for started in running:
            with suppress(OSError):
                if started.log_path is not None and started.log_path.stat().st_size > _LIMIT:
                    os.truncate(started.log_path, 0)  # its process appends, so it goes on at the new end
