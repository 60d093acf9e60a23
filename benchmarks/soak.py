"""Start a cluster, map, kill something at random in the middle, map again, stop: a hundred times.

Ends with status 1 if a result was wrong, something hung, or a process or file was left over. A map in the
middle of which something is killed may fail with an error that says so, but the next one must work.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
import types
import uuid
from collections import Counter
from collections.abc import Callable

import psutil
from ipyparallel.error import RemoteError

from parallelflow.api import parallel_map
from parallelflow.cluster import ClusterError, Session, Settings, configure, profile
from parallelflow.cluster.tree import TOKENS, carriers

STEP_LIMIT = 60  # seconds that one step may take before it counts as hung


def work(element: int) -> int:
    """What each element is."""
    import time

    time.sleep(0.004)
    return element * element


def killed(session: Session, what: str) -> None:
    """Kill something of a cluster."""
    controller = session.processes.controller()
    engines = [psutil.Process(started.entry.pid) for started in session.processes.engines().values()]
    assert controller is not None
    hub = psutil.Process(controller.entry.pid)
    everything = session.processes.remaining()
    victims: dict[str, Callable[[], list[psutil.Process]]] = {
        "nothing": list,
        "an engine": lambda: engines[:1],
        "an engine and its nanny": lambda: [*engines[:1], *engines[0].children()],
        "a nanny": lambda: engines[0].children(),
        "all engines": lambda: engines,
        "the hub": lambda: [hub],
        "a part of the controller": lambda: [random.choice(hub.children())],
        "the controller": lambda: [hub, *hub.children()],
        "something": lambda: [random.choice(everything)],
        "everything": lambda: everything,
    }
    for process in victims[what]():
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


KILLS = (
    "nothing",
    "an engine",
    "an engine and its nanny",
    "a nanny",
    "all engines",
    "the hub",
    "a part of the controller",
    "the controller",
    "something",
    "everything",
)


class Hung(Exception):
    """A step did not end in time."""


def _hung(number: int, frame: types.FrameType | None) -> None:
    raise Hung


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--engines", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="show the cluster's own log")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.CRITICAL)
    random.seed(arguments.seed)
    signal.signal(signal.SIGALRM, _hung)
    token = os.environ[TOKENS] = f"soak-{uuid.uuid4().hex}"
    durations: dict[str, list[float]] = {}
    outcomes: Counter[str] = Counter()
    problems: list[str] = []

    def timed(step: str, function: Callable[[], object]) -> object:
        start = time.perf_counter()
        signal.alarm(STEP_LIMIT)
        try:
            return function()
        finally:
            signal.alarm(0)
            durations.setdefault(step, []).append(time.perf_counter() - start)

    with tempfile.TemporaryDirectory() as home:
        os.environ["IPYTHONDIR"] = home
        folder = profile.create("default")
        session = configure(lambda: Settings(engines=arguments.engines))
        elements = list(range(200))
        right = [work(0) + element * element for element in elements]
        for number in range(1, arguments.rounds + 1):
            what = KILLS[(number - 1) % len(KILLS)] if number <= len(KILLS) else random.choice(KILLS)
            try:
                timed("start", session.client)
                killer = threading.Timer(random.uniform(0, 0.4), killed, (session, what))
                killer.start()
                try:
                    results = timed(f"map while killing {what}", lambda: parallel_map(work, elements))
                    outcomes["finished all the same" if what != "nothing" else "finished"] += 1
                    if results != right:
                        problems.append(f"round {number}: wrong result while killing {what}")
                except (ClusterError, RemoteError, OSError) as error:
                    outcomes[f"failed with {type(error).__name__}"] += 1
                killer.join()
                if timed("map again", lambda: parallel_map(work, elements, ask=True)) != right:
                    problems.append(f"round {number}: wrong result after killing {what}")
                if number % 3 == 0:
                    for process in session.processes.remaining():
                        process.suspend()
                timed("stop", session.close)
            except Exception as error:
                problems.append(f"round {number}, {what}: {type(error).__name__}: {error}")
                session.close()
            left = carriers([token])
            if left:
                problems.append(f"round {number}, {what}: processes left: {[process.pid for process in left]}")
                for process in left:
                    process.kill()
            files = {path.name for path in profile.security_dir(folder).iterdir()}
            if files - {"parallelflow.lock", "parallelflow-start.lock"}:
                problems.append(f"round {number}, {what}: files left: {sorted(files)}")
            if len(problems) > 20:
                break
            print(f"\r{number} of {arguments.rounds}, {len(problems)} problems", end="", flush=True)
    print()
    for step, seconds in durations.items():
        print(
            f"{step:45} {len(seconds):4} times   median {statistics.median(seconds):6.2f} s"
            f"   longest {max(seconds):6.2f} s"
        )
    print("maps in which something was killed:", ", ".join(f"{k}: {n}" for k, n in outcomes.items()))
    print("\n".join(problems) or "no wrong result, nothing hung, nothing left over")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
