"""What a VisTrails that was killed has left running, on whichever profile, is dealt with by the next one when it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
from helpers import is_json, ours, until

from parallelflow.cluster import Need, Orphan, OrphanAnswer, Session
from parallelflow.cluster import profile as profiles
from parallelflow.cluster.record import Record

pytestmark = pytest.mark.kills

Make = Callable[..., Session]

_CRASH = """
import os, sys
from parallelflow.cluster import Session, Settings
limits = {"start_timeout": 200, "connect_timeout": 60}
sessions = [Session(lambda name=name: Settings(profile=name, engines=1, **limits)) for name in sys.argv[1:]]
for session in sessions:
    session.client()
os.kill(os.getpid(), 9)
"""


def crash(*names: str) -> None:
    """Leave a cluster with one engine on each of some profiles, as a VisTrails does that is killed."""
    for name in names:
        profiles.create(name)
    done = subprocess.run([sys.executable, "-c", _CRASH, *names], timeout=240, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(ours()) >= 4 * len(names)


class Asked:
    """Answers the question about orphans, once."""

    def __init__(self, answer: OrphanAnswer) -> None:
        self.answer = answer
        self.seen: Sequence[Orphan] = ()

    def start_cluster(self, need: Need) -> int | None:
        raise AssertionError

    def orphans(self, orphans: Sequence[Orphan]) -> OrphanAnswer:
        assert not self.seen
        self.seen = orphans
        return self.answer


def test_one_question_settles_what_was_left_on_all_profiles(make_session: Make) -> None:
    crash("lab", "field")
    before = profiles.profiles()
    asked = Asked("stop")
    session = make_session(asked)
    session.settle()
    found = sorted((orphan.profile, orphan.kind) for orphan in asked.seen)
    assert found == [("field", "controller"), ("field", "engine"), ("lab", "controller"), ("lab", "engine")]
    assert ours() == []
    assert [Record(profiles.folder_of(name)).read() for name in ("lab", "field")] == [[], []]
    session.settle()  # which asks nothing more
    assert profiles.profiles() == before


def test_what_is_taken_back_of_other_profiles_is_used_there_and_ends_with_the_session(make_session: Make) -> None:
    crash("lab", "field")
    running = {process.pid for process in ours()}
    session = make_session(after_crash="take back")
    session.settle()
    assert {process.pid for process in ours()} == running
    assert session.state().processes == ()
    session.change_profile("lab")
    assert len(session.client().ids) == 1
    assert [(process.kind, process.let_go) for process in session.state().processes] == [
        ("controller", False),
        ("engine", False),
    ]
    # Another change ends what was in use, and not what is on the third profile.
    session.change_profile("default")
    assert Record(profiles.folder_of("lab")).read() == []
    assert len(Record(profiles.folder_of("field")).read()) == 2
    session.close()
    assert ours() == []


def test_engines_whose_controller_has_been_replaced_are_not_taken_back(make_session: Make) -> None:
    crash("lab")
    controller, engine = (entry.pid for entry in Record(profiles.folder_of("lab")).read())
    os.kill(engine, signal.SIGSTOP)  # else it gives its controller up
    for process in [psutil.Process(controller), *psutil.Process(controller).children(recursive=True)]:
        process.kill()
    connection_file = profiles.client_file(profiles.folder_of("lab"))
    connection_file.unlink()
    # In a terminal, somebody starts another one.
    other = subprocess.Popen([sys.executable, "-m", "ipyparallel.controller", "--profile=lab"])
    try:
        until(lambda: is_json(connection_file))
        session = make_session(profile="lab", after_crash="take back")
        assert session.connect() is not None
        assert session.state().processes == ()
        assert Record(profiles.folder_of("lab")).read() == []
        assert not psutil.pid_exists(engine)
        session.shutdown_cluster()
    finally:
        if other.poll() is None:
            for process in [*psutil.Process(other.pid).children(recursive=True), other]:
                process.kill()
        other.wait()


def test_a_question_without_an_answer_is_asked_again(make_session: Make) -> None:
    crash("lab")
    before = Record(profiles.folder_of("lab")).read()
    session = make_session(Asked("undecided"))
    session.settle()
    session.close()
    assert Record(profiles.folder_of("lab")).read() == before
    asked = Asked("leave")
    make_session(asked).settle()
    assert len(asked.seen) == 2
    assert [entry.let_go for entry in Record(profiles.folder_of("lab")).read()] == [True, True]
    session = make_session(profile="lab")
    session.connect()
    session.stop_started()
    assert ours() == []


def test_what_is_on_a_record_that_cannot_be_written_is_stopped_all_the_same(make_session: Make) -> None:
    crash("lab", "field")
    lock = profiles.security_dir(profiles.folder_of("field")) / "parallelflow.lock"
    lock.unlink()
    lock.mkdir()
    session = make_session(after_crash="stop")
    session.settle()
    assert ours() == []
    assert Record(profiles.folder_of("lab")).read() == []
    assert len(Record(profiles.folder_of("field")).read()) == 2
    lock.rmdir()
    session.settle()
    assert Record(profiles.folder_of("field")).read() == []


def test_where_nothing_was_left_nothing_is_made(make_session: Make) -> None:
    make_session().settle()
    assert not profiles.ipython_dir().exists()
    profiles.ipython_dir().mkdir()
    (profiles.ipython_dir() / "profile_not a profile").mkdir()
    make_session().settle()
    assert profiles.profiles() == ["not a profile"]


_BATCH = """
import vistrails.core.application
application = vistrails.core.application.init({"batch": True, "installBundles": False, "loadPackages": False}, args=[])
from vistrails.tests.utils import enable_package
enable_package("org.vistrails.parallelflow")
from parallelflow.cluster import profile
from parallelflow.cluster.record import Record
print([entry.owner_pid == __import__("os").getpid() for entry in Record(profile.folder_of("lab")).read()])
application.destroy()
application.destroy = lambda: None
"""


def test_in_batch_mode_the_package_settles_it_when_it_is_initialised_and_asks_nothing(tmp_path: Path) -> None:
    crash("lab")
    done = subprocess.run(
        [sys.executable, "-c", _BATCH],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert "[True, True]" in done.stdout
    assert ours() == []
    assert Record(profiles.folder_of("lab")).read() == []
