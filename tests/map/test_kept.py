"""Results that are kept: what ran once does not run again, and what the user sees of that."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from parity import Seen, Stage, View, all_of, value_difference
from vistrails.core.interpreter.base import AbortExecution
from workflows import Flow

from parallelflow.map import experience, kept, progress, running
from parallelflow.map.progress import MapProgress
from parallelflow.map.work import Limits, Work
from parallelflow.results import file as files
from parallelflow.results.store import Store
from parallelflow.results.writer import Writer

pytestmark = pytest.mark.usefixtures("parity")

# Notes down each element that runs, in a line of its own.
NOTES = (
    "cache_this()\nimport os\n"
    "_t = os.open(tally, os.O_WRONLY | os.O_APPEND)\nos.write(_t, f'{value}\\n'.encode())\nos.close(_t)\n"
)
SLOW = NOTES + "import time\ntime.sleep(0.06)\nresult = value * 2"
FAILS = NOTES + "import time\ntime.sleep(0.06)\nif value == 30: raise ValueError('no such value')\nresult = value * 2"


def flow(elements: Any, keep: str = "", source: str = SLOW, kind: str = "Variant") -> Flow:
    """A Map over a PythonSource that notes down each element that runs."""
    made = Flow()
    function = made.python(source, {"value": "Variant", "tally": "String"}, {"result": kind}, presets={"tally": ""})
    made.map(function, "value", "result", repr(list(elements)))
    if keep:
        made.specs[-1].presets.append(("KeepResults", keep))
    return made


def run(made: Flow) -> Seen:
    """Run it as a VisTrails that has just been started would."""
    return Stage("ours").run(made)


def results(seen: Seen) -> Any:
    assert not seen.errors, seen.complained
    assert seen.raised is None
    return seen.outputs[1]["Result"]


def ran(seen: Seen) -> list[str]:
    return sorted(seen.tallies.elements())


@pytest.fixture
def heard_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a Map that ends before its time hear of all that has begun: on a busy machine it could note itself in the next run."""
    monkeypatch.setattr(running, "_limits", lambda settings: Limits(cancel=30.0))


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty store."""
    place = tmp_path / "results"
    monkeypatch.setattr(kept, "folder", lambda: place)
    return place


def test_only_what_is_new_in_a_list_runs(folder: Path) -> None:
    elements = list(range(40))
    first = run(flow(elements, "all"))
    assert results(first) == [2 * each for each in elements]
    assert ran(first) == sorted(map(str, elements))
    changed = [1000, *elements[20:], *elements[:17], 17.5, *elements[18:20], 3]
    second = run(flow(changed, "all"))
    assert results(second) == [2 * each for each in changed]
    assert ran(second) == ["1000", "17.5"]
    third = run(flow(changed, "all"))
    assert results(third) == results(second)
    assert ran(third) == []
    assert len(list(folder.iterdir())) == 2  # a run that has kept nothing leaves no file


def test_one_of_a_thousand_is_changed_and_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SHORTEST", 0.0)
    monkeypatch.setattr(kept, "READING", math.inf)
    elements = list(range(1000))
    assert len(ran(run(flow(elements, "all", NOTES + "result = value * 2")))) == 1000
    elements[617] = -617
    seen = run(flow(elements, "all", NOTES + "result = value * 2"))
    assert ran(seen) == ["-617"]
    assert results(seen) == [2 * each for each in elements]


@pytest.mark.usefixtures("heard_out")
def test_a_map_that_failed_goes_on_where_it_was_and_keeps_nothing_once_it_has_completed(folder: Path) -> None:
    failed = run(flow(range(40), source=FAILS))
    (_, _, message) = failed.errors[0]
    assert "no such value" in message
    last = message.splitlines()[-1]
    assert last.startswith("This was element 30 (30) on engine ")
    done = int(last.removesuffix(" of 40 elements are kept; execute again to go on from there.").split()[-1])
    assert 30 <= done <= 39
    again = run(flow(range(40), source=FAILS))
    assert "no such value" in again.errors[0][2]
    assert "30" in ran(again)
    assert len(ran(again)) <= 40 - done
    assert len(set(ran(failed)) & set(ran(again)) - {"30"}) <= len(ran(failed)) - 1 - done
    # With the fault mended the code is another, and all run again; without it, what was kept is taken.
    whole = run(flow([each for each in range(40) if each != 30], source=FAILS))
    assert results(whole) == [2 * each for each in range(40) if each != 30]
    assert len(ran(whole)) <= 39 - done
    assert list(folder.iterdir()) == []
    assert len(ran(run(flow([1, 2], source=FAILS)))) == 2


def test_what_goes_once_a_map_has_completed_is_not_waited_for_until_it_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    for name in ("discard", "close"):
        method = getattr(Writer, name)
        monkeypatch.setattr(
            Writer, name, lambda *arguments, name=name, method=method: (called.append(name), method(*arguments))[1]
        )
    assert results(run(flow([1, 2, 3]))) == [2, 4, 6]
    assert called[0] == "discard"
    assert list(folder.iterdir()) == []


def test_until_a_map_has_completed_large_results_are_kept_as_long_as_that_takes_little_of_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy, now = 0.0, time.monotonic()
    packed = kept.Keepable.kept

    def slowly(*arguments: Any, **how: Any) -> Any:
        nonlocal busy
        busy += 0.2
        return packed(*arguments, **how)

    monkeypatch.setattr(kept.Keepable, "kept", slowly)
    clock = SimpleNamespace(thread_time=lambda: busy, monotonic=lambda: now, time=time.time)  # the Map takes no time
    monkeypatch.setattr(kept, "time", clock)
    for keep, there in (("failed", 1), ("all", 5)):
        failed = run(flow([1, 2, 3, 4, 5, 30], keep=keep, source=FAILS))
        last = failed.errors[0][2].splitlines()[-1]
        assert f" {there} of 6 elements are kept; execute again to go on from there." in last


@pytest.mark.usefixtures("heard_out")
def test_a_map_that_was_cancelled_goes_on_where_it_was(folder: Path) -> None:
    class Impatient(View):
        def set_module_progress(self, number: int, fraction: float) -> None:
            super().set_module_progress(number, fraction)
            if fraction >= 0.4:
                raise AbortExecution

    cancelled = Stage("ours").run(flow(range(40)), view=Impatient())
    assert not cancelled.outputs.get(1)
    (listed,) = Store(folder, 0).listing()
    assert listed.results >= 16
    again = run(flow(range(40)))
    assert results(again) == [2 * each for each in range(40)]
    assert len(ran(again)) == 40 - listed.results
    assert list(folder.iterdir()) == []


def test_what_was_kept_for_good_is_used_by_a_map_that_keeps_until_it_has_completed(folder: Path) -> None:
    run(flow([1, 2, 3], "all"))
    assert ran(run(flow([1, 2, 3, 4]))) == ["4"]
    assert ran(run(flow([1, 2, 3, 4]))) == ["4"]  # it had completed
    assert ran(run(flow([1, 2, 3], "none"))) == ["1", "2", "3"]
    assert len(list(folder.iterdir())) == 1


def test_short_elements_and_those_that_no_result_can_be_kept_of_run_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(kept, "SHORTEST", 60.0)  # nothing is short on a busy machine
        assert len(ran(run(flow([1, 2], "all", NOTES + "result = value")))) == 2
    assert not folder.exists()
    wait = NOTES + "import time\ntime.sleep(0.06)\n"
    for source, kind in ((wait + "result = self", "Module"), (wait + "result = lambda: open(tally)", "Variant")):
        run(flow([1, 2], "all", source, kind))
        assert len(ran(run(flow([1, 2], "all", source, kind)))) in (0, 2)
    seen = run(flow([1, 2], "all", wait + "result = [self]", "List"))
    assert len(ran(seen)) == 2
    assert len(ran(run(flow([1, 2], "all", wait + "result = [self]", "List")))) == 2


def test_a_kept_result_is_the_same_to_the_last_bit_and_may_be_changed(folder: Path) -> None:
    source = (
        "cache_this()\nimport time, numpy, datetime\ntime.sleep(0.06)\n"
        "result = {'a': numpy.arange(20000.0) * value, 'f': numpy.asfortranarray(numpy.ones((3, 4), '>f4')), 's': {value, 'x'},"
        " 'none': None, 'nan': float('nan'), 'z': -0.0, 'when': datetime.date(2026, 5, value), 'b': bytearray(b'xy'),"
        " 'read': numpy.ones(9000)}\n"
        "result['read'].flags.writeable = False"
    )
    made = flow([1, 2, 3], "all", source)
    first, ours = run(made), run(made)
    assert value_difference(results(first), results(ours)) is None
    assert ours.log is not None
    assert [each.cached for each in ours.log.find("module") if each.name == "PythonSource"] == [1, 1, 1]
    assert len(list(folder.iterdir())) == 1
    for value in results(ours):
        value["a"][0] = 5.0
        assert isinstance(value["a"], numpy.ndarray)
        with pytest.raises(ValueError, match="read-only"):
            value["read"][0] = 5.0


def test_the_log_has_taken_elements_as_cached_with_when_and_where_they_were_computed() -> None:
    before = time.time()
    run(flow([1, 2, 3], "all"))
    after = time.time()
    seen = run(flow([1, 5, 3], "all"))
    assert seen.log is not None
    assert seen.started is not None
    iterations = seen.log.find("iteration")
    assert [each.number for each in iterations] == [0, 1, 2]
    for each in iterations:
        assert each.completed == 1
        (execution,) = each.inner
        notes = {note.key: note.value for note in execution.raw.annotations}
        assert seen.started <= execution.raw.ts_start <= execution.raw.ts_end
        assert notes["parallel_host"] == os.uname().nodename
        taken = each.number != 1
        assert (execution.name, execution.number, execution.cached) == ("PythonSource", 0, int(taken))
        assert ("parallel_computed" in notes, "parallel_engine" in notes) == (taken, not taken)
        if taken:
            computed = time.mktime(time.strptime(notes["parallel_computed"], "%Y-%m-%d %H:%M:%S"))
            assert before - 2 <= computed <= after + 2
    ids = [each.id for each in all_of(seen.raw_log) if each.vtType != "machine"]
    assert len({(type(each), each.id) for each in all_of(seen.raw_log)}) == len(ids)


def test_the_progress_tells_how_many_were_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    run(flow(range(6), "all"))
    told: list[MapProgress | str] = []
    monkeypatch.setattr(progress, "tell", told.append)
    run(flow(range(8), "all"))
    seen = [each for each in told if isinstance(each, MapProgress)]
    assert {each.elements for each in seen} == {8}
    assert seen[0].taken == seen[0].done == 6
    assert {each.taken for each in seen} == {6}
    assert seen[-1].done >= 6
    told.clear()
    assert ran(run(flow(range(8), "all"))) == []
    assert [each.done for each in told if isinstance(each, MapProgress)][-1] == 8


def test_nothing_is_connected_to_where_all_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    run(flow(range(4), "all"))
    monkeypatch.setattr("parallelflow.map.connected.wait_for_engines", lambda *_: pytest.fail("no engine is needed"))
    assert results(run(flow([3, 2, 1], "all"))) == [6, 4, 2]


def test_damaged_and_torn_files_cost_what_they_held_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(flow(range(8), "all"))
    (path,) = folder.iterdir()
    with files.ResultFile(path) as file:
        entries = list(file.entries())
    content = bytearray(path.read_bytes())
    content[entries[2].offset + entries[2].size - 1] ^= 1
    path.write_bytes(content[:-1])
    known: list[Any] = []
    monkeypatch.setattr(kept, "from_durations", lambda *what: known.append(what) or experience.from_durations(*what))
    works: list[Work] = []
    monkeypatch.setattr("parallelflow.map.execution.Work", lambda *what: works.append(Work(*what)) or works[-1])
    seen = run(flow(range(8), "all"))
    assert results(seen) == [2 * each for each in range(8)]
    assert len(ran(seen)) == 2
    # What is kept says what to expect of the two: of one how long it took, of the torn one nothing.
    ((durations, nbytes, of_these),) = known
    assert durations == [each.seconds for number, each in enumerate(entries[:-1]) if number != 2]
    assert nbytes == max(each.size for each in entries)
    assert list(of_these.values()) == [entries[2].seconds]
    (work,) = works
    assert set(of_these) < set(work.indices)
    assert work.cost == experience.from_durations(durations, nbytes, of_these)


@pytest.mark.parametrize("keep", ["all", "failed"])
def test_where_nothing_can_be_written_the_map_goes_on_with_one_warning(
    folder: Path, keep: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file in its place")
    seen = run(flow(range(6), keep))
    assert results(seen) == [2 * each for each in range(6)]
    said = {each.getMessage() for each in caplog.records if "are not kept" in each.getMessage()}
    assert len(said) == 1
    assert "Map: Results of elements are not kept from now on: " in min(said)
    assert str(folder) in min(said)


def test_a_store_of_a_later_version_is_left_alone_with_one_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files, "VERSION", files.VERSION + 1)
    run(flow(range(3), "all"))
    monkeypatch.setattr(files, "VERSION", files.VERSION - 1)
    (later,) = folder.iterdir()
    content = later.read_bytes()
    assert len(ran(run(flow(range(3), "all")))) == 3
    assert later.read_bytes() == content
    said = {each.getMessage() for each in caplog.records if "A later version" in each.getMessage()}
    assert len(said) == 1
    assert ran(run(flow(range(3), "all"))) == []


def test_the_port_says_what_is_kept_and_is_checked(folder: Path) -> None:
    seen = run(flow([1], "some"))
    assert seen.errors[1][2] == "KeepResults is 'some'; it must be 'failed', 'all' or 'none'."
    assert ran(seen) == []


def test_filter_and_for_take_kept_results_too(folder: Path) -> None:
    for name, source, presets in (
        ("Filter", SLOW.replace("value * 2", "value != 2"), {"InputList": "[1, 2, 3]"}),
        ("For", SLOW, {"LowerBound": "1", "HigherBound": "4"}),
    ):
        made = Flow()
        kind = "Boolean" if name == "Filter" else "Variant"
        function = made.python(source, {"value": "Variant", "tally": "String"}, {"result": kind}, presets={"tally": ""})
        ports = {
            "InputPort": "['value']" if name == "Filter" else "value",
            "OutputPort": "result",
            "KeepResults": "all",
        }
        loop = made.add(name, {**ports, **presets}, package="org.vistrails.parallelflow")
        made.connect(function, "self", loop, "FunctionPort")
        first = run(made)
        assert ran(first) == ["1", "2", "3"], name
        second = run(made)
        assert ran(second) == [], name
        assert results(second) == results(first) == ([1, 3] if name == "Filter" else [2, 4, 6]), name
    listed = Store(folder, 0).listing()
    assert sorted((each.results, each.module) for each in listed) == [
        (3, "Filter (PythonSource)"),
        (3, "For (PythonSource)"),
    ]
