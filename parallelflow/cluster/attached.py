"""What a session is attached to: a profile, what is ours with it, and the connection to its controller."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from parallelflow.texts import tr

from . import hub, shutdown
from . import profile as profiles
from .connecting import connect
from .connection import Connection
from .errors import ConnectError, ControllerLost, PortTaken, SettingsError
from .keeping import Keeping
from .launchers import engine_command
from .leftovers import Leftovers
from .lock import Locked
from .ports import has_begun
from .processes import ProcessManager
from .roster import Roster
from .settings import Settings
from .started import Started
from .tree import Identity, Root, members
from .waiting import Wait

log = logging.getLogger(__name__)

_SCHEDULERS_WITHIN = 5.0  # seconds from a hub that answers to schedulers that do, unless these are just starting
_STARTED_UP_AFTER = 60.0  # seconds from a hub's first sign of life; what does not listen then is gone


class Attached:
    """A profile, what is ours with it, and the connection to its controller. Only one thread at a time changes it.

    :param settings: returns the preferences, validated
    :param leftovers: deals with what is on record from before
    :param start_engines: starts so many engines, if a connection is still in use
    :param stopped: called when something of ours was stopped
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        leftovers: Leftovers,
        start_engines: Callable[[Connection, int], object],
        stopped: Callable[[], None],
    ) -> None:
        self.settings = settings
        self._leftovers = leftovers
        self._stopped = stopped
        self._keeping = Keeping(settings, start_engines)
        self._making = threading.RLock()
        self._folder: Path | None = None
        self.chosen: str | None = None
        """The name of the profile in use, once there is one."""
        self.manager: ProcessManager | None = None
        """What is ours with it, once that was asked for."""
        self.connection: Connection | None = None
        """The connection; it may be one that was lost."""
        self.roster: Roster | None = None
        """What is known of the engines, while there is a connection."""
        self.stale: dict[Path, bytes] = {}
        """The connection files that nobody answered when it was last tried to connect, with their contents."""

    @property
    def profile(self) -> str:
        """The name of the profile in use, or that will be used."""
        return self.chosen or self.settings().profile

    def settings_to_stop(self) -> Settings:
        """The preferences, for what ends or lets go: where one is not allowed, those from before, for that must not fail of it."""
        try:
            return self.settings()
        except SettingsError as error:
            log.warning("%s", error)
            return self.manager.settings if self.manager is not None else Settings()

    def settings_are_allowed(self) -> bool:
        """Whether all preferences have values that are allowed."""
        with suppress(SettingsError):
            self.settings()
            return True
        return False

    def starts_engines_here(self) -> bool:
        """Whether the profile's engines are started on this machine.

        :raises ProfileError: if there is no such profile, or its configuration has an error in it
        """
        return engine_command(profiles.find(self.profile)) is not None

    @property
    def processes(self) -> ProcessManager:
        """The processes of the profile in use.

        :raises ClusterError: if there is no such profile
        """
        with self._making:  # not the lock of actions, which may take a minute
            if self.manager is None:
                folder = self._open()
                taken_back = self._leftovers.others.pop(profiles.name_of(folder), None)
                self.manager = taken_back or ProcessManager(folder, self.settings())
            return self.manager

    def _open(self) -> Path:
        """The profile's folder; `default` need not exist before something is started.

        The profile now stays what it is until it is changed or the session closes.
        """
        if self._folder is None:
            name = self.profile
            folder = profiles.find(name)
            profiles.make_private(folder, make=False)
            self._folder, self.chosen = folder, name
        return self._folder

    def find(self) -> None:
        """Have the profile in use be what it is, and know what was let go there; its record stays as it is.

        :raises ProfileError: if there is no such profile
        """
        self._folder, self.chosen = profiles.find(self.profile), self.profile
        self._leftovers.know(self.processes)

    def connect(
        self, wait: Wait, repair: bool = False, to_stop: bool = False, begun: Started | None = None
    ) -> Connection | None:
        """The connection if it is good, else a new one, else None.

        :param repair: whether a controller of ours that is damaged is stopped, as if there were none
        :param to_stop: whether a damaged controller is good enough
        :param begun: the controller, if it has just been started: its parts may take as long as the wait
        :raises ClusterError: if there may be a controller but it does not answer or is damaged, or there is no such profile
        """
        damaged = ""
        if self.connection is not None:
            if self.connection.check() is None:
                return self.connection
            damaged = self.connection.url
            self.disconnect()
        folder = self._open()
        try:
            self._leftovers.settle(self.processes, wait)
        except Locked as error:  # to use what runs takes no lock
            log.warning("%s", error)
        patience = (self.settings_to_stop() if to_stop else self.settings()).connect_timeout
        try:
            connection = wait.call(
                lambda: connect(folder, patience),
                tr("Connecting to the controller"),
                0.0,
                discard=lambda late: late.close(),
            )
        except ConnectError as error:
            if error.gone:
                log.debug("%s", error)
                self.stale = error.stale
                return None
            raise
        problem = connection.check() if connection.url == damaged else self._missing_part(connection, wait, begun)
        kind: type[ControllerLost] = ControllerLost
        if problem is None:
            problem, kind = self._displaced_part(connection), PortTaken
        if problem is not None and not to_stop:
            connection.close()
            mine = self.processes.controller()
            if mine is None or not repair:
                raise kind(problem)
            log.warning("%s", problem)
            self.stop_ours(self.processes.started)
            return None
        connection.each_round = lambda: self._look(connection)
        self.connection, self.roster = connection, Roster(connection)
        self.processes.observe(hub.engines_of(connection).values(), connection.fingerprint)
        log.info("Connected to the controller at %s", connection.url)
        return connection

    def _missing_part(self, connection: Connection, wait: Wait, begun: Started | None) -> str | None:
        """A sentence if a part of the controller is gone. One that just starts gets some time."""
        patience = Wait(_SCHEDULERS_WITHIN)
        while not connection.ready():
            process = connection.controller
            if begun is not None:
                if wait.over or not begun.alive or connection.has_lost_a_process():
                    return connection.check()
            elif process is not None and time.time() - self._up_since(connection, process) > _STARTED_UP_AFTER:
                return connection.check()
            # The hub collects what ends while it still starts others.
            if patience.over and (begun is None if process is None else has_begun(process)):
                return connection.check()
            wait.pause(tr("Waiting for the schedulers"), 0.2)
        return None

    def _displaced_part(self, connection: Connection) -> str | None:
        """A sentence if somebody else listens in the place of a part of the controller."""
        mine = self.processes.controller()
        roots = [mine.root] if mine is not None and mine.entry.hub == connection.fingerprint else []
        if connection.controller is not None:
            roots.append(Root("", connection.controller))
        return connection.displaced(members(roots)[0])

    @staticmethod
    def _up_since(connection: Connection, process: Identity) -> float:
        """When a hub began to work, in seconds since the epoch: on a slow disk that is long after its process began."""
        try:
            written = profiles.client_file(connection.profile_dir, connection.cluster_id).stat().st_mtime
        except OSError:
            written = 0.0
        return max(process.create_time, written)

    def _look(self, connection: Connection) -> None:
        if self.manager is not None:
            self._keeping.look(connection, self.manager)

    def disconnect(self) -> None:
        """Close the connection, if there is one; the cluster runs on."""
        connection, self.connection, self.roster = self.connection, None, None
        if connection is not None:
            connection.close()

    def local(self, uuids: Collection[str]) -> set[Identity]:
        """The processes of engines on this machine, as far as they are known by now.

        :param uuids: the engines'
        """
        roster = self.roster
        if roster is None:
            return set()
        roster.locate()
        found = (roster.local(identity) for identity in uuids)
        return {identity for identity in found if identity is not None}

    def stop_ours(self, which: Sequence[Started]) -> None:
        """Stop what is ours; if the controller is among it, every engine connected to it ends as well.

        :param which: some of what is ours
        :raises ClusterError: if something still lives after the time limit
        """
        manager = self.processes
        manager.settings = self.settings_to_stop()
        try:
            shutdown.stop_ours(self.connection, manager, self.local, which)
        finally:
            if any(started.is_controller for started in which):
                self.disconnect()
            self._stopped()

    def reset(self) -> None:
        """Be attached to nothing any more: the preferences say which profile is the next."""
        self.manager = self._folder = self.chosen = None
