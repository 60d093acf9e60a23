"""A VisTrails of its own that executes a Map until it has completed: ``kept_session.py FOLDER ELEMENTS KEEP TALLY [--once]``.

Each element takes a moment and is noted in the file TALLY as it begins; with a number in a file TALLY.most it waits then while more
than so many have begun. Each execution says on a line of standard output, as
JSON, how many results it has taken from kept ones, and its error or its results.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

# An element that fails as long as there is a file FAIL beside the tally; it is written out in the code, so that this is one plan.
SOURCE = """\
cache_this()
import os, time
_file = os.open(tally, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(_file, f'{value}\\n'.encode())
os.close(_file)
_end = time.monotonic() + 240
while time.monotonic() < _end:
    try:
        with open(tally + '.most') as _most, open(tally) as _begun:
            if len({*_begun}) <= int(_most.read()):
                break
    except FileNotFoundError:
        break
    time.sleep(0.01)
time.sleep(0.06)
if value == -1 and os.path.exists(tally + '.fail'):
    raise ValueError('it was to fail')
result = value * 3
"""

MOST_TRIES = 40


def main(folder: Path, elements: list[int], keep: str, tally: str, once: bool) -> None:
    """Execute the Map until it has completed."""
    import vistrails.core.application

    from host import vistrails_window

    vistrails_window.prepare(folder)
    application = vistrails.core.application.init(
        {
            "batch": True,
            "installBundles": False,
            "errorLog": False,
            "singleInstance": False,
            "dotVistrails": str(folder),
        },
        args=[],
    )
    from vistrails.core.packagemanager import get_package_manager

    configuration = get_package_manager().get_package_configuration("ipyparallel_flow")
    # Engines are started again, and whoever kills them is not an element.
    configuration.engines, configuration.keep_engines, configuration.deaths = 2, True, 100
    for _ in range(MOST_TRIES):
        seen = execute(elements, keep, tally)
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()
        if "results" in seen or once:
            break
    application.destroy()
    sys.stdout.flush()
    os._exit(0)


def execute(elements: list[int], keep: str, tally: str) -> dict[str, Any]:
    """Execute it once, as a VisTrails does that has just been started."""
    from parity import PACKAGES
    from vistrails.core.db.locator import XMLFileLocator
    from vistrails.core.interpreter.cached import CachedInterpreter
    from vistrails.core.utils import DummyView
    from workflows import Flow

    from parallelflow.map import progress

    taken = 0

    def told(what: progress.MapProgress | str) -> None:
        nonlocal taken
        if isinstance(what, progress.MapProgress):
            taken = max(taken, what.taken)

    flow = Flow()
    function = flow.python(
        SOURCE,
        {"value": "Integer", "tally": "String"},
        {"result": "Integer"},
        presets={"tally": ""},
    )
    number = flow.map(function, "value", "result", repr(elements))
    flow.specs[number].presets.append(("KeepResults", keep))
    progress.listen(told)
    try:
        result = CachedInterpreter().execute(
            flow.build(PACKAGES["ours"], tally), locator=XMLFileLocator("kept.xml"), current_version=1, view=DummyView()
        )
    finally:
        progress.listen(None)
    if result.errors:
        return {"taken": taken, "error": next(iter(result.errors.values())).msg}
    return {"taken": taken, "results": result.objects[number].get_output("Result")}


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path[:0] = [str(here), str(here.parent.parent)]
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3], sys.argv[4], "--once" in sys.argv)
