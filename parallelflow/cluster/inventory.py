"""What is ours with a profile: known at each moment and on record, let go and taken back.

What is done with it is up to `stopper` and `processes`.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil

from parallelflow import threads

from . import ipcluster, profile
from .errors import ClusterError, ProfileError
from .jobs import BatchJob
from .lock import Locked
from .logs import Logs
from .ports import listening
from .record import CONTROLLER, ENGINE, JOB, Entry, Record
from .settings import Settings
from .started import Started, StartedProcess
from .tree import end, members, own_identity

log = logging.getLogger(__name__)

_KINDS: Mapping[str, type[Started]] = {CONTROLLER: StartedProcess, ENGINE: StartedProcess, JOB: BatchJob}


class Inventory:
    """Knows a profile's processes and batch jobs that are ours.

    :param profile_dir: the profile's folder
    :param settings: time limits and encryption
    """

    def __init__(self, profile_dir: Path, settings: Settings) -> None:
        self.profile_dir = profile_dir
        self.settings = settings
        self.record = Record(profile_dir)
        self.logs = Logs(profile_dir)
        self._started: dict[str, Started] = {}
        self._stopping: Counter[str] = Counter()  # tokens, and how many want that
        self._died: list[Started] = []
        self._unswept: list[Started] = []
        self._lock = threading.RLock()
        self._owner = own_identity()

    @property
    def started(self) -> list[Started]:
        """Everything that is ours and has not been seen to end, whether started here or taken back.

        What is being stopped is there until it has ended: whoever closes up meanwhile must find it.
        """
        with self._lock:
            return list(self._started.values())

    @property
    def died(self) -> list[Started]:
        """What was ours and ended without being told to, the latest last."""
        with self._lock:
            return list(self._died)

    @property
    def all_let_go(self) -> bool:
        """Whether nothing is left that is to be stopped at the end."""
        return all(started.entry.let_go or started.entry.stuck for started in self.started)

    def lacking(self) -> list[str]:
        """Sentences on machines on which none of the engines was started that were to be."""
        return [sentence for started in self.started for sentence in started.lacking]

    def remaining(self) -> list[psutil.Process]:
        """Every process on this machine that is left of what is ours, leaders and descendants."""
        return members(started.root for started in self.started)[0]

    @contextmanager
    def stopping(self, which: Iterable[Started]) -> Iterator[None]:
        """While in this context, that some processes end is no surprise: they are being stopped.

        :param which: the processes
        """
        tokens = Counter(started.entry.token for started in which)
        with self._lock:
            self._stopping += tokens
        try:
            yield
        finally:
            with self._lock:
                self._stopping -= tokens

    def _add(self, batch: Sequence[Started]) -> None:
        """Know things from before they start, so that an interruption at any moment leaves none behind.

        :raises ClusterError: if they cannot go on record
        """
        self.record.put(*(started.entry for started in batch))
        with self._lock:
            self._started.update((started.entry.token, started) for started in batch)

    def _save(self, which: Iterable[Started]) -> None:
        """Bring on record what has become of things.

        :raises ClusterError: if the record cannot be written
        """
        changed: dict[str, Entry] = {}
        for started in which:
            entry = started.on_record()
            if entry != started.entry:
                started.entry = changed[entry.token] = entry
        if changed:
            # Some may have been stopped meanwhile, and be off the record.
            self.record.change(lambda old: [changed.get(entry.token, entry) for entry in old])

    def _mark(self, stuck: Mapping[str, str], which: Sequence[Started]) -> None:
        """Note on record what could not be stopped."""
        with self._lock:
            marked = [started for started in which if started.entry.token in stuck]
            for started in marked:
                started.entry = replace(started.entry, stuck=stuck[started.entry.token])
            self._unswept = [started for started in self._unswept if started.entry.token not in stuck]
            self._started.update((started.entry.token, started) for started in marked)
        changed = {started.entry.token: started.entry for started in marked}
        with suppress(ClusterError):
            self.record.change(lambda old: [changed.get(entry.token, entry) for entry in old])

    def _forget(self, gone: Sequence[Started]) -> None:
        with self._lock:
            tokens = {started.entry.token for started in gone}
            self._unswept = [started for started in self._unswept if started.entry.token not in tokens]
            for token in tokens:
                self._started.pop(token, None)
        for started in gone:
            if started.is_controller:
                self.remove_connection_files(started.entry.hub)
                ipcluster.remove(self.profile_dir, started.entry)
                if not self._replaced(started.entry.hub):
                    with suppress(OSError):
                        (self.logs.folder / "engines.json").unlink()
        self.record.remove(*tokens)

    def _replaced(self, mark: str) -> bool:
        """Whether another controller has taken the place of one of ours, so that what is in its files is not ours."""
        try:
            info = json.loads(profile.client_file(self.profile_dir).read_text(encoding="utf-8"))
            return profile.fingerprint(info) != mark
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def remove_connection_files(self, mark: str) -> None:
        """Remove the connection files that a controller of ours left behind; never those of another one that listens.

        :param mark: the controller's mark, '' if it is not known
        """
        try:
            own = profile.config(self.profile_dir, "ipcontroller")
        except ProfileError as error:
            # It was spoilt meanwhile, and may say that they are to stay; the next start finds that nobody answers them.
            log.warning("The connection files stay: %s", error)
            return
        if own.get("IPController", {}).get("reuse_files"):
            return
        for path in (profile.client_file(self.profile_dir), profile.engine_file(self.profile_dir)):
            with suppress(OSError, ValueError, KeyError, TypeError):
                info = json.loads(path.read_text(encoding="utf-8"))
                url = f"{info['interface']}:{info['registration']}"
                if (mark and profile.fingerprint(info) == mark) or listening({"hub": url}, 0.5)["hub"] is False:
                    path.unlink()

    def forget_stuck(self) -> list[Entry]:
        """Let go of what could not be stopped; nobody tries to stop it any more.

        :returns: what was on record about it
        :raises ClusterError: if the record cannot be written
        """
        stuck = [entry for entry in self.record.read() if entry.stuck]
        with self._lock:
            for entry in stuck:
                self._started.pop(entry.token, None)
        self.record.remove(*(entry.token for entry in stuck))
        return stuck

    def let_go(self) -> None:
        """Forget all processes: they run on, and are on record for the next VisTrails.

        :raises ClusterError: if the record cannot be written
        """
        with self._lock:
            tokens = set(self._started)
            for started in self._started.values():
                started.let_go()
            self._started.clear()
        self.record.change(lambda old: [replace(e, let_go=True) if e.token in tokens else e for e in old])

    def know(self, entries: Iterable[Entry]) -> None:
        """Show processes that are on record as ours, and leave the record as it is.

        :param entries: those that live; a batch job that its launcher no longer knows is left out
        """
        for entry in entries:
            try:
                started = self._kind(entry).take_back(entry, self.profile_dir)
            except ClusterError as error:
                log.warning("%s", error)
                continue
            if started is not None:
                started.only_shown = True
                with self._lock:
                    self._started.setdefault(entry.token, started)

    def over(self, entries: Sequence[Entry], known: Collection[str] = ()) -> set[str]:
        """Ask whether what is on record is over, all at the same time, and leave the record as it is.

        :param entries: what is on record
        :param known: the uuids of the engines that the hub knows; what has one of these is not asked about
        :returns: the tokens of what is
        """

        def is_over(entry: Entry) -> bool:
            try:
                started = self._started.get(entry.token) or self._kind(entry).take_back(entry, self.profile_dir)
            except ClusterError as error:
                log.warning("%s", error)
                return False
            return started is None or (started.uuids.isdisjoint(known) and started.is_over(self.settings.stop_timeout))

        asked = {entry.token: threads.start(partial(is_over, entry), "parallelflow-look") for entry in entries}
        return {token for token, outcome in asked.items() if outcome.result()}

    def take_back(self, entries: Iterable[Entry], let_go: bool) -> list[Started]:
        """Take back what is on record.

        :param entries: what lives, as it was on record when it was decided to take it back
        :param let_go: whether they are to run on when this VisTrails exits
        :returns: what is ours now, without what another VisTrails has taken back meanwhile; a batch job that its launcher no
            longer knows is taken off the record instead, and one that it cannot look after stays there
        :raises ClusterError: if the record cannot be written
        """
        taken = []
        for entry in self._claim({entry.token: entry for entry in entries}, let_go):
            with self._lock:
                started = self._started.get(entry.token)
            try:
                started = started or self._kind(entry).take_back(entry, self.profile_dir)
            except ClusterError as error:
                log.warning("%s", error)
                self.record.put(replace(entry, stuck=str(error)))  # it stays on record, and is tried again later
                continue
            if started is None:
                end([entry.root], self.settings.stop_timeout)
                self.record.remove(entry.token)
                continue
            started.entry, started.registered, started.only_shown = entry, True, False
            taken.append(started)
        with self._lock:
            self._started.update((started.entry.token, started) for started in taken)
        return taken

    @staticmethod
    def _kind(entry: Entry) -> type[Started]:
        return _KINDS.get(entry.kind, StartedProcess)

    def _claim(self, seen: dict[str, Entry], let_go: bool) -> list[Entry]:
        """Become the owner of what still has the owner that was seen, or that nobody is to stop."""
        mine = {"owner_pid": self._owner.pid, "owner_create_time": self._owner.create_time, "let_go": let_go}
        claimed: dict[str, Entry] = {}

        def claim(entry: Entry) -> Entry:
            if entry.token not in seen or (entry.owner != seen[entry.token].owner and not entry.let_go):
                return entry
            claimed[entry.token] = replace(entry, **mine)  # type: ignore[arg-type]
            return claimed[entry.token]

        if seen:  # with none, not even the lock file is made, nor is the profile's folder needed
            try:
                # A full disk must keep nobody from using or stopping what runs.
                self.record.change(lambda old: [claim(entry) for entry in old], needed=False)
            except Locked:
                if not let_go:
                    raise
                return list(seen.values())  # to know what was let go, it need not be written who knows it
        return list(claimed.values())
