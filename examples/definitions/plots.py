"""matplotlib's modules on engines: a Group draws a curve, Map does it for 24 pairs of frequencies, a sheet shows all."""

from __future__ import annotations

from building import MATPLOTLIB, Default, Mapped, Vistrail, both_ways

PAIRS = """
    pairs = [(a, b) for a in range(1, rows + 1) for b in range(1, columns + 1)]
"""

CURVE = """
    import numpy as np

    time = np.linspace(0, 2 * np.pi, 600)
    x, y = list(np.sin(a * time + 0.4)), list(np.sin(b * time))
"""

SAVE = """
    import numpy as np

    figure.set_size_inches(1.6, 1.6)
    figure.gca().set_title(f"{a} : {b}", fontsize=9)
    figure.gca().set_axis_off()
    figure.canvas.draw()
    picture = np.array(figure.canvas.buffer_rgba())[..., :3]
    # pyplot keeps a figure until it is closed.
    from matplotlib import pyplot

    pyplot.close(figure)
"""

SHEET = """
    import numpy as np
    from matplotlib import image

    whole = np.vstack([np.hstack(pictures[row : row + columns]) for row in range(0, len(pictures), columns)])
    sheet = self.interpreter.filePool.create_file(suffix=".png")
    image.imsave(sheet.name, whole)
"""


def build(vistrail: Vistrail) -> None:
    """Add the workflow, once with each Map."""
    # The Group, from inside.
    a, b = (vistrail.add("InputPort", (x, 6), name=name) for x, name in ((0, "a"), (1, "b")))
    curve = vistrail.add_source((0.5, 5), "Curve", CURVE, {"a": "Integer", "b": "Integer"}, {"x": "List", "y": "List"})
    line = vistrail.add("MplLinePlot", (0.5, 4), "", MATPLOTLIB)
    figure = vistrail.add("MplFigure", (0.5, 3), "", MATPLOTLIB)
    save = vistrail.add_source(
        (0.5, 2),
        "As an array",
        SAVE,
        {"a": "Integer", "b": "Integer", "figure": "Variant"},
        {"picture": "Variant"},
    )
    picture = vistrail.add("OutputPort", (0.5, 1), name="picture")
    for source, output, target, port in (
        (a, "InternalPipe", curve, "a"),
        (b, "InternalPipe", curve, "b"),
        (a, "InternalPipe", save, "a"),
        (b, "InternalPipe", save, "b"),
        (curve, "x", line, "x"),
        (curve, "y", line, "y"),
        (line, "value", figure, "addPlot"),
        (figure, "figure", save, "figure"),
        (save, "picture", picture, "InternalPipe"),
    ):
        vistrail.connect(source, output, target, port)
    group = vistrail.group([a, b, curve, line, figure, save, picture], "Plot a curve")
    vistrail.move(group, (0, 3))

    columns = vistrail.add("Integer", (2, 4), "Columns", value=Default(6, "columns"))
    pairs = vistrail.add_source(
        (1.4, 3),
        "Pairs of frequencies",
        PAIRS,
        {"rows": "Integer", "columns": "Integer"},
        {"pairs": "List"},
        rows=Default(4, "rows"),
    )
    vistrail.connect(columns, "value", pairs, "columns")
    sheet = vistrail.add_source(
        (0.7, 1), "Contact sheet", SHEET, {"pictures": "List", "columns": "Integer"}, {"sheet": "File"}
    )
    vistrail.connect(columns, "value", sheet, "columns")
    show = vistrail.add("ImageOutput", (0.7, 0), "Show it, or save it", configuration={"file": {"basename": "plots"}})
    vistrail.connect(sheet, "sheet", show, "value")
    both_ways(
        vistrail,
        Mapped(
            place=(0.7, 2),
            label="Map over the pairs",
            function=group,
            ports=["a", "b"],
            output="picture",
            elements=(pairs, "pairs"),
            results=(sheet, "pictures"),
        ),
        """
        Plots a Lissajous curve for each of 24 pairs of frequencies, with the modules of VisTrails' package matplotlib. They lie in
        the Group "Plot a curve", which gives a picture as an array: engines have no window.

        Needs VisTrails' package matplotlib.
        """,
    )
