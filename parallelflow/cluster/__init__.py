"""The cluster: profile, connection, processes, and the record of what runs.

This room imports the standard library, ipyparallel, IPython's configuration system, ZeroMQ, psutil, filelock,
`parallelflow.threads` and `parallelflow.texts`, by which everything that it says to the user can be translated; never VisTrails,
never Qt. It asks the user nothing: what needs an answer is a :class:`Questions` that the layer above hands in.

- `session` is what everything above uses: it connects, starts, stops, lets go. `attached` is the profile and the connection that
  it has, `starting` starts a cluster for it, `shutdown` stops one, `keeping` sees to engines that have ended by themselves.
  `overview` tells its `state`; `settings` and `questions` are what it goes by, `errors` what it raises.
- `processes` starts what is ours, `stopper` stops it and notices when it ends by itself, `inventory` knows it. `started` is one
  thing of that, of two kinds with the same methods: a process of this machine, and the batch job of `jobs`. `logs` are their
  logs, `failures` says why engines did not start.
- `ipyparallel_controller` is the one that is started on this machine, with `relay` in it, which passes messages on.
- `queue_state` asks a batch system about a job.
- A batch job is what a profile's own launcher has started elsewhere, by SSH or a batch system. `launchers` is what the profile's
  configuration says about that, and what the launcher of one job does; `elsewhere` adapts ipyparallel's
  launchers: `batch` those of batch systems, `ssh` the one for SSH, by one `login` to each machine, at whose other end `there` runs;
  `commands` runs what these need. `options` are those that engines get from us.
- `record` has on file what was started, on which `machine`, under a `lock`; `leftovers` settles what is on it from before,
  whichever profile it is; `guard` ends everything with VisTrails, `tree` finds and ends processes with all their descendants,
  `ipcluster` shows ours to IPython's own commands.
- `connecting` finds a profile's controller and connects, if need be through SSH, which is `tunnel`. The `connection` says when a
  part of the controller is lost; `ports` looks who listens where, and `pools` which ports
  a new controller gets.
- `hub` asks the controller's hub, `roster` keeps what is known of each engine.
- `profile` deals with profiles' folders and the files in them, `survey` looks which ones have a cluster running.
- `cores` says how many cores this process may use.
- `internals` is all that is used of ipyparallel's private names.
- `waiting` is how anything is waited for.
"""

from .connecting import connect
from .connection import Connection
from .errors import (
    Cancelled,
    ClusterError,
    ConnectError,
    ControllerLost,
    FailedLog,
    NoEngines,
    ProfileError,
    SettingsError,
    StartError,
    StopError,
)
from .processes import ProcessManager
from .questions import BatchQuestions, Need, Orphan, OrphanAnswer, Questions
from .session import Session, configure, get_session, inside_engine
from .settings import PREFERENCES, Preference, Settings
from .state import ClusterState, ControllerState, EngineState, ProcessState

__all__ = [
    "PREFERENCES",
    "BatchQuestions",
    "Cancelled",
    "ClusterError",
    "ClusterState",
    "ConnectError",
    "Connection",
    "ControllerLost",
    "ControllerState",
    "EngineState",
    "FailedLog",
    "Need",
    "NoEngines",
    "Orphan",
    "OrphanAnswer",
    "Preference",
    "ProcessManager",
    "ProcessState",
    "ProfileError",
    "Questions",
    "Session",
    "Settings",
    "SettingsError",
    "StartError",
    "StopError",
    "configure",
    "connect",
    "get_session",
    "inside_engine",
]
