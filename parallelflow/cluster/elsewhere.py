"""ipyparallel's launchers for other machines, with what an application without a terminal needs. :func:`adapted` is the way in.

What a command says when it fails is part of the error, nothing asks for a password, nothing that blocks runs in the event loop, and
processes on another machine are ended by the token that they carry, so that none is left there.
"""

from __future__ import annotations

from typing import Any

from ipyparallel.cluster.launcher import BatchSystemLauncher, SSHEngineSetLauncher

from .batch import Batch
from .ssh import SSHEngine, SSHEngineSet


def adapted(kind: Any, token: str) -> Any:
    """A launcher's class, made fit. It has the same name, so the same configuration applies to it.

    :param kind: one of ipyparallel's, or what a profile derives from one
    :param token: what the job's processes carry
    """
    if issubclass(kind, SSHEngineSetLauncher):
        one = kind.launcher_class
        own = {"token": token, "launcher_class": type(one.__name__, (SSHEngine, one), {})}
        return type(kind.__name__, (SSHEngineSet, kind), own)
    if issubclass(kind, BatchSystemLauncher):
        return type(kind.__name__, (Batch, kind), {"token": token})
    return kind
