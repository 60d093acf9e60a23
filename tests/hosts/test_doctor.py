"""What ``doctor`` finds in homes in which nothing can start, as a user who is not root."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from machines import Machine, Machines
from setups import ssh_profile

_HOME = "/home/me"
_PROFILE = f"{_HOME}/.ipython/profile_default"


def wrong(machine: Machine, **environment: str) -> list[Any]:
    """The checks that found something wrong."""
    command = [sys.executable, "-m", "parallelflow", "doctor", "--json"]
    done = machine.try_to(command, "me", **environment)
    found = [check for check in json.loads(done.stdout)["checks"] if check["result"] == "wrong"]
    assert done.returncode == (1 if found else 0)
    return found


def start(machine: Machine, **environment: str) -> int:
    """Whether engines can be started."""
    return machine.try_to([sys.executable, "-m", "parallelflow", "start", "-n1"], "me", **environment).returncode


_ROOTS = "belongs to root, not to you"


@pytest.mark.parametrize(
    ("spoil", "mend", "found"),
    [
        (f"chown -R root {_HOME}/.ipython", f"chown -R me {_HOME}/.ipython", f"{_HOME}/.ipython {_ROOTS}"),
        (f"chown root {_PROFILE}; rm -r {_PROFILE}/security", f"chown me {_PROFILE}", f"{_PROFILE} {_ROOTS}"),
        (f"chown root {_PROFILE}/security", f"chown me {_PROFILE}/security", f"{_PROFILE}/security {_ROOTS}"),
        (f"chown root {_PROFILE}/log", f"chown me {_PROFILE}/log", f"{_PROFILE}/log {_ROOTS}"),
        (
            f"chmod a-w {_PROFILE}/security",
            f"chmod u+w {_PROFILE}/security",
            f"nothing can be written to {_PROFILE}/security: Permission denied",
        ),
        (
            f"touch {_PROFILE}/security/parallelflow-start.lock",
            f"rm -f {_PROFILE}/security/parallelflow-start.lock",
            f"{_PROFILE}/security/parallelflow-start.lock {_ROOTS}",
        ),
        (
            f"mount --bind {_HOME} {_HOME}; mount -o remount,bind,ro {_HOME}",
            f"umount -l {_HOME}",
            f"nothing can be written to {_HOME}/.ipython: Read-only file system",
        ),
        (
            f"mount -t tmpfs -o size=16k,uid=7001,mode=700 tmpfs {_PROFILE}/security;"
            f" head -c 1M /dev/zero >{_PROFILE}/security/filler; true",
            f"umount -l {_PROFILE}/security",
            f"nothing can be written to {_PROFILE}/security: No space left on device",
        ),
    ],
    ids=["ipython", "profile", "security", "log", "not writable", "lock", "read-only", "full"],
)
def test_doctor_finds_why_nothing_can_start(hosts: Machines, spoil: str, mend: str, found: str) -> None:
    node = hosts.node1
    node.run(["ipython", "profile", "create", "--parallel"], "me")
    assert wrong(node) == []  # nothing is wrong with a profile that was just made
    node.run(["sh", "-c", spoil])
    try:
        checks = wrong(node)
        assert any(check["what"] == "Folders" and found in check["finding"] and check["advice"] for check in checks), (
            checks
        )
        assert start(node) == 1
    finally:
        node.run(["sh", "-c", mend])


def test_doctor_finds_that_there_is_no_home(hosts: Machines) -> None:
    (check,) = wrong(hosts.node1, HOME="/home/nobody")
    assert check["finding"] == (
        "IPython's folder: /home/nobody/.ipython does not exist, and /home belongs to root, not to you."
    )
    assert start(hosts.node1, HOME="/home/nobody") == 1


def tried(machine: Machine, user: str) -> list[tuple[str, str, str]]:
    """What ``doctor --try`` says of machines."""
    done = machine.flow("doctor", "--try", "--json", user=user)
    checks = json.loads(done.stdout)["checks"]
    return [(each["what"], each["result"], each["finding"]) for each in checks if each["what"].startswith("Machine")]


_STARTS = "an engine starts there, and has the same versions as here."


def test_doctor_tries_each_machine_and_says_what_it_shares(hosts: Machines) -> None:
    ssh_profile(hosts.head, "us", {"node1": 2, "node2": 2})
    hosts.head.run(["mkdir", "-p", ".vistrails/userpackages"], "us")
    shared = "home folder, working folder, folder of your VisTrails packages"
    assert sorted(tried(hosts.head, "us")) == sorted(
        check
        for name in ("node1", "node2")
        for check in (
            (f"Machine {name}", "fine", _STARTS),
            (f"Machine {name}", "fine", f"it shares with this machine: {shared}."),
            (f"Machine {name}", "note", "it has its own: folder for temporary files (/tmp)."),
        )
    )
    # The same with homes of their own, of which one has no such packages, and a machine that is gone.
    ssh_profile(hosts.head, "me", {"node1": 2, "node2": 2})
    hosts.head.run(["mkdir", "-p", ".vistrails/userpackages"], "me")
    hosts.node2.network(up=False)
    checks = tried(hosts.head, "me")
    hosts.node2.network(up=True)
    (gone,) = [finding for what, result, finding in checks if result == "wrong"]
    assert gone.startswith("No engine was started on node2: ")
    own = "home folder (/home/me), working folder (/home/me), folder for temporary files (/tmp)"
    assert [check for check in checks if check[1] != "wrong"] == [
        ("Machine node1", "fine", _STARTS),
        ("Machine node1", "note", f"it has its own: {own}."),
        ("Machine node1", "note", "it lacks: folder of your VisTrails packages (/home/me/.vistrails/userpackages)."),
    ]
