"""A function with a large constant input: how much of a terrain is seen from each of 40 sites."""

from __future__ import annotations

from building import Default, Mapped, Vistrail, both_ways

TERRAIN = """
    import numpy as np
    from matplotlib import cbook
    from scipy import ndimage

    # Heights around the Jacksboro fault, Tennessee, which come with matplotlib: 344 x 403, on a grid that is made finer.
    dem = cbook.get_sample_data("jacksboro_fault_dem.npz")
    heights = ndimage.zoom(dem["elevation"].astype(float), fineness, order=1)
    cell = 83.0 / fineness  # metres, about
"""

SITES = """
    # On a regular grid, as shares of the terrain's height and width.
    sites = [((row + 0.5) / rows, (column + 0.5) / columns) for row in range(rows) for column in range(columns)]
"""

SEE = """
    import numpy as np

    # Along rays from a mast of 20 m: what rises above all that is nearer is seen.
    rows, columns = heights.shape
    row, column = int(site[0] * rows), int(site[1] * columns)
    eye = heights[row, column] + 20
    directions = np.linspace(0, 2 * np.pi, 1440, endpoint=False)[:, None]
    steps = np.arange(2, 1000)[None, :]
    r = np.rint(row + steps * np.sin(directions)).astype(int)
    c = np.rint(column + steps * np.cos(directions)).astype(int)
    inside = (r >= 0) & (r < rows) & (c >= 0) & (c < columns)
    slope = (heights[np.where(inside, r, 0), np.where(inside, c, 0)] - eye) / (steps * cell)
    slope[~inside] = -np.inf
    seen = inside & (slope >= np.maximum.accumulate(slope, axis=1))
    # A ray's cell stands for an area that grows with the distance.
    share = float((seen * steps).sum() / (inside * steps).sum())
"""

PICTURE = """
    import numpy as np
    from matplotlib.colors import LightSource
    from matplotlib.figure import Figure

    rows, columns = heights.shape
    figure = Figure(figsize=(9, 7), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    relief = LightSource(315, 35).hillshade(heights[::4, ::4], vert_exag=2, dx=4 * cell, dy=4 * cell)
    axes.imshow(relief, cmap="gray", extent=(0, columns, rows, 0), alpha=0.8)
    x, y = [site[1] * columns for site in sites], [site[0] * rows for site in sites]
    percents = 100 * np.array(shares)
    dots = axes.scatter(x, y, c=percents, s=30 + 25 * percents, cmap="viridis", edgecolors="white")
    figure.colorbar(dots, label="seen within the rays' reach, percent")
    axes.set_title(f"What is seen from {len(sites)} sites")
    axes.set_axis_off()
    picture = self.interpreter.filePool.create_file(suffix=".png")
    figure.savefig(picture.name)
"""


def build(vistrail: Vistrail) -> None:
    """Add the workflow, once with each Map."""
    terrain = vistrail.add_source(
        (0.7, 4),
        "Terrain",
        TERRAIN,
        {"fineness": "Integer"},
        {"heights": "Variant", "cell": "Float"},
        fineness=Default(4, "fineness"),
    )
    see = vistrail.add_source(
        (0, 3),
        "What is seen from a site",
        SEE,
        {"heights": "Variant", "cell": "Float", "site": "Variant"},
        {"share": "Float"},
    )
    vistrail.connect(terrain, "heights", see, "heights")
    vistrail.connect(terrain, "cell", see, "cell")
    sites = vistrail.add_source(
        (1.8, 4),
        "Sites",
        SITES,
        {"rows": "Integer", "columns": "Integer"},
        {"sites": "List"},
        rows=Default(5, "rows"),
        columns=Default(8, "columns"),
    )
    picture = vistrail.add_source(
        (1.2, 1),
        "Picture",
        PICTURE,
        {"heights": "Variant", "cell": "Float", "sites": "List", "shares": "List"},
        {"picture": "File"},
    )
    vistrail.connect(terrain, "heights", picture, "heights")
    vistrail.connect(terrain, "cell", picture, "cell")
    vistrail.connect(sites, "sites", picture, "sites")
    show = vistrail.add(
        "ImageOutput", (1.2, 0), "Show it, or save it", configuration={"file": {"basename": "viewshed"}}
    )
    vistrail.connect(picture, "picture", show, "value")
    both_ways(
        vistrail,
        Mapped(
            place=(0.4, 2),
            label="Map over the sites",
            function=see,
            ports=["site"],
            output="share",
            elements=(sites, "sites"),
            results=(picture, "shares"),
        ),
        """
        Computes for each of 40 sites how much of a terrain is seen from there. The heights, an array of 18 MB, arrive on another
        port of the function and are the same for all sites.

        Parallel Flow sends such a value once to each engine, however many elements there are, and not again when the workflow
        is executed again.

        The picture appears in the spreadsheet, if that package is enabled, and otherwise becomes the file viewshed.png.
        """,
    )
