"""Stopping engines, what we started, or a whole cluster: with everything that they started, within 10 seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from helpers import PATIENT_ENGINE, Watch, is_json, listener_at, ours, until

from parallelflow.cluster import ControllerLost, Session, Settings, SettingsError, attached
from parallelflow.cluster import profile as profiles
from parallelflow.cluster.record import Record
from parallelflow.cluster.tree import environment, lives, tokens_of

pytestmark = pytest.mark.kills

Make = Callable[..., Session]

# Python code that neither returns nor sleeps, with a child, and one that has no time for polite requests.
BUSY = "import time\nwhile True: sum(range(1000))"
BUSY_WITH_CHILD = (
    "import subprocess, sys\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
    "while True: sum(range(1000))"
)
DEAF = (
    "import signal\n"
    "[signal.signal(s, signal.SIG_IGN) for s in (signal.SIGTERM, signal.SIGINT)]\n"
    "while True:\n"
    "    try:\n"
    "        while True: sum(range(1000))\n"
    "    except BaseException: pass\n"
)


def occupy(session: Session, code: str, engines: int) -> None:
    """Make all engines busy with some code."""
    view = session.client()[:]
    processes = engine_processes(session)
    idle = {process.pid: process.cpu_times().user for process in processes}
    view.execute(code, block=False)
    until(lambda: sum(process.cpu_times().user > idle[process.pid] + 0.3 for process in processes) == engines)

    if code == BUSY_WITH_CHILD:
        until(lambda: len([p for p in ours() if "time.sleep(600)" in command_of(p)]) == engines)


def command_of(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def engine_processes(session: Session) -> list[psutil.Process]:
    return [psutil.Process(started.entry.pid) for started in session.processes.engines().values()]


@pytest.mark.parametrize("code", [BUSY_WITH_CHILD, DEAF], ids=["busy with a child", "deaf"])
def test_busy_engines_and_all_they_started_end_within_10_s(make_session: Make, code: str) -> None:
    session = make_session()
    session.client()
    occupy(session, code, 2)
    watch = Watch()
    session.stop_started()
    assert watch.within(10)
    assert ours() == []
    assert session.state().processes == ()
    assert session.connect() is None


def test_stopped_engines_and_a_stopped_controller_end_within_10_s(make_session: Make) -> None:
    session = make_session()
    session.client()
    for process in session.processes.remaining():
        process.suspend()
    watch = Watch()
    session.stop_started()
    assert watch.within(10)
    assert ours() == []


def test_what_a_killed_controller_and_killed_engines_left_ends_as_well(make_session: Make) -> None:
    session = make_session()
    session.client()
    occupy(session, BUSY_WITH_CHILD, 2)
    leaders = [psutil.Process(started.entry.pid) for started in session.processes.started]
    for leader in leaders:
        leader.kill()
    until(lambda: not any(map(lives, leaders)))
    assert len(ours()) >= 2 + 7  # the engines' children, and the schedulers
    watch = Watch()
    session.close()
    assert watch.within(10)
    assert ours() == []


def test_chosen_engines_stop_and_the_others_go_on(make_session: Make) -> None:
    session = make_session(engines=3)
    client = session.client()
    client[[0, 1]].execute(BUSY, block=False)
    session.stop_engines([1, 2, 77])
    assert client.ids == [0]
    assert [engine.id for engine in session.state().engines] == [0]
    assert [process.kind for process in session.state().processes] == ["controller", "engine"]
    session.stop_engines([0])
    assert client.ids == []
    assert len(session.start_engines(1)) == 1
    assert client[:].apply_sync(os.getpid) == [engine_processes(session)[0].pid]


def test_engines_of_others_stop_when_asked_to_even_when_busy_or_stopped(make_session: Make) -> None:
    session = make_session(engines=1)
    client = session.client()
    folder = session.processes.profile_dir
    strangers = [start_engine(folder), start_engine(folder), start_engine(folder, "--IPEngine.enable_nanny=False")]
    try:
        until(lambda: len(client.ids) == 4)
        session.state()
        until(lambda: all(engine.pid for engine in session.state().engines))
        theirs = {e.id: e.pid for e in session.state().engines if not e.ours}
        assert set(theirs.values()) == {popen.pid for popen in strangers}
        numbers = {pid: number for number, pid in theirs.items()}
        client[[numbers[strangers[0].pid], numbers[strangers[2].pid]]].execute(BUSY, block=False)
        os.kill(strangers[1].pid, signal.SIGSTOP)
        watch = Watch()
        session.stop_engines(theirs)
        assert watch.within(10)
        assert len(client.ids) == 1
        assert client.ids[0] not in theirs
        for popen in strangers:
            popen.wait(240)
        until(lambda: not [process for process in ours() if "stranger" in tokens_of(process)])  # their nannies
    finally:
        for popen in strangers:
            popen.kill()
            popen.wait()


def start_engine(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ipyparallel.engine", f"--profile-dir={folder}", *PATIENT_ENGINE, *options]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment("stranger"),
        start_new_session=True,
    )


def test_when_our_controller_stops_every_engine_connected_to_it_ends(make_session: Make) -> None:
    session = make_session(engines=1)
    client = session.client()
    stranger = start_engine(session.processes.profile_dir)
    try:
        until(lambda: len(client.ids) == 2)
        client[:].execute(BUSY, block=False)
        watch = Watch()
        session.close()
        assert watch.within(10)
        stranger.wait(240)
        until(lambda: ours() == [])  # its nanny
    finally:
        stranger.kill()
        stranger.wait()


def test_a_cluster_that_ipcluster_started_shuts_down_whole(profile: Path, make_session: Make) -> None:
    command = [sys.executable, "-m", "ipyparallel.cluster", "start", "-n=2", f"--profile-dir={profile}"]
    ipcluster = subprocess.Popen(
        [*command, "--IPClusterStart.delay=0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        session = make_session(profile="test", if_no_engines="never")
        until(lambda: is_json(profiles.client_file(profile)) and session.connect() is not None)
        connection = session.connection
        assert connection is not None
        until(lambda: len(connection.client.ids) == 2)
        connection.client[:].execute(BUSY, block=False)
        state = session.state()
        assert state.controller is not None
        assert state.controller.started_by == "somebody else"
        assert not any(engine.ours for engine in state.engines)
        assert state.processes == ()
        watch = Watch()
        session.shutdown_cluster()
        assert watch.within(10)
        ipcluster.wait(240)
        until(lambda: ours() == [])
        assert session.connect() is None
        assert not profiles.client_file(profile).exists()
    finally:
        for process in ours():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        ipcluster.wait()


def test_a_damaged_cluster_of_somebody_else_can_be_shut_down(
    profile: Path, make_session: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "ipyparallel.controller", f"--profile-dir={profile}", "--HeartMonitor.period=500"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    controller = subprocess.Popen(command, start_new_session=True, **quiet)  # type: ignore[call-overload]
    engine = start_engine(profile)
    try:
        session = make_session(profile="test", if_no_engines="never")
        until(lambda: is_json(profiles.client_file(profile)) and session.connect() is not None)
        connection = session.connection
        assert connection is not None
        until(lambda: len(connection.client.ids) == 1)
        port = int(connection.client._config["task"].rpartition(":")[2])
        listener_at(port, psutil.Process(controller.pid).children()).kill()
        monkeypatch.setattr(attached, "_STARTED_UP_AFTER", 0.0)  # what is missing is not taken for just starting
        until(lambda: session.state().lost)
        with pytest.raises(ControllerLost, match="must be stopped"):
            session.connect()
        watch = Watch()
        session.shutdown_cluster()
        assert watch.within(10)
        controller.wait(240)
        engine.wait(240)
        until(lambda: ours() == [])
    finally:
        for popen in (controller, engine):
            popen.kill()
            popen.wait()


def test_a_wrong_preference_does_not_keep_processes_alive(make_session: Make) -> None:
    session = make_session(engines=1)
    session.client()
    good = session._settings
    session._settings = lambda: Settings.from_mapping({"stop_timeout": "never"})
    try:
        session.close()
        assert ours() == []
    finally:
        session._settings = good


def test_a_profile_whose_configuration_was_spoilt_meanwhile_can_be_stopped(profile: Path, make_session: Make) -> None:
    session = make_session(profile="test", engines=1)
    session.client()
    (profile / "ipcontroller_config.py").write_text("c.IPController.ip = nonsense\n")
    session.close()
    assert ours() == []
    assert Record(profile).read() == []


def test_shutting_down_what_is_not_there_is_a_sentence(own_session: Session) -> None:
    with pytest.raises(ControllerLost, match="there is nothing to shut down"):
        own_session.shutdown_cluster()
    with pytest.raises(ControllerLost, match="no controller any more"):
        own_session.stop_engines([0])
    own_session.stop_started()


def test_a_shutdown_of_our_own_cluster_leaves_nothing_on_record(make_session: Make) -> None:
    session = make_session(engines=1)
    session.client()
    session.shutdown_cluster()
    assert ours() == []
    assert Record(profiles.locate("default")).read() == []
    assert not profiles.cluster_file(profiles.locate("default")).exists()


def test_logs_of_a_start_that_went_well_are_removed(make_session: Make) -> None:
    session = make_session(engines=1)
    session.client()
    logs = profiles.log_dir(session.processes.profile_dir)
    assert len(list(logs.glob("parallelflow-*.log"))) == 2
    session.close()
    assert list(logs.iterdir()) == []


def test_changing_the_profile_stops_what_was_started_on_the_old_one(profile: Path, make_session: Make) -> None:
    session = make_session(engines=1)
    session.client()
    session.change_profile("test")
    assert ours() == []
    assert (session.profile, session.connection) == ("test", None)
    assert len(session.client().ids) == 1
    assert session.processes.profile_dir == profile


def test_processes_whose_stop_was_interrupted_are_still_ours(own_session: Session) -> None:
    own_session.client()
    before = {started.entry.token for started in own_session.processes.started}

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        own_session.processes.stop(pause=interrupt)
    assert {started.entry.token for started in own_session.processes.started} == before
    own_session.close()  # and what it leaves, the fixture tells


def test_a_preference_that_is_not_allowed_keeps_nobody_from_stopping_or_letting_go(
    profile: Path, make_session: Make
) -> None:
    preferences: dict[str, object] = {"profile": "test", "engines": 1}
    session, other = make_session(), make_session()
    for each in (session, other):
        each._settings = lambda: Settings.from_mapping(preferences)
    session.client()
    preferences["stop_timeout"] = "never"
    with pytest.raises(SettingsError):
        session.start_engines(1)
    session.disconnect()
    session.let_go()
    assert ours()
    preferences["stop_timeout"] = 10
    other.connect()
    preferences["stop_timeout"] = "never"
    other.stop_started()
    assert ours() == []
    fresh = make_session()
    fresh._settings = lambda: Settings.from_mapping(preferences)
    fresh.disconnect()
    fresh.let_go()
    fresh.stop_started()  # there is nothing
