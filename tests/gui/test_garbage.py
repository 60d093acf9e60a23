"""Garbage is collected in the window's thread while the package is enabled, and as ever afterwards."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from PyQt5.QtCore import QCoreApplication

from parallelflow.gui.garbage import GarbageCollection


class Knot:
    """Refers to itself, so that only the garbage collection ends it."""

    def __init__(self) -> None:
        self.self = self


@pytest.fixture
def collection() -> Iterator[GarbageCollection]:
    application = QCoreApplication.instance() or QCoreApplication([])
    made = GarbageCollection()
    yield made
    made.close()
    made.deleteLater()
    application.processEvents()


def test_other_threads_collect_nothing_and_the_windows_does(collection: GarbageCollection) -> None:
    threads: list[str] = []

    def note(phase: str, _: dict[str, Any]) -> None:
        threads.append(threading.current_thread().name)

    made: list[Any] = []

    def work() -> None:
        made.append(weakref.ref(Knot()))
        made.append([[] for _ in range(10_000)])  # more than Python waits for otherwise

    gc.collect()
    gc.callbacks.append(note)
    try:
        worker = threading.Thread(target=work, name="worker")
        worker.start()
        worker.join()
        assert "worker" not in threads
        assert made[0]() is not None
        collection.collect()
        assert set(threads) == {threading.current_thread().name}
        assert made[0]() is None
    finally:
        gc.callbacks.remove(note)


def test_afterwards_python_collects_as_before() -> None:
    before = gc.get_threshold()
    collection = GarbageCollection()
    assert gc.get_threshold()[0] > before[0]
    collection.close()
    assert gc.get_threshold() == before
