"""Writes what `run.py` has measured as tables for the user's guide."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

CONTESTANTS = ("ours", "serial", "ipyparallel", "joblib")


def tables(results: dict[str, Any], bounds: Mapping[tuple[str, float, int], tuple[str, float]]) -> str:
    """Return reStructuredText: the machine, the figures that are to be reached, and all contestants' times.

    :param results: what `run.py` has measured
    :param bounds: what is to be reached, by kind of work, seconds per element and elements
    """
    machine = (
        f"Measured on {time.strftime('%d %B %Y')} with {os.cpu_count()} cores, Python {platform.python_version()}, ipyparallel"
        f" {version('ipyparallel')} and joblib {version('joblib')}, by ``make bench``."
    )
    parts = [
        ".. Made by `make bench OUT=docs/figures`.",
        machine,
        "What Parallel Flow is to reach, and what it has reached in that run; where a range is given, it is the lowest and the"
        " highest of the rounds:",
        _table(("what, with 2 engines", "to reach", "measured"), (58, 17, 25), _figures(results, bounds)),
        "Milliseconds per element (medians), and in brackets the share of the ideal time, which is elements x work / engines:",
        _table(
            ("work per element", "elements", "Map", "serial Map", "ipyparallel", "joblib"),
            (20, 12, 17, 17, 17, 17),
            map(_times, results["cases"]),
        ),
        "Map's time as a share of the others', round by round (median, lowest and highest):",
        _table(
            ("work per element", "elements", "serial Map", "ipyparallel", "joblib"),
            (20, 12, 22, 22, 22),
            map(_ratios, results["cases"]),
        ),
        "``parallel_map`` with a plain function: milliseconds per element, and its time as a share of the others':",
        _table(
            ("work per element", "elements", "parallel_map", "ipyparallel", "joblib"),
            (20, 12, 22, 22, 22),
            map(_plain, results["cases"]),
        ),
        "ipyparallel and joblib do the same work as plain functions, without VisTrails and so without its log; ipyparallel in"
        " chunks of the size at which it was fastest.",
    ]
    return "\n\n".join(parts) + "\n"


def _work(case: dict[str, Any]) -> str:
    return f"{case['work'] * 1000:g} ms of {case['kind'].replace('cpu', 'CPU')}" if case["work"] else "none (trivial)"


def _figures(
    results: dict[str, Any], bounds: Mapping[tuple[str, float, int], tuple[str, float]]
) -> Iterable[tuple[str, str, str]]:
    for case in results["cases"]:
        bound = bounds.get((case["kind"], case["work"], case["elements"]))
        if bound is None:
            continue
        figure, value = bound
        if figure == "ratio":
            what, least, measured = "time against the serial Map", f"at most {value:g}", case["ratio"]
        else:
            what, least, measured = "share of the ideal time", f"at least {value:g}", case["share"]["ours"]
        yield f"{_work(case)}, {case['elements']} elements: {what}", least, _range(measured)
    yield "time per element at 10,000 elements against 1000", "at most 1.1", f"{results['growth']:.2f}"
    yield (
        "bytes sent for a value of 10 MB on another port, 1000 elements, per engine",
        "at most 1.05 x 10 MB",
        f"{results['bytes']:.3f} x 10 MB",
    )
    yield (
        "the client's memory for 10,000 elements, above VisTrails' own",
        "at most 100 MB",
        f"{max(results['memory']['grown'], 0):.0f} MB",
    )
    yield (
        "first Map on fresh engines, beyond the time one VisTrails takes to start",
        "at most 2 s",
        f"{results['first']['beyond']:.2f} s",
    )
    yield (
        "elements that call BLAS: share of the ideal time, with one thread in each engine",
        "at least 0.9",
        _range(results["blas"]["share"]),
    )
    yield (
        "elements that call BLAS: time against the serial Map, which uses all cores",
        "",
        _range(results["blas"]["ratio"]),
    )
    uneven = results["uneven"]
    yield (
        f"400 elements of 2 ms and one of 2 s at the end ({uneven['first']:.2f} s in the first run): seconds in the second",
        "at most 2.15",
        _range(uneven),
    )
    explored = results["exploration"]
    yield (
        f"an exploration of {explored['cells']} cells of {explored['work']:g} s: time against VisTrails' own",
        "at most 0.55",
        _range(explored["ratio"]),
    )
    loop = results["loop"]
    yield (
        f"a marked module's loop over {loop['elements']} elements of {loop['work']:g} s: time against VisTrails' own",
        "at most 0.55",
        _range(loop["ratio"]),
    )
    kept = results["kept"]
    yield "1000 kept results taken again: seconds", "at most 0.15", _range(kept["hits"])
    yield (
        "1000 elements of 10 ms with ``keep_results`` at ``all``: time against none kept",
        "at most 1.02",
        _range(kept["10 ms"]),
    )
    yield (
        "100,000 kept results taken again in VisTrails' window: longest time that its event loop was blocked",
        "at most 100 ms",
        f"{kept['gap']['median'] * 1000:.0f} ms",
    )
    start = results["start"]
    yield (
        f"time to start two engines ({start['start']:.1f} s), against starting them by hand",
        "at most 1.2",
        f"{start['ratio']:.2f}",
    )
    large, window = results["large"], results["window"]
    of_large = "1 GB on another port and eight fresh engines: "
    yield (
        f"{of_large}time until the first element begins, against one and a half copies and VisTrails' start",
        "at most 1",
        f"{large['ratio']:.2f}",
    )
    yield f"{of_large}gigabytes that the engines need for it together", "at most 1.2", f"{large['memory']:.2f}"
    yield (
        "results of 100 MB and 1 GB on another port, in VisTrails' window: longest time that its event loop was blocked",
        "at most 100 ms",
        f"{window['gap'] * 1000:.0f} ms",
    )
    many = results["many"]
    of_many = f"{many['elements']:,} elements without work in VisTrails' window: "
    yield f"{of_many}longest time that its event loop was blocked", "at most 100 ms", f"{many['gap'] * 1000:.0f} ms"
    yield f"{of_many}time", "", f"{many['seconds']:.0f} s"
    yield f"{of_many}what the client's memory grows by, its log included", "", f"{many['client']:.0f} MB"
    yield f"{of_many}what the controller's memory grows by", "", f"{many['controller']:.0f} MB"
    yield f"{of_many}to save them with their log, and open that", "", f"{many['saved']:.0f} s"


def _range(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.2f} ({spread['low']:.2f} to {spread['high']:.2f})"


def _times(case: dict[str, Any]) -> tuple[str, ...]:
    cells = []
    for name in CONTESTANTS:
        text = f"{case['times'][name]['median'] / case['elements'] * 1000:.3g}"
        # The serial Map has no second engine, so no share in this sense.
        if case["share"] and name != "serial":
            text += f" ({case['share'][name]['median']:.2f})"
        cells.append(text)
    return (_work(case), f"{case['elements']:,}", *cells)


def _ratios(case: dict[str, Any]) -> tuple[str, ...]:
    return (_work(case), f"{case['elements']:,}", *(_range(case["ratios"][name]) for name in CONTESTANTS[1:]))


def _plain(case: dict[str, Any]) -> tuple[str, ...]:
    text = f"{case['times']['parallel_map']['median'] / case['elements'] * 1000:.3g}"
    if case["share"]:
        text += f" ({case['share']['parallel_map']['median']:.2f})"
    return (_work(case), f"{case['elements']:,}", text, *(_range(case["plain"][name]) for name in CONTESTANTS[2:]))


def _table(head: Sequence[str], widths: Sequence[int], rows: Iterable[Sequence[str]]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in (head, *rows):
        lines += [f"   {'*' if not i else ' '} - {cell}".rstrip() for i, cell in enumerate(row)]
    return "\n".join(lines)
