"""The processes that run, on record in the profile's folder, so that they are found by whoever comes next.

One JSON file per profile. An entry is written before its process is started (with process id 0 and the token that the
process will carry) and removed when the process is gone, so a crash at any moment leaves nothing that cannot be found.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from parallelflow.texts import tr

from . import profile
from .errors import ClusterError
from .tree import Identity, Root
from .waiting import Wait

log = logging.getLogger(__name__)

VERSION = 1
_LOCK_FOR = 5.0


@dataclass(frozen=True)
class Entry:
    """One process on record.

    :param token: what it carries in its environment
    :param kind: ``controller``, ``engine`` or ``job`` (engines that a launcher of the profile started elsewhere)
    :param pid: process id; 0 while it is being started, and for a job
    :param create_time: seconds since the epoch
    :param host: the machine it was started on
    :param uuid: an engine's identity at the hub
    :param log_path: its log
    :param started: when, in seconds since the epoch
    :param owner_pid: the VisTrails that is to stop it, as
    :param owner_create_time: process id and creation time
    :param let_go: whether it is to go on running when its owner exits
    :param job: how the launcher knows the job: its class and its state
    """

    token: str
    kind: str
    pid: int = 0
    create_time: float = 0.0
    host: str = ""
    uuid: str = ""
    log_path: str = ""
    started: float = 0.0
    owner_pid: int = 0
    owner_create_time: float = 0.0
    let_go: bool = False
    job: dict[str, Any] | None = None

    @property
    def identity(self) -> Identity | None:
        """The process, if it is known which one."""
        return Identity(self.pid, self.create_time) if self.pid else None

    @property
    def owner(self) -> Identity:
        """The VisTrails that is to stop it."""
        return Identity(self.owner_pid, self.owner_create_time)

    @property
    def root(self) -> Root:
        """What is to be ended with it."""
        return Root(self.token, self.identity)

    @property
    def here(self) -> bool:
        """Whether it runs on this machine."""
        return self.host in ("", socket.gethostname())


_FIELDS = {entry.name for entry in fields(Entry)}


@contextmanager
def locked(path: Path, wait: Wait, what: str) -> Iterator[None]:
    """Hold a lock file, which only one process and one thread can do at a time.

    :param path: the lock file; it is made and stays
    :param wait: how long to wait for whoever holds it
    :param what: what is waited for, as the progress text and in the error's sentence
    :raises ClusterError: if somebody else holds it to the end of the wait, or it cannot be opened
    :raises Cancelled: if the caller of the wait called it off
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, profile.PRIVATE_FILE)
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if wait.over:
                    raise ClusterError(
                        tr(
                            "Waited {seconds} seconds for {what}. Another VisTrails holds {path}; try again when it is done.",
                            seconds=round(wait.timeout),
                            what=what,
                            path=path,
                        )
                    ) from None
                wait.pause(what, 0.0)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _cannot_be_written(path: Path, error: OSError) -> ClusterError:
    return ClusterError(tr("{path} cannot be written: {reason}.", path=path, reason=error.strerror or error))


class Record:
    """The record of one profile.

    :param profile_dir: the profile's folder
    """

    def __init__(self, profile_dir: Path) -> None:
        self.path = profile.security_dir(profile_dir) / "parallelflow.json"
        self._lock = profile.security_dir(profile_dir) / "parallelflow.lock"

    def read(self) -> list[Entry]:
        """What is on record; empty if the file is missing or damaged."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["version"] != VERSION:
                log.warning("%s was written by another version of Parallel Flow and is ignored", self.path)
                return []
            return [Entry(**{k: v for k, v in entry.items() if k in _FIELDS}) for entry in content["processes"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is damaged and is ignored: %s", self.path, error)
            return []

    def change(self, change: Callable[[list[Entry]], list[Entry]]) -> list[Entry]:
        """Replace the record by what a function makes of it, while nobody else can.

        :param change: gets the old record, and returns the new one
        :returns: the new record
        :raises ClusterError: if it is locked or cannot be written
        """
        try:
            with locked(self._lock, Wait(_LOCK_FOR), tr("the record of the processes that VisTrails started")):
                old = self.read()
                new = change(old)
                if new == old:
                    return new
                if new:
                    text = json.dumps({"version": VERSION, "processes": [asdict(entry) for entry in new]}, indent=1)
                    profile.write_private(self.path, text + "\n")
                else:
                    self.path.unlink(missing_ok=True)
                return new
        except OSError as error:
            raise _cannot_be_written(self.path, error) from error

    def put(self, *entries: Entry) -> None:
        """Add entries, or replace those with the same token.

        :param entries: what to add
        :raises ClusterError: as for :meth:`change`
        """
        tokens = {entry.token for entry in entries}
        self.change(lambda old: [entry for entry in old if entry.token not in tokens] + list(entries))

    def remove(self, *tokens: str) -> None:
        """Take processes off the record.

        :param tokens: the processes' tokens
        :raises ClusterError: as for :meth:`change`
        """
        if tokens:  # with none, not even the lock file is made
            self.change(lambda old: [entry for entry in old if entry.token not in tokens])
