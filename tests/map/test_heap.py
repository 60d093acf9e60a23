"""Memory that modules give back on an engine is there for the next ones, within limits."""

from __future__ import annotations

import resource
import sys
from typing import Any

import pytest
from test_shared_memory import run_map

from parallelflow.map import heap


class Library:
    """A C library that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.told.append((option, value))
        return 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of the GNU C library")
def test_an_engine_need_not_have_memory_anew_for_each_array(held: dict[str, Any], parity: Any) -> None:
    # How many pages it had to ask the system for, for twenty arrays of 1 MB that it had before.
    source = """
import numpy, resource
def taken():
    [numpy.ones(1_000_000, dtype="u1") for _ in range(20)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = taken()
o = taken() - before + c[0] * 0
"""
    pages = run_map(held, source, [0, 1, 2, 3], [0])
    assert max(pages) < 20 * 1_000_000 / resource.getpagesize() / 4


def test_what_the_user_has_set_stays() -> None:
    library = Library()
    assert not heap.keep({"MALLOC_TRIM_THRESHOLD_": "0"}, library)
    assert not heap.keep({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=0"}, library)
    assert library.told == []
    assert heap.keep({"HOME": "/"}, library)
    assert dict(library.told) == {-1: heap.KEPT, -3: 32 * 1024**2}


def test_a_process_with_a_limit_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (10**9, 10**9))
    assert not heap.keep({}, library)
    assert library.told == []


def test_another_c_library_has_its_own_ways() -> None:
    assert not heap.keep({}, object())
