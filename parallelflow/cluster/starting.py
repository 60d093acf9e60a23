"""Starts a cluster for a profile, or more engines of one, so that only one VisTrails does so at a time."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from parallelflow.texts import tr

from . import batch, hub, ipcluster
from . import profile as profiles
from .attached import Attached
from .connection import Connection
from .errors import ConnectError, ControllerLost, PortTaken, StartError, StopError
from .failures import failed
from .lock import locked
from .processes import ProcessManager
from .started import Started
from .waiting import Wait

log = logging.getLogger(__name__)

_TRIES = 3  # ipcontroller picks free ports first and binds them later, so others can take them
_WAITING = "parallelflow-engine-{}.json"


def others_start(attached: Attached, connection: Connection, wait: Wait) -> bool:
    """Wait for engines that somebody else is just starting, for half of the time that a start may take.

    :param attached: the profile in use
    :param connection: the connection to its controller
    :param wait: told of it
    :returns: whether there is one now
    """
    # The cluster file of a controller of ours is ours, too: without engines when all were stopped.
    is_ours = attached.processes.controller() is not None
    patience = attached.settings().start_timeout / 2
    while not is_ours and not connection.client.ids and connection.lost is None and not wait.over:
        if not ipcluster.starts_engines(connection.profile_dir, patience):
            break
        wait.pause(tr("Waiting for engines that are just starting"), 0.0)
    return bool(connection.client.ids)


def start(attached: Attached, n: int, wait: Wait, only_if_none: bool, begins: Callable[[], None]) -> set[str]:
    """Start engines and, if need be, a controller; only one VisTrails does so on a profile at a time.

    :param attached: the profile in use; it is connected afterwards
    :param n: how many engines
    :param wait: who wants to hear of it
    :param only_if_none: whether nothing is to be done if there are engines by now, and fewer are good enough
    :param begins: called before anything is started
    :returns: the uuids of the engines
    :raises ClusterError: if not all become ready; those that did stay
    """
    profiles.locate(attached.profile)
    manager = attached.processes
    manager.settings = attached.settings()
    lock = profiles.security_dir(manager.profile_dir) / "parallelflow-start.lock"
    what = tr("another VisTrails, which is just starting a cluster on this profile")
    with locked(lock, wait, what):
        # Whoever held the lock may have started what we want.
        connection = attached.connect(wait, repair=True)
        if only_if_none and connection is not None and connection.client.ids:
            return set()
        rest = [started for started in manager.started if not started.entry.stuck]
        if connection is None and rest:
            log.warning("Stopping what is left of a cluster whose controller is gone")
            try:
                attached.stop_ours(rest)
            except StopError as error:  # its engines cannot join another controller
                log.warning("%s", error)
        manager.sweep()
        manager.try_again()
        for left in profiles.security_dir(manager.profile_dir).glob(_WAITING.format("*")):
            with suppress(OSError):
                left.unlink()
        batch.remove_files(manager.profile_dir, [entry.token for entry in manager.record.read()])
        begins()
        for attempt in range(_TRIES):
            try:
                return _start_once(attached, n, manager, wait, keep_some=only_if_none)
            except StartError as error:
                # The part that wanted the port may not have come so far as to say it in the log.
                is_taken = isinstance(error.__cause__, PortTaken) or "Address already in use" in error.log_tail
                if not is_taken or attempt == _TRIES - 1:
                    raise
                log.info("A port that the controller had picked was taken; trying again")
    raise AssertionError


def _start_once(attached: Attached, n: int, manager: ProcessManager, wait: Wait, keep_some: bool) -> set[str]:
    folder = manager.profile_dir
    connection = attached.connection
    begun: list[Started] = []
    engines: Sequence[Started] = ()
    waiting_file: Path | None = None
    try:
        if connection is None:
            wait.report(tr("Starting the controller"), 0.0)
            controller = manager.launch_controller(attached.stale)
            begun.append(controller)
            if attached.starts_engines_here():
                # Started together with their controller, engines are ready a second earlier. They wait
                # for a file of their own, which appears complete, and which nobody can have left behind.
                name = _WAITING.format(uuid.uuid4().hex)
                waiting_file = profiles.security_dir(folder) / name
                engines = manager.launch_engines(n, waiting_file)
                begun += engines
            manager.wait_for_controller(controller, wait)
            try:
                connection = _connected(attached, controller, wait)
            except (ConnectError, ControllerLost) as error:
                raise failed(str(error), controller, manager.logs) from error
            if connection is None:
                raise failed(tr("The controller started but does not answer."), controller, manager.logs)
            if waiting_file is not None:
                # Not before all parts of the controller run: its task scheduler would count an engine twice that
                # registers while it starts, and lose every task when that engine dies.
                _show_engines(waiting_file, profiles.engine_file(folder))
        if not engines:
            wait.report(tr("Starting engines"), 0.2)
            _check_engine_file(connection, folder)
            if connection.here and attached.starts_engines_here():
                waiting_file = profiles.security_dir(folder) / _WAITING.format(uuid.uuid4().hex)
                _show_engines(waiting_file, profiles.engine_file(folder, connection.cluster_id))
            engines = manager.launch_engines(
                n,
                waiting_file,
                lambda: hub.engines_of(connection).values(),
                wait,
                connection.cluster_id,
                connection.fingerprint,
            )
            begun += engines
        try:
            uuids = manager.wait_for_engines(engines, lambda: hub.engines_of(connection).values(), wait)
        except StartError as error:
            ready = [engine for engine in engines if engine.uuids & set(hub.engines_of(connection).values())]
            manager.stop_after_failure([engine for engine in engines if engine not in ready])
            if not ready:
                raise
            begun = []
            if not keep_some:
                raise
            log.warning("%s", error)
            uuids = {identity for engine in ready for identity in engine.uuids}
        manager.show_to_ipcluster()
        wait.report(tr("The cluster is ready"), 1.0)
        return uuids
    except BaseException:
        if any(started.is_controller for started in begun):
            attached.disconnect()
        manager.stop_after_failure(begun)
        raise
    finally:
        if waiting_file is not None:
            with suppress(OSError):
                waiting_file.unlink()


def _connected(attached: Attached, controller: Started, wait: Wait) -> Connection | None:
    """Connect to a controller that was just started, and that may take as long as the start to answer."""
    while True:
        try:
            return attached.connect(wait, begun=controller)
        except ConnectError as error:
            if wait.over or not controller.alive:
                raise
            log.info("The controller does not answer yet: %s", error)
            wait.pause(tr("Connecting to the controller"), 0.0)


def _show_engines(waiting_file: Path, path: Path) -> None:
    """Put the connection file where engines on this machine wait for it, and need not know how others call this machine."""
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        profiles.write_private(waiting_file, json.dumps({**info, "location": "127.0.0.1"}))
    except OSError as error:
        raise StartError(
            tr("{path} cannot be written: {reason}.", path=waiting_file, reason=error.strerror or error)
        ) from error


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


def no_engines(profile: str, connected: bool, never: bool) -> str:
    """Sentences that say that there are no engines, and how to get some.

    :param profile: the profile's name
    :param connected: whether there is a controller
    :param never: whether the preferences say that none are started
    """
    if not connected and never:
        what = tr(
            "There are no engines: no controller runs for the IPython profile '{name}' and the preferences say that none"
            " are started by themselves.",
            name=profile,
        )
    elif not connected:
        what = tr("There are no engines: no controller runs for the IPython profile '{name}'.", name=profile)
    elif never:
        what = tr(
            "There are no engines: the controller has no engines for the IPython profile '{name}' and the preferences say"
            " that none are started by themselves.",
            name=profile,
        )
    else:
        what = tr(
            "There are no engines: the controller has no engines for the IPython profile '{name}'.",
            name=profile,
        )
    how = tr(
        "Start some with Packages > Parallel Flow > Start new engine processes, or in a terminal with:"
        " ipcluster start --profile={name}",
        name=profile,
    )
    return f"{what} {how}"
