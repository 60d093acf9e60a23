"""A Map on three machines by SSH, with VisTrails' own settings."""

from __future__ import annotations

import pytest
from machines import Machines
from setups import run_map, ssh_profile


@pytest.mark.parametrize(
    "user", ["me", "us"], ids=["each machine has a home of its own", "the machines share their homes"]
)
def test_a_map_runs_on_machines_that_vistrails_has_never_run_on(hosts: Machines, user: str) -> None:
    ssh_profile(hosts.head, user, {"node1": 1, "node2": 1})
    outcome = run_map(hosts.head, user, "import platform, time\ntime.sleep(0.3)\no = platform.node()", list(range(8)))
    assert outcome["errors"] == []
    assert set(outcome["results"]) == {"node1", "node2"}
    assert hosts.node1.try_to(["test", "-e", "/home/me/.vistrails"]).returncode == 1
