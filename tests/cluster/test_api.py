"""The interface for other packages."""

from __future__ import annotations

import operator
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Watch, until
from ipyparallel import RemoteError

from parallelflow import api
from parallelflow.cluster import ClusterError, ControllerLost, NoEngines, Session
from parallelflow.cluster import session as session_module


def test_parallel_map_runs_serially_when_there_is_no_cluster_and_says_so() -> None:
    assert api.parallel_map(operator.add, [1, 2, 3], [10, 20]) == [11, 22]
    assert api.parallel_map(operator.neg, iter([1, 2]), ipython=True) == ([-1, -2], False)
    assert api.get_client(ask=False) is None
    assert api.direct_view(ask=False) is None
    assert api.load_balanced_view(ask=False) is None


def test_parallel_map_gives_the_results_in_order_from_the_cluster(on_shared_cluster: Session) -> None:
    assert api.parallel_map(operator.add, range(100), iter(range(1000)), ipython=True) == (
        [2 * i for i in range(100)],
        True,
    )
    assert api.parallel_map(operator.neg, []) == []
    assert api.parallel_map(operator.neg, [5]) == [-5]


def test_parallel_map_raises_the_remote_error(on_shared_cluster: Session) -> None:
    with pytest.raises(RemoteError, match="ZeroDivisionError"):
        api.parallel_map(operator.truediv, [1, 1, 1], [1, 0, 1])


@pytest.mark.parametrize(("kind", "error"), [("engine", NoEngines), ("controller", ControllerLost)])
def test_parallel_map_ends_with_an_error_when_nobody_is_left_to_compute(
    make_session: Callable[..., Session],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
    error: type[ClusterError],
) -> None:
    session = make_session(engines=1)
    session.client()
    monkeypatch.setattr(session_module, "_session", session)
    (victim,) = (started.entry.pid for started in session.processes.started if started.entry.kind == kind)
    begun = tmp_path / "begun"

    def slowly(number: int) -> None:
        begun.touch()
        time.sleep(0.5)

    def kill() -> None:
        until(begun.exists)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    watch = Watch()
    with pytest.raises(error):
        api.parallel_map(slowly, range(1000))
    assert watch.within(30)
    killer.join()


def test_views_are_those_of_the_session(on_shared_cluster: Session) -> None:
    client = api.get_client(ask=False)
    assert client is on_shared_cluster.client()
    assert client is not None
    direct, balanced = api.direct_view(ask=False), api.load_balanced_view(ask=False)
    assert direct is not None
    assert direct.targets == client.ids
    assert balanced is not None
    assert balanced.client is client


def test_parallel_map_without_iterables_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="at least one"):
        api.parallel_map(operator.neg)


_VISTRAILS = """
import sys
import vistrails.core.application
application = vistrails.core.application.init(
    {
        "batch": True,
        "installBundles": False,
        "errorLog": False,
        "singleInstance": False,
        "dotVistrails": sys.argv[1],
        "userPackageDir": sys.argv[2],
    },
    args=[],
)
from vistrails.tests.utils import enable_package, execute, intercept_result
from userpackages.sample.init import Squares
enable_package("org.example.sample")
for start in (False, True):
    with intercept_result(Squares, "squares") as squares, intercept_result(Squares, "parallel") as parallel:
        flow = ("Squares", "org.example.sample", [("numbers", [("List", "[1, 2, 3]")]), ("start", [("Boolean", str(start))])])
        assert not execute([flow])
    print([squares[0], parallel[0]], flush=True)
"""


@pytest.mark.slow
def test_a_package_of_somebody_else_computes_on_the_cluster_that_it_starts(tmp_path: Path) -> None:
    packages = tmp_path / "userpackages"
    shutil.copytree(Path(__file__).parent / "userpackages", packages)
    (packages / "__init__.py").touch()
    run = subprocess.run(
        [sys.executable, "-c", _VISTRAILS, str(tmp_path), str(packages)],
        capture_output=True,
        text=True,
        timeout=250,
        cwd=tmp_path,
    )
    lines = [line for line in run.stdout.splitlines() if line.startswith("[")]
    assert lines == ["[[1, 4, 9], False]", "[[1, 4, 9], True]"], run.stdout + run.stderr
