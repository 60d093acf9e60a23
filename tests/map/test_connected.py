"""How a Map gets its engines while VisTrails' window stays alive: in another thread, with reports in the Map's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from helpers import Watch, until

from parallelflow.cluster import NoEngines, Session, Settings
from parallelflow.map import connected, progress


class Cancelled(BaseException):
    """What VisTrails raises when the user presses Cancel."""


@pytest.fixture
def window() -> Iterator[list[object]]:
    """What somebody with a window is told."""
    told: list[object] = []
    progress.listen(told.append)
    yield told
    progress.listen(None)


def test_reports_come_in_the_thread_that_waits(own_session: Session, window: list[object]) -> None:
    reports: list[tuple[str, threading.Thread]] = []

    def report(text: str, fraction: float) -> None:
        reports.append((text, threading.current_thread()))

    connected.wait_for_engines(own_session, report)
    assert len(own_session.client().ids) == 2
    assert {thread for _, thread in reports} == {threading.current_thread()}
    assert any("engines" in text for text, _ in reports)


def test_cancel_gives_control_back_and_leaves_nothing(own_session: Session, window: list[object]) -> None:
    watch = Watch()

    def report(text: str, fraction: float) -> None:
        nonlocal watch
        if own_session.processes.started:
            watch = Watch()
            raise Cancelled

    with pytest.raises(Cancelled):
        connected.wait_for_engines(own_session, report)
    assert watch.within(2.0)
    assert "Stopping again what was started" in window
    until(lambda: not own_session.processes.remaining())


def test_what_goes_wrong_is_told_in_the_thread_that_waits(window: list[object]) -> None:
    session = Session(lambda: Settings(if_no_engines="never"))
    with pytest.raises(NoEngines, match="There are no engines"):
        connected.wait_for_engines(session, lambda text, fraction: None)


def test_without_a_window_the_maps_own_thread_connects(own_session: Session) -> None:
    threads: set[threading.Thread] = set()
    before = {thread.name for thread in threading.enumerate()}

    def report(text: str, fraction: float) -> None:
        threads.update(thread for thread in threading.enumerate() if thread.name == "parallelflow-connect")

    connected.wait_for_engines(own_session, report)
    assert "parallelflow-connect" not in before
    assert not threads
