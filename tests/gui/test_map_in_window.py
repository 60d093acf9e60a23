"""A Map in a pipeline, drawn, run, cancelled, saved and opened in the real window."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable

import pytest
from play import Seen, longest_gap

pytestmark = pytest.mark.slow


def test_a_map_that_finds_no_engines_asks_once_and_shows_errors_where_they_belong(play: Callable[..., Seen]) -> None:
    seen = play("map_asks")
    # There are two Maps.
    assert len(seen["refused"]) == 2
    assert all("none were to be started. Start some" in error for error in seen["refused"])
    assert seen["asked"] == 1
    assert seen["asked in all"] == 2
    assert "Starting the controller" in seen["waited for"]
    assert any("engine" in text for text in seen["waited for"])
    assert seen["engines"] == 1
    assert seen["preferences"] == ["auto", 1]
    # The element's own error is shown on the module that failed, as the serial Map shows it.
    assert list(seen["errors"]) == ["PythonSource"]
    assert "three is too many" in seen["tooltips"]["PythonSource"]
    assert "element 3" in seen["tooltips"]["PythonSource"]
    assert seen["tooltips"]["Map"] == ""


def test_a_map_shows_progress_and_can_be_cancelled_and_run_again(play: Callable[..., Seen]) -> None:
    seen = play("map_runs")
    assert "list" in seen["documentation"]
    assert "parallel" in seen["documentation"]
    assert [(name, optional) for name, _, optional in seen["ports"] if name != "self"] == [
        ("FunctionPort", False),
        ("InputList", False),
        ("InputPort", True),
        ("OutputPort", True),
        ("KeepResults", True),
        ("Result", False),
    ]
    assert all(documentation.endswith(".") for name, documentation, _ in seen["ports"] if name != "self")
    assert [tooltip.split()[2] for tooltip in seen["port tooltips"]] == ["FunctionPort", "InputList", "Result"]
    text, elements = seen["progress"]
    assert re.search(r"of 30 elements; about \d+ s left", text)
    assert any(elements)
    assert seen["label"].startswith("PythonSource: ")
    assert seen["label"].endswith(" of 30 elements")
    assert len(seen["colours"]) > 10
    near = [abs(colour - done) <= 4 / 30 for colour, done in seen["colours"]]  # it is drawn a moment later
    assert sum(near) >= 0.8 * len(near)  # several elements at once, where this had no core for long
    assert seen["colours"][-1][0] > 0.5
    assert seen["errors"] == []
    assert seen["done"] == ["Map", "PythonSource", "StandardOutput"]
    assert seen["seconds to cancel"] < 2.0 * longest_gap()  # the contract; an element would have taken 300 s
    assert seen["cancelled"] == ["Uncaught exception: AbortExecution: Execution aborted by user"]
    assert seen["engines after cancelling"] == 3
    assert seen["reopened"] == ["Map", "PythonSource", "StandardOutput"]
    assert seen["browser"] == [["PythonSource"]] * 30
    assert "parallel_engine" in seen["details"]
    assert socket.gethostname() in seen["details"]
    assert seen["again"] == []


def test_a_long_list_leaves_the_window_usable_and_is_all_in_the_log(play: Callable[..., Seen]) -> None:
    seen = play("many_elements", may_block=("saving and opening",), ELEMENTS="20000")
    assert seen["errors"] == []
    assert seen["iterations"] == 20000
    assert seen["megabytes"] < 300
    assert seen["controller's megabytes"] < 100


def test_large_results_and_a_large_value_on_another_port_leave_the_window_usable(play: Callable[..., Seen]) -> None:
    seen = play("large_values", MEGABYTES="60", CONSTANT="200")
    assert seen["loaded"]
    assert seen["errors"] == []
    assert seen["results"] == [
        ["bytes", 60_000_000],
        ["str", 20_000_000],
        ["ndarray", 60_000_000],
        ["list", 100],
        ["ndarray", 60_000_000],
        ["list", 600],
    ]
    assert sum(seen["read"]) > 6 * 50_000_000
    assert seen["turns"]["reading"] > 0  # in the middle of a result that is read
    assert seen["turns"]["running"] > 0


def test_a_map_of_dialogs_asks_in_the_window_one_after_the_other_and_says_so_once(play: Callable[..., Seen]) -> None:
    seen = play("map_of_dialogs")
    assert seen["errors"] == []
    assert seen["questions"] == ["one", "two", "three"]
    assert seen["results"] == ["answer to one", "answer to two", "answer to three"]
    (warned,) = seen["warned"]
    assert "'TextDialog' needs VisTrails' window" in warned
    assert seen["processes"] == []  # nothing was started for it
