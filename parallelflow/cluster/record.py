"""The processes that run, on record in the profile's folder, so that they are found by whoever comes next.

One JSON file per profile. An entry is written before its process is started (with process id 0 and the token that the
process will carry) and removed when the process is gone, so a crash at any moment leaves nothing that cannot be found.
Each process has its entry in its environment, too: a record that is damaged, by a full disk for instance, is made anew from
those that run. Nothing but starting needs the record to be written.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import psutil

from parallelflow.texts import tr

from . import profile
from .lock import Locked, NotWritten, cannot_be_written, locked
from .machine import is_this
from .tree import Identity, Root, lives, tokens_of
from .waiting import Wait

log = logging.getLogger(__name__)

VERSION = 1
_LOCK_FOR = 5.0

CONTROLLER = "controller"
ENGINE = "engine"
JOB = "job"

ENTRY = "PARALLELFLOW_ENTRY"
"""The environment variable that holds a process's entry and its profile's folder; its descendants inherit it."""


@dataclass(frozen=True)
class Entry:
    """One process on record.

    :param token: what it carries in its environment
    :param kind: ``controller``, ``engine`` or ``job`` (engines that a launcher of the profile started elsewhere)
    :param pid: process id; 0 while it is being started, and for a job
    :param create_time: seconds since the epoch
    :param host: the name that the machine had on which it was started
    :param machine: that machine, see :func:`.machine.this_machine`; '' in a record of an earlier version
    :param hub: a controller's mark, see :func:`.profile.fingerprint`, once it is ready
    :param uuid: an engine's identity at the hub
    :param log_path: its log
    :param started: when, in seconds since the epoch
    :param owner_pid: the VisTrails that is to stop it, as
    :param owner_create_time: process id and creation time
    :param let_go: whether it is to go on running when its owner exits
    :param job: how the launcher knows the job: its class and its state
    :param stuck: why it could not be stopped, a sentence; it then prevents nothing, and stopping it is tried again later
    """

    token: str
    kind: str
    pid: int = 0
    create_time: float = 0.0
    host: str = ""
    machine: str = ""
    hub: str = ""
    uuid: str = ""
    log_path: str = ""
    started: float = 0.0
    owner_pid: int = 0
    owner_create_time: float = 0.0
    let_go: bool = False
    job: dict[str, Any] | None = None
    stuck: str = ""

    @property
    def identity(self) -> Identity | None:
        """The process, if it is known which one."""
        return Identity(self.pid, self.create_time) if self.pid else None

    @property
    def lives(self) -> bool:
        """Whether it still runs; a batch job counts as running until its launcher has been asked."""
        return self.job is not None or (self.identity is not None and self.identity.process(self.token) is not None)

    @property
    def launcher(self) -> str:
        """The class of ipyparallel's launcher that started it, with its module; '' if it is a process of this machine."""
        return str(self.job["launcher"]) if self.job is not None else ""

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
        return is_this(self.machine) if self.machine else self.host in ("", socket.gethostname())


_FIELDS = {entry.name for entry in fields(Entry)}


def _entry(content: dict[str, Any]) -> Entry:
    return Entry(**{name: value for name, value in content.items() if name in _FIELDS})


def in_environment(entry: Entry, profile_dir: Path) -> dict[str, str]:
    """What a process has in its environment so that a record that was lost can be made anew.

    :param entry: what is on record about it
    :param profile_dir: the profile's folder
    """
    return {ENTRY: json.dumps([str(profile_dir), asdict(entry)])}


def _that_run(profile_dir: Path) -> list[Entry]:
    """Entries of the processes of a profile that run on this machine, as they say themselves.

    Nobody knows any more which of them were let go. Those whose VisTrails is gone count as such: they are not ended unasked.
    """
    found: dict[str, tuple[Entry, dict[int, psutil.Process]]] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError, ValueError, KeyError, TypeError):
            folder, content = json.loads(process.environ()[ENTRY])
            token = str(content["token"])
            if folder == str(profile_dir) and token == tokens_of(process)[-1] and lives(process):
                _, group = found.setdefault(token, (_entry(content), {}))
                group[process.pid] = process
    entries = []
    for entry, group in found.values():
        with suppress(psutil.Error):
            leader = next((process for process in group.values() if process.ppid() not in group), None)
            identity = Identity.of(leader.pid) if leader is not None else None
            if identity is not None:
                entry = replace(entry, pid=identity.pid, create_time=identity.create_time)
            entries.append(replace(entry, let_go=entry.owner.process() is None))
    return sorted(entries, key=lambda entry: entry.started)


class Record:
    """The record of one profile.

    :param profile_dir: the profile's folder
    """

    def __init__(self, profile_dir: Path) -> None:
        self._profile_dir = profile_dir
        self.path = profile.security_dir(profile_dir) / "parallelflow.json"
        self._lock = profile.security_dir(profile_dir) / "parallelflow.lock"

    def read(self) -> list[Entry]:
        """What is on record; if the file is damaged, what of it still runs on this machine."""
        return self._read()[0]

    def _read(self) -> tuple[list[Entry], bool]:
        """What is on record, and whether the file says so."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["version"] != VERSION:
                log.warning("%s was written by another version of Parallel Flow and is ignored", self.path)
                return [], True
            return [_entry(entry) for entry in content["processes"]], True
        except FileNotFoundError:
            if not self._lost_as_well():
                return [], True
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is damaged: %s", self.path, error)
        return _that_run(self._profile_dir), False

    def _lost_as_well(self) -> bool:
        """Whether a connection file is damaged: whatever did that may have cost us the record."""
        for path in (profile.client_file(self._profile_dir), profile.engine_file(self._profile_dir)):
            try:
                json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                return True
            except OSError:
                continue
        return False

    def change(self, change: Callable[[list[Entry]], list[Entry]], needed: bool = True) -> list[Entry]:
        """Replace the record by what a function makes of it, while nobody else can.

        :param change: gets the old record, and returns the new one; it may be called again
        :param needed: whether whoever calls cannot go on if the record cannot be written; else there is a warning
        :returns: the new record
        :raises Locked: if somebody else changes it all the time
        :raises NotWritten: if it is needed and cannot be written
        """
        try:
            with locked(self._lock, Wait(_LOCK_FOR), tr("the record of the processes that VisTrails started")):
                old, written = self._read()
                new = change(old)
                if new != old or not written:
                    self._write(new)
                return new
        except OSError as error:
            problem = cannot_be_written(self.path, error)
        except NotWritten as error:
            problem = error
        if needed:
            raise problem
        log.warning("%s", problem)
        return change(self.read())

    def _write(self, entries: list[Entry]) -> None:
        if not entries:
            self.path.unlink(missing_ok=True)
            return
        content = {"version": VERSION, "processes": [asdict(entry) for entry in entries]}
        text = json.dumps(content, indent=1) + "\n"
        try:
            profile.write_private(self.path, text)
        except OSError:
            if not self._overwrite(text.encode()):
                raise

    def _overwrite(self, text: bytes) -> bool:
        """Write over the old record, for which even a full disk has room if the new one is shorter."""
        try:
            with open(self.path, "r+b", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                return len(text) <= size and file.write(text.ljust(size)) == size
        except OSError:
            return False

    def put(self, *entries: Entry) -> None:
        """Add entries, or replace those with the same token.

        :param entries: what to add
        :raises ClusterError: as for :meth:`change`
        """
        tokens = {entry.token for entry in entries}
        self.change(lambda old: [entry for entry in old if entry.token not in tokens] + list(entries))

    def remove(self, *tokens: str) -> None:
        """Take processes off the record. Where that cannot be done, those that come later see that they are gone.

        :param tokens: the processes' tokens
        """
        if tokens:  # with none, not even the lock file is made
            try:
                self.change(lambda old: [entry for entry in old if entry.token not in tokens], needed=False)
            except Locked as error:
                log.warning("%s", error)
