"""A connection to a controller: an ipyparallel ``Client``, and whether every part of the controller is still there.

A controller is several processes (hub, schedulers), each with sockets of its own. That a part is gone is the kernel's word:
it refuses a connection to the part's address. That a whole machine is gone shows in silence only, so that takes longer.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ipyparallel
import psutil
import zmq
from ipyparallel.util import ip_for_host
from jupyter_client.localinterfaces import is_local_ip

from . import profile
from .errors import ConnectError
from .tree import Identity, lives

log = logging.getLogger(__name__)

STALE_WITHIN = 2.5
"""Seconds after which a connection file that nobody answers counts as stale, unless a controller is seen to be there."""

_PROBE = 1.5  # seconds for one round of connection attempts; the kernel of a machine that exists answers in milliseconds
_EVERY = 1.0  # seconds between two rounds of the watch
_REFUSED_ROUNDS = 2  # one refusal can be a scheduler that has not bound its socket yet
_SILENT_ROUNDS = 6  # rounds without any answer to connection attempts, each of _EVERY + _PROBE seconds: 15 s
_PING_EVERY = 5  # rounds
_PING_ROUNDS = 15  # rounds, not seconds: a client that was itself held up must not blame the hub

_PARTS = {
    "registration": ("hub", "_query_socket"),
    "task": ("task scheduler", "_task_socket"),
    "mux": ("direct scheduler", "_mux_socket"),
    "control": ("control scheduler", "_control_socket"),
    "iopub": ("output relay", "_iopub_socket"),
    "broadcast": ("broadcast scheduler", "_broadcast_socket"),
}


def read_connection_file(path: Path) -> dict[str, Any] | None:
    """What a connection file says.

    :returns: its content, or None if there is no such file
    :raises ConnectError: if it cannot be read or is not a connection file (``gone`` is True: no controller wrote that)
    """
    for attempt in range(10):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConnectError(f"The connection file {path} cannot be read: {error.strerror}.") from error
        except ValueError:
            if attempt == 9:
                raise ConnectError(f"The connection file {path} is damaged.", gone=True) from None
            time.sleep(0.05)  # its controller may just be writing it
        else:
            break
    if not isinstance(content, dict) or not {"interface", "registration", "location"} <= content.keys():
        raise ConnectError(f"The connection file {path} is not one of ipyparallel.", gone=True)
    return content


def listening(urls: dict[str, str], timeout: float) -> dict[str, bool | None]:
    """Whether somebody listens at each of some addresses.

    :param urls: ZeroMQ addresses (tcp or ipc) by name
    :param timeout: seconds for all of them together
    :returns: by name True, False if the kernel there says that nobody does, None if there is no answer at all
    """
    answers: dict[str, bool | None] = {}
    waiting: dict[int, tuple[str, socket.socket]] = {}
    poller = select.poll()
    try:
        for name, url in urls.items():
            try:
                opened, code = _begin_connect(url)
            except OSError:
                answers[name] = None
                continue
            if code == 0:
                answers[name] = not _to_itself(opened)
                opened.close()
            elif code in _IN_PROGRESS:
                waiting[opened.fileno()] = (name, opened)
                poller.register(opened, select.POLLOUT)
            else:
                answers[name] = _verdict(code)
                opened.close()
        end = time.monotonic() + timeout
        while waiting and (left := end - time.monotonic()) > 0:
            for descriptor, _ in poller.poll(left * 1000):
                name, opened = waiting.pop(descriptor)
                poller.unregister(descriptor)
                code = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                answers[name] = _verdict(code) if code else not _to_itself(opened)
                opened.close()
    finally:
        for name, opened in waiting.values():
            answers[name] = None
            opened.close()
    return answers


_IN_PROGRESS = (errno.EINPROGRESS, errno.EAGAIN)
_REFUSED = (errno.ECONNREFUSED, errno.ENOENT)  # ENOENT: the file of an ipc address is gone


def _verdict(code: int) -> bool | None:
    return False if code in _REFUSED else None


def _begin_connect(url: str) -> tuple[socket.socket, int]:
    scheme, _, address = url.partition("://")
    if scheme == "ipc":
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        target: Any = "\0" + address[1:] if address.startswith("@") else address
    else:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_STREAM)
        target = (host, int(port))
        # Close with a reset, so that looking every second does not fill the kernel's tables with waiting connections.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    try:
        opened.setblocking(False)
        return opened, opened.connect_ex(target)
    except BaseException:
        opened.close()
        raise


def _to_itself(opened: socket.socket) -> bool:
    # A connection to a free port of the local range can meet itself.
    with suppress(OSError):
        return bool(opened.family != socket.AF_UNIX and opened.getsockname() == opened.getpeername())
    return False


def listener(port: int) -> Identity | None:
    """The process on this machine that listens on a TCP port; None if there is none or it is another user's."""
    with suppress(psutil.Error, RuntimeError):
        for entry in psutil.net_connections("tcp"):
            if entry.status == psutil.CONN_LISTEN and entry.laddr and entry.laddr.port == port and entry.pid:
                return Identity.of(entry.pid)
    return None


def is_controller(identity: Identity | None) -> bool:
    """Whether a process looks like an ipyparallel controller."""
    process = identity.process() if identity is not None else None
    if process is None:
        return False
    with suppress(psutil.Error):
        line = " ".join(process.cmdline())
        return lives(process) and ("ipyparallel" in line or "ipcontroller" in line)
    return False


def _here(location: str | None) -> bool:
    """Whether a controller's location is this machine. A name that nobody knows is an old name of this machine."""
    if not location or location in (socket.gethostname(), "localhost"):
        return True
    found: list[bool] = []

    def look_up() -> None:
        with suppress(Exception):
            found.append(bool(is_local_ip(ip_for_host(location))))

    # A broken name service can hold a look-up for half a minute.
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(1.0)
    return found[0] if found else True


def connect(profile_dir: Path, timeout: float) -> Connection:
    """Connect to the controller of a profile, wherever it runs and whoever started it.

    Connection files that nobody answers are recognised within 3 seconds.

    :param profile_dir: the profile's folder
    :param timeout: seconds that a controller which is known to run may take to answer
    :raises ConnectError: ``gone`` is True if it is certain that there is no controller
    """
    path = profile.client_file(profile_dir)
    name = profile.name_of(profile_dir)
    info = read_connection_file(path)
    if info is None:
        raise ConnectError(f"No controller runs for the IPython profile '{name}'.", gone=True)
    interface = str(info["interface"])
    scheme, _, address = interface.partition("://")
    here = _here(info.get("location"))
    loopback = address in ("127.0.0.1", "localhost", "::1", "[::1]") or scheme == "ipc"
    anywhere = address in ("*", "0.0.0.0")
    tunnelled = bool(info.get("ssh")) and not here
    patience = timeout
    if not tunnelled:
        if loopback and not here:
            raise ConnectError(
                f"The cluster of the IPython profile '{name}' runs on {info['location']} and can be reached from there only."
                f" Start VisTrails there, let that controller listen on a network address (c.IPController.ip), or choose"
                f" another profile. If that cluster is long gone, remove {path}."
            )
        host = ("127.0.0.1" if here else ip_for_host(str(info["location"]))) if anywhere else address
        url = f"{scheme}://{host}:{info['registration']}"
        answer = listening({"hub": url}, _PROBE)["hub"]
        if answer is False:
            raise ConnectError(f"The controller that the connection file {path} names no longer runs.", gone=True)
        if answer is None:
            raise ConnectError(
                f"The controller of the IPython profile '{name}' on {info['location']} cannot be reached. Check the network"
                f" or choose another profile; if that cluster is long gone, remove {path}."
            )
        if here:
            patience = min(timeout, STALE_WITHIN)
    try:
        client = _client(info, profile_dir, patience)
    except TimeoutError:
        owner = listener(int(info["registration"])) if here and scheme == "tcp" else None
        if here and not is_controller(owner):
            raise ConnectError(f"Nobody answers at the address in the connection file {path}.", gone=True) from None
        if patience >= timeout:
            raise _silent(name, info, owner, timeout) from None
        try:
            client = _client(info, profile_dir, timeout - patience)
        except TimeoutError:
            raise _silent(name, info, owner, timeout) from None
    return Connection(profile_dir, client, info, here)


def _silent(name: str, info: dict[str, Any], owner: Identity | None, timeout: float) -> ConnectError:
    who = f"process {owner.pid}" if owner is not None else f"on {info['location']}"
    return ConnectError(
        f"The controller of the IPython profile '{name}' ({who}) runs, but has not answered for {timeout:.0f} seconds."
        f" Wait until it is less busy, or stop it, or choose another profile."
    )


def _client(info: dict[str, Any], profile_dir: Path, timeout: float) -> Any:
    # A context of its own: what is still unsent to a dead controller must hold up neither others nor the exit.
    context = zmq.Context()
    context.linger = 0
    try:
        # No password: with one the client would ask for it on the terminal.
        return ipyparallel.Client(
            dict(info), profile_dir=str(profile_dir), timeout=max(0.1, timeout), context=context, password=False
        )
    except TimeoutError:
        _destroy(context)
        raise
    except Exception as error:
        _destroy(context)
        raise ConnectError(f"The controller of the IPython profile '{profile.name_of(profile_dir)}' refused us: {error}") from error


def _destroy(context: zmq.Context[Any]) -> None:
    with suppress(zmq.ZMQError):
        context.destroy(linger=0)


class Connection:
    """A client that is connected, and its health. Made by :func:`connect`."""

    def __init__(self, profile_dir: Path, client: Any, info: dict[str, Any], here: bool) -> None:
        self.profile_dir = profile_dir
        self.client: Any = client
        self.location = str(info.get("location") or socket.gethostname())
        self.here = here
        self.encrypted = bool(info.get("curve_serverkey"))
        self.url = str(client._config["registration"])
        self._lost: str | None = None
        self._closed = False
        self._owner_pid = os.getpid()
        self._urls = self._addresses()
        self._lock = threading.Lock()
        self._watchers = 0
        self._stop = threading.Event()
        self._controller: Identity | None = None
        self._controller_known = False

    def _addresses(self) -> dict[str, str]:
        """The address that each of the client's sockets is connected to, by name of the controller's part."""
        urls = {part: str(self.client._config[key]) for key, (part, _) in _PARTS.items()}
        if not self.client._ssh:
            return urls
        # Behind a tunnel the sockets are connected to the tunnel's near end; only their own thread may ask them.
        done = threading.Event()

        def ask() -> None:
            with suppress(Exception):
                for part, attribute in _PARTS.values():
                    urls[part] = getattr(self.client, attribute).LAST_ENDPOINT.decode().rstrip("\0")
            done.set()

        self.client._io_loop.add_callback(ask)
        done.wait(1.0)
        return urls

    @property
    def controller(self) -> Identity | None:
        """The controller's main process, if it runs on this machine and under this user; found once."""
        if not self._controller_known:
            if self.here and self.url.startswith("tcp://"):
                self._controller = listener(int(self.url.rpartition(":")[2]))
            self._controller_known = True
        return self._controller

    @property
    def lost(self) -> str | None:
        """A sentence if a part of the controller is known to be gone, else None. Never blocks; see :meth:`watched`."""
        if self._lost is None and not self._closed and self.client._closed:
            self._lost = "The controller was shut down."
        return self._lost

    def check(self) -> str | None:
        """Look now, once, and return what :attr:`lost` says then. Takes milliseconds unless a machine is gone."""
        if self.lost is None:
            refused = self._refused(listening(self._urls, _PROBE))
            if refused:
                self._lost = refused
        return self._lost

    def ready(self) -> bool:
        """Whether every part of the controller has its sockets open already."""
        return all(listening(self._urls, _PROBE).values())

    @contextmanager
    def watched(self) -> Iterator[Connection]:
        """While in this context, :attr:`lost` is kept up to date by a background thread.

        A part that is gone shows within 5 seconds, a machine that is gone within 20.
        """
        with self._lock:
            self._watchers += 1
            if self._watchers == 1:
                self._stop = threading.Event()
                threading.Thread(target=self._watch, args=(self._stop,), name="parallelflow-watch", daemon=True).start()
        try:
            yield self
        finally:
            with self._lock:
                self._watchers -= 1
                if self._watchers == 0:
                    self._stop.set()

    def _watch(self, stop: threading.Event) -> None:
        refusals: dict[str, int] = {}
        silences = 0
        ping: Any = None
        unanswered = 0
        rounds = 0
        while not stop.is_set() and self.lost is None:
            answers = listening(self._urls, _PROBE)
            for part, answer in answers.items():
                refusals[part] = refusals.get(part, 0) + 1 if answer is False else 0
            silences = silences + 1 if any(answer is None for answer in answers.values()) else 0
            gone = [part for part, count in refusals.items() if count >= _REFUSED_ROUNDS]
            if gone:
                self._lost = self._refused(dict.fromkeys(gone, False))
                return
            if silences >= _SILENT_ROUNDS:
                self._lost = f"The machine {self.location}, on which the controller runs, can no longer be reached."
                return
            if ping is None:
                if rounds % _PING_EVERY == 0:
                    ping, unanswered = self._ping(), 0
            elif ping.done():
                ping = None
            else:
                unanswered += 1
                if unanswered >= _PING_ROUNDS:
                    self._lost = f"The controller's hub at {self.url} has not answered for {_PING_ROUNDS * _EVERY:.0f} seconds."
                    return
            rounds += 1
            stop.wait(_EVERY)

    def _ping(self) -> Any:
        try:
            return self.client._send(self.client._query_stream, "connection_request")
        except (OSError, zmq.ZMQError, RuntimeError):
            return None

    def _refused(self, answers: dict[str, bool | None]) -> str | None:
        gone = [part for part, answer in answers.items() if answer is False]
        if not gone:
            return None
        if len(gone) == len(self._urls):
            return f"The controller at {self.url} is gone."
        parts = gone[0] if len(gone) == 1 else ", ".join(gone[:-1]) + " and " + gone[-1]
        verb = "is" if len(gone) == 1 else "are"
        return f"The controller's {parts} {verb} gone; the cluster at {self.url} must be stopped and started again."

    def close(self) -> None:
        """Close the client; the cluster goes on."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        if self._lost is None:
            self._lost = "The connection was closed."
        if os.getpid() != self._owner_pid:
            return  # a forked child must not touch its parent's sockets
        with suppress(Exception):
            self.client.close(linger=0)
        _destroy(self.client._context)
