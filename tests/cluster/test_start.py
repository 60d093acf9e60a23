"""Starting controllers and engines: in time, or with an error that says why."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
from helpers import LONG, Watch, command_line, free_ports, is_json, ours, until, with_enough_time

from parallelflow.cluster import (
    Cancelled,
    ClusterError,
    ControllerLost,
    Need,
    NoEngines,
    ProcessManager,
    Session,
    Settings,
    StartError,
    attached,
    inside_engine,
    logs,
    pools,
)
from parallelflow.cluster import profile as profiles
from parallelflow.cluster import started as started_module
from parallelflow.cluster.cores import usable_cores
from parallelflow.cluster.ports import listening_ports
from parallelflow.cluster.record import Record
from parallelflow.cluster.tree import Identity, Root, end, lives
from parallelflow.cluster.waiting import Wait

Make = Callable[..., Session]


def nothing_left(profile: Path) -> None:
    assert ours() == []
    assert Record(profile).read() == []
    names = {path.name for path in profiles.security_dir(profile).iterdir()}
    assert names <= {"parallelflow.lock", "parallelflow-start.lock"}


# In batch mode


def test_with_no_cluster_one_is_started_with_as_many_engines_as_the_preference_says(make_session: Make) -> None:
    session = make_session(engines=3)
    client = session.client()
    assert len(client.ids) == 3
    assert session.client() is client
    assert client[:].apply_sync(os.getpid) == [s.pid for s in session.state().engines]
    session.close()
    nothing_left(profiles.locate("default"))


def test_by_default_there_are_as_many_engines_as_cores(make_session: Make) -> None:
    assert len(make_session(engines=0).client().ids) == usable_cores()


def test_nothing_is_started_if_the_caller_or_the_preferences_say_so(make_session: Make) -> None:
    for session, arguments in ((make_session(), {"start": False}), (make_session(if_no_engines="never"), {})):
        with pytest.raises(NoEngines, match=r"no controller runs.*Start new engine processes.*ipcluster start"):
            session.client(**arguments)
        assert session.connect() is None
    assert ours() == []


def test_with_the_preference_ask_the_answer_counts(make_session: Make) -> None:
    class Asked:
        answers: ClassVar[list[int | None]] = [None, 1]

        def start_cluster(self, need: Need) -> int | None:
            assert need == Need("default", 2)
            return self.answers.pop(0)

        def orphans(self, orphans: Any) -> str:
            raise AssertionError

    session = make_session(Asked(), if_no_engines="ask")
    with pytest.raises(NoEngines, match="none were to be started"):
        session.client()
    assert ours() == []
    assert len(session.client().ids) == 1


def test_who_is_asked_hears_where_engines_would_run_and_whether_they_would_stay(make_session: Make) -> None:
    heard: list[Need] = []

    class Asked:
        def start_cluster(self, need: Need) -> int | None:
            heard.append(need)
            return None

        def orphans(self, orphans: Any) -> str:
            raise AssertionError

    folder = profiles.create("batch")
    (folder / "ipcluster_config.py").write_text("c.Cluster.engine_launcher_class = 'slurm'\n")
    session = make_session(Asked(), if_no_engines="ask", at_exit="leave", profile="batch", engines=7)
    with pytest.raises(NoEngines, match="none were to be started"):
        session.client()
    assert heard == [Need("batch", 7, here=False, stay=True)]


def test_threads_that_want_a_client_at_the_same_moment_get_the_same_one(make_session: Make) -> None:
    session = make_session(engines=1)
    clients: list[Any] = []
    threads = [threading.Thread(target=lambda: clients.append(session.client())) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        watch = Watch()
        session.state()
        assert watch.within(2)  # it does not wait for the start
        time.sleep(0.02)
    assert len(clients) == 3
    assert len({id(client) for client in clients}) == 1
    assert len(session.state().processes) == 2


def test_a_second_session_finds_what_the_first_one_started(make_session: Make) -> None:
    first, second = make_session(engines=1), make_session()
    uuids = dict(first.client()._engines)
    assert dict(second.client()._engines) == uuids
    controller = second.state().controller
    assert controller is not None
    assert controller.started_by == "another VisTrails"
    second.close()
    assert len(first.client().ids) == 1


@pytest.mark.slow
def test_two_that_start_at_the_same_moment_end_with_one_controller(profile: Path) -> None:
    script = (
        "import json, sys\n"
        "from parallelflow.cluster import Session, Settings\n"
        "session = Session(lambda: Settings(profile='test', engines=1, start_timeout=200, connect_timeout=60))\n"
        "client = session.client()\n"
        "print(json.dumps([session.connection.url, sorted(client._engines.values())]), flush=True)\n"
        "sys.stdin.read()\n"
        "session.close()\n"
    )
    command = [sys.executable, "-c", script]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        seen = [json.loads(one.stdout.readline()) for one in both if one.stdout]
        assert seen[0] == seen[1]
        leaders = [
            p
            for p in ours()
            if "parallelflow.cluster.ipyparallel_controller" in command_line(p) and p.parent() in map(_process, both)
        ]
        assert len(leaders) == 1
    finally:
        for one in both:
            one.communicate(timeout=240)
    assert [one.returncode for one in both] == [0, 0]
    nothing_left(profile)


def _process(popen: subprocess.Popen[str]) -> psutil.Process:
    return psutil.Process(popen.pid)


def test_a_start_waits_for_another_one_and_says_so(profile: Path, make_session: Make) -> None:
    import fcntl

    with open(profiles.security_dir(profile) / "parallelflow-start.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ClusterError, match=r"Waited 1 seconds for another VisTrails"):
            make_session(profile="test", start_timeout=1).client()
    assert ours() == []


# Progress and cancel


def test_progress_is_reported_10_times_a_second_from_the_calling_thread(make_session: Make) -> None:
    seen: list[tuple[str, float]] = []
    watches: list[Watch] = []

    def progress(text: str, fraction: float) -> None:
        assert threading.current_thread() is caller
        seen.append((text, fraction))
        if not watches:
            watches.append(Watch())
        watches[0].stop()

    caller = threading.current_thread()
    make_session().client(progress=progress)
    # The machine may be busy, so not each gap: but on the whole.
    assert watches[0].within((len(seen) + 2) / 10)
    assert [fraction for _, fraction in seen] == sorted(fraction for _, fraction in seen)
    assert (seen[0][1], seen[-1][1]) == (0.0, 1.0)
    assert {text for text, _ in seen} >= {"Starting the controller", "The cluster is ready"}


@pytest.mark.parametrize("fraction", [0.05, 0.3])
def test_a_cancel_leaves_nothing_behind(profile: Path, make_session: Make, fraction: float) -> None:
    reached = threading.Event()
    session = make_session(profile="test")

    def progress(text: str, now: float) -> None:
        if now >= fraction:
            reached.set()

    with pytest.raises(Cancelled):
        session.client(progress=progress, cancelled=reached.is_set)
    nothing_left(profile)
    assert session.state().processes == ()


def test_an_exception_out_of_progress_leaves_nothing_behind(profile: Path, make_session: Make) -> None:
    def progress(text: str, fraction: float) -> None:
        if fraction >= 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_session(profile="test").client(progress=progress)
    nothing_left(profile)


def test_an_interruption_in_the_moment_of_a_start_leaves_nothing_behind(
    profile: Path, make_session: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = subprocess.Popen
    made: list[Any] = []

    def interrupted(command: list[str], **options: Any) -> Any:
        made.append(popen(command, **options))
        if len(made) == 2:
            raise KeyboardInterrupt  # as Ctrl-C does when the process runs and nobody knows it yet
        return made[-1]

    monkeypatch.setattr(started_module.subprocess, "Popen", interrupted)
    session = make_session(profile="test")
    with pytest.raises(KeyboardInterrupt):
        session.client()
    assert len(made) == 2
    assert made[1].wait(240) is not None
    nothing_left(profile)


def test_the_time_in_which_a_user_thinks_does_not_count() -> None:
    begin = time.monotonic()
    wait = Wait(LONG)
    with wait.suspended():
        time.sleep(1.2)
    left = wait.left
    assert left >= LONG - (time.monotonic() - begin - 1.1)


def test_cancelling_more_engines_leaves_the_others_alone(healthy_cluster: Session) -> None:
    before = healthy_cluster.client().ids
    with pytest.raises(Cancelled):
        healthy_cluster.start_engines(1, cancelled=lambda: True)
    assert healthy_cluster.client().ids == before
    assert ours() == []


# Failures


@pytest.mark.parametrize("name", ["parallelflow-start.lock", "parallelflow.lock", "parallelflow.json"])
def test_what_cannot_be_written_gets_a_sentence(profile: Path, make_session: Make, name: str) -> None:
    # Permissions would not keep root from writing it; that it is a folder does.
    path = profiles.security_dir(profile) / name
    path.mkdir()
    session = make_session(profile="test", engines=1)
    with pytest.raises(ClusterError, match=rf"{re.escape(str(path))} cannot be written: Is a directory\."):
        session.client()
    assert ours() == []
    path.rmdir()


def test_an_engine_that_dies_while_starting_is_reported_with_the_end_of_its_log(
    profile: Path, make_session: Make
) -> None:
    (profile / "ipengine_config.py").write_text("raise SystemExit('the disk is made of cheese')\n")
    watch = Watch()
    sentence = r"2 of 2 engines did not start\. Processes \d+, \d+ ended with exit status 1\. Their logs say the same"
    with pytest.raises(StartError, match=sentence) as caught:
        make_session(profile="test").client()
    assert watch.within(30)
    assert "the disk is made of cheese" in caught.value.log_tail
    assert caught.value.log_tail in str(caught.value)
    assert str(caught.value).count("the disk is made of cheese") == 1
    (log_path,) = caught.value.log_paths
    assert stat.S_IMODE(log_path.stat().st_mode) == 0o600
    nothing_left(profile)


# Which of these an engine gets is decided by who is first.
_PROBLEMS = """
import os
problems = ["the disk is made of cheese", None, "the licence is for cats", "the disk is made of cheese", "it is Monday"]
for number, problem in enumerate([*problems, "it is raining"]):
    try:
        os.mkdir(os.path.join({folder!r}, f"taken-{{number}}"))
    except FileExistsError:
        continue
    if problem is None:
        import time; time.sleep(600)
    raise SystemExit(problem)
"""
_SAID = ("the disk is made of cheese", "the licence is for cats", "it is Monday")


def test_each_engine_that_fails_is_reported_with_the_end_of_its_own_log(profile: Path, make_session: Make) -> None:
    (profile / "ipengine_config.py").write_text(_PROBLEMS.format(folder=str(profile)))
    errors: list[StartError] = []

    def only_one_hangs_after(seconds: int) -> bool:
        for taken in profile.glob("taken-*"):
            taken.rmdir()
        with pytest.raises(StartError) as caught:
            make_session(profile="test", start_timeout=seconds).start_engines(5)
        errors[:] = [caught.value]
        return all(words in str(caught.value) for words in (*_SAID, "The log of one more engine"))

    with suppress(AssertionError):  # what lacks, it says below
        with_enough_time(only_one_hangs_after, 15, 90)
    (error,) = errors
    text = str(error)
    assert "5 of 5 engines did not start." in text
    # Three different logs are shown; that of the engine that hangs is counted.
    assert text.count("the disk is made of cheese") == 1
    assert re.search(r"Processes \d+, \d+ ended with exit status 1\. Their logs say the same; one of them is /", text)
    assert re.search(r"Process \d+ ended with exit status 1\. Its log is /\S+\.log\. The log ends with:", text)
    assert all(words in text for words in _SAID)
    assert f"The log of one more engine is in {profiles.log_dir(profile)}." in text
    assert len(error.log_paths) == 3
    assert error.sentence == "5 of 5 engines did not start."
    nothing_left(profile)


def test_a_controller_that_dies_while_starting_is_reported_with_the_end_of_its_log(
    profile: Path, make_session: Make
) -> None:
    (profile / "ipcontroller_config.py").write_text("c.IPController.transport = 'pigeon'\n")
    with pytest.raises(StartError, match="The controller ended with exit status") as caught:
        make_session(profile="test").client()
    assert "Protocol not supported" in caught.value.log_tail
    nothing_left(profile)


def test_an_engine_that_does_not_register_in_time_is_reported(profile: Path, make_session: Make) -> None:
    (profile / "ipengine_config.py").write_text("import time; time.sleep(600)\n")

    def begun_in(seconds: int) -> bool:
        with pytest.raises(StartError) as caught:
            make_session(profile="test", engines=1, start_timeout=seconds).client()
        nothing_left(profile)
        said = rf"The engine did not start\. Process \d+ had not registered after {seconds} seconds"
        return re.search(said, str(caught.value)) is not None

    with_enough_time(begun_in, 8, 60)  # it may be the controller that takes so long


def test_engines_that_did_start_stay_when_others_fail(profile: Path, make_session: Make) -> None:
    # The first engine to get there takes the folder; the second one finds it taken.
    (profile / "ipengine_config.py").write_text(
        f"import os\n"
        f"try:\n"
        f"    os.mkdir({str(profile / 'taken')!r})\n"
        f"except FileExistsError:\n"
        f"    raise SystemExit('the folder is taken')\n"
    )
    session = make_session(profile="test")
    with pytest.raises(StartError, match=r"(?s)1 of 2 engines did not start.*the folder is taken"):
        session.start_engines(2)
    assert len(session.client().ids) == 1
    assert len(session.state().processes) == 2


def test_keys_are_blanked_out_of_messages(profile: Path) -> None:
    manager = ProcessManager(profile, Settings())
    controller = manager.launch_controller()
    manager.wait_for_controller(controller, Wait(200))
    (key,) = profiles.secrets(profile)
    assert controller.log_path is not None
    with open(controller.log_path, "a") as file:
        file.write(f"\nthe key is {key}, says somebody\n")
    assert manager.logs.tail(controller).endswith("the key is (key), says somebody")
    manager.stop()
    nothing_left(profile)


def test_a_port_that_was_taken_meanwhile_is_tried_again(profile: Path, make_session: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        # Only the first controller, and not those who look at its configuration, picks the port that is taken.
        (profile / "ipcontroller_config.py").write_text(
            f"import os, sys\n"
            f"if 'ipyparallel_controller' in ' '.join(sys.orig_argv) and not os.path.exists({str(profile / 'tried')!r}):\n"
            f"    os.mkdir({str(profile / 'tried')!r})\n"
            f"    c.IPController.ports = [{server.getsockname()[1]}]\n"
        )
        assert len(make_session(profile="test", engines=1).client().ids) == 1
    assert (profile / "tried").exists()


# What a busy machine may do to a controller between two of its steps: a scheduler that listens late, a hub that answers late.
_HELD_UP = {
    "a scheduler": """
import sys, time
from ipyparallel.controller import app
launch_scheduler = app.launch_scheduler

def late(*arguments, **more):
    time.sleep(8)
    launch_scheduler(*arguments, **more)

if "ipyparallel.controller" in " ".join(sys.orig_argv).replace("_", "."):
    app.launch_scheduler = late
""",
    "the hub": """
import sys, time
from ipyparallel.controller.app import IPController
init_signal = IPController.init_signal

def late(self):
    init_signal(self)
    time.sleep(8)

if "ipyparallel.controller" in " ".join(sys.orig_argv).replace("_", "."):
    IPController.init_signal = late
""",
}


@pytest.mark.parametrize("what", _HELD_UP)
def test_a_controller_may_take_as_long_as_the_start(profile: Path, make_session: Make, what: str) -> None:
    (profile / "ipcontroller_config.py").write_text(_HELD_UP[what])
    client = make_session(profile="test", engines=1, connect_timeout=3).client()
    assert client.load_balanced_view().apply_sync(pow, 2, 5) == 32


def test_a_controller_that_does_not_answer_is_given_up_when_the_start_may_take_no_longer(
    profile: Path, make_session: Make
) -> None:
    (profile / "ipcontroller_config.py").write_text(_HELD_UP["the hub"].replace("sleep(8)", "sleep(900)"))

    def given_up_in(seconds: int) -> bool:
        with pytest.raises(StartError) as caught:
            make_session(profile="test", engines=1, connect_timeout=1, start_timeout=seconds).client()
        nothing_left(profile)
        return "has not answered for 1 seconds" in str(caught.value)

    with_enough_time(given_up_in, 12, 60)  # it may be the controller that takes so long


# What takes a port of the first controller between its choice and its use, and greets as another controller does.
_STRANGER = """
import os, subprocess, sys
from ipyparallel.controller.app import IPController
next_port = IPController.next_port
program = '''
import os, sys, time, zmq
if os.fork():
    os._exit(0)
socket = zmq.Context().socket(zmq.ROUTER)
socket.bind(sys.argv[1])
print(os.getpid())
sys.stdout.flush()
os.close(1)
time.sleep(900)
'''

def taken(self, pool_name="common"):
    port = next_port(self, pool_name)
    self.given = getattr(self, "given", 0) + (pool_name == {pool!r})
    if self.given == {number} and not os.path.exists({pid!r}):
        command = [sys.executable, "-c", program, f"tcp://127.0.0.1:{{port}}"]
        pid = subprocess.run(command, stdout=subprocess.PIPE, start_new_session=True, env={{}}).stdout
        open({pid!r}, "wb").write(pid)
    return port

if "ipyparallel.controller" in " ".join(sys.orig_argv).replace("_", "."):
    IPController.next_port = taken
"""


# What has a part of the controller want its port later than others look who listens there.
_LATE = """
import time
from parallelflow.cluster.relay import ProcessRelay
run_device = ProcessRelay.run_device

def late(self):
    if self.name == "IOPubScheduler" and not os.path.exists({late!r}):
        open({late!r}, "w").close()
        time.sleep(600)
    return run_device(self)

if "ipyparallel.controller" in " ".join(sys.orig_argv).replace("_", "."):
    ProcessRelay.run_device = late
"""


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Path]:
    """The file with the process id of what takes a port, which is ended."""
    pid = tmp_path / "pid"
    yield pid
    if pid.exists():
        psutil.Process(int(pid.read_text())).kill()


@pytest.mark.parametrize(
    ("pool", "number", "late"),
    [*(("client", number, False) for number in range(1, 7)), ("client", 4, True), ("engine", 7, False)],
    ids=["control", "direct", "task", "output", "notification", "broadcast", "output, late", "heart monitor"],
)
def test_what_listens_at_a_port_in_a_controllers_place_is_not_taken_for_it(
    profile: Path, make_session: Make, tmp_path: Path, stranger: Path, pool: str, number: int, late: bool
) -> None:
    text = _STRANGER.format(pool=pool, number=number, pid=str(stranger))
    text += _LATE.format(late=str(tmp_path / "late")) if late else ""
    (profile / "ipcontroller_config.py").write_text(text)
    session = make_session(profile="test", engines=1)
    client = session.client()
    process = psutil.Process(int(stranger.read_text()))
    ports = listening_ports(process)
    assert len(ports) == 1
    process.kill()
    until(lambda: not lives(process))
    stranger.unlink()
    connection = session.connection
    assert connection is not None
    assert not ports & {*json.loads(profiles.client_file(profile).read_text()).values()}
    assert connection.check() is None
    assert connection.ready()
    assert client.load_balanced_view().apply_sync(pow, 2, 5) == 32


def test_what_listens_in_the_place_of_a_part_of_somebody_elses_controller_is_told(
    profile: Path, make_session: Make, stranger: Path
) -> None:
    (profile / "ipcontroller_config.py").write_text(_STRANGER.format(pool="client", number=4, pid=str(stranger)))
    with by_hand(profile) as controller:
        with pytest.raises(ControllerLost, match=r"Another program listens at port .* output relay wanted"):
            make_session(profile="test").client()
        assert controller.poll() is None


@contextmanager
def by_hand(profile: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A controller that somebody else has started, with its connection files."""
    command = [sys.executable, "-m", "ipyparallel.controller", f"--profile-dir={profile}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as controller:  # type: ignore[call-overload]
        try:
            until(lambda: is_json(profiles.client_file(profile)))
            yield controller
        finally:
            end([Root("", Identity.of(controller.pid))], 60)


def test_a_part_of_somebody_elses_controller_that_is_late_is_waited_for(
    profile: Path, make_session: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached, "_SCHEDULERS_WITHIN", 0.0)
    (profile / "ipcontroller_config.py").write_text(_HELD_UP["a scheduler"])
    with by_hand(profile):
        assert make_session(profile="test").connect() is not None


def test_a_log_does_not_grow_without_end(make_session: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    session = make_session(engines=1)
    session.client()
    controller = session.processes.controller()
    assert controller is not None
    assert controller.log_path is not None
    before = controller.log_path.stat().st_size
    monkeypatch.setattr(logs, "_LIMIT", 100)
    monkeypatch.setattr(logs, "_TRIM_EVERY", 0.0)
    session.state()
    assert controller.log_path.stat().st_size < before
    session.client()[:].apply_sync(os.getpid)
    assert b"\0" not in controller.log_path.read_bytes()


# As the profile says


def test_stale_connection_files_are_replaced(profile: Path, make_session: Make) -> None:
    first = make_session(profile="test", engines=1)
    first.client()
    stale = profiles.client_file(profile).read_bytes()
    first.close()
    for path in (profiles.client_file(profile), profiles.engine_file(profile)):
        path.write_bytes(stale)
    session = make_session(profile="test", engines=1)
    assert len(session.client().ids) == 1
    assert profiles.client_file(profile).read_bytes() != stale


def test_connection_files_that_somebody_has_written_anew_are_not_removed(profile: Path) -> None:
    (profile / "ipcluster_config.py").write_text(
        f"c.LocalControllerLauncher.controller_cmd = [{sys.executable!r}, '-c', 'import time; time.sleep(600)']\n"
    )
    client, engine = profiles.client_file(profile), profiles.engine_file(profile)
    for path in (client, engine):
        path.write_bytes(b"{}")
    manager = ProcessManager(profile, Settings())
    manager.launch_controller({client: b"{}", engine: b"[]"})
    assert not client.exists()
    assert engine.read_bytes() == b"{}"
    manager.stop()


def test_a_controller_that_is_a_child_of_what_the_profile_starts_becomes_ready(
    profile: Path, make_session: Make
) -> None:
    (profile / "ipcluster_config.py").write_text(
        f"c.LocalControllerLauncher.controller_cmd = "
        f"['sh', '-c', '{sys.executable} -m ipyparallel.controller \"$@\"; exit', 'sh']\n"
    )
    session = make_session(profile="test", engines=1)
    assert len(session.client().ids) == 1
    session.close()
    nothing_left(profile)


def test_what_the_profile_configures_is_respected(profile: Path, make_session: Make) -> None:
    (profile / "ipcontroller_config.py").write_text("c.HeartMonitor.period = 777\n")
    (profile / "ipcluster_config.py").write_text(
        "c.EngineLauncher.engine_args = ['--IPEngine.startup_command=mark = 42', '--timeout=40']\n"
        "c.LocalEngineSetLauncher.environment = {'MARK': 'yes'}\n"
        "c.Cluster.controller_args = ['--log-level=DEBUG']\n"
    )
    session = make_session(profile="test", engines=1)
    view = session.client()[:]
    assert view.pull("mark").get() == [42]
    assert view.apply_sync(os.getenv, "MARK") == ["yes"]
    controller = session.processes.controller()
    assert controller is not None
    process = psutil.Process(controller.entry.pid)
    assert "--log-level=DEBUG" in process.cmdline()
    assert not any("HeartMonitor" in argument for argument in process.cmdline())


def test_a_controller_listens_on_the_network_if_the_profile_says_so(profile: Path, make_session: Make) -> None:
    (profile / "ipcontroller_config.py").write_text("c.IPController.ip = '0.0.0.0'\n")
    session = make_session(profile="test", engines=1)
    assert session.client()[:].apply_sync(abs, -1) == [1]
    assert session.connection is not None
    assert session.connection.check() is None
    controller = session.state().controller
    assert controller is not None
    addresses = {c.laddr.ip for c in psutil.Process(controller.pid).net_connections("inet") if c.status == "LISTEN"}
    assert "0.0.0.0" in addresses


def test_connection_files_that_the_profile_wants_to_reuse_are_kept(profile: Path, make_session: Make) -> None:
    # Nobody else is given these while no controller runs.
    ports = list(free_ports(pools.TAKES))
    (profile / "ipcontroller_config.py").write_text(
        f"c.IPController.reuse_files = True\nc.IPController.ports = {ports}\n"
    )
    contents = []
    for _ in range(2):
        session = make_session(profile="test", engines=1)
        assert session.client()[:].apply_sync(abs, -1) == [1]
        session.close()
        contents.append(profiles.client_file(profile).read_bytes())
    assert contents[0] == contents[1]
    assert ours() == []


def test_a_process_that_inherits_another_clusters_environment_still_joins_the_profiles(
    make_session: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPP_CLUSTER_ID", "other")
    monkeypatch.setenv("IPP_PROFILE_DIR", "/nowhere")
    monkeypatch.setenv("IPP_CONNECTION_INFO", "{}")
    assert len(make_session(engines=1).client().ids) == 1


# Private


def test_files_are_private_keys_are_nowhere_else_and_ports_are_on_loopback(make_session: Make) -> None:
    session = make_session()
    before = os.umask(0)
    try:
        session.client()
    finally:
        os.umask(before)
    folder = session.processes.profile_dir
    for path in (folder / "security", folder / "log"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert list(path.iterdir())
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir() if file.is_file()} == {0o600}
    secrets = profiles.secrets(folder)
    assert len(secrets) == 1
    for process in session.processes.remaining():
        text = " ".join([*process.cmdline(), *process.environ().values()])
        assert not any(key in text for key in secrets)
        addresses = {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        assert addresses <= {"127.0.0.1"}
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in ("ipcontroller-client.json", "ipcontroller-engine.json"):
            text = path.read_text(errors="replace")
            assert not any(key in text for key in secrets), path


def test_an_engine_runs_with_the_users_umask(make_session: Make) -> None:
    before = os.umask(0o027)
    try:
        view = make_session(engines=1).client()[:]
    finally:
        os.umask(before)
    assert view.apply_sync(os.umask, 0o027) == [0o027]


# Where


def test_no_cluster_is_started_from_inside_an_engine(healthy_cluster: Session) -> None:
    assert not inside_engine()
    client = healthy_cluster.client()
    view = client[client.ids[0]]
    view.execute(
        "from parallelflow.cluster import Session, Settings, inside_engine, profile\n"
        "profile.create('elsewhere')\n"
        "inside = inside_engine()\n"
        "try:\n"
        "    Session(lambda: Settings(profile='elsewhere')).client()\n"
        "except Exception as error:\n"
        "    said = str(error)\n",
        block=True,
    )
    assert view.pull("inside").get() is True
    assert view.pull("said").get() == "This runs in an engine already, from where no other cluster is started."


@pytest.mark.parametrize("number", [0, -1])
def test_a_number_of_engines_below_one_is_refused(make_session: Make, number: int) -> None:
    with pytest.raises(ClusterError, match="must be at least 1"):
        make_session().start_engines(number)


def test_engines_killed_by_a_signal_are_said_to_be(make_session: Make) -> None:
    session = make_session(engines=1)
    session.client()
    (engine,) = session.processes.engines().values()
    os.kill(engine.entry.pid, signal.SIGKILL)
    until(lambda: session.state().died)
    (died,) = session.state().died
    assert (died.kind, died.pid, died.ending) == ("engine", engine.entry.pid, "was killed by signal 9")


def test_engines_that_ipcluster_is_just_starting_are_waited_for(
    profile: Path, make_session: Callable[..., Session]
) -> None:
    command = [sys.executable, "-m", "ipyparallel.cluster"]
    subprocess.run([*command, "start", "-n", "2", "--daemonize", "--profile=test"], check=True, capture_output=True)
    try:
        session = make_session(profile="test")
        client = session.client()
        assert client.ids
        until(lambda: len(client.ids) == 2)
        assert session.processes.started == []  # none of ours
    finally:
        subprocess.run([*command, "stop", "--profile=test"], capture_output=True)
        until(lambda: ours() == [])
