"""What Debian's VisTrails needs changed to work with today's Python, Qt and libraries, and the function that applies it.

Each repair says what is wrong, since when, and why; `edits` has what it is made of. They are grouped by what they are for:

* `language`: what later versions of Python, and of what every VisTrails needs, have taken away;
* `window`: what PyQt5 takes otherwise than PyQt4 did, and what its wheels lack;
* `execution`: Groups, jobs, loops, explorations without a window;
* `old_code`: Python 2 code in old workflows;
* `requirements`: packages that cannot be enabled here say why;
* `matplotlib`, `vtk`, `packages`: VisTrails' bundled packages, for the libraries that are current today.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from host.repairs import edits, execution, language, matplotlib, old_code, packages, requirements, vtk, window
from host.repairs.edits import Edit, Repair

__all__ = ["GROUPS", "REPAIRS", "Edit", "Repair", "apply"]

GROUPS = (language, window, execution, old_code, requirements, matplotlib, vtk, packages)
REPAIRS: tuple[Repair, ...] = tuple(repair for group in GROUPS for repair in group.REPAIRS)


def apply(package: Path, repairs: Sequence[Repair] = REPAIRS) -> None:
    """Apply repairs to the unpacked Python package ``vistrails``.

    :param package: its folder
    :param repairs: the table
    :raises SetupError: if a text is not there as often as a repair says; names the repair and the file
    """
    for repair in repairs:
        for edit in repair.edits:
            edits.replace(package, repair.name, edit)
