"""A started thing: what we have started and have on record. A process of this machine is one kind of it, a batch job the other.

Both kinds have the same methods, so nobody else has to know which one he deals with; the batch job is in `jobs`. Also collects our
children when they have ended.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from parallelflow import threads
from parallelflow.texts import tr

from . import profile
from .errors import StartError
from .launchers import Command, Known
from .options import before
from .record import CONTROLLER, Entry, in_environment
from .tree import Identity, Root, end, environment

_REAP_EVERY = 0.5  # seconds
_MOST_PIDS = 10  # that a sentence names
_TAIL_BYTES = 8192

# These would make a process join another cluster than the profile's.
_FOREIGN = ("IPP_CONNECTION_INFO", "IPP_CLUSTER_ID", "IPP_PROFILE_DIR")


class Started(ABC):
    """A process or a batch job that we started, or found on record and took back.

    :param entry: what is on record about it
    :param registered: whether it became ready
    :param only_shown: whether somebody else is to deal with it
    """

    entry: Entry
    registered: bool
    only_shown: bool

    through_hub = False
    """Whether its engines are told by the hub to end, before whoever started them is asked to end what is left."""

    def __init__(self, entry: Entry, *, registered: bool = False, only_shown: bool = False) -> None:
        self.entry = entry
        self.registered = registered
        self.only_shown = only_shown
        self.exit_status: int | None = None
        """As ``subprocess`` has it, once it is known."""

    @classmethod
    @abstractmethod
    def take_back(cls, entry: Entry, profile_dir: Path) -> Started | None:
        """What is on record, as ours.

        :param entry: what is on record about it
        :param profile_dir: the profile's folder
        :returns: None if it is over, which can be known of a batch job only
        :raises ClusterError: if nobody can say whether it runs: the profile's configuration has an error in it, for instance
        """

    def let_go(self) -> None:
        """Give up ownership: it runs on when this VisTrails ends."""
        self.entry = replace(self.entry, let_go=True)

    @property
    def is_controller(self) -> bool:
        """Whether it is the controller; else it is engines."""
        return self.entry.kind == CONTROLLER

    @property
    def n(self) -> int:
        """How many engines it is to be; a controller counts as one."""
        return 1

    @property
    def lacking(self) -> Sequence[str]:
        """Sentences on machines on which no engine was started, though on others some were."""
        return ()

    # Alive

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it runs at this moment, as far as can be known."""

    @property
    @abstractmethod
    def uuids(self) -> set[str]:
        """The hub's names for the engines that it is."""

    @abstractmethod
    def find(self, known: Collection[str], ours: Iterable[Started]) -> None:
        """Note which of its engines have registered, and whether all have.

        :param known: the uuids that the hub knows
        :param ours: everything that is ours
        """

    @property
    def queued(self) -> bool:
        """Whether it is in a batch system's queue, where it may have to wait."""
        return False

    def look(self) -> str:
        """Ask whoever queued it why it is not ready, and note if it is over.

        :returns: what he says, in his own words; '' if there is nobody or he says nothing
        """
        return ""

    def is_over(self, limit: float) -> bool:
        """Whether it does not run any more; whoever runs it elsewhere is asked.

        :param limit: seconds that he may take
        """
        return not self.alive

    def is_left(self, known: Collection[str], hub: str) -> bool:
        """Whether it shows by the hub that it has ended by itself: all of its engines had registered, and none is known any more.

        :param known: the uuids that the hub knows
        :param hub: tells that hub's controller from others
        """
        return False

    def was_taken(self) -> bool:
        """Whether a batch system ended it, of which an engine has just gone; waits for seconds at most until that is known."""
        return False

    # Stop

    @property
    def root(self) -> Root:
        """What of this machine is to be ended with it."""
        return self.entry.root

    def stop(self, limit: float, known: Known | None = None) -> Future[None] | None:
        """Begin to have whoever started it end it. Never waits.

        :param limit: seconds that stopping may take in all
        :param known: tells what the hub knows, if there is one
        :returns: what is done, or has failed, when he has; None if it ends with its processes on this machine
        """
        return None

    @abstractmethod
    def give_up(self, limit: float) -> None:
        """End what may be left of it, see :meth:`is_left`.

        :param limit: seconds that stopping may take in all
        :raises StopError: if that cannot be ended
        """

    def note_death(self) -> bool:
        """Note that it has ended without being told to.

        :returns: whether what is left of it must be ended at once, and not when somebody next starts or stops something
        """
        return False

    def collect(self, timeout: float) -> bool:
        """Note how it ended, if this process is to hear of it.

        :param timeout: seconds that it may still take
        :returns: False if it has not ended by then
        """
        return True

    # Describe

    @abstractmethod
    def describe(self) -> str:
        """What it is, as the begin of a sentence."""

    @property
    def number(self) -> int:
        """The signal or the exit status with which it ended, 0 if neither is known."""
        return abs(self.exit_status or 0)

    def by_status(self, ended: str, killed: str, exited: str) -> str:
        """Choose what to say about its end.

        :param ended: if nothing more is known
        :param killed: if a signal ended it
        :param exited: if it ended by itself
        """
        if self.exit_status is None:
            return ended
        return killed if self.exit_status < 0 else exited

    @property
    def ending(self) -> str:
        """How it ended, as the end of a sentence."""
        return self.by_status(
            tr("ended"),
            tr("was killed by signal {number}", number=self.number),
            tr("ended with exit status {number}", number=self.number),
        )

    @abstractmethod
    def fails_like(self, ended: bool) -> str:
        """What is the same of all that one sentence can be said about, see :meth:`not_ready`.

        :param ended: whether it ended
        """

    @abstractmethod
    def not_ready(self, group: Sequence[Started], timeout: float, ended: bool) -> str:
        """A sentence on things that did not become ready, which all failed in the same way.

        :param group: this one and those like it
        :param timeout: seconds that they had
        :param ended: whether they ended by themselves
        """

    @property
    def log_path(self) -> Path | None:
        """Its log, if it has one."""
        return Path(self.entry.log_path) if self.entry.log_path else None

    @abstractmethod
    def output(self) -> str:
        """The end of what it has printed, as far as it is at hand."""

    def on_record(self) -> Entry:
        """What is to be on record about it by now."""
        return self.entry


def _has_folder() -> bool:
    """Whether the working folder is still there; where it has been removed, ipyparallel's programs do not start."""
    try:
        return bool(os.getcwd())
    except OSError:
        return False


class StartedProcess(Started):
    """A controller or an engine, a process of this machine."""

    popen: subprocess.Popen[bytes] | None = None
    """Our handle on it, if this process is its parent."""

    @classmethod
    def take_back(cls, entry: Entry, profile_dir: Path) -> StartedProcess:
        """What is on record, as ours."""
        return cls(entry, registered=True)

    def start(self, how: Command, options: Sequence[str], profile_dir: Path, umask: int = -1) -> None:
        """Start it, in a session of its own, with a private log.

        :param how: with which command
        :param options: further options, before the command's own arguments
        :param profile_dir: the profile's folder
        :param umask: which permissions it takes from its files; default: ours
        :raises StartError: if it cannot be started
        """
        entry = self.entry
        env = {**environment(entry.token), **in_environment(entry, profile_dir)}
        for name in _FOREIGN:
            env.pop(name, None)
        env.update(how.environment)
        try:
            output = os.open(entry.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, profile.PRIVATE_FILE)
        except OSError as error:
            raise StartError(
                tr("No log can be written to {path}: {reason}.", path=entry.log_path, reason=error.strerror)
            ) from error
        command = [*how.command, *before(how.arguments, options)]
        try:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
                umask=umask,
                cwd=None if _has_folder() else profile_dir,
            )
        except OSError as error:
            raise StartError(
                tr("{program} cannot be started: {reason}.", program=command[0], reason=error.strerror or error)
            ) from error
        finally:
            os.close(output)
        reaper.add(self.popen)
        pid = self.popen.pid
        identity = Identity.of(pid) or Identity(pid, time.time())
        self.entry = replace(entry, pid=pid, create_time=identity.create_time)

    @property
    def alive(self) -> bool:
        """Whether its leader runs at this moment, as far as can be known."""
        if self.popen is not None:
            status = self.popen.poll()
            if status is not None:
                self.exit_status = status
            return status is None
        identity = self.entry.identity
        if identity is None:
            return True  # it is just being started
        return identity.process(self.entry.token) is not None

    @property
    def uuids(self) -> set[str]:
        """The hub's name for the engine that it is; none if it is a controller."""
        return {self.entry.uuid} if self.entry.uuid else set()

    def find(self, known: Collection[str], ours: Iterable[Started]) -> None:
        """Note whether it has registered; once it has, it stays registered."""
        self.registered = self.registered or self.entry.uuid in known

    @property
    def root(self) -> Root:
        """What is to be ended with it."""
        return Root(self.entry.token, self.entry.identity, self.popen is not None and self.popen.poll() is None)

    def give_up(self, limit: float) -> None:
        """End it with all that it started; processes are looked at themselves, and never given up by the hub's word."""
        end([self.root], limit)

    def collect(self, timeout: float) -> bool:
        """Note its exit status, if it is our child."""
        if self.popen is not None:
            try:
                self.exit_status = self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                return False
        return True

    def describe(self) -> str:
        """What it is, with its process id."""
        return f"The {self.entry.kind} with process id {self.entry.pid}"

    def fails_like(self, ended: bool) -> str:
        """How it ended, if it did."""
        return self.ending if ended else ""

    def not_ready(self, group: Sequence[Started], timeout: float, ended: bool) -> str:
        """A sentence with the process ids."""
        seconds = round(timeout)
        pids = ", ".join([str(each.entry.pid) for each in group[:_MOST_PIDS]] + ["..."] * (len(group) > _MOST_PIDS))
        if not ended and len(group) == 1:
            return tr("Process {pid} had not registered after {seconds} seconds.", pid=pids, seconds=seconds)
        if not ended:
            return tr("Processes {pids} had not registered after {seconds} seconds.", pids=pids, seconds=seconds)
        if len(group) == 1:
            return self.by_status(
                tr("Process {pid} ended.", pid=pids),
                tr("Process {pid} was killed by signal {number}.", pid=pids, number=self.number),
                tr("Process {pid} ended with exit status {number}.", pid=pids, number=self.number),
            )
        return self.by_status(
            tr("Processes {pids} ended.", pids=pids),
            tr("Processes {pids} were killed by signal {number}.", pids=pids, number=self.number),
            tr("Processes {pids} ended with exit status {number}.", pids=pids, number=self.number),
        )

    def output(self) -> str:
        """The end of its log."""
        if self.log_path is not None:
            with suppress(OSError), open(self.log_path, "rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - _TAIL_BYTES))
                return file.read().decode("utf-8", "replace")
        return ""


class Reaper:
    """Collects children that have ended, in a thread that lives while there are any.

    To others, such as ``ipcluster stop``, a child that nobody has collected looks as if it still ran.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: list[subprocess.Popen[bytes]] = []
        self._pid = 0

    def add(self, child: subprocess.Popen[bytes]) -> None:
        """Collect a child when it ends."""
        with self._lock:
            if self._pid != os.getpid():
                self._children, self._pid = [], os.getpid()
            self._children.append(child)
            if len(self._children) == 1:
                threads.start(self._run, "parallelflow-reaper")

    def _run(self) -> None:
        while True:
            time.sleep(_REAP_EVERY)
            with self._lock:
                self._children = [child for child in self._children if child.poll() is None]
                if not self._children:
                    return


reaper = Reaper()
os.register_at_fork(after_in_child=reaper.__init__)  # type: ignore[misc]
