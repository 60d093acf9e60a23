"""Machines whose names change, that others know by another name, and that greet."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import until
from machines import Machines, kill
from setups import CONTROLLER, prefer, slurm_profile

FOLDER = "/home/me/.ipython/profile_default"


def flow(hosts: Machines, *words: str, user: str = "me") -> str:
    done = hosts.head.flow(*words, user=user)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def renamed(hosts: Machines) -> Iterator[Machines]:
    """The machines, of which head gets its name back in the end."""
    yield hosts
    hosts.head.run(["hostname", "head"])


def test_a_machine_that_gets_another_name_is_still_this_one(renamed: Machines) -> None:
    flow(renamed, "start", "-n", "1")
    renamed.head.run(["hostname", "dhcp-42"])
    status = flow(renamed, "status")
    assert "Engines:         1 on 1 host" in status
    assert "Left running by Parallel Flow" in status
    flow(renamed, "doctor")
    assert "2 running now" in flow(renamed, "start", "-n", "1")
    # The engines that were started under the two names are on one machine.
    assert "Engines:         2 on 1 host" in flow(renamed, "status")
    assert "3 processes stopped" in flow(renamed, "stop")
    assert renamed.head.processes() == []


def test_another_machine_of_the_same_name_is_another_one(renamed: Machines) -> None:
    renamed.head.run(["ipython", "profile", "create", "--parallel"], "me")
    renamed.head.write(f"{FOLDER}/ipcontroller_config.py", CONTROLLER, "me")
    flow(renamed, "start", "-n", "1")
    (mine,) = state(renamed)
    node = renamed.node1
    # By its name the engine would take the controller to be on its own machine.
    connection = json.loads(renamed.head.run(["cat", f"{FOLDER}/security/ipcontroller-engine.json"], "me"))
    connection["location"] = node.run(["getent", "hosts", "head"]).split()[0]
    node.write(".ipython/engine.json", json.dumps(connection), "me")
    node.run(["hostname", "head"])
    # Their process ids are the same, too, as they may be where machines are copies of one another.
    engine = f"exec setsid {sys.executable} -m ipyparallel.engine --file=/home/me/.ipython/engine.json"
    as_me = f"setpriv --reuid=me --regid=me --init-groups sh -c '{engine}' >/dev/null 2>&1 </dev/null &"
    node.run(["sh", "-c", f"echo {mine['pid'] - 1} >/proc/sys/kernel/ns_last_pid; HOME=/home/me {as_me}"])
    try:
        until(lambda: len(state(renamed)) == 2)
        engines = state(renamed)
        assert [(each["host"], each["here"]) for each in engines] == [("head", True), ("head", False)]
        assert "Engines:         2 on 2 hosts" in flow(renamed, "status")
    finally:
        node.run(["hostname", "node1"])
        flow(renamed, "stop")
    until(lambda: not node.processes())


def state(hosts: Machines) -> list[dict[str, Any]]:
    """The engines that head's cluster has."""
    engines: list[dict[str, Any]] = json.loads(flow(hosts, "status", "--json"))["engines"]
    return engines


def test_a_machine_that_others_call_otherwise_reaches_its_own_controller(hosts: Machines) -> None:
    hosts.head.run(["ipython", "profile", "create", "--parallel"], "me")
    wrong = CONTROLLER + 'c.IPController.location = "laptop.local"\n'
    hosts.head.write(f"{FOLDER}/ipcontroller_config.py", wrong, "me")
    assert "1 running now" in flow(hosts, "start", "-n", "1")
    assert "2 running now" in flow(hosts, "start", "-n", "1")
    kill(hosts.head.processes("ipyparallel"))
    # What is left of it keeps nobody from starting with another configuration.
    hosts.head.write(f"{FOLDER}/ipcontroller_config.py", CONTROLLER, "me")
    assert "1 running now" in flow(hosts, "start", "-n", "1")
    flow(hosts, "stop")


def test_the_number_of_a_job_is_what_the_batch_system_says_and_not_what_the_site_says(slurm: Machines) -> None:
    # At some sites a command greets: whose number is it?
    slurm.head.write(
        "/usr/local/bin/sbatch",
        '#!/bin/sh\necho "Welcome to the Field3 cluster, 7 nodes"\n/usr/bin/sbatch "$@"\necho "Read the news of 2026"\n',
        "root",
        0o755,
    )
    try:
        path = 'c.SlurmLauncher.submit_command = ["/usr/local/bin/sbatch"]\n'
        slurm_profile(slurm.head, "us", path)
        prefer(slurm.head, "us", stop_timeout=60)  # a limit only
        slurm.head.run(["/usr/bin/sbatch", "--ntasks=1", "--output=/dev/null", "--wrap=sleep 600"], "us")
        jobs = slurm.jobs()
        assert len(jobs) == 1
        assert "1 engine started" in flow(slurm, "start", "-n", "1", user="us")
        assert len(slurm.jobs()) == 2
        # Cancelling is a request, and a job that completes is listed, too; it is over when this returns.
        flow(slurm, "stop", user="us")
        assert slurm.jobs() == jobs
    finally:
        slurm.head.run(["rm", "/usr/local/bin/sbatch"])
        slurm.head.try_to(["scancel", "--user=us"], "us")
