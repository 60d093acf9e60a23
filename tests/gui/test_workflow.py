"""Marks on modules that loop, and Maps that become parallel and serial again, in the real window."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from play import Seen

pytestmark = pytest.mark.slow


def test_selected_modules_are_marked_and_their_loops_run_on_engines(play: Callable[..., Seen]) -> None:
    seen = play("mark_loops")
    nothing_selected, marked_already = (each["text"] for each in seen.said if each["kind"] == "Message")
    assert "Select the modules whose loops are meant" in nothing_selected
    assert "marked already" in marked_already
    assert seen["before"][:2] == [False, False]
    assert seen["marked"] == [True, True, "Loops in parallel", ["Round", "StandardOutput"]]
    assert seen["versions"]
    assert seen["run"] == {
        "where": {"PythonSource": [False], **{key: [False, *([True] * 4)] for key in ["Round", "StandardOutput"]}},
        "errors": [],
    }
    assert seen["undone"][:2] == [False, False]
    assert seen["run again"]["errors"] == []
    assert seen["redone"][:2] == [True, True]
    assert seen["unmarked"][:3] == [False, False, "Loops one after the other"]
    # Without the package the mark means nothing.
    assert seen["disabled"] == [False, True]
    assert not any(seen["run without the package"]["where"]["Round"])
    assert seen["left behind"] == []
    assert seen["enabled again"] == [True, True, ["build_stream", "compute_all", "moduleHasChanged", "paint"]]


def test_maps_become_parallel_and_serial_again(play: Callable[..., Seen]) -> None:
    seen = play("convert_maps")
    none, one, rest, back, nothing = (each["text"] for each in seen.said if each["kind"] == "Message")
    serial = ["Map of control_flow", "Map of control_flow in Group"]
    assert seen["assisted"] == serial
    assert "None of the selected modules" in none
    assert seen["no version"]
    assert one == "Parallel now: 1 Map."
    assert seen["one"] == ["Map of control_flow in Group", "Map of parallelflow"]
    assert seen["selected"] == ["Map"]
    assert rest == "Parallel now: 1 Map. One of them is in a Group."
    parallel = ["Map of parallelflow", "Map of parallelflow in Group"]
    assert seen["all"] == parallel
    assert seen["description"] == "Made Maps parallel"
    assert seen["run"]["errors"] == seen["run again"]["errors"] == []
    assert seen["run"]["where"]["Map"] == [False, False]
    assert sum(seen["run"]["where"]["PythonSource"]) == 2
    assert sum(seen["run"]["where"]["Group"]) == 3
    assert seen["undone"] == [serial, True]
    assert back == "Serial again: 2 Maps. One of them is in a Group."
    assert seen["serial"] == serial
    assert "There is no Map, Filter or For of Parallel Flow" in nothing
