"""Stops engines and controllers, ours and others', with the hub's help while there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from parallelflow.texts import tr

from . import hub
from .connection import Connection
from .errors import StopError
from .processes import ProcessManager
from .started import Started
from .tree import Identity

_ENGINES_SHARE = 0.5  # of the time limit for stopping: what engines may take that others started
_LEAST_SHARE = 0.2  # of a time limit for stopping: what the last step has in any case

Local = Callable[[Collection[str]], set[Identity]]
"""Tells which processes engines are that run on this machine, as far as they are known, from their uuids."""


def stop_engines(connection: Connection, manager: ProcessManager, local: Local, ids: Collection[int]) -> None:
    """Stop some engines, whoever started them.

    :param connection: the connection to their controller
    :param manager: what is ours
    :param local: tells their processes
    :param ids: their numbers at the hub; unknown ones are ignored
    :raises ClusterError: if one still lives after the time limit
    """
    chosen = {n: identity for n, identity in hub.engines_of(connection).items() if n in set(ids)}
    whole = [s for s in manager.alive() if s.uuids and s.uuids <= set(chosen.values())]
    single = {identity for started in whole if not started.through_hub for identity in started.uuids}
    limit = manager.settings.stop_timeout
    begin = time.monotonic()
    others = {n: identity for n, identity in chosen.items() if identity not in single}
    with manager.stopping(whole):
        hub.stop(connection, others, limit * _ENGINES_SHARE, local)
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


def stop_ours(connection: Connection | None, manager: ProcessManager, local: Local, which: Sequence[Started]) -> None:
    """Stop what is ours; if the controller is among it, every engine connected to it ends as well.

    :param connection: the connection to the controller, if there is one
    :param manager: what is ours
    :param local: tells the processes of engines
    :param which: some of what is ours
    :raises ClusterError: if something still lives after the time limit
    """
    limit = manager.settings.stop_timeout
    begin = time.monotonic()
    if connection is not None and not connection.reaches_engines():
        connection = None
    with_controller = any(started.is_controller for started in which)
    gone = [*which, *manager.died]  # if there are none, nothing is to be changed
    own = {identity for started in which if not started.through_hub for identity in started.uuids}
    jobs = {identity for started in which if started.through_hub for identity in started.uuids}
    engines = hub.engines_of(connection) if connection is not None else {}
    # Engines that are not our processes must hear of it while there is a controller to tell them.
    by_hub = {
        n: identity for n, identity in engines.items() if identity in jobs or (with_controller and identity not in own)
    }
    try:
        with manager.stopping(which):
            if connection is not None and by_hub:
                hub.stop(connection, by_hub, limit * _ENGINES_SHARE, local)

            def known(mark: str) -> Collection[str] | None:
                asked = connection is not None and connection.fingerprint == mark
                return hub.engines_of(connection).values() if connection is not None and asked else None

            manager.stop(which, limit=_rest(limit, begin), known=known)
    finally:
        if connection is not None and gone and not with_controller:
            mine = {n: identity for n, identity in engines.items() if identity in own | jobs}
            hub.unregister(connection, mine)
            manager.show_to_ipcluster()


def shut_down_others(connection: Connection, manager: ProcessManager, local: Local) -> None:
    """Stop a cluster whose controller is not ours: every engine, then the controller.

    :param connection: the connection to the controller
    :param manager: what is ours
    :param local: tells the processes of engines
    :raises ClusterError: if something still lives after the time limit
    """
    limit = manager.settings.stop_timeout
    start = time.monotonic()
    own = {i for s in manager.started if not s.through_hub for i in s.uuids}
    others = {n: i for n, i in hub.engines_of(connection).items() if i not in own}
    with manager.stopping(manager.started):
        hub.stop(connection, others, limit * _ENGINES_SHARE, local)
        manager.stop(limit=_rest(0.7 * limit, start))
    hub.shut_down(connection, _rest(limit, start))


def _rest(limit: float, begin: float) -> float:
    """What is left of a time limit for stopping, and never so little that nothing could be done in it."""
    return max(_LEAST_SHARE * limit, limit - (time.monotonic() - begin))
