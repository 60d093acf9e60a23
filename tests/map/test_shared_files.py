"""Packages that keep files in VisTrails' folder, under a Map: what the serial Map gives and leaves, nothing half made."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from dulwich.repo import Repo
from parity import Stage
from vistrails.core.modules.basic_modules import PathObject
from vistrails.tests.utils import enable_package
from workflows import Flow

from parallelflow.cluster import session as session_module
from parallelflow.map import shared_files
from parallelflow.map.shared_files import _Locks

URL = "org.vistrails.vistrails.url"
PERSISTENCE = "org.vistrails.vistrails.persistence"
ARCHIVE = "org.vistrails.vistrails.persistent_archive"
KEEPER = "org.vistrails.parallelflow.keeper"
CONTENT = bytes(range(256)) * 800
DIGEST = [len(CONTENT), hashlib.sha256(CONTENT).hexdigest()]


class Handler(BaseHTTPRequestHandler):
    """Serves files slowly; each second time later and still more slowly, so that answers overlap in the worst way."""

    server: Server

    def do_GET(self) -> None:
        late = self.server.ask(self.path) % 2 == 0
        if self.path.startswith("/dated") and "If-Modified-Since" in self.headers:
            self.send_response(304)
            self.end_headers()
            return
        time.sleep(0.08 * late)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        if self.path.startswith("/dated"):
            self.send_header("Last-Modified", formatdate(0, usegmt=True))
        self.end_headers()
        with self.server.sending():
            for start in range(0, len(CONTENT), 25_600):
                self.wfile.write(CONTENT[start : start + 25_600])
                self.wfile.flush()
                time.sleep(0.04 if late else 0.02)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Knows what it has been asked, and how many files it has sent at the same time.

    :ivar together: so many must be wanted before it sends any
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.most = self.together = 0
        self._sending = 0
        self._turn = threading.Lock()

    def ask(self, path: str) -> int:
        with self._turn:
            self.asked.append(path)
            return len(self.asked)

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        with self._turn:
            self._sending += 1
            self.most = max(self.most, self._sending)
        end = time.monotonic() + 240
        while self.most < self.together and time.monotonic() < end:
            time.sleep(0.01)
        try:
            yield
        finally:
            with self._turn:
                self._sending -= 1


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def folder(parity: Any, vistrails_folder: Path) -> Path:
    """VisTrails' folder, with the packages enabled that keep files there."""
    for identifier in (URL, KEEPER):
        enable_package(identifier)
    return vistrails_folder


def downloads(paths: list[str], server: Server) -> tuple[Flow, int]:
    """A Map over a Group that downloads a file and reads it; its number."""
    inner = Flow()
    download = inner.add("DownloadFile", package=URL)
    source = "import hashlib\nread = open(f.name, 'rb').read()\no = [len(read), hashlib.sha256(read).hexdigest()]"
    read = inner.python(source, {"f": "File"}, {"o": "List"})
    inner.connect(download, "file", read, "f")
    inner.inputs, inner.outputs = {"url": (download, "url")}, {"o": (read, "o")}
    flow = Flow()
    urls = [f"http://127.0.0.1:{server.server_port}{path}" for path in paths]
    return flow, flow.map(flow.group(inner), "url", "o", repr(urls))


def results(flow: Flow, mapped: int, side: str) -> Any:
    seen = Stage(side, "plain").run(flow)
    assert (seen.errors, seen.raised) == ({}, None)
    return seen.outputs[mapped]["Result"]


@pytest.mark.parametrize("path", ["/dated", "/undated"])
def test_a_cache_that_is_written_in_place_is_never_read_half_made(path: str, folder: Path, server: Server) -> None:
    """A server that knows when files have changed is asked for each of them once; another sends them anew each time."""
    asked = {}
    for side in ("serial", "ours"):
        for each in (folder / "HTTP").iterdir():
            each.unlink()
        server.asked.clear()
        assert results(*downloads([path] * 8, server), side) == [DIGEST] * 8
        assert [each.stat().st_size for each in (folder / "HTTP").iterdir()] == [len(CONTENT)]
        asked[side] = len(server.asked)
    assert asked == {"serial": 8, "ours": 8}


def test_different_files_are_downloaded_at_the_same_time(folder: Path, server: Server) -> None:
    server.together = 2
    flow, mapped = downloads([f"/dated{number}" for number in range(6)], server)
    assert results(flow, mapped, "ours") == [DIGEST] * 6
    assert server.most >= 2


def kept(folder: Path) -> tuple[list[int], list[int], list[str]]:
    """What is kept in the store and in the database, and all files."""
    with contextlib.closing(sqlite3.connect(folder / "keeper" / "kept.db")) as database:
        rows = [value for (value,) in database.execute("SELECT value FROM kept")]
    names = sorted(os.listdir(folder / "keeper"))
    return sorted(json.loads((folder / "keeper" / "head.json").read_text())), sorted(rows), names


@pytest.mark.parametrize("module", ["Keep", "KeepLate"])
def test_a_store_is_used_by_one_module_at_a_time(module: str, folder: Path) -> None:
    """A database, a store with a lock file like git's, a list that is read, changed and written, and a file written in place."""
    inner = Flow()
    first = inner.python("o = i", {"i": "Integer"}, {"o": "Integer"})
    keep = inner.add(module, package=KEEPER)
    inner.connect(first, "o", keep, "value")
    source = "import os\no = (v, os.path.getsize(f))"
    read = inner.python(source, {"f": "String", "v": "Integer"}, {"o": "Variant"})
    inner.connect(keep, "file", read, "f")
    inner.connect(keep, "value", read, "v")
    inner.inputs, inner.outputs = {"i": (first, "i")}, {"o": (read, "o")}
    flow = Flow()
    mapped = flow.map(flow.group(inner), "i", "o", repr(list(range(12))))
    found = []
    for side in ("serial", "ours"):
        before = kept(folder)
        result = results(flow, mapped, side)
        after = kept(folder)
        found.append((result, len(after[0]) - len(before[0]), len(after[1]) - len(before[1]), after[2]))
        for number in range(12):
            assert after[0].count(number) == before[0].count(number) + 1
    assert found[0] == found[1]
    assert found[0][0] == [(number, 10_000) for number in range(12)]


# What an engine runs to be on a file system that has no locks.
WITHOUT_LOCKS = """
import errno, fcntl, os
from parallelflow.map import shared_files
def lockf(*arguments):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
fcntl.lockf = lockf
shared_files._locks = None
"""


def test_engines_start_while_a_module_computes_and_say_what_they_cannot_lock_before_any_element_runs(
    folder: Path, own_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_session", own_session)
    locks = _Locks(str(folder))
    place = locks.acquire(KEEPER)
    flow = Flow()
    mapped = flow.map(flow.python("o = i", {"i": "Integer"}, {"o": "Integer"}), "i", "o", "[1, 2, 3]")
    assert results(flow, mapped, "ours") == [1, 2, 3]
    locks.release(place)

    own_session.client()[:].execute(WITHOUT_LOCKS, block=True)
    before = kept(folder)
    keeps = Flow()
    keeps.map(keeps.add("Keep", package=KEEPER), "value", "value", "[1, 2, 3]")
    ((_, _, message),) = Stage("ours", "plain").run(keeps).errors.values()
    assert "cannot lock files in" in message
    assert "--dot-vistrails" in message
    assert "'keeper_package'" in message
    assert kept(folder) == before
    assert results(flow, mapped, "ours") == [1, 2, 3]  # what keeps no files runs there all the same


def test_a_package_can_say_that_its_modules_need_not_wait_for_each_other(
    folder: Path, on_shared_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that wait for each other both end, although their package has asked for VisTrails' folder."""
    enable_package("org.vistrails.parallelflow.reader")
    flow = Flow()
    function = flow.add("Meet", {"place": str(folder)}, package="org.vistrails.parallelflow.reader")
    mapped = flow.map(function, "number", "met", "[0, 1]")
    assert results(flow, mapped, "ours") == [True, True]


def test_a_package_that_asks_for_the_folder_when_it_computes_is_found_too(folder: Path) -> None:
    enable_package("org.vistrails.parallelflow.asker")
    flow = Flow()
    mapped = flow.map(flow.add("Alone", package="org.vistrails.parallelflow.asker"), "value", "value", "[1, 2, 3, 4]")
    for side in ("serial", "ours"):
        assert results(flow, mapped, side) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "code",
    [
        "core.system.current_dot_vistrails()",
        "get_vistrails_directory('userPackageDir')",
        "configuration.dotVistrails",
        "os.path.expanduser('~/.vistrails/mine')",
        "Path.home() / '.vistrails'",
    ],
)
def test_however_code_asks_for_the_folder_it_is_noticed(code: str) -> None:
    assert shared_files._ASKS.search(code.encode())


def persistent(folder: Path) -> tuple[int, list[str], int]:
    """What persistence keeps: how many versions, the texts of all files, and how many it knows of."""
    place = folder / "persistent_files"
    with contextlib.closing(sqlite3.connect(place / ".files.db")) as database:
        ((known,),) = database.execute("SELECT count(*) FROM file")
    with contextlib.closing(Repo(str(place))) as repository:
        versions = len(list(repository.get_walker())) if known else 0
    texts = [path.read_text() for path in place.iterdir() if path.is_file() and path.name != ".files.db"]
    return versions, sorted(texts), known


@pytest.mark.usefixtures("own_temporaries")
@pytest.mark.parametrize("inside_group", [False, True])
def test_persistence_keeps_a_version_for_each_element(
    inside_group: bool, folder: Path, tmp_path: Path, held: dict[str, Any]
) -> None:
    """As with the serial Map. In a Group that gives all elements one signature, by which persistence takes them for the same."""
    enable_package(PERSISTENCE)
    flow = Flow()
    if inside_group:
        inner = Flow()
        keep = inner.add("PersistentIntermediateFile", package=PERSISTENCE)
        inner.inputs, inner.outputs = {"value": (keep, "value")}, {"kept": (keep, "value")}
        mapped = flow.map(flow.group(inner), "value", "kept", (flow.held("files"), "list"))
    else:
        keep = flow.add("PersistentIntermediateFile", package=PERSISTENCE)
        mapped = flow.map(keep, "value", "value", (flow.held("files"), "list"))
    for side in ("serial", "ours") if not inside_group else ("ours",):
        names = [f"{side} {inside_group} {number}" for number in range(8)]
        for name in names:
            (tmp_path / name).write_text(name)
        held["files"] = [PathObject(str(tmp_path / name)) for name in names]
        before = persistent(folder)
        for _ in range(2):  # the second time it finds what is there
            found = [Path(file.name).read_text() for file in results(flow, mapped, side)]
            assert found == names
        after = persistent(folder)
        assert after == (before[0] + 8, sorted([*before[1], *names]), before[2] + 8)


@pytest.mark.usefixtures("own_temporaries")
@pytest.mark.parametrize("module", ["CachedFile", "PersistedFile"])
def test_an_archive_keeps_a_file_for_each_element(
    module: str, folder: Path, tmp_path: Path, held: dict[str, Any]
) -> None:
    """As with the serial Map; in a Group each element has its own, where the serial Map takes them for the same."""
    file_archive = pytest.importorskip("file_archive")
    enable_package(ARCHIVE)

    def kept() -> tuple[int, list[str]]:
        with contextlib.closing(file_archive.FileStore(str(folder / "file_archive"))) as store:
            entries = list(store.query({}))
            return len(entries), sorted({Path(entry.filename).read_text() for entry in entries})

    alone, grouped, inner = Flow(), Flow(), Flow()
    for flow in (alone, inner):
        assert flow.add(module, package=ARCHIVE) == 0
        if module == "PersistedFile":
            note = flow.add("EqualString", {"key": "made by", "value": "a test"}, package=ARCHIVE, namespace="metadata")
            flow.connect(note, "value", 0, "metadata")
    mapped = alone.map(0, "path", "path", (alone.held("files"), "list"))
    inner.inputs, inner.outputs = {"path": (0, "path")}, {"path": (0, "path")}
    mapped_group = grouped.map(grouped.group(inner), "path", "path", (grouped.held("files"), "list"))
    for number, (side, flow, which) in enumerate(
        (("serial", alone, mapped), ("ours", alone, mapped), ("ours", grouped, mapped_group))
    ):
        names = [f"{module} {number} {index}" for index in range(8)]
        for name in names:
            (tmp_path / name).write_text(name)
        held["files"] = [PathObject(str(tmp_path / name)) for name in names]
        entries, texts = kept()
        for _ in range(2):  # the second time it finds what is there
            assert [Path(file.name).read_text() for file in results(flow, which, side)] == names
        assert kept() == (entries + 8, sorted([*texts, *names]))


# Holds a lock, or waits for it, until its input ends or it is interrupted.
HOLDS = """
import sys
from parallelflow.map.shared_files import _Locks
locks = _Locks(sys.argv[1])
print("begins", flush=True)
place = locks.acquire("a")
print("holds", flush=True)
other = locks.acquire("b" + sys.argv[2])
sys.stdin.read()
locks.release(other)
locks.release(place)
"""


def test_who_waits_for_a_lock_can_be_interrupted_and_who_dies_gives_it_back(tmp_path: Path) -> None:
    def run() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDS, str(tmp_path), "1"]
        pipe = subprocess.PIPE
        started = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        assert started.stdout is not None
        assert started.stdout.readline() == "begins\n"
        return started

    with run() as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "holds\n"
        with run() as second, run() as third:
            assert third.stdout is not None
            second.send_signal(signal.SIGINT)
            assert second.wait(240) == -signal.SIGINT
            assert third.poll() is None
            first.kill()
            assert third.stdout.readline() == "holds\n"
            third.communicate("", 240)
            assert third.returncode == 0
