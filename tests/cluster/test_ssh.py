"""Engines and controllers that are reached by SSH, with a stand-in for it."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import stand_ins
from helpers import LONG, ours, until, with_enough_time

from parallelflow.cluster import ConnectError, ProfileError, Session, StartError, connect
from parallelflow.cluster import profile as profiles
from parallelflow.cluster.cores import THREAD_VARIABLES
from parallelflow.cluster.record import Record
from parallelflow.cluster.tree import lives
from parallelflow.cluster.tunnel import Tunnel

Make = Callable[..., Session]


@pytest.fixture
def machines(profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the machines that the profile's engines run on."""
    stand_ins.install(tmp_path, monkeypatch)

    def choose(engines: str) -> None:
        (profile / "ipcluster_config.py").write_text(
            f"c.Cluster.engine_launcher_class = 'ssh'\n"
            f"c.SSHEngineSetLauncher.engines = {engines}\n"
            f"c.SSHEngineSetLauncher.remote_python = {sys.executable!r}\n"
        )

    return choose


def nothing_left(profile: Path) -> bool:
    return ours() == [] and Record(profile).read() == []


def test_each_machine_has_its_own_port_and_shared_files_stay_whole(
    machines: Callable[[str], None],
    profile: Path,
    tmp_path: Path,
    make_session: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    machines("{'me@alpha:2201': 2, 'beta:2202': 1}")
    with open(profile / "ipcluster_config.py", "a") as file:
        file.write(f"c.SSHEngineSetLauncher.remote_profile_dir = {str(profile)!r}\n")
    first = make_session(profile="test", engines=3)
    client = first.client()
    assert [engine.ours for engine in first.state().engines] == [True, True, True]
    # Engines share the cores of their machine.
    told = list(
        zip(
            client[:].apply_sync(os.getenv, "HOME"),
            zip(*(client[:].apply_sync(os.getenv, name) for name in THREAD_VARIABLES), strict=True),
            strict=True,
        )
    )
    here = len(os.sched_getaffinity(0))
    alpha, beta = (
        (str(tmp_path / name), (share,) * 5)
        for name, share in (("me@alpha", str(max(1, here // 2))), ("beta", str(here)))
    )
    assert sorted(told) == sorted([alpha, alpha, beta])
    for line in (tmp_path / "ssh.log").read_text().splitlines():
        assert line.split()[:3] in (["me@alpha", "-p", "2201"], ["beta", "-p", "2202"])
        assert "BatchMode=yes" in line
    path = profiles.engine_file(profile)
    assert json.loads(path.read_text())["registration"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # The next session knows the engines and can stop them.
    first.let_go()
    session = make_session(profile="test")
    assert len(session.client(start=False).ids) == 3
    assert [process.kind for process in session.state().processes] == ["controller", "job"]
    session.stop_started()
    assert nothing_left(profile)


@pytest.mark.parametrize(
    ("engines", "limits", "sentence"),
    [
        (
            "{'nowhere': 2}",
            (LONG,),
            r"'ssh nowhere' ended with exit status 1\. Correct [^ ]*ipcluster_config\.py.*not resolve",
        ),
        ("{}", (LONG,), r"engines names no machines"),
        # It may be the controller that takes so long.
        ("{'silent': 2}", (8, 60), r"'ssh silent' did not answer within \d+ seconds.*start_timeout"),
    ],
)
def test_engines_that_cannot_be_started_are_reported(
    engines: str,
    limits: tuple[int, ...],
    sentence: str,
    machines: Callable[[str], None],
    profile: Path,
    make_session: Make,
) -> None:
    machines(engines)

    def tried_in(seconds: int) -> bool:
        with pytest.raises(StartError) as caught:
            make_session(profile="test", start_timeout=seconds).client()
        assert nothing_left(profile)
        return re.search(f"(?s){sentence}", str(caught.value)) is not None

    with_enough_time(tried_in, *limits)


def test_a_python_that_is_missing_over_there_is_reported_with_what_the_shell_says(
    machines: Callable[[str], None], profile: Path, make_session: Make
) -> None:
    machines("{'alpha': 1}")
    config = profile / "ipcluster_config.py"
    config.write_text(config.read_text().replace(sys.executable, "/no/python"))
    with pytest.raises(StartError, match=r"(?s)'ssh alpha' ended with exit status 127.* It said:.*/no/python"):
        make_session(profile="test").client()
    assert nothing_left(profile)


_START = """
import sys
from parallelflow.cluster import Session, Settings
session = Session(lambda: Settings(profile="test", engines=2, start_timeout=200, connect_timeout=60))
session.client()
"""


def logs(machine: Path) -> list[Path]:
    """What engines on a machine wrote; they are removed there when the engines are stopped there."""
    return list(machine.rglob("*.out"))


_SHOW_LOGS = """
import os, stat
from pathlib import Path
for log in Path({machine!r}).rglob("*.out"):
    print(oct(stat.S_IMODE(log.stat().st_mode)), oct(stat.S_IMODE(log.parent.stat().st_mode)))
print(session.client()[:].apply_sync(os.umask, 0o22))
"""


@pytest.mark.slow
def test_engines_on_another_machine_are_stopped_there_when_python_ends_and_their_logs_are_private(
    machines: Callable[[str], None], profile: Path, tmp_path: Path
) -> None:
    machines("{'alpha': 1}")
    script = _START + _SHOW_LOGS.format(machine=str(tmp_path / "alpha"))
    before = os.umask(0o022)
    try:
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240)
    finally:
        os.umask(before)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == ["0o600 0o700", "[18]"]
    assert nothing_left(profile)
    assert logs(tmp_path / "alpha") == []


def test_engines_that_a_vistrails_was_starting_on_another_machine_when_it_was_killed_are_stopped_there(
    machines: Callable[[str], None], profile: Path, tmp_path: Path, make_session: Make
) -> None:
    machines("{'alpha': 2}")
    with open(profile / "ipcluster_config.py", "a") as file:
        file.write("c.SSHEngineSetLauncher.delay = 600\n")  # before the second one
    popen = subprocess.Popen([sys.executable, "-c", _START])
    until(lambda: any((entry.job or {}).get("state", {}).get("engines") for entry in Record(profile).read()))
    until(lambda: logs(tmp_path / "alpha"))
    popen.kill()
    popen.wait()
    make_session(profile="test", after_crash="stop").connect()
    assert nothing_left(profile)
    assert logs(tmp_path / "alpha") == []


# Controllers elsewhere


def elsewhere(session: Session, gateway: str) -> Path:
    """A profile with the connection file of a controller on another machine, behind a gateway."""
    assert session.connection is not None
    folder = profiles.create("far")
    info = json.loads(profiles.client_file(session.connection.profile_dir).read_text())
    info.update(location="192.0.2.1", ssh=gateway)
    profiles.write_private(profiles.client_file(folder), json.dumps(info))
    return folder


def test_a_controller_behind_a_gateway_is_reached_by_one_ssh_process(
    healthy_cluster: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins.install(tmp_path, monkeypatch)
    connection = connect(elsewhere(healthy_cluster, "me@gate:2201"), LONG)
    try:
        assert len(connection.client.ids) == 2
        assert connection.client[:].apply_sync(abs, -1) == [1, 1]
        (line,) = (tmp_path / "ssh.log").read_text().splitlines()
        assert line.startswith("me@gate")
        assert "-p 2201" in line
        assert connection.check() is None
        assert connection.location == "192.0.2.1"
        # The tunnel's end is the end of the connection.
        (ssh,) = ours()
        ssh.kill()
        ssh.wait(240)
        assert "The ssh tunnel through me@gate to the controller on 192.0.2.1 ended" in str(connection.check())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("gateway", "patience", "why"),
    [("nowhere", LONG, "Could not resolve hostname nowhere"), ("silent", 1, "no answer within 1 seconds")],
)
def test_a_gateway_that_is_not_reached_is_reported(
    gateway: str, patience: float, why: str, healthy_cluster: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins.install(tmp_path, monkeypatch)
    with pytest.raises(ConnectError, match=f"cannot be reached by ssh through {gateway}: .*{why}.*ssh {gateway}"):
        connect(elsewhere(healthy_cluster, gateway), patience)
    assert ours() == []


def test_nobody_else_is_given_a_tunnels_ports_while_ssh_logs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins.install(tmp_path, monkeypatch)
    tunnel = Tunnel("silent", "192.0.2.1", {"registration": 1, "task": 2})
    ports = [tunnel.near({})[name] for name in ("registration", "task")]
    try:
        for port in ports:
            with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
                other.bind(("127.0.0.1", port))
    finally:
        tunnel.close()
    for port in ports:
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))


def test_what_ssh_leaves_running_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ssh").write_text(
        f"#!/bin/sh\necho 'No route to host.' >&2\nsleep 600 &\necho $! > {tmp_path}/pid\nexit 255\n"
    )
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    tunnel = Tunnel("gate", "192.0.2.1", {"registration": 1})
    said = tunnel.wait(LONG)
    left = psutil.Process(int((tmp_path / "pid").read_text()))
    try:
        assert said == "No route to host"
        assert left.is_running()
    finally:
        left.kill()  # it belongs to init by now, and does not end at once
        until(lambda: not lives(left))


@pytest.mark.parametrize("kind", ["ssh", "slurm"])
def test_a_profile_that_wants_its_controller_elsewhere_says_how_to_start_it(
    kind: str, profile: Path, make_session: Make
) -> None:
    (profile / "ipcluster_config.py").write_text(f"c.Cluster.controller_launcher_class = {kind!r}\n")
    with pytest.raises(ProfileError, match=r"ControllerLauncher.*ipcluster start --profile=test; VisTrails then uses"):
        make_session(profile="test").client()
    assert nothing_left(profile)


def test_the_transport_that_clients_do_not_find_is_refused(profile: Path, make_session: Make) -> None:
    (profile / "ipcontroller_config.py").write_text("c.IPController.transport = 'ipc'\n")
    session = make_session(profile="test")
    with pytest.raises(ProfileError, match=r"transport ipc.*c\.IPController\.transport"):
        session.client()
    info = {"interface": "ipc:///nowhere", "registration": 1, "location": "", "ssh": ""}
    profiles.client_file(profile).write_text(json.dumps(info))
    with pytest.raises(ConnectError, match="transport ipc"):
        session.connect()
    assert nothing_left(profile)
