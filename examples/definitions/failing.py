"""An element that fails on purpose, to show what happens; and the same with the failure kept as a value."""

from __future__ import annotations

from building import CONTROL_FLOW, PARALLEL_FLOW, Vistrail

NUMBERS = [1, 4, 9, -16, 25, 36]

ROOT = """
    import math

    if number < 0:
        fail(f"{number} has no square root")
    root = math.sqrt(number)
"""

ROOT_OR_REASON = """
    import math

    try:
        root = math.sqrt(number)
    except ValueError as error:
        root = f"{number}: {error}"
"""


def build(vistrail: Vistrail) -> None:
    """Add three versions: failing with each Map, and one that does not fail."""
    numbers = vistrail.add("List", (1, 2), "Numbers", value=NUMBERS)
    out = vistrail.add("StandardOutput", (0.4, 0), "Print the roots")
    begun = vistrail.version
    for tag, package, code, notes in (
        (
            "Serial",
            CONTROL_FLOW,
            ROOT,
            """
            The fourth number has no square root, so the function fails, and the Map with it. Control Flow's Map stops there.
            """,
        ),
        (
            "Parallel",
            PARALLEL_FLOW,
            ROOT,
            """
            The fourth number has no square root, so the function fails, and the Map with it, as in the serial version. The
            message also says which element it was, its value, and the engine and host that it ran on.

            Elements that were completed by then are in the log. The next version shows how to keep what the others gave.
            """,
        ),
        (
            "Failures as values",
            PARALLEL_FLOW,
            ROOT_OR_REASON,
            """
            Where the rest is wanted although an element failed, let the function say so in its result instead of failing.
            """,
        ),
    ):
        vistrail.go_back_to(begun)
        root = vistrail.add_source((0, 2), "Square root", code, {"number": "Integer"}, {"root": "Variant"})
        over = vistrail.add("Map", (0.4, 1), "Map over the numbers", package, InputPort=["number"], OutputPort="root")
        vistrail.connect(root, "self", over, "FunctionPort")
        vistrail.connect(numbers, "value", over, "InputList")
        vistrail.connect(over, "Result", out, "value")
        vistrail.tag(tag, notes)
