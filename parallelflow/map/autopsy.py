"""How engines have ended, and which are this session's own, as far as this machine knows.

May import the cluster room.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from parallelflow.cluster.errors import ClusterError
from parallelflow.cluster.session import Session

# How long, in seconds, a process of ours may take to be seen as ended after its nanny has said so.
_WITHIN = 1.0


def autopsy(session: Session, uuids: Sequence[str]) -> tuple[dict[str, str], str]:
    """Find out how engines ended that this session had started.

    :param session: the session.
    :param uuids: the engines' uuids.
    :returns: by uuid, how it ended, as the end of a sentence; and the end of the log of one of them, empty if there is none.
    """
    how: dict[str, str] = {}
    tail = ""
    with suppress(ClusterError):
        processes = session.processes
        end = time.monotonic() + _WITHIN
        while (waiting := processes.engines().keys() & set(uuids)) and time.monotonic() < end:
            time.sleep(0.02)
        for started in processes.died:
            for uuid in started.uuids.intersection(uuids) - waiting:
                how[uuid] = started.ending
                tail = tail or processes.logs.tail(started)
    return how, tail


def is_started_here(session: Session, uuid: str) -> bool:
    """Whether this session has started an engine's process, which lives.

    :param session: the session.
    :param uuid: the engine's uuid.
    """
    with suppress(ClusterError):
        return uuid in session.processes.engines()
    return False
