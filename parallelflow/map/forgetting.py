"""Has the client and the hub forget messages that are done with; what they keep of them would fill their memory.

The hub keeps up to a gigabyte of results, or a thousand. One thread tells it, whatever the number of messages, and ends when there
are none left.

May import `parallelflow.cluster.internals`, `parallelflow.threads` and the standard library.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from concurrent.futures import wait
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from parallelflow import threads
from parallelflow.cluster import internals

_log = logging.getLogger(__name__)

# After how many messages client and hub are told to forget them: often enough that large results do not pile up.
EVERY = 32

# How often the hub is told, and how long apart, in seconds: it refuses while it has not heard of a message's end.
_TRIES = 10
_AGAIN = 0.5

# How long, in seconds, the hub may take to answer; one that has gone or hangs never does.
_ANSWER_TIMEOUT = 30.0

# How long, in seconds, it is waited for more to forget before the hub is told: engines that are interrupted answer one by one.
_GATHER = 0.05


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
            _teller_of(self._client).tell(self._client, names)

    def forget_when_answered(self, names: Iterable[str]) -> None:
        """Have messages forgotten that are given up, if their answers still come."""
        client = self._client

        def forget(name: str, _: object) -> None:
            client.purge_local_results([name])
            _teller_of(client).tell(client, [name])

        for name in names:
            future = internals.answer(client, name)
            if future is not None:
                future.add_done_callback(partial(forget, name))


class _Teller:
    """Tells one client's hub what to forget, in a thread that lives while there is something."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: list[str] = []
        self._is_telling = False

    def tell(self, client: Any, names: list[str]) -> None:
        """Have the hub told; nobody waits for it."""
        with self._lock:
            self._names += names
            if self._is_telling:
                return
            self._is_telling = True
        threads.start(partial(self._run, client), "parallelflow-purge")

    def _run(self, client: Any) -> None:
        while True:
            time.sleep(_GATHER)
            with self._lock:
                names, self._names = self._names, []
                if not names:
                    self._is_telling = False
                    return
            try:
                _purge(client, names)
            except BaseException:
                with self._lock:
                    self._is_telling = False
                raise


_tellers: WeakKeyDictionary[Any, _Teller] = WeakKeyDictionary()


def _teller_of(client: Any) -> _Teller:
    return _tellers.setdefault(client, _Teller())


def _purge(client: Any, names: list[str]) -> None:
    for _ in range(_TRIES):
        try:
            # As `client.purge_hub_results` does it; but that waits for a hub that has gone for good.
            content = {"msg_ids": names, "engine_ids": []}
            answer = internals.send(client, internals.HUB, "purge_request", content)
            if not wait([answer], _ANSWER_TIMEOUT).done:
                _log.debug("the hub has not answered for %.0f s, so it forgets nothing", _ANSWER_TIMEOUT)
                return
            content = answer.result()["content"]
        except (OSError, RuntimeError) as error:  # the connection was closed: nothing is kept there
            _log.debug("the hub could not be asked to forget %d tasks: %s", len(names), error)
            return
        if content["status"] == "ok":
            return
        # It has not heard yet that one of them is done.
        _log.debug("the hub does not forget %d tasks yet: %s", len(names), content.get("evalue"))
        time.sleep(_AGAIN)
