"""What is known about each engine: where it runs, what it does, what it uses.

The hub counts tasks, in one request for all engines. An engine tells its host and process id itself, once, over its control
channel, which a busy engine answers too: no task is needed. Engines on this machine are then measured from outside; others
are asked now and then, some at a time. Nothing waits for an engine.

Machines are not told apart by their names, which may change, and which two may share: an engine runs on this one if the process
that it says it is does so here, and is connected to the engine's controller.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
import zmq

from . import internals
from .connection import Connection
from .ports import connected_ports
from .started import Started
from .state import EngineState
from .tree import Identity, descendants

log = logging.getLogger(__name__)

_ASK_AT_ONCE = 64  # requests sent per look, so that hundreds of engines do not answer at the same moment
_ASK_AGAIN = 5.0  # seconds between two questions to an engine on another machine
_SILENT = 10.0  # seconds without an answer after which an engine is called silent
_CLOCK = 2.0  # seconds by which two readings of a process's creation time can differ, as for tree.Identity
_HUB_WAIT = 0.5  # seconds that one look may wait for the hub; else the last counts stand


@dataclass
class _Known:
    uuid: str
    first_seen: float
    host: str = ""
    pid: int | None = None
    asked: float = 0.0
    answered: float = 0.0
    looked: float = 0.0  # `answered` when its process was looked for here
    question: Any = None
    process: psutil.Process | None = None
    identity: Identity | None = None
    cpu_time: float = 0.0
    measured: float = 0.0
    cpu_percent: float | None = None
    memory: int | None = None
    stopped: bool = False


def _looks_like_an_engine(process: psutil.Process) -> bool:
    line = " ".join(process.cmdline())
    return "ipyparallel" in line or "ipengine" in line or "ipcluster" in line


class Roster:
    """The engines of one connection.

    :param connection: the connection
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, _Known] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._unassigned = 0
        self._question: Any = None
        # Reentrant, because a signal's handler that closes up wants to know what the code below it just looks at.
        self._lock = threading.RLock()

    def look(self, ours: dict[str, Started]) -> tuple[tuple[EngineState, ...], int]:
        """What is known now. Takes milliseconds, or half a second if the hub is busy.

        :param ours: our engines by uuid
        :returns: the engines by number, and how many tasks wait for one
        """
        with self._lock:
            engines = self._enter(ours)
            self._count()
            self._ask()
            self._find_local()
            self._measure()
            return tuple(
                self._state(number, uuid, uuid in ours) for number, uuid in sorted(engines.items())
            ), self._unassigned

    def locate(self) -> None:
        """Find out where engines run, as :meth:`look` does, without counting and measuring. Never waits."""
        with self._lock:
            self._enter({})
            self._ask()
            self._find_local()

    def local(self, uuid: str) -> Identity | None:
        """The process of an engine on this machine, as far as it is known.

        :param uuid: the engine's identity at the hub
        """
        known = self._known.get(uuid)
        return known.identity if known is not None else None

    def _enter(self, ours: dict[str, Started]) -> dict[int, str]:
        engines: dict[int, str] = internals.engines(self._connection.client)
        for uuid in set(self._known) - set(engines.values()):
            del self._known[uuid]
        for uuid in engines.values():
            known = self._known.setdefault(uuid, _Known(uuid, time.time()))
            mine = ours[uuid].entry if uuid in ours else None
            if known.process is None and mine is not None and mine.identity is not None:
                known.pid, known.first_seen = mine.pid, mine.started
                known.process = mine.identity.process()
                known.identity = mine.identity if known.process is not None else None
        return engines

    def _find_local(self) -> None:
        claims: dict[int, list[_Known]] = {}
        for known in self._known.values():
            if known.pid is not None:
                claims.setdefault(known.pid, []).append(known)
        for pid, claimants in claims.items():
            if any(known.process is not None for known in claimants):
                continue  # those that are left run on other machines, or in containers
            if len(claimants) == 1 and claimants[0].answered > claimants[0].looked:
                self._find(claimants[0], pid)

    def _find(self, known: _Known, pid: int) -> None:
        """Find the process of an engine, if it runs on this machine."""
        known.looked = known.answered
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            # A process of this machine that has the process id of an engine elsewhere is not that engine.
            if (
                process.create_time() <= known.answered + _CLOCK
                and _looks_like_an_engine(process)
                and self._connection.registration in connected_ports(process)
            ):
                known.process = process
                known.identity = Identity(pid, process.create_time())
                known.first_seen = min(known.first_seen, known.identity.create_time)

    def _send(self, stream: str, kind: str, content: dict[str, Any], uuid: str | None = None) -> Any:
        try:
            return internals.send(self._connection.client, stream, kind, content, uuid)
        except (OSError, zmq.ZMQError, RuntimeError):
            return None

    def _count(self) -> None:
        if self._question is None:
            self._question = self._send(internals.HUB, "queue_request", {"targets": None, "verbose": False})
        if self._question is None:
            return
        # A closed client's future would never be done; the wait has a limit of its own.
        self._question.wait(_HUB_WAIT)
        if not self._question.done():
            return
        question, self._question = self._question, None
        with suppress(Exception):
            content = question.result()["content"]
            if content.pop("status") == "ok":
                self._unassigned = int(content.pop("unassigned", 0))
                self._counts = content

    def _ask(self) -> None:
        now = time.time()
        sent = 0
        for known in self._known.values():
            if known.question is not None:
                if not known.question.done():
                    continue
                self._hear(known, now)
            due = known.pid is None or (known.process is None and now - known.asked > _ASK_AGAIN)
            if sent < _ASK_AT_ONCE and due:
                known.question = self._send(internals.NANNY, "usage_request", {}, known.uuid)
                known.asked = now
                sent += 1

    def _hear(self, known: _Known, now: float) -> None:
        question, known.question = known.question, None
        with suppress(Exception):
            content = question.result()["content"]
            known.host, known.pid = str(content["hostname"]), int(content["pid"])
            known.answered = now
            if known.process is None:
                known.cpu_percent = content.get("kernel_cpu")
                known.memory = content.get("kernel_memory")

    def _measure(self) -> None:
        local = {known.identity.pid: known for known in self._known.values() if known.identity is not None}
        if not local:
            return
        below = descendants(local)
        for pid, known in local.items():
            assert known.process is not None
            try:
                cpu, memory = 0.0, 0
                with known.process.oneshot():
                    times = known.process.cpu_times()
                    cpu, memory = times.user + times.system, known.process.memory_info().rss
                    known.stopped = known.process.status() == psutil.STATUS_STOPPED
                for process in below.get(pid, ()):
                    with suppress(psutil.Error):
                        times = process.cpu_times()
                        cpu += times.user + times.system
                        memory += process.memory_info().rss
            except psutil.Error:
                continue
            now = time.monotonic()
            if known.measured and now > known.measured:
                known.cpu_percent = max(0.0, 100.0 * (cpu - known.cpu_time) / (now - known.measured))
            known.measured, known.cpu_time, known.memory = now, cpu, int(memory)

    def _state(self, number: int, uuid: str, ours: bool) -> EngineState:
        known = self._known[uuid]
        counts = self._counts.get(str(number), {})
        queued = counts.get("queue", 0) + counts.get("tasks", 0)
        state = "busy" if queued else "idle"
        if known.stopped:
            state = "stopped"
        elif known.question is not None and time.time() - known.asked > _SILENT:
            state = "silent"
        here = known.process is not None
        return EngineState(
            id=number,
            uuid=uuid,
            host=socket.gethostname() if here else known.host,
            here=here,
            pid=known.pid,
            ours=ours,
            state=state,
            tasks_done=counts.get("completed", 0),
            tasks_queued=queued,
            cpu_percent=known.cpu_percent,
            memory=known.memory,
            since=known.first_seen,
        )
