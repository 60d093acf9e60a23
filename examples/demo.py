"""The demo: one Map over a terrain and 48 positions of the sun, serial and parallel, in VisTrails' batch mode.

``make demo``, or ``.venv/bin/python examples/demo.py``. It starts a cluster, measures, compares what came out, and stops the
cluster. VisTrails' settings and IPython's profile are made anew in ``build/demo`` each time, so that the user's own are neither
read nor changed.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batch import Run, open_vistrail, processes_left, run_version, vistrails_in

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "build" / "demo"
MAP = "Map over the positions"
NEEDED = ("vistrails", "parallelflow", "ipyparallel", "psutil", "numpy", "scipy", "matplotlib")


class DemoError(Exception):
    """The demo did not do what it should; `str()` says what, in a sentence."""


def main(arguments: Sequence[str]) -> int:
    """Run the demo.

    :returns: the exit status: 0 if all went as it should, 1 if not, 130 after Ctrl-C
    """
    parser = argparse.ArgumentParser(
        description="Runs examples/hillshade.vt, serial and parallel, in VisTrails' batch mode."
    )
    parser.add_argument("--days", type=_count, default=6, help="rows of the contact sheet (default: 6)")
    parser.add_argument("--hours", type=_count, default=8, help="columns of the contact sheet (default: 8)")
    parser.add_argument(
        "--cell", type=_metres, default=60.0, help="metres between the terrain's heights, from 20 (default: 60)"
    )
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="FOLDER", help="where to write (default: build/demo)"
    )
    options = parser.parse_args(arguments)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"demo: {', '.join(missing)} cannot be imported by {sys.executable}; run it with: make demo",
            file=sys.stderr,
        )
        return 1
    output = options.output.resolve()
    try:
        output.mkdir(parents=True, exist_ok=True)
        # A folder for each run: two at once would otherwise share a cluster.
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=output))
    except OSError as error:
        print(f"demo: cannot write to {output}: {error.strerror}", file=sys.stderr)
        return 1
    with Interrupts() as interrupts:
        try:
            _demo(interrupts, folder, output, options.days, options.hours, options.cell)
            status = 0
        except DemoError as error:
            status = 1
            if not interrupts.pressed:
                print(
                    f"\ndemo: {error}\ndemo: VisTrails' log is in {folder / 'dot-vistrails' / 'logs'}", file=sys.stderr
                )
        except KeyboardInterrupt:
            status = 130
        if interrupts.pressed:
            status = 130
            print("\ndemo: interrupted", file=sys.stderr)
        left = processes_left(folder)
    if left:
        print(f"demo: processes are left running: {', '.join(left)}", file=sys.stderr)
        return status or 1
    print("The cluster has stopped; no process is left.")
    if status != 1:
        shutil.rmtree(folder, ignore_errors=True)
    return status


def _demo(interrupts: Interrupts, folder: Path, output: Path, days: int, hours: int, cell: float) -> None:
    """Run the vistrail three times, and say what came of it.

    :param folder: for the settings of this run
    :param output: for the contact sheet
    :param cell: metres between the terrain's heights; the time that an element takes goes with one over its square
    :raises DemoError: if something is not as it should be
    """
    from parallelflow.cluster.cores import usable_cores

    count = days * hours
    aliases = {"days": days, "hours": hours, "cell": cell}
    sheet = output / "hillshade.png"
    sheet.unlink(missing_ok=True)
    with vistrails_in(folder, ("controlflow", "ipyparallel_flow"), output):
        try:
            vistrail = open_vistrail(HERE / "hillshade.vt")
            print(
                f"Shading a terrain for {count} positions of the sun: a Group in VisTrails, run once per position.\n"
                f"No cluster is running; Parallel Flow will start one with an engine for each of {usable_cores()} cores.\n",
                flush=True,
            )
            serial = _run(interrupts, vistrail, "Serial", "Serial Map", count, aliases)
            cold = _run(interrupts, vistrail, "Parallel", "Parallel Map, starting a cluster", count, aliases)
            warm = _run(interrupts, vistrail, "Parallel", "Parallel Map, cluster running", count, aliases)
        finally:
            interrupts.hold()  # while VisTrails stops what it started
    print()
    serial_time, cold_time, warm_time = (_seconds_in_map(run) for run in (serial, cold, warm))
    engines = _elements_by_engine(cold)
    shares = ", ".join(str(engines[engine]) for engine in sorted(engines))
    print(f"{count} elements ran on {len(engines)} engine{'s' if len(engines) > 1 else ''}: {shares}.")
    print(f"  {'Serial Map, of Control Flow':40}{serial_time:6.1f} s")
    for what, time_taken in (("on a running cluster", warm_time), ("starting the cluster first", cold_time)):
        print(f"  {f'Parallel Map, {what}':40}{time_taken:6.1f} s, {serial_time / time_taken:.2f} times as fast")
    if sum(engines.values()) != count:
        raise DemoError(f"The log names engines for {sum(engines.values())} elements, and there are {count}.")
    pictures = [run.outputs[MAP]["Result"] for run in (serial, cold, warm)]
    if not all(len(other) == count and all(map(_identical, pictures[0], other)) for other in pictures):
        raise DemoError("The parallel Map's arrays differ from the serial Map's.")
    shape = " x ".join(map(str, pictures[0][0].shape))
    print(f"All three gave identical results: {count} arrays of {shape}.")
    if not sheet.is_file():
        raise DemoError(f"The contact sheet {sheet} was not written.")
    print(f"The contact sheet is {os.path.relpath(sheet)}")


def _identical(one: Any, other: Any) -> bool:
    """Whether two arrays are the same to the last bit."""
    import numpy as np

    return bool(one.dtype == other.dtype and np.array_equal(one, other))


def _run(interrupts: Interrupts, vistrail: Any, tag: str, title: str, count: int, aliases: dict[str, float]) -> Run:
    line = Line(title, count)

    def show(label: str, fraction: float) -> None:
        interrupts.check()
        if label == MAP:
            line.show(fraction)

    run = run_version(vistrail, tag, aliases, show)
    if run.errors:
        line.end()
        raise DemoError("; ".join(f"The module '{label}' failed: {message}" for label, message in run.errors.items()))
    line.show(1.0)
    line.end()
    return run


class Line:
    """Shows how far a Map is: one line that changes on a terminal, a line for each quarter elsewhere.

    :param count: the number of elements
    """

    def __init__(self, title: str, count: int) -> None:
        self._title, self._count = title, count
        self._begun = time.monotonic()
        self._quarter = -1
        self._live = sys.stdout.isatty()

    def show(self, fraction: float) -> None:
        """Show how much is done, from 0 to 1."""
        done = round(fraction * self._count)
        text = f"{self._title}: {done} of {self._count}, {time.monotonic() - self._begun:.0f} s"
        if self._live:
            bar = "#" * round(20 * fraction)
            print(f"\r[{bar:20}] {text} ", end="", flush=True)
        elif int(4 * fraction) > self._quarter:
            self._quarter = int(4 * fraction)
            print(text, flush=True)

    def end(self) -> None:
        """Leave the line as it is."""
        if self._live:
            print(flush=True)


def _seconds_in_map(run: Run) -> float:
    """How long the Map itself took, by VisTrails' log."""
    execution = run.executions[MAP]
    return float((execution.ts_end - execution.ts_start).total_seconds())


def _elements_by_engine(run: Run) -> Counter[str]:
    """How many elements ran on which engine, by VisTrails' log."""
    from parallelflow.map.provenance import ENGINE_KEY

    return Counter(
        note.value
        for loop in run.executions[MAP].loop_execs
        for iteration in loop.loop_iterations
        for execution in iteration.item_execs
        for note in execution.annotations
        if note.key == ENGINE_KEY
    )


class Interrupts:
    """Ctrl-C: interrupts the demo, but not the stopping of what was started.

    :ivar pressed: whether it was; VisTrails turns an interrupt into an error of a module
    """

    # Seconds that stopping may take after an interrupt, in which another one interrupts nothing.
    _TO_STOP = 10.0

    def __init__(self) -> None:
        self.pressed = False
        self._held_until = 0.0

    def __enter__(self) -> Interrupts:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def hold(self) -> None:
        """Interrupt nothing from now on."""
        self._held_until = math.inf

    def check(self) -> None:
        """Interrupt now, if it was pressed where Python ignores what is raised, as in a `__del__`.

        :raises KeyboardInterrupt: if so
        """
        if self.pressed:
            raise KeyboardInterrupt

    def _note(self, *_: object) -> None:
        self.pressed = True
        now = time.monotonic()
        if now > self._held_until:
            self._held_until = now + self._TO_STOP
            raise KeyboardInterrupt
        print("\ndemo: stopping what was started; a few seconds more", file=sys.stderr, flush=True)


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100:
        raise argparse.ArgumentTypeError(f"must be from 1 to 100, not {number}")
    return number


def _metres(text: str) -> float:
    number = float(text)
    if not 20 <= number <= 500:
        raise argparse.ArgumentTypeError(f"must be from 20 to 500, not {number:g}")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
