"""Connects to a profile's controller, wherever it runs and whoever started it, and says why if that cannot be done."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from concurrent import futures
from contextlib import suppress
from pathlib import Path
from typing import Any

import ipyparallel
import psutil
import zmq

from parallelflow import threads
from parallelflow.texts import tr

from . import profile
from .connection import PARTS, Connection, destroy
from .errors import ConnectError
from .ports import PROBE, hub_among, listening, looks_like_a_controller, processes_at
from .record import Record
from .tunnel import Tunnel

_LOOK_UP = 1.0  # seconds for the address of a machine
_ANSWER = 1.5  # seconds for the hub on this machine to answer, before somebody looks who that is

_LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
_ANYWHERE = ("*", "0.0.0.0")


def look_up(location: str | None) -> tuple[bool, str]:
    """Whether a controller's location is this machine for certain, and the location's address, '' if it is unknown.

    :param location: what a connection file says
    """
    if not location or location in (socket.gethostname(), "localhost"):
        return True, "127.0.0.1"
    # A broken name service can hold a look-up for half a minute.
    found = threads.start(lambda: _address(location), "parallelflow-look-up")
    futures.wait([found], _LOOK_UP)
    address = found.result() if found.done() else ""
    own = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
    return address.startswith("127.") or address in own, address


def _address(location: str) -> str:
    with suppress(OSError):
        return socket.gethostbyname(location)
    return ""


def whereabouts(profile_dir: Path, info: dict[str, Any]) -> tuple[bool, str]:
    """Whether a controller is on this machine for certain, and its machine's address, '' if that is unknown.

    What is on record as started here is here, whatever this machine was called then, or is called by others.

    :param profile_dir: the profile's folder
    :param info: the connection file's content
    """
    here, address = look_up(info.get("location"))
    if not here:
        mark = profile.fingerprint(info)
        here = any(entry.hub == mark and entry.here for entry in Record(profile_dir).read())
    return (True, "127.0.0.1") if here else (False, address)


def no_ipc(name: str) -> str:
    """The sentence for a controller that listens on files instead of ports.

    ipyparallel's controller names them ``address-port``, and its client and engines look for ``address:port``.

    :param name: the profile's name
    """
    return tr(
        "The controller of the IPython profile '{name}' is configured for the transport ipc, by which ipyparallel's"
        ' clients do not find it. Set c.IPController.transport = "tcp" in ipcontroller_config.py; on one machine it'
        " is as private, and hardly slower.",
        name=name,
    )


def connect(profile_dir: Path, timeout: float) -> Connection:
    """Connect to the controller of a profile, wherever it runs and whoever started it.

    A profile can have several clusters, see :func:`.profile.client_file`. The one with the id '' comes first, then the newest
    one that answers. Connection files of this machine that nobody answers are recognised within 3 seconds.

    :param profile_dir: the profile's folder
    :param timeout: seconds that a controller which is known to run may take to answer
    :returns: the connection, which the caller closes
    :raises ConnectError: ``gone`` is True if it is certain that there is no controller
    """
    stale = {}
    for path in (profile.client_file(profile_dir), profile.engine_file(profile_dir)):
        with suppress(OSError):
            stale[path] = path.read_bytes()
    try:
        return _connect(profile_dir, "", timeout)
    except ConnectError as error:
        if not error.gone:
            raise
        failure = error
        failure.stale = stale
    for cluster_id in _that_answer(profile_dir, profile.other_clusters(profile_dir)):
        try:
            return _connect(profile_dir, cluster_id, timeout)
        except ConnectError as error:
            if not error.gone and failure.gone:
                failure = error
    raise failure


def _that_answer(profile_dir: Path, cluster_ids: list[str]) -> list[str]:
    """Those of a profile's clusters at whose addresses somebody answers. Old ones must not take time one by one."""
    urls = {}
    for cluster_id in cluster_ids:
        with suppress(ConnectError):
            info = profile.read_connection_file(profile.client_file(profile_dir, cluster_id))
            if info is not None:
                urls[cluster_id] = hub_url(info, *whereabouts(profile_dir, info))
    answers = listening(urls, PROBE)
    return [cluster_id for cluster_id in cluster_ids if answers.get(cluster_id)]


def hub_url(info: dict[str, Any], here: bool, address: str) -> str:
    """A hub's address as seen from here; '' if it cannot be reached, or through a gateway only.

    :param info: the connection file's content
    :param here: whether it is on this machine
    :param address: the machine's address
    """
    scheme, _, interface = str(info["interface"]).partition("://")
    if interface in _ANYWHERE:
        interface = address
    elif interface in _LOOPBACK and not here:
        interface = ""
    return f"{scheme}://{interface}:{info['registration']}" if interface else ""


def _connect(profile_dir: Path, cluster_id: str, timeout: float) -> Connection:
    """Connect to one of a profile's clusters, as :func:`connect` does."""
    path = profile.client_file(profile_dir, cluster_id)
    name = profile.name_of(profile_dir)
    info = profile.read_connection_file(path)
    if info is None:
        raise ConnectError(tr("No controller runs for the IPython profile '{name}'.", name=name), gone=True)
    scheme, _, interface = str(info["interface"]).partition("://")
    if scheme == "ipc":
        raise ConnectError(no_ipc(name))
    here, address = whereabouts(profile_dir, info)
    if info.get("ssh") and not here:
        return _connect_by_ssh(profile_dir, cluster_id, info, timeout)
    if not here and interface in _LOOPBACK:
        raise ConnectError(
            tr(
                "The cluster of the IPython profile '{name}' runs on {host} and can be reached from there only. Start"
                " VisTrails there, let that controller listen on a network address (c.IPController.ip), or choose another"
                " profile. If that cluster is long gone, remove {path}.",
                name=name,
                host=info["location"],
                path=path,
            )
        )
    url = hub_url(info, here, address)
    answer = listening({"hub": url}, PROBE)["hub"]
    if answer is False and here:
        raise ConnectError(tr("The controller that {path} names no longer runs.", path=path), gone=True)
    if not answer and not here:
        # Not even a refusal is certain: it may be a firewall's.
        raise ConnectError(
            tr(
                "The controller of the IPython profile '{name}' on {host} cannot be reached. Check the network, or choose"
                " another profile; if that cluster is long gone, remove {path}.",
                name=name,
                host=info["location"],
                path=path,
            )
        )
    # The client need not look up anything.
    seen = {**info, "interface": url.rpartition(":")[0], "location": None}
    patience = _ANSWER if here else timeout
    client = _client(seen, profile_dir, min(timeout, patience)) if answer else None
    if client is None and here:
        who = _who_listens(path, int(info["registration"]))
        # While its parts die one after the other, a controller still accepts, and then belongs to nobody.
        if who is None or listening({"hub": url}, PROBE)["hub"] is False:
            raise ConnectError(tr("Nobody answers at the address in the connection file {path}.", path=path), gone=True)
        # It is busy, or stopped; either way its files must not be touched.
        client = _client(seen, profile_dir, timeout - patience)
        if client is None:
            raise _silent(name, who, timeout, path)
    if client is None:
        raise _silent(name, tr("on {host}", host=info["location"]), timeout, path)
    connection = Connection(profile_dir, client, info, here, cluster_id=cluster_id)
    connection.controller  # noqa: B018 while it lives it can be found, and later its death be seen
    return connection


def _tunnel(info: dict[str, Any], parts: Iterable[str]) -> Tunnel:
    """A tunnel to some parts of a controller."""
    address = str(info["interface"]).partition("://")[2]
    if address in _ANYWHERE:
        address = str(info["location"])
    return Tunnel(str(info["ssh"]), address, {name: info[name] for name in parts if isinstance(info.get(name), int)})


def answers_by_ssh(info: dict[str, Any], timeout: float) -> bool | None:
    """Whether a controller runs that is reached by ssh only.

    :param info: the connection file's content
    :param timeout: seconds
    :returns: None if ssh does not get there
    """
    end = time.monotonic() + timeout
    tunnel = _tunnel(info, ["registration"])
    try:
        if tunnel.wait(timeout):
            return None
        url = f"tcp://127.0.0.1:{tunnel.near(info)['registration']}"
        return listening({"hub": url}, max(0.1, end - time.monotonic()), tunnelled=True)["hub"]
    finally:
        tunnel.close()


def _connect_by_ssh(profile_dir: Path, cluster_id: str, info: dict[str, Any], timeout: float) -> Connection:
    path = profile.client_file(profile_dir, cluster_id)
    tunnel = _tunnel(info, (*PARTS, "notification"))
    try:
        problem = tunnel.wait(timeout)
        if problem:
            raise ConnectError(
                tr(
                    "The controller of the IPython profile '{name}' on {host} cannot be reached by ssh through {gateway}:"
                    " {problem}. Try in a terminal: ssh {gateway}. If that cluster is long gone, remove {path}.",
                    name=profile.name_of(profile_dir),
                    host=info["location"],
                    gateway=info["ssh"],
                    problem=problem,
                    path=path,
                )
            )
        near = tunnel.near(info)
        if listening({"hub": f"tcp://127.0.0.1:{near['registration']}"}, timeout, tunnelled=True)["hub"] is False:
            # Not even that is certain: somebody else may have been let in at its port, or nobody.
            raise ConnectError(
                tr(
                    "The controller of the IPython profile '{name}' on {host} no longer runs: ssh gets through {gateway}, but"
                    " nobody answers at {address}. Start it there again and copy its connection file anew, or choose another"
                    " profile; if that cluster is long gone, remove {path}.",
                    name=profile.name_of(profile_dir),
                    host=info["location"],
                    gateway=info["ssh"],
                    address=tunnel.far("registration"),
                    path=path,
                )
            )
        client = _client(near, profile_dir, timeout)
        if client is None:
            raise _silent(profile.name_of(profile_dir), tr("on {host}", host=info["location"]), timeout, path)
        return Connection(profile_dir, client, info, False, tunnel, cluster_id)
    except BaseException:
        tunnel.close()
        raise


def _who_listens(path: Path, port: int) -> str | None:
    """Who listens on a port of this machine, in words; None if that is certainly not the controller that wrote a file."""
    holders = processes_at(port)
    if not holders:
        return tr("a process that is not ours to look at")
    hub = hub_among({pid: process for pid, process in holders.items() if looks_like_a_controller(process)})
    with suppress(OSError):
        # The hub opens its sockets before it writes the file: a younger process took over its port.
        if hub is not None and hub.create_time > path.stat().st_mtime + 1:
            return None
    return tr("process {pid}", pid=hub.pid) if hub is not None else None


def _silent(name: str, who: str, timeout: float, path: Path) -> ConnectError:
    return ConnectError(
        tr(
            "The controller of the IPython profile '{name}' ({who}) runs, but has not answered for {seconds} seconds. Wait"
            " until it is less busy, or stop it, or choose another profile; if that cluster is long gone, remove {path}.",
            name=name,
            who=who,
            seconds=round(timeout),
            path=path,
        )
    )


def _client(info: dict[str, Any], profile_dir: Path, timeout: float) -> Any | None:
    """A client that is connected; None if there is no answer in time."""
    # A context of its own: what is still unsent to a dead controller must hold up neither others nor the exit.
    context = zmq.Context()
    context.linger = 0
    try:
        # Tunnels are our business: the client's own ones end when ssh goes to the background. So is the profile: given
        # one, the client would make folders there and change their modes, though it has all that it needs. Without IPython's
        # folder, it would make another one where that cannot be written.
        return ipyparallel.Client(
            {**info, "ssh": ""},
            profile_dir="",
            ipython_dir=str(profile.ipython_dir()),
            timeout=max(0.1, timeout),
            context=context,
        )
    except TimeoutError:
        destroy(context)
        return None
    except Exception as error:
        destroy(context)
        raise ConnectError(
            tr(
                "The controller of the IPython profile '{name}' refused us: {reason}",
                name=profile.name_of(profile_dir),
                reason=error,
            )
        ) from error
