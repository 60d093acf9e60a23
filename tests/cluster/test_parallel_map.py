"""`parallel_map` and `parallel_imap` over the scheduler: what they survive, what ends them, and how results come."""

from __future__ import annotations

import operator
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import LONG
from ipyparallel import RemoteError

from parallelflow import api
from parallelflow.cluster import ClusterError, ConnectError, NoEngines, Session
from parallelflow.cluster import session as session_module

# What would take so long is never waited for.
FOR_EVER = 3600.0


def _nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def naps(*seconds: float) -> Callable[[int], int]:
    """A function that takes so long for its elements, and gives them back; without a module that engines lack."""

    def nap(index: int) -> int:
        import time

        time.sleep(seconds[index] if index < len(seconds) else 0.0)
        return index

    return nap


@pytest.fixture
def free_engines(on_shared_cluster: Session) -> Iterator[Session]:
    """Two engines; they must have nothing to do in the end."""
    yield on_shared_cluster
    client = on_shared_cluster.client()
    assert client[:].apply_async(os.getpid).get(LONG)  # nothing waits before it


def test_many_elements_travel_together_and_come_back_in_order(free_engines: Session) -> None:
    large = list(range(1000))
    told: list[tuple[int, int]] = []
    results = api.parallel_map(lambda i: large[i] + 1, range(1000), progress=lambda *done: told.append(done))
    assert results == list(range(1, 1001))
    assert told[-1] == (1000, 1000)
    assert told == sorted(told)


def test_one_of_two_engines_dies_and_the_list_is_right(
    make_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(engines=2)
    session.client()
    monkeypatch.setattr(session_module, "_session", session)
    victim = next(started.entry.pid for started in session.processes.started if started.entry.kind != "controller")

    def kill(done: int, count: int) -> None:
        nonlocal victim
        if victim and done >= 10:
            victim = os.kill(victim, signal.SIGKILL) or 0

    assert api.parallel_map(naps(*[0.02] * 100), range(100), progress=kill) == list(range(100))
    assert not victim


def test_the_first_failure_ends_it_at_once_with_what_it_was(free_engines: Session) -> None:
    def fails(index: int) -> int:
        import time

        if index == 0:
            time.sleep(3600)
        return 1 // (index - 1)

    with pytest.raises(RemoteError, match="ZeroDivisionError") as error:
        api.parallel_map(fails, range(3))
    assert error.value.ename == "ZeroDivisionError"
    assert "return 1 // (index - 1)" in error.value.traceback or "in fails" in error.value.traceback
    assert "parallelflow" not in error.value.traceback


def test_ctrl_c_leaves_nothing_running(free_engines: Session) -> None:
    def interrupt(done: int, count: int) -> None:
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        api.parallel_map(naps(0, 0, FOR_EVER, FOR_EVER, FOR_EVER), range(5), progress=interrupt)


def test_what_progress_raises_ends_it(free_engines: Session) -> None:
    def enough(done: int, count: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        api.parallel_map(naps(FOR_EVER, FOR_EVER), range(2), progress=enough)


def test_results_come_in_order_or_as_they_are_done(free_engines: Session, tmp_path: Path) -> None:
    def slow_first(index: int) -> int:
        """The first one waits until the other engine has run some, or somebody has their results, however late that is."""
        import time

        if index == 0:
            end = time.monotonic() + LONG
            while not has_come.exists() and len(list(ran.iterdir())) < enough and time.monotonic() < end:
                time.sleep(0.02)
        else:
            (ran / str(index)).touch()
        return index

    has_come, ran, enough = tmp_path / "has come", tmp_path / "ran", 5
    ran.mkdir()
    assert list(api.parallel_imap(slow_first, range(40))) == list(range(40))
    enough = 40  # never
    unordered = []
    for result in api.parallel_imap(slow_first, range(40), ordered=False):
        unordered.append(result)
        has_come.touch()
    assert sorted(unordered) == list(range(40))
    assert unordered[0] != 0
    assert list(api.parallel_imap(operator.neg, [])) == []


def test_who_takes_results_slowly_gets_them_all(free_engines: Session) -> None:
    taken = []
    for result in api.parallel_imap(naps(), range(300)):
        taken.append(result)
        if result % 100 == 0:
            _nap(0.2)  # longer than engines are left alone
    assert taken == list(range(300))


def test_an_iterator_that_is_closed_breaks_off_what_runs(free_engines: Session) -> None:
    results = api.parallel_imap(naps(0, FOR_EVER, FOR_EVER), range(3))
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert list(results) == []


class _ReadHereOnly:
    """A function that nobody can read who is sent it."""

    def __call__(self, element: int) -> int:
        return element

    def __reduce__(self) -> Any:
        return operator.truediv, (1, 0)


def test_what_cannot_travel_is_named(free_engines: Session) -> None:
    lock = threading.Lock()
    with pytest.raises(TypeError, match=r"The function cannot be sent to engines: .*lock"):
        api.parallel_map(lambda i: lock.locked(), [1])
    with pytest.raises(TypeError, match=r"element 1 \(<unlocked .*\) cannot be sent to engines"):
        api.parallel_map(operator.not_, [1, lock])
    with pytest.raises(ClusterError, match=r"cannot run parallel_map: .*ZeroDivisionError"):
        api.parallel_map(_ReadHereOnly(), [1])
    with pytest.raises(RemoteError, match="of type lock, cannot be sent back"):
        api.parallel_map(lambda i: __import__("_thread").allocate_lock(), [1])


def test_text_is_shown_here(free_engines: Session, capfd: pytest.CaptureFixture[str]) -> None:
    def says(index: int) -> None:
        import sys

        sys.stdout.write(f"<{index}>")
        sys.stderr.write(f"[{index}]")

    api.parallel_map(says, range(3))
    out, err = capfd.readouterr()
    assert sorted(out) == sorted("<0><1><2>")
    assert sorted(err) == sorted("[0][1][2]")


def test_inside_an_engine_it_runs_in_place(free_engines: Session) -> None:
    def inner(count: int) -> tuple[list[int], bool]:
        import operator

        from parallelflow import api

        return api.parallel_map(operator.neg, range(count), ipython=True)

    assert api.parallel_map(inner, [0, 3]) == [([], False), ([0, -1, -2], False)]


def test_an_element_that_engines_do_not_survive_is_named(
    make_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(engines=3)
    session.client()
    monkeypatch.setattr(session_module, "_session", session)

    def kills(index: int) -> int:
        import os

        return index if index != 2 else os.kill(os.getpid(), 9)  # type: ignore[return-value]

    with pytest.raises(ClusterError, match=r"element 2 \(2\)"):
        api.parallel_map(kills, range(4))


def test_a_cluster_that_should_answer_and_does_not_is_an_error(
    make_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(engines=1)
    session.client()
    monkeypatch.setattr(session_module, "_session", session)
    session.stop_engines(session.client().ids)
    with pytest.raises(NoEngines, match="the controller has no engines"):
        api.parallel_map(operator.neg, [1])
    with pytest.raises(NoEngines, match="the controller has no engines"):
        api.parallel_imap(operator.neg, [1])
    hub = session.processes.controller()
    assert hub is not None
    other = make_session(connect_timeout=2)
    monkeypatch.setattr(session_module, "_session", other)
    os.kill(hub.entry.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ConnectError):
            api.parallel_map(operator.neg, [1])
    finally:
        os.kill(hub.entry.pid, signal.SIGCONT)


def test_a_cluster_that_was_to_be_started_and_was_not_is_an_error(
    make_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = make_session(profile="no such profile")
    monkeypatch.setattr(session_module, "_session", wrong)
    with pytest.raises(ClusterError, match="no such profile"):
        api.parallel_map(operator.neg, [1], ask=True)


_WITHOUT_VISTRAILS = """
import operator, sys
sys.modules["vistrails"] = None  # cannot be imported
from parallelflow import api
from parallelflow.cluster import Settings, configure
if __name__ == "__main__":
    offset = 10
    def shifted(value):
        return helper(value)
    def helper(value):
        assert sys.modules.get("vistrails") is None
        return value + offset
    configure(lambda: Settings(engines=1, if_no_engines="auto", start_timeout=200, connect_timeout=60))
    print(api.parallel_map(shifted, [1, 2, 3], ask=True, ipython=True), flush=True)
"""


@pytest.mark.slow
def test_it_needs_no_vistrails_and_a_scripts_functions_find_what_they_use(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(_WITHOUT_VISTRAILS)
    run = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=200, cwd=tmp_path, check=False
    )
    assert run.stdout == "([11, 12, 13], True)\n", run.stderr


def test_progress_is_told_without_a_cluster_too() -> None:
    told: list[Any] = []
    assert api.parallel_map(operator.neg, [1, 2], progress=lambda *done: told.append(done)) == [-1, -2]
    assert told == [(1, 2), (2, 2)]
    results = api.parallel_imap(operator.neg, [1, 2])
    assert next(results) == -1
    assert list(results) == [-2]
