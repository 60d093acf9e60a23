"""How long a cluster of two engines takes to start and to stop, against the same started by hand.

"By hand" is what a quick user does in three terminals: ``ipcontroller`` and two ``ipengine``, all at once.
Both are measured in turn in one run; what counts is the ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from parallelflow.cluster import ConnectError, Session, Settings, connect, profile
from parallelflow.cluster.tree import Identity, Root, end

_BY_HAND_WITHIN = 60  # seconds


def by_hand(folder: Path, engines: int, *options: str) -> float:
    """Seconds until engines are registered; everything is ended again.

    :raises TimeoutError: if that takes longer than a minute
    """
    start = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    commands = [["ipyparallel.controller", *options]] + [["ipyparallel.engine"]] * engines
    started: list[subprocess.Popen[bytes]] = []
    connection = None
    try:
        for name, *rest in commands:
            command = [sys.executable, "-m", name, f"--profile-dir={folder}", *rest]
            started.append(subprocess.Popen(command, **quiet))  # type: ignore[call-overload]
        while connection is None or len(connection.client.ids) < engines:
            if time.perf_counter() - start > _BY_HAND_WITHIN:
                raise TimeoutError(f"started by hand, {engines} engines were not ready in {_BY_HAND_WITHIN} seconds")
            time.sleep(0.01)
            if connection is None:
                with suppress(ConnectError):
                    connection = connect(folder, 30)
        return time.perf_counter() - start
    finally:
        if connection is not None:
            connection.close()
        end([Root("", Identity.of(popen.pid)) for popen in started], 10)
        for popen in started:
            popen.wait(10)


def ours(engines: int) -> tuple[float, float]:
    """Seconds until a session has engines, and until they are gone again."""
    session = Session(lambda: Settings(profile="bench", engines=engines))
    start = time.perf_counter()
    session.client()
    ready = time.perf_counter()
    session.close()
    return ready - start, time.perf_counter() - ready


def measure(rounds: int, engines: int) -> dict[str, float]:
    """Measure both in turn, in a folder of their own, and print it.

    :returns: medians: seconds ``by_hand``, to ``start`` and to ``stop``; and ``ratio``, of ours to by hand, round by round
    """
    with tempfile.TemporaryDirectory(prefix="pfb") as home:
        before, os.environ["IPYTHONDIR"] = os.environ.get("IPYTHONDIR"), home
        try:
            return _measure(rounds, engines)
        finally:
            del os.environ["IPYTHONDIR"]
            if before is not None:
                os.environ["IPYTHONDIR"] = before


def _measure(rounds: int, engines: int) -> dict[str, float]:
    folder = profile.create("bench")
    rows: list[tuple[float, float, float, float]] = []
    for _ in range(rounds):
        rows.append((by_hand(folder, engines), by_hand(folder, engines, "--HeartMonitor.period=500"), *ours(engines)))
    hand, quick, start, stop = (statistics.median(column) for column in zip(*rows, strict=True))
    ratio = statistics.median(row[2] / row[0] for row in rows)
    to_quick = statistics.median(row[2] / row[1] for row in rows)
    print(f"Starting {engines} engines: {start:.2f} s, by hand {hand:.2f} s, by hand with our heartbeat {quick:.2f} s")
    print(f"  ours / by hand: {ratio:.2f} (to reach: at most 1.2); with our heartbeat: {to_quick:.2f}")
    print(f"Stopping them: {stop:.2f} s")
    return {"by_hand": hand, "start": start, "stop": stop, "ratio": ratio}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engines", type=int, default=2)
    arguments = parser.parse_args()
    measure(arguments.rounds, arguments.engines)
