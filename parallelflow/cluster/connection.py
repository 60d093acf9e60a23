"""A connection to a controller: an ipyparallel ``Client``, and whether every part of the controller is still there.

A controller is several processes (hub, schedulers), each with sockets of its own. That a part is gone is the kernel's word:
it refuses a connection to the part's address. That a whole machine is gone shows in silence only, so that takes longer.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import zmq

from parallelflow import threads
from parallelflow.texts import tr

from . import internals, profile
from .errors import ConnectError
from .ports import PROBE, find_controller, held_by_others, listening
from .tree import Identity
from .tunnel import Tunnel

log = logging.getLogger(__name__)

_EVERY = 1.0  # seconds between two rounds of the watch
_REFUSED_ROUNDS = 2  # one refusal can be a scheduler that has not bound its socket yet
_SILENT_ROUNDS = 7  # rounds without an answer to connection attempts, each of _EVERY + PROBE seconds
_PING_EVERY = 5  # rounds
_PING_ROUNDS = 15  # rounds, not seconds: a client that was itself held up must not blame the hub

PARTS = {
    "registration": "hub",
    "task": "task scheduler",
    "mux": "direct scheduler",
    "control": "control scheduler",
    "iopub": "output relay",
    "broadcast": "broadcast scheduler",
}
"""The parts of a controller that clients use, by the names that connection files have for their ports."""

_HEART = "heart monitor"


def _part_name(part: str) -> str:
    """What a part of the controller is called in a sentence, from the name that :data:`PARTS` has for it."""
    return {
        "hub": tr("hub"),
        "task scheduler": tr("task scheduler"),
        "direct scheduler": tr("direct scheduler"),
        "control scheduler": tr("control scheduler"),
        "output relay": tr("output relay"),
        "broadcast scheduler": tr("broadcast scheduler"),
        _HEART: tr("heart monitor"),
    }.get(part, part)


class Connection:
    """A client that is connected, and its health. Made by :func:`.connecting.connect`.

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
        self.url = str(internals.addresses(client)["registration"])
        self.registration = int(info["registration"]) if str(info.get("registration", "")).isdigit() else 0
        """The hub's TCP port on the controller's machine, to which its engines are connected."""
        self.fingerprint = profile.fingerprint(info)
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
        internals.on_shutdown(client, lambda message: self._lose(tr("The controller was shut down.")))

    def _addresses(self) -> dict[str, str]:
        """The address of each of the controller's parts, by its name."""
        config = internals.addresses(self.client)
        urls = {part: str(config[key]) for key, part in PARTS.items()}
        if config.get("task_scheme") == "none":
            del urls[PARTS["task"]]
        return {**urls, **self._heart_monitor()}

    def _heart_monitor(self) -> dict[str, str]:
        """The address of the part that engines alone are connected to; without it they give up after a while."""
        host, _, port = self.url.rpartition(":")
        if not self.here or self._tunnel is not None:
            return {}
        with suppress(ConnectError):
            info = profile.read_connection_file(profile.engine_file(self.profile_dir, self.cluster_id)) or {}
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
        if internals.is_closed(self.client):
            self._lose(tr("The controller was shut down."))
        return self._lost

    def _lose(self, sentence: str | None) -> None:
        # The first reason stays: what follows are its consequences.
        if sentence is not None and self._lost is None:
            self._lost = sentence

    def check(self, timeout: float = PROBE) -> str | None:
        """Look now, once, and return what :attr:`lost` says then. Takes milliseconds if all is well.

        :param timeout: seconds to wait for parts that do not answer; these do not count as gone
        """
        if self.lost is None:
            answers = self._listening(timeout)
            self._lose(self._gone([part for part, answer in answers.items() if answer is False]))
            self._lose(self._dead())
        return self._lost

    def _listening(self, timeout: float, parts: Collection[str] | None = None) -> dict[str, bool | None]:
        urls = {part: url for part, url in self._urls.items() if parts is None or part in parts}
        return listening(urls, timeout, tunnelled=self._tunnel is not None)

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
        if len(parts) == len(self._urls) and self._tunnel is not None:
            return tr("The controller on {host} is gone.", host=self.location)
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

    def displaced(self, processes: Sequence[psutil.Process]) -> str | None:
        """A sentence if other processes listen where a part of the controller should.

        The controller chooses free ports and binds them later. A part whose port another controller has taken meanwhile ends,
        and the other one's greets in its place for as long as it lives.

        :param processes: those of the controller
        """
        if not self.here or self._tunnel is not None:
            return None
        ports = {int(url.rpartition(":")[2]): part for part, url in self._urls.items() if url.startswith("tcp://")}
        others = held_by_others(ports.keys(), processes)
        if not others:
            return None
        return tr(
            "Another program listens at port {port}, which the controller's {part} wanted; the cluster at {url} must be"
            " stopped and started again.",
            port=min(others),
            part=_part_name(ports[min(others)]),
            url=self.url,
        )

    def has_lost_a_process(self) -> bool:
        """Whether one of the controller's own processes has ended; False if they cannot be looked at.

        Each part is a child of the hub, which collects those that end only while it starts others.
        """
        with suppress(psutil.Error):
            if self.controller is not None:
                children = psutil.Process(self.controller.pid).children()
                return any(child.status() == psutil.STATUS_ZOMBIE for child in children)
        return False

    def ready(self) -> bool:
        """Whether every part of the controller has its sockets open already."""
        return all(answer is True for answer in self._listening(PROBE).values())

    def reaches_engines(self) -> bool:
        """Whether requests to engines' nannies get through, with the rest of the controller or without."""
        part = PARTS["control"]
        return not internals.is_closed(self.client) and self._listening(PROBE, [part])[part] is True

    @contextmanager
    def watched(self) -> Iterator[Connection]:
        """While in this context, :attr:`lost` is kept up to date by a background thread.

        A part that is gone shows within 5 seconds, a machine that is gone within 20.
        """
        with self._lock:
            self._watchers += 1
            if self._watchers == 1:
                self._stop = threading.Event()
                threads.start(partial(self._watch, self._stop), "parallelflow-watch")
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
            answers = self._listening(PROBE)
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
            return internals.send(self.client, internals.HUB, "connection_request", {})
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
        destroy(internals.context(self.client))
        if self._tunnel is not None:
            self._tunnel.close()


def destroy(context: zmq.Context[Any]) -> None:
    """End a client's context; what is still unsent in it is not waited for.

    :param context: the context
    """
    with suppress(zmq.ZMQError):
        context.destroy(linger=0)
