"""A Map in a pipeline, drawn, run, cancelled, saved and opened in the real window."""

from __future__ import annotations

from collections.abc import Callable

from play import Seen


def test_a_map_that_finds_no_engines_asks_once_and_shows_errors_where_they_belong(play: Callable[..., Seen]) -> None:
    seen = play("map_asks")
    (error,) = seen["refused"]
    assert "none were to be started" in error
    assert seen["asked"] == 1
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
    text, elements = seen["progress"]
    assert "of 30 elements" in text
    assert any(elements)
    assert seen["label"].startswith("PythonSource: ")
    assert seen["label"].endswith(" of 30 elements")
    assert seen["colour"]
    assert seen["again"] == []
    assert seen["reopened"] == ["Map", "PythonSource", "StandardOutput"]
    assert seen["errors"] == []
