"""Who listens where: asked of an address itself, and looked up among this machine's processes."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from .tree import Identity, lives

PROBE = 1.0
"""Seconds for one round of connection attempts; ZeroMQ greets in milliseconds."""

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_READS = 3  # of the kernel's tables of sockets, in which some can be missing while others come and go


def listening(urls: dict[str, str], timeout: float, tunnelled: bool = False) -> dict[str, bool | None]:
    """Whether a ZeroMQ socket listens at each of some addresses.

    ZeroMQ greets whoever connects, from a thread of its own and so even while its program is busy. That
    the kernel accepts a connection says less: the hub's children hold its sockets open after its death.

    :param urls: ZeroMQ addresses (tcp or ipc) by name
    :param timeout: seconds for all of them together
    :param tunnelled: whether they are ends of tunnels: ssh accepts first, and closes again if nobody listens at the other end
    :returns: by name True if it greets, False if the kernel there says that nobody listens, None if there
        is no answer
    """
    answers: dict[str, bool | None] = dict.fromkeys(urls)
    waiting: dict[int, tuple[str, socket.socket]] = {}
    poller = select.poll()
    try:
        for name, url in urls.items():
            with suppress(OSError, ValueError):
                opened, code = _begin_connect(url)
                if code in _REFUSED:
                    answers[name] = False
                    opened.close()
                elif code == 0 or code in _IN_PROGRESS:
                    waiting[opened.fileno()] = (name, opened)
                    poller.register(opened, select.POLLIN)
                else:
                    opened.close()
        end = time.monotonic() + timeout
        left = timeout
        while waiting and left > 0:
            # At least once after the time: it may be this process that was held up, and the answers are there.
            left = end - time.monotonic()
            for descriptor, _ in poller.poll(max(0.0, left) * 1000):
                name, opened = waiting.pop(descriptor)
                poller.unregister(descriptor)
                answers[name] = _greeting(opened, tunnelled)
                opened.close()
    finally:
        for _, opened in waiting.values():
            opened.close()
    return answers


_IN_PROGRESS = (errno.EINPROGRESS, errno.EAGAIN)
_REFUSED = (errno.ECONNREFUSED, errno.ENOENT)  # ENOENT: the file of an ipc address is gone


def _begin_connect(url: str) -> tuple[socket.socket, int]:
    scheme, _, address = url.partition("://")
    if scheme == "ipc":
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        target: Any = "\0" + address[1:] if address.startswith("@") else address
    else:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        target = (host, int(port))
        # Close with a reset, so that looking every second does not fill the kernel's tables.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    try:
        opened.setblocking(False)
        return opened, opened.connect_ex(target)
    except BaseException:
        opened.close()
        raise


def _greeting(opened: socket.socket, tunnelled: bool) -> bool | None:
    """The answer of an address whose socket has something to say, or is closed."""
    code = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        return False if code in _REFUSED else None
    try:
        # The first byte of ZMTP's greeting, https://rfc.zeromq.org/spec/23/
        first = opened.recv(1)
        return True if first == b"\xff" else False if tunnelled and not first else None
    except OSError as error:
        return False if error.errno in _REFUSED or (tunnelled and error.errno == errno.ECONNRESET) else None


def find_controller(port: int) -> Identity | None:
    """The hub's process, if it runs on this machine and we may look at it.

    :param port: the hub's TCP port
    """
    return hub_among(processes_at(port, looks_like_a_controller))


def hub_among(controllers: dict[int, psutil.Process]) -> Identity | None:
    """The hub among the processes of a controller.

    :param controllers: the processes, by their process ids
    :returns: None if it is dead, or if they are those of several controllers
    """
    # Its children have inherited its sockets. If it is dead, they are all that is left.
    tops = [process for process in controllers.values() if _parent(process) not in controllers]
    return Identity.of(tops[0].pid) if len(tops) == 1 else None


def processes_at(
    port: int, wanted: Callable[[psutil.Process], bool] = lambda process: True
) -> dict[int, psutil.Process]:
    """The processes that hold a socket which listens on a TCP port of this machine, as far as we may look at them.

    :param port: the port
    :param wanted: which processes to look at
    :returns: the processes, by their process ids
    """
    sockets: set[str] | None = None
    if _TABLES[0].exists():
        sockets = next(filter(None, (_listening_sockets().get(port) for _ in range(_READS))), set())
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if wanted(process) and (
                port in listening_ports(process) if sockets is None else sockets & _sockets(process)
            ):
                found[process.pid] = process
    return found


def held_by_others(ports: Collection[int], processes: Sequence[psutil.Process]) -> set[int]:
    """Those of some TCP ports of this machine at which somebody listens, and none of some processes does, as far as can be told.

    It cannot of a process that is not ours to look at, and of one with a network of its own, as a container has: whoever
    listens here may do so for it.

    :param ports: the ports
    :param processes: those that should
    """
    try:
        if _networks(processes) != {os.readlink("/proc/self/ns/net")}:
            return set()
    except OSError:
        return set()
    own = set().union(*map(_sockets, processes))
    held, others = set[int](), set[int]()
    for _ in range(_READS):  # one can lack theirs, and have somebody's at another address
        listening_now = _listening_sockets()
        held.update(port for port in ports if listening_now.get(port, set()) & own)
        others.update(port for port in ports if listening_now.get(port))
        if others <= held:
            break
    return others - held


def _networks(processes: Sequence[psutil.Process]) -> set[str]:
    """The networks that some processes are in, as links to them read; those that have ended are in none.

    :raises PermissionError: if one of them is not ours to look at
    """
    found = set()
    for process in processes:
        with suppress(FileNotFoundError, ProcessLookupError):
            found.add(os.readlink(f"/proc/{process.pid}/ns/net"))
    return found


def _listening_sockets() -> dict[int, set[str]]:
    """The sockets that listen on TCP ports, by port and as links to them read; none where Linux's tables are not to be had.

    psutil names only one of the processes that share a socket, or reads all tables again for each process.
    """
    found: dict[int, set[str]] = {}
    for table in _TABLES:  # which may each have one, at different addresses
        with suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                # https://docs.kernel.org/networking/proc_net_tcp.html; state 0A is LISTEN
                _, address, _, state, *_, inode = line.split()[:10]
                if state == "0A":
                    found.setdefault(int(address.rpartition(":")[2], 16), set()).add(f"socket:[{inode}]")
    return found


def _sockets(process: psutil.Process) -> set[str]:
    """What the file descriptors of a process lead to."""
    found = set()
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{process.pid}/fd"):
            with suppress(OSError):
                found.add(os.readlink(entry.path))
    return found


def listening_ports(process: psutil.Process) -> set[int]:
    """The TCP ports that a process listens on.

    :param process: a process of this machine
    :raises psutil.Error: if it is gone, or not ours to look at
    """
    # psutil 6 renamed the method.
    method = getattr(process, "net_connections", None) or process.connections
    return {entry.laddr.port for entry in method("tcp") if entry.status == psutil.CONN_LISTEN}


def connected_ports(process: psutil.Process) -> set[int]:
    """The TCP ports at the other end of a process's connections.

    :param process: a process of this machine
    :raises psutil.Error: if it is gone, or not ours to look at
    """
    method = getattr(process, "net_connections", None) or process.connections
    return {entry.raddr.port for entry in method("tcp") if entry.raddr}


def has_begun(hub: Identity) -> bool:
    """Whether each living part of a controller on this machine listens already, as far as we may look at them.

    :param hub: the hub's process, of which the other parts are children with ports of their own
    """
    with suppress(psutil.Error):
        process = psutil.Process(hub.pid)
        own = listening_ports(process)
        return not any(looks_like_a_controller(child) and listening_ports(child) <= own for child in process.children())
    return True


def _parent(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.ppid())
    return 0


def looks_like_a_controller(process: psutil.Process) -> bool:
    """Whether a process seems to be a controller, or a part of one, and lives.

    :param process: a process of this machine
    """
    with suppress(psutil.Error):
        line = " ".join(process.cmdline())
        return ("ipyparallel" in line or "ipcontroller" in line or "ipcluster" in line) and lives(process)
    return False
