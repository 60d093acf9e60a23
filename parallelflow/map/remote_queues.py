"""Queues of jobs on servers, as the package ``tej`` has them: values that hold a connection by SSH.

They travel as what they are made from, and are connected anew where they arrive, once in each process. What tej says of jobs holds
its queue, so results and suspended elements' handles can travel, too.

tej installs itself on a server when the first job is submitted there, which only one engine is to do.

May import `parallelflow.map.values`; nothing of VisTrails, because tej is imported only where it is used.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from parallelflow.map import values

IDENTIFIER = "org.vistrails.extra.tej"


def _reduce(queue: Any, lenient: bool) -> Any:
    module = type(queue).__module__
    if not hasattr(sys.modules.get(module), "QueueCache"):
        return NotImplemented
    needed = None if queue.need_runtime is None else sorted(queue.need_runtime)
    return _connected, (module, queue.destination_string, str(queue.queue), queue.setup_runtime, needed)


def _connected(module: str, destination: str, place: str, setup: str | None, needed: list[str] | None) -> Any:
    return importlib.import_module(module).QueueCache.get(destination, place, setup, needed)


values.register_named("RemoteQueue", _reduce)


def let_one_set_up(package: str, locked: Callable[[str], AbstractContextManager[None]]) -> None:
    """Have only one process at a time look for a queue, or install one.

    :param package: the name of tej's Python package, which has been loaded.
    :param locked: gives a context in which this process holds the lock of a name.
    """
    queues = sys.modules[f"{package}.init"].RemoteQueue
    look, submit = queues._get_queue, queues.submit

    def lock(queue: Any) -> AbstractContextManager[None]:
        return locked(f"{IDENTIFIER} {queue.destination_string} {queue.queue}")

    @functools.wraps(look)
    def _get_queue(self: Any) -> Any:
        if self._queue is not None:
            return self._queue
        with lock(self):
            return look(self)

    @functools.wraps(submit)
    def submit_when_set_up(self: Any, *arguments: Any, **more: Any) -> Any:
        if self._queue is None:
            with lock(self):
                if look(self) is None:
                    self._setup()
        return submit(self, *arguments, **more)

    queues._get_queue, queues.submit = _get_queue, submit_when_set_up
