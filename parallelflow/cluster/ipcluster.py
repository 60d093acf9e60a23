"""ipyparallel's own record of a cluster, by which ``ipcluster list`` and ``ipcluster stop`` see ours.

It has one launcher for all engines. So of engines that different launchers have started, which there can be after the
profile's configuration was changed, it names only those of the one that started the latest.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
from ipyparallel.cluster.cluster import Cluster
from ipyparallel.cluster.launcher import (
    LocalControllerLauncher,
    LocalEngineLauncher,
    LocalEngineSetLauncher,
    abbreviate_launcher_class,
)
from traitlets import import_item
from traitlets.config import Config

from . import profile
from .record import Entry

log = logging.getLogger(__name__)
_SET = "parallelflow"


def write(folder: Path, controller: Entry, engines: Iterable[Entry]) -> None:
    """Write the cluster file of a controller that is ours.

    :param folder: the profile's folder
    :param controller: our controller
    :param engines: our engines and batch jobs, the latest last
    """
    engines = list(engines)
    launcher = engines[-1].launcher if engines else ""
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
        if not engine.launcher
    }
    if launchers:
        engine_set = LocalEngineSetLauncher(engine_set_id=_SET, n=len(launchers), **common)
        engine_set.launchers = launchers
        cluster.engines = {_SET: engine_set}
    try:
        content = cluster.to_dict()
        if launcher:
            states = [(engine.job or {})["state"] for engine in engines if engine.launcher == launcher]
            content["engines"] = {
                "class": abbreviate_launcher_class(import_item(launcher)),
                "sets": {f"{_SET}-{number}": state for number, state in enumerate(states)},
            }
        profile.write_private(profile.cluster_file(folder), json.dumps(content))
    except (OSError, ImportError, TypeError, ValueError) as error:
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


def starts_engines(folder: Path, within: float) -> bool:
    """Whether somebody's ``ipcluster start`` is just starting engines, which have not registered yet.

    :param folder: the profile's folder
    :param within: seconds that they may take; what was started longer ago is not waited for
    """
    path = profile.cluster_file(folder)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if time.time() - path.stat().st_mtime > within or not psutil.pid_exists(content["controller"]["state"]["pid"]):
            return False
        sets = (content.get("engines") or {}).get("sets") or {}
        pids = [engine.get("pid", 0) for each in sets.values() for engine in each.get("engines", {}).values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    if _SET in sets:
        return False  # ours, which are waited for where they are started
    # It writes the file when the controller runs, and again when it has started engines. A batch system's have no process here.
    return not pids or any(isinstance(pid, int) and pid > 0 and psutil.pid_exists(pid) for pid in pids)
