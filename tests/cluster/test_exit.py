"""However VisTrails ends, what it started is gone, unless it was let go; after a SIGKILL the next one finds it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import helpers
import psutil
import pytest
from helpers import command_line, until

from parallelflow.cluster import Cancelled, ClusterError, Need, Orphan, OrphanAnswer, Session
from parallelflow.cluster.record import Entry, Record
from parallelflow.cluster.tree import lives

pytestmark = [pytest.mark.usefixtures("own_signals"), pytest.mark.kills]

Make = Callable[..., Session]

_START = """
import os, signal, sys, threading, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests with nohup has it ignored
from parallelflow.cluster import Session, Settings, configure, get_session
settings = dict(profile="test", engines=1, start_timeout=200, connect_timeout=60, **{preferences})
session = configure(lambda: Settings.from_mapping(settings))
client = session.client()
client[:].execute({work!r}, block=False)
print("ready", flush=True)
{then}
"""

BUSY = "import time\nwhile True: sum(range(1000))"
DEAF = (
    "import signal\n"
    "[signal.signal(s, signal.SIG_IGN) for s in (signal.SIGTERM, signal.SIGINT)]\n"
    "open({path!r}, 'w').close()\n"
    "while True: sum(range(1000))"
)

Start = Callable[..., subprocess.Popen[str]]


def ours() -> list[psutil.Process]:
    lines = ((process, command_line(process)) for process in helpers.ours())
    return [process for process, words in lines if words and "-c" not in words]


@pytest.fixture
def start(profile: Path) -> Iterator[Start]:
    """Starts a program that has a cluster with one busy engine, and then does what the test wants."""
    made: list[subprocess.Popen[str]] = []

    def start(then: str, work: str = BUSY, **preferences: str) -> subprocess.Popen[str]:
        script = _START.format(then=then, work=work, preferences=preferences)
        made.append(
            subprocess.Popen(
                [sys.executable, "-c", script],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                stdin=subprocess.PIPE,
            )
        )
        assert made[-1].stdout is not None
        line = made[-1].stdout.readline()
        assert line == "ready\n", made[-1].communicate()
        return made[-1]

    yield start
    for popen in made:
        popen.kill()
        popen.communicate()


@pytest.mark.parametrize(
    ("then", "status", "word"),
    [
        ("", 0, ""),
        ("raise ValueError('what')", 1, "ValueError"),
        ("sys.exit(3)", 3, ""),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(600)", -signal.SIGTERM, ""),
        ("os.kill(os.getpid(), signal.SIGHUP); time.sleep(600)", -signal.SIGHUP, ""),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(600)", -signal.SIGINT, "KeyboardInterrupt"),
        ("threading.Thread(target=session.start_engines, args=[1], daemon=True).start(); time.sleep(0.3)", 0, ""),
    ],
    ids=["end", "exception", "exit", "SIGTERM", "SIGHUP", "Ctrl-C", "while starting"],
)
def test_nothing_survives_the_end(start: Start, profile: Path, then: str, status: int, word: str) -> None:
    popen = start(then)
    _, errors = popen.communicate(timeout=240)
    assert popen.returncode == status
    assert word in errors
    assert ours() == []
    assert Record(profile).read() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_in_the_middle_of_a_start_leaves_nothing(profile: Path, number: signal.Signals) -> None:
    script = (
        "from parallelflow.cluster import Session, Settings\n"
        "print('ready', flush=True)\n"
        "Session(lambda: Settings(profile='test', engines=2, start_timeout=200)).client()\n"
        "__import__('time').sleep(600)\n"  # the signal comes before that, if not on a very busy machine
    )
    popen = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: len(ours()) >= 3)
    popen.send_signal(number)
    popen.communicate(timeout=240)
    assert popen.returncode == -number
    assert ours() == []
    assert Record(profile).read() == []


def test_sigterm_in_the_middle_of_a_stop_leaves_nothing(start: Start, profile: Path, tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    popen = start(
        "sys.stdin.readline(); session.close(); time.sleep(600)", DEAF.format(path=str(deaf)), stop_timeout="20"
    )
    until(deaf.exists)
    (leader,) = (
        process
        for process in ours()
        if "parallelflow.cluster.ipyparallel_controller" in command_line(process) and _child(process, popen)
    )
    assert popen.stdin is not None
    popen.stdin.write("\n")
    popen.stdin.flush()
    until(lambda: not lives(leader))
    popen.send_signal(signal.SIGTERM)  # the engine must be killed, and that takes some seconds more
    popen.communicate(timeout=240)
    assert popen.returncode == -signal.SIGTERM
    assert ours() == []
    assert Record(profile).read() == []


def _child(process: psutil.Process, popen: subprocess.Popen[str]) -> bool:
    with suppress(psutil.Error):
        return bool(process.ppid() == popen.pid)
    return False


_ASKING = """
class Silent:
    def start_cluster(self, need):
        print("asked", flush=True)
        threading.Event().wait()

configure(lambda: Settings.from_mapping(dict(settings, if_no_engines="ask")), Silent())
session.stop_engines(client.ids)
threading.Thread(target=session.client, daemon=True).start()
threading.Event().wait()
"""


def test_sigterm_does_not_wait_for_an_answer_that_never_comes(start: Start, profile: Path) -> None:
    popen = start(_ASKING)
    assert popen.stdout is not None
    assert popen.stdout.readline() == "asked\n"
    popen.send_signal(signal.SIGTERM)
    popen.communicate(timeout=240)
    assert popen.returncode == -signal.SIGTERM
    assert ours() == []
    assert Record(profile).read() == []


def test_a_close_calls_off_what_another_thread_waits_for(profile: Path, make_session: Make) -> None:
    (profile / "ipengine_config.py").write_text("import time; time.sleep(600)\n")
    session = make_session(profile="test")
    errors: list[BaseException] = []

    def start() -> None:
        try:
            session.client()
        except ClusterError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    until(lambda: len(ours()) >= 3)
    session.close()
    thread.join(240)
    assert [type(error) for error in errors] == [Cancelled]
    assert ours() == []
    assert Record(profile).read() == []


def test_a_handler_that_somebody_else_installed_stays(own_session: Session) -> None:
    def handler(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGTERM, handler)
    try:
        own_session.start_engines(1)
        assert signal.getsignal(signal.SIGTERM) is handler
        assert signal.getsignal(signal.SIGHUP) not in (signal.SIG_DFL, handler)
        own_session.close()
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_signals_are_handled_only_while_something_runs() -> None:
    script = (
        "import signal\n"
        "from parallelflow.cluster import Session, Settings\n"
        "session = Session(lambda: Settings(engines=1, start_timeout=200, connect_timeout=60))\n"
        "for action in (session.connect, session.client, session.close):\n"
        "    action()\n"
        "    print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)\n"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=True)
    assert output.stdout.split() == ["True", "False", "True"]


def test_a_forked_child_leaves_its_parents_cluster_alone(start: Start) -> None:
    then = (
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    assert get_session().connection is None\n"
        "    get_session().close()\n"
        "    sys.exit(0)  # runs the exit handlers\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "print(len(session.client().ids), session.processes.controller().alive, flush=True)"
    )
    output, errors = start(then).communicate(timeout=240)
    assert output == "1 True\n", errors
    assert ours() == []


# Let go


@pytest.mark.parametrize("then", ["session.let_go()", ""], ids=["let go", "at_exit=leave"])
def test_what_was_let_go_runs_on_and_the_next_session_has_it_as_its_own(
    start: Start, profile: Path, make_session: Make, then: str
) -> None:
    popen = start(then, **({} if then else {"at_exit": "leave"}))
    popen.communicate(timeout=240)
    assert popen.returncode == 0
    running = {process.pid for process in ours()}
    assert len(running) >= 4
    session = make_session(profile="test")
    assert len(session.client().ids) == 1
    state = session.state()
    assert state.controller is not None
    assert state.controller.started_by == "an earlier VisTrails"
    assert [engine.ours for engine in state.engines] == [True]
    assert {process.kind: process.let_go for process in state.processes} == {"controller": True, "engine": True}
    # It was let go, so the end of this session does not end it either.
    session.close()
    assert {process.pid for process in ours()} == running
    # But it can stop it.
    session.connect()
    session.stop_started()
    assert ours() == []
    assert Record(profile).read() == []


def test_what_was_taken_back_ends_with_the_session(start: Start, profile: Path, make_session: Make) -> None:
    start("session.let_go()").communicate(timeout=240)
    session = make_session(profile="test")
    assert session.take_back() == 2
    assert session.take_back() == 0
    assert [process.let_go for process in session.state().processes] == [False, False]
    assert len(session.client().ids) == 1
    session.close()
    assert ours() == []
    assert Record(profile).read() == []


def test_let_go_disconnects_and_forgets(make_session: Make) -> None:
    session = make_session(engines=1)
    session.client()
    session.let_go()
    assert session.connection is None
    assert session.state().processes == ()
    session.close()
    assert len(ours()) >= 4
    session.connect()
    assert session.take_back() == 2


# Orphans


class Asked:
    """Answers the question about orphans, once."""

    def __init__(self, answer: OrphanAnswer) -> None:
        self.answer = answer
        self.orphans_seen: Sequence[Orphan] = ()

    def start_cluster(self, need: Need) -> int | None:
        raise AssertionError

    def orphans(self, orphans: Sequence[Orphan]) -> OrphanAnswer:
        assert not self.orphans_seen
        self.orphans_seen = orphans
        return self.answer


def orphans(start: Start) -> set[int]:
    """Leaves a cluster behind as a SIGKILL of VisTrails does; returns its process ids."""
    popen = start("time.sleep(600)")
    popen.kill()
    popen.communicate()
    running = {process.pid for process in ours()}
    assert len(running) >= 4
    return running


def test_orphans_are_taken_back_in_batch_mode_and_it_is_logged(
    start: Start, make_session: Make, caplog: pytest.LogCaptureFixture
) -> None:
    running = orphans(start)
    session = make_session(profile="test")
    assert len(session.client().ids) == 1
    assert {process.pid for process in ours()} == running
    assert "Found 2 processes that a VisTrails left running which crashed or was killed" in caplog.text
    assert "Taking them back" in caplog.text
    state = session.state()
    assert state.controller is not None
    assert state.controller.started_by == "this VisTrails"
    session.close()
    assert ours() == []


def test_orphans_are_stopped_if_the_preferences_say_so(start: Start, make_session: Make) -> None:
    running = orphans(start)
    session = make_session(profile="test", after_crash="stop")
    assert session.connect() is None
    assert ours() == []
    assert len(session.client().ids) == 2
    assert not running & {process.pid for process in ours()}


def test_orphans_are_taken_back_if_the_preferences_say_so(start: Start, make_session: Make) -> None:
    running = orphans(start)
    session = make_session(Asked("stop"), profile="test", after_crash="take back")
    assert len(session.client().ids) == 1
    assert {process.pid for process in ours()} == running
    assert [process.let_go for process in session.state().processes] == [False, False]
    session.close()
    assert ours() == []


def test_an_undecided_answer_leaves_the_question_to_the_next_session(
    start: Start, profile: Path, make_session: Make
) -> None:
    running = orphans(start)
    before = Record(profile).read()
    session = make_session(Asked("undecided"), profile="test")
    session.connect()
    session.close()
    assert {process.pid for process in ours()} == running
    assert Record(profile).read() == before
    assert make_session(Asked("stop"), profile="test").connect() is None
    assert ours() == []


def test_what_another_vistrails_takes_back_while_the_user_thinks_is_left_to_it(
    start: Start, profile: Path, make_session: Make
) -> None:
    class TooLate(Asked):
        def orphans(self, orphans: Sequence[Orphan]) -> OrphanAnswer:
            assert other.take_back() == 2
            return super().orphans(orphans)

    running = orphans(start)
    other = make_session(profile="test")
    session = make_session(TooLate("stop"), profile="test")
    # Another VisTrails is another process; the owner is all that tells them apart.
    other.processes._owner = session.processes._owner.__class__(1, psutil.Process(1).create_time())
    assert session.connect() is not None
    assert session.state().processes == ()
    assert {process.pid for process in ours()} == running
    other.close()
    assert ours() == []


@pytest.mark.parametrize("answer", ["stop", "leave", "take back"])
def test_the_user_is_asked_about_orphans_once(start: Start, make_session: Make, answer: OrphanAnswer) -> None:
    running = orphans(start)
    asked = Asked(answer)
    session = make_session(asked, profile="test")
    connection = session.connect()
    assert sorted(orphan.kind for orphan in asked.orphans_seen) == ["controller", "engine"]
    assert (connection is None) == (answer == "stop")
    session.connect()
    session.close()
    assert {process.pid for process in ours()} == (running if answer == "leave" else set())
    if answer == "leave":
        session.connect()
        session.stop_started()


def test_orphaned_engines_without_their_controller_are_stopped(start: Start, make_session: Make) -> None:
    orphans(start)
    for process in ours():
        if "parallelflow.cluster.ipyparallel_controller" in command_line(process):
            process.kill()
    session = make_session(profile="test", engines=1)
    client = session.client()
    assert len(client.ids) == 1
    until(lambda: len([p for p in ours() if "ipyparallel.engine" in command_line(p)]) == 1)


def test_what_a_vistrails_was_starting_when_it_was_killed_is_found(profile: Path, make_session: Make) -> None:
    script = (
        "from parallelflow.cluster import Session, Settings\n"
        "Session(lambda: Settings(profile='test', engines=2, start_timeout=200)).client()\n"
    )
    popen = subprocess.Popen([sys.executable, "-c", script])
    until(lambda: len(ours()) >= 1)
    popen.kill()
    popen.wait()
    session = make_session(profile="test", after_crash="stop")
    session.connect()
    assert ours() == []
    assert Record(profile).read() == []


def test_another_running_vistrails_is_left_alone(start: Start, make_session: Make) -> None:
    popen = start("sys.stdin.read()")
    running = {process.pid for process in ours()}
    session = make_session(Asked("stop"), profile="test", after_crash="stop")
    assert len(session.client().ids) == 1
    state = session.state()
    assert state.controller is not None
    assert state.controller.started_by == "another VisTrails"
    assert state.processes == ()
    assert session.take_back() == 0
    session.stop_started()
    session.close()
    assert {process.pid for process in ours()} == running
    popen.communicate(timeout=240)
    assert ours() == []


def test_a_recorded_process_id_that_belongs_to_somebody_else_now_is_left_alone(
    profile: Path, make_session: Make
) -> None:
    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        created = psutil.Process(innocent.pid).create_time()
        entry = Entry(token="gone", kind="controller", pid=innocent.pid, create_time=created, owner_pid=1)
        Record(profile).put(entry, replace(entry, token="gone too", create_time=created - 1000))
        session = make_session(profile="test", after_crash="stop")
        assert session.connect() is None
        assert Record(profile).read() == []
        assert lives(psutil.Process(innocent.pid))
    finally:
        innocent.kill()
        innocent.wait()


@pytest.mark.parametrize("text", ["", "[]", '{"version": 99}', '{"version": 1, "processes": [{"nonsense": 1}]}'])
def test_a_damaged_record_does_no_harm(
    profile: Path, make_session: Make, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = Record(profile).path
    path.write_text(text)
    assert make_session(profile="test").connect() is None
    assert re.search(f"{path} .*(damaged|ignored)", caplog.text)
