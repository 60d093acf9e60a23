"""Processes and their descendants: recognised for certain, found wherever they hide, ended for certain.

A process is a process id **and** a creation time, never a bare process id. Everything that we start carries a token in its
environment, which all its descendants inherit: so they are found even when their parent is dead and they belong to init.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

log = logging.getLogger(__name__)

TOKENS = "PARALLELFLOW_TOKENS"
"""The environment variable that holds the tokens: of the process itself and of everything above it, joined by '/'."""

# Creation times are computed from the boot time, which the kernel shifts when the clock is set; two readings of the
# same process can differ by that much.
_CLOCK_SHIFT = 2.0

_DEAD = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
_DEPTH = 64  # generations to look up; process ids are reused, so the table is no tree for certain

# When what happens to a process that does not end, as shares of the time limit.
_INTERRUPT_AT = 0.1
_KILL_AT = 0.3
_KILL_NANNIES_AT = 0.45

_SHORTEST = 0.1  # seconds that ending may take, whatever is left of a time limit
_DIES_WITHIN = 3.0  # seconds from SIGKILL, after a time limit, until what still lives cannot be ended


@dataclass(frozen=True)
class Identity:
    """One process, for good.

    :param pid: process id
    :param create_time: seconds since the epoch
    """

    pid: int
    create_time: float

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The identity of a process that runs, or None.

        :param pid: process id
        """
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    def process(self, token: str = "") -> psutil.Process | None:
        """The process, or None if it is gone or its process id belongs to another one now.

        :param token: if given, the process must carry it
        """
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.create_time) > _CLOCK_SHIFT or not lives(process):
                return None
            if token and token not in tokens_of(process):
                return None
        except psutil.Error:
            return None
        return process


def own_identity() -> Identity:
    """The identity of this very process."""
    return Identity(os.getpid(), psutil.Process().create_time())


def lives(process: psutil.Process) -> bool:
    """Whether a process still runs; a zombie does not.

    :param process: any process of this machine
    """
    try:
        return bool(process.is_running() and process.status() not in _DEAD)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def tokens_of(process: psutil.Process) -> list[str]:
    """The tokens that a process carries: none if it has none or is not ours to look at.

    :param process: any process of this machine
    """
    # psutil takes the whole environment apart, which is most of the time where every process of the machine is looked at.
    try:
        environ = Path(f"/proc/{process.pid}/environ").read_bytes()
    except OSError:
        return []
    _, found, rest = (b"\0" + environ).partition(f"\0{TOKENS}=".encode())
    return os.fsdecode(rest.partition(b"\0")[0]).split("/") if found else []


def environment(token: str) -> dict[str, str]:
    """Our environment with one more token, for a process to be started.

    :param token: what the process is to carry
    """
    inherited = os.environ.get(TOKENS, "")
    return {**os.environ, TOKENS: f"{inherited}/{token}" if inherited else token}


def carriers(tokens: Collection[str]) -> list[psutil.Process]:
    """Every living process that carries one of the tokens, except this one.

    :param tokens: the tokens
    """
    wanted = set(tokens)
    found = []
    for process in psutil.process_iter():
        if process.pid != os.getpid() and wanted.intersection(tokens_of(process)) and lives(process):
            found.append(process)
    return found


def descendants(pids: Collection[int]) -> dict[int, list[psutil.Process]]:
    """The living descendants of some processes, in one look at the process table however many they are.

    :param pids: the processes' ids
    :returns: by the process id of the nearest of them above
    """
    parents: dict[int, int] = {}
    processes: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["ppid", "status"]):
        if process.info["status"] not in _DEAD:
            parents[process.pid] = process.info["ppid"] or 0
            processes[process.pid] = process
    below: dict[int, list[psutil.Process]] = {}
    for pid, process in processes.items():
        above = parents[pid]
        for _ in range(_DEPTH):
            if above in pids:
                below.setdefault(above, []).append(process)
                break
            if above not in parents:
                break
            above = parents[above]
    return below


@dataclass(frozen=True)
class Root:
    """What is to be ended: a process that was started, and all that came of it.

    :param token: the token that it carries, or '' if it was started by somebody else
    :param identity: its leader, if known
    :param child: whether the leader is a child of this process, whose process id nobody else can have: it is then
        recognised without its token, which it may have overwritten or we may not be allowed to read
    """

    token: str
    identity: Identity | None
    child: bool = False

    def leader(self) -> psutil.Process | None:
        """The process that was started, if it still runs."""
        if self.identity is None:
            return None
        return self.identity.process("" if self.child else self.token)


def members(roots: Iterable[Root]) -> tuple[list[psutil.Process], set[int]]:
    """Every living process of some trees: leaders, descendants and everything that carries their tokens.

    :param roots: the trees
    :returns: the processes, and the process ids of those that are a leader or below one that lives
    """
    roots = list(roots)
    tokens = {root.token for root in roots if root.token}
    found = {process.pid: process for process in (carriers(tokens) if tokens else ())}
    leaders = {leader.pid: leader for leader in (root.leader() for root in roots) if leader is not None}
    led = set(leaders)
    found.update(leaders)
    for below in (descendants(leaders) if leaders else {}).values():
        found.update((process.pid, process) for process in below)
        led.update(process.pid for process in below)
    found.pop(os.getpid(), None)
    return list(found.values()), led


def end(
    roots: Sequence[Root], limit: float, pause: Callable[[], None] | None = None, *, hub_stays: bool = True
) -> list[psutil.Process]:
    """End process trees: politely, then for certain.

    Leaders are asked to terminate; a busy engine's running code is then interrupted; what still lives after a third of
    the time is killed. Processes that were stopped (SIGSTOP) are woken so that they can obey. An engine's nanny is left
    until last, because it tells the hub that its engine is gone, unless the hub goes too: then it would wait for it.

    :param roots: the trees
    :param limit: seconds that all of it may take; where they are over, what lives is killed at once
    :param pause: called between two looks instead of a short sleep
    :param hub_stays: whether the hub is to hear that engines are gone
    :returns: what still lives at the end of the time, normally nothing
    """
    start = time.monotonic()
    limit = max(limit, _SHORTEST)
    killed: float | None = None  # when the last one was, after the time
    seen: dict[int, psutil.Process] = {}
    nannies: dict[int, bool] = {}
    told: set[tuple[int, int]] = set()

    def tell(process: psutil.Process, *numbers: signal.Signals) -> None:
        for number in numbers:
            if (process.pid, number) not in told:
                told.add((process.pid, number))
                # psutil compares the creation time before it sends anything, so a reused process id is safe.
                with suppress(psutil.Error):
                    process.send_signal(number)

    while True:
        found, led = members(roots)
        for process in found:
            seen.setdefault(process.pid, process)
        alive = [process for process in seen.values() if lives(process)]
        elapsed = (time.monotonic() - start) / limit
        if not alive or (killed is not None and time.monotonic() > killed + _DIES_WITHIN):
            return alive
        leaders = {root.identity.pid for root in roots if root.identity is not None} & led
        for process in alive:
            nanny = hub_stays and nannies.setdefault(process.pid, is_nanny(process))
            if process.pid in leaders:
                tell(process, signal.SIGTERM, signal.SIGCONT)
                if elapsed > _INTERRUPT_AT:
                    tell(process, signal.SIGINT)
            elif not nanny and process.pid not in led:
                tell(process, signal.SIGTERM, signal.SIGCONT)
            if elapsed > (_KILL_NANNIES_AT if nanny else _KILL_AT):
                if (process.pid, signal.SIGKILL) not in told:
                    log.info("Process %d does not end by itself; killing it", process.pid)
                tell(process, signal.SIGKILL)
        if elapsed > 1 and killed is None:
            killed = time.monotonic()
        if pause is None:
            time.sleep(0.05)
        else:
            pause()


def is_nanny(process: psutil.Process) -> bool:
    """Whether a process is the nanny that ipyparallel starts beside each engine.

    :param process: any process of this machine
    """
    try:
        return "ipyparallel.engine.nanny" in process.cmdline()
    except psutil.Error:
        return False
