"""VTK on engines: a Group draws an isosurface of a volume, off-screen, Map does it for 48 values, a sheet shows all."""

from __future__ import annotations

from building import VTK, Default, Mapped, Vistrail, both_ways

LEVELS = """
    import numpy as np

    # VTK calls each contour of a filter by a number, of which there is one here.
    levels = [(0, float(level)) for level in np.linspace(110, 250, count)]
"""

SHEET = """
    import numpy as np
    from matplotlib import image

    pictures = [image.imread(picture.name)[..., :3] for picture in pictures]
    columns = min(8, len(pictures))
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // columns)
    whole = np.ones((rows * height, columns * width, 3))
    for number, picture in enumerate(pictures):
        top, left = height * (number // columns), width * (number % columns)
        whole[top : top + height, left : left + width] = picture
    sheet = self.interpreter.filePool.create_file(suffix=".png")
    image.imsave(sheet.name, whole)
"""


def build(vistrail: Vistrail) -> None:
    """Add the workflow, once with each Map."""
    # The Group, from inside.
    level = vistrail.add("InputPort", (0, 7), name="level")
    volume = vistrail.add("vtkRTAnalyticSource", (1, 7), "A volume", VTK)
    contour = vistrail.add("vtkContourFilter", (0.5, 6), "Isosurface", VTK)
    mapper = vistrail.add("vtkPolyDataMapper", (0.5, 5), "Colours", VTK, ScalarRange=(37.0, 277.0))
    actor = vistrail.add("vtkActor", (0.5, 4), "", VTK)
    camera = vistrail.add("vtkCamera", (1.5, 4), "", VTK, Position=(40.0, 28.0, 34.0), FocalPoint=(0.0, 0.0, 0.0))
    renderer = vistrail.add("vtkRenderer", (0.5, 3), "", VTK, Background="0.08,0.09,0.11")
    draw = vistrail.add("VTKRenderOffscreen", (0.5, 2), "Draw without a window", VTK, width=160, height=160)
    picture = vistrail.add("OutputPort", (0.5, 1), name="picture")
    for source, output, target, port in (
        (level, "InternalPipe", contour, "Value"),
        (volume, "GetOutputPort0", contour, "SetInputConnection0"),
        (contour, "GetOutputPort0", mapper, "SetInputConnection0"),
        (mapper, "Instance", actor, "Mapper"),
        (actor, "Instance", renderer, "AddActor"),
        (camera, "Instance", renderer, "ActiveCamera"),
        (renderer, "Instance", draw, "renderer"),
        (draw, "image", picture, "InternalPipe"),
    ):
        vistrail.connect(source, output, target, port)
    group = vistrail.group(
        [level, volume, contour, mapper, actor, camera, renderer, draw, picture], "Draw an isosurface"
    )
    vistrail.move(group, (0, 3))

    levels = vistrail.add_source(
        (1.4, 3), "Levels", LEVELS, {"count": "Integer"}, {"levels": "List"}, count=Default(48, "count")
    )
    sheet = vistrail.add_source((0.7, 1), "Contact sheet", SHEET, {"pictures": "List"}, {"sheet": "File"})
    show = vistrail.add(
        "ImageOutput", (0.7, 0), "Show it, or save it", configuration={"file": {"basename": "isosurface"}}
    )
    vistrail.connect(sheet, "sheet", show, "value")
    both_ways(
        vistrail,
        Mapped(
            place=(0.7, 2),
            label="Map over the levels",
            function=group,
            ports=["level"],
            output="picture",
            elements=(levels, "levels"),
            results=(sheet, "pictures"),
        ),
        """
        Draws the isosurface of a volume for each of 48 values, with VTK. The pipeline of VTK lies in the Group "Draw an
        isosurface", which draws without a window, so that engines can do it.

        Needs VisTrails' package vtk. An element is a pair, because VTK's port Value takes the number of a contour and its value.
        """,
    )
