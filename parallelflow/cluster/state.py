"""What a cluster looks like at one moment, for whoever wants to show it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

VISTRAILS = "this VisTrails"
LEFT = "an earlier VisTrails"
OTHER_VISTRAILS = "another VisTrails"
OTHERS = "somebody else"


@dataclass(frozen=True)
class EngineState:
    """One engine.

    :param id: its number at the hub
    :param uuid: its identity at the hub
    :param host: the name of the machine it runs on; '' if it has not told yet
    :param pid: process id there, or None if it has not told yet
    :param ours: whether this VisTrails started it or took it over
    :param state: ``idle``, ``busy``, ``stopped`` (by SIGSTOP) or ``silent`` (it does not answer)
    :param tasks_done: tasks that it has completed, for anybody
    :param tasks_queued: tasks that it has received and not completed; one of them may be running
    :param cpu_percent: CPU time per time since the last look, of it and its descendants; 100 is one core; None if unknown
    :param memory: bytes of memory of it and its descendants, or None if unknown
    :param since: when it was started or first seen, in seconds since the epoch
    :param here: whether it runs on this machine, whatever the two are called
    """

    id: int
    uuid: str
    host: str = ""
    pid: int | None = None
    ours: bool = False
    state: str = "idle"
    tasks_done: int = 0
    tasks_queued: int = 0
    cpu_percent: float | None = None
    memory: int | None = None
    since: float | None = None
    here: bool = False


@dataclass(frozen=True)
class ControllerState:
    """The controller that we are connected to.

    :param url: the hub's address
    :param host: the name of the machine it runs on
    :param pid: process id there, or None if unknown
    :param started_by: one of the constants of this module
    :param since: when it was started, in seconds since the epoch, or None if unknown
    :param encrypted: whether its traffic is encrypted
    :param here: whether it is known to run on this machine
    """

    url: str
    host: str
    pid: int | None = None
    started_by: str = OTHERS
    since: float | None = None
    encrypted: bool = False
    here: bool = False


@dataclass(frozen=True)
class ProcessState:
    """A process that this VisTrails started or took over.

    :param kind: ``controller``, ``engine`` or ``job``
    :param pid: process id, or 0 for a job
    :param host: the machine it was started on
    :param since: when it was started, in seconds since the epoch
    :param let_go: whether it is to run on when VisTrails exits
    :param ending: '' while it runs, else how it ended, such as 'was killed by signal 9'
    :param log_path: its log
    :param stuck: why it could not be stopped, a sentence, if that was tried
    """

    kind: str
    pid: int
    host: str = ""
    since: float | None = None
    let_go: bool = False
    ending: str = ""
    log_path: Path | None = None
    stuck: str = ""


@dataclass(frozen=True)
class ClusterState:
    """A cluster at one moment.

    :param profile: the IPython profile
    :param controller: what we are connected to, or None
    :param lost: a sentence if the connection was lost
    :param engines: by number
    :param processes: everything that we started or took over and that lives
    :param died: what was ours and ended by itself since
    :param unassigned: tasks that wait at the scheduler for an engine
    """

    profile: str
    controller: ControllerState | None = None
    lost: str | None = None
    engines: tuple[EngineState, ...] = ()
    processes: tuple[ProcessState, ...] = ()
    died: tuple[ProcessState, ...] = ()
    unassigned: int = 0

    @property
    def connected(self) -> bool:
        """Whether there is a controller that answers."""
        return self.controller is not None and self.lost is None

    @property
    def hosts(self) -> frozenset[tuple[str, bool]]:
        """The machines that engines run on, as far as they are known: their names, and whether it is this one."""
        return frozenset((engine.host, engine.here) for engine in self.engines if engine.host)


@dataclass(frozen=True)
class ProfileState:
    """One profile.

    :param name: its name
    :param running: whether a controller answers; None while nobody knows, and if its machine does not tell
    :param location: the name of the machine that the controller runs on, if one does or may
    :param here: whether that is this machine
    """

    name: str
    running: bool | None = None
    location: str = ""
    here: bool = False
