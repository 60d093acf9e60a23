"""Connecting to whatever controller a profile has, and noticing when it goes."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipyparallel
import psutil
import pytest
import zmq
from helpers import LONG, Watch, listener_at, ours, until, with_enough_time

from parallelflow.cluster import ClusterError, ConnectError, Connection, ControllerLost, Session, connect, ports
from parallelflow.cluster import profile as profiles
from parallelflow.cluster.ports import find_controller, held_by_others, listening
from parallelflow.cluster.survey import survey
from parallelflow.cluster.tree import Identity, Root, end, environment, lives

_NOBODYS: list[socket.socket] = []


def free_port() -> int:
    """A port at which nobody listens, nor will: others look for free ones, too."""
    _NOBODYS.append(socket.socket())
    _NOBODYS[-1].bind(("127.0.0.1", 0))
    return int(_NOBODYS[-1].getsockname()[1])


def connection_file(folder: Path, port: int, **changes: Any) -> bytes:
    """A connection file as ipyparallel writes them; returns its contents."""
    names = ("registration", "control", "mux", "task", "iopub", "notification", "broadcast")
    info: dict[str, Any] = {
        "ssh": "",
        "interface": "tcp://127.0.0.1",
        **dict.fromkeys(names, port),
        "task_scheme": "leastload",
        "key": "0123-4567",
        "curve_serverkey": None,
        "location": socket.gethostname(),
        "pack": "json",
        "unpack": "json",
        "signature_scheme": "hmac-sha256",
        **changes,
    }
    text = json.dumps(info)
    for path in (profiles.client_file(folder), profiles.engine_file(folder)):
        path.write_text(text)
    return text.encode()


def process_of(connection: Connection, part: str) -> psutil.Process:
    """The process of one part of the controller: of those that listen at its address, the last one that was made."""
    port = int(connection.client._config[part].rpartition(":")[2])
    if part == "registration":
        hub = find_controller(port)
        assert hub is not None
        return psutil.Process(hub.pid)
    hub = connection.controller
    assert hub is not None
    return listener_at(port, psutil.Process(hub.pid).children(recursive=True))


def test_without_a_connection_file_there_is_certainly_no_controller(profile: Path) -> None:
    with pytest.raises(ConnectError, match="No controller runs for the IPython profile 'test'") as caught:
        connect(profile, 10)
    assert caught.value.gone


def test_a_connection_file_that_nobody_listens_to_is_recognised_within_3_s(profile: Path) -> None:
    connection_file(profile, free_port())
    watch = Watch()
    with pytest.raises(ConnectError, match="no longer runs") as caught:
        connect(profile, 10)
    assert caught.value.gone
    assert watch.within(3)


def test_a_connection_file_whose_port_belongs_to_another_program_is_recognised_within_3_s(profile: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection_file(profile, server.getsockname()[1])
        watch = Watch()
        with pytest.raises(ConnectError, match="Nobody answers") as caught:
            connect(profile, 10)
        assert caught.value.gone
        assert watch.within(3)


def test_a_controller_that_is_just_dying_is_recognised_although_it_still_accepts(profile: Path) -> None:
    script = (
        "import socket, time\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "print(server.getsockname()[1], flush=True)\n"
        "time.sleep(600)\n"
    )
    dying = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert dying.stdout is not None
    connection_file(profile, int(dying.stdout.readline()))
    threading.Timer(0.1, dying.kill).start()
    with pytest.raises(ConnectError) as caught:
        connect(profile, 10)
    assert caught.value.gone
    dying.communicate(timeout=240)


def test_a_controller_that_is_busy_or_stopped_is_among_those_that_run(
    profile: Path, make_session: Callable[..., Session]
) -> None:
    session = make_session(profile="test", engines=1)
    session.client()
    assert session.connection is not None
    hub = process_of(session.connection, "registration")
    hub.suspend()
    try:
        assert survey(["test"])[0].running
    finally:
        hub.resume()
    with socket.create_server(("127.0.0.1", 0)) as server:  # another program, which greets nobody
        connection_file(profiles.create("other"), server.getsockname()[1])
        assert [each.running for each in survey(["test", "other"])] == [True, False]


def test_an_answer_counts_that_came_while_this_process_was_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []
    begin_connect = ports._begin_connect

    def note(url: str) -> tuple[socket.socket, int]:
        made = begin_connect(url)
        opened.append(made[0])
        return made

    times = iter([0.0])

    def clock() -> float:
        if (now := next(times, None)) is None:
            assert select.select(opened, [], [], 240)[0]
            return 100.0
        return now

    monkeypatch.setattr(ports, "_begin_connect", note)
    monkeypatch.setattr(ports, "time", SimpleNamespace(monotonic=clock))
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port("tcp://127.0.0.1")
        assert listening({"it": f"tcp://127.0.0.1:{port}"}, 1) == {"it": True}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_connection_file_is_recognised(profile: Path, text: str) -> None:
    profiles.client_file(profile).write_text(text)
    with pytest.raises(ConnectError, match="connection file") as caught:
        connect(profile, 10)
    assert caught.value.gone


def test_a_controller_on_another_machine_that_cannot_be_asked_is_not_taken_for_gone(profile: Path) -> None:
    # 192.0.2.0/24 is set aside for documentation: nobody has such an address.
    connection_file(profile, free_port(), location="192.0.2.1")
    with pytest.raises(ConnectError, match=r"192\.0\.2\.1 and can be reached from there only.*remove ") as caught:
        connect(profile, 10)
    assert not caught.value.gone
    # A refusal is not certain either: 127.0.0.2 refuses here, as a firewall between the machines may.
    for interface in ("tcp://192.0.2.1", "tcp://127.0.0.2"):
        connection_file(profile, free_port(), location="192.0.2.1", interface=interface)
        watch = Watch()
        with pytest.raises(ConnectError, match=r"on 192\.0\.2\.1 cannot be reached.*remove ") as caught:
            connect(profile, 10)
        assert not caught.value.gone
        assert watch.within(3)


def test_a_machine_whose_name_is_not_looked_up_in_time_is_not_taken_for_this_one(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_file(profile, free_port(), location="far-away.example.org")
    looked_up = threading.Event()

    def look_up(name: str) -> str:
        looked_up.wait(60)
        return "127.0.0.1"

    monkeypatch.setattr(socket, "gethostbyname", look_up)
    watch = Watch()
    with pytest.raises(ConnectError, match=r"runs on far-away\.example\.org") as caught:
        connect(profile, 10)
    assert not caught.value.gone
    assert watch.within(3)
    looked_up.set()


def test_a_busy_hub_that_is_not_ours_to_look_at_is_not_taken_for_gone(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A hub of another user greets, and its process cannot be read; here it can, so that must be kept from us.
    monkeypatch.setattr(ports, "_sockets", lambda process: set())
    with zmq.Context() as context, context.socket(zmq.ROUTER) as hub:
        connection_file(profile, hub.bind_to_random_port("tcp://127.0.0.1"))
        with pytest.raises(ConnectError, match=r"not ours to look at.*has not answered.*remove ") as caught:
            connect(profile, 2)
    assert not caught.value.gone


def test_a_controller_that_runs_but_does_not_answer_is_not_taken_for_gone(
    profile: Path, make_session: Callable[..., Session]
) -> None:
    controller = start_by_hand(profile)
    try:
        connection = wait_for(profile)
        hub = connection.controller
        assert hub is not None
        assert hub.pid == controller.pid
        connection.close()
        os.kill(hub.pid, signal.SIGSTOP)
        before = profiles.client_file(profile).read_bytes()
        with pytest.raises(ConnectError, match=f"process {hub.pid}.* has not answered for 3 seconds") as caught:
            make_session(profile="test", connect_timeout=3).client()
        assert not caught.value.gone
        assert profiles.client_file(profile).read_bytes() == before
    finally:
        finish(controller)


# Whoever started it


def start_by_hand(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ipyparallel.controller", f"--profile-dir={folder}", *options]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment("by-hand"),
        start_new_session=True,
    )


def controllers_and_engines() -> list[psutil.Process]:
    """The leading processes of this test's controllers, and its engines."""
    modules = {"ipyparallel.controller", "parallelflow.cluster.ipyparallel_controller", "ipyparallel.engine"}
    found = []
    for process in ours():
        with suppress(psutil.NoSuchProcess):
            if modules & {*process.cmdline()}:
                found.append((process, process.ppid()))
    pids = {process.pid for process, _ in found}
    return [process for process, parent in found if parent not in pids]


def finish(popen: subprocess.Popen[bytes]) -> None:
    end([Root("", Identity.of(popen.pid))], 15)
    popen.wait()


def wait_for(folder: Path) -> Connection:
    end_of_time = time.monotonic() + LONG
    while True:
        try:
            return connect(folder, 10)
        except ConnectError:
            assert time.monotonic() < end_of_time
            time.sleep(0.05)


def test_a_controller_started_by_hand_is_used_and_outlives_us(
    profile: Path, make_session: Callable[..., Session]
) -> None:
    own_session = make_session(profile="test")
    controller = start_by_hand(profile, "--HeartMonitor.period=500")
    try:
        wait_for(profile).close()
        before = profiles.client_file(profile).read_bytes()
        client = own_session.client()
        assert len(client.ids) == 2
        state = own_session.state()
        assert state.controller is not None
        assert (state.controller.pid, state.controller.started_by) == (controller.pid, "somebody else")
        assert profiles.client_file(profile).read_bytes() == before
        own_session.close()
        assert controller.poll() is None
        assert profiles.client_file(profile).read_bytes() == before
        assert own_session.connect() is not None
    finally:
        own_session.close()
        finish(controller)


# Clusters with an id of their own

_CLUSTER = """
import sys
import ipyparallel
with ipyparallel.Cluster(profile="test", n=1, delay=0.1, controller_args=["--HeartMonitor.period=500"]):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_cluster_of_ipyparallels_own_class_is_used_and_outlives_us(
    profile: Path, make_session: Callable[..., Session]
) -> None:
    connection_file(profile, free_port())  # what a controller that crashed left, which comes first
    stale = profiles.client_file(profile).read_bytes()
    for path in (profiles.client_file(profile, "old"), profiles.engine_file(profile, "old")):
        path.write_bytes(stale)
    cluster = subprocess.Popen(
        [sys.executable, "-c", _CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert cluster.stdout is not None
        assert cluster.stdout.readline() == b"ready\n"
        session = make_session(profile="test")
        until(lambda: len(session.client(start=False).ids) == 1)
        assert session.connection is not None
        assert profiles.other_clusters(profile)[0] == session.connection.cluster_id != "old"
        assert survey(["test"])[0].running
        (number,) = session.start_engines(1)
        assert sorted(session.client().ids) == sorted({0, number})
        assert [(engine.id, engine.ours) for engine in session.state().engines] == [(0, False), (number, True)]
        assert [process.kind for process in session.state().processes] == ["engine"]
        state = session.state()
        assert state.controller is not None
        assert state.controller.started_by == "somebody else"
        session.close()
        assert len(controllers_and_engines()) == 2  # it stays
        assert profiles.client_file(profile).read_bytes() == stale  # nothing was started, so nothing was removed
    finally:
        cluster.communicate(timeout=240)
        until(lambda: not ours())  # its engine's nanny tries to tell the hub, which is gone, for 3 s


# Health


def test_a_healthy_cluster_is_not_lost_and_the_watch_ends_with_its_watchers(healthy_cluster: Session) -> None:
    connection = healthy_cluster.connection
    assert connection is not None
    assert connection.check() is None
    before = threading.enumerate()  # one that has been told to end may be among them still
    with connection.watched(), connection.watched():
        watchers = [t for t in threading.enumerate() if t.name == "parallelflow-watch" and t not in before]
        assert len(watchers) == 1
        watchers[0].join(3)  # a few rounds
        assert watchers[0].is_alive()
        assert connection.lost is None
    watchers[0].join(240)
    assert not watchers[0].is_alive()


def test_a_stopped_engine_is_not_a_lost_controller(healthy_cluster: Session) -> None:
    connection = healthy_cluster.connection
    assert connection is not None
    engine = next(iter(healthy_cluster.processes.engines().values()))
    before = threading.enumerate()
    os.kill(engine.entry.pid, signal.SIGSTOP)
    try:
        with connection.watched():
            (watch,) = [t for t in threading.enumerate() if t.name == "parallelflow-watch" and t not in before]
            watch.join(4)
            assert connection.lost is None
    finally:
        os.kill(engine.entry.pid, signal.SIGCONT)


def test_a_mistake_in_what_is_done_beside_the_watch_does_not_end_it(healthy_cluster: Session) -> None:
    connection = healthy_cluster.connection
    assert connection is not None
    rounds = 0

    def mistaken() -> None:
        nonlocal rounds
        rounds += 1
        raise RuntimeError("can't start new thread")

    before, connection.each_round = connection.each_round, mistaken
    try:
        with connection.watched():
            until(lambda: rounds >= 2)
    finally:
        connection.each_round = before


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("task", "task scheduler is gone"),
        ("mux", "direct scheduler is gone"),
        ("registration", "hub"),
        ("everything", "is gone"),
    ],
)
def test_a_part_of_the_controller_that_is_killed_shows_within_some_rounds_of_the_watch(
    make_session: Callable[..., Session], part: str, sentence: str
) -> None:
    own_session = make_session(engines=1)
    client = own_session.client()
    connection = own_session.connection
    assert connection is not None
    leader = connection.controller
    assert leader is not None
    rounds = []
    connection.each_round = lambda: rounds.append(time.monotonic())
    with connection.watched():
        if part == "everything":
            victims = own_session.processes.remaining()
        else:
            victims = [process_of(connection, part)]
            assert (victims[0].pid == leader.pid) == (part == "registration")
        for process in victims:
            with suppress(psutil.NoSuchProcess):  # nannies end with their engines
                process.kill()
        until(lambda: not any(map(lives, victims)))
        rounds.clear()
        until(lambda: connection.lost)
        assert len(rounds) <= 4  # each takes 1 s, and up to 1 s more for parts that do not answer
        assert re.search(sentence, connection.lost or "")
    state = own_session.state()
    assert not state.connected
    assert state.lost == connection.lost
    # The next call finds it out by itself, and repairs what is ours.
    assert own_session.client() is not client
    assert len(own_session.client().ids) == 1
    assert [process.kind for process in own_session.state().processes] == ["controller", "engine"]
    assert len(controllers_and_engines()) == 2


def test_a_controller_that_falls_silent_as_on_a_machine_that_vanished_shows_within_20_s(
    make_session: Callable[..., Session],
) -> None:
    session = make_session(engines=1)
    session.client()
    connection = session.connection
    assert connection is not None
    with connection.watched():
        assert connection.controller is not None
        hub = psutil.Process(connection.controller.pid)
        for process in [hub, *hub.children()]:
            process.suspend()
        until(lambda: connection.lost)
    assert re.search("no longer answers|has not answered", connection.lost or "")


def test_a_damaged_controller_that_is_not_ours_is_reported(profile: Path, make_session: Callable[..., Session]) -> None:
    controller = start_by_hand(profile)
    try:
        connection = wait_for(profile)
        until(connection.ready)
        victim = process_of(connection, "task")
        connection.close()
        victim.kill()
        until(lambda: not lives(victim))
        with pytest.raises(ControllerLost, match=r"task scheduler is gone.*stopped and started again"):
            make_session(profile="test").client()
        assert controller.poll() is None
    finally:
        finish(controller)


def test_a_closed_connection_says_so(own_session: Session) -> None:
    connection = own_session.start_engines(1) and own_session.connection
    assert connection is not None
    own_session.close()
    assert connection.lost is not None
    assert own_session.connection is None


def test_addresses_are_asked_whether_somebody_listens() -> None:
    with (
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as router,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        urls = {
            "zmq": f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}",
            "other": f"tcp://127.0.0.1:{other.getsockname()[1]}",
            "closed": f"tcp://127.0.0.1:{free_port()}",
            "ipc": "ipc:///nowhere/at/all",
        }
        found = {"zmq": True, "other": None, "closed": False, "ipc": False}
        with_enough_time(lambda seconds: listening(urls, float(seconds)) == found, 2, 20)


def test_somebody_at_a_port_is_another_one_only_where_that_can_be_seen() -> None:
    program = "import socket; server = socket.create_server(('127.0.0.1', 0)); print(server.getsockname()[1]); input()"
    command, pipe = [sys.executable, "-uc", program], subprocess.PIPE
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(command, stdin=pipe, stdout=pipe) as here,
        subprocess.Popen(
            ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", *command], stdin=pipe, stdout=pipe
        ) as contained,
    ):
        try:
            assert here.stdout is not None
            assert contained.stdout is not None
            port, own = int(server.getsockname()[1]), int(here.stdout.readline())
            process = psutil.Process(here.pid)
            assert held_by_others([port, own], [process]) == {port}
            assert not held_by_others([own], [process])
            assert not held_by_others([free_port()], [process])
            assert not held_by_others([port], [])
            # What has a network of its own is reached through somebody who listens here.
            if contained.stdout.readline():  # else this machine has no such networks
                assert not held_by_others([port], [psutil.Process(contained.pid)])
            here.communicate(b"\n", timeout=240)
            assert not held_by_others([port], [process])  # it is gone
        finally:
            for each in (here, contained):
                each.kill()


@pytest.mark.slow
def test_the_files_of_a_cluster_whose_hub_alone_was_killed_are_stale(profile: Path) -> None:
    controller = start_by_hand(profile)
    wait_for(profile).close()
    left = psutil.Process(controller.pid).children(recursive=True)
    try:
        controller.kill()
        controller.wait()
        watch = Watch()
        with pytest.raises(ConnectError) as caught:
            connect(profile, 10)
        assert caught.value.gone
        assert watch.within(3)
    finally:
        for process in left:
            process.kill()
        until(lambda: not any(map(lives, left)))


def test_the_hub_hears_soon_of_an_engine_that_was_killed_together_with_its_nanny(healthy_cluster: Session) -> None:
    client, connection = healthy_cluster.client(), healthy_cluster.connection
    assert connection is not None
    number = client.ids[0]
    engine = psutil.Process(healthy_cluster.processes.engines()[client._engines[number]].entry.pid)
    pending = client[number].execute("while True: sum(range(1000))", block=False)
    with connection.watched():
        for process in [engine, *engine.children()]:
            with suppress(psutil.NoSuchProcess):  # nannies end with their engines
                process.kill()
        until(lambda: number not in client.ids)
        until(pending.done)
        assert connection.lost is None


# Encryption


def test_with_encryption_a_client_without_the_key_gets_nowhere(make_session: Callable[..., Session]) -> None:
    session = make_session(engines=1, encryption=True)
    client = session.client()
    assert client[:].apply_sync(os.getpid) == [next(iter(session.processes.engines().values())).entry.pid]
    state = session.state()
    assert state.controller is not None
    assert state.controller.encrypted
    folder = session.processes.profile_dir
    info = json.loads(profiles.client_file(folder).read_text())
    assert profiles.secrets(folder) == {info["curve_serverkey"]}
    for process in session.processes.remaining():
        assert info["curve_serverkey"] not in " ".join([*process.cmdline(), *process.environ().values()])
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("ipcontroller-"):
            assert info["curve_serverkey"] not in path.read_text(errors="replace"), path
    with pytest.raises(TimeoutError):
        ipyparallel.Client({**info, "curve_serverkey": None}, timeout=2)
    with pytest.raises(TimeoutError):
        ipyparallel.Client({**info, "curve_serverkey": "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"}, timeout=2)
    assert client[:].apply_sync(os.getpid)


def test_errors_are_sentences() -> None:
    assert issubclass(ConnectError, ClusterError)
    assert issubclass(ControllerLost, ClusterError)
