"""Sees to engines of ours that have ended by themselves: the hub is told, and others are started if the preferences say so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from parallelflow import threads

from . import hub
from .connection import Connection
from .errors import ClusterError
from .processes import ProcessManager
from .settings import Settings

log = logging.getLogger(__name__)

_GOT_FAR = 20.0  # seconds that an engine must have lived to be started again


class Keeping:
    """Looks after the engines of one controller, once in each round of its connection's watch.

    :param settings: returns the preferences, validated
    :param start_engines: starts so many engines, if the connection is still in use
    """

    def __init__(self, settings: Callable[[], Settings], start_engines: Callable[[Connection, int], object]) -> None:
        self._settings = settings
        self._start_engines = start_engines
        self._dealt_with: set[str] = set()  # tokens of what has ended by itself

    def look(self, connection: Connection, manager: ProcessManager) -> None:
        """Tell the hub which engines of ours are dead. It would notice after 12 s if their nannies died too.

        And learn from it which batch jobs have ended.

        :param connection: the connection to the controller
        :param manager: what is ours
        """
        numbers = {uuid: number for number, uuid in hub.engines_of(connection).items()}
        if connection.lost is None:
            manager.observe(numbers, connection.fingerprint)
        manager.notice()
        for started in manager.died:
            number = numbers.get(started.entry.uuid)
            if number is not None:
                hub.forget(connection, number)
        self._start_again(connection, manager)

    def _start_again(self, connection: Connection, manager: ProcessManager) -> None:
        """Have as many engines started again as have ended by themselves, if the preferences say so. Does not wait for them.

        Those that did not get far are not started again: whatever ended them would end the next ones, too.
        """
        ended = [s for s in manager.died if not s.is_controller and s.entry.token not in self._dealt_with]
        self._dealt_with.update(started.entry.token for started in ended)
        again = [
            started
            for started in ended
            if started.registered and not started.entry.let_go and time.time() - started.entry.started > _GOT_FAR
        ]
        count = sum(started.n for started in again)
        if not count or connection.lost is not None or not self._settings().keep_engines:
            return

        def start_again() -> None:
            log.warning("%d engines have ended; as many are started again", count)
            try:
                self._start_engines(connection, count)
            except ClusterError as error:
                log.warning("%s", error)

        threads.start(start_again, "parallelflow-again")
