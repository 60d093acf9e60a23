"""What a Map does when processes die, stop or never end, and when the user cancels. Real processes, real signals."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import LONG, Watch, command_line, listener_at, until
from meeting import marked, together
from vistrails.core.interpreter.base import AbortExecution
from vistrails.core.interpreter.noncached import Interpreter
from vistrails.core.utils import DummyView
from vistrails.tests.utils import intercept_result
from workflows import OURS, Flow

from parallelflow.cluster import Session, internals, profile
from parallelflow.cluster import session as session_module
from parallelflow.cluster.started import Started
from parallelflow.cluster.tree import lives
from parallelflow.map import (
    breaking_off,
    crew,
    engine,
    engine_vistrails,
    execution,
    experience,
    needs,
    progress,
    running,
    supply,
    watch,
)
from parallelflow.map.marks import KEY
from parallelflow.map.module import Map
from parallelflow.map.work import Limits

pytestmark = pytest.mark.kills

WITHIN = 30.0  # seconds: the contract


@pytest.fixture
def session(vistrails: Any, own_session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A cluster of two engines that may be harmed, used by every Map."""
    monkeypatch.setattr(session_module, "_session", own_session)
    own_session.client()
    return own_session


class View(DummyView):
    """Sees a Map's progress, and does something when it has come so far."""

    def __init__(self, action: Callable[[], None] | None = None, at: float = 0.0):
        self.action, self.at = action, at
        self.fractions: list[float] = []
        self.aborted: Watch | None = None

    def set_module_progress(self, module_id: int, progress: float = 0.0) -> None:
        self.fractions.append(progress)
        if self.action is not None and progress >= self.at:
            action, self.action = self.action, None
            action()

    def cancel(self) -> None:
        self.aborted = Watch()
        raise AbortExecution


class Outcome:
    """What a Map came to."""

    def __init__(self, results: list[Any], errors: dict[int, Any], watch: Watch):
        self.results = results[0] if results else None
        self.errors = errors
        self.watch = watch.stop()

    def within(self, seconds: float) -> bool:
        """Whether it took no longer, but for what a busy machine made it wait."""
        return self.watch.within(seconds)

    @property
    def message(self) -> str:
        (error,) = self.errors.values()
        return str(error.msg)


def run_map(source: str, elements: list[Any], view: DummyView | None = None) -> Outcome:
    flow = Flow()
    function = flow.python(source, {"i": "Variant"}, {"o": "Variant"})
    flow.map(function, "i", "o", repr(elements))
    watch = Watch()
    with intercept_result(Map, "Result") as results:
        done = Interpreter.get().execute(flow.build(OURS), view=view or DummyView())
    return Outcome(results, done.errors, watch)


def start_vistrails(session: Session) -> None:
    """Have both engines start VisTrails now, so that they begin with the elements at the same time."""
    session.client()[:].apply_sync(engine_vistrails.start, pickle.loads(needs.environment()))


def engine_pids(session: Session) -> list[int]:
    return [process.pid for process in session.state().processes if process.kind == "engine"]


def controller_processes(session: Session) -> list[psutil.Process]:
    """The controller's main process (the hub) first, then its schedulers."""
    (pid,) = (process.pid for process in session.state().processes if process.kind == "controller")
    hub = psutil.Process(pid)
    return [hub, *hub.children(recursive=True)]


def part_of_controller(session: Session, name: str) -> psutil.Process:
    """The one process of the controller that listens at a port, by the port's name in the engines' connection file."""
    assert session.connection is not None
    info = json.loads(profile.engine_file(session.connection.profile_dir).read_text())
    _, *parts = controller_processes(session)
    return listener_at(info[name], parts)


def until_written(folder: Path, count: int) -> None:
    """Wait until elements have left `count` files in a folder, or too long: what is to be done then ends the run."""
    deadline = time.monotonic() + LONG
    while time.monotonic() < deadline and len(list(folder.iterdir())) < count:
        time.sleep(0.01)


@contextmanager
def once_written(folder: Path, count: int, action: Callable[[], None]) -> Iterator[None]:
    """Do something as soon as elements have left `count` files in a folder."""

    def watch() -> None:
        until_written(folder, count)
        action()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        thread.join(LONG)


SLOW = "import time\ntime.sleep(0.1)\no = i * i"


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def test_a_map_survives_the_death_of_one_of_two_engines(
    session: Session, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parallelflow.map.chunks.TARGET_DURATION", 0.05)  # an element is a chunk
    start_vistrails(session)
    victim = engine_pids(session)[0]
    with once_written(marks, 6, lambda: os.kill(victim, signal.SIGKILL)):
        outcome = run_map(together(marks, SLOW), list(range(40)))
    assert outcome.errors == {}
    assert outcome.results == [i * i for i in range(40)]
    assert outcome.within(WITHIN)
    runs = Counter(path.name.split("-")[0] for path in marks.iterdir())
    assert len(runs) == 40
    assert sum(runs.values()) <= 42  # what ran on the dead engine, and what it had not sent yet
    assert run_map(SLOW, [1, 2, 3]).results == [1, 4, 9]


def test_a_map_survives_the_death_of_an_engine_that_starts_vistrails(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, _ = engine_pids(session)
    (number,) = [engine.id for engine in session.state().engines if engine.pid == victim]
    send = crew.Crew.send

    def send_and_kill(self: crew.Crew, each: crew.Engine, function: Any, *arguments: Any, **more: Any) -> Any:
        if each.number == number and function is engine.install:
            threading.Timer(0.5, os.kill, (victim, signal.SIGKILL)).start()
        return send(self, each, function, *arguments, **more)

    monkeypatch.setattr(crew.Crew, "send", send_and_kill)
    outcome = run_map(SLOW, list(range(20)))
    assert outcome.errors == {}
    assert outcome.results == [i * i for i in range(20)]
    until(lambda: not psutil.pid_exists(victim))
    assert outcome.within(WITHIN)
    # What it had begun is removed by the next engine.
    session.start_engines(1)
    session.client()[-1].apply_sync(engine_vistrails.start, pickle.loads(needs.environment()))
    until(lambda: not list(Path(tempfile.gettempdir()).glob("parallelflow_vistrails_*")))


@pytest.mark.parametrize("known", [False, True], ids=["engines without the plan", "engines with the plan"])
def test_a_failure_is_reported_without_waiting_for_later_elements(session: Session, marks: Path, known: bool) -> None:
    source = marked(marks, "if i == 0:\n    raise ValueError('not this one')\ntime.sleep(3600 if i > 0 else 0)\no = i")
    if known:
        run_map(source, [-1, -2, -3, -4])
        for mark in marks.iterdir():
            mark.unlink()
    outcome = run_map(source, list(range(50)))
    assert "not this one" in outcome.message
    assert "element 0 (0)" in outcome.message
    assert outcome.within(WITHIN)
    assert len(list(marks.iterdir())) <= 4  # what waited was dropped
    assert run_map("o = i + 1", [1, 2, 3]).results == [2, 3, 4]


def test_a_map_that_loses_all_engines_ends_with_an_error_and_the_next_run_works(session: Session, marks: Path) -> None:
    def kill() -> None:
        for pid in engine_pids(session):
            os.kill(pid, signal.SIGKILL)

    start_vistrails(session)
    with once_written(marks, 6, kill):
        outcome = run_map(together(marks, SLOW), list(range(200)))
    assert "2 engines died one after the other while they ran this Map" in outcome.message
    assert outcome.message.count("was killed by signal 9") == 2
    assert "of 200 elements were done" in outcome.message
    assert outcome.within(WITHIN)
    assert run_map(SLOW, [1, 2, 3]).results == [1, 4, 9]


@pytest.mark.parametrize(
    "part", ["the whole tree", "the hub", "the schedulers", "the task scheduler", "the heart monitor"]
)
def test_a_map_that_loses_its_controller_ends_within_its_time_and_the_next_run_works(
    session: Session, marks: Path, part: str
) -> None:
    hub, *schedulers = controller_processes(session)
    victims = {
        "the whole tree": [hub, *schedulers],
        "the hub": [hub],
        "the schedulers": schedulers,
        "the task scheduler": [part_of_controller(session, "task")],
        "the heart monitor": [part_of_controller(session, "hb_pong")],
    }[part]

    def kill() -> None:
        for process in victims:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    start_vistrails(session)
    with once_written(marks, 6, kill):
        outcome = run_map(marked(marks, SLOW), list(range(200)))
    assert outcome.within(WITHIN)
    if part == "the hub" and not outcome.errors:
        # The schedulers need no hub to finish what they have.
        assert outcome.results == [i * i for i in range(200)]
    else:
        assert "ontroller" in outcome.message
        assert "of 200 elements were done" in outcome.message
    assert run_map(SLOW, [1, 2, 3]).results == [1, 4, 9]


def test_an_engine_that_is_stopped_and_continued_does_no_harm(session: Session, marks: Path) -> None:
    victim = engine_pids(session)[0]

    def stop_for_a_while() -> None:
        os.kill(victim, signal.SIGSTOP)
        threading.Timer(3.0, os.kill, (victim, signal.SIGCONT)).start()

    start_vistrails(session)
    with once_written(marks, 6, stop_for_a_while):
        outcome = run_map(together(marks, SLOW), list(range(40)))
    assert outcome.errors == {}
    assert outcome.results == [i * i for i in range(40)]
    assert outcome.within(WITHIN)


def test_engines_that_are_stopped_for_good_are_given_up(session: Session, marks: Path) -> None:
    pids = engine_pids(session)

    def stop() -> None:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)

    start_vistrails(session)
    with once_written(marks, 3, stop):
        outcome = run_map(together(marks, SLOW), list(range(200)))
    assert "2 engines died one after the other while they ran this Map" in outcome.message
    assert "is gone while it ran element" in outcome.message  # nobody knows how
    assert outcome.within(WITHIN)


def test_an_element_whose_engine_died_runs_again_on_another_host_if_there_is_one(
    session: Session, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.start_engines(2)
    uuids = internals.engines(session.client())
    host = property(lambda engine: "one" if engine.number < 2 else "two", lambda engine, found: None)
    monkeypatch.setattr("parallelflow.map.crew.Engine.host", host)
    avoided: list[frozenset[str]] = []
    again = supply.Supply.again

    def noting(self: supply.Supply, chunks: Sequence[Any]) -> None:
        avoided.extend(chunk.avoid for chunk in chunks if 0 in chunk.indices)
        again(self, chunks)

    monkeypatch.setattr(supply.Supply, "again", noting)
    dies = f"o = os.getpid()\nif len(os.listdir({str(marks)!r})) == 1:\n    os.kill(o, 9)"
    outcome = run_map(marked(marks, dies), [0])
    assert outcome.errors == {}
    assert len(list(marks.iterdir())) == 2
    (gone,) = (number for number, uuid in uuids.items() if uuid not in internals.engines(session.client()).values())
    assert avoided == [{uuids[gone ^ 1]}]


def test_an_element_that_kills_its_engine_is_named_and_not_tried_a_third_time(session: Session, marks: Path) -> None:
    session.start_engines(1)
    source = marked(marks, "if i == 7:\n    os.kill(os.getpid(), 9)\ntime.sleep(0.05)\no = i")
    outcome = run_map(source, list(range(30)))
    assert "element 7 (7)" in outcome.message
    killed = r"Engine (\d) on \S+ was killed by signal 9"
    found = re.search(rf"died twice: {killed} and {killed}\. ", outcome.message)
    assert found, outcome.message
    one, other = found.groups()
    assert one != other
    assert len(list(marks.glob("7-*"))) == 2
    assert {int(path.name.split("-")[0]) for path in marks.iterdir()} >= set(range(7))
    assert outcome.within(2 * WITHIN)  # two deaths, each noticed by itself


def test_an_element_that_kills_before_its_engine_is_heard_of_is_named_after_two_deaths(
    session: Session, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.start_engines(1)
    source = marked(marks, "if i == 7:\n    os.kill(os.getpid(), 9)\ntime.sleep(0.05)\no = i")
    assert run_map(source, list(range(6))).errors == {}
    monkeypatch.setattr(crew.Message, "has_begun", property(lambda message: False))
    outcome = run_map(source, [7, *range(6)])
    assert "element 0 (7) died twice" in outcome.message
    assert len(list(marks.glob("7-*"))) == 2


def test_engines_that_were_killed_just_before_a_map_are_replaced_and_blame_nothing(session: Session) -> None:
    source, seen = "import os\no = (i + 1, os.getpid())", set[int]()

    def both_hold_the_plan() -> bool:
        seen.update(pid for _, pid in run_map(source, list(range(20))).results)
        return len(seen) == 2

    until(both_hold_the_plan)  # one may still get ready for it when the other has run all elements
    old = {process.pid for process in session.state().processes}
    for pid in engine_pids(session):
        os.kill(pid, signal.SIGKILL)
    # The hub has not heard of it yet.
    outcome = run_map(source, [1, 2, 4])
    assert outcome.errors == {}
    assert [number for number, _ in outcome.results] == [2, 3, 5]
    assert len({*engine_pids(session)} - old) == 2


def test_an_engine_that_joins_in_the_middle_gets_work(session: Session, marks: Path) -> None:
    threads = []

    def join() -> None:
        thread = threading.Thread(target=session.start_engines, args=(1,))
        thread.start()
        threads.append(thread)

    # Elements wait until all three work, so that none comes too late.
    waits = "\n    ".join(together(marks, "", engines=3).splitlines())
    source = f"{marked(marks, 'if i > 8:')}\n    {waits}\no = i * i"
    with once_written(marks, 6, join):
        outcome = run_map(source, list(range(1000)))
    threads[0].join(LONG)
    assert outcome.results == [i * i for i in range(1000)]
    assert len({path.name.split("-")[1] for path in marks.iterdir()}) == 3


def test_a_map_that_finds_a_controller_without_engines_starts_some(session: Session) -> None:
    session.stop_engines(list(session.client().ids))
    assert run_map(SLOW, [1, 2, 3]).results == [1, 4, 9]


@pytest.mark.parametrize("element", ["time.sleep(3600)", "while True: pass"])
def test_cancel_gives_control_back_within_two_seconds_and_the_next_run_works(
    session: Session, marks: Path, element: str
) -> None:
    view = View()

    def cancel_when_running() -> None:
        view.action = view.cancel

    with once_written(marks, 2, cancel_when_running):
        outcome = run_map(marked(marks, element), list(range(100)), view)
    assert view.aborted is not None
    assert view.aborted.within(2.0)
    assert outcome.results is None
    again = run_map("o = i + 1", [1, 2, 3])
    assert again.results == [2, 3, 4]
    assert len(list(marks.iterdir())) <= 4  # what waited was dropped, but for what began before it heard


def test_cancel_twice_in_a_row_works(session: Session, marks: Path) -> None:
    for count in (2, 4):
        view = View()

        def cancel_when_running(view: View = view) -> None:
            view.action = view.cancel

        with once_written(marks, count, cancel_when_running):
            run_map(marked(marks, f"time.sleep({60 + count})\no = i"), list(range(count * 100, count * 100 + 10)), view)
        assert view.aborted is not None
        assert view.aborted.within(2.0)
    assert run_map("o = i + 1", [1, 2, 3]).results == [2, 3, 4]


def run_loop(source: str, elements: list[Any], folder: Path, view: DummyView | None = None) -> Outcome:
    """Have a marked module loop over a list."""
    flow, results = Flow(), folder / "results.json"
    numbers = flow.python(f"o = {elements!r}", {}, {"o": "[Integer]"})
    loops = flow.python(source, {"i": "Integer"}, {"o": "Integer"}, annotations={KEY: ""})
    writes = flow.python(
        f"import json, pathlib\npathlib.Path({str(results)!r}).write_text(json.dumps(i))", {"i": "[Integer]"}, {}
    )
    flow.connect(numbers, "o", loops, "i")
    flow.connect(loops, "o", writes, "i")
    watch = Watch()
    done = Interpreter.get().execute(flow.build(OURS), view=view or DummyView())
    found = [json.loads(results.read_text())] if results.exists() else []
    results.unlink(missing_ok=True)
    return Outcome(found, done.errors, watch)


def test_a_marked_loop_survives_the_death_of_an_engine_and_can_be_cancelled(
    session: Session, marks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parallelflow.map.chunks.TARGET_DURATION", 0.05)  # an element is a chunk
    start_vistrails(session)
    victim = engine_pids(session)[0]
    with once_written(marks, 6, lambda: os.kill(victim, signal.SIGKILL)):
        outcome = run_loop(together(marks, SLOW), list(range(30)), tmp_path)
    assert outcome.errors == {}
    assert outcome.results == [i * i for i in range(30)]
    ran = len(list(marks.iterdir()))
    assert 30 <= ran <= 32  # what ran on the dead engine, and what it had not sent yet
    view = View()

    def cancel_when_running() -> None:
        view.action = view.cancel

    with once_written(marks, ran + 1, cancel_when_running):
        outcome = run_loop(marked(marks, "time.sleep(3600)\no = i"), list(range(100, 200)), tmp_path, view)
    assert view.aborted is not None
    assert view.aborted.within(WITHIN)  # it did not run in VisTrails after all
    assert outcome.results is None
    assert len(list(marks.iterdir())) <= ran + 3  # what waited was dropped, but for what began before it heard
    assert run_loop("o = i + 1", [1, 2, 3], tmp_path).results == [2, 3, 4]


def test_what_begins_after_all_although_it_was_to_be_dropped_is_interrupted_too(
    session: Session, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What waits stays where it is, even if one engine is ready much later than the other.
    monkeypatch.setattr(watch, "TAKE_BACK_AFTER", 3600.0)
    abort = session.client().abort
    late: list[threading.Thread] = []

    def hear_late(names: list[str], **options: Any) -> Any:
        """The first of an engine's runs already; of what waits behind it the engine hears when it has begun it."""

        def tell() -> None:
            until_written(marks, 4)
            abort(names[1:], **options)

        late.append(threading.Thread(target=tell))
        late[-1].start()
        return abort(names[:1], **options)

    monkeypatch.setattr(session.client(), "abort", hear_late)
    view = View()

    def cancel_when_running() -> None:
        until(lambda: (now := progress.current()) is not None and len(now.chunks) == 4)
        view.action = view.cancel

    with once_written(marks, 2, cancel_when_running):
        run_map(marked(marks, "time.sleep(3600)"), list(range(100)), view)
    assert view.aborted is not None
    assert view.aborted.within(2.0)
    until(lambda: len(list(marks.iterdir())) == 4)  # those that waited behind the first
    both = marks.parent / "both"
    both.mkdir()
    assert run_map(together(both, "o = i + 1"), [1, 2, 3]).results == [2, 3, 4]
    for thread in late:
        thread.join(LONG)


def test_what_does_not_end_in_time_is_still_interrupted_afterwards(
    session: Session, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_limits", lambda settings: Limits(cancel=0.0))
    view = View()

    def cancel_when_running() -> None:
        view.action = view.cancel

    with once_written(marks, 2, cancel_when_running):
        run_map(marked(marks, "time.sleep(3600)"), list(range(100)), view)
    assert run_map("o = i + 1", [1, 2, 3]).results == [2, 3, 4]


def test_an_element_that_an_interrupt_misses_is_interrupted_again(session: Session, marks: Path) -> None:
    view = View()

    def cancel_when_running() -> None:
        view.action = view.cancel

    deaf = "import signal\nbefore = signal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(0.4)\n"
    element = f"{deaf}signal.signal(signal.SIGINT, before)\ntime.sleep(3600)"
    with once_written(marks, 2, cancel_when_running):
        run_map(marked(marks, element), list(range(100)), view)
    assert view.aborted is not None
    assert view.aborted.within(2.0)
    assert run_map("o = i + 1", [1, 2, 3]).results == [2, 3, 4]


def test_what_an_engine_computes_that_is_stopped_is_computed_elsewhere(session: Session, marks: Path) -> None:
    stopped: list[Started] = []

    def stop() -> None:
        """Stop the engine that runs the last element, which does not end there."""
        (mark,) = marks.glob("5-*")
        (engine,) = [each for each in session.state().engines if each.pid == int(mark.name.split("-")[1])]
        stopped.append(session.processes.engines()[session.client()._engines[engine.id]])
        session.stop_engines([engine.id])

    start_vistrails(session)
    last = f"len([name for name in os.listdir({str(marks)!r}) if name.startswith('5-')])"
    wait = f"end = time.monotonic() + {LONG}\nwhile i == 5 and {last} < 2 and time.monotonic() < end:\n    time.sleep(0.02)\n"
    with once_written(marks, 6, stop):
        outcome = run_map(marked(marks, f"{wait}time.sleep(0.1)\no = i * i"), list(range(6)))
    assert outcome.errors == {}
    assert outcome.results == [i * i for i in range(6)]
    (engine,) = stopped
    until(lambda: session.state() and engine.exit_status is not None)
    assert engine.exit_status != -signal.SIGKILL  # it ended by itself
    assert len(list(marks.iterdir())) == 7  # one element began on both


def test_an_element_that_interrupts_itself_fails_as_in_the_serial_map(session: Session, marks: Path) -> None:
    source = marked(marks, "if i == 3:\n    os.kill(os.getpid(), 2)\n    time.sleep(60)\no = i")
    outcome = run_map(source, list(range(6)))
    assert "Interrupted by user" in outcome.message
    assert "element 3 (3)" in outcome.message
    assert outcome.within(WITHIN)
    assert len(list(marks.glob("3-*"))) <= 2


def test_a_late_interrupt_does_not_hit_the_next_run(session: Session, marks: Path) -> None:
    with once_written(marks, 2, lambda: [os.kill(pid, signal.SIGINT) for pid in engine_pids(session)]):
        outcome = run_map(marked(marks, SLOW), list(range(20)))
    assert outcome.results == [i * i for i in range(20)]


def test_engines_whose_nannies_are_gone_are_stopped_when_they_cannot_be_interrupted(
    session: Session, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaking_off, "OBEY_TIMEOUT", 1.0)
    engines = [psutil.Process(pid) for pid in engine_pids(session)]
    nannies = [child for engine in engines for child in engine.children() if "nanny" in " ".join(command_line(child))]
    assert len(nannies) == 2
    view = View()

    def cancel_without_nannies() -> None:
        for nanny in nannies:
            nanny.kill()
        view.action = view.cancel

    with once_written(marks, 2, cancel_without_nannies):
        run_map(marked(marks, "time.sleep(3600)"), list(range(100)), view)
    assert view.aborted is not None
    assert view.aborted.within(2.0)
    until(lambda: not any(map(lives, engines)))
    assert run_map("o = i + 1", [1, 2, 3]).results == [2, 3, 4]


def test_an_engine_that_hangs_while_it_gets_ready_does_not_make_later_runs_wait(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.stop_engines([session.client().ids[0]])
    monkeypatch.setattr(delay, "__module__", "__main__")  # travels as it is, not by its name
    session.client()[:].apply_sync(delay, 3600)
    monkeypatch.setattr(running, "_limits", lambda settings: Limits(ready=2.0))
    for added in (1, 2):
        outcome = run_map(f"o = i + {added}", [1, 2, 3])
        assert "did not get ready within 2 seconds" in outcome.message


def test_engines_that_get_ready_after_cancel_are_not_taken_for_hanging(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    look = watch.Watch.look

    def cancel(self: watch.Watch) -> None:
        look(self)
        if self.prepares:
            raise AbortExecution

    monkeypatch.setattr(delay, "__module__", "__main__")  # travels as it is, not by its name
    session.client()[:].apply_sync(delay, LONG, str(tmp_path / "go on"))
    monkeypatch.setattr(watch.Watch, "look", cancel)
    assert run_map("o = i", [1, 2, 3]).results is None
    unfinished = experience.of(session.client()).unfinished
    assert unfinished
    (tmp_path / "go on").touch()
    monkeypatch.setattr(watch.Watch, "look", look)
    assert run_map("o = i + 1", [1, 2, 3]).results == [2, 3, 4]
    until(lambda: not unfinished)


def delay(seconds: float, file: str = "") -> None:
    """Have plans get ready only after some time, or when there is a file; runs on an engine."""
    import os
    import time

    from parallelflow.map import engine

    make_ready = engine._make_ready

    def late(*arguments: Any) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not os.path.exists(file):
            time.sleep(0.05)
        return make_ready(*arguments)

    engine._make_ready = late


def test_an_engine_that_dies_in_the_moment_it_is_to_get_the_plan_does_no_harm(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe, victim = execution.environment, engine_pids(session)

    def meanwhile() -> bytes:
        if victim:
            os.kill(victim.pop(), signal.SIGKILL)
            until(lambda: len(session.client().ids) == 1)
        return describe()

    monkeypatch.setattr(execution, "environment", meanwhile)
    assert run_map(SLOW, list(range(6))).results == [i * i for i in range(6)]


def test_cancel_before_engines_are_ready_works(session: Session) -> None:
    view = View()
    view.action = view.cancel
    run_map("o = i", list(range(10)), view)
    assert view.aborted is not None
    assert view.aborted.within(2.0)
    assert run_map("o = i + 1", [1, 2, 3]).results == [2, 3, 4]


def test_a_map_says_that_all_engines_are_busy_with_something_else_and_goes_on_when_they_are_not(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_map("o = i", [1, 2])
    monkeypatch.setattr(execution, "_BUSY_AFTER", 0.5)
    said: list[str] = []
    go = tmp_path / "go on"

    def hear(text: str) -> None:
        said.append(text)
        if "busy with something else" in text:
            go.touch()

    monkeypatch.setattr(execution.debug, "warning", hear)
    wait = f"end = time.monotonic() + {LONG}\nwhile not os.path.exists({str(go)!r}) and time.monotonic() < end: time.sleep(0.05)"
    asleep = session.client()[:].execute(f"import os, time\n{wait}", block=False)
    assert run_map("o = i + 1", [1, 2, 3]).results == [2, 3, 4]
    asleep.get(LONG)
    assert len([text for text in said if "busy with something else" in text]) == 1


def test_progress_is_reported_while_elements_run(session: Session) -> None:
    view = View()
    outcome = run_map(SLOW, list(range(20)), view)
    assert outcome.results == [i * i for i in range(20)]
    assert outcome.within(2 * len(view.fractions) / 10)  # twice as seldom as promised, for a busy machine
    assert view.fractions == sorted(view.fractions)
    assert view.fractions[-1] == 1.0
