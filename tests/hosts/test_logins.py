"""Engines by SSH on machines as they are: slow to log in, gone, behind one address, with few places at the door."""

from __future__ import annotations

import json
import re
import sys

import pytest
from helpers import until
from machines import HERE, Machine, Machines, kill
from setups import prefer, run_map, ssh_profile

LOGINS = "grep -c 'Accepted publickey' /run/sshd.log || true"


def logins(machine: Machine) -> int:
    """How often somebody has logged in there."""
    return int(machine.run(["sh", "-c", LOGINS]))


def parallelflow(machine: Machine, *words: str, user: str = "me") -> str:
    done = machine.flow(*words, user=user)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_start_and_a_stop_log_in_once_on_each_machine_however_slow_that_is(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node1": 2, "node2": 1})
    hosts.node1.write(".bashrc", "echo Welcome, you have 3 mails\nsleep 4\n", "me")
    before = [logins(machine) for machine in (hosts.node1, hosts.node2)]
    assert "3 engines started" in parallelflow(hosts.head, "start", "-n", "3")
    assert [len(machine.engines()) for machine in hosts.all] == [0, 2, 1]
    assert [logins(machine) for machine in (hosts.node1, hosts.node2)] == [count + 1 for count in before]
    # The next process takes them back, and watches them by one connection to each machine, by which it stops them.
    assert "stopped" in parallelflow(hosts.head, "stop")
    assert [logins(machine) for machine in (hosts.node1, hosts.node2)] == [count + 2 for count in before]
    assert [len(machine.engines()) for machine in hosts.all] == [0, 0, 0]


def test_a_machine_that_is_gone_prevents_nothing(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node1": 1, "node2": 1})
    parallelflow(hosts.head, "start", "-n", "2")
    prefer(hosts.head, "me", stop_timeout=15)
    hosts.node2.network(up=False)
    stopped = hosts.head.flow("stop", user="me")
    assert stopped.returncode == 1
    assert re.search(r"The engines on node2 could not be stopped: .*stop_timeout.*parallelflow forget", stopped.stderr)
    assert hosts.node1.engines() == []
    status = hosts.head.flow("status", user="me").stdout
    assert "Could not be stopped, which 'stop' tries again, and let go of by 'forget': 1 job." in status
    # The machine that is there is used, and it is said which one is not.
    started = hosts.head.flow("start", "-n", "2", user="me")
    assert "1 engine started" in started.stdout
    assert "No engine was started on node2: 'ssh node2'" in started.stdout
    # It is back: what is left there is stopped without being asked for.
    hosts.node2.network(up=True)
    prefer(hosts.head, "me", stop_timeout=60)  # a limit only
    parallelflow(hosts.head, "stop")
    assert hosts.node2.engines() == []
    assert "nothing" in parallelflow(hosts.head, "forget")


def test_what_is_on_a_machine_that_is_gone_for_good_is_let_go_of(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node2": 1})
    parallelflow(hosts.head, "start", "-n", "1")
    prefer(hosts.head, "me", stop_timeout=4)
    hosts.node2.network(up=False)
    assert hosts.head.flow("stop", user="me").returncode == 1
    assert "1 process or job let go of" in parallelflow(hosts.head, "forget")
    assert "No cluster is running" in hosts.head.flow("status", user="me").stdout
    assert "Nothing that was left running" in parallelflow(hosts.head, "stop")
    # Engines whose controller is gone end by themselves.
    until(lambda: hosts.node2.engines() == [])


def test_a_machine_that_nobody_got_into_is_not_one_that_could_not_be_stopped(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node1": 1, "node2": 1, "nowhere": 1})
    hosts.node2.run(["mv", "/home/me/.ssh/authorized_keys", "/home/me/.ssh/away"])
    try:
        started = parallelflow(hosts.head, "start", "-n", "3")
        assert "1 engine started" in started
        assert re.search(r"No engine was started on node2: .*Permission denied", started)
        assert re.search(r"No engine was started on nowhere: .*Could not resolve hostname", started)
        # The one that runs had more than ipyparallel's five seconds to register in, whatever the others took.
        (engine,) = hosts.node1.engines()
        (patience,) = [float(word.partition("=")[2]) for word in engine.cmdline() if "timeout" in word]
        assert 5 < patience < 60
        assert "stopped" in parallelflow(hosts.head, "stop")
    finally:
        hosts.node2.run(["mv", "/home/me/.ssh/away", "/home/me/.ssh/authorized_keys"])
    assert "Could not be stopped" not in hosts.head.flow("status", user="me").stdout
    assert "nothing" in parallelflow(hosts.head, "forget")


def test_what_ipcluster_has_stopped_is_not_said_to_run(hosts: Machines) -> None:
    # An option that we would give, too.
    ssh_profile(hosts.head, "me", {"node1": 1, "node2": 1}, 'c.SSHEngineSetLauncher.engine_args = ["--timeout=40"]\n')
    parallelflow(hosts.head, "start", "-n", "2")
    assert "Left running by Parallel Flow, and stopped by 'stop': 1 controller and 1 job." in (
        parallelflow(hosts.head, "status")
    )
    hosts.head.run(["ipcluster", "stop", "--profile=office"], "me")
    until(lambda: hosts.node1.engines() == hosts.node2.engines() == [])
    status = hosts.head.flow("status", user="me")
    assert (status.returncode, status.stdout) == (1, "No cluster is running for the IPython profile 'office'.\n")
    # Where it cannot be known, it is on record as before.
    hosts.node2.network(up=False)
    assert "Left running by Parallel Flow, and stopped by 'stop': 1 job." in hosts.head.flow("status", user="me").stdout
    hosts.node2.network(up=True)
    # Nor is it said to have been stopped now.
    assert "Nothing that was left running" in parallelflow(hosts.head, "stop")
    assert "nothing" in parallelflow(hosts.head, "forget")


STRAY = """
import contextlib, subprocess
from parallelflow.map import own_folder
subprocess.Popen(["sleep", "3600"], start_new_session=True)
folder = contextlib.ExitStack()
folder.enter_context(own_folder.own_folder())
"""
FOLDERS = ["sh", "-c", "ls /tmp | grep parallelflow || true"]


def _stray(hosts: Machines) -> None:
    """Have each engine start a process that goes on, and make a folder for temporary files."""
    hosts.head.python(
        f"""
        from parallelflow.cluster import Session, Settings
        session = Session(lambda: Settings(profile="office"))
        session.client(start=False)[:].execute({STRAY!r}, block=True)
        session.let_go()
        """,
        "me",
    )


def test_what_elements_have_started_is_ended_with_all_engines_of_a_machine(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node1": 1, "node2": 1})
    parallelflow(hosts.head, "start", "-n", "2")
    _stray(hosts)
    assert [len(machine.processes("sleep 3600")) for machine in (hosts.node1, hosts.node2)] == [1, 1]
    assert hosts.node1.run(FOLDERS, "me").count("parallelflow_vistrails_") == 1
    kill(hosts.node1.processes("ipyparallel.engine"))
    parallelflow(hosts.head, "stop")
    # The login itself may take a moment to end over there.
    until(lambda: [machine.processes() for machine in (hosts.node1, hosts.node2)] == [[], []])
    assert [machine.run(FOLDERS, "me") for machine in (hosts.node1, hosts.node2)] == ["", ""]


# Of shared memory, the user's folder itself stays.
_EVERYTHING = [
    *("sh", "-c"),
    "find /tmp -mindepth 1 -maxdepth 1 -user me; find /dev/shm -mindepth 1 -user me ! -name parallelflow-7001",
]
_WRITES = """
import time
o = self.interpreter.filePool.create_file()
with open(o.name, "w") as opened:
    opened.write("x")
print("printed")
open("/tmp/waits", "w").close()
time.sleep(600)
"""


@pytest.mark.parametrize("when", ["stop", "start"])
def test_engines_that_are_killed_in_an_element_leave_nothing_on_their_machine(hosts: Machines, when: str) -> None:
    # The process beside an engine that would see to it is killed, too.
    ssh_profile(hosts.head, "me", {"node1": 1, "node2": 1})
    parallelflow(hosts.head, "start", "-n", "2")
    job = json.dumps({"source": _WRITES, "elements": [1, 2, 3, 4]})
    vistrails = hosts.head.start(
        f"import os; os.execv({sys.executable!r}, {[sys.executable, str(HERE / 'run_map.py'), job]!r})", "me"
    )
    nodes = (hosts.node1, hosts.node2)
    until(lambda: all(node.try_to(["test", "-e", "/tmp/waits"]).returncode == 0 for node in nodes))
    doomed = [process for node in nodes for process in node.processes()]
    for process in doomed:
        process.suspend()  # so that none sees another one end
    hosts.head.end(vistrails)
    if when == "start":
        kill(hosts.head.processes())
    kill(doomed)
    for node in nodes:
        until(lambda node=node: node.processes() == [])
        assert "parallelflow_vistrails_" in node.run(_EVERYTHING)
        node.run(["rm", "/tmp/waits"])
    parallelflow(hosts.head, *([when, "-n", "2"] if when == "start" else [when]))
    assert [machine.run(_EVERYTHING) for machine in nodes] == ["", ""]
    if when == "start":
        assert run_map(hosts.head, "me", "o = i", [1, 2])["results"] == [1, 2]
        parallelflow(hosts.head, "stop")
        assert [machine.run(_EVERYTHING) for machine in hosts.all] == ["", "", ""]


def test_a_terminal_of_the_user_does_not_depend_on_our_connection(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node1": 1})
    hosts.head.write(".ssh/config", "ControlMaster auto\nControlPath ~/.ssh/%C\n", "me", 0o600)
    try:
        cluster = """
            from parallelflow.cluster import Session, Settings
            session = Session(lambda: Settings(profile="office", engines=1))
            session.client()
            print("ready")
            input()
            session.close()
        """
        vistrails = hosts.head.start(cluster, "me")
        assert vistrails.stdout is not None
        assert vistrails.stdout.readline() == "ready\n"
        program = "import subprocess; subprocess.run(['ssh', 'node1', 'echo in; read word; echo $word'])"
        terminal = hosts.head.start(program, "me")
        assert terminal.stdout is not None
        assert terminal.stdout.readline() == "in\n"
        assert vistrails.communicate("\n", timeout=240) == ("", None)
        assert terminal.communicate("still there\n", timeout=240) == ("still there\n", None)
    finally:
        hosts.head.run(["rm", "-f", ".ssh/config"], "me")


def test_engines_that_have_ended_are_not_said_to_be_left(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node1": 2})
    parallelflow(hosts.head, "start", "-n", "2")
    kill(hosts.node1.processes("ipyparallel.engine"))
    # The job is found to have ended, and swept, while it is to be stopped.
    assert "stopped" in parallelflow(hosts.head, "stop")
    assert "Nothing that was left running" in parallelflow(hosts.head, "stop")


def test_two_machines_behind_one_address_are_two(hosts: Machines) -> None:
    # The gateway has node1 and node2 behind its ports 2201 and 2202.
    relay = "import socket, sys, threading\n" + _RELAY
    gateway = hosts.head.start(relay, "root")
    try:
        until(lambda: {":2201", ":2202"} <= set(re.findall(r":\d+", hosts.head.run(["ss", "-ltn"]))))
        for port in (2201, 2202):
            hosts.head.run(["sh", "-c", f"ssh-keyscan -T 240 -p {port} head >>.ssh/known_hosts"], "me")
        ssh_profile(hosts.head, "me", {"head:2201": 1, "head:2202": 1})
        parallelflow(hosts.head, "start", "-n", "2")
        assert [len(machine.engines()) for machine in hosts.all] == [0, 1, 1]
        parallelflow(hosts.head, "stop")
        assert [len(machine.engines()) for machine in hosts.all] == [0, 0, 0]
    finally:
        hosts.head.end(gateway)


def test_a_python_that_has_nothing_installed_over_there_is_said_so_and_ends_what_others_run(hosts: Machines) -> None:
    bare = f'#!/bin/sh\nexec {sys.base_prefix}/bin/python3 -I -S "$@"\n'
    hosts.node1.write("/home/me/bare", bare, "me", 0o755)
    python = 'c.SSHEngineSetLauncher.remote_python = "/home/me/bare"\n'
    ssh_profile(hosts.head, "me", {"node1": 2}, python)
    started = hosts.head.flow("start", "-n", "2", user="me")
    assert started.returncode == 1
    assert started.stderr.startswith("2 of 2 engines did not start. SSHEngineSetLauncher ended. The log ends with:")
    assert "No module named 'ipyparallel'" in started.stderr
    # They had ended: nothing is left that could not be stopped.
    assert "Could not be stopped" not in hosts.head.flow("status", user="me").stdout
    assert "Nothing that was left running" in parallelflow(hosts.head, "stop")
    # Where engines are run by another Python than that, it ends them, and what they have left.
    command = f"c.SSHEngineSetLauncher.engine_cmd = [{sys.executable!r}, '-m', 'ipyparallel.engine']\n"
    ssh_profile(hosts.head, "me", {"node1": 2}, python + command)
    parallelflow(hosts.head, "start", "-n", "2")
    _stray(hosts)
    assert len(hosts.node1.processes("sleep 3600")) == 2
    assert "stopped" in parallelflow(hosts.head, "stop")
    until(lambda: hosts.node1.processes() == [])


_RELAY = """
def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass

def serve(port, machine):
    server = socket.create_server(("", port))
    while True:
        near, _ = server.accept()
        far = socket.create_connection((machine, 22))
        for ends in ((near, far), (far, near)):
            threading.Thread(target=pump, args=ends, daemon=True).start()

threading.Thread(target=serve, args=(2201, "node1"), daemon=True).start()
serve(2202, "node2")
"""


def test_a_job_that_is_taken_back_has_one_connection_to_a_machine_that_lets_few_in(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node1": 6})
    config = hosts.node1.run(["cat", "/etc/ssh/sshd_config"])
    try:
        reconfigure(hosts, "MaxStartups 1:100:1\n" + config)
        before = logins(hosts.node1)
        parallelflow(hosts.head, "start", "-n", "6")
        parallelflow(hosts.head, "stop")
        until(lambda: hosts.node1.processes() == [])
        assert logins(hosts.node1) == before + 2
    finally:
        reconfigure(hosts, config)


def reconfigure(hosts: Machines, config: str) -> None:
    """Give node1's sshd another configuration."""
    hosts.node1.write("/etc/ssh/sshd_config", config, "root")
    begun = ["sh", "-c", "grep -c 'Server listening on' /run/sshd.log"]
    before = hosts.node1.run(begun)
    hosts.node1.run(["pkill", "--oldest", "--exact", "--signal", "HUP", "sshd"])
    until(lambda: hosts.node1.run(begun) != before)  # else it may be the old one that lets in
    until(lambda: hosts.head.try_to(["ssh", "node1", "true"], "me").returncode == 0)


@pytest.mark.parametrize("names", [1, 2])
def test_a_start_that_reaches_no_machine_says_which_and_why(hosts: Machines, names: int) -> None:
    ssh_profile(hosts.head, "me", {f"node{number}": 1 for number in range(1, names + 1)})
    for machine in (hosts.node1, hosts.node2):
        machine.run(["mv", "/home/me/.ssh/authorized_keys", "/home/me/.ssh/away"])
    try:
        started = hosts.head.flow("start", "-n", "2", user="me")
    finally:
        for machine in (hosts.node1, hosts.node2):
            machine.run(["mv", "/home/me/.ssh/away", "/home/me/.ssh/authorized_keys"])
    assert started.returncode == 1
    assert re.search(r"(?s)'ssh node1' ended with exit status 255.* It said:\n.*Permission denied", started.stderr)
    assert "The log ends with" not in started.stderr  # there is none
