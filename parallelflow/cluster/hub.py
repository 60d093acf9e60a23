"""What is asked of a hub: which engines there are, and to signal, stop and forget them.

Requests go out and nobody waits for an answer: an engine may be busy, and a hub gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import psutil
import zmq

from parallelflow.texts import tr

from . import internals
from .connection import Connection
from .errors import StopError
from .tree import Identity, Root, end, members

_UNREGISTER_WITHIN = 2.0  # seconds until the hub has noticed that an engine is gone


def engines_of(connection: Connection) -> dict[int, str]:
    """The engines that the client knows: uuids by number.

    :param connection: the connection to the hub
    """
    return internals.engines(connection.client)


def send(connection: Connection, stream: str, kind: str, content: dict[str, Any], uuid: str | None = None) -> None:
    """Send a request and do not wait for the answer.

    :param connection: the connection to the hub
    :param stream: `internals.HUB`, or `internals.NANNY` for an engine or its nanny
    :param kind: the message type; see `internals.send`
    :param content: the message's content, as JSON has it
    :param uuid: the engine's uuid, unless it is for the hub
    """
    with suppress(OSError, zmq.ZMQError, RuntimeError):
        internals.send(connection.client, stream, kind, content, uuid)


def forget(connection: Connection, number: int) -> None:
    """Tell the hub that an engine is gone.

    :param connection: the connection to the hub
    :param number: the engine's number
    """
    send(connection, internals.HUB, "unregistration_request", {"id": number})


def shut_down(connection: Connection, limit: float) -> None:
    """Have the controller end, whoever started it.

    :param connection: the connection to the controller
    :param limit: seconds
    :raises StopError: if it does not
    """
    start = time.monotonic()
    identity = connection.controller
    # Its parts may outlive it for a moment.
    parts = members([Root("", identity)])[0] if identity is not None else []
    send(connection, internals.HUB, "shutdown_request", {})
    # What ipcluster started is also watched by it; it cleans up after the controller.
    agreed = start + min(2.5, limit / 2)
    while time.monotonic() < agreed and connection.check() is None:
        time.sleep(0.05)
    if identity is not None and identity.process() is not None:
        # Whether it agreed or hangs: this very process is what the user wants gone.
        left = end([Root("", identity)], max(1.0, limit - (time.monotonic() - start)))
        if left:
            raise StopError(tr("The controller, process {pid}, could not be stopped.", pid=left[0].pid))
    elif connection.check() is None:
        raise StopError(tr("The controller on {host} does not obey; stop it there.", host=connection.location))
    _, late = psutil.wait_procs(parts, max(0.5, limit - (time.monotonic() - start)))
    for process in late:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def stop(
    connection: Connection,
    engines: dict[int, str],
    limit: float,
    here: Callable[[Collection[str]], set[Identity]],
) -> None:
    """Stop engines that are not our processes, by signals from their nannies.

    An engine's nanny tells the hub when the engine has ended. A request to shut down comes last, for
    engines without a nanny: the hub takes an engine's consent for its end, which a busy one may be far
    from. Those on this machine that nothing helps with are ended as processes.

    :param connection: the connection to the hub
    :param engines: uuids by number
    :param limit: seconds
    :param here: tells which processes on this machine engines are, by their uuids, as far as it is known by now
    """
    if not engines:
        return
    start = time.monotonic()
    steps: list[tuple[float, str, dict[str, Any]]] = [
        (0.0, "signal_request", {"sig": "SIGTERM"}),
        (0.0, "signal_request", {"sig": "SIGCONT"}),
        (0.2, "signal_request", {"sig": "SIGINT"}),
        (0.45, "signal_request", {"sig": "SIGKILL"}),
        (0.6, "shutdown_request", {"restart": False}),
    ]
    local: set[Identity] = set()
    while left := {n: i for n, i in engines.items() if engines_of(connection).get(n) == i}:
        elapsed = (time.monotonic() - start) / limit
        local |= here(left.values())
        while steps and elapsed >= steps[0][0]:
            _, kind, content = steps.pop(0)
            for identity in left.values():
                send(connection, internals.NANNY, kind, content, identity)
        # Without a hub nobody hears that they ended; then only the signals' time is given.
        if elapsed > (0.75 if connection.lost is None else 0.55):
            break
        time.sleep(0.05)
    end([Root("", identity) for identity in local], 0.25 * limit)
    unregister(connection, left)


def unregister(connection: Connection, engines: dict[int, str]) -> None:
    """Wait until the hub knows that engines are gone; tell it if their nannies could not.

    :param connection: the connection to the hub
    :param engines: uuids by number
    """
    start = time.monotonic()
    told = False
    while left := [n for n, identity in engines.items() if engines_of(connection).get(n) == identity]:
        elapsed = time.monotonic() - start
        if elapsed > _UNREGISTER_WITHIN or connection.lost is not None:
            return
        if not told and elapsed > _UNREGISTER_WITHIN / 2:
            told = True
            for number in left:
                forget(connection, number)
        time.sleep(0.02)
