"""Has the client and the hub forget messages that are done with; what they keep of them would fill their memory.

Controllers that we start keep no record of messages (see `launch_controller`). Others do, of a thousand, or a gigabyte. Their
hub is told without anybody waiting for it; what it refuses, not having heard of a message's end, is told once more with the next.

May import `parallelflow.cluster.internals` and the standard library.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from parallelflow.cluster import internals

_log = logging.getLogger(__name__)

# After how many messages client and hub are told to forget them: often enough that large results do not pile up.
EVERY = 32


class Forgetting:
    """What is to be forgotten of one Map.

    :param client: the ``ipyparallel.Client``.
    """

    def __init__(self, client: Any):
        self._client = client
        self._names: list[str] = []

    def add(self, name: str) -> None:
        """Note down a message whose answer has been dealt with."""
        self._names.append(name)

    @property
    def is_due(self) -> bool:
        """Whether so much has come together that it should be forgotten."""
        return len(self._names) >= EVERY

    def forget(self, hub: bool) -> None:
        """Forget what was noted down.

        :param hub: whether the hub is still there to be told; nobody waits for it.
        """
        names, self._names = self._names, []
        if not names:
            return
        self._client.purge_local_results(names)
        if hub:
            _tell(self._client, names)

    def forget_when_answered(self, names: Iterable[str]) -> None:
        """Have messages forgotten that are given up, if their answers still come."""
        client = self._client

        def forget(name: str, _: object) -> None:
            client.purge_local_results([name])
            _tell(client, [name])

        for name in names:
            future = internals.answer(client, name)
            if future is not None:
                future.add_done_callback(partial(forget, name))


# What each client's hub has refused to forget.
_refused: WeakKeyDictionary[Any, deque[list[str]]] = WeakKeyDictionary()


def _tell(client: Any, names: list[str]) -> None:
    """Have the hub forget, as `client.purge_hub_results` does it; but that waits for a hub that has gone for good."""
    refused = _refused.setdefault(client, deque())
    again: list[str] = []
    with suppress(IndexError):
        while True:
            again += refused.popleft()

    def hear(answer: Future[Any]) -> None:
        if not answer.cancelled() and answer.exception() is None and answer.result()["content"]["status"] != "ok":
            refused.append(names)

    try:
        answer = internals.send(client, internals.HUB, "purge_request", {"msg_ids": again + names, "engine_ids": []})
    except (OSError, RuntimeError) as error:  # the connection was closed: nothing is kept there
        _log.debug("the hub could not be asked to forget %d tasks: %s", len(names), error)
    else:
        answer.add_done_callback(hear)
