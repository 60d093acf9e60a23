"""A parameter sweep over a simulation that reads a file and writes one: patterns that a chemical reaction makes."""

from __future__ import annotations

from building import Default, Mapped, Vistrail, both_ways

# Pairs of feed and kill rate at which the Gray-Scott reaction makes different patterns (Pearson, Science 261, 1993).
RATES = [
    (0.0220, 0.0510),
    (0.0260, 0.0550),
    (0.0300, 0.0570),
    (0.0340, 0.0618),
    (0.0380, 0.0610),
    (0.0420, 0.0590),
    (0.0460, 0.0630),
    (0.0460, 0.0650),
    (0.0540, 0.0620),
    (0.0580, 0.0650),
    (0.0620, 0.0609),
    (0.0660, 0.0625),
]

START = """
    import numpy as np

    # Everywhere the first substance; here and there a square with some of the second.
    random = np.random.default_rng(7)
    u, v = np.ones((size, size)), np.zeros((size, size))
    for row, column in random.integers(0, size - 8, (14, 2)):
        u[row : row + 8, column : column + 8] = 0.50
        v[row : row + 8, column : column + 8] = 0.25
    noise = 0.02 * random.standard_normal((2, size, size))

    start = self.interpreter.filePool.create_file(suffix=".npz")
    np.savez(start.name, u=u + noise[0], v=v + noise[1])
"""

SIMULATE = """
    import numpy as np
    from scipy import ndimage

    with np.load(start.name) as state:
        u, v = state["u"], state["v"]
    for _ in range(steps):
        reaction = u * v * v
        u += 0.16 * ndimage.laplace(u, mode="wrap") - reaction + feed * (1 - u)
        v += 0.08 * ndimage.laplace(v, mode="wrap") + reaction - (feed + kill) * v

    result = self.interpreter.filePool.create_file(suffix=".npz")
    np.savez(result.name, u=u, v=v)
"""

OVERVIEW = """
    import numpy as np
    from matplotlib.figure import Figure

    columns = min(4, len(results))
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.65 * rows), dpi=100, facecolor="#14161c", layout="constrained")
    for number, (result, (feed, kill)) in enumerate(zip(results, rates)):
        with np.load(result.name) as state:
            v = state["v"]
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.imshow(v, cmap="magma", vmin=0, vmax=0.4, interpolation="bicubic")
        axes.set_title(f"feed {feed:.3f}, kill {kill:.4f}", fontsize=8, color="#c9ccd4")
        axes.set_axis_off()
    overview = self.interpreter.filePool.create_file(suffix=".png")
    figure.savefig(overview.name)
"""


def build(vistrail: Vistrail) -> None:
    """Add the workflow, once with each Map."""
    simulation = add_simulation(vistrail, 3, 80, 3000)
    rates = vistrail.add("List", (1.6, 4), "Feed and kill rates", value=RATES)
    overview = vistrail.add_source(
        (1.2, 1), "Overview", OVERVIEW, {"results": "List", "rates": "List"}, {"overview": "File"}
    )
    vistrail.connect(rates, "value", overview, "rates")
    show = vistrail.add("ImageOutput", (1.2, 0), "Show it, or save it", configuration={"file": {"basename": "sweep"}})
    vistrail.connect(overview, "overview", show, "value")
    both_ways(
        vistrail,
        Mapped(
            place=(0.4, 2),
            label="Map over the rates",
            function=simulation,
            ports=["feed", "kill"],
            output="result",
            elements=(rates, "value"),
            results=(overview, "results"),
        ),
        """
        Runs a simulation for each of twelve pairs of parameters. It reads a file with the state to start from, which is the
        same for all, and writes a file with the state that it ends in.

        The files lie in VisTrails' temporary folder and live until VisTrails closes, those from engines too. The overview
        appears in the spreadsheet, if that package is enabled, and otherwise becomes the file sweep.png.
        """,
    )


def add_simulation(vistrail: Vistrail, row: int, size: int, steps: int, **rates: float) -> int:
    """Add the simulation, with the state that it starts from above it, and return its id.

    :param row: where it lies
    :param size: of the state, in cells each way
    :param steps: how many are simulated
    :param rates: where they are not connected
    """
    start = vistrail.add_source(
        (0, row + 1), "Starting state", START, {"size": "Integer"}, {"start": "File"}, size=Default(size, "size")
    )
    simulation = vistrail.add_source(
        (0, row),
        "Gray-Scott simulation",
        SIMULATE,
        {"start": "File", "steps": "Integer", "feed": "Float", "kill": "Float"},
        {"result": "File"},
        steps=Default(steps, "steps"),
        **rates,
    )
    vistrail.connect(start, "start", simulation, "start")
    return simulation
