"""A session: one VisTrails' dealings with clusters.

Everything above this room uses this object, and what it hands out.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from parallelflow.texts import tr

from . import hub, shutdown, starting
from . import profile as profiles
from .attached import Attached
from .connection import Connection
from .cores import usable_cores
from .errors import ClusterError, ControllerLost, NoEngines, SettingsError
from .guard import Guard
from .leftovers import Leftovers
from .overview import overview, process_state
from .processes import ProcessManager
from .questions import BatchQuestions, Need, Questions
from .settings import Settings
from .state import ClusterState, ProcessState
from .waiting import Cancel, Progress, Wait

log = logging.getLogger(__name__)

_OTHERS_WITHIN = 3.0  # seconds for other threads to end what they do when the session is closed

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
        self._reset_state()
        _sessions.add(self)

    def _reset_state(self) -> None:
        """Initial state; also after a fork, where the parent keeps ownership."""
        self._lock = threading.RLock()
        self._closers: list[threading.Thread] = []
        self._leftovers = Leftovers(lambda: self._settings(), lambda: self._questions, lambda: self._guard.arm())
        self._attached = Attached(lambda: self._settings(), self._leftovers, self._start_again, self._disarm)

    # What there is

    @property
    def profile(self) -> str:
        """The name of the IPython profile in use, or that will be used."""
        return self._attached.profile

    @property
    def settings(self) -> Settings:
        """The preferences at this moment.

        :raises SettingsError: if one has a value that is not allowed
        """
        return self._settings()

    @property
    def connection(self) -> Connection | None:
        """The connection, or None; it may be one that was lost (see :attr:`Connection.lost`)."""
        return self._attached.connection

    @property
    def processes(self) -> ProcessManager:
        """The processes of the profile in use.

        :raises ClusterError: if there is no such profile
        """
        return self._attached.processes

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
                self._attached.find()
            return self._attached.connect(wait)

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
            connection = self._attached.connect(wait, repair=start)
            if connection is not None and (
                connection.client.ids or starting.others_start(self._attached, connection, wait)
            ):
                return connection.client
            never = settings.if_no_engines == "never"
            if not start or never:
                raise NoEngines(starting.no_engines(self.profile, connection is not None, never))
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
                        " new engine processes, or execute again and have them started."
                    )
                )
            starting.start(self._attached, count, wait, True, self._guard.arm)
            assert self.connection is not None
            return self.connection.client

    def starts_engines_here(self) -> bool:
        """Whether the profile's engines are started on this machine; else it starts them by SSH, a batch system or the like.

        :raises ProfileError: if there is no such profile, or its configuration has an error in it
        """
        return self._attached.starts_engines_here()

    def was_taken(self, uuid: str) -> bool:
        """Whether an engine that has gone was ended by a batch system: at its time limit, or because its node was wanted or failed.

        Asks the batch system, for seconds at most.

        :param uuid: the engine's
        """
        manager = self._attached.manager
        everything = [*manager.started, *manager.died] if manager is not None else []
        mine = next((started for started in everything if uuid in started.uuids), None)
        return mine is not None and mine.was_taken()

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
            uuids = starting.start(self._attached, n, wait, False, self._guard.arm)
            assert self.connection is not None
            return sorted(number for number, uuid in hub.engines_of(self.connection).items() if uuid in uuids)

    def _start_again(self, connection: Connection, n: int) -> None:
        if self.connection is connection:
            self.start_engines(n)

    # Know

    def state(self) -> ClusterState:
        """The cluster as it is now, for a table that is refreshed every second.

        Takes milliseconds, sends no task to any engine, starts nothing and never waits for other methods.
        """
        attached = self._attached
        return overview(self.profile, attached.manager, attached.connection, attached.roster)

    # Stop

    def stop_engines(self, ids: Collection[int]) -> None:
        """Stop some engines, whoever started them.

        :param ids: their numbers at the hub; unknown ones are ignored
        :raises ClusterError: if there is no controller, or one still lives after the time limit
        """
        wait = self._wait(self._attached.settings_to_stop().start_timeout)
        with self._locked(wait):
            connection = self._attached.connect(wait)
            if connection is None:
                raise ControllerLost(tr("There is no controller any more, so engines have no numbers."))
            shutdown.stop_engines(connection, self._manager_to_stop(), self._attached.local, ids)

    def stop_started(self) -> None:
        """Stop everything that is ours; if the controller is, every engine connected to it ends as well.

        :raises ClusterError: if something still lives after the time limit
        """
        wait = self._wait(self._attached.settings_to_stop().start_timeout)
        with self._locked(wait):
            try:
                self._leftovers.settle(self.processes, wait)
            except SettingsError as error:  # nobody knows which profile it would be, or what becomes of what was left
                log.warning("%s", error)
            if self._attached.manager is not None:
                self._attached.stop_ours(self._attached.manager.started)

    def shutdown_cluster(self) -> None:
        """Stop the profile's whole cluster, whoever started it: every engine, then the controller.

        :raises ClusterError: if there is none, or something still lives after the time limit
        """
        wait = self._wait(self._attached.settings_to_stop().start_timeout)
        with self._locked(wait):
            connection = self._attached.connect(wait, to_stop=True)
            manager = self._manager_to_stop()
            if connection is None and not manager.started:
                raise ControllerLost(
                    tr(
                        "No controller runs for the IPython profile '{name}'; there is nothing to shut down.",
                        name=self.profile,
                    )
                )
            if connection is None or manager.controller() is not None:
                self._attached.stop_ours(manager.started)
                return
            try:
                shutdown.shut_down_others(connection, manager, self._attached.local)
            finally:
                self._attached.disconnect()

    def _manager_to_stop(self) -> ProcessManager:
        manager = self.processes
        manager.settings = self._attached.settings_to_stop()
        return manager

    # Let go and take back

    def disconnect(self) -> None:
        """Disconnect from the cluster, which goes on running; :meth:`connect` and :meth:`client` connect anew.

        :raises ClusterError: if another action on the cluster takes too long
        """
        with self._locked(self._wait(self._attached.settings_to_stop().start_timeout)):
            self._attached.disconnect()

    def let_go(self) -> None:
        """Disconnect and forget what is ours: it runs on, and the next VisTrails finds it.

        :raises ClusterError: if another action on the cluster takes too long, or the record cannot be written
        """
        with self._locked(self._wait(self._attached.settings_to_stop().start_timeout)):
            try:
                if self._attached.manager is not None or self._attached.settings_are_allowed():
                    self.processes.let_go()
            finally:
                self._attached.disconnect()
                self._reset()

    def forget(self) -> list[ProcessState]:
        """Let go of what could not be stopped, on a machine that is gone for instance: nobody tries to stop it any more.

        :returns: what it was
        :raises ClusterError: as for :meth:`let_go`
        """
        with self._locked(self._wait(self._attached.settings_to_stop().start_timeout)):
            return [process_state(entry) for entry in self.processes.forget_stuck()]

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
            if name != self._attached.chosen:
                self._close()
                self._attached.chosen = name

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
        manager = self._attached.manager
        try:
            if manager is not None:
                manager.close(self._settings, self._attached.stop_ours)
        finally:
            self._attached.disconnect()
            if manager is None or manager.all_let_go:
                self._reset()

    def _reset(self) -> None:
        self._attached.reset()
        self._disarm()

    def _disarm(self) -> None:
        """Do nothing at the end of the process any more, unless something is left that is to be stopped then."""
        manager = self._attached.manager
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


def inside_engine() -> bool:
    """Whether this process is itself an ipyparallel engine."""
    app = sys.modules.get("ipyparallel.engine.app")
    return app is not None and bool(app.IPEngine.initialized())


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
        _inherited.append(session.connection)
        session._guard = Guard(session._last_act)
        session._reset_state()


os.register_at_fork(after_in_child=_after_fork)
