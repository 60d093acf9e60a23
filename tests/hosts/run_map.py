"""Run on one of the machines: a Map in VisTrails' batch mode, with the user's own settings; what came of it as JSON.

run_map.py '{"source": "o = i * 2", "elements": [1, 2, 3]}'

Where the elements are a text, that is the source of the module that makes them.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "map"))


def main(job: dict[str, object]) -> None:
    """Run it, and print the results or the error's message."""
    warnings: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("vistrails").addHandler(listener)
    logging.getLogger("vistrails").propagate = False
    from vistrails.core import application

    app = application.init({"batch": True, "installBundles": False}, args=[])
    from vistrails.core.interpreter.noncached import Interpreter
    from workflows import OURS, Flow

    flow = Flow()
    function = flow.python(str(job["source"]), {"i": "Variant"}, {"o": "Variant"})
    elements = job["elements"]
    made = (flow.python(elements, {}, {"o": "List"}), "o") if isinstance(elements, str) else repr(elements)
    number = flow.map(function, "i", "o", made)
    done = Interpreter.get().execute(flow.build(OURS))
    errors = [str(getattr(error, "msg", error)) for error in done.errors.values()]
    results = None if errors else done.objects[number].get_output("Result")
    sys.stdout.write("\n" + json.dumps({"results": results, "errors": errors, "warnings": warnings}) + "\n")
    app.finishSession()
    app.destroy()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
