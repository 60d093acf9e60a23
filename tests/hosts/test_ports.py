"""The ports of the example profiles: several controllers on one machine, of several profiles and users, find enough."""

from __future__ import annotations

from helpers import until
from machines import PROJECT, Machine, Machines

_EXAMPLE = PROJECT / "examples" / "profiles" / "ssh" / "ipcontroller_config.py"
_RANGE = "range(10101, 10201)"


def make(machine: Machine, user: str, name: str, ports: str = _RANGE) -> None:
    """Make a profile with the example's controller, and engines on this machine."""
    machine.run(["ipython", "profile", "create", "--parallel", name], user)
    text = _EXAMPLE.read_text()
    assert _RANGE in text
    machine.write(f"/home/{user}/.ipython/profile_{name}/ipcontroller_config.py", text.replace(_RANGE, ports), user)


def test_profiles_and_users_with_the_same_ports_have_clusters_at_the_same_time(hosts: Machines) -> None:
    running = [("me", "one"), ("me", "two"), ("us", "one")]
    for user, name in running:
        make(hosts.head, user, name)
        started = hosts.head.flow("start", "-n1", "--profile", name, user=user)
        assert (started.returncode, started.stderr) == (0, "")
    program = """
        import psutil
        print(*{c.laddr.port for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.pid})
    """

    def listening() -> int:
        ports = {int(port) for port in hosts.head.python(program, "root").split()}
        return len(ports & set(range(10101, 10201)))

    until(lambda: listening() >= 3 * 18)  # what no client uses may come a moment later
    assert listening() == 3 * 18
    make(hosts.head, "us", "two", "range(10101, 10121)")
    refused = hosts.head.flow("start", "-n1", "--profile=two", user="us")
    assert refused.returncode == 1
    assert "it takes 18 ports, and of the 20 that c.IPController.ports names only 0 are free." in refused.stderr
    assert "Traceback" not in refused.stderr
    for user, name in running:
        assert hosts.head.flow("stop", "--profile", name, user=user).returncode == 0
