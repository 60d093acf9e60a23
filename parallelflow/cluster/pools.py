"""The ports that a new controller gets, of those that the profile's configuration names.

ipyparallel takes the first ones, and a controller does not start if another one, of another profile or user, has them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ipyparallel.traitlets import PortList
from traitlets import TraitError
from traitlets.config.loader import Config

from parallelflow.texts import tr

from .errors import StartError

TAKES = 18
"""How many ports a controller takes; what a pool has no more of are any free ones."""

_POOLS = ("ports", "engine_ports", "client_ports")


def free(ports: Iterable[int]) -> list[int]:
    """Those of some TCP ports of this machine that nobody listens at.

    :param ports: the ports
    """
    found = []
    for port in ports:
        with socket.socket() as opened, suppress(OSError, OverflowError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ZeroMQ does
            opened.bind(("", port))
            found.append(port)
    return found


def options(own: Config, path: Path) -> list[str]:
    """What a controller is told so that it takes free ports.

    :param own: what the profile's configuration says about controllers
    :param path: its file, for the error
    :returns: options of ``ipcontroller``; none if the first ports that it would take are free
    :raises StartError: if too few of the ports are free
    """
    configured = own.get("IPController", {})
    if configured.get("reuse_files"):
        return []  # it takes those of its old connection files
    said = []
    for pool in _POOLS:
        try:
            ports = PortList().validate(None, configured.get(pool) or [])
        except (TraitError, ValueError, TypeError):
            continue  # the controller says what is wrong
        left = free(ports)
        if left == ports:
            continue
        if len(left) < TAKES <= len(ports):
            raise StartError(
                tr(
                    "The controller cannot start: it takes {takes} ports, and of the {all} that c.IPController.{pool} names only"
                    " {free} are free. Others have them, such as a controller of another profile or user; name more ports in"
                    " {path}.",
                    takes=TAKES,
                    all=len(ports),
                    pool=pool,
                    free=len(left),
                    path=path,
                )
            )
        said.append(f"--IPController.{pool}={','.join(map(str, left))}")
    return said
