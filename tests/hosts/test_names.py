"""Machines whose names change, that others know by another name, and that greet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from machines import Machines
from setups import CONTROLLER, slurm_profile

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
    assert "3 processes stopped" in flow(renamed, "stop")
    assert renamed.head.processes() == []


def test_a_machine_that_others_call_otherwise_reaches_its_own_controller(hosts: Machines) -> None:
    hosts.head.run(["ipython", "profile", "create", "--parallel"], "me")
    wrong = CONTROLLER + 'c.IPController.location = "laptop.local"\n'
    hosts.head.write(f"{FOLDER}/ipcontroller_config.py", wrong, "me")
    assert "1 running now" in flow(hosts, "start", "-n", "1")
    assert "2 running now" in flow(hosts, "start", "-n", "1")
    for process in hosts.head.processes("ipyparallel"):
        process.kill()
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
        slurm.head.run(["/usr/bin/sbatch", "--ntasks=1", "--output=/dev/null", "--wrap=sleep 600"], "us")
        jobs = slurm.jobs()
        assert len(jobs) == 1
        assert "1 engine started" in flow(slurm, "start", "-n", "1", user="us")
        assert len(slurm.jobs()) == 2
        flow(slurm, "stop", user="us")
        assert slurm.jobs() == jobs
        slurm.head.run(["scancel", *jobs], "us")
    finally:
        slurm.head.run(["rm", "/usr/local/bin/sbatch"])
