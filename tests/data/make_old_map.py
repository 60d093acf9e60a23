"""Makes old_map.vt: workflows with the Map of the package that VisTrails bundles, saved by that package's own modules.

``python tests/data/make_old_map.py [folder]``. The bundled package cannot be enabled with a current IPython, which has moved two
functions that it imports; they are put back for it here. Making workflows with it needs no more than that.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import IPython.paths
import IPython.utils.path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "examples"))

from batch import vistrails_in  # noqa: E402
from building import Vistrail  # noqa: E402

OLD = "edu.poly.vistrails.parallel_flow"


def build(vistrail: Vistrail) -> None:
    """Three versions: Map over a PythonSource, over a Group, and Map inside a Group with its ports left to the outside."""
    square = vistrail.add_source((0, 2), "Square", "y = x * x", {"x": "Integer"}, {"y": "Integer"})
    begun = vistrail.version
    over = vistrail.add("Map", (0, 1), "Map", OLD, InputPort=["x"], OutputPort="y", InputList=list(range(10)))
    vistrail.connect(square, "self", over, "FunctionPort")
    out = vistrail.add("StandardOutput", (0, 0))
    vistrail.connect(over, "Result", out, "value")
    vistrail.tag("source", "The old Map over a PythonSource.")

    vistrail.go_back_to(begun)
    first, second = (vistrail.add("InputPort", (place, 3), name=name) for place, name in ((0, "x"), (1, "offset")))
    add = vistrail.add_source((0, 1), "Add", "z = y + offset", {"y": "Integer", "offset": "Integer"}, {"z": "Integer"})
    result = vistrail.add("OutputPort", (0, 0), name="z")
    vistrail.connect(first, "InternalPipe", square, "x")
    vistrail.connect(second, "InternalPipe", add, "offset")
    vistrail.connect(square, "y", add, "y")
    vistrail.connect(add, "z", result, "InternalPipe")
    group = vistrail.group([first, second, square, add, result], "Square and add")
    elements = vistrail.add("List", (1, 2), value=[(n, 100 * n) for n in range(10)])
    over = vistrail.add("Map", (0, 1), "Map", OLD, InputPort=["x", "offset"], OutputPort="z")
    vistrail.connect(group, "self", over, "FunctionPort")
    vistrail.connect(elements, "value", over, "InputList")
    vistrail.tag("group", "The old Map over a Group, with pairs as elements.")

    vistrail.go_back_to(begun)
    over = vistrail.add("Map", (0, 1), "Map", OLD, InputPort=["x"], OutputPort="y")
    vistrail.connect(square, "self", over, "FunctionPort")
    elements = vistrail.add("InputPort", (1, 2), name="numbers")
    vistrail.connect(elements, "InternalPipe", over, "InputList")
    result = vistrail.add("OutputPort", (0, 0), name="squares")
    vistrail.connect(over, "Result", result, "InternalPipe")
    group = vistrail.group([square, over, elements, result], "Squares")
    numbers = vistrail.add("List", (0, 3), value=list(range(10)))
    total = vistrail.add("Sum", (0, -1), "Total", "org.vistrails.vistrails.control_flow")
    vistrail.connect(numbers, "value", group, "numbers")
    vistrail.connect(group, "squares", total, "InputList")
    vistrail.tag("inside a group", "A Group that holds the old Map.")


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else HERE
    IPython.utils.path.get_ipython_dir = IPython.paths.get_ipython_dir
    IPython.utils.path.locate_profile = IPython.paths.locate_profile
    with tempfile.TemporaryDirectory() as scratch, vistrails_in(Path(scratch), ("controlflow", "parallelflow")):
        old = Vistrail()
        build(old)
        old.save(folder / "old_map.vt")
