"""A connection to a controller: an ipyparallel ``Client``, and whether every part of the controller is still there.

A controller is several processes (hub, schedulers), each with sockets of its own. That a part is gone is the kernel's word:
it refuses a connection to the part's address. That a whole machine is gone shows in silence only, so that takes longer.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ipyparallel
import psutil
import zmq

from parallelflow.texts import tr

from . import profile
from .errors import ConnectError
from .tree import Identity, lives
from .tunnel import Tunnel

log = logging.getLogger(__name__)

_LOOK_UP = 1.0  # seconds for the address of a machine
_READS = 3  # of the kernel's tables of sockets, in which some can be missing while others come and go
_PROBE = 1.0  # seconds for one round of connection attempts; ZeroMQ greets in milliseconds
_ANSWER = 1.5  # seconds for the hub on this machine to answer, before somebody looks who that is
_EVERY = 1.0  # seconds between two rounds of the watch
_REFUSED_ROUNDS = 2  # one refusal can be a scheduler that has not bound its socket yet
_SILENT_ROUNDS = 7  # rounds without an answer to connection attempts, each of _EVERY + _PROBE seconds
_PING_EVERY = 5  # rounds
_PING_ROUNDS = 15  # rounds, not seconds: a client that was itself held up must not blame the hub

_PARTS = {
    "registration": "hub",
    "task": "task scheduler",
    "mux": "direct scheduler",
    "control": "control scheduler",
    "iopub": "output relay",
    "broadcast": "broadcast scheduler",
}
_HEART = "heart monitor"


def _part_name(part: str) -> str:
    """What a part of the controller is called in a sentence, from the name that :data:`_PARTS` has for it."""
    return {
        "hub": tr("hub"),
        "task scheduler": tr("task scheduler"),
        "direct scheduler": tr("direct scheduler"),
        "control scheduler": tr("control scheduler"),
        "output relay": tr("output relay"),
        "broadcast scheduler": tr("broadcast scheduler"),
        _HEART: tr("heart monitor"),
    }.get(part, part)


def read_connection_file(path: Path) -> dict[str, Any] | None:
    """What a connection file says.

    :param path: the file
    :returns: its content, or None if there is no such file
    :raises ConnectError: if it cannot be read or is not a connection file (``gone`` is True: no controller wrote that)
    """
    for attempt in range(10):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConnectError(
                tr("The connection file {path} cannot be read: {reason}.", path=path, reason=error.strerror)
            ) from error
        except ValueError:
            if attempt == 9:
                raise ConnectError(tr("The connection file {path} is damaged.", path=path), gone=True) from None
            time.sleep(0.05)  # its controller may just be writing it
        else:
            break
    if not isinstance(content, dict) or not {"interface", "registration", "location"} <= content.keys():
        raise ConnectError(tr("The connection file {path} is not one of ipyparallel.", path=path), gone=True)
    return content


def listening(urls: dict[str, str], timeout: float) -> dict[str, bool | None]:
    """Whether a ZeroMQ socket listens at each of some addresses.

    ZeroMQ greets whoever connects, from a thread of its own and so even while its program is busy. That
    the kernel accepts a connection says less: the hub's children hold its sockets open after its death.

    :param urls: ZeroMQ addresses (tcp or ipc) by name
    :param timeout: seconds for all of them together
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
        while waiting and (left := end - time.monotonic()) > 0:
            for descriptor, _ in poller.poll(left * 1000):
                name, opened = waiting.pop(descriptor)
                poller.unregister(descriptor)
                answers[name] = _greeting(opened)
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


def _greeting(opened: socket.socket) -> bool | None:
    """The answer of an address whose socket has something to say."""
    code = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        return False if code in _REFUSED else None
    try:
        # The first byte of ZMTP's greeting, https://rfc.zeromq.org/spec/23/
        return True if opened.recv(1) == b"\xff" else None
    except OSError as error:
        return False if error.errno in _REFUSED else None


def find_controller(port: int) -> Identity | None:
    """The hub's process, if it runs on this machine and we may look at it.

    :param port: the hub's TCP port
    """
    return _hub(_holders(port, _looks_like_a_controller))


def _hub(controllers: dict[int, psutil.Process]) -> Identity | None:
    """The hub among the processes of a controller."""
    # Its children have inherited its sockets. If it is dead, they are all that is left.
    tops = [process for process in controllers.values() if _parent(process) not in controllers]
    return Identity.of(tops[0].pid) if len(tops) == 1 else None


def _holders(port: int, wanted: Callable[[psutil.Process], bool] = lambda process: True) -> dict[int, psutil.Process]:
    """The processes that hold a socket which listens on a TCP port of this machine, as far as we may look at them."""
    sockets = _listening_sockets(port)
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if wanted(process) and (
                port in listening_ports(process) if sockets is None else sockets & _sockets(process)
            ):
                found[process.pid] = process
    return found


def _listening_sockets(port: int) -> set[str] | None:
    """The sockets that listen on a TCP port, as links to them read; None where Linux's tables are not to be had.

    psutil names only one of the processes that share a socket, or reads all tables again for each process.
    """
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6") * _READS:
        if found:
            break
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            # https://docs.kernel.org/networking/proc_net_tcp.html; state 0A is LISTEN
            _, address, _, state, *_, inode = line.split()[:10]
            if state == "0A" and int(address.rpartition(":")[2], 16) == port:
                found.add(f"socket:[{inode}]")
    return found if os.path.exists("/proc/net/tcp") else None


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


def _parent(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.ppid())
    return 0


def _looks_like_a_controller(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        line = " ".join(process.cmdline())
        return ("ipyparallel" in line or "ipcontroller" in line or "ipcluster" in line) and lives(process)
    return False


def _look_up(location: str | None) -> tuple[bool, str]:
    """Whether a controller's location is this machine for certain, and the location's address, '' if it is unknown."""
    if not location or location in (socket.gethostname(), "localhost"):
        return True, "127.0.0.1"
    found: list[str] = []

    def look_up() -> None:
        with suppress(OSError):
            found.append(socket.gethostbyname(location))

    # A broken name service can hold a look-up for half a minute.
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(_LOOK_UP)
    address = found[0] if found else ""
    own = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
    return address.startswith("127.") or address in own, address


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
    look_up = functools.cache(_look_up)
    for cluster_id in cluster_ids:
        with suppress(ConnectError):
            info = read_connection_file(profile.client_file(profile_dir, cluster_id))
            if info is not None:
                urls[cluster_id] = _hub_url(info, *look_up(info.get("location")))
    answers = listening(urls, _PROBE)
    return [cluster_id for cluster_id in cluster_ids if answers.get(cluster_id)]


def _hub_url(info: dict[str, Any], here: bool, address: str) -> str:
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
    info = read_connection_file(path)
    if info is None:
        raise ConnectError(tr("No controller runs for the IPython profile '{name}'.", name=name), gone=True)
    scheme, _, interface = str(info["interface"]).partition("://")
    if scheme == "ipc":
        raise ConnectError(no_ipc(name))
    here, address = _look_up(info.get("location"))
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
    url = _hub_url(info, here, address)
    answer = listening({"hub": url}, _PROBE)["hub"]
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
        if who is None:
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


def _connect_by_ssh(profile_dir: Path, cluster_id: str, info: dict[str, Any], timeout: float) -> Connection:
    address = str(info["interface"]).partition("://")[2]
    if address in _ANYWHERE:
        address = str(info["location"])
    ports = {name: info[name] for name in (*_PARTS, "notification") if isinstance(info.get(name), int)}
    path = profile.client_file(profile_dir, cluster_id)
    tunnel = Tunnel(str(info["ssh"]), address, ports)
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
        client = _client(tunnel.near(info), profile_dir, timeout)
        if client is None:
            raise _silent(profile.name_of(profile_dir), tr("on {host}", host=info["location"]), timeout, path)
        return Connection(profile_dir, client, info, False, tunnel, cluster_id)
    except BaseException:
        tunnel.close()
        raise


_LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
_ANYWHERE = ("*", "0.0.0.0")


def _who_listens(path: Path, port: int) -> str | None:
    """Who listens on a port of this machine, in words; None if that is certainly not the controller that wrote a file."""
    holders = _holders(port)
    if not holders:
        return tr("a process that is not ours to look at")
    hub = _hub({pid: process for pid, process in holders.items() if _looks_like_a_controller(process)})
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
        # one, the client would make folders there and change their modes, though it has all that it needs.
        return ipyparallel.Client({**info, "ssh": ""}, profile_dir="", timeout=max(0.1, timeout), context=context)
    except TimeoutError:
        _destroy(context)
        return None
    except Exception as error:
        _destroy(context)
        raise ConnectError(
            tr(
                "The controller of the IPython profile '{name}' refused us: {reason}",
                name=profile.name_of(profile_dir),
                reason=error,
            )
        ) from error


def _destroy(context: zmq.Context[Any]) -> None:
    with suppress(zmq.ZMQError):
        context.destroy(linger=0)


class Connection:
    """A client that is connected, and its health. Made by :func:`connect`.

    :param profile_dir: the profile's folder
    :param client: an ``ipyparallel.Client``, connected
    :param info: the connection file's content
    :param here: whether the controller runs on this machine
    :param tunnel: the way to it, if it is reached by ssh; closed with the connection
    :param cluster_id: which of the profile's clusters it is
    """

    def __init__(
        self,
        profile_dir: Path,
        client: Any,
        info: dict[str, Any],
        here: bool,
        tunnel: Tunnel | None = None,
        cluster_id: str = "",
    ) -> None:
        self._tunnel = tunnel
        self.profile_dir = profile_dir
        self.cluster_id = cluster_id
        self.client: Any = client
        self.location = str(info.get("location") or socket.gethostname())
        self.here = here
        self.encrypted = bool(info.get("curve_serverkey"))
        self.url = str(client._config["registration"])
        secret = f"{info.get('location')} {info['registration']} {info.get('key')}"
        self.fingerprint = hashlib.sha256(secret.encode()).hexdigest()[:16]
        """Tells this controller from every other one, and does not give its key away."""
        self._lost: str | None = None
        self._closed = False
        self._owner_pid = os.getpid()
        self.each_round: Callable[[], None] = lambda: None
        """Called by the watch in each of its rounds, about once a second; must not wait for anything."""
        self._urls = self._addresses()
        self._lock = threading.Lock()
        self._watchers = 0
        self._stop = threading.Event()
        self._controller: Identity | None = None
        self._controller_known = False
        # The client's own handler closes its sockets in the middle of reading from one of them.
        client._notification_handlers["shutdown_notification"] = lambda message: self._lose(
            tr("The controller was shut down.")
        )

    def _addresses(self) -> dict[str, str]:
        """The address of each of the controller's parts, by its name."""
        config = self.client._config
        urls = {part: str(config[key]) for key, part in _PARTS.items()}
        if config.get("task_scheme") == "none":
            del urls[_PARTS["task"]]
        return {**urls, **self._heart_monitor()}

    def _heart_monitor(self) -> dict[str, str]:
        """The address of the part that engines alone are connected to; without it they give up after a while."""
        host, _, port = self.url.rpartition(":")
        if not self.here or self._tunnel is not None:
            return {}
        with suppress(ConnectError):
            info = read_connection_file(profile.engine_file(self.profile_dir, self.cluster_id)) or {}
            pong = info.get("hb_pong")
            if str(info.get("registration")) == port and isinstance(pong, int):
                interface = str(info["interface"])
                return {_HEART: f"{host if '*' in interface or '0.0.0.0' in interface else interface}:{pong}"}
        return {}

    @property
    def controller(self) -> Identity | None:
        """The hub's process, if it runs on this machine and under this user; looked for once."""
        if not self._controller_known and self.here and self.url.startswith("tcp://"):
            self._controller = find_controller(int(self.url.rpartition(":")[2]))
        self._controller_known = True
        return self._controller

    @property
    def lost(self) -> str | None:
        """A sentence if a part of the controller is known to be gone, else None. Never blocks; see :meth:`watched`."""
        if self.client._closed:
            self._lose(tr("The controller was shut down."))
        return self._lost

    def _lose(self, sentence: str | None) -> None:
        # The first reason stays: what follows are its consequences.
        if sentence is not None and self._lost is None:
            self._lost = sentence

    def check(self, timeout: float = _PROBE) -> str | None:
        """Look now, once, and return what :attr:`lost` says then. Takes milliseconds if all is well.

        :param timeout: seconds to wait for parts that do not answer; these do not count as gone
        """
        if self.lost is None:
            answers = listening(self._urls, timeout)
            self._lose(self._gone([part for part, answer in answers.items() if answer is False]))
            self._lose(self._dead())
        return self._lost

    def _gone(self, parts: list[str]) -> str | None:
        """The sentence for parts of the controller that are gone."""
        if not parts:
            return None
        if self._tunnel is not None and (said := self._tunnel.ended):
            return tr(
                "The ssh tunnel through {gateway} to the controller on {host} ended: {reason}.",
                gateway=self._tunnel.server,
                host=self.location,
                reason=said,
            )
        if len(parts) == len(self._urls):
            return tr("The controller at {url} is gone.", url=self.url)
        names = [_part_name(part) for part in parts]
        if len(names) == 1:
            return tr(
                "The controller's {part} is gone; the cluster at {url} must be stopped and started again.",
                part=names[0],
                url=self.url,
            )
        return tr(
            "The controller's {parts} and {last} are gone; the cluster at {url} must be stopped and started again.",
            parts=", ".join(names[:-1]),
            last=names[-1],
            url=self.url,
        )

    def _dead(self) -> str | None:
        """The sentence for a hub whose process is known and gone."""
        if self._controller is not None and self._controller.process() is None:
            return tr(
                "The controller's hub, process {pid}, is gone; the cluster at {url} must be stopped and started again.",
                pid=self._controller.pid,
                url=self.url,
            )
        return None

    def ready(self) -> bool:
        """Whether every part of the controller has its sockets open already."""
        return all(answer is True for answer in listening(self._urls, _PROBE).values())

    def reaches_engines(self) -> bool:
        """Whether requests to engines' nannies get through, with the rest of the controller or without."""
        part = _PARTS["control"]
        return not self.client._closed and listening({part: self._urls[part]}, _PROBE)[part] is True

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
        refusals = dict.fromkeys(self._urls, 0)
        silences = 0
        ping: Any = None
        unanswered = 0
        rounds = 0
        while not stop.is_set() and self.lost is None:
            answers = listening(self._urls, _PROBE)
            for part, answer in answers.items():
                refusals[part] = refusals[part] + 1 if answer is False else 0
            silent = ", ".join(_part_name(part) for part, answer in answers.items() if answer is None)
            silences = silences + 1 if silent else 0
            if ping is None:
                if rounds % _PING_EVERY == 0:
                    ping, unanswered = self._ping(), 0
            elif ping.done():
                ping = None
            else:
                unanswered += 1
            self._lose(self._gone([part for part, count in refusals.items() if count >= _REFUSED_ROUNDS]))
            self._lose(self._dead())
            if silences >= _SILENT_ROUNDS:
                self._lose(
                    tr("The controller on {host} no longer answers ({parts}).", host=self.location, parts=silent)
                )
            if unanswered >= _PING_ROUNDS:
                self._lose(
                    tr(
                        "The controller's hub at {url} has not answered for {seconds} seconds.",
                        url=self.url,
                        seconds=_PING_ROUNDS,
                    )
                )
            try:
                self.each_round()
            except Exception:  # nothing that is done beside it may keep the watch from going on
                log.exception("A round of the watch")
            rounds += 1
            stop.wait(_EVERY)

    def _ping(self) -> Any:
        try:
            return self.client._send(self.client._query_stream, "connection_request")
        except (OSError, zmq.ZMQError, RuntimeError):
            return None

    def close(self) -> None:
        """Close the client; the cluster goes on."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        self._lose(tr("The connection was closed."))
        if os.getpid() != self._owner_pid:
            return  # a forked child must not touch its parent's sockets
        with suppress(Exception):
            self.client.close(linger=0)
        _destroy(self.client._context)
        if self._tunnel is not None:
            self._tunnel.close()
