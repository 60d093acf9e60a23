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

from . import profile
from .errors import ConnectError, StartError

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


def _in_files(folder: Path) -> set[int]:
    """The ports that the connection files of a profile's last controller name; none unless both files are there."""
    try:
        files = [profile.read_connection_file(name(folder)) for name in (profile.client_file, profile.engine_file)]
    except ConnectError:
        return set()
    if None in files:
        return set()
    named = [
        port
        for info in files
        if info
        for value in info.values()
        for port in (value if isinstance(value, list) else [value])
    ]
    return {port for port in named if isinstance(port, int)}


def options(own: Config, folder: Path) -> list[str]:
    """What a controller is told so that it takes free ports.

    :param own: what the profile's configuration says about controllers
    :param folder: the profile's folder
    :returns: options of ``ipcontroller``; none if the first ports that it would take are free
    :raises StartError: if too few of the ports are free
    """
    configured = own.get("IPController", {})
    # It takes those of its old connection files, and ipyparallel would have it take the first of its pool once more.
    reused = _in_files(folder) if configured.get("reuse_files") else set()
    said = []
    for pool in _POOLS:
        try:
            ports = PortList().validate(None, configured.get(pool) or [])
        except (TraitError, ValueError, TypeError):
            continue  # the controller says what is wrong
        if reused:
            left = free(port for port in ports if port not in reused)
            if left and left != ports:
                said.append(f"--IPController.{pool}={','.join(map(str, left))}")
            continue
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
                    path=folder / "ipcontroller_config.py",
                )
            )
        said.append(f"--IPController.{pool}={','.join(map(str, left))}")
    return said
