"""How many cores a process may use, and so how many engines are started where nobody says a number."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parallelflow.cluster import Session, Settings, cores, login
from parallelflow.cluster.cores import THREAD_VARIABLES, thread_limits, usable_cores

_GROUPS = Path("/sys/fs/cgroup/cpu")
_TELL = "from parallelflow.cluster.cores import usable_cores; print(usable_cores())"


@pytest.fixture(autouse=True)
def no_batch_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)


def told_by(*command: str) -> int:
    done = subprocess.run([*command, sys.executable, "-c", _TELL], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.fixture
def limited_group() -> Iterator[Path]:
    """A cgroup in which processes may use half a core, and one within it that sets no limit."""
    group = _GROUPS / f"parallelflow-test-{os.getpid()}"
    inner = group / "inner"
    try:
        inner.mkdir(parents=True)
        (group / "cpu.cfs_period_us").write_text("100000")
        (group / "cpu.cfs_quota_us").write_text("50000")
    except OSError as error:
        pytest.skip(f"a cgroup of version 1 cannot be made here: {error}")
    try:
        yield inner
    finally:
        inner.rmdir()
        group.rmdir()


def test_cores_that_a_process_is_not_bound_to_do_not_count() -> None:
    core = min(os.sched_getaffinity(0))
    assert told_by("taskset", "-c", str(core)) == 1
    assert usable_cores() <= len(os.sched_getaffinity(0))


def test_a_quota_of_a_group_around_the_process_s_own_counts(limited_group: Path) -> None:
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("there is one core only")
    assert told_by("sh", "-c", f'echo $$ >{limited_group}/cgroup.procs; exec "$@"', "sh") == 1


def test_a_quota_counts_on_another_machine_too(limited_group: Path, tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("there is one core only")
    # What a login runs, which has nothing of ours over there.
    tell = ["sh", "-c", f"echo $OMP_NUM_THREADS >{tmp_path}/share"]
    engine = {"name": "1", "command": tell, "environment": {}, "log": str(tmp_path / "log")}
    request = {"do": "start", "files": {}, "engines": [engine], "delay": 0, "shared": THREAD_VARIABLES}
    program = f"{login._PROGRAM}\nThere('TOKENS', 'token', 'besides').serve()"
    command = [
        "sh",
        "-c",
        f'echo $$ >{limited_group}/cgroup.procs; exec "$@"',
        "sh",
        sys.executable,
        "-I",
        "-c",
        program,
    ]
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
    ) as there:
        assert there.stdin is not None
        assert there.stdout is not None
        there.stdin.write(json.dumps(request) + "\n")
        there.stdin.flush()
        assert any('"ended"' in line for line in there.stdout)
        there.stdin.close()
    assert (tmp_path / "share").read_text() == "1\n"


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/user.slice/me.scope", {"user.slice/cpu.max": "150000 100000"}, 2),
        ("0::/user.slice/me.scope", {"user.slice/cpu.max": "max 100000", "user.slice/me.scope/cpu.max": "1 1"}, 1),
        ("0::/docker/abc", {"cpu.max": "20000 100000"}, 1),  # a container that sees its own group as the root
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {}, None),
        ("0::/", {"cpu.max": "damaged"}, None),
        ("4:memory:/\n3:cpu,cpuacct:/job", {"job/cpu.cfs_quota_us": "-1", "job/cpu.cfs_period_us": "100000"}, None),
        ("3:cpu,cpuacct:/job/step", {"job/cpu.cfs_quota_us": "90000", "job/cpu.cfs_period_us": "100000"}, 1),
        ("3:cpuset:/job", {"job/cpu.cfs_quota_us": "1", "job/cpu.cfs_period_us": "1"}, None),
    ],
)
def test_quotas_of_either_version_of_cgroups_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, files: dict[str, str], cores: int | None
) -> None:
    # Kernels have one version or the other, so that these files stand in for them.
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(64))
    tree = tmp_path / "sys"
    kind = "cgroup2 cgroup2 rw" if group.startswith("0::") else "cgroup cgroup rw,cpu,cpuacct"
    (tmp_path / "mountinfo").write_text(
        f"23 1 0:1 / / rw - ext4 /dev/vda rw\n31 23 0:28 / {tree} rw,relatime shared:9 - {kind}\n"
    )
    (tmp_path / "cgroup").write_text(f"{group}\n")
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(f"{content}\n")
    assert usable_cores(tmp_path) == (cores or 64)


def test_what_slurm_has_granted_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(64))
    here = usable_cores()
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "12")
    assert usable_cores() == min(here, 12)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert usable_cores() == min(here, 3)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "many")
    assert usable_cores() == min(here, 12)


def test_engines_share_the_cores_unless_somebody_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 8)
    assert thread_limits(0, 2, {}) == dict.fromkeys(THREAD_VARIABLES, "4")
    assert thread_limits(0, 3, {}) == dict.fromkeys(THREAD_VARIABLES, "2")
    assert thread_limits(0, 20, {}) == dict.fromkeys(THREAD_VARIABLES, "1")
    rest = thread_limits(0, 8, {"MKL_NUM_THREADS": "3"})
    assert rest == {name: "1" for name in THREAD_VARIABLES if name != "MKL_NUM_THREADS"}
    assert thread_limits(0, 2, {"OMP_NUM_THREADS": "5"}) == {}
    assert thread_limits(6, 2, {"OMP_NUM_THREADS": "5"}) == dict.fromkeys(THREAD_VARIABLES, "6")
    assert thread_limits(0, 0, {}) == {}
    assert thread_limits(6, 0, {}) == dict.fromkeys(THREAD_VARIABLES, "6")


def threads(client: Any) -> list[str | None]:
    """What the engine that was started last is told."""
    return [client[client.ids[-1]].apply_sync(os.getenv, name) for name in THREAD_VARIABLES]


def test_engines_are_started_with_their_share_of_the_cores(
    make_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    session = make_session(engines=1)
    client = session.client()
    assert threads(client) == [str(usable_cores())] * 5
    session.start_engines(1)
    share = str(max(1, usable_cores() // 2))
    assert threads(client) == [share] * 5
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    session.start_engines(1)
    assert threads(client) == ["7", None, None, None, None]
    session._settings = lambda: Settings(engines=1, threads_per_engine=3)
    session.start_engines(1)
    assert threads(client) == ["3"] * 5
