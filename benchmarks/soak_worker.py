"""Run on one of the machines by soak_hosts.py: the real VisTrails, which does what each line on its standard input says.

A line is JSON, such as ``{"do": "map", "how": "Map"}``; so is what comes back for it: ``{"done": "finished"}``, or the type and
the text of an error. Upon SIGUSR1 it writes to standard error what each of its threads is doing.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "map"))

SOURCE = "import time\ntime.sleep({seconds})\no = i * i"


def work(pair: tuple[int, float]) -> int:
    """What each element is to `parallel_map`."""
    import time

    element, seconds = pair
    time.sleep(seconds)
    return element * element


def map_function(elements: int, seconds: float) -> list[int]:
    """Map with `parallel_map`, on a cluster."""
    from parallelflow.api import parallel_map

    results, on_cluster = parallel_map(work, [(number, seconds) for number in range(elements)], ask=True, ipython=True)
    if not on_cluster:
        raise RuntimeError("it ran without a cluster")
    return results


def map_workflow(elements: int, seconds: float) -> list[int]:
    """Map with VisTrails' Map."""
    from vistrails.core.interpreter.noncached import Interpreter
    from workflows import OURS, Flow

    flow = Flow()
    function = flow.python(SOURCE.format(seconds=seconds), {"i": "Variant"}, {"o": "Variant"})
    number = flow.map(function, "i", "o", repr(list(range(elements))))
    done = Interpreter.get().execute(flow.build(OURS))
    if done.errors:
        error = next(iter(done.errors.values()))
        raise RuntimeError(str(getattr(error, "msg", error)))
    results: list[int] = done.objects[number].get_output("Result")
    return results


MAPS: dict[str, Callable[[int, float], list[int]]] = {"parallel_map": map_function, "Map": map_workflow}


def do(command: dict[str, Any]) -> str:
    """Do what a line says, and return how it went."""
    from parallelflow.cluster import get_session

    if command["do"] == "start":
        return f"{len(get_session().client().ids)} engines"
    if command["do"] == "close":
        get_session().close()
        return "closed"
    results = MAPS[command["how"]](command["elements"], command["seconds"])
    right = results == [number * number for number in range(command["elements"])]
    return "finished" if right else "wrong"


def main() -> None:
    """Obey until standard input ends, then exit as VisTrails does."""
    faulthandler.register(signal.SIGUSR1)
    # What VisTrails and packages print is not for whoever reads our answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    from vistrails.core import application

    options = {"batch": True, "installBundles": False, "loadPackages": False, "errorLog": False}
    app = application.init(options, args=[])
    from vistrails.tests.utils import enable_package

    for package in ("org.vistrails.vistrails.control_flow", "org.vistrails.parallelflow"):
        enable_package(package)
    answers.write("{}\n")
    for line in sys.stdin:
        try:
            answer = {"done": do(json.loads(line))}
        except Exception as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        answers.write(json.dumps(answer) + "\n")
    app.finishSession()
    app.destroy()


if __name__ == "__main__":
    main()
