"""Stand-ins for the data files of VTK's own examples, and what else the examples of VisTrails draw with VTK, made by formulae."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
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


def volume(
    kind: str = "uint8",
    n: int = 24,
    vectors: bool = False,
    components: int = 1,
    top: float = 255.0,
    spacing: tuple[float, float, float] = (1, 1, 1),
) -> bytes:
    """A ball, denser towards its middle."""
    import vtk

    image = vtk.vtkImageData()
    image.SetDimensions(n, n, n)
    image.SetSpacing(spacing)
    z, y, x = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j, -1 : 1 : n * 1j]
    values = (top * np.clip(1.2 - np.sqrt(x * x + y * y + z * z), 0, 1)).astype(kind).ravel()
    if components > 1:
        values = np.repeat(values[:, None], components, axis=1)
    image.GetPointData().SetScalars(named(values, "scalars"))
    if vectors:
        flow = np.stack([-y.ravel(), x.ravel(), 0.3 + 0 * z.ravel()], axis=1)
        image.GetPointData().SetVectors(named(flow, "vectors"))
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
    """Hexahedra, each with a region of its own, and what a process of moulding has stored for its steps."""
    import vtk

    grid, points = vtk.vtkUnstructuredGrid(), vtk.vtkPoints()
    for cell in range(24):
        corners = vtk.vtkHexahedron()
        for corner in range(8):
            x, y, z = corner & 1, corner >> 1 & 1, corner >> 2
            at = (1.0 * (cell % 6) + (x ^ y), 1.0 * (cell // 6) + y, 1.0 * z)
            corners.GetPointIds().SetId(corner, points.InsertNextPoint(at))
        grid.InsertNextCell(corners.GetCellType(), corners.GetPointIds())
    grid.SetPoints(points)
    n = points.GetNumberOfPoints()
    for step in range(10):
        grid.GetPointData().AddArray(named(np.linspace(0, 1, n), f"thickness{step}"))
        grid.GetPointData().AddArray(named(np.full((n, 3), 0.05 * step), f"displacement{step}"))
    return written(vtk.vtkUnstructuredGridWriter(), grid)


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


def _byu() -> bytes:
    import vtk

    with tempfile.TemporaryDirectory() as folder:
        writer = vtk.vtkBYUWriter()
        writer.SetInputData(_surface())
        writer.SetGeometryFileName(f"{folder}/data.g")
        writer.WriteScalarOff()
        writer.WriteDisplacementOff()
        writer.WriteTextureOff()
        writer.Write()
        return Path(folder, "data.g").read_bytes()


def _grid(nx: int, ny: int, nz: int) -> tuple[Any, Any]:
    """Points of a bent grid, x fastest, and a flow through it."""
    z, y, x = np.mgrid[0 : 5 : nz * 1j, -2 : 2 : ny * 1j, 0 : 10 : nx * 1j]
    places = np.stack([x.ravel(), y.ravel(), (z + 0.1 * x * x).ravel()], axis=1)
    flow = np.stack([1 + 0 * places[:, 0], 0.2 * np.sin(places[:, 0]), 0.2 * places[:, 0]], axis=1)
    return places, flow


def _office() -> bytes:
    import vtk

    grid, points = vtk.vtkStructuredGrid(), vtk.vtkPoints()
    z, y, x = np.mgrid[0:3:17j, 0:4:20j, 0:5:21j]
    points.SetData(named(np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1), "points"))
    grid.SetDimensions(21, 20, 17)
    grid.SetPoints(points)
    flow = np.stack([0.5 + 0 * x.ravel(), 0.3 * np.cos(x.ravel()), 0.1 * np.sin(y.ravel())], axis=1)
    grid.GetPointData().SetScalars(named(x.ravel(), "scalars"))
    grid.GetPointData().SetVectors(named(flow, "vectors"))
    return written(vtk.vtkStructuredGridWriter(), grid)


_PLOT3D = (57, 33, 25)


def _plot3d_places() -> bytes:
    places, _ = _grid(*_PLOT3D)
    return np.array(_PLOT3D, ">i4").tobytes() + places.T.astype(">f4").tobytes()


def _plot3d_flow() -> bytes:
    places, flow = _grid(*_PLOT3D)
    density = 1 + 0.3 * np.sin(places[:, 0]) + 0.1 * places[:, 1]
    q = np.stack([density, *(density * flow.T), 2.5 + 0.1 * places[:, 2]])
    return np.array(_PLOT3D, ">i4").tobytes() + np.array([0.5, 0, 100, 0], ">f4").tobytes() + q.astype(">f4").tobytes()


def _texture() -> bytes:
    import vtk

    image = vtk.vtkImageData()
    image.SetDimensions(32, 32, 1)
    transparent = np.where(np.add.outer(np.arange(32), np.arange(32)).ravel() > 32, 255, 60)
    image.GetPointData().SetScalars(named(np.stack([transparent] * 2, axis=1).astype("uint8"), "texture"))
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
    files: dict[str, Callable[[], bytes]] = {
        "42400-IDGH.stl": _stl,
        "Viewpoint/cow.g": _byu,
        "teapot.g": _byu,
        "blow.vtk": _blow,
        "bluntfinxyz.bin": _plot3d_places,
        "bluntfinq.bin": _plot3d_flow,
        "combxyz.bin": _plot3d_places,
        "combq.bin": _plot3d_flow,
        "faults.vtk": lambda: poly(lines=True),
        "hello.vtk": lambda: poly(lines=True),
        "fran_cut.vtk": poly,
        "ironProt.vtk": volume,
        "masonry.bmp": _bitmap,
        "office.binary.vtk": _office,
        "texThres2.vtk": _texture,
        "tetraMesh.vtk": tetrahedra,
    }
    made = {name: make() for name, make in files.items()}
    # An older archive has them in a folder further down.
    return zipped({f"{top}Data/{name}": content for top in ("", "VTKData/") for name, content in made.items()})
