"""A parameter exploration over the simulation of `sweep`: feed rates in columns, kill rates in rows, a picture in each cell."""

from __future__ import annotations

from building import Vistrail
from definitions.sweep import add_simulation

FEED = [0.022, 0.030, 0.038, 0.046]
KILL = [0.055, 0.059, 0.063]

PICTURE = """
    import numpy as np
    from matplotlib.figure import Figure

    with np.load(result.name) as state:
        v = state["v"]
    figure = Figure(figsize=(2.4, 2.4), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(v, cmap="magma", vmin=0, vmax=0.4, interpolation="bicubic")
    axes.set_axis_off()
    picture = self.interpreter.filePool.create_file(suffix=".png")
    figure.savefig(picture.name)
"""


def build(vistrail: Vistrail) -> None:
    """Add the workflow and its exploration."""
    simulation = add_simulation(vistrail, 2, 64, 2500, feed=FEED[0], kill=KILL[0])
    picture = vistrail.add_source((0, 1), "Picture", PICTURE, {"result": "File"}, {"picture": "File"})
    vistrail.connect(simulation, "result", picture, "result")
    show = vistrail.add(
        "ImageOutput", (0, 0), "Show it, or save it", configuration={"file": {"basename": "rates", "series": True}}
    )
    vistrail.connect(picture, "picture", show, "value")
    vistrail.tag(
        "Rates",
        """
        A simulation and a picture of its result. The parameter exploration of this version runs it for four feed rates and three
        kill rates.

        Open it in the Explore view, and choose Packages > Parallel Flow > Run parameter exploration on the cluster. The pictures
        appear in the spreadsheet, if that package is enabled, and otherwise become files.
        """,
    )
    vistrail.explore(
        "feed and kill rates",
        {(simulation, "feed"): FEED, (simulation, "kill"): KILL},
        layout={("ImageOutput", -1): (0, 0)},
    )
