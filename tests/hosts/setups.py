"""What users set up on the machines: IPython profiles with engines elsewhere, preferences; and a Map that they run."""

from __future__ import annotations

import json
import sys
from typing import Any

from machines import HERE, PROJECT, Machine

CONTROLLER = """c = get_config()
c.IPController.ip = "*"
"""
SSH = """c = get_config()
c.Cluster.engine_launcher_class = "ssh"
c.SSHEngineSetLauncher.engines = {engines!r}
c.SSHEngineSetLauncher.remote_python = {python!r}
"""
SLURM = """c = get_config()
c.Cluster.engine_launcher_class = "slurm"
c.SlurmEngineSetLauncher.queue = "short"
c.SlurmEngineSetLauncher.timelimit = "0:10:00"
"""
# VisTrails' own settings enable all that is large, VTK for instance, which takes it ten seconds at each start.
_FEW_PACKAGES = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(PROJECT)!r})
from host import vistrails_window
vistrails_window.prepare(Path.home() / ".vistrails")
"""


def ssh_profile(machine: Machine, user: str, engines: dict[str, Any], more: str = "", controller: str = "") -> None:
    """Make the profile ``office``, with engines on other machines by SSH, and have VisTrails use it."""
    _profile(machine, user, SSH.format(engines=engines, python=sys.executable) + more, CONTROLLER + controller)


def slurm_profile(machine: Machine, user: str, more: str = "") -> None:
    """Make the profile ``office``, with engines as jobs of Slurm, and have VisTrails use it."""
    _profile(machine, user, SLURM + more, CONTROLLER)


def _profile(machine: Machine, user: str, cluster: str, controller: str) -> None:
    folder = f"/home/{user}/.ipython/profile_office"
    machine.run(["ipython", "profile", "create", "--parallel", "office"], user)
    machine.write(f"{folder}/ipcluster_config.py", cluster, user)
    machine.write(f"{folder}/ipcontroller_config.py", controller, user)
    machine.python(_FEW_PACKAGES, user)
    assert machine.flow("enable", "--profile=office", user=user).returncode == 0
    prefer(machine, user, start_timeout=150, stop_timeout=30)  # limits only, for a busy machine


def prefer(machine: Machine, user: str, **preferences: object) -> None:
    """Set preferences of Parallel Flow in the user's VisTrails, which `ssh_profile` has made the settings of."""
    program = f"""
        from pathlib import Path
        from xml.etree import ElementTree
        path = Path.home() / ".vistrails" / "startup.xml"
        tree = ElementTree.parse(path)
        place = tree.find("packages/package[@name='ipyparallel_flow']/configuration")
        for name, value in {preferences!r}.items():
            for old in place.findall(f"key[@name='{{name}}']"):
                place.remove(old)
            key = ElementTree.SubElement(place, "key", {{"name": name}})
            kind = type(value).__name__ if isinstance(value, int | float) else "str"
            ElementTree.SubElement(key, kind, {{"value": str(value)}})
        tree.write(path)
    """
    machine.python(program, user)


def run_map(
    machine: Machine, user: str, source: str, elements: list[Any] | str, timeout: float = 280
) -> dict[str, Any]:
    """Run a Map in a VisTrails over there; its results, errors and warnings."""
    job = json.dumps({"source": source, "elements": elements})
    said = machine.run([sys.executable, str(HERE / "run_map.py"), job], user, timeout)
    outcome: dict[str, Any] = json.loads(said.splitlines()[-1])
    return outcome
