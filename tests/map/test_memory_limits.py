"""What does not fit into an engine's address space, as batch systems limit it: real engines, real limits."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import PATIENT_ENGINE, Watch, until
from test_faults import SLOW, WITHIN, Outcome, engine_pids, run_map
from test_faults import session as session
from vistrails.core.interpreter.noncached import Interpreter
from vistrails.core.utils import DummyView
from vistrails.tests.utils import intercept_result
from workflows import OURS, Flow

from parallelflow.cluster import Session
from parallelflow.map import crew, running, sharing
from parallelflow.map.module import Map
from parallelflow.map.work import Limits

pytestmark = pytest.mark.kills

MB = 10**6


def limit(pids: list[int], more: int) -> None:
    """Let engines have so many bytes more than they have now, and no more."""
    for pid in pids:
        most = psutil.Process(pid).memory_info().vms + more
        resource.prlimit(pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def lengths(held: dict[str, Any], elements: list[Any], beside: Any = None) -> Outcome:
    """Run a Map that gives its elements' lengths, perhaps with a value on another port of the mapped module."""
    flow = Flow()
    held["elements"], held["beside"] = elements, beside
    function = flow.python("o = len(i)", {"i": "Variant", "more": "Variant"}, {"o": "Variant"})
    flow.connect(flow.held("beside"), "value", function, "more")
    flow.map(function, "i", "o", (flow.held("elements"), "value"))
    watch = Watch()
    with intercept_result(Map, "Result") as results:
        done = Interpreter.get().execute(flow.build(OURS), view=DummyView())
    return Outcome(results, done.errors, watch)


@pytest.fixture
def over_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything travels as it does to other hosts."""
    monkeypatch.setattr(sharing.shared_memory, "new_room", lambda: None)


@pytest.mark.parametrize("way", ["memory", "network"])
def test_what_fits_no_engine_is_named_with_its_size_and_what_engines_may_hold(
    session: Session, held: dict[str, Any], way: str, request: pytest.FixtureRequest
) -> None:
    if way == "network":
        request.getfixturevalue("over_the_network")
    assert run_map(SLOW, [1, 2, 3]).results == [1, 4, 9]
    assert lengths(held, [b"a", b"bc"]).results == [1, 2]
    limit(engine_pids(session), 120 * MB)
    # As the pickle itself; beside it; and where it arrives, but cannot be unpickled.
    for case, element, size in (
        ("bytes", bytes(250 * MB), "250 MB"),
        ("buffer", bytearray(250 * MB), "250 MB"),
        ("arrives", bytes(80 * MB), "80 MB"),
    ):
        outcome = lengths(held, [b"a", element, b"b"])
        assert "lement 1 (" in outcome.message, case
        assert size in outcome.message, case
        assert re.search(r"the engine may hold \d{3,4} MB", outcome.message), (case, outcome.message)
        assert outcome.within(WITHIN), case
    outcome = lengths(held, [b"a", b"bc"], bytes(300 * MB))
    assert re.search(
        r"they are 300 MB, of which 300 MB are the value on port 'more'; the engine may hold \d+ MB", outcome.message
    )
    assert lengths(held, [b"a", bytearray(30 * MB), b"b"]).results == [1, 30 * MB, 1]
    assert run_map(SLOW, [1, 2, 3]).results == [1, 4, 9]
    assert len(engine_pids(session)) == 2


@pytest.mark.parametrize("way", ["memory", "network"])
def test_what_fits_one_engine_of_two_runs_there(
    session: Session, held: dict[str, Any], way: str, request: pytest.FixtureRequest
) -> None:
    if way == "network":
        request.getfixturevalue("over_the_network")
    assert run_map(SLOW, [1, 2, 3]).results == [1, 4, 9]
    limit(engine_pids(session)[:1], 120 * MB)
    limit(engine_pids(session)[1:], 2000 * MB)
    sizes = [1, 250 * MB, 2, 200 * MB, 3, 80 * MB]
    assert lengths(held, [bytes(size) for size in sizes]).results == sizes
    outcome = lengths(held, [b"a", b"bc"], bytes(300 * MB))
    assert outcome.results == [1, 2]
    assert len(engine_pids(session)) == 2


@pytest.mark.usefixtures("over_the_network")
@pytest.mark.parametrize("what", ["element", "plan"])
def test_what_is_sent_all_the_same_and_lost_is_named_and_deaf_engines_are_stopped(
    session: Session, held: dict[str, Any], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_map(SLOW, [1, 2, 3]).results == [1, 4, 9]
    before = engine_pids(session)
    limit(before, 120 * MB)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(crew.Engine, "fits", lambda self, nbytes: True)
        meanwhile.setattr(running, "_limits", lambda settings: Limits(silent=1.0))
        if what == "element":
            outcome = lengths(held, [b"a", bytes(250 * MB), b"b"])
            assert "was sent element 1 (" in outcome.message
            assert "250 MB" in outcome.message
        else:
            outcome = lengths(held, [b"a", b"bc"], bytes(300 * MB))
            assert outcome.message.count("300 MB for the modules to run") == 2, outcome.message
    assert "the engine may hold" in outcome.message
    assert outcome.within(2 * WITHIN)
    until(lambda: not any(psutil.pid_exists(pid) for pid in before))
    assert run_map(SLOW, [1, 2, 3]).results == [1, 4, 9]


def test_an_engine_that_a_shell_has_started_under_its_limit_says_what_it_cannot_hold(
    session: Session, held: dict[str, Any], tmp_path: Path
) -> None:
    """As batch systems start them: VisTrails, and all that an engine starts, has to live with it."""
    client = session.client()
    first = list(client.ids)
    (file,) = Path(os.environ["IPYTHONDIR"]).rglob("ipcontroller-engine.json")
    command = f"ulimit -v 1200000; exec {sys.executable} -m ipyparallel.engine --file={file} {' '.join(PATIENT_ENGINE)}"
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(["bash", "-c", command], stdout=log, stderr=log) as engine,
    ):
        try:
            until(lambda: len(client.ids) > len(first))
            session.stop_engines(first)
            until(lambda: client.ids and not set(first).intersection(client.ids))
            assert run_map("o = i\nprint(i)", [1, 2]).results == [1, 2]
            for case, source in (
                ("result", "o = 'x' * 700_000_000"),
                ("memory", "o = bytearray(1500 * 10**6)"),
                ("array", "import numpy\no = numpy.zeros(200 * 10**6)"),
            ):
                outcome = run_map(source, [1])
                assert "element 0 (1)" in outcome.message, case
                assert "emory" in outcome.message, (case, outcome.message)
                assert "\x1b" not in outcome.message, case
            # Of an error there are several copies, with its trace.
            for case, source in (
                ("text", "raise ValueError('x' * 100_000_000)"),
                ("wide text", "raise ValueError('\u4e2d' * 100_000_000)"),
                ("said by a module", "fail('x' * 100_000_000)"),
            ):
                message = run_map(source, [1]).message[:5000]
                assert "cannot read" not in message, case
                assert re.match(r"(MemoryError, after (ModuleError|ValueError): |Uncaught exception: )", message), (
                    message
                )
            # What can be done still runs.
            assert run_map("o = i", [1, 2]).results == [1, 2]
            assert lengths(held, [bytes(50 * MB)]).results == [50 * MB]
            assert engine.poll() is None
        finally:
            engine.terminate()
