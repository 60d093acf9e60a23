"""Fixtures for the whole suite: a home of its own for each test, nothing left behind, and clusters to share.

Every test runs with a token in its environment that everything it starts inherits, so that whatever it leaves is found, even
when its parent is dead. Clusters that outlive a test are started under another token, see :func:`_home`. The suite may run in
several processes (pytest-xdist): each has tokens of its own, and all of them carry the run's, see :func:`pytest_configure`.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from helpers import PATIENT

from parallelflow.cluster import Session, Settings, profile
from parallelflow.cluster import session as session_module
from parallelflow.cluster.tree import TOKENS, Root, carriers, end, lives, tokens_of

_SESSION_TOKEN = f"suite-{uuid.uuid4().hex}"

# Names the run in the environment of the processes that it uses.
_RUN = "PARALLELFLOW_TEST_RUN"


@contextmanager
def _home(folder: Path, token: str) -> Iterator[None]:
    """HOME, IPYTHONDIR and the folder for temporary files in a folder, and tokens for what is started: the run's and one more."""
    (folder / "tmp").mkdir(exist_ok=True)
    values = {
        "HOME": str(folder),
        "IPYTHONDIR": str(folder / ".ipython"),
        "XDG_CONFIG_HOME": str(folder / ".config"),
        "TMPDIR": str(folder / "tmp"),
        TOKENS: f"{os.environ[_RUN]}/{token}",
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    temporary, tempfile.tempdir = tempfile.tempdir, None  # look again
    try:
        yield
    finally:
        tempfile.tempdir = temporary
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _leftovers(token: str, known: set[tuple[int, float]]) -> list[psutil.Process]:
    """Processes that a test left: those with its token, and children of ours that it added."""
    found = {process.pid: process for process in carriers([token])}
    for process in psutil.Process().children(recursive=True):
        try:
            if (process.pid, process.create_time()) in known or _SESSION_TOKEN in tokens_of(process):
                continue
            if lives(process):
                found[process.pid] = process
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} ({' '.join(process.cmdline()[:6])})"
    except psutil.Error:
        return str(process.pid)


def _ports() -> set[int]:
    """The TCP ports that this process listens on."""
    return {c.laddr.port for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_LISTEN}


# VisTrails makes these when it is first needed, and removes them when it ends; an engine that is killed while it starts
# VisTrails leaves the third, which the next engine removes (there is a test for that).
# The last is Python's own, which finds out so whether it can write there: a process may be killed meanwhile.
_OF_OTHERS = re.compile(r"vt_tmp|vistrails|parallelflow_vistrails_|[a-z0-9_]{8}$")


@pytest.fixture
def own_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves signals to the processes that the test starts: `make coverage` would have a handler for SIGTERM in each."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(autouse=True)
def clean_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A HOME and an IPYTHONDIR of its own for each test, which fails if it leaves a process, a port or a temporary file."""
    token = f"test-{uuid.uuid4().hex}"
    known = {(child.pid, child.create_time()) for child in psutil.Process().children(recursive=True)}
    ports = _ports()
    # A short name: sockets' paths must not exceed 107 characters.
    folder = tmp_path_factory.mktemp("h")
    with _home(folder, token):
        yield folder
    problems = []
    left = _leftovers(token, known)
    if left:
        problems.append("processes: " + ", ".join(_describe(process) for process in left))
        end([Root(token, None)], 5)
        psutil.wait_procs([process for process in left if _kill(process)], 5)
    if _ports() - ports:
        problems.append(f"ports: {_ports() - ports}")
    files = [path.name for path in (folder / "tmp").iterdir() if not _OF_OTHERS.match(path.name)]
    if files:
        problems.append("temporary files: " + ", ".join(sorted(files)))
    if problems:
        pytest.fail("The test left " + "; ".join(problems))


def _kill(process: psutil.Process) -> bool:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


@pytest.fixture(name="profile")
def _profile(clean_home: Path) -> Path:
    """The folder of a fresh profile named ``test``."""
    return profile.create("test")


def _cluster(folder: Path, engines: int = 2) -> Session:
    """A session with a running cluster that outlives a test."""
    with _home(folder, _SESSION_TOKEN):
        session = Session(lambda: Settings.from_mapping({"engines": engines, **PATIENT}))
        session.client()
    return session


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session with two engines, for all tests that do no harm to it; see also :func:`healthy_cluster`."""
    session = _cluster(tmp_path_factory.mktemp("s"))
    yield session
    session.close()
    assert not carriers([_SESSION_TOKEN]), "the shared cluster left processes"


@pytest.fixture
def healthy_cluster(shared_cluster: Session) -> Session:
    """The shared cluster, with two idle engines, whatever the test before has done to it."""
    # Whatever is started here is the suite's, not the test's.
    with _home(Path(os.environ["HOME"]), _SESSION_TOKEN):
        connection = shared_cluster.connection
        if connection is None or connection.check() is not None:
            shared_cluster.stop_started()
        missing = 2 - len(shared_cluster.client().ids)
        if missing > 0:
            shared_cluster.start_engines(missing)
    return shared_cluster


@pytest.fixture
def on_shared_cluster(healthy_cluster: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """The shared cluster as the process-wide session, which ``get_session()`` returns."""
    monkeypatch.setattr(session_module, "_session", healthy_cluster)
    return healthy_cluster


@pytest.fixture
def make_session() -> Iterator[Callable[..., Session]]:
    """Makes sessions, with preferences as keyword arguments, and closes them in the end."""
    made: list[Session] = []

    def make(questions: object = None, **preferences: object) -> Session:
        values = {"engines": 2, **PATIENT, **preferences}
        session = Session(lambda: Settings.from_mapping(values), questions)  # type: ignore[arg-type]
        made.append(session)
        return session

    yield make
    for session in made:
        session._settings = lambda: Settings.from_mapping(PATIENT)  # whatever they were: stop what it started
        session.close()


@pytest.fixture
def own_session(make_session: Callable[..., Session]) -> Session:
    """A fresh session with nothing running, which is cleaned up in the end."""
    return make_session()


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C work in what tests start: a shell has what it starts in the background ignore it, and that is inherited."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not _is_worker(config):
        os.environ[_RUN] = f"run-{uuid.uuid4().hex}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what the run has left: at Ctrl-C pytest-xdist kills its processes, whose shared clusters go on."""
    if not _is_worker(config):
        end([Root(os.environ.pop(_RUN), None)], 10)


def _is_worker(config: pytest.Config) -> bool:
    """Whether this is one of several processes that run tests for another one."""
    return hasattr(config, "workerinput")


# What tests need that use a fixture.
_NEEDED = {
    "own_session": "cluster",
    "make_session": "cluster",
    "vistrails": "vistrails",
    "play": "window",
    "screen": "window",
    "_network": "machines",
}


@pytest.hookimpl(tryfirst=True)  # pytest chooses by marks, and pytest-xdist groups by them, in this hook, too
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their fixtures, have one process do all that share a cluster or VisTrails, and begin with slow ones."""
    for item in items:
        fixtures: list[str] = item.fixturenames  # type: ignore[attr-defined]
        for name in {_NEEDED[fixture] for fixture in fixtures if fixture in _NEEDED}:
            item.add_marker(name)
        if "shared_cluster" in fixtures or ("vistrails" in fixtures and "own_session" not in fixtures):
            item.add_marker(pytest.mark.xdist_group("shared"))
        if "_network" in fixtures:
            item.add_marker(pytest.mark.xdist_group("machines"))
    if os.environ.get("PYTEST_XDIST_WORKER"):
        # A slow one at the end would keep one process busy and leave the others idle.
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)
