"""Makes the saved vistrails of this folder, with VisTrails' own API: ``python examples/make_examples.py [folder]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from batch import PACKAGES, vistrails_in
from building import Vistrail
from definitions import failing, hillshade, isosurface, loops, plots, rates, sweep, table, tolerances, viewshed

HERE = Path(__file__).resolve().parent
EXAMPLES = {
    "hillshade": hillshade.build,
    "sweep": sweep.build,
    "table": table.build,
    "viewshed": viewshed.build,
    "tolerances": tolerances.build,
    "failing": failing.build,
    "isosurface": isosurface.build,
    "plots": plots.build,
    "rates": rates.build,
    "loops": loops.build,
}


def make_all(folder: Path) -> None:
    """Make every example's file in a folder. VisTrails must be started."""
    for name, build in EXAMPLES.items():
        vistrail = Vistrail()
        build(vistrail)
        vistrail.save(folder / f"{name}.vt")


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else HERE
    with tempfile.TemporaryDirectory() as scratch, vistrails_in(Path(scratch), (*PACKAGES, "vtk", "matplotlib")):
        make_all(target)
