"""Stand-ins for the data files of VTK's own examples, and what else the examples of VisTrails draw with VTK, made by formulae."""

from __future__ import annotations

import io
import struct
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def zipped(files: dict[str, bytes]) -> bytes:
    """An archive of files by path."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return archive.getvalue()


def written(writer: Any, data: Any, suffix: str = ".vtk") -> bytes:
    """What a writer of VTK makes of data."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"data{suffix}"
        writer.SetInputData(data)
        writer.SetFileName(str(file))
        writer.Write()
        return file.read_bytes()


def named(values: Any, name: str) -> Any:
    """VTK's array of values, by a name."""
    from vtk.util.numpy_support import numpy_to_vtk

    array = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
    array.SetName(name)
    return array


def _ball() -> bytes:
    """A ball, denser towards its middle."""
    import vtk

    n = 24
    image = vtk.vtkImageData()
    image.SetDimensions(n, n, n)
    z, y, x = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j, -1 : 1 : n * 1j]
    values = 255 * np.clip(1.2 - np.sqrt(x * x + y * y + z * z), 0, 1)
    image.GetPointData().SetScalars(named(values.astype("uint8").ravel(), "scalars"))
    return written(vtk.vtkStructuredPointsWriter(), image)


def tetrahedra() -> bytes:
    """A ball of tetrahedra."""
    import vtk

    source = vtk.vtkPointSource()
    source.SetNumberOfPoints(300)
    mesh = vtk.vtkDelaunay3D()
    mesh.SetInputConnection(source.GetOutputPort())
    mesh.Update()
    grid = mesh.GetOutput()
    _add_scalars(grid)
    return written(vtk.vtkUnstructuredGridWriter(), grid)


def _add_scalars(data: Any) -> Any:
    places = np.array([data.GetPoint(number) for number in range(data.GetNumberOfPoints())])
    values = np.linalg.norm(places, axis=1)
    data.GetPointData().SetScalars(named(2 * values / values.max(), "scalars"))
    return places


def _blow() -> bytes:
    """Two plates of a mould and a tube between them, and what a process of moulding has stored for its steps."""
    import vtk

    v, u = np.mgrid[0:1:5j, 0:1:7j]
    turn = 2 * np.pi * np.mgrid[0:1:13j, 0:1:25j][1]
    along = 24 * np.mgrid[0:1:13j, 0:1:25j][0]
    plates = [np.stack([7 * v, 48 * u - 12, z + 0 * u], axis=-1) for z in (-11.0, 13.0)]
    tube = np.stack([3.5 + 3 * np.cos(turn), along, 1 + 3 * np.sin(turn)], axis=-1)
    grid, points = vtk.vtkUnstructuredGrid(), vtk.vtkPoints()
    for sheet in (*plates, tube):
        first, (rows, columns, _) = points.GetNumberOfPoints(), sheet.shape
        for place in sheet.reshape(-1, 3):
            points.InsertNextPoint(place)
        for row, column in np.ndindex(rows - 1, columns - 1):
            corner = first + row * columns + column
            corners = [corner, corner + 1, corner + columns + 1, corner + columns]
            grid.InsertNextCell(vtk.VTK_QUAD, 4, corners)
    grid.SetPoints(points)
    places = np.array([points.GetPoint(number) for number in range(points.GetNumberOfPoints())])
    wave = np.sin(places[:, 1] / 4)
    outwards = (places - [3.5, 0, 1]) * [1, 0, 1] * (np.abs(places[:, 2] - 1) < 5)[:, None]
    text = written(vtk.vtkUnstructuredGridWriter(), grid).decode() + f"\nPOINT_DATA {len(places)}\n"
    for step in range(10):
        thickness = 1 - 0.05 * step * (1 + 0.9 * wave)
        text += f"SCALARS thickness{step} float\nLOOKUP_TABLE default\n" + "".join(
            f"{value:.3f}\n" for value in thickness
        )
        bulge = 0.05 * step * (1 + wave[:, None]) * outwards
        text += f"VECTORS displacement{step} float\n" + "".join("{:.3f} {:.3f} {:.3f}\n".format(*by) for by in bulge)
    return text.encode()


def _surface(lines: bool = False) -> Any:
    """A sphere, or lines like handwriting."""
    import vtk

    if not lines:
        sphere = vtk.vtkSphereSource()
        sphere.SetThetaResolution(24)
        sphere.SetPhiResolution(24)
        sphere.Update()
        _add_scalars(sphere.GetOutput())
        return sphere.GetOutput()
    points, cells, data = vtk.vtkPoints(), vtk.vtkCellArray(), vtk.vtkPolyData()
    cells.InsertNextCell(60)
    for number in range(60):
        cells.InsertCellPoint(points.InsertNextPoint(number * 0.15, 1 + np.sin(number * 0.4), 0))
    data.SetPoints(points)
    data.SetLines(cells)
    return data


def poly(lines: bool = False) -> bytes:
    """A sphere, or lines like handwriting."""
    import vtk

    return written(vtk.vtkPolyDataWriter(), _surface(lines))


def _stl() -> bytes:
    import vtk

    return written(vtk.vtkSTLWriter(), _surface(), ".stl")


def _byu(centre: Sequence[float], radii: Sequence[float]) -> bytes:
    """An ellipsoid."""
    import vtk

    with tempfile.TemporaryDirectory() as folder:
        writer = vtk.vtkBYUWriter()
        writer.SetInputData(_moved(_surface(), centre, radii))
        writer.SetGeometryFileName(f"{folder}/data.g")
        writer.WriteScalarOff()
        writer.WriteDisplacementOff()
        writer.WriteTextureOff()
        writer.Write()
        return Path(folder, "data.g").read_bytes()


def _moved(sphere: Any, centre: Sequence[float], radii: Sequence[float]) -> Any:
    import vtk

    transform, moved = vtk.vtkTransform(), vtk.vtkTransformPolyDataFilter()
    transform.Translate(centre)
    transform.Scale([2 * radius for radius in radii])
    moved.SetTransform(transform)
    moved.SetInputData(sphere)
    moved.Update()
    return moved.GetOutput()


def _faults() -> bytes:
    """Cracks of the ground, where a map has them: in metres."""
    import vtk

    points, cells, data = vtk.vtkPoints(), vtk.vtkCellArray(), vtk.vtkPolyData()
    for crack in range(14):
        cells.InsertNextCell(40)
        for step in range(40):
            x, wave = 457300 + 9200 * step / 39, np.sin(step / (3 + crack % 4) + crack)
            y, z = 6574000 + 900 * crack + 250 * wave + 30 * step, 2500 + 250 * wave * np.cos(crack) + 15 * crack
            cells.InsertCellPoint(points.InsertNextPoint(x, y, z))
    data.SetPoints(points)
    data.SetLines(cells)
    return written(vtk.vtkPolyDataWriter(), data)


def _face() -> bytes:
    """A mask with a nose, in metres, that looks along x and against z; its triangles' front is within."""
    import vtk

    n = 41
    v, u = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    nose = 0.4 * np.exp(-((u / 0.2) ** 2) - ((v + 0.1) / 0.25) ** 2)
    eyes = -0.15 * np.exp(-(((abs(u) - 0.45) / 0.2) ** 2) - ((v - 0.35) / 0.15) ** 2)
    out = np.sqrt(2.2 - u**2 - v**2) + nose + eyes + 0.02 * np.sin(15 * u) * np.sin(12 * v)
    axes = (u, (0.6, 0.0, 0.8)), (out - 1, (0.8, 0.0, -0.6))
    places = 0.045 * sum(np.multiply.outer(part, axis) for part, axis in axes) + [0.05, -0.128, -0.057]
    places[..., 1] += 0.07 * v
    points, cells, data = vtk.vtkPoints(), vtk.vtkCellArray(), vtk.vtkPolyData()
    for place in places.reshape(-1, 3):
        points.InsertNextPoint(place)
    for row, column in np.ndindex(n - 1, n - 1):
        a = row * n + column
        for corners in ((a, a + 1, a + n + 1), (a, a + n + 1, a + n)):
            cells.InsertNextCell(3, corners)
    data.SetPoints(points)
    data.SetPolys(cells)
    return written(vtk.vtkPolyDataWriter(), data)


def vessel() -> bytes:
    """Blood that flows through two arms of a vessel: how dense, and how fast."""
    import vtk

    image = vtk.vtkImageData()
    image.SetDimensions(38, 25, 23)
    image.SetSpacing(2, 2, 2)
    image.SetOrigin(100, 80, 1)
    z, y, x = np.mgrid[0:1:23j, 0:1:25j, 0:1:38j]
    sideways = np.abs(2 * x - 1)
    height = 0.2 + 0.6 * sideways**2
    near = np.exp(-(((y - height) / 0.12) ** 2) - ((z - 0.5 - 0.2 * np.sin(6 * x)) / 0.15) ** 2)
    speed = 16 * near * (1 - 0.5 * sideways)
    flow = np.stack([speed, speed * 1.2 * (2 * x - 1), 0.4 * speed * np.cos(6 * x)], axis=-1)
    image.GetPointData().SetScalars(named((580 * near).ravel(), "scalars"))
    image.GetPointData().SetVectors(named(flow.reshape(-1, 3), "vectors"))
    return written(vtk.vtkStructuredPointsWriter(), image)


def slices() -> dict[str, bytes]:
    """A head by layers, as files of a scanner: skin, bone, and what is within."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    layers = {}
    for number in range(93):
        out = np.sqrt((x / 0.8) ** 2 + (y / 0.9) ** 2 + ((number - 50) / 55) ** 2)
        values = np.interp(out, [0.0, 0.75, 0.8, 0.85, 0.9, 0.97, 1.03], [1040, 1040, 2000, 2000, 1040, 1000, 0])
        layers[f"Data/headsq/quarter.{number + 1}"] = values.astype("<u2").tobytes()
    return layers


def _terrain() -> bytes:
    """A mountain, as a digital elevation model of the U.S. Geological Survey: a header, then a profile for each column."""

    def row(*values: float) -> str:
        return "".join(
            f"{value:6d}" if isinstance(value, int) else f"{value:24.15E}".replace("E", "D") for value in values
        )

    columns, rows, step = 110, 156, 90  # VTK divides by a hundredth of the columns
    left, low, high = 557945.0, 5107991.0, 680
    right, top = left + step * (columns - 1), low + step * (rows - 1)
    x, y = np.mgrid[-1 : 1 : columns * 1j, -1.4 : 1.4 : rows * 1j]
    heights = (high + 1800 * np.exp(-2.5 * np.hypot(x, y)) + 60 * np.sin(9 * x) * np.sin(7 * y) + 60).astype(int)
    lowest, highest = float(heights.min()), float(heights.max())
    corners = (left, low, left, top, right, top, right, low)
    text = "A MOUNTAIN MADE FOR A TEST".ljust(144) + row(
        1, 1, 1, 10, *[0.0] * 15, 2, 2, 4, *corners, lowest, highest, 0.0
    )
    text = (text + row(1) + 2 * f"{step:12.6E}" + f"{1:12.6E}" + row(1, columns)).ljust(1024)
    for number, profile in enumerate(heights.tolist()):
        text += row(1, number + 1, rows, 1, left + step * number, low, 0.0, float(min(profile)), float(max(profile)))
        text += row(*profile)
    return text.encode()


def _red_bird() -> bytes:
    """A red ball, as 3D Studio has it: chunks of a number and a length, some of which hold others."""

    def chunk(number: int, *within: bytes) -> bytes:
        return struct.pack("<HI", number, 6 + len(b"".join(within))) + b"".join(within)

    ball = _surface()
    places = np.array([ball.GetPoint(number) for number in range(ball.GetNumberOfPoints())])
    corners = [
        [ball.GetCell(cell).GetPointId(corner) for corner in range(3)] for cell in range(ball.GetNumberOfCells())
    ]
    count = struct.pack("<H", len(corners))
    faces = np.insert(corners, 3, 7, axis=1).astype("<u2").tobytes()
    painted = chunk(0x4130, b"red\0", count, np.arange(len(corners)).astype("<u2").tobytes())
    mesh = chunk(
        0x4100,
        chunk(0x4110, struct.pack("<H", len(places)), places.astype("<f4").tobytes()),
        chunk(0x4120, count, faces, painted),
    )
    colour = chunk(0x0011, bytes([220, 30, 30]))
    red = chunk(0xAFFF, chunk(0xA000, b"red\0"), *(chunk(light, colour) for light in (0xA010, 0xA020, 0xA030)))
    return chunk(0x4D4D, chunk(0x3D3D, red, chunk(0x4000, b"bird\0", mesh)))


def _office() -> bytes:
    """A room in which the air goes round."""
    import vtk

    grid, points = vtk.vtkStructuredGrid(), vtk.vtkPoints()
    z, y, x = (part.ravel() for part in np.mgrid[0.01:2.5:20j, 0.01:4.5:20j, 0.01:4.5:21j])
    points.SetData(named(np.stack([x, y, z], axis=1), "points"))
    grid.SetDimensions(21, 20, 20)
    grid.SetPoints(points)
    across, up = np.pi * x / 4.51, np.pi * z / 2.51
    flow = np.stack(
        [
            0.5 * np.sin(across) * np.cos(up),
            0.02 * np.sin(np.pi * y / 4.51),
            -0.28 * np.cos(across) * np.sin(up),
        ],
        axis=1,
    )
    grid.GetPointData().SetScalars(named(0.7 - 1.8 * z, "scalars"))
    grid.GetPointData().SetVectors(named(flow, "vectors"))
    return written(vtk.vtkStructuredGridWriter(), grid)


def _plot3d(shape: tuple[int, int, int], make: Callable[..., Any]) -> tuple[bytes, bytes]:
    """Files of a grid's points, x fastest, and of what flows there: density, momentum, energy.

    :param make: takes how far a point is along each of the grid's axes, from 0 to 1; returns the points' x, y and z, the density
        and the momentum
    """
    x, y, z, density, *momentum = (
        part.ravel() for part in make(*np.mgrid[tuple(slice(0, 1, n * 1j) for n in shape[::-1])][::-1])
    )
    head = np.array(shape, ">i4").tobytes()
    flow = np.stack([density, *momentum, 2.5 + sum(part * part for part in momentum) / density])
    conditions = np.array([0.5, 0, 100, 0], ">f4").tobytes()
    return head + np.stack([x, y, z]).astype(">f4").tobytes(), head + conditions + flow.astype(">f4").tobytes()


def _combustor(i: Any, j: Any, k: Any) -> tuple[Any, ...]:
    """A piece of a ring around the x axis, wider downstream; thin, fast gas in its middle."""
    x, turn, outwards = 16.51 * i + 2.667 * (1 - i) * (1 - k), 0.157 * (2 * j - 1), 7.8 - 2 * k
    r = 24.1 + 7.8 * i + k * (6.2 - 2 * i)
    middle = np.exp(-(((i - 0.45) / 0.3) ** 2) - ((k - 0.45) / 0.3) ** 2) * (1 + np.cos(6 * np.pi * j)) / 2
    density = 0.31 + 0.33 * np.exp(-10 * i) + 0.15 * (2 * k - 1) ** 8 + 0.03 * np.sin(12 * i) - 0.11 * middle
    speed = 330 * (1 - 0.7 * (2 * k - 1) ** 8) * (0.5 + 0.5 * np.sin(np.pi * j))
    swirl = 40 * np.sin(8 * i) * np.sin(2 * np.pi * j)
    along, around = speed * 0.88, speed * 0.06 * outwards
    momentum = along, around * np.sin(turn) + swirl * np.cos(turn), around * np.cos(turn) - swirl * np.sin(turn)
    return x, r * np.sin(turn), r * np.cos(turn), density, *momentum


def _blunt_fin(i: Any, j: Any, k: Any) -> tuple[Any, ...]:
    """Half of what is around a fin, from its nose downstream; the air is dense in front of it."""
    turn = np.pi / 2 * i
    near = 14.36 * i * i, 0.5 * np.sin(np.minimum(3 * turn, np.pi / 2))
    far = 14.36 - 22.18 * np.cos(turn), 8.33 * np.sin(turn)
    x, y = (a + (b - a) * j**1.5 for a, b in zip(near, far, strict=True))
    density = 0.8 + 3 * np.exp(-3 * i - ((j - 0.3) / 0.2) ** 2) * (1.2 - k)
    speed = density * (0.3 + j)
    return x, y, 5.72 * k, density, speed * (2 * i - 0.3), speed * np.sin(np.pi * i), -0.2 * speed * (1 - k)


def _texture() -> bytes:
    """Transparent in its first half."""
    import vtk

    image = vtk.vtkImageData()
    image.SetDimensions(128, 1, 1)
    image.GetPointData().SetScalars(named(np.repeat([[255, 0], [255, 255]], 64, axis=0).astype("uint8"), "texture"))
    return written(vtk.vtkStructuredPointsWriter(), image)


def _bricks() -> Any:
    import vtk

    image = vtk.vtkImageData()
    image.SetDimensions(64, 64, 1)
    bricks = np.zeros((64, 64, 3), "uint8")
    bricks[...] = (170, 80, 60)
    bricks[::16] = bricks[:, ::16] = 220
    image.GetPointData().SetScalars(named(bricks.reshape(-1, 3), "colours"))
    return image


def _bitmap() -> bytes:
    import vtk

    return written(vtk.vtkBMPWriter(), _bricks(), ".bmp")


def logo() -> bytes:
    """A picture."""
    import vtk

    return written(vtk.vtkPNGWriter(), _bricks(), ".png")


def vtk_data() -> bytes:
    """The archive of the data of VTK's examples."""
    combustor, fin = _plot3d((57, 33, 25), _combustor), _plot3d((40, 32, 32), _blunt_fin)
    made = {
        "42400-IDGH.stl": _stl(),
        "Viewpoint/cow.g": _byu((0.8, -0.4, 0), (5.2, 3.2, 1.7)),
        "teapot.g": _byu((0.2, 1.5, 0), (3.2, 1.5, 2)),
        "blow.vtk": _blow(),
        "bluntfinxyz.bin": fin[0],
        "bluntfinq.bin": fin[1],
        "combxyz.bin": combustor[0],
        "combq.bin": combustor[1],
        "faults.vtk": _faults(),
        "iflamigm.3ds": _red_bird(),
        "SainteHelens.dem": _terrain(),
        "hello.vtk": poly(lines=True),
        "fran_cut.vtk": _face(),
        "ironProt.vtk": _ball(),
        "masonry.bmp": _bitmap(),
        "office.binary.vtk": _office(),
        "texThres2.vtk": _texture(),
        "tetraMesh.vtk": tetrahedra(),
    }
    # An older archive has them in a folder further down.
    return zipped({f"{top}Data/{name}": content for top in ("", "VTKData/") for name, content in made.items()})
