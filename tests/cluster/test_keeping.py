"""Engines that end by themselves while a Map runs, and that are started again if the preferences say so."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import pytest
from helpers import until

from parallelflow.cluster import Session, hub, keeping
from parallelflow.cluster.connection import Connection

Make = Callable[..., Session]


def kill_one(own: Session) -> str:
    """Kill an engine, and return its uuid."""
    uuid, started = next(iter(own.processes.engines().items()))
    psutil.Process(started.entry.pid).kill()
    return uuid


def registered(connection: Connection) -> set[str]:
    """The uuids of the engines at the hub."""
    return set(hub.engines_of(connection).values())


@pytest.mark.kills
def test_as_many_engines_are_started_again_as_have_ended(
    make_session: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeping, "_GOT_FAR", 0.0)  # they have lived for long enough
    own = make_session(keep_engines=True)
    own.start_engines(2)
    connection = own.connection
    assert connection is not None
    before = registered(connection)
    with connection.watched():  # as while a Map runs
        killed = kill_one(own)
        until(lambda: killed not in registered(connection) and len(registered(connection)) == 2)
        assert len(registered(connection) - before) == 1
        # What ends at once would do so again.
        monkeypatch.setattr(keeping, "_GOT_FAR", 3600.0)
        killed = kill_one(own)
        until(lambda: killed not in registered(connection) and len(own.processes.died) == 2)
    own.close()
    again = [record for record in caplog.records if "as many are started again" in record.getMessage()]
    assert len(again) == 1
