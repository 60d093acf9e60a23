"""Measures a marked module's loop over a list on the cluster against VisTrails' own loop, side by side."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from workload import WORK as PACKAGE

ELEMENTS = 48
WORK = 0.2  # seconds for each element


def measure(rounds: int) -> dict[str, Any]:
    """Execute both ways in turn, and return the seconds of each round.

    :param rounds: how often
    """
    pipelines = {"own": _pipeline(is_marked=False), "ours": _pipeline(is_marked=True)}
    _execute(pipelines["ours"])  # engines start VisTrails
    times: dict[str, list[float]] = {"own": [], "ours": []}
    for _ in range(rounds):
        for name, pipeline in pipelines.items():
            started = time.perf_counter()
            _execute(pipeline)
            times[name].append(time.perf_counter() - started)
    return {"elements": ELEMENTS, "work": WORK, **times}


def _pipeline(is_marked: bool) -> Any:
    """A module that sleeps, for times that hardly differ, at whose port a list arrives."""
    sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))
    from building import Vistrail

    from parallelflow.map.marks import KEY

    vistrail = Vistrail()
    gives = vistrail.add_source((0, 1), "", f"o = [{WORK}] * {ELEMENTS}", {}, {"o": "List"})
    sleeps = vistrail.add("Sleep", (0, 0), "", PACKAGE)
    vistrail.connect(gives, "o", sleeps, "seconds")
    if is_marked:
        vistrail._controller.add_annotation((KEY, ""), sleeps)
    return vistrail._controller.current_pipeline


def _execute(pipeline: Any) -> None:
    from vistrails.core.interpreter.noncached import Interpreter

    assert not Interpreter.get().execute(pipeline).errors
