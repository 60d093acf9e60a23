"""A session: one VisTrails' dealings with clusters.

Everything above this room uses this object, and what it hands out.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from parallelflow.texts import tr

from . import hub, ipcluster, threads
from . import profile as profiles
from .connecting import connect
from .connection import Connection
from .cores import usable_cores
from .errors import ClusterError, ConnectError, ControllerLost, NoEngines, SettingsError, StartError, StopError
from .failures import failed
from .guard import Guard
from .launchers import engine_command
from .leftovers import Leftovers
from .processes import ProcessManager
from .questions import BatchQuestions, Need, Questions
from .record import Entry, Record, locked
from .roster import Roster
from .settings import Settings
from .started import Started
from .state import (
    LEFT,
    OTHER_VISTRAILS,
    OTHERS,
    VISTRAILS,
    ClusterState,
    ControllerState,
    EngineState,
    ProcessState,
)
from .tree import Identity
from .waiting import Cancel, Progress, Wait

log = logging.getLogger(__name__)

_TRIES = 3  # ipcontroller picks free ports first and binds them later, so others can take them
_SCHEDULERS_WITHIN = 5.0  # seconds from a hub that answers to schedulers that do
_STARTED_UP_AFTER = 15.0  # seconds from a hub's first sign of life; what does not listen then is gone
_GLANCE = 0.3  # seconds that a look at the state waits for parts of the controller that do not answer
_OTHERS_WITHIN = 3.0  # seconds for other threads to end what they do when the session is closed
_ENGINES_SHARE = 0.5  # of the time limit for stopping: what engines may take that others started
_GOT_FAR = 20.0  # seconds that an engine must have lived to be started again
_LEAST_SHARE = 0.2  # of a time limit for stopping: what the last step has in any case

_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


class Session:
    """One VisTrails' dealings with clusters.

    Its methods may be called from any thread; those that change something wait for each other.
    :meth:`state` and the properties never wait for them.

    :param settings: returns the preferences, validated; called anew whenever they matter, and what it raises comes out of the
        method that asks
    :param questions: who answers questions; default: the preferences
    """

    def __init__(self, settings: Callable[[], Settings] = Settings, questions: Questions | None = None) -> None:
        self._settings = settings
        self._questions: Questions = questions or BatchQuestions(settings)
        self._guard = Guard(self._last_act)
        self._forget()
        _sessions.add(self)

    def _forget(self) -> None:
        """Start from nothing; also what a forked child does, whose parent owns everything."""
        self._lock = threading.RLock()
        self._making = threading.RLock()
        self._closers: list[threading.Thread] = []
        self._stale: dict[Path, bytes] = {}
        self._dealt_with: set[str] = set()  # tokens of what has ended by itself
        self._chosen: str | None = None
        self._profile_dir: Path | None = None
        self._manager: ProcessManager | None = None
        self._connection: Connection | None = None
        self._roster: Roster | None = None
        self._leftovers = Leftovers(lambda: self._settings(), lambda: self._questions, lambda: self._guard.arm())

    def _settings_to_stop(self) -> Settings:
        """The preferences, for what ends or lets go: where one is not allowed, those from before, for that must not fail of it."""
        try:
            return self._settings()
        except SettingsError as error:
            log.warning("%s", error)
            return self._manager.settings if self._manager is not None else Settings()

    def _settings_are_allowed(self) -> bool:
        with suppress(SettingsError):
            self._settings()
            return True
        return False

    # What there is

    @property
    def profile(self) -> str:
        """The name of the IPython profile in use, or that will be used."""
        return self._chosen or self._settings().profile

    @property
    def settings(self) -> Settings:
        """The preferences at this moment.

        :raises SettingsError: if one has a value that is not allowed
        """
        return self._settings()

    @property
    def connection(self) -> Connection | None:
        """The connection, or None; it may be one that was lost (see :attr:`Connection.lost`)."""
        return self._connection

    @property
    def processes(self) -> ProcessManager:
        """The processes of the profile in use.

        :raises ClusterError: if there is no such profile
        """
        with self._making:  # not the lock of actions, which may take a minute
            if self._manager is None:
                folder = self._open()
                taken_back = self._leftovers.others.pop(profiles.name_of(folder), None)
                self._manager = taken_back or ProcessManager(folder, self._settings())
            return self._manager

    def _open(self) -> Path:
        """The profile's folder; `default` need not exist before something is started.

        The profile now stays what it is until it is changed or the session closes.
        """
        if self._profile_dir is None:
            name = self.profile
            folder = profiles.find(name)
            profiles.make_private(folder, make=False)
            self._profile_dir, self._chosen = folder, name
        return self._profile_dir

    # Connect

    def connect(self, settle: bool = True) -> Connection | None:
        """Connect to the profile's controller, if one runs; nothing is started.

        :param settle: whether to deal with what is on record, as whoever goes on to use the cluster must; without, what was let
            go is known as ours, and the record stays as it is
        :returns: the connection, or None if there is no controller
        :raises ClusterError: if there is no such profile, or there may be a controller but it does not
            answer or is damaged
        """
        wait = self._wait(self._settings().connect_timeout)
        with self._locked(wait):
            if not settle:
                self._profile_dir = profiles.find(self.profile)
                self._chosen = self.profile
                self._leftovers.know(self.processes)
            return self._connect(wait)

    def client(
        self,
        start: bool = True,
        progress: Progress | None = None,
        cancelled: Cancel | None = None,
    ) -> Any:
        """A connected ``ipyparallel.Client`` with at least one engine, starting a cluster if there is none.

        :param start: whether controller and engines may be started, if the preferences or the user agree
        :param progress: called with a text and a fraction from 0 to 1, at least 10 times a second while
            waiting, in the calling thread; an exception that it raises stops what was just started
            and comes out of here
        :param cancelled: asked as often; True stops what was just started and raises :class:`Cancelled`
        :raises ClusterError: if there is no engine in the end; its text is a sentence for the user
        """
        settings = self._settings()
        wait = self._wait(settings.start_timeout, progress, cancelled)
        with self._locked(wait):
            connection = self._connect(wait, repair=start)
            if connection is not None and (connection.client.ids or self._others_start(connection, wait, settings)):
                return connection.client
            if not start or settings.if_no_engines == "never":
                raise NoEngines(self._nothing(connection, settings))
            if inside_engine():
                raise NoEngines(tr("This runs in an engine already, from where no other cluster is started."))
            count: int | None = settings.engines or usable_cores()
            if settings.if_no_engines == "ask":
                need = Need(self.profile, count or 1, self.starts_engines_here(), settings.at_exit == "leave")
                with wait.suspended():
                    count = self._questions.start_cluster(need)
            if not count:
                raise NoEngines(
                    tr(
                        "No engines are running, and none were to be started. Start some with Packages > Parallel Flow > Start"
                        " new engine processes, or execute again and let the Map start them."
                    )
                )
            self._start(count, wait, only_if_none=True)
            assert self._connection is not None
            return self._connection.client

    def _others_start(self, connection: Connection, wait: Wait, settings: Settings) -> bool:
        """Wait for engines that somebody else is just starting, for half of the time that a start may take.

        :returns: whether there is one now
        """
        is_ours = (
            self.processes.controller() is not None
        )  # its cluster file is ours: without engines when all were stopped
        while not is_ours and not connection.client.ids and connection.lost is None and not wait.over:
            if not ipcluster.starts_engines(connection.profile_dir, settings.start_timeout / 2):
                break
            wait.pause(tr("Waiting for engines that are just starting"), 0.0)
        return bool(connection.client.ids)

    def starts_engines_here(self) -> bool:
        """Whether the profile's engines are started on this machine; else it starts them by SSH, a batch system or the like.

        :raises ProfileError: if there is no such profile, or its configuration has an error in it
        """
        return engine_command(profiles.find(self.profile)) is not None

    def _nothing(self, connection: Connection | None, settings: Settings) -> str:
        never = settings.if_no_engines == "never"
        if connection is None and never:
            what = tr(
                "There are no engines: no controller runs for the IPython profile '{name}' and the preferences say that none"
                " are started by themselves.",
                name=self.profile,
            )
        elif connection is None:
            what = tr("There are no engines: no controller runs for the IPython profile '{name}'.", name=self.profile)
        elif never:
            what = tr(
                "There are no engines: the controller has no engines for the IPython profile '{name}' and the preferences say"
                " that none are started by themselves.",
                name=self.profile,
            )
        else:
            what = tr(
                "There are no engines: the controller has no engines for the IPython profile '{name}'.",
                name=self.profile,
            )
        how = tr(
            "Start some with Packages > Parallel Flow > Start new engine processes, or in a terminal with:"
            " ipcluster start --profile={name}",
            name=self.profile,
        )
        return f"{what} {how}"

    def _connect(self, wait: Wait, repair: bool = False, to_stop: bool = False) -> Connection | None:
        """The connection if it is good, else a new one, else None.

        :param repair: whether a controller of ours that is damaged is stopped, as if there were none
        :param to_stop: whether a damaged controller is good enough
        """
        damaged = ""
        if self._connection is not None:
            if self._connection.check() is None:
                return self._connection
            damaged = self._connection.url
            self._disconnect()
        folder = self._open()
        self._leftovers.settle(self.processes, wait)
        patience = (self._settings_to_stop() if to_stop else self._settings()).connect_timeout
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
                self._stale = error.stale
                return None
            raise
        problem = connection.check() if connection.url == damaged else self._missing_part(connection, wait)
        if problem is not None and not to_stop:
            connection.close()
            mine = self.processes.controller()
            if mine is None or not repair:
                raise ControllerLost(problem)
            log.warning("%s", problem)
            self._stop_ours(self.processes.started)
            return None
        connection.each_round = lambda: self._report_dead_engines(connection)
        self._connection, self._roster = connection, Roster(connection)
        self.processes.observe(hub.engines_of(connection).values(), connection.fingerprint)
        log.info("Connected to the controller at %s", connection.url)
        return connection

    def _missing_part(self, connection: Connection, wait: Wait) -> str | None:
        """A sentence if a part of the controller is gone. One that just starts gets some time."""
        patience = Wait(_SCHEDULERS_WITHIN)
        while not connection.ready():
            process = connection.controller
            if process is not None and time.time() - self._up_since(connection, process) > _STARTED_UP_AFTER:
                return connection.check()
            if patience.over:
                return connection.check()
            wait.pause(tr("Waiting for the schedulers"), 0.2)
        return None

    @staticmethod
    def _up_since(connection: Connection, process: Identity) -> float:
        """When a hub began to work, in seconds since the epoch: on a slow disk that is long after its process began."""
        try:
            written = profiles.client_file(connection.profile_dir, connection.cluster_id).stat().st_mtime
        except OSError:
            written = 0.0
        return max(process.create_time, written)

    def _report_dead_engines(self, connection: Connection) -> None:
        """Tell the hub which engines of ours are dead. It would notice after 12 s if their nannies died too.

        And learn from it which jobs have ended.
        """
        manager = self._manager
        if manager is None:
            return
        numbers = {identity: number for number, identity in hub.engines_of(connection).items()}
        if connection.lost is None:
            manager.observe(numbers, connection.fingerprint)
        manager.notice()
        for started in manager.died:
            number = numbers.get(started.entry.uuid)
            if number is not None:
                hub.forget(connection, number)
        self._keep_engines(connection, manager)

    def _keep_engines(self, connection: Connection, manager: ProcessManager) -> None:
        """Have as many engines started again as have ended by themselves, if the preferences say so. Does not wait for them.

        Those that did not get far are not started again: whatever ended them would end the next ones, too.
        """
        ended = [s for s in manager.died if not s.is_controller and s.entry.token not in self._dealt_with]
        self._dealt_with.update(started.entry.token for started in ended)
        again = [
            started
            for started in ended
            if started.registered and not started.entry.let_go and time.time() - started.entry.started > _GOT_FAR
        ]
        count = sum(started.n for started in again)
        if not count or connection.lost is not None or not self._settings().keep_engines:
            return

        def start_again() -> None:
            log.warning("%d engines have ended; as many are started again", count)
            try:
                if self._connection is connection:
                    self.start_engines(count)
            except ClusterError as error:
                log.warning("%s", error)

        threads.start(start_again, "parallelflow-again")

    def was_taken(self, uuid: str) -> bool:
        """Whether an engine that has gone was ended by a batch system: at its time limit, or because its node was wanted or failed.

        Asks the batch system, for seconds at most.

        :param uuid: the engine's
        """
        manager = self._manager
        everything = [*manager.started, *manager.died] if manager is not None else []
        mine = next((started for started in everything if uuid in started.uuids), None)
        return mine is not None and mine.was_taken()

    def _disconnect(self) -> None:
        connection, self._connection, self._roster = self._connection, None, None
        if connection is not None:
            connection.close()

    # Start

    def start_engines(self, n: int, progress: Progress | None = None, cancelled: Cancel | None = None) -> list[int]:
        """Start engines, and a controller if there is none.

        :param n: how many engines
        :param progress: as for :meth:`client`
        :param cancelled: as for :meth:`client`
        :returns: the new engines' numbers
        :raises ClusterError: if they do not all become ready; those that did stay
        """
        if n < 1:
            raise ClusterError(tr("The number of engines to start must be at least 1, not {number}.", number=n))
        wait = self._wait(self._settings().start_timeout, progress, cancelled)
        with self._locked(wait):
            uuids = self._start(n, wait, only_if_none=False)
            assert self._connection is not None
            return sorted(number for number, identity in hub.engines_of(self._connection).items() if identity in uuids)

    def _start(self, n: int, wait: Wait, only_if_none: bool) -> set[str]:
        """Start engines and, if need be, a controller; only one VisTrails does so on a profile at a time."""
        profiles.locate(self.profile)
        manager = self.processes
        manager.settings = self._settings()
        lock = profiles.security_dir(manager.profile_dir) / "parallelflow-start.lock"
        what = tr("another VisTrails, which is just starting a cluster on this profile")
        with locked(lock, wait, what):
            # Whoever held the lock may have started what we want.
            connection = self._connect(wait, repair=True)
            if only_if_none and connection is not None and connection.client.ids:
                return set()
            rest = [started for started in manager.started if not started.entry.stuck]
            if connection is None and rest:
                log.warning("Stopping what is left of a cluster whose controller is gone")
                try:
                    self._stop_ours(rest)
                except StopError as error:  # its engines cannot join another controller
                    log.warning("%s", error)
            manager.sweep()
            manager.try_again()
            for left in profiles.security_dir(manager.profile_dir).glob(_WAITING.format("*")):
                with suppress(OSError):
                    left.unlink()
            self._guard.arm()
            for attempt in range(_TRIES):
                try:
                    return self._start_once(n, manager, wait, keep_some=only_if_none)
                except StartError as error:
                    if "Address already in use" not in error.log_tail or attempt == _TRIES - 1:
                        raise
                    log.info("A port that the controller had picked was taken; trying again")
        raise AssertionError

    def _start_once(self, n: int, manager: ProcessManager, wait: Wait, keep_some: bool) -> set[str]:
        folder = manager.profile_dir
        connection = self._connection
        batch: list[Started] = []
        engines: Sequence[Started] = ()
        waiting_file: Path | None = None
        try:
            if connection is None:
                wait.report(tr("Starting the controller"), 0.0)
                controller = manager.launch_controller(self._stale)
                batch.append(controller)
                if self.starts_engines_here():
                    # Started together with their controller, engines are ready a second earlier. They wait
                    # for a file of their own, which appears complete, and which nobody can have left behind.
                    name = _WAITING.format(uuid.uuid4().hex)
                    waiting_file = profiles.security_dir(folder) / name
                    engines = manager.launch_engines(n, waiting_file)
                    batch += engines
                manager.wait_for_controller(controller, wait)
                try:
                    connection = self._connect(wait)
                except (ConnectError, ControllerLost) as error:
                    raise failed(str(error), controller, manager.logs) from error
                if connection is None:
                    raise failed(tr("The controller started but does not answer."), controller, manager.logs)
                if waiting_file is not None:
                    # Not before all parts of the controller run: its task scheduler would count an engine twice that
                    # registers while it starts, and lose every task when that engine dies.
                    self._show_engines(waiting_file, profiles.engine_file(folder))
            if not engines:
                wait.report(tr("Starting engines"), 0.2)
                self._check_engine_file(connection, folder)
                if connection.here and self.starts_engines_here():
                    waiting_file = profiles.security_dir(folder) / _WAITING.format(uuid.uuid4().hex)
                    self._show_engines(waiting_file, profiles.engine_file(folder, connection.cluster_id))
                engines = manager.launch_engines(
                    n,
                    waiting_file,
                    lambda: hub.engines_of(connection).values(),
                    wait,
                    connection.cluster_id,
                    connection.fingerprint,
                )
                batch += engines
            try:
                uuids = manager.wait_for_engines(engines, lambda: hub.engines_of(connection).values(), wait)
            except StartError as error:
                ready = [engine for engine in engines if engine.uuids & set(hub.engines_of(connection).values())]
                manager.stop_after_failure([engine for engine in engines if engine not in ready])
                if not ready:
                    raise
                batch = []
                if not keep_some:
                    raise
                log.warning("%s", error)
                uuids = {identity for engine in ready for identity in engine.uuids}
            manager.show_to_ipcluster()
            wait.report(tr("The cluster is ready"), 1.0)
            return uuids
        except BaseException:
            if any(started.is_controller for started in batch):
                self._disconnect()
            manager.stop_after_failure(batch)
            raise
        finally:
            if waiting_file is not None:
                with suppress(OSError):
                    waiting_file.unlink()

    @staticmethod
    def _show_engines(waiting_file: Path, path: Path) -> None:
        """Put the connection file where engines on this machine wait for it, and need not know how others call this machine."""
        try:
            info = json.loads(path.read_text(encoding="utf-8"))
            profiles.write_private(waiting_file, json.dumps({**info, "location": "127.0.0.1"}))
        except OSError as error:
            raise StartError(
                tr("{path} cannot be written: {reason}.", path=waiting_file, reason=error.strerror or error)
            ) from error

    @staticmethod
    def _check_engine_file(connection: Connection, folder: Path) -> None:
        path = profiles.engine_file(folder, connection.cluster_id)
        if not path.exists():
            raise StartError(
                tr(
                    "No engines can be started from this machine: {path} is missing, by which they would find the"
                    " controller on {host}. Copy it from there.",
                    path=path,
                    host=connection.location,
                )
            )

    # Know

    def state(self) -> ClusterState:
        """The cluster as it is now, for a table that is refreshed every second.

        Takes milliseconds, sends no task to any engine, starts nothing and never waits for other methods.
        """
        manager, connection, roster = self._manager, self._connection, self._roster
        alive = manager.alive() if manager is not None else []
        died = manager.died if manager is not None else []
        controller: ControllerState | None = None
        engines: tuple[EngineState, ...] = ()
        unassigned = 0
        lost = connection.check(_GLANCE) if connection is not None else None
        if connection is not None and roster is not None:
            controller = self._controller_state(connection, alive)
            if lost is None:
                if manager is not None:
                    manager.observe(hub.engines_of(connection).values(), connection.fingerprint)
                engines, unassigned = roster.look({identity: s for s in alive for identity in s.uuids})
        return ClusterState(
            profile=self.profile,
            controller=controller,
            lost=lost,
            engines=engines,
            processes=tuple(_process_state(started.entry) for started in alive),
            died=tuple(_process_state(started.entry, started.ending) for started in died),
            unassigned=unassigned,
        )

    @staticmethod
    def _controller_state(connection: Connection, alive: Sequence[Started]) -> ControllerState:
        mine = next((started for started in alive if started.is_controller), None)
        identity = mine.entry.identity if mine is not None else connection.controller
        started_by = OTHERS
        if mine is not None:
            started_by = LEFT if mine.entry.let_go else VISTRAILS
        elif identity is not None:
            recorded = {entry.pid for entry in Record(connection.profile_dir).read() if entry.here}
            started_by = OTHER_VISTRAILS if identity.pid in recorded else OTHERS
        return ControllerState(
            url=connection.url,
            host=connection.location,
            here=connection.here,
            pid=identity.pid if identity is not None else None,
            started_by=started_by,
            since=identity.create_time if identity is not None else None,
            encrypted=connection.encrypted,
        )

    # Stop

    def stop_engines(self, ids: Collection[int]) -> None:
        """Stop some engines, whoever started them.

        :param ids: their numbers at the hub; unknown ones are ignored
        :raises ClusterError: if there is no controller, or one still lives after the time limit
        """
        wait = self._wait(self._settings_to_stop().start_timeout)
        with self._locked(wait):
            connection = self._connect(wait)
            if connection is None:
                raise ControllerLost(tr("There is no controller any more, so engines have no numbers."))
            chosen = {n: identity for n, identity in hub.engines_of(connection).items() if n in set(ids)}
            manager = self.processes
            manager.settings = self._settings_to_stop()
            whole = [s for s in manager.alive() if s.uuids and s.uuids <= set(chosen.values())]
            single = {identity for started in whole if not started.through_hub for identity in started.uuids}
            limit = manager.settings.stop_timeout
            begin = time.monotonic()
            others = {n: identity for n, identity in chosen.items() if identity not in single}
            with manager.stopping(whole):
                hub.stop(connection, others, limit * _ENGINES_SHARE, self._local)
                manager.stop(whole, limit=_rest(limit, begin))
            hub.unregister(connection, chosen)
            manager.show_to_ipcluster()
            left = sorted(n for n, identity in others.items() if hub.engines_of(connection).get(n) == identity)
            if left:
                raise StopError(
                    tr(
                        "These engines did not stop within {seconds} seconds: {numbers}. Stop their processes on the machines"
                        " they run on.",
                        seconds=round(limit),
                        numbers=", ".join(map(str, left)),
                    )
                )

    def stop_started(self) -> None:
        """Stop everything that is ours; if the controller is, every engine connected to it ends as well.

        :raises ClusterError: if something still lives after the time limit
        """
        wait = self._wait(self._settings_to_stop().start_timeout)
        with self._locked(wait):
            try:
                self._leftovers.settle(self.processes, wait)
            except SettingsError as error:  # nobody knows which profile it would be, or what becomes of what was left
                log.warning("%s", error)
            if self._manager is not None:
                self._stop_ours(self._manager.started)

    def _stop_ours(self, which: Sequence[Started]) -> None:
        manager = self.processes
        manager.settings = self._settings_to_stop()
        limit = manager.settings.stop_timeout
        begin = time.monotonic()
        connection = self._connection
        if connection is not None and not connection.reaches_engines():
            connection = None
        with_controller = any(started.is_controller for started in which)
        gone = [*which, *manager.died]  # if there are none, nothing is to be changed
        own = {identity for started in which if not started.through_hub for identity in started.uuids}
        jobs = {identity for started in which if started.through_hub for identity in started.uuids}
        engines = hub.engines_of(connection) if connection is not None else {}
        # Engines that are not our processes must hear of it while there is a controller to tell them.
        by_hub = {
            n: identity
            for n, identity in engines.items()
            if identity in jobs or (with_controller and identity not in own)
        }
        try:
            with manager.stopping(which):
                if connection is not None and by_hub:
                    hub.stop(connection, by_hub, limit * _ENGINES_SHARE, self._local)
                known = (lambda: hub.engines_of(connection).values()) if connection is not None else None
                manager.stop(which, limit=_rest(limit, begin), known=known)
        finally:
            if with_controller:
                self._disconnect()
            elif connection is not None and gone:
                mine = {n: identity for n, identity in engines.items() if identity in own | jobs}
                hub.unregister(connection, mine)
                manager.show_to_ipcluster()
            self._disarm()

    def shutdown_cluster(self) -> None:
        """Stop the profile's whole cluster, whoever started it: every engine, then the controller.

        :raises ClusterError: if there is none, or something still lives after the time limit
        """
        wait = self._wait(self._settings_to_stop().start_timeout)
        with self._locked(wait):
            connection = self._connect(wait, to_stop=True)
            manager = self.processes
            manager.settings = self._settings_to_stop()
            if connection is None and not manager.started:
                raise ControllerLost(
                    tr(
                        "No controller runs for the IPython profile '{name}'; there is nothing to shut down.",
                        name=self.profile,
                    )
                )
            if connection is None or manager.controller() is not None:
                self._stop_ours(manager.started)
                return
            self._shut_down_others(connection, manager)

    def _shut_down_others(self, connection: Connection, manager: ProcessManager) -> None:
        limit = manager.settings.stop_timeout
        start = time.monotonic()
        own = {i for s in manager.started if not s.through_hub for i in s.uuids}
        others = {n: i for n, i in hub.engines_of(connection).items() if i not in own}
        try:
            with manager.stopping(manager.started):
                hub.stop(connection, others, limit * _ENGINES_SHARE, self._local)
                manager.stop(limit=_rest(0.7 * limit, start))
            hub.shut_down(connection, _rest(limit, start))
        finally:
            self._disconnect()

    def _local(self, uuids: Collection[str]) -> set[Identity]:
        """The processes of engines on this machine, as far as they are known by now."""
        roster = self._roster
        if roster is None:
            return set()
        roster.locate()
        found = (roster.local(identity) for identity in uuids)
        return {identity for identity in found if identity is not None}

    # Let go and take back

    def disconnect(self) -> None:
        """Disconnect from the cluster, which goes on running; :meth:`connect` and :meth:`client` connect anew.

        :raises ClusterError: if another action on the cluster takes too long
        """
        with self._locked(self._wait(self._settings_to_stop().start_timeout)):
            self._disconnect()

    def let_go(self) -> None:
        """Disconnect and forget what is ours: it runs on, and the next VisTrails finds it.

        :raises ClusterError: if another action on the cluster takes too long, or the record cannot be written
        """
        with self._locked(self._wait(self._settings_to_stop().start_timeout)):
            try:
                if self._manager is not None or self._settings_are_allowed():
                    self.processes.let_go()
            finally:
                self._disconnect()
                self._reset()

    def forget(self) -> list[ProcessState]:
        """Let go of what could not be stopped, on a machine that is gone for instance: nobody tries to stop it any more.

        :returns: what it was
        :raises ClusterError: as for :meth:`let_go`
        """
        with self._locked(self._wait(self._settings_to_stop().start_timeout)):
            return [_process_state(entry) for entry in self.processes.forget_stuck()]

    def take_back(self) -> int:
        """Make what was left running on this profile ours again, so that it stops when this VisTrails exits.

        :returns: how many processes were taken back
        :raises ClusterError: as for :meth:`let_go`
        """
        with self._locked(self._wait(self._settings().start_timeout)):
            return self._leftovers.take_back(self.processes)

    def settle(self) -> None:
        """Deal with what a VisTrails that crashed or was killed left running, on whichever profile, as the preferences say.

        For whoever starts: a profile without a record costs the look for a file, and one whose record names nothing that
        was left costs reading it. What is taken back of another profile than the one in use ends with this session,
        and is there when the profile is changed to that one.

        :raises ClusterError: if a record cannot be written, or something still lives after the time limit; what is on record
            with other profiles has been dealt with all the same
        """
        if inside_engine():
            return  # whoever started it deals with what was left
        wait = self._wait(self._settings().connect_timeout)
        with self._locked(wait):
            self._leftovers.settle_all(self.profile, lambda: self.processes, wait)

    # Change, close

    def change_profile(self, name: str) -> None:
        """Use another profile from now on. The session is closed first, as at exit.

        :param name: the new profile's name
        :raises ClusterError: if there is no such profile (nothing is changed then), or something of the
            old one still lives after the time limit
        """
        profiles.locate(name)
        with self._locked(self._wait(self._settings().start_timeout)):
            if name != self._chosen:
                self._close()
                self._chosen = name

    def close(self) -> None:
        """Disconnect and, as the preferences say, stop what is ours or let it go.

        What other threads wait for is called off. The session can be used again afterwards.

        :raises ClusterError: if something still lives after the time limit; it is still ours then
        """
        self._closers.append(threading.current_thread())
        # Whoever has the lock may wait for an answer of the user, or in the code below a signal's handler, and never let go.
        held = self._lock.acquire(timeout=_OTHERS_WITHIN)
        try:
            try:
                self._close()
            finally:
                try:
                    self._leftovers.close()
                finally:
                    self._disarm()  # while other threads must not start anything, for which they would arm it
        finally:
            self._closers.remove(threading.current_thread())
            if held:
                self._lock.release()

    def _close(self) -> None:
        manager = self._manager
        try:
            if manager is not None:
                manager.close(self._settings, self._stop_ours)
        finally:
            self._disconnect()
            if manager is None or manager.all_let_go:
                self._reset()

    def _reset(self) -> None:
        self._manager = None
        self._profile_dir = None
        self._chosen = None
        self._disarm()

    def _disarm(self) -> None:
        """Do nothing at the end of the process any more, unless something is left that is to be stopped then."""
        manager = self._manager
        if not self._leftovers.others and (manager is None or manager.all_let_go):
            self._guard.disarm()

    def _last_act(self) -> None:
        """At the end of the process."""
        self._closers.append(threading.current_thread())  # for good: other threads must not start anything any more
        try:
            self.close()
        except ClusterError as error:
            log.error("%s", error)

    def _wait(self, timeout: float, progress: Progress | None = None, cancelled: Cancel | None = None) -> Wait:
        thread = threading.current_thread()

        def called_off() -> bool:
            closing = any(closer is not thread for closer in tuple(self._closers))
            return closing or (cancelled is not None and cancelled())

        if progress is None and cancelled is None and thread is threading.main_thread():
            return Wait(timeout)
        return Wait(timeout, progress, called_off)

    @contextmanager
    def _locked(self, wait: Wait) -> Iterator[None]:
        while not self._lock.acquire(timeout=0.05):
            if wait.over:
                raise ClusterError(
                    tr(
                        "Waited {seconds} seconds for another action on the cluster to end; try again later.",
                        seconds=round(wait.timeout),
                    )
                )
            wait.report(tr("Waiting for another action on the cluster to end"), 0.0)
        try:
            yield
        finally:
            self._lock.release()


_WAITING = "parallelflow-engine-{}.json"


def inside_engine() -> bool:
    """Whether this process is itself an ipyparallel engine."""
    app = sys.modules.get("ipyparallel.engine.app")
    return app is not None and bool(app.IPEngine.initialized())


def _rest(limit: float, begin: float) -> float:
    """What is left of a time limit for stopping, and never so little that nothing could be done in it."""
    return max(_LEAST_SHARE * limit, limit - (time.monotonic() - begin))


def _process_state(entry: Entry, ending: str = "") -> ProcessState:
    return ProcessState(
        kind=entry.kind,
        pid=entry.pid,
        host=entry.host or socket.gethostname(),
        since=entry.started,
        let_go=entry.let_go,
        ending=ending,
        log_path=Path(entry.log_path) if entry.log_path else None,
        stuck=entry.stuck,
    )


_session: Session | None = None
_session_lock = threading.Lock()


def get_session() -> Session:
    """The process-wide session; with default preferences unless :func:`configure` said otherwise."""
    global _session
    with _session_lock:
        if _session is None:
            _session = Session()
        return _session


def configure(settings: Callable[[], Settings], questions: Questions | None = None) -> Session:
    """Give the process-wide session its preferences and whom to ask. What it has started stays.

    :param settings: returns the preferences
    :param questions: who answers; default: the preferences
    :returns: the process-wide session
    """
    session = get_session()
    session._settings = settings
    session._questions = questions or BatchQuestions(settings)
    return session


_inherited: list[Connection | None] = []  # kept for good in a forked child: deleting one would close its parent's


def _after_fork() -> None:
    global _session_lock
    _session_lock = threading.Lock()
    for session in list(_sessions):
        _inherited.append(session._connection)
        session._guard = Guard(session._last_act)
        session._forget()


os.register_at_fork(after_in_child=_after_fork)
