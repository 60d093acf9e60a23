"""What is known about a cluster, without a task on a busy engine and cheap enough for hundreds of engines."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from helpers import PATIENT_ENGINE, Watch, ours, until

from parallelflow.cluster import EngineState, Session
from parallelflow.cluster import profile as profiles
from parallelflow.cluster.record import Entry
from parallelflow.cluster.started import reaper
from parallelflow.cluster.tree import environment, lives, tokens_of

BUSY = "while not stop: sum(range(1000))"


def engines(session: Session) -> tuple[EngineState, ...]:
    return session.state().engines


def test_a_session_that_has_done_nothing_knows_nothing(own_session: Session) -> None:
    state = own_session.state()
    assert (state.profile, state.connected, state.controller, state.engines) == ("default", False, None, ())


def test_the_table_tells_who_where_and_how_much(healthy_cluster: Session) -> None:
    client = healthy_cluster.client()
    done = {engine.id: engine.tasks_done for engine in engines(healthy_cluster)}
    client[:].apply_sync(os.getpid)
    view = client.load_balanced_view()
    view.map_sync(abs, range(10))
    until(lambda: sum(e.tasks_done for e in engines(healthy_cluster)) >= sum(done.values()) + 12)
    state = healthy_cluster.state()
    assert state.connected
    assert state.lost is None
    assert state.hosts == {(socket.gethostname(), True)}
    assert state.controller is not None
    assert state.controller.started_by == "this VisTrails"
    assert not state.controller.encrypted
    assert psutil.Process(state.controller.pid).ppid() == os.getpid()
    for engine in state.engines:
        assert engine.ours
        assert engine.host == socket.gethostname()
        assert client[engine.id].apply_sync(os.getpid) == engine.pid
        assert engine.tasks_done > done[engine.id]
        assert engine.tasks_queued == 0
        assert engine.memory is not None
        assert 2**24 < engine.memory < 2**32
        assert engine.cpu_percent is not None
        assert 0 <= engine.cpu_percent < 250
        assert engine.since is not None
        assert time.time() - 24 * 3600 < engine.since < time.time()


def test_busy_queued_and_stopped_engines_are_told_apart_without_a_task(healthy_cluster: Session) -> None:
    client = healthy_cluster.client()
    first, second = client.ids
    client[:].execute("stop = []", block=True)
    view = client[first]
    # A handler, because a busy engine hears of nothing else.
    view.execute("import signal; signal.signal(signal.SIGUSR1, lambda *a: stop.append(1))", block=True)
    pid = view.apply_sync(os.getpid)
    pending = [view.execute(BUSY, block=False), view.apply_async(abs, -1), view.apply_async(abs, -2)]
    other = client[second].apply_sync(os.getpid)
    try:
        until(lambda: engines(healthy_cluster)[0].tasks_queued == 3)
        until(lambda: (engines(healthy_cluster)[0].cpu_percent or 0) > 2)
        os.kill(other, signal.SIGSTOP)
        until(lambda: engines(healthy_cluster)[1].state == "stopped")
        busy, stopped = engines(healthy_cluster)
        assert (busy.state, busy.tasks_queued, busy.pid) == ("busy", 3, pid)
        assert stopped.pid == other
        # Looking has not queued anything.
        assert (engines(healthy_cluster)[0].tasks_queued, engines(healthy_cluster)[1].tasks_queued) == (3, 0)
    finally:
        os.kill(other, signal.SIGCONT)
        os.kill(pid, signal.SIGUSR1)
    for one in pending:
        one.get(timeout=240)
    until(lambda: engines(healthy_cluster)[0].state == "idle")


def test_an_engines_children_count_towards_its_cpu_and_memory(healthy_cluster: Session) -> None:
    client = healthy_cluster.client()
    view = client[client.ids[0]]
    before = engines(healthy_cluster)[0].memory or 0
    code = "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'x = bytearray(2**28)\\nwhile True: pass'])"
    view.execute(code, block=True)
    try:
        until(lambda: (engines(healthy_cluster)[0].memory or 0) > before + 2**27)
        until(lambda: (engines(healthy_cluster)[0].cpu_percent or 0) > 2)
    finally:
        view.execute("child.kill(); child.wait()", block=True)


@pytest.mark.slow
def test_an_engine_that_somebody_else_started_tells_its_host_and_process_id_even_when_busy(
    healthy_cluster: Session,
) -> None:
    client = healthy_cluster.client()
    folder = healthy_cluster.processes.profile_dir
    command = [sys.executable, "-m", "ipyparallel.engine", f"--profile-dir={folder}", *PATIENT_ENGINE]
    stranger = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: len(client.ids) == 3)
        number = max(client.ids)
        client[number].execute("while True: sum(range(1000))", block=False)
        until(lambda: {e.id: e for e in engines(healthy_cluster)}[number].pid is not None)
        engine = {e.id: e for e in engines(healthy_cluster)}[number]
        assert (engine.pid, engine.host, engine.ours) == (stranger.pid, socket.gethostname(), False)
        assert stranger.pid not in {process.pid for process in healthy_cluster.state().processes}
        healthy_cluster.stop_engines([number])
        stranger.wait(240)
        until(lambda: not ours())  # its nanny
    finally:
        stranger.kill()
        stranger.wait()


def test_an_engine_that_is_killed_leaves_the_table_and_is_told_to_have_died(healthy_cluster: Session) -> None:
    engine = engines(healthy_cluster)[0]
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    until(lambda: engine.id not in {e.id for e in engines(healthy_cluster)})
    until(lambda: any(process.pid == engine.pid for process in healthy_cluster.state().died))
    died = healthy_cluster.state().died[-1]
    assert (died.kind, died.pid, died.ending) == ("engine", engine.pid, "was killed by signal 9")
    assert engine.pid not in {process.pid for process in healthy_cluster.state().processes}
    until(lambda: not any(lives(p) for p in psutil.process_iter() if p.pid == engine.pid))


def test_an_engine_that_has_ended_is_told_to_have_died_although_nobody_has_collected_it(
    make_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "add", lambda child: None)
    session = make_session(engines=1)
    session.client()
    (engine,) = (process for process in session.state().processes if process.kind == "engine")
    os.kill(engine.pid, signal.SIGKILL)
    until(lambda: psutil.Process(engine.pid).status() == psutil.STATUS_ZOMBIE)
    until(lambda: session.state().died)  # its last thread may need a moment more
    state = session.state()
    assert [process.kind for process in state.processes] == ["controller"]
    assert [(process.pid, process.ending) for process in state.died] == [(engine.pid, "was killed by signal 9")]


def test_a_process_taken_over_that_is_a_zombie_of_somebody_else_is_told_to_have_died(
    profile: Path, make_session: Callable[..., Session]
) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment("mine"))
    try:
        until(lambda: "mine" in tokens_of(psutil.Process(child.pid)))
        created = psutil.Process(child.pid).create_time()
        entry = Entry("mine", "engine", child.pid, created, host=socket.gethostname(), let_go=True, owner_pid=1)
        session = make_session(profile="test")
        session.processes.take_back(session.processes.record.change(lambda old: [entry]), let_go=True)
        assert [process.pid for process in session.state().processes] == [child.pid]
        child.kill()
        until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
        state = session.state()
        assert state.processes == ()
        assert [(process.pid, process.ending) for process in state.died] == [(child.pid, "ended")]
    finally:
        child.kill()
        child.communicate()
    session.stop_started()


# 256 engines that beat and answer, but compute nothing: what this machine can hold of real ones is a dozen.
_CROWD = """
import json, sys, time, uuid, zmq
from jupyter_client.session import Session
info = json.load(open(sys.argv[1]))
session = Session(key=info["key"].encode(), signature_scheme=info["signature_scheme"])
url = lambda part: f"{info['interface']}:{info[part]}"
context, poller, beats, n = zmq.Context(), zmq.Poller(), {}, int(sys.argv[2])
context.max_sockets = 4 * n
ping = context.socket(zmq.SUB); ping.subscribe(b""); ping.connect(url("hb_ping")); poller.register(ping)
hearts = []

def beat():
    beats = ping.recv()
    for heart in hearts: heart.send(beats)

for number in range(n):
    while ping.poll(0): beat()  # the hub forgets those that are silent while others still register
    name = str(uuid.uuid4())
    for part in ("registration", "hb_pong", "control"):
        s = context.socket(zmq.ROUTER if part == "control" else zmq.DEALER)
        s.identity = name.encode()
        s.connect(url(part))
        if part == "registration": session.send(s, "registration_request", content={"uuid": name}); s.recv_multipart()
        if part == "hb_pong": hearts.append(s)
        if part == "control": poller.register(s, zmq.POLLIN)
while True:
    for s, _ in poller.poll():
        if s is ping:
            beat()
        else:
            idents, message = session.feed_identities(s.recv_multipart())
            message = session.deserialize(message)
            content = {"hostname": sys.argv[3], "pid": int(sys.argv[4]), "kernel_cpu": 12.5, "kernel_memory": 10**8}
            session.send(s, "usage_reply", content, parent=message, ident=idents)
"""


@pytest.mark.slow
def test_256_engines_can_be_looked_at_every_second(healthy_cluster: Session, tmp_path: Path) -> None:
    path = profiles.engine_file(healthy_cluster.processes.profile_dir)
    client = healthy_cluster.client()
    real = set(client.ids)
    crowd = subprocess.Popen([sys.executable, "-c", _CROWD, str(path), "256", "far-away", "4242"])
    try:
        until(lambda: len(client.ids) == len(real) + 256)
        until(lambda: all(engine.pid for engine in engines(healthy_cluster)))
        far = [engine for engine in engines(healthy_cluster) if engine.host == "far-away"]
        assert len(far) == 256
        assert {(engine.pid, engine.cpu_percent, engine.memory) for engine in far} == {(4242, 12.5, 10**8)}
        watch = Watch()
        for _ in range(5):
            engines(healthy_cluster)
        assert watch.within(5)
    finally:
        crowd.kill()
        crowd.wait()
        for number in set(client.ids) - real:
            client._send(client._query_stream, "unregistration_request", content={"id": number})
    until(lambda: set(client.ids) == real)
    assert json.loads(path.read_text())


@pytest.mark.slow
def test_an_engine_in_a_container_with_this_machines_name_is_not_taken_for_a_process_of_this_machine(
    healthy_cluster: Session,
) -> None:
    client = healthy_cluster.client()
    real = set(client.ids)
    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    path = profiles.engine_file(healthy_cluster.processes.profile_dir)
    command = [sys.executable, "-c", _CROWD, str(path), "1", socket.gethostname(), str(innocent.pid)]
    engine = subprocess.Popen(command)
    try:
        until(lambda: len(client.ids) == len(real) + 1)
        (number,) = set(client.ids) - real
        until(lambda: {e.id: e for e in engines(healthy_cluster)}[number].pid == innocent.pid)
        state = {e.id: e for e in engines(healthy_cluster)}[number]
        assert (state.cpu_percent, state.memory) == (12.5, 10**8)  # what it says itself
        healthy_cluster.stop_engines([number])
        assert innocent.poll() is None
    finally:
        for popen in (engine, innocent):
            popen.kill()
            popen.wait()
        for number in set(client.ids) - real:
            client._send(client._query_stream, "unregistration_request", content={"id": number})
    until(lambda: set(client.ids) == real)
