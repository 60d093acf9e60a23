"""The package ``tej``, which runs jobs on servers, under a Map: a real sshd, and what the serial Map gives."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
from helpers import until
from parity import Stage
from vistrails.tests.utils import enable_package
from workflows import Flow

from parallelflow.cluster import session as session_module

TEJ = "org.vistrails.extra.tej"
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(SSHD is None, reason="needs sshd; 'make setup' installs it as root")]

# Slow, so that engines meet.
COMMAND = 'sleep 0.02; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"'


@pytest.fixture
def port(clean_home: Path, tmp_path: Path) -> Iterator[int]:
    """An sshd on this machine that lets this user in; its port."""
    keys = clean_home / ".ssh"
    keys.mkdir(mode=0o700)
    for key in (keys / "id_ed25519", tmp_path / "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    kind, key, *_ = (tmp_path / "host_key.pub").read_text().split()
    (keys / "known_hosts").write_text(f"[127.0.0.1]:{number} {kind} {key}\n")
    (tmp_path / "settings").write_text(
        f"ListenAddress 127.0.0.1:{number}\nHostKey {tmp_path}/host_key\nAuthorizedKeysFile {keys}/id_ed25519.pub\n"
        f"StrictModes no\nPidFile none\nUsePAM no\nPermitRootLogin yes\nForceCommand {COMMAND}\n"
    )
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)  # it does not start without
    log = tmp_path / "log"
    assert SSHD is not None
    with subprocess.Popen([SSHD, "-D", "-f", str(tmp_path / "settings"), "-E", str(log)]) as sshd:
        try:
            until(lambda: log.exists() and "listening" in log.read_text())
            yield number
        finally:
            for process in [*psutil.Process(sshd.pid).children(recursive=True), sshd]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


@pytest.fixture
def engines(vistrails: Any, port: int, own_session: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Engines that have the keys, and tej."""
    pytest.importorskip("tej")
    enable_package(TEJ)
    monkeypatch.setattr(session_module, "_session", own_session)
    yield
    cache = sys.modules["vistrails.packages.tej.init"].QueueCache._cache
    for queue in cache.values():
        queue._ssh.close()
    cache.clear()


def waited_for(stage: Stage, flow: Flow) -> Any:
    """Run a workflow until its jobs have been done."""
    found: list[Any] = []

    def run() -> bool:
        found[:] = [stage.run(flow)]
        return not found[0].suspended

    until(run)
    return found[0]


def jobs_in_group(presets: dict[str, Any], texts: list[str]) -> tuple[Flow, int]:
    """A Map over a Group that has a queue, submits a job, and reads what it has printed."""
    inner, flow = Flow(), Flow()
    submit = inner.add("SubmitShellJob", package=TEJ)
    read = inner.python("o = (open(f.name).read(), e)", {"f": "File", "e": "Integer"}, {"o": "Variant"})
    inner.connect(inner.add("Queue", presets, package=TEJ), "queue", submit, "queue")
    inner.connect(submit, "stdout", read, "f")
    inner.connect(submit, "exitcode", read, "e")
    inner.inputs, inner.outputs = {"source": (submit, "source")}, {"o": (read, "o")}
    return flow, flow.map(flow.group(inner), "source", "o", repr(texts))


def jobs_alone(presets: dict[str, Any], texts: list[str]) -> tuple[Flow, int]:
    """A Map that submits jobs, and another one over these that fetches what they have printed."""
    flow, inner = Flow(), Flow()
    queue = flow.add("Queue", presets, package=TEJ)
    submit = flow.add("SubmitShellJob", package=TEJ)
    flow.connect(queue, "queue", submit, "queue")
    jobs = flow.map(submit, "source", "job", repr(texts))
    fetch = inner.add("DownloadFile", {"filename": "_stdout"}, package=TEJ)
    read = inner.python("o = open(f.name).read()", {"f": "File"}, {"o": "String"})
    inner.connect(fetch, "file", read, "f")
    inner.inputs, inner.outputs = {"job": (fetch, "job")}, {"o": (read, "o")}
    return flow, flow.map(flow.group(inner), "job", "o", (jobs, "Result"))


def test_jobs_run_on_a_server_and_the_queue_is_installed_there_once(engines: None, port: int, tmp_path: Path) -> None:
    texts = [quote(f"echo job {number}; echo at once; exit {number}") for number in range(2)]
    printed = [f"job {number}\nat once\n" for number in range(2)]

    def results(side: str, make: Callable[..., tuple[Flow, int]]) -> Any:
        queue = tmp_path / f"queue {len(list(tmp_path.iterdir()))}"
        presets = {"hostname": "127.0.0.1", "username": getpass.getuser(), "port": str(port), "queue": str(queue)}
        flow, mapped = make(presets, texts)
        seen = waited_for(Stage(side), flow)
        assert (seen.errors, seen.raised) == ({}, None)
        assert sorted(os.listdir(queue)) == ["commands", "jobs", "tej.log", "version"]
        return seen.outputs[mapped]["Result"]

    assert results("serial", jobs_alone) == printed
    assert results("ours", jobs_alone) == printed
    # Here the serial Map has one job for all elements.
    assert results("ours", jobs_in_group) == list(zip(printed, range(2), strict=True))
