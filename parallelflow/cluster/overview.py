"""What the cluster's window shows: the cluster as it is now."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from . import hub
from .connection import Connection
from .processes import ProcessManager
from .record import Entry, Record
from .roster import Roster
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

_GLANCE = 0.3  # seconds that a look at the state waits for parts of the controller that do not answer


def overview(
    profile: str, manager: ProcessManager | None, connection: Connection | None, roster: Roster | None
) -> ClusterState:
    """The cluster as it is now. Takes milliseconds, sends no task to any engine and starts nothing.

    :param profile: the profile's name
    :param manager: what is ours with it, if that is known yet
    :param connection: the connection to its controller, if there is one
    :param roster: what is known of the engines, if there is a connection
    """
    alive = manager.alive() if manager is not None else []
    shown = manager.shown if manager is not None else []
    died = manager.died if manager is not None else []
    controller: ControllerState | None = None
    engines: tuple[EngineState, ...] = ()
    unassigned = 0
    lost = connection.check(_GLANCE) if connection is not None else None
    if connection is not None and roster is not None:
        controller = _controller_state(connection, alive)
        if lost is None:
            if manager is not None:
                manager.observe(hub.engines_of(connection).values(), connection.fingerprint)
            engines, unassigned = roster.look({identity: s for s in alive for identity in s.uuids})
    return ClusterState(
        profile=profile,
        controller=controller,
        lost=lost,
        engines=engines,
        processes=tuple(process_state(started.entry) for started in shown),
        died=tuple(process_state(started.entry, started.ending) for started in died),
        unassigned=unassigned,
    )


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


def process_state(entry: Entry, ending: str = "") -> ProcessState:
    """What is shown of something that is ours.

    :param entry: what is on record about it
    :param ending: how it ended, '' if it runs
    """
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
