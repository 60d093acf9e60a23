"""Looks at, starts and stops the cluster of a profile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from parallelflow.cluster import ClusterState, Orphan, OrphanAnswer, Session, Settings
from parallelflow.cluster import profile as profile_files
from parallelflow.cluster.state import LEFT, OTHER_VISTRAILS
from parallelflow.cluster.survey import survey
from parallelflow.command_line import user
from parallelflow.command_line.arguments import Arguments
from parallelflow.command_line.output import FAILED, FINE, Output, table

_PATIENCE = 3.0  # seconds that engines get to tell where they run
_BETWEEN_LOOKS = 0.2  # seconds; an engine's share of a core is what it used between two looks

_STARTED_BY = {LEFT: "Parallel Flow, which left it running", OTHER_VISTRAILS: "a VisTrails that is running"}


class _Answers:
    """Answers what the cluster room asks, as the command wants it.

    :param orphans: what becomes of what a crashed VisTrails left
    """

    def __init__(self, orphans: OrphanAnswer) -> None:
        self._orphans = orphans

    def start_cluster(self, profile: str, engines: int) -> int | None:
        return engines

    def orphans(self, orphans: Sequence[Orphan]) -> OrphanAnswer:
        return self._orphans


@contextmanager
def open_session(settings: Settings, orphans: OrphanAnswer) -> Iterator[Session]:
    """A session that lasts as long as the command.

    :param settings: the preferences
    :param orphans: what becomes of what a crashed VisTrails left
    """
    asks = Settings.from_mapping({**asdict(settings), "orphans": "ask", "at_exit": "stop"})
    session = Session(lambda: asks, _Answers(orphans))
    try:
        yield session
    finally:
        session.close()


def status(arguments: Arguments, output: Output) -> int:
    """Show the controller, the engines, and what was left running."""
    settings = user.settings(arguments.vistrails, arguments.profile)
    with open_session(settings, "leave") as session:
        session.connect()
        state = _state(session)
    output.answer(_describe(state), _as_json(state))
    return FINE if state.connected else FAILED


def start(arguments: Arguments, output: Output) -> int:
    """Start engines, and a controller if there is none; they run on."""
    settings = user.settings(arguments.vistrails, arguments.profile)
    wanted = arguments.engines or settings.engines or os.cpu_count() or 1
    with open_session(settings, "take back") as session:
        new = session.start_engines(wanted, output.progress)
        running = len(session.client(start=False).ids)
        session.let_go()
    name = settings.profile
    output.answer(
        f"{_many(len(new), 'engine')} started for the IPython profile '{name}'; {running} running now."
        f" Stop them with: python -m parallelflow stop --profile {name}",
        {"profile": name, "engines": new, "running": running},
    )
    return FINE


def stop(arguments: Arguments, output: Output) -> int:
    """Stop what was started."""
    settings = user.settings(arguments.vistrails, arguments.profile)
    name = settings.profile
    with open_session(settings, "stop") as session:
        if arguments.everything:
            if session.connect() is None and not session.processes.started:
                text = f"No cluster is running for the IPython profile '{name}'."
            else:
                session.shutdown_cluster()
                text = f"The cluster of the IPython profile '{name}' has been shut down."
            output.answer(text, {"profile": name, "stopped": None})
            return FINE
        connection = session.connect()
        count = len(session.processes.alive())
        session.stop_started()
    if count:
        text = f"{_many(count, 'process', 'processes')} stopped."
    else:
        text = f"Nothing that was left running for the IPython profile '{name}' is there to stop."
        if connection is not None:
            text += " Its cluster was started in another way; --all stops it."
    output.answer(text, {"profile": name, "stopped": count})
    return FINE


def profiles(arguments: Arguments, output: Output) -> int:
    """List the profiles."""
    used = user.settings(arguments.vistrails, arguments.profile).profile
    found = survey(sorted({*profile_files.profiles(), used}))
    rows = [
        (
            "*" if each.name == used else "",
            each.name,
            "running" if each.running else "",
            each.location if each.running else "",
        )
        for each in found
    ]
    output.answer(
        table(("", "Profile", "Cluster", "Controller on"), rows) + "\n\n* is what VisTrails uses.",
        {
            "profiles": [
                {
                    "name": each.name,
                    "running": bool(each.running),
                    "location": each.location if each.running else None,
                    "used": each.name == used,
                }
                for each in found
            ]
        },
    )
    return FINE


def _state(session: Session) -> ClusterState:
    """The state, as soon as all engines have told where they run and what they use."""
    end = time.monotonic() + _PATIENCE
    state = session.state()
    while time.monotonic() < end and any(each.pid is None or each.cpu_percent is None for each in state.engines):
        time.sleep(_BETWEEN_LOOKS)
        state = session.state()
    return state


def _describe(state: ClusterState) -> str:
    controller = state.controller
    if controller is None:
        lines = [f"No cluster is running for the IPython profile '{state.profile}'."]
    else:
        by = _STARTED_BY.get(controller.started_by, controller.started_by)
        secret = ", encrypted" if controller.encrypted else ""
        process = f", process {controller.pid}" if controller.pid is not None else ""
        lines = [
            f"IPython profile: {state.profile}",
            f"Controller:      {controller.url} on {controller.host}{process}, started by {by}{secret}",
        ]
        waiting = f", {_many(state.unassigned, 'task')} waiting for one" if state.unassigned else ""
        lines.append(f"Engines:         {len(state.engines)} on {_many(len(state.hosts), 'host')}{waiting}")
    if state.lost:
        lines.append(state.lost)
    if state.engines:
        head = ("Engine", "Host", "Process", "State", "Done", "Queued", "CPU %", "Memory MB")
        rows = [
            (
                each.id,
                each.host or "?",
                "?" if each.pid is None else each.pid,
                each.state,
                each.tasks_done,
                each.tasks_queued,
                "?" if each.cpu_percent is None else round(each.cpu_percent),
                "?" if each.memory is None else round(each.memory / 1e6),
            )
            for each in state.engines
        ]
        lines += ["", table(head, rows)]
    left = [each for each in state.processes if each.let_go]
    if left:
        kinds = [each.kind for each in left]
        what = " and ".join(_many(kinds.count(kind), kind) for kind in ("controller", "engine", "job") if kind in kinds)
        lines += ["", f"Left running by Parallel Flow, and stopped by 'stop': {what}."]
    return "\n".join(lines)


def _as_json(state: ClusterState) -> dict[str, Any]:
    return {
        "profile": state.profile,
        "connected": state.connected,
        "lost": state.lost,
        "controller": asdict(state.controller) if state.controller is not None else None,
        "engines": [asdict(each) for each in state.engines],
        "processes": [
            {
                "kind": each.kind,
                "pid": each.pid,
                "host": each.host,
                "since": each.since,
                "log_path": str(each.log_path) if each.log_path is not None else None,
            }
            for each in state.processes
        ],
        "unassigned": state.unassigned,
    }


def _many(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
