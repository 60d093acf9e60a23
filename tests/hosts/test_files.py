"""Machines that do not see the same files: what a Map says before any element runs, and where it runs all the same."""

from __future__ import annotations

import json
import sys

from machines import HERE, Machines
from setups import run_map, ssh_profile


def test_a_map_says_which_machine_does_not_see_which_file_before_any_element_runs(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node1": 1, "node2": 1})
    for machine in (hosts.head, hosts.node1):
        machine.write("/tmp/measured.csv", "1\n", "me")
    source = "import pathlib; pathlib.Path('/tmp/ran').touch(); o = str(i)"
    files = "import pathlib; o = [pathlib.Path('/tmp/measured.csv')] * 4"
    outcome = run_map(hosts.head, "me", source, files)
    (error,) = outcome["errors"]
    assert error == (
        "node2 does not see '/tmp/measured.csv', which VisTrails' machine has: keep them in a folder that both share. No"
        " element was run."
    )
    for machine in hosts.all:
        assert machine.try_to(["test", "-e", "/tmp/ran"]).returncode == 1
    # A text may mean something else.
    outcome = run_map(hosts.head, "me", "o = i", ["/tmp/measured.csv"] * 4)
    assert outcome["results"] == ["/tmp/measured.csv"] * 4
    assert any("node2 does not see '/tmp/measured.csv'" in warning for warning in outcome["warnings"])


def test_a_working_folder_that_may_not_be_entered_over_there_does_no_harm(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node1": 1, "node2": 1})
    hosts.head.run(["mkdir", "/tmp/work"], "me")
    hosts.node1.run(["mkdir", "-m", "700", "/tmp/work"])
    try:
        job = json.dumps({"source": "import os, time; time.sleep(0.3); o = os.getcwd()", "elements": list(range(8))})
        command = ["sh", "-c", 'cd /tmp/work; exec "$@"', "sh", sys.executable, str(HERE / "run_map.py"), job]
        outcome = json.loads(hosts.head.run(command, "me").splitlines()[-1])
    finally:
        hosts.node1.run(["rmdir", "/tmp/work"])
    assert outcome["errors"] == []
    assert len(outcome["results"]) == 8
    assert "/tmp/work" not in outcome["results"]
