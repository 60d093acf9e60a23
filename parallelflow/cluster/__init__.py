"""The cluster: profile, connection, processes, and the record of what runs.

This room imports the standard library, ipyparallel, IPython's configuration system, ZeroMQ, psutil and `parallelflow.texts`, by
which everything that it says to the user can be translated; never VisTrails, never Qt. It asks the user nothing: what needs
an answer is a :class:`Questions` that the layer above hands in.
"""

from .connection import Connection, connect
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
