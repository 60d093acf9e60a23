"""Takes a chunk back from an engine that has not begun with it, so that another engine can have it.

A chunk waits in its engine's queue behind the one that runs, so that the engine never waits for the client. Should that one last,
the client asks for the waiting one back. The engine answers in its thread for control messages, meanwhile; whether a chunk has
begun is decided there, under a lock, so that it never runs twice.

May import IPython and the standard library.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from IPython import get_ipython

# The message by which the client asks, and by which an engine answers; "dropped" in its content says whether it does not run.
REQUEST, ANSWER = "parallelflow_take_back", "parallelflow_taken_back"

# Of so many chunks an engine knows that it has begun them: what is asked for back is among the last two that were sent.
_REMEMBERED = 256

_lock = threading.Lock()
_begun: deque[str] = deque(maxlen=_REMEMBERED)
_taken: set[str] = set()


def allow() -> None:
    """Have this engine answer such requests from now on."""
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is not None:
        kernel.control_handlers[REQUEST] = lambda stream, ident, parent: _answer(kernel, stream, ident, parent)


def _answer(kernel: Any, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
    dropped = take(str(parent["content"]["chunk"]))
    kernel.session.send(stream, ANSWER, {"status": "ok", "dropped": dropped}, parent=parent, ident=ident)


def take(chunk: str) -> bool:
    """Take a chunk back.

    :param chunk: the id of its message.
    :returns: whether it is not run here: it has not begun yet.
    """
    with _lock:
        if chunk in _begun:
            return False
        _taken.add(chunk)
        return True


def begin(chunk: str) -> bool:
    """Begin with a chunk.

    :param chunk: the id of its message.
    :returns: False if it was taken back, and must not run.
    """
    with _lock:
        if chunk in _taken:
            _taken.remove(chunk)
            return False
        _begun.append(chunk)
        return True
