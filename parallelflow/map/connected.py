"""Engines for a Map: connects to the cluster, or starts one, without blocking VisTrails' window.

With a window the work is done in another thread, because not all of it reports how far it is: what was started is stopped
again after Cancel, and a damaged controller before another is started. Without one, the Map's own thread does it, in which alone
Python can handle signals.

May import the cluster room, `parallelflow.threads` and `parallelflow.map.progress`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import wait

from parallelflow import threads
from parallelflow.cluster.session import Session
from parallelflow.map import progress
from parallelflow.texts import tr

# How often, in seconds, the window gets its turn.
TICK = 0.05

# How long, in seconds, Cancel waits until what was started has been stopped again; it goes on after that.
CANCEL_TIMEOUT = 1.5


def wait_for_engines(session: Session, report: Callable[[str, float], None]) -> None:
    """Connect, and start a cluster if there is none and the preferences or the user agree.

    :param session: the session; it is connected afterwards, and there is an engine.
    :param report: called with what is waited for and a fraction from 0 to 1, at least 10 times a second, in the calling
        thread; what it raises calls everything off.
    :raises ClusterError: if there is no engine in the end; its text is a sentence for the user.
    """
    if not progress.is_shown():
        session.client(progress=report)
        return
    called_off = threading.Event()
    last = tr("Connecting to the controller"), 0.0

    def note(text: str, fraction: float) -> None:
        nonlocal last
        last = text, fraction

    outcome = threads.start(lambda: session.client(progress=note, cancelled=called_off.is_set), "parallelflow-connect")
    try:
        while not wait([outcome], TICK).done:
            report(*last)
    except BaseException:
        called_off.set()
        end = time.monotonic() + CANCEL_TIMEOUT
        while not wait([outcome], TICK).done and time.monotonic() < end:
            progress.tell(tr("Stopping again what was started"))
        raise
    outcome.result()
