"""Measures a parameter exploration on the cluster against VisTrails' own execution of its cells, side by side."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workload import WORK as PACKAGE

CELLS = 48
WORK = 0.2  # seconds for each cell


def measure(rounds: int) -> dict[str, Any]:
    """Explore both ways in turn, and return the seconds of each round.

    :param rounds: how often
    """
    with tempfile.TemporaryDirectory() as folder:
        controller, exploration = _exploration(Path(folder))
        _explore(controller, exploration, _on_cluster)  # engines start VisTrails
        times: dict[str, list[float]] = {"own": [], "ours": []}
        for _ in range(rounds):
            for name, run in (("own", _in_vistrails), ("ours", _on_cluster)):
                started = time.perf_counter()
                _explore(controller, exploration, run)
                times[name].append(time.perf_counter() - started)
    return {"cells": CELLS, "work": WORK, **times}


def _exploration(folder: Path) -> tuple[Any, Any]:
    """A module that sleeps, for times that hardly differ, and an output module, which runs in VisTrails."""
    sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))
    from building import Vistrail

    vistrail = Vistrail()
    sleeps = vistrail.add("Sleep", (0, 1), "", PACKAGE, seconds=WORK)
    file = {"dir": str(folder), "basename": "cell", "series": True}
    shows = vistrail.add("GenericOutput", (0, 0), "", mode_type="file", configuration=repr({"file": file}))
    vistrail.connect(sleeps, "slept", shows, "value")
    vistrail.explore("times", {(sleeps, "seconds"): [WORK + number * 1e-6 for number in range(CELLS)]})
    controller = vistrail._controller
    return controller, controller.vistrail.parameter_explorations[-1]


def _explore(controller: Any, exploration: Any, run: Callable[[Any], None]) -> None:
    from vistrails.core.interpreter.cached import CachedInterpreter

    from parallelflow.explorations.cells import explore
    from parallelflow.explorations.client import Client

    CachedInterpreter.flush()
    run(Client(controller, explore(controller, exploration)))


def _in_vistrails(client: Any) -> None:
    for cell in client.exploration.cells:
        assert not client.execute(cell).errors


def _on_cluster(client: Any) -> None:
    from parallelflow.explorations.exploring import Exploring

    assert not Exploring(client).run()
