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
from pathlib import Path

import psutil

from parallelflow.cluster import ConnectError, Session, Settings, connect, profile
from parallelflow.cluster.tree import Identity, Root, end


def by_hand(folder: Path, engines: int, *options: str) -> float:
    """Seconds until engines are registered; everything is ended again."""
    start = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    commands = [["ipyparallel.controller", *options]] + [["ipyparallel.engine"]] * engines
    started = [
        subprocess.Popen([sys.executable, "-m", name, f"--profile-dir={folder}", *rest], **quiet)  # type: ignore[call-overload]
        for name, *rest in commands
    ]
    connection = None
    while connection is None:
        try:
            connection = connect(folder, 30)
        except ConnectError:
            time.sleep(0.02)
    while len(connection.client.ids) < engines:
        time.sleep(0.01)
    seconds = time.perf_counter() - start
    connection.close()
    end([Root("", Identity.of(popen.pid)) for popen in started], 10)
    for popen in started:
        popen.wait()
    return seconds


def ours(engines: int) -> tuple[float, float]:
    """Seconds until a session has engines, and until they are gone again."""
    session = Session(lambda: Settings(profile="bench", engines=engines))
    start = time.perf_counter()
    session.client()
    ready = time.perf_counter()
    session.close()
    return ready - start, time.perf_counter() - ready


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engines", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["IPYTHONDIR"] = home
        folder = profile.create("bench")
        rows: list[tuple[float, float, float, float]] = []
        for number in range(arguments.rounds):
            hand = by_hand(folder, arguments.engines)
            quick = by_hand(folder, arguments.engines, "--HeartMonitor.period=500")
            start, stop = ours(arguments.engines)
            rows.append((hand, quick, start, stop))
            print(
                f"round {number + 1}: by hand {hand:.2f} s, with our heartbeat {quick:.2f} s; ours {start:.2f} s, stop {stop:.2f} s"
            )
        hand, quick, start, stop = (statistics.median(column) for column in zip(*rows, strict=True))
        print(
            f"{arguments.engines} engines ready, against by hand:                    {start / hand:.2f}   (must be at most 1.2)"
        )
        print(f"{arguments.engines} engines ready, against by hand with our heartbeat: {start / quick:.2f}")
        print(f"start {start:.2f} s, stop {stop:.2f} s (medians); load {psutil.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
