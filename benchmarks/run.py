"""Measures Map against the serial Map, plain ipyparallel and joblib, side by side on the same two engines.

    python benchmarks/run.py            every figure, and the plots for the user's guide
    python benchmarks/run.py --quick    three rounds instead of five, and no plots

Ratios are taken round by round, so that they hold on a machine whose speed drifts; medians with the extremes are
printed. The share of the ideal time is elements x work / engines / measured time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parent.parent
ENGINES = 2

# (kind, seconds per element, elements)
CASES = [
    ("trivial", 0.0, 100),
    ("trivial", 0.0, 1000),
    ("trivial", 0.0, 10000),
    ("cpu", 0.001, 1000),
    ("sleep", 0.01, 300),
    ("cpu", 0.01, 300),
    ("sleep", 0.1, 60),
    ("cpu", 0.1, 60),
]

# What the design asks for: (kind, seconds, elements) to (figure, bound).
BOUNDS = {
    ("trivial", 0.0, 1000): ("ratio", 0.8),
    ("trivial", 0.0, 10000): ("ratio", 0.65),
    ("cpu", 0.001, 1000): ("share", 0.75),
    ("sleep", 0.01, 300): ("share", 0.95),
    ("cpu", 0.01, 300): ("share", 0.88),
    ("sleep", 0.1, 60): ("share", 0.97),
    ("cpu", 0.1, 60): ("share", 0.92),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rounds, no plots")
    parser.add_argument("--out", type=Path, default=CLONE / "build" / "bench", help="folder for results and plots")
    arguments = parser.parse_args()
    rounds = 3 if arguments.quick else 5
    with tempfile.TemporaryDirectory(prefix="pfb") as home, _vistrails(Path(home)) as session:
        results: dict[str, Any] = {"first": _first_map(session)}
        results["cases"] = [_case(session, *case, rounds) for case in CASES]
        results["growth"] = _growth(results["cases"])
        results["bytes"] = _bytes_sent(session)
        results["memory"] = _memory()
        if not arguments.quick:
            results["engines"] = _by_engines(session, rounds)
            arguments.out.mkdir(parents=True, exist_ok=True)
            (arguments.out / "results.json").write_text(json.dumps(results, indent=1))
            from plots import draw

            draw(results, arguments.out)
            print(f"Results and plots: {arguments.out}")


@contextlib.contextmanager
def _vistrails(home: Path) -> Iterator[Any]:
    """VisTrails and a cluster of two engines, in a home of their own."""
    os.environ.update(HOME=str(home), IPYTHONDIR=str(home / "ipython"), QT_QPA_PLATFORM="offscreen")
    started = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):
        import vistrails.core.application

        options = {"batch": True, "installBundles": False, "loadPackages": False, "errorLog": False}
        application = vistrails.core.application.init(options, args=[])
        from vistrails.tests.utils import enable_package

        enable_package("org.vistrails.parallelflow")
    global START_UP
    START_UP = time.perf_counter() - started
    from vistrails.core.packagemanager import get_package_manager

    from parallelflow.cluster import get_session

    get_package_manager().get_package_configuration("ipyparallel_flow").engines = ENGINES
    session = get_session()
    try:
        started = time.perf_counter()
        session.client()
        print(f"VisTrails started in {START_UP:.1f} s, {ENGINES} engines in {time.perf_counter() - started:.1f} s\n")
        yield session
    finally:
        session.close()
        application.destroy()
        application.destroy = lambda: None


START_UP = 0.0


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def _show(values: dict[str, float], digits: int = 2) -> str:
    return f"{values['median']:.{digits}f} ({values['low']:.{digits}f} to {values['high']:.{digits}f})"


def _first_map(session: Any) -> dict[str, float]:
    from workload import OURS, Workflow

    seconds = Workflow(OURS, "trivial").run(2)
    print(f"First Map on fresh engines: {seconds:.2f} s, of which one VisTrails takes {START_UP:.2f} s to start")
    print(f"  beyond that: {seconds - START_UP:.2f} s (to reach: at most 2)\n")
    return {"seconds": seconds, "beyond": seconds - START_UP}


def _case(session: Any, kind: str, seconds: float, elements: int, rounds: int) -> dict[str, Any]:
    """Time every contestant once a round."""
    from workload import OURS, SERIAL, Workflow, plain_function

    ours, serial = Workflow(OURS, kind, seconds), Workflow(SERIAL, kind, seconds)
    function = plain_function(kind, seconds)
    view = session.client().load_balanced_view()
    contestants: dict[str, Callable[[], float]] = {
        "ours": lambda: ours.run(elements),
        "serial": lambda: serial.run(elements),
        "ipyparallel": lambda: _timed(lambda: view.map_sync(function, range(elements), chunksize=chunk)),
        "joblib": lambda: _timed(lambda: _joblib(function, elements)),
    }
    chunk = _best_chunk(view, function, elements)
    ours.run(elements)  # engines get the plan
    contestants["joblib"]()  # and joblib its workers
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            times[name].append(measure())
    ideal = elements * seconds / ENGINES
    ratios = [mine / other for mine, other in zip(times["ours"], times["serial"], strict=True)]
    result: dict[str, Any] = {
        "kind": kind,
        "work": seconds,
        "elements": elements,
        "chunk": chunk,
        "times": {name: _spread(each) for name, each in times.items()},
        "ratio": _spread(ratios),
        "share": {name: _spread([ideal / each for each in times[name]]) for name in times} if ideal else {},
    }
    work = f"{seconds * 1000:g} ms {kind}" if seconds else kind
    print(f"{work}, {elements} elements")
    for name in contestants:
        per_element = statistics.median(times[name]) / elements * 1000
        note = f", in chunks of {chunk}" if name == "ipyparallel" else ""
        share = f", share of the ideal time {_show(result['share'][name])}" if ideal else ""
        print(f"  {name:12} {_show(result['times'][name], 3)} s, {per_element:.3f} ms per element{share}{note}")
    print(f"  ours / serial: {_show(result['ratio'])}")
    if (kind, seconds, elements) in BOUNDS:
        figure, bound = BOUNDS[kind, seconds, elements]
        reached = result["ratio"]["median"] if figure == "ratio" else result["share"]["ours"]["median"]
        good = reached <= bound if figure == "ratio" else reached >= bound
        print(f"  to reach: {figure} {bound}: {'reached' if good else 'NOT reached'} with {reached:.2f}")
    print()
    return result


def _best_chunk(view: Any, function: Any, elements: int) -> int:
    """Find the chunk size at which plain ipyparallel is fastest, on a tenth of the work."""
    some = max(elements // 4, 20)
    sizes = [size for size in (1, 5, 10, 50, 100, 500) if size * ENGINES <= elements]
    return min(sizes, key=lambda size: _timed(lambda: view.map_sync(function, range(some), chunksize=size)))


def _joblib(function: Any, elements: int) -> None:
    from joblib import Parallel, delayed

    Parallel(n_jobs=ENGINES)(delayed(function)(i) for i in range(elements))


def _timed(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _growth(cases: list[dict[str, Any]]) -> float:
    times = {case["elements"]: case["times"]["ours"]["median"] for case in cases if case["kind"] == "trivial"}
    growth = (times[10000] / 10000) / (times[1000] / 1000)
    print(f"Time per element at 10,000 elements against 1000: {growth:.2f} (to reach: at most 1.1)\n")
    return growth


def _bytes_sent(session: Any) -> float:
    """Send a 10 MB value on another port, and count what the client's sockets take."""
    from workload import OURS, Workflow

    size = 10_000_000
    counted = 0
    client_session = session.client().session
    send = client_session.send

    def counting(*args: Any, **more: Any) -> Any:
        nonlocal counted
        counted += sum(memoryview(buffer).nbytes for buffer in more.get("buffers") or ())
        return send(*args, **more)

    client_session.send = counting
    try:
        Workflow(OURS, "trivial", constant=size).run(1000)
    finally:
        client_session.send = send
    ratio = counted / size / ENGINES
    print(f"Bytes sent for a 10 MB value and 1000 elements: {ratio:.3f} x 10 MB per engine (to reach: at most 1.05)\n")
    return ratio


def _memory() -> dict[str, float]:
    """The client's memory after 10,000 elements with our Map, above what it was after as many with the serial Map."""
    import psutil
    from workload import OURS, SERIAL, Workflow

    process = psutil.Process()
    Workflow(SERIAL, "trivial").run(10000)
    before = process.memory_info().rss
    Workflow(OURS, "trivial").run(10000)
    grown = (process.memory_info().rss - before) / 1e6
    print(f"Client memory for 10,000 trivial elements above VisTrails' own: {grown:.0f} MB (to reach: at most 100)\n")
    return {"grown": grown}


def _by_engines(session: Any, rounds: int) -> dict[str, Any]:
    """The same work on one engine and on two."""
    from workload import OURS, Workflow

    found = {}
    for engines in (2, 1):
        ids = session.client().ids
        session.stop_engines(ids[engines:])
        workflow = Workflow(OURS, "sleep", 0.02)
        workflow.run(10)
        found[str(engines)] = _spread([workflow.run(100) for _ in range(rounds)])
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
