"""Elements and results that are arrays: Map through shared memory and over the network, beside the serial Map, plain ipyparallel
and joblib."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

# (elements, megabytes of each)
ROWS = [(64, 1), (24, 8), (8, 32)]


def scale(i: Any) -> Any:
    """What one element does, as the module Scale does it."""
    return i * 2.0 + 1.0


@contextlib.contextmanager
def _no_room() -> Iterator[None]:
    """Have everything travel as it does to other hosts."""
    from parallelflow.map import shared_memory

    new_room = shared_memory.new_room
    shared_memory.new_room = lambda: None
    try:
        yield
    finally:
        shared_memory.new_room = new_room


def measure(view: Any, rounds: int, engines: int) -> dict[str, dict[str, list[float]]]:
    """Time every contestant once a round, for each row: its second run of two, so that it finds engines and workers as it leaves
    them itself. What another one has left of their memory is warm, or has to be had from the system anew.

    :param view: ipyparallel's load-balanced view of the engines.
    :param rounds: how often.
    :param engines: how many processes joblib has.
    :returns: by row and by contestant, seconds.
    """
    from joblib import Parallel, delayed

    found: dict[str, dict[str, list[float]]] = {}
    for count, megabytes in ROWS:
        arrays = _arrays(count, megabytes)

        def over_the_network(count: int = count, megabytes: int = megabytes) -> float:
            with _no_room():
                return _run("org.vistrails.parallelflow", count, megabytes)

        def timed(action: Callable[[], Any]) -> float:
            started = time.perf_counter()
            action()
            return time.perf_counter() - started

        contestants: dict[str, Callable[[], float]] = {
            "ours": lambda n=count, m=megabytes: _run("org.vistrails.parallelflow", n, m),
            "ours, network": over_the_network,
            "serial": lambda n=count, m=megabytes: _run("org.vistrails.vistrails.control_flow", n, m),
            "ipyparallel": lambda a=arrays: timed(lambda: view.map_sync(scale, a)),
            "joblib": lambda a=arrays: timed(lambda: Parallel(n_jobs=engines)(delayed(scale)(each) for each in a)),
        }
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(rounds + 1):
            for name, contestant in contestants.items():
                for _ in range(2):
                    gc.collect()  # VisTrails' modules are in circles: what the run before has left would be several GB in the end
                    seconds = contestant()
                    view.client.purge_local_results("all")
                if number:  # the first is for engines and workers to get ready
                    times[name].append(seconds)
        found[f"{count} x {megabytes} MB"] = times
    return found


def _arrays(count: int, megabytes: int) -> list[Any]:
    import numpy

    return [numpy.full(megabytes * 125_000, float(index)) for index in range(count)]


def _run(package: str, count: int, megabytes: int) -> float:
    from workload import Workflow

    return Workflow(package, "scale").run_over(
        quote(f"import arrays\no = arrays._arrays({count}, {megabytes})"),
        lambda results: [float(each[-1]) for each in results] == [index * 2.0 + 1.0 for index in range(count)],
        count,
    )
