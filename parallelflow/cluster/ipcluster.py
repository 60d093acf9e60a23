"""ipyparallel's own record of a cluster, by which ``ipcluster list`` and ``ipcluster stop`` see ours."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from ipyparallel.cluster.cluster import Cluster
from ipyparallel.cluster.launcher import (
    LocalControllerLauncher,
    LocalEngineLauncher,
    LocalEngineSetLauncher,
)
from traitlets.config import Config

from . import profile
from .record import Entry

log = logging.getLogger(__name__)
_SET = "parallelflow"


def write(folder: Path, controller: Entry, engines: Iterable[Entry]) -> None:
    """Write the cluster file of a controller that is ours.

    :param folder: the profile's folder
    :param controller: our controller
    :param engines: our engines
    """
    common = {"profile_dir": str(folder), "cluster_id": "", "state": "running", "log": log}
    # The objects only serve to write what the installed ipyparallel reads; they start nothing.
    cluster = Cluster(
        profile_dir=str(folder),
        cluster_id="",
        cluster_file="",
        shutdown_atexit=False,
        load_profile=False,
        config=Config(),
        log=log,
    )
    cluster.controller = LocalControllerLauncher(pid=controller.pid, output_file=controller.log_path, **common)
    launchers = {
        str(number): LocalEngineLauncher(pid=engine.pid, output_file=engine.log_path, **common)
        for number, engine in enumerate(engines)
    }
    if launchers:
        engine_set = LocalEngineSetLauncher(engine_set_id=_SET, n=len(launchers), **common)
        engine_set.launchers = launchers
        cluster.engines = {_SET: engine_set}
    try:
        profile.write_private(profile.cluster_file(folder), json.dumps(cluster.to_dict()))
    except (OSError, TypeError, ValueError) as error:
        log.warning("ipcluster will not see the cluster: %s", error)


def remove(folder: Path, controller: Entry) -> None:
    """Remove the cluster file if it is that of a controller of ours which is gone.

    :param folder: the profile's folder
    :param controller: the controller that is gone
    """
    path = profile.cluster_file(folder)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["controller"]["state"]["pid"] == controller.pid:
            path.unlink()
    except (OSError, ValueError, KeyError, TypeError):
        pass
