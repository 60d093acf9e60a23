"""Looks at, starts and stops the cluster of a profile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parallelflow.cluster import (
    ClusterState,
    ConnectError,
    ControllerLost,
    ControllerState,
    Need,
    Orphan,
    OrphanAnswer,
    Session,
    Settings,
    StopError,
)
from parallelflow.cluster import profile as profile_files
from parallelflow.cluster.cores import usable_cores
from parallelflow.cluster.hub import engines_of
from parallelflow.cluster.record import Entry, Record
from parallelflow.cluster.survey import survey
from parallelflow.command_line import user
from parallelflow.command_line.arguments import Arguments
from parallelflow.command_line.output import FAILED, FINE, Output, table

_PATIENCE = 3.0  # seconds that engines get to tell where they run
_PATIENCE_WITH_IDLE = 15.0  # seconds that those get which have nothing else to do: on a slow machine, through a tunnel
_BETWEEN_LOOKS = 0.2  # seconds; an engine's share of a core is what it used between two looks

# What becomes of processes that are on record.
LEFT_RUNNING = "left running"
OF_RUNNING = "of a running VisTrails"
OF_CRASHED = "of a VisTrails that is gone"
STUCK = "could not be stopped"
STOPPED = (LEFT_RUNNING, OF_CRASHED, STUCK)  # what 'stop' ends

_STARTED_BY = {
    LEFT_RUNNING: "Parallel Flow, which left it running",
    OF_RUNNING: "a VisTrails that is running",
    OF_CRASHED: "a VisTrails that is gone",
    STUCK: "Parallel Flow, which could not stop it",
}
_FATES = {
    LEFT_RUNNING: "Left running by Parallel Flow, and stopped by 'stop'",
    OF_RUNNING: "Of a VisTrails that is running, and stopped when it ends or by 'stop --all'",
    OF_CRASHED: "Left behind by a VisTrails that is gone, and stopped by 'stop'",
    STUCK: "Could not be stopped, which 'stop' tries again, and let go of by 'forget'",
}


class _Answers:
    """Answers what the cluster room asks."""

    def start_cluster(self, need: Need) -> int | None:
        return need.engines

    def orphans(self, orphans: Sequence[Orphan]) -> OrphanAnswer:
        return "take back"


@contextmanager
def open_session(settings: Settings) -> Iterator[Session]:
    """A session that lasts as long as the command.

    :param settings: the preferences
    :raises ClusterError: in the end, if something of it still lives after the time limit
    """
    asks = Settings.from_mapping({**asdict(settings), "after_crash": "ask", "at_exit": "stop"})
    session = Session(lambda: asks, _Answers())
    try:
        yield session
    finally:
        session.close()


def status(arguments: Arguments, output: Output) -> int:
    """Show the controller, the engines, and what was left running.

    :param arguments: what was typed
    :param output: where the answer goes
    :returns: the exit code, which also says whether a cluster is running
    :raises ClusterError: if there may be a cluster but it cannot be looked at, or the preferences or the profile are not right
    """
    settings = user.settings(arguments.vistrails, arguments.profile)
    with open_session(settings) as session:
        session.connect(settle=False)
        state = _state(session)
        left = on_record(profile_files.find(settings.profile))
        # Others may have stopped jobs, or their controller, which only those know who run them.
        over = session.processes.over([*left[LEFT_RUNNING], *left[OF_CRASHED]], {each.uuid for each in state.engines})
        left = {fate: [each for each in entries if each.token not in over] for fate, entries in left.items()}
    output.answer(_describe(state, left), _as_json(state, left))
    return FINE if state.connected else FAILED


def start(arguments: Arguments, output: Output) -> int:
    """Start engines, and a controller if there is none; they run on.

    :param arguments: what was typed
    :param output: where the answer goes
    :returns: the exit code
    :raises ClusterError: if the engines do not all become ready; those that did run on
    """
    settings = user.settings(arguments.vistrails, arguments.profile)
    wanted = arguments.engines or settings.engines or usable_cores()
    with open_session(settings) as session:
        new = session.start_engines(wanted, output.progress)
        running = len(session.client(start=False).ids)
        lacking = session.processes.lacking()
        session.let_go()
    name = settings.profile
    output.answer(
        f"{_many(len(new), 'engine')} started for the IPython profile '{name}'; {running} running now."
        f" Stop them with: python -m parallelflow stop --profile {name}" + "".join(f"\n{each}" for each in lacking),
        {"profile": name, "engines": new, "running": running, "lacking": lacking},
    )
    return FINE


def stop(arguments: Arguments, output: Output) -> int:
    """Stop what was started.

    :param arguments: what was typed
    :param output: where the answer goes
    :returns: the exit code
    :raises ClusterError: if something still lives after the time limit
    """
    settings = user.settings(arguments.vistrails, arguments.profile)
    name = settings.profile
    left = on_record(profile_files.find(name))
    count = sum(len(left[fate]) for fate in STOPPED)
    with open_session(settings) as session:
        if arguments.everything:
            text = _shut_down(session)
            output.answer(text, {"profile": name, "stopped": None})
            return FINE
        connection = None
        # A controller that does not answer can be stopped all the same, if it is on record.
        with suppress(ConnectError, ControllerLost) if count else nullcontext():
            connection = session.connect()
        known = {*engines_of(connection).values()} if connection is not None else ()
        count -= len(session.processes.over([entry for fate in STOPPED for entry in left[fate]], known))
        session.stop_started()
    stuck = on_record(profile_files.find(name))[STUCK]
    if stuck:
        stopped = _many(max(0, count - len(stuck)), "process", "processes")
        raise StopError(f"{stopped} stopped. {' '.join(entry.stuck for entry in stuck)}")
    if count:
        text = f"{_many(count, 'process', 'processes')} stopped."
    else:
        text = f"Nothing that was left running for the IPython profile '{name}' is there to stop."
        if connection is not None:
            text += " Its cluster was started in another way; --all stops it."
    output.answer(text, {"profile": name, "stopped": count})
    return FINE


def forget(arguments: Arguments, output: Output) -> int:
    """Let go of what could not be stopped.

    :param arguments: what was typed
    :param output: where the answer goes
    :returns: the exit code
    :raises ClusterError: if there is no such profile, or its record cannot be written
    """
    settings = user.settings(arguments.vistrails, arguments.profile)
    profile_files.find(settings.profile)
    with open_session(settings) as session:
        count = len(session.forget())
    text = f"There is nothing for the IPython profile '{settings.profile}' that could not be stopped."
    if count:
        text = f"{_many(count, 'process or job', 'processes and jobs')} let go of. Stop by other means what still runs."
    output.answer(text, {"profile": settings.profile, "forgotten": count})
    return FINE


def _shut_down(session: Session) -> str:
    """Stop everything, and say so."""
    name = session.profile
    try:
        session.shutdown_cluster()
    except ControllerLost:
        return f"No cluster is running for the IPython profile '{name}'."
    except ConnectError:  # it does not answer
        if session.processes.controller() is None:
            raise
        session.stop_started()
    return f"The cluster of the IPython profile '{name}' has been shut down."


def profiles(arguments: Arguments, output: Output) -> int:
    """List the profiles.

    :param arguments: what was typed
    :param output: where the answer goes
    :returns: the exit code
    :raises ClusterError: if there is no such profile
    """
    used = user.settings(arguments.vistrails).profile
    names = {*profile_files.profiles(), used}
    if arguments.profile is not None:
        if arguments.profile not in names:
            profile_files.find(arguments.profile)  # says that there is none
        names = {arguments.profile}
    found = survey(sorted(names))
    rows = [
        (
            "*" if each.name == used else "",
            each.name,
            {True: "running", False: "", None: "?"}[each.running],
            each.location if each.running is not False else "",
        )
        for each in found
    ]
    output.answer(
        table(("", "Profile", "Cluster", "Controller on"), rows)
        + ("\n\n* is what VisTrails uses." if used in names else "")
        + ("\n? does not tell from here." if any(each.running is None for each in found) else ""),
        {
            "profiles": [
                {
                    "name": each.name,
                    "running": each.running,
                    "location": each.location if each.running is not False else None,
                    "used": each.name == used,
                }
                for each in found
            ]
        },
    )
    return FINE


def on_record(folder: Path) -> dict[str, list[Entry]]:
    """What is on record as running on this machine, by what becomes of it.

    :param folder: the profile's folder
    :returns: entries by :data:`LEFT_RUNNING`, :data:`OF_RUNNING`, :data:`OF_CRASHED` and :data:`STUCK`
    """
    found: dict[str, list[Entry]] = {LEFT_RUNNING: [], OF_RUNNING: [], OF_CRASHED: [], STUCK: []}
    for entry in Record(folder).read():
        if entry.here and entry.lives:
            owned = OF_RUNNING if entry.owner.process() is not None else OF_CRASHED
            found[STUCK if entry.stuck else LEFT_RUNNING if entry.let_go else owned].append(entry)
    return found


def _state(session: Session) -> ClusterState:
    """The state, as soon as all engines have told where they run and what they use."""
    begin = time.monotonic()
    while True:
        state = session.state()
        untold = [each.state for each in state.engines if each.pid is None or each.cpu_percent is None]
        if not untold or time.monotonic() > begin + (_PATIENCE_WITH_IDLE if "idle" in untold else _PATIENCE):
            return state
        time.sleep(_BETWEEN_LOOKS)


def _started_by(controller: ControllerState, left: dict[str, list[Entry]]) -> str:
    by = next((fate for fate, entries in left.items() if controller.pid in [entry.pid for entry in entries]), "")
    return _STARTED_BY.get(by, controller.started_by)


def _describe(state: ClusterState, left: dict[str, list[Entry]]) -> str:
    controller = state.controller
    if controller is None:
        lines = [f"No cluster is running for the IPython profile '{state.profile}'."]
    else:
        by = _started_by(controller, left)
        secret = ", encrypted" if controller.encrypted else ""
        process = f", process {controller.pid}" if controller.pid is not None else ""
        lines = [
            f"IPython profile: {state.profile}",
            f"Controller:      {controller.url} on {controller.host}{process}, started by {by}{secret}",
        ]
        waiting = f", {_many(state.unassigned, 'task')} waiting for one" if state.unassigned else ""
        untold = sum(not each.host for each in state.engines)
        late = f", {untold} of which have not told yet where they run" if untold else ""
        where = "" if untold == len(state.engines) > 0 else f" on {_many(len(state.hosts), 'host')}"
        lines.append(f"Engines:         {len(state.engines)}{where}{late}{waiting}")
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
    notes = []
    for fate, entries in left.items():
        kinds = [entry.kind for entry in entries]
        what = " and ".join(_many(kinds.count(kind), kind) for kind in ("controller", "engine", "job") if kind in kinds)
        if what:
            notes.append(f"{_FATES[fate]}: {what}.")
            notes += [f"  {entry.stuck}" for entry in entries if fate == STUCK]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _as_json(state: ClusterState, left: dict[str, list[Entry]]) -> dict[str, Any]:
    return {
        "profile": state.profile,
        "connected": state.connected,
        "lost": state.lost,
        "controller": (
            {**asdict(state.controller), "started_by": _started_by(state.controller, left)}
            if state.controller is not None
            else None
        ),
        "engines": [asdict(each) for each in state.engines],
        "processes": [
            {
                "kind": entry.kind,
                "pid": entry.pid or None,
                "host": entry.host,
                "since": entry.started,
                "log_path": entry.log_path or None,
                "fate": fate,
                "stuck": entry.stuck or None,
            }
            for fate, entries in left.items()
            for entry in entries
        ],
        "unassigned": state.unassigned,
    }


def _many(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
