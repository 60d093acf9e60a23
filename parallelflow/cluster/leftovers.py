"""Settles what profiles have on record from before: what a VisTrails let go, and what one left that crashed or was killed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from . import hub
from . import profile as profiles
from .connecting import connect
from .connection import Connection
from .errors import ClusterError, ConnectError, StopError
from .lock import Locked
from .processes import ProcessManager
from .questions import Orphan, Questions
from .record import CONTROLLER, Entry, Record
from .settings import Settings
from .started import Started
from .tree import carriers, end, own_identity
from .waiting import Wait

log = logging.getLogger(__name__)

_CLOCK = 1.0  # seconds by which the begin of a process may be known wrongly

_BEGIN_WITHIN = 2.0  # seconds from a process's fork until it carries its token, on a busy machine


def owned(entry: Entry) -> bool:
    """Whether the VisTrails that is to stop it still runs, or cannot be looked at from here.

    :param entry: what is on record about it
    """
    return not entry.here or entry.owner.process() is not None


def _let_begin(tokens: Collection[str]) -> None:
    """Wait until what was being started can be found, if it was: between fork and begin it cannot be told from others."""
    over = time.monotonic() + _BEGIN_WITHIN
    while not all(carriers([token]) for token in tokens) and time.monotonic() < over:
        time.sleep(0.05)


def _belongs(entry: Entry, connection: Connection, engines: Collection[str]) -> bool:
    """Whether it is the controller that answers, or engines of that one's.

    :param entry: what is on record about it
    :param connection: the connection to the controller that answers
    :param engines: the uuids that this one knows
    """
    mark = entry.hub or str((entry.job or {}).get("hub", ""))
    if mark:
        return mark == connection.fingerprint
    if entry.kind == CONTROLLER or entry.uuid in engines or connection.controller is None:
        return True
    # An engine that does not know yet whether it is let in; or one that is older than the controller.
    return entry.started > connection.controller.create_time - _CLOCK


class Leftovers:
    """What is on record from before with the profile in use, and with other profiles.

    :param settings: returns the preferences
    :param questions: returns who answers what is to become of orphans
    :param taken_back: called when something was taken back that is to end with this session
    """

    def __init__(
        self, settings: Callable[[], Settings], questions: Callable[[], Questions], taken_back: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._questions = questions
        self._taken_back = taken_back
        self._settled: ProcessManager | None = None  # that of the profile in use, once its record has been dealt with
        self.others: dict[str, ProcessManager] = {}
        """What was taken back of profiles that are not in use, by their names."""

    def settle(self, manager: ProcessManager, wait: Wait) -> None:
        """Deal with what is on record with the profile in use, once: forget what is gone, know what was let go, ask about orphans.

        :param manager: the profile's processes
        :param wait: suspended while the user is asked
        :raises Locked: if somebody else holds the record's lock; it is settled the next time then
        :raises ClusterError: if the record cannot be written, or something still lives after the time limit
        """
        if manager is self._settled:
            return
        self._settled = manager
        problems = self._settle([manager], wait)
        if problems:
            if isinstance(problems[0], Locked):
                self._settled = None  # the next time, for whoever holds the lock has it for a moment
            raise problems[0]

    def settle_all(self, in_use: str, processes: Callable[[], ProcessManager], wait: Wait) -> None:
        """Deal with the records of all profiles that name something which a VisTrails left that crashed or was killed.

        :param in_use: the name of the profile in use
        :param processes: returns that profile's processes; called only if its record is to be dealt with
        :param wait: suspended while the user is asked
        :raises ClusterError: as for :meth:`settle`; the other records have been dealt with all the same
        """
        managers: dict[str, ProcessManager] = {}
        problems: list[ClusterError] = []
        for name in profiles.profiles():
            on_record = Record(profiles.folder_of(name)).read()
            if name in self.others or not any(
                e.here and not e.let_go and not e.stuck and not owned(e) for e in on_record
            ):
                continue
            try:
                if name != in_use:
                    managers[name] = ProcessManager(profiles.find(name), self._settings())
                elif (manager := processes()) is not self._settled:
                    managers[name] = self._settled = manager
            except ClusterError as error:
                problems.append(error)
        problems += self._settle(list(managers.values()), wait)
        for name, manager in managers.items():
            if name != in_use and not manager.all_let_go:
                self.others[name] = manager
        if problems:
            raise problems[0]

    def know(self, manager: ProcessManager) -> None:
        """Know what was let go on the profile in use, and leave its record as it is.

        :param manager: the profile's processes
        """
        if manager is not self._settled:
            self._settled = manager
            manager.know([e for e in manager.record.read() if e.here and e.let_go and e.lives])

    def take_back(self, manager: ProcessManager) -> int:
        """Make what was left running on the profile in use ours again.

        :param manager: the profile's processes
        :returns: how many processes were taken back
        :raises ClusterError: if the record cannot be written
        """
        self._settled = manager
        left = [e for e in manager.record.read() if e.lives and (e.let_go or not owned(e))]
        taken = manager.take_back(left, let_go=False)
        if taken:
            self._taken_back()
        return len(taken)

    def close(self) -> None:
        """End what was taken back of other profiles or let it go, as the preferences say.

        Engines that others started there end when their controller is gone.

        :raises ClusterError: if something still lives after the time limit, or a record cannot be written; it is still in
            :attr:`others` then
        """
        problems: list[ClusterError] = []
        for name, manager in list(self.others.items()):
            try:
                manager.close(self._settings)
                del self.others[name]
            except ClusterError as error:
                problems.append(error)
        if problems:
            raise problems[0]

    def _settle(self, managers: Sequence[ProcessManager], wait: Wait) -> list[ClusterError]:
        """Deal with some records, and return what went wrong."""
        orphans: list[tuple[ProcessManager, list[Entry]]] = []
        problems: list[ClusterError] = []
        for manager in managers:
            try:
                found = self._without_gone(manager)
                if found:
                    orphans.append((manager, found))
            except ClusterError as error:
                problems.append(error)
        if not orphans:
            return problems
        answer = self._what_about(orphans, wait)
        for manager, found in orphans:
            try:
                self._deal_with(manager, found, answer)
            except ClusterError as error:
                problems.append(error)
        return problems

    def _without_gone(self, manager: ProcessManager) -> list[Entry]:
        """Forget what is gone, know what was let go, and return what a VisTrails that is gone left running."""
        me = own_identity()
        mine = {started.entry.token for started in manager.started}
        entries = [
            entry
            for entry in manager.record.read()
            if entry.here and entry.token not in mine and (entry.let_go or entry.stuck or entry.owner != me)
        ]
        gone = [entry for entry in entries if not entry.lives and (entry.let_go or not owned(entry))]
        if gone:
            # Descendants may be left, and what a VisTrails was starting when it was killed.
            _let_begin([entry.token for entry in gone if entry.identity is None])
            end([entry.root for entry in gone], manager.settings.stop_timeout)
            for entry in gone:
                if entry.hub:
                    manager.remove_connection_files(entry.hub)
            manager.record.remove(*(entry.token for entry in gone))
        left = [entry for entry in entries if entry not in gone]
        if manager is self._settled:  # what was let go on others is no business of ours until one is in use
            # What could not be stopped may be this session's, from before it was closed.
            ours = [e for e in left if e.let_go or (e.stuck and (e.owner == me or not owned(e)))]
            manager.take_back(ours, let_go=True)
        return [entry for entry in left if not entry.let_go and not entry.stuck and not owned(entry)]

    def _what_about(self, orphans: Sequence[tuple[ProcessManager, list[Entry]]], wait: Wait) -> str:
        """What becomes of orphans, by the preferences or the user's answer."""
        found = [
            Orphan(entry.kind, entry.pid, entry.host, entry.started, profiles.name_of(manager.profile_dir))
            for manager, entries in orphans
            for entry in entries
        ]
        count = f"{len(found)} process{'es' if len(found) > 1 else ''}"
        log.warning("Found %s that a VisTrails left running which crashed or was killed", count)
        answer = orphans[0][0].settings.after_crash
        if answer == "ask":
            with wait.suspended():
                return self._questions().orphans(found)
        return answer

    def _deal_with(self, manager: ProcessManager, orphans: Sequence[Entry], answer: str) -> None:
        if answer == "undecided":
            return
        if answer == "leave":
            log.warning("Leaving them as they are")
            manager.take_back(orphans, let_go=True)
            return
        taken = manager.take_back(orphans, let_go=False)
        useless = taken if answer == "stop" else self._of_no_use(manager.profile_dir, taken)
        if useless:
            log.warning("Stopping them")
            try:
                manager.stop(useless)
            except StopError as error:  # it stays on record as such, and must keep nobody from going on
                log.warning("%s", error)
        if len(useless) < len(taken):
            log.warning("Taking them back: they are used, and end with this session")
            self._taken_back()

    def _of_no_use(self, folder: Path, taken: Sequence[Started]) -> Sequence[Started]:
        """Those whose controller is gone: nobody answers, or another one that has taken its place."""
        try:
            connection = connect(folder, self._settings().connect_timeout)
        except ConnectError as error:
            return taken if error.gone else ()
        try:
            engines = {*hub.engines_of(connection).values()}
            return [started for started in taken if not _belongs(started.entry, connection, engines)]
        finally:
            connection.close()
