"""A Map on three machines by SSH."""

from __future__ import annotations

import textwrap

import pytest
from machines import Machines, kill
from setups import run_map, ssh_profile

# An element on one node waits for one on the other: a busy machine has one engine run all. They share no files.
_MEET = """
import platform, socket, sys, time
node = platform.node()
if not hasattr(sys, "door"):
    sys.door = socket.create_server(("", 5577))
end = time.monotonic() + 200
while time.monotonic() < end:
    try:
        socket.create_connection(({"node1": "node2", "node2": "node1"}[node], 5577), 5).close()
        break
    except OSError:
        time.sleep(0.1)
"""


@pytest.mark.parametrize(
    "user", ["me", "us"], ids=["each machine has a home of its own", "the machines share their homes"]
)
def test_a_map_runs_on_machines_that_vistrails_has_never_run_on(hosts: Machines, user: str) -> None:
    assert hosts.head.flow("enable", user=user).returncode == 0  # VisTrails' own settings, with all its packages
    ssh_profile(hosts.head, user, {"node1": 1, "node2": 1})
    outcome = run_map(hosts.head, user, _MEET + "o = node", list(range(8)))
    assert outcome["errors"] == []
    assert set(outcome["results"]) == {"node1", "node2"}
    assert hosts.node1.try_to(["test", "-e", "/home/me/.vistrails"]).returncode == 1


def test_a_map_runs_under_another_user_name_over_there(hosts: Machines) -> None:
    # As `us`, who may not enter the home of `me`.
    key = hosts.head.run(["cat", ".ssh/id_ed25519.pub"], "me")
    before = hosts.node1.run(["cat", ".ssh/authorized_keys"], "us")
    hosts.node1.write(".ssh/authorized_keys", before + key, "us", 0o600)
    try:
        ssh_profile(hosts.head, "me", {"us@node1": 1})
        outcome = run_map(
            hosts.head, "me", "import os, platform; o = [platform.node(), os.environ['USER'], os.getcwd()]", [1]
        )
    finally:
        hosts.node1.write(".ssh/authorized_keys", before, "us", 0o600)
    assert outcome["errors"] == []
    assert outcome["results"] == [["node1", "us", "/home/us"]]


def test_a_map_runs_where_the_users_folder_may_not_be_written_to(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node1": 1})
    hosts.node1.run(["sh", "-c", "mkdir /home/me/.vistrails && chmod 755 /home/me/.vistrails"])  # it is root's
    outcome = run_map(
        hosts.head,
        "me",
        "import os; o = [os.access('/home/me/.vistrails', os.R_OK), os.access('/home/me/.vistrails', os.W_OK)]",
        [1, 2],
    )
    assert outcome["errors"] == []
    assert outcome["results"] == [[True, False], [True, False]]
    assert hosts.node1.run(["find", "/home/me/.vistrails", "-mindepth", "1"]) == ""


def test_engines_that_were_killed_just_before_are_replaced(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node1": 1, "node2": 1})
    program = f"MEET = {_MEET!r}\n" + textwrap.dedent("""
        from parallelflow.api import parallel_map
        from parallelflow.cluster import Session, Settings, configure
        session = configure(lambda: Settings(profile="office", engines=2, start_timeout=150, stop_timeout=30))
        def opposite(i):
            exec(MEET, {})  # so that both engines have got ready for it
            return -i
        for _ in range(2):
            print(parallel_map(opposite, [-1, -2, -3] * 3, ask=True), flush=True)
            input()
        session.close()
    """)
    vistrails = hosts.head.start(program, "me")
    assert vistrails.stdout is not None
    assert vistrails.stdin is not None
    try:
        results = f"{[1, 2, 3] * 3}\n"
        assert results in iter(vistrails.stdout.readline, "")
        kill(hosts.node1.engines() + hosts.node2.engines())
        vistrails.stdin.write("\n")
        vistrails.stdin.flush()
        # The hub had not heard of it; the log may have.
        assert results in iter(vistrails.stdout.readline, "")
        vistrails.communicate("\n", timeout=240)
        assert vistrails.returncode == 0
    finally:
        hosts.head.end(vistrails)
