"""Start a cluster, map, kill something at random in the middle, map again, stop: a hundred times.

The maps are `parallelflow.api.parallel_map` and VisTrails' Map in turn. Ends with status 1 if a result was wrong, something
hung, or a process or file was left over. A map in the middle of which something is killed may fail with an error that says
so, but the next one must work.
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
from pathlib import Path
from typing import TypeVar

import psutil
from ipyparallel.error import RemoteError
from run import _vistrails
from workload import OURS, Workflow

from parallelflow.api import parallel_map
from parallelflow.cluster import ClusterError, Session, profile
from parallelflow.cluster.tree import TOKENS, carriers

_T = TypeVar("_T")

STEP_LIMIT = 60  # seconds that one step may take before it counts as hung
ELEMENTS = 200
SECONDS = 0.004  # that each element takes


class Failed(Exception):
    """A map that ended with an error, as it may when something is killed."""


class WrongResult(Exception):
    """A map that ended without an error, and with a wrong result."""


def work(element: int) -> int:
    """What each element is to `parallel_map`."""
    import time

    time.sleep(0.004)
    return element * element


def map_function(start: bool) -> str:
    """Map with `parallel_map`; return how."""
    try:
        results, on_cluster = parallel_map(work, range(ELEMENTS), ask=start, ipython=True)
    except (ClusterError, RemoteError, OSError) as error:
        raise Failed(type(error).__name__) from error
    if results != [element * element for element in range(ELEMENTS)]:
        raise WrongResult
    return "finished" if on_cluster else "finished without a cluster, which was gone by then"


def map_workflow(start: bool) -> str:
    """Map with VisTrails' Map, which always starts a cluster if there is none; return how."""
    try:
        Workflow(OURS, "sleep", SECONDS).run(ELEMENTS)
    except RuntimeError as error:
        if "wrong results" in str(error):
            raise WrongResult from error
        raise Failed("an error of the Map") from error
    return "finished"


MAPS: dict[str, Callable[[bool], str]] = {"parallel_map": map_function, "Map": map_workflow}


def killed(session: Session, what: str) -> None:
    """Kill something of a cluster."""
    controller = session.processes.controller()
    hub = [psutil.Process(controller.entry.pid)] if controller is not None else []
    engines = [psutil.Process(started.entry.pid) for started in session.processes.engines().values()]
    parts = [child for process in hub for child in process.children()]
    nannies = [child for process in engines[:1] for child in process.children()]
    everything = session.processes.remaining()
    victims: dict[str, list[psutil.Process]] = {
        "nothing": [],
        "an engine": engines[:1],
        "an engine and its nanny": [*engines[:1], *nannies],
        "a nanny": nannies,
        "all engines": engines,
        "the hub": hub,
        "a part of the controller": random.sample(parts, min(1, len(parts))),
        "the controller": [*hub, *parts],
        "something": random.sample(everything, min(1, len(everything))),
        "everything": everything,
    }
    for process in victims[what]:
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


class Killer(threading.Thread):
    """Kills something after some time."""

    def __init__(self, session: Session, what: str, delay: float) -> None:
        super().__init__(daemon=True)
        self._session, self._what, self._delay = session, what, delay
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        time.sleep(self._delay)
        try:
            killed(self._session, self._what)
        except psutil.NoSuchProcess:
            pass  # it has ended by itself
        except BaseException as error:
            self.error = error


class Hung(Exception):
    """A step did not end in time."""


def _hung(number: int, frame: types.FrameType | None) -> None:
    raise Hung(f"not done after {STEP_LIMIT} seconds")


class Soak:
    """The rounds, and what came of them."""

    def __init__(self, session: Session, token: str) -> None:
        self._session, self._token = session, token
        self._usual = dict.fromkeys(MAPS, 0.5)  # seconds that each map takes, so that kills are spread over all of it
        self._durations: dict[str, list[float]] = {}
        self._outcomes: dict[str, Counter[str]] = {name: Counter() for name in MAPS}
        self.problems: list[str] = []

    def _timed(self, step: str, function: Callable[[], _T]) -> _T:
        start = time.perf_counter()
        signal.alarm(STEP_LIMIT)
        try:
            return function()
        finally:
            signal.alarm(0)
            self._durations.setdefault(step, []).append(time.perf_counter() - start)

    def round(self, name: str, what: str, suspend: bool) -> None:
        """One round.

        :param name: which map
        :param what: what is killed
        :param suspend: whether everything is stopped (SIGSTOP) before it is to end
        """
        where = f"{name}, {what}"
        try:
            self._timed("start", self._session.client)
            self._map_and_kill(name, what)
            usual = time.perf_counter()
            how = self._timed(f"{name} again", lambda: MAPS[name](True))
            if what == "nothing":
                self._usual[name] = time.perf_counter() - usual
            if how != "finished":
                self.problems.append(f"{where}: the second map {how}")
            if suspend:
                for process in self._session.processes.remaining():
                    process.suspend()
        except WrongResult:
            self.problems.append(f"{where}: wrong result")
        except Failed as error:
            self.problems.append(f"{where}: the second map failed: {error.__cause__}")
        except Exception as error:
            self.problems.append(f"{where}: {type(error).__name__}: {error}")
        try:
            self._timed("stop", self._session.close)
        except Exception as error:
            self.problems.append(f"{where}, stop: {type(error).__name__}: {error}")
        self._look_for_leftovers(where)

    def _map_and_kill(self, name: str, what: str) -> None:
        killer = Killer(self._session, what, random.uniform(0, self._usual[name]))
        outcomes = self._outcomes[name]
        try:
            outcomes[self._timed(f"{name} while killing {what}", lambda: MAPS[name](False))] += 1
        except Failed as error:
            outcomes[f"failed with {error}"] += 1
            if what == "nothing":
                self.problems.append(f"{name}: failed although nothing was killed: {error.__cause__}")
        finally:
            killer.join(STEP_LIMIT)
        if killer.error is not None:
            raise killer.error

    def _look_for_leftovers(self, where: str) -> None:
        left = carriers([self._token])
        if left:
            self.problems.append(f"{where}: processes left: {[' '.join(process.cmdline()[:4]) for process in left]}")
            for process in left:
                process.kill()
        files = {path.name for path in profile.security_dir(profile.locate("default")).iterdir()}
        if files - {"parallelflow.lock", "parallelflow-start.lock"}:
            self.problems.append(f"{where}: files left: {sorted(files)}")

    def report(self) -> None:
        """Print how long each step took, how the maps ended and what went wrong."""
        for step, seconds in sorted(self._durations.items()):
            print(
                f"{step:45} {len(seconds):4} times   median {statistics.median(seconds):6.2f} s"
                f"   longest {max(seconds):6.2f} s"
            )
        for name, outcomes in self._outcomes.items():
            print(f"{name}, the first of each round:", ", ".join(f"{k}: {n}" for k, n in outcomes.items()))
        print("\n".join(self.problems) or "no wrong result, nothing hung, nothing left over")


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
    with tempfile.TemporaryDirectory(prefix="pfs") as home, _vistrails(Path(home)) as session:
        from vistrails.core.packagemanager import get_package_manager

        get_package_manager().get_package_configuration("ipyparallel_flow").engines = arguments.engines
        session.close()
        soak = Soak(session, token)
        names = list(MAPS)
        for number in range(arguments.rounds):
            # Everything once with each map, then at random.
            pair, name = divmod(number, len(names))
            what = KILLS[pair] if pair < len(KILLS) else random.choice(KILLS)
            soak.round(names[name], what, suspend=number % 3 == 2)
            print(f"\r{number + 1} of {arguments.rounds}, {len(soak.problems)} problems", end="", flush=True)
            if len(soak.problems) > 20:
                break
    print()
    soak.report()
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
