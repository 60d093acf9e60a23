"""Kept results survive whatever is killed: VisTrails, engines and controllers, with real processes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import ours, until

from parallelflow.results.store import PLACE, Store

pytestmark = [pytest.mark.kills, pytest.mark.slow, pytest.mark.usefixtures("own_signals")]

SCRIPT = Path(__file__).with_name("kept_session.py")


class Sessions:
    """VisTrails in processes of their own, in one home and with one store."""

    def __init__(self, home: Path):
        self.home = home
        self.tally = home / "tally"
        self.tally.touch()
        self.store = Store(home / ".vistrails" / PLACE, 0)
        self._running: list[subprocess.Popen[str]] = []

    def start(self, elements: list[int], keep: str = "failed", *more: str) -> Session:
        """Start one."""
        command = [
            *(sys.executable, str(SCRIPT), str(self.home / ".vistrails")),
            *(json.dumps(elements), keep, str(self.tally), *more),
        ]
        with open(self.home / "said.txt", "ab") as said:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, cwd=self.home)
        self._running.append(process)
        return Session(process)

    def ran(self) -> Counter[int]:
        """How often each element has begun."""
        return Counter(map(int, self.tally.read_text().split()))

    def allow(self, most: int | None) -> None:
        """Have elements wait while more than so many have begun, so that enough are left however late one hears of it."""
        place = Path(f"{self.tally}.most")
        if most is None:
            place.unlink()
            return
        new = place.with_suffix(".new")
        new.write_text(str(most))
        new.replace(place)

    def wait_for(self, count: int, session: Session) -> None:
        """Wait until so many elements have begun, or a session has ended."""
        until(lambda: len(self.ran()) >= count or session.process.poll() is not None)

    def kept(self) -> int:
        """How many results there are."""
        return sum(each.results for each in self.store.listing())

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        for process in ours():  # what those that were killed have left
            with suppress(psutil.NoSuchProcess):
                process.kill()
        until(lambda: not ours())


class Session:
    """One VisTrails; `said` is what it has said of its executions."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process
        self.said: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with suppress(ValueError):
                self.said.append(json.loads(line))

    def kill(self) -> None:
        """SIGKILL it."""
        self.process.kill()
        self.process.wait()
        self._reader.join(240)

    def end(self) -> list[dict[str, Any]]:
        """Wait until it has ended by itself."""
        self.process.wait(600)
        self._reader.join(240)
        return self.said


@pytest.fixture
def sessions(clean_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(clean_home))
    made = Sessions(clean_home)
    yield made
    made.close()


def processes(kind: str) -> list[psutil.Process]:
    """Engines or controllers of this test."""
    found = []
    for process in ours():
        with suppress(psutil.Error):
            if f"ipyparallel.{kind}" in process.cmdline():
                found.append(process)
    return found


@pytest.mark.timeout(1800)  # seconds, many times as long on a loaded machine, for each start of VisTrails and a cluster
def test_twenty_kills_in_one_run_cost_what_ran_and_nothing_else(sessions: Sessions) -> None:
    chance = random.Random(20)
    elements = list(range(300))
    # Mostly engines: the others end the execution, and what comes after takes some seconds.
    victims = ["engine"] * 15 + ["controller"] * 2 + ["VisTrails"] * 3
    chance.shuffle(victims)
    kept = before = 0
    sessions.allow(6)
    session = sessions.start(elements)
    for number, victim in enumerate(victims):
        sessions.wait_for(before + chance.randint(1, 5), session)
        assert session.process.poll() is None, f"it ended before kill {number}: {session.said}"
        if victim == "VisTrails":
            session.kill()
            kept = sessions.kept()
            session = sessions.start(elements)
        else:
            with suppress(psutil.NoSuchProcess, IndexError):
                chance.choice(processes(victim)).kill()
        before = len(sessions.ran())
        sessions.allow(before + 6)
    sessions.allow(None)
    *_, last = session.end()
    assert last.get("results") == [3 * each for each in elements], session.said
    assert last["taken"] >= kept
    counts = sessions.ran()
    assert sorted(counts) == elements
    assert max(counts.values()) <= 1 + len(victims)
    # What was kept did not run again: some elements were lost with each kill, a chunk on either engine at most.
    assert sum(counts.values()) < len(elements) + 40 * len(victims)
    assert sessions.kept() == 0  # it has completed


def test_a_vistrails_that_starts_anew_goes_on(sessions: Sessions) -> None:
    Path(f"{sessions.tally}.fail").touch()
    (seen,) = sessions.start([*range(30), -1], "failed", "--once").end()
    kept = sessions.kept()
    assert kept > 0
    assert seen["error"].endswith(f"{kept} of 31 elements are kept; execute again to go on from there.")
    Path(f"{sessions.tally}.fail").unlink()
    before = sessions.ran()
    (seen,) = sessions.start([*range(30), -1], "failed", "--once").end()
    assert seen == {"taken": kept, "results": [*(3 * each for each in range(30)), -3]}
    again = sessions.ran() - before
    assert sum(again.values()) == 31 - kept
    assert sessions.kept() == 0


def test_two_vistrails_at_once_share_what_is_kept(sessions: Sessions) -> None:
    sessions.start([], "none").end()  # VisTrails makes its folder, which two that make it at once find half made
    one, two = sessions.start(list(range(40)), "all"), sessions.start(list(range(20, 60)), "all")
    for session, first in ((one, 0), (two, 20)):
        seen = session.end()[-1]
        assert seen["results"] == [3 * each for each in range(first, first + 40)], session.said
    before = sessions.ran()
    seen = sessions.start(list(range(60)), "all").end()[-1]
    assert seen == {"taken": 60, "results": [3 * each for each in range(60)]}
    assert sessions.ran() == before
