"""Builds a workflow with the example package's module and runs it: ``python use_package.py FOLDER``.

Writes what came of it to FOLDER/outcome.json. Needs ``examples`` and the installed package on the path.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from batch import open_vistrail, processes_left, run_version, vistrails_in
from building import Vistrail

VALUES = [float(n % 17) for n in range(200)]

folder = Path(sys.argv[1])
with vistrails_in(folder, ("controlflow", "ipyparallel_flow", "bootstrap_example")):
    vistrail = Vistrail()
    numbers = vistrail.add("List", (0, 1), "Numbers", value=VALUES)
    mean = vistrail.add("MeanWithInterval", (0, 0), "Mean", "org.example.bootstrap", samples=2000)
    vistrail.connect(numbers, "value", mean, "values")
    vistrail.tag("mean", "The mean of a list of numbers.")
    vistrail.save(folder / "mean.vt")
    run = run_version(open_vistrail(folder / "mean.vt"), "mean")
    outcome = {"errors": run.errors, "outputs": {k: v for k, v in run.outputs["Mean"].items() if k != "self"}}
(folder / "outcome.json").write_text(json.dumps({**outcome, "left": processes_left(folder)}), encoding="utf-8")
