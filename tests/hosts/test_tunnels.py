"""A controller that is reached by SSH only, and one that is reached from its own machine only."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import machines
import pytest
from helpers import until
from machines import Machine, Machines
from setups import prefer, run_map, ssh_profile

_FOLDER = "/home/me/.ipython/profile_far/security"


@pytest.fixture
def far(hosts: Machines) -> Any:
    """A controller on node1, by itself, whose connection file head has; to be reached by SSH."""
    for machine in (hosts.head, hosts.node1):
        machine.run(["ipython", "profile", "create", "--parallel", "far"], "me")
    controller = subprocess.Popen(
        hosts.node1.command(["ipcontroller", "--profile=far", "--ssh=me@node1"], "me"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    path = f"{_FOLDER}/ipcontroller-client.json"
    try:
        until(lambda: hosts.node1.try_to(["test", "-s", path]).returncode == 0)
        hosts.head.write(path, hosts.node1.run(["cat", path], "me"), "me", 0o600)
        assert hosts.head.flow("enable", "--profile=far", user="me").returncode == 0
        prefer(hosts.head, "me", connect_timeout=60)  # a limit only
        yield hosts
    finally:
        kill(hosts.node1)
        controller.wait(240)


def kill(machine: Machine) -> None:
    """Kill every part of the controller, and wait until it is gone."""
    machines.kill(machine.processes("ipcontroller"))
    until(lambda: not machine.processes("ipcontroller"))


def profile(machine: Machine) -> dict[str, Any]:
    """What ``profiles`` says of the profile."""
    (found,) = json.loads(machine.flow("profiles", "--profile", "far", "--json", user="me").stdout)["profiles"]
    return {"running": found["running"], "location": found["location"]}


_CONNECTED = """
from parallelflow.cluster import Session, Settings
session = Session(lambda: Settings(profile="far", connect_timeout=60))
connection = session.connect()
print(connection.check(), flush=True)
input()
print(connection.check(), flush=True)
"""


def test_a_controller_behind_ssh_is_seen_to_run_and_to_be_gone(far: Machines) -> None:
    head = far.head
    # It asks for a moment only: on a busy machine a login may take longer.
    until(lambda: profile(head) == {"running": True, "location": "node1"})
    assert head.flow("status", "--profile=far", user="me").returncode == 0
    connected = head.start(_CONNECTED, "me")
    assert connected.stdout is not None
    assert connected.stdout.readline() == "None\n"
    kill(far.node1)
    said, _ = connected.communicate("\n", timeout=240)
    assert said == "The controller on node1 is gone.\n"
    until(lambda: profile(head) == {"running": False, "location": None})
    status = head.flow("status", "--profile=far", user="me")
    assert status.returncode == 1
    assert "on node1 no longer runs: ssh gets through me@node1, but nobody answers at 127.0.0.1:" in status.stderr
    # When ssh does not get there, nobody knows.
    far.node1.network(up=False)
    assert profile(head) == {"running": None, "location": "node1"}
    far.node1.network(up=True)


def test_engines_reach_a_controller_by_ssh_as_the_page_says(hosts: Machines) -> None:
    engine = f'["nohup", {sys.executable!r}, "-m", "ipyparallel.engine"]'
    machines_know_each_other = (
        "ssh-keygen -qN '' -t ed25519 -f .ssh/id_ed25519; ssh-keyscan -t ed25519 head >.ssh/known_hosts"
    )
    hosts.node1.run(["sh", "-c", f"{machines_know_each_other} 2>/dev/null"], "me")
    allowed = hosts.head.run(["cat", ".ssh/authorized_keys"], "me")
    key = hosts.node1.run(["cat", ".ssh/id_ed25519.pub"], "me")
    hosts.head.write(".ssh/authorized_keys", allowed + key, "me", 0o600)
    # A login that takes longer than the second that it may take: the connection is kept, and open before engines start.
    keep = "ControlMaster auto\nControlPath ~/.ssh/%C\nControlPersist 10m\n"
    hosts.node1.write(".ssh/config", keep, "me", 0o600)
    try:
        hosts.node1.run(["sh", "-c", "ssh me@head true >/dev/null 2>&1"], "me")
        tunnels = 'c.IPController.ip = "127.0.0.1"\nc.IPController.engine_ssh_server = "me@head"\n'
        ssh_profile(hosts.head, "me", {"node1": 2}, f"c.SSHEngineSetLauncher.engine_cmd = {engine}\n", tunnels)
        outcome = run_map(hosts.head, "me", "import platform; o = platform.node()", [1, 2, 3, 4])
        assert (outcome["errors"], outcome["results"]) == ([], ["node1"] * 4)
        hosts.node1.run(["ssh", "-O", "exit", "me@head"], "me")
    finally:
        hosts.head.write(".ssh/authorized_keys", allowed, "me", 0o600)
        hosts.node1.run(["rm", "-f", ".ssh/config", ".ssh/id_ed25519", ".ssh/id_ed25519.pub", ".ssh/known_hosts"], "me")


def test_another_machines_loopback_address_is_not_taken_for_this_one_s(far: Machines) -> None:
    path = f"{_FOLDER}/ipcontroller-client.json"
    info = json.loads(far.head.run(["cat", path], "me"))
    far.head.write(path, json.dumps({**info, "ssh": ""}), "me", 0o600)
    port = info["registration"]
    listener = far.head.start(
        f"""
        import socket, sys, threading
        server = socket.create_server(("127.0.0.1", {port}))
        def answer():
            while True:
                server.accept()[0].sendall(bytes([255, *range(8), 127]))
        threading.Thread(target=answer, daemon=True).start()
        print("ready", flush=True)
        sys.stdin.read()
        """,
        "me",
    )
    try:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        assert profile(far.head) == {"running": None, "location": "node1"}
        said = far.head.flow("profiles", "--profile", "far", user="me").stdout
        assert "far      ?        node1" in said
        assert "? does not tell from here." in said
    finally:
        listener.communicate(timeout=240)
