"""A session: one VisTrails' dealings with clusters. Everything above this room uses this object and nothing else of it."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
import sys
import threading
import time
import types
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import zmq

from . import profile as profiles
from .connection import Connection, connect, is_controller
from .errors import ClusterError, ConnectError, ControllerLost, NoEngines, StartError, StopError
from .processes import CONTROLLER, ENGINE, JOB, ProcessManager, Started
from .questions import BatchQuestions, Orphan, Questions
from .record import Entry, Record, locked
from .roster import Roster
from .settings import Settings
from .state import LEFT, OTHER_VISTRAILS, OTHERS, VISTRAILS, ClusterState, ControllerState, ProcessState
from .tree import Root, end, own_identity
from .waiting import Cancel, Progress, Wait

log = logging.getLogger(__name__)

_PORT_TAKEN = "Address already in use"
_TRIES = 3
_UNREGISTER_WITHIN = 2.0


class Session:
    """One VisTrails' dealings with clusters.

    Its methods may be called from any thread; those that change something wait for each other. :meth:`state` and the
    properties never wait for them.

    :param settings: returns the preferences, validated; called anew whenever they matter
    :param questions: who answers questions; default: the preferences
    """

    def __init__(self, settings: Callable[[], Settings] = Settings, questions: Questions | None = None) -> None:
        self._settings = settings
        self._questions: Questions = questions or BatchQuestions(settings)
        self._lock = threading.RLock()
        self._chosen: str | None = None  # the profile, once something depends on it
        self._profile_dir: Path | None = None
        self._manager: ProcessManager | None = None
        self._connection: Connection | None = None
        self._roster: Roster | None = None
        self._owner_pid = os.getpid()
        self._record_settled = False
        self._previous_handlers: dict[int, Any] = {}
        self._at_exit_registered = False

    # What there is

    @property
    def profile(self) -> str:
        """The name of the IPython profile in use, or that will be used."""
        return self._chosen or self._settings().profile

    @property
    def connection(self) -> Connection | None:
        """The connection, or None; it may be one that was lost (see :attr:`Connection.lost`)."""
        return self._connection

    @property
    def processes(self) -> ProcessManager:
        """The processes of the profile in use.

        :raises ClusterError: if there is no such profile
        """
        if self._manager is None:
            with self._lock:
                if self._manager is None:
                    self._manager = ProcessManager(self._open(), self._settings())
        return self._manager

    # Connect

    def connect(self) -> Connection | None:
        """Connect to the profile's controller, if one runs; nothing is started.

        :returns: the connection, or None if there is no controller
        :raises ClusterError: if there is no such profile, or there may be a controller that does not answer
        """
        with self._locked(Wait(self._settings().start_timeout)):
            return self._connect(Wait(self._settings().connect_timeout))

    def client(self, start: bool = True, progress: Progress | None = None, cancelled: Cancel | None = None) -> Any:
        """A connected ``ipyparallel.Client`` with at least one engine, starting a cluster if there is none.

        :param start: whether controller and engines may be started, if the preferences or the user agree
        :param progress: called with a text and a fraction from 0 to 1, at least 10 times a second while waiting, in the
            calling thread; an exception that it raises stops what was just started and comes out of here
        :param cancelled: asked as often; True stops what was just started and raises :class:`Cancelled`
        :raises ClusterError: if there is no engine in the end; its text is a sentence for the user
        """
        settings = self._settings()
        wait = Wait(settings.start_timeout, progress, cancelled)
        with self._locked(wait):
            connection = self._connect(wait)
            if connection is not None and connection.client.ids:
                return connection.client
            if not start or settings.start == "never":
                raise NoEngines(self._nothing(connection, settings))
            if inside_engine():
                raise NoEngines("This runs in an engine already, from where no other cluster is started.")
            count: int | None = settings.engines or os.cpu_count() or 1
            if settings.start == "ask":
                count = self._questions.start_cluster(self.profile, count or 1)
                wait = Wait(settings.start_timeout, progress, cancelled)
            if not count:
                raise NoEngines("No engines are running, and none were to be started.")
            self._start(count, wait, only_if_none=True)
            assert self._connection is not None
            return self._connection.client

    def _nothing(self, connection: Connection | None, settings: Settings) -> str:
        what = "no controller runs" if connection is None else "the controller has no engines"
        why = " and the preferences say that none are started by themselves" if settings.start == "never" else ""
        return (
            f"There are no engines: {what} for the IPython profile '{self.profile}'{why}. Start some with"
            f" Packages > Parallel Flow > Start new engine processes, or in a terminal with:"
            f" ipcluster start --profile={self.profile}"
        )

    def _connect(self, wait: Wait) -> Connection | None:
        """The connection if it is good, else a new one, else None."""
        if self._connection is not None:
            if self._connection.check() is None:
                return self._connection
            self._disconnect()
        folder = self._open()
        self._settle_record(folder)
        patience = self._settings().connect_timeout
        try:
            self._connection = wait.call(lambda: connect(folder, patience), "Connecting to the controller", 0.0)
        except ConnectError as error:
            if error.gone:
                log.debug("%s", error)
                return None
            raise
        self._roster = Roster(self._connection)
        log.info("Connected to the controller at %s", self._connection.url)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection, self._roster = self._connection, None, None
        if connection is not None:
            connection.close()

    def _open(self) -> Path:
        """The profile's folder; from now on the profile stays what it is until it is changed or the session closes."""
        if os.getpid() != self._owner_pid:
            self._forget_parent()
        if self._profile_dir is None:
            name = self.profile
            self._profile_dir = profiles.locate(name)
            self._chosen = name
        return self._profile_dir

    # Start

    def start_engines(
        self, n: int, progress: Progress | None = None, cancelled: Cancel | None = None
    ) -> list[int]:
        """Start engines, and a controller if there is none.

        :param n: how many engines
        :param progress: as for :meth:`client`
        :param cancelled: as for :meth:`client`
        :returns: the new engines' numbers
        :raises ClusterError: if they do not all become ready; those that did stay
        """
        if n < 1:
            raise ClusterError(f"The number of engines to start must be at least 1, not {n}.")
        wait = Wait(self._settings().start_timeout, progress, cancelled)
        with self._locked(wait):
            uuids = self._start(n, wait, only_if_none=False)
            assert self._connection is not None
            return sorted(number for number, identity in _engines(self._connection).items() if identity in uuids)

    def _start(self, n: int, wait: Wait, only_if_none: bool) -> set[str]:
        folder = self._open()
        self._manager = self._manager or ProcessManager(folder, self._settings())
        manager = self._manager
        manager.settings = self._settings()
        lock = profiles.security_dir(folder) / "parallelflow-start.lock"
        with locked(lock, wait, "another VisTrails, which is just starting a cluster on this profile"):
            # Whoever held the lock may have started what we want.
            connection = self._connect(wait)
            if only_if_none and connection is not None and connection.client.ids:
                return set()
            manager.sweep()
            self._guard_exit()
            for attempt in range(_TRIES):
                try:
                    return self._start_once(n, connection, manager, wait, only_if_none)
                except StartError as error:
                    # ipcontroller picks free ports first and binds them later.
                    if _PORT_TAKEN not in error.log_tail or attempt == _TRIES - 1:
                        raise
                    log.info("A port that the controller had picked was taken; trying again")
        raise AssertionError

    def _start_once(
        self, n: int, connection: Connection | None, manager: ProcessManager, wait: Wait, keep_some: bool
    ) -> set[str]:
        waiting_file: Path | None = None
        batch: list[Started] = []
        try:
            wait.report("Starting the controller" if connection is None else "Starting engines", 0.0)
            if connection is None:
                # Engines start together with their controller, which saves a second: they wait for a file of their own,
                # which gets complete contents at once, and which nobody can have left behind.
                controller = manager.launch_controller()
                batch.append(controller)
                waiting_file = profiles.security_dir(manager.profile_dir) / f"parallelflow-engine-{uuid.uuid4().hex}.json"
                engines = manager.launch_engines(n, waiting_file)
                batch += engines
                manager.wait_for_controller(controller, wait)
                profiles.write_private(waiting_file, profiles.engine_file(manager.profile_dir).read_text(encoding="utf-8"))
                connection = self._connect(wait)
                if connection is None:
                    raise StartError("The controller started but does not answer.", controller.log_path)
            else:
                if not profiles.engine_file(manager.profile_dir).exists():
                    raise StartError(
                        f"Engines cannot be started on this machine: {profiles.engine_file(manager.profile_dir)} is missing,"
                        f" by which they would find the controller on {connection.location}. Copy it from there."
                    )
                engines = manager.launch_engines(n)
                batch += engines
            client = connection.client
            try:
                manager.wait_for_engines(engines, lambda: dict(client._engines).values(), wait)
            except StartError as error:
                ready = [engine for engine in engines if engine.registered]
                manager.stop([engine for engine in engines if not engine.registered], quick=True)
                if not ready:
                    raise
                if not keep_some:
                    batch = []
                    raise
                log.warning("%s", error)
                engines = ready
            while not connection.ready() and not wait.over:
                wait.pause("Waiting for the schedulers", 1.0)
            wait.report("The cluster is ready", 1.0)
            return {engine.entry.uuid for engine in engines}
        except BaseException:
            if any(started.entry.kind == CONTROLLER for started in batch):
                self._disconnect()
            manager.stop(batch, quick=True)
            raise
        finally:
            if waiting_file is not None:
                waiting_file.unlink(missing_ok=True)

    # Know

    def state(self) -> ClusterState:
        """The cluster as it is now, for a table that is refreshed every second. Takes milliseconds; starts nothing."""
        manager, connection, roster = self._manager, self._connection, self._roster
        alive = manager.alive() if manager is not None else []
        ours = {started.entry.uuid: started for started in alive if started.entry.kind == ENGINE}
        controller = None
        engines: tuple[Any, ...] = ()
        unassigned = 0
        lost = connection.lost if connection is not None else None
        if connection is not None and roster is not None:
            controller = self._controller_state(connection, alive)
            if lost is None:
                engines, unassigned = roster.look(ours)
        return ClusterState(
            profile=self.profile,
            controller=controller,
            lost=lost,
            engines=engines,
            processes=tuple(_process_state(started) for started in alive),
            died=tuple(_process_state(started) for started in (manager.died if manager is not None else [])),
            unassigned=unassigned,
        )

    def _controller_state(self, connection: Connection, alive: Sequence[Started]) -> ControllerState:
        mine = next((started for started in alive if started.entry.kind == CONTROLLER), None)
        identity = mine.entry.identity if mine is not None else connection.controller
        started_by = OTHERS
        if mine is not None:
            started_by = LEFT if mine.entry.let_go else VISTRAILS
        elif identity is not None and any(entry.identity == identity for entry in Record(connection.profile_dir).read()):
            started_by = OTHER_VISTRAILS
        return ControllerState(
            url=connection.url,
            host=connection.location,
            pid=identity.pid if identity is not None else None,
            started_by=started_by,
            since=identity.create_time if identity is not None else None,
            encrypted=connection.encrypted,
        )

    # Stop

    def stop_engines(self, ids: Collection[int]) -> None:
        """Stop some engines, whoever started them.

        :param ids: their numbers at the hub; unknown ones are ignored
        :raises ClusterError: if one still lives after the time limit
        """
        with self._locked(Wait(self._settings().start_timeout)):
            connection = self._connect(Wait(self._settings().connect_timeout))
            if connection is None:
                raise ControllerLost("There is no controller any more, so engines have no numbers.")
            chosen = {number: identity for number, identity in _engines(connection).items() if number in set(ids)}
            ours = self.processes.engines()
            self.processes.stop([ours[identity] for identity in chosen.values() if identity in ours])
            others = {number: identity for number, identity in chosen.items() if identity not in ours}
            self._stop_by_hub(connection, others)
            self._unregister(connection, chosen)

    def stop_started(self) -> None:
        """Stop everything that is ours; if the controller is, every engine connected to it ends as well.

        :raises ClusterError: if something still lives after the time limit
        """
        with self._locked(Wait(self._settings().start_timeout)):
            self._stop_ours(self.processes.started)

    def _stop_ours(self, which: Sequence[Started]) -> None:
        manager = self.processes
        connection = self._connection if self._connection is not None and self._connection.check() is None else None
        controller_too = any(started.entry.kind == CONTROLLER for started in which)
        if connection is not None:
            engines = _engines(connection)
            mine = {started.entry.uuid for started in which if started.entry.kind == ENGINE}
            if controller_too:
                # Those that others started must hear of it while there is a controller to tell them.
                self._stop_by_hub(connection, {n: identity for n, identity in engines.items() if identity not in mine})
        try:
            manager.stop(which)
            manager.sweep()
        finally:
            if controller_too:
                self._disconnect()
            elif connection is not None:
                self._unregister(connection, {n: identity for n, identity in engines.items() if identity in mine})
            if not manager.started:
                self._unguard_exit()

    def shutdown_cluster(self) -> None:
        """Stop the whole cluster that the profile names: every engine, then the controller, whoever started them.

        :raises ClusterError: if there is none, or something still lives after the time limit
        """
        with self._locked(Wait(self._settings().start_timeout)):
            connection = self._connect(Wait(self._settings().connect_timeout))
            manager = self.processes
            mine = manager.controller()
            if connection is None:
                if not manager.started:
                    raise ControllerLost(
                        f"No controller runs for the IPython profile '{self.profile}'; there is nothing to shut down."
                    )
                self._stop_ours(manager.started)
                return
            if mine is not None:
                self._stop_ours(manager.started)
                return
            identity = connection.controller
            ours = {started.entry.uuid for started in manager.started}
            self._stop_by_hub(connection, {n: i for n, i in _engines(connection).items() if i not in ours})
            manager.stop()
            limit = self._settings().stop_timeout
            _send(connection, "_query_stream", "shutdown_request", {})
            deadline = time.monotonic() + limit / 2
            try:
                while time.monotonic() < deadline and connection.check() is None:
                    time.sleep(0.05)
                if is_controller(identity):
                    # It agreed or it hangs; either way this very process is what the user wants gone.
                    left = end([Root("", identity)], limit / 2)
                    if left:
                        raise StopError(f"The controller, process {left[0].pid}, could not be stopped.")
                elif connection.check() is None:
                    raise StopError(f"The controller on {connection.location} does not obey; stop it there.")
            finally:
                self._disconnect()

    def _stop_by_hub(self, connection: Connection, engines: dict[int, str]) -> None:
        """Stop engines that are not our processes: by request, then by a signal from their nannies."""
        limit = self._settings().stop_timeout
        start = time.monotonic()
        steps: list[tuple[float, str, dict[str, Any]]] = [
            (0.0, "shutdown_request", {"restart": False}),
            (0.15, "signal_request", {"sig": "SIGCONT"}),
            (0.15, "signal_request", {"sig": "SIGTERM"}),
            (0.25, "signal_request", {"sig": "SIGINT"}),
            (0.35, "signal_request", {"sig": "SIGKILL"}),
        ]
        while left := {n: identity for n, identity in engines.items() if _engines(connection).get(n) == identity}:
            elapsed = time.monotonic() - start
            while steps and elapsed >= steps[0][0] * limit:
                _, kind, content = steps.pop(0)
                for identity in left.values():
                    _send(connection, "_control_stream", kind, content, identity.encode())
            if elapsed > limit or connection.lost is not None:
                log.warning("These engines did not confirm that they stopped: %s", sorted(left))
                return
            time.sleep(0.05)

    def _unregister(self, connection: Connection, engines: dict[int, str]) -> None:
        """Wait until the hub knows that engines are gone; tell it if their nannies could not."""
        deadline = time.monotonic() + _UNREGISTER_WITHIN
        told = False
        while left := [n for n, identity in engines.items() if _engines(connection).get(n) == identity]:
            if time.monotonic() > deadline or connection.lost is not None:
                return
            if not told and time.monotonic() > deadline - _UNREGISTER_WITHIN / 2:
                told = True
                for number in left:
                    _send(connection, "_query_stream", "unregistration_request", {"id": number})
            time.sleep(0.02)

    # Let go and take back

    def let_go(self) -> None:
        """Disconnect and forget what is ours: it runs on, and the next VisTrails finds it."""
        with self._locked(Wait(self._settings().start_timeout)):
            self.processes.let_go()
            self._disconnect()
            self._reset()

    def take_back(self) -> int:
        """Make what was left running on this profile ours again, so that it stops when this VisTrails exits.

        :returns: how many processes were taken back
        """
        with self._locked(Wait(self._settings().start_timeout)):
            folder = self._open()
            entries = [e for e in Record(folder).read() if _left_alive(e) and (e.let_go or e.owner.process() is None)]
            self.processes.adopt(entries, let_go=False)
            if entries:
                self._guard_exit()
            return len(entries)

    def _settle_record(self, folder: Path) -> None:
        """Deal with what is on record: forget what is gone, know what was let go, ask about orphans. Once a session."""
        if self._record_settled:
            return
        self._record_settled = True
        manager = self.processes
        me = own_identity()
        entries = [entry for entry in Record(folder).read() if entry.here and entry.owner != me]
        gone = [entry for entry in entries if not _left_alive(entry) and (entry.let_go or entry.owner.process() is None)]
        end([entry.root for entry in gone], self._settings().stop_timeout)  # descendants of what is gone
        manager.record.remove(*(entry.token for entry in gone))
        left = [entry for entry in entries if entry not in gone]
        manager.adopt([entry for entry in left if entry.let_go], let_go=True)
        orphans = [entry for entry in left if not entry.let_go and entry.owner.process() is None]
        if not orphans:
            return
        count = f"{len(orphans)} process{'es' if len(orphans) > 1 else ''}"
        log.warning("Found %s that a VisTrails left behind which crashed or was killed", count)
        answer = self._settings().orphans
        if answer == "ask":
            answer = self._questions.orphans([Orphan(e.kind, e.pid, e.host, e.started) for e in orphans])
        # Engines whose controller is gone are of no use to anybody.
        if answer == "stop" or not self._answers(folder):
            log.warning("Stopping %s", count)
            manager.adopt(orphans, let_go=False)
            tokens = {entry.token for entry in orphans}
            manager.stop([started for started in manager.started if started.entry.token in tokens])
        else:
            log.warning("%s", f"Taking back {count}" if answer == "take back" else f"Leaving {count} as they are")
            manager.adopt(orphans, let_go=answer != "take back")
            if answer == "take back":
                self._guard_exit()

    def _answers(self, folder: Path) -> bool:
        try:
            connect(folder, self._settings().connect_timeout).close()
        except ConnectError as error:
            return not error.gone
        return True

    # Change, close

    def change_profile(self, name: str) -> None:
        """Use another profile from now on. What this session started on the old one is stopped first.

        :param name: the new profile's name
        :raises ClusterError: if there is no such profile (nothing is changed then)
        """
        profiles.locate(name)
        with self._locked(Wait(self._settings().start_timeout)):
            if name == self._chosen:
                return
            self.close()
            self._chosen = name

    def close(self) -> None:
        """Disconnect and, as the preferences say, stop what is ours or let it go. The session can be used again.

        :raises ClusterError: if something still lives after the time limit
        """
        if os.getpid() != self._owner_pid:
            self._forget_parent()
            return
        with self._lock:
            try:
                if self._manager is not None:
                    manager = self._manager
                    manager.settings = self._settings()
                    if manager.settings.at_exit == "leave":
                        manager.let_go()
                    else:
                        self._stop_ours([started for started in manager.started if not started.entry.let_go])
                        manager.sweep()
            finally:
                self._disconnect()
                self._reset()

    def _reset(self) -> None:
        self._unguard_exit()
        self._manager = None
        self._profile_dir = None
        self._chosen = None
        self._record_settled = False

    def _forget_parent(self) -> None:
        """In a forked child: everything belongs to the parent."""
        self._owner_pid = os.getpid()
        self._lock = threading.RLock()
        self._connection = self._roster = self._manager = self._profile_dir = self._chosen = None
        self._record_settled = False
        self._previous_handlers = {}

    # Exit

    def _guard_exit(self) -> None:
        """While something of ours runs, see to it that it ends with this process, whichever way that ends."""
        if not self._at_exit_registered:
            atexit.register(self._at_exit)
            self._at_exit_registered = True
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGHUP):
            if number not in self._previous_handlers and signal.getsignal(number) == signal.SIG_DFL:
                self._previous_handlers[number] = signal.signal(number, self._on_signal)

    def _unguard_exit(self) -> None:
        if self._at_exit_registered:
            atexit.unregister(self._at_exit)
            self._at_exit_registered = False
        if threading.current_thread() is not threading.main_thread():
            return
        for number, previous in self._previous_handlers.items():
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, previous)
        self._previous_handlers.clear()

    def _at_exit(self) -> None:
        if os.getpid() != self._owner_pid:
            return
        try:
            self.close()
        except ClusterError as error:
            log.error("%s", error)

    def _on_signal(self, number: int, frame: types.FrameType | None) -> None:
        self._at_exit()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    @contextmanager
    def _locked(self, wait: Wait) -> Iterator[None]:
        while not self._lock.acquire(timeout=0.05):
            if wait.over:
                raise ClusterError(f"Waited {wait.timeout:.0f} seconds for another action on the cluster to end; try again later.")
            wait.report("Waiting for another action on the cluster to end", 0.0)
        try:
            yield
        finally:
            self._lock.release()


def inside_engine() -> bool:
    """Whether this process is itself an ipyparallel engine."""
    app = sys.modules.get("ipyparallel.engine.app")
    return app is not None and bool(app.IPEngine.initialized())


def _engines(connection: Connection) -> dict[int, str]:
    return dict(connection.client._engines)


def _send(connection: Connection, stream: str, kind: str, content: dict[str, Any], ident: bytes | None = None) -> Any:
    with suppress(OSError, zmq.ZMQError, RuntimeError):
        return connection.client._send(getattr(connection.client, stream), kind, content=content, ident=ident)


def _left_alive(entry: Entry) -> bool:
    if not entry.here:
        return False
    if entry.kind == JOB:
        return True
    return entry.identity is not None and entry.identity.process(entry.token) is not None


def _process_state(started: Started) -> ProcessState:
    entry = started.entry
    return ProcessState(
        kind=entry.kind,
        pid=entry.pid,
        host=entry.host or socket.gethostname(),
        since=entry.started,
        let_go=entry.let_go,
        ending="" if started.exit_status is None else started.ending,
        log_path=started.log_path,
    )


_session: Session | None = None
_session_lock = threading.Lock()


def get_session() -> Session:
    """The process-wide session; with default settings unless :func:`configure` said otherwise."""
    global _session
    with _session_lock:
        if _session is None:
            _session = Session()
        return _session


def configure(settings: Callable[[], Settings], questions: Questions | None = None) -> Session:
    """Give the process-wide session its preferences and whom to ask. What it has started stays.

    :param settings: returns the preferences
    :param questions: who answers; default: the preferences
    """
    session = get_session()
    session._settings = settings
    session._questions = questions or BatchQuestions(settings)
    return session


