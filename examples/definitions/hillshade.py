"""The demo: a terrain under 48 suns. A Group shades it once, Map runs it for each position of the sun, a sheet shows all."""

from __future__ import annotations

from building import Default, Mapped, Vistrail, both_ways

TERRAIN = """
    import numpy as np
    from matplotlib import cbook
    from scipy import ndimage

    # Heights around the Jacksboro fault, Tennessee, which come with matplotlib: 344 x 403, one every three seconds of arc.
    dem = cbook.get_sample_data("jacksboro_fault_dem.npz")
    latitude = np.radians((float(dem["ymin"]) + float(dem["ymax"])) / 2)
    degree = 111320.0  # metres
    steps = degree * float(dem["dy"]), degree * float(dem["dx"]) * np.cos(latitude)

    # To square cells, finer than the data, so that ridges and shadows get smooth edges.
    heights = ndimage.zoom(dem["elevation"].astype(float), [step / cell for step in steps], order=3)
    heights *= exaggeration
"""

SUN = """
    import datetime
    import numpy as np

    latitude = np.radians(36.59)
    positions, rows = [], []
    for row in range(days):
        # From the winter solstice to the summer solstice.
        date = datetime.date(2025, 12, 21) + datetime.timedelta(days=round(182 * row / max(1, days - 1)))
        rows.append(f"{date.day} {date:%B}")
        declination = np.radians(-23.44) * np.cos(2 * np.pi * (date.timetuple().tm_yday + 10) / 365.25)
        sunset = np.arccos(-np.tan(latitude) * np.tan(declination))  # as an angle of the Earth's rotation
        for step in range(hours):
            # From a little after sunrise to a little before sunset.
            part = 0.04 + 0.92 * step / (hours - 1) if hours > 1 else 0.5
            hour = sunset * (2 * part - 1)
            altitude = np.arcsin(
                np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour)
            )
            azimuth = np.pi + np.arctan2(
                np.sin(hour), np.cos(hour) * np.sin(latitude) - np.tan(declination) * np.cos(latitude)
            )
            positions.append((float(np.degrees(azimuth)), float(np.degrees(altitude))))
"""

SHADOWS = """
    import numpy as np
    from scipy import ndimage

    # Turned so that the light comes along the rows, from the left.
    turned = ndimage.rotate(heights, azimuth - 270, order=1, mode="nearest")
    # A point is in shadow as deep as it lies below the lowest ray that passes over all points towards the sun.
    rays = turned + np.arange(turned.shape[1]) * cell * np.tan(np.radians(altitude))
    depth = np.maximum.accumulate(rays, axis=1) - rays
    lit = ndimage.rotate(np.clip(1 - depth / 12, 0, 1), 270 - azimuth, order=1, mode="nearest")
    # The corners that the turns have added go.
    top, left = ((turned - kept) // 2 for turned, kept in zip(lit.shape, heights.shape))
    lit = lit[top : top + heights.shape[0], left : left + heights.shape[1]]
"""

LIGHT = """
    import numpy as np

    # Sunlight on each slope (Lambert's law), warmer and weaker the lower the sun; and the sky's, which comes from above.
    south, east = np.gradient(heights, cell)
    length = np.sqrt(south**2 + east**2 + 1)
    a, h = np.radians(azimuth), np.radians(altitude)
    facing = ((np.cos(a) * south - np.sin(a) * east) * np.cos(h) + np.sin(h)) / length
    low = np.exp(-altitude / 14)
    sun = np.array([1, 1 - 0.50 * low, 1 - 0.85 * low]) * 1.7 * (1 - 0.2 * low)
    sky = np.array([0.20, 0.27, 0.42]) * (1 - 0.45 * low)
    light = (np.clip(facing, 0, 1) * lit)[..., None] * sun + ((1 + 1 / length) / 2)[..., None] * sky

    # The ground: green valleys, brown slopes, pale heights.
    level = (heights - heights.min()) / np.ptp(heights)
    stops = [0, 0.25, 0.55, 1]
    red, green, blue = [0.20, 0.32, 0.60, 0.95], [0.31, 0.36, 0.45, 0.90], [0.20, 0.18, 0.26, 0.84]
    ground = np.stack([np.interp(level, stops, colour) for colour in (red, green, blue)], axis=-1)

    # As a film takes it; then four cells to a pixel.
    shaded = (1 - np.exp(-1.15 * ground * light)) ** (1 / 2.2)
    down, right = shaded.shape[0] // 2, shaded.shape[1] // 2
    shaded = shaded[: 2 * down, : 2 * right].reshape(down, 2, right, 2, 3).mean(axis=(1, 3))
    picture = np.rint(255 * shaded).astype(np.uint8)
"""

SAVE = """
    from matplotlib import image

    file = self.interpreter.filePool.create_file(suffix=".png")
    image.imsave(file.name, picture, pil_kwargs={"compress_level": 1})
"""

SHEET = """
    import numpy as np
    from matplotlib.figure import Figure

    # Halved again, by means, and in rows.
    def thumbnail(picture):
        down, right = picture.shape[0] // 2, picture.shape[1] // 2
        return picture[: 2 * down, : 2 * right].reshape(down, 2, right, 2, 3).mean(axis=(1, 3)).astype(np.uint8)

    columns = len(pictures) // len(rows)
    thumbnails = [thumbnail(picture) for picture in pictures]
    height, width, _ = thumbnails[0].shape
    gap, caption, left, top, margin = 6, 24, 150, 120, 30
    wide = left + columns * (width + gap) + margin
    high = top + len(rows) * (height + caption) + margin

    figure = Figure(figsize=(wide / 100, high / 100), dpi=100, facecolor="#14161c")

    def write(x, y, text, points, colour, **more):
        figure.text(x / wide, 1 - y / high, text, fontsize=points, color=colour, va="center", **more)

    write(left, 40, "Half a year of light on the Jacksboro fault", 22, "#f3efe6")
    what = f"{len(pictures)} positions of the sun over Tennessee, from sunrise to sunset: azimuth and altitude"
    write(left, 80, what, 13, "#a9adb8")
    for number, (picture, (azimuth, altitude)) in enumerate(zip(thumbnails, positions)):
        row, column = divmod(number, columns)
        x, y = left + column * (width + gap), top + row * (height + caption)
        figure.figimage(picture, xo=x, yo=high - y - height)
        angles = f"{azimuth:.0f}\\N{DEGREE SIGN}, {altitude:.0f}\\N{DEGREE SIGN}"
        write(x + width / 2, y + height + caption / 2, angles, 8, "#7d8290", ha="center")
        if column == 0:
            write(left - 16, y + height / 2, rows[row], 12, "#d9dbe0", ha="right")
    sheet = self.interpreter.filePool.create_file(suffix=".png")
    figure.savefig(sheet.name)
"""


def build(vistrail: Vistrail) -> None:
    """Add the workflow, once with each Map."""
    terrain = vistrail.add_source(
        (0.2, 4),
        "Terrain",
        TERRAIN,
        {"cell": "Float", "exaggeration": "Float"},
        {"heights": "Variant"},
        exaggeration=Default(2.5, "exaggeration"),
    )
    cell = vistrail.add("Float", (-0.5, 5), "Cell size in metres", value=Default(45.0, "cell"))
    vistrail.connect(cell, "value", terrain, "cell")

    # The Group, from inside.
    ports = {
        name: vistrail.add("InputPort", (x, 3), name=name)
        for x, name in enumerate(("heights", "cell", "azimuth", "altitude"))
    }
    kinds = {"heights": "Variant", "cell": "Float", "azimuth": "Float", "altitude": "Float"}
    shadows = vistrail.add_source((0.5, 2), "Cast shadows", SHADOWS, kinds, {"lit": "Variant"})
    light = vistrail.add_source(
        (1.5, 1), "Light and colour", LIGHT, {**kinds, "lit": "Variant"}, {"picture": "Variant"}
    )
    for name, port in ports.items():
        vistrail.connect(port, "InternalPipe", shadows, name)
        vistrail.connect(port, "InternalPipe", light, name)
    vistrail.connect(shadows, "lit", light, "lit")
    save = vistrail.add_source((2, 0), "Save a picture", SAVE, {"picture": "Variant"}, {"file": "File"})
    vistrail.connect(light, "picture", save, "picture")
    picture = vistrail.add("OutputPort", (1, -1), name="picture")
    file = vistrail.add("OutputPort", (2, -1), name="file")
    vistrail.connect(light, "picture", picture, "InternalPipe")
    vistrail.connect(save, "file", file, "InternalPipe")
    group = vistrail.group([*ports.values(), shadows, light, save, picture, file], "Shade the terrain")
    vistrail.move(group, (0, 3))
    vistrail.connect(terrain, "heights", group, "heights")
    vistrail.connect(cell, "value", group, "cell")

    suns = vistrail.add_source(
        (1.6, 4),
        "Positions of the sun",
        SUN,
        {"days": "Integer", "hours": "Integer"},
        {"positions": "List", "rows": "List"},
        days=Default(6, "days"),
        hours=Default(8, "hours"),
    )
    sheet = vistrail.add_source(
        (1.2, 1),
        "Contact sheet",
        SHEET,
        {"pictures": "List", "positions": "List", "rows": "List"},
        {"sheet": "File"},
    )
    vistrail.connect(suns, "positions", sheet, "positions")
    vistrail.connect(suns, "rows", sheet, "rows")
    show = vistrail.add(
        "ImageOutput", (1.2, 0), "Show it, or save it", configuration={"file": {"basename": "hillshade"}}
    )
    vistrail.connect(sheet, "sheet", show, "value")

    both_ways(
        vistrail,
        Mapped(
            place=(0.4, 2),
            label="Map over the positions",
            function=group,
            ports=["azimuth", "altitude"],
            output="picture",
            elements=(suns, "positions"),
            results=(sheet, "pictures"),
        ),
        """
        Shades a terrain for each of 48 positions of the sun, a pair of azimuth and altitude in degrees, with the shadows that
        mountains cast.

        The Group "Shade the terrain" does it for one position; Workflow > Show Pipeline shows the inside of a selected Group.
        Map runs it once per position. The heights and the cell size arrive on its other ports and are the same for all.

        The sheet appears in the spreadsheet, if that package is enabled, and otherwise becomes the file hillshade.png. Set
        Map's OutputPort to "file" to get each picture as a PNG file instead of an array.
        """,
    )
