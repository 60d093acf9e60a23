"""Stands in for the part of the internet that VisTrails' examples load data from and that is gone: a proxy for HTTP; and for files.

The data are made here, of the kind that the examples expect: volumes, grids and surfaces by VTK, tables as text. What is not
known is answered as not found, so that nothing reaches the real internet.
"""

from __future__ import annotations

import csv
import http.server
import io
import json
import tempfile
import threading
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

STATIONS = {f"Station {number}": number for number in range(40)}


@contextmanager
def proxy() -> Iterator[str]:
    """A proxy that runs in the background; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = answer(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


_made: dict[str, bytes] = {}
_making = threading.Lock()


def answer(url: str) -> bytes | None:
    """Return what is at an address, or None."""
    parts = urllib.parse.urlsplit(url)
    name = urllib.parse.parse_qs(parts.query).get("id", [Path(parts.path).name])[0]
    for known, make in _SITES.items():
        if name.startswith(known):
            with _making:
                if known not in _made:
                    _made[known] = make()
                return _made[known]
    return None


def files() -> dict[str, bytes]:
    """The files that examples read from where their authors had them, and that no package of VisTrails holds: by relative path."""
    lung = _volume(
        "int16", top=1200, spacing=(14, 14, 14)
    )  # as large as a chest in millimetres, where the cameras stand
    return {
        "vistrails_logo.png": _logo(),
        "../examples/data/anon_4877_unq.vtk": lung,
        "../examples/data/anon4877_0.req.vtk": lung,
    }


# ---- tables ----


def _fares() -> bytes:
    text = io.StringIO()
    text.write("made for a test\n\n")
    table = csv.writer(text)
    table.writerow(["REMOTE", "STATION", "FF", "SEN/DIS"])
    for station, number in STATIONS.items():
        table.writerow([f"R{number:03}", station, 1000 + 10 * number, number])
    return text.getvalue().encode()


def _stations() -> bytes:
    return json.dumps(
        {
            station: {
                "lat": 40.7 + number / 500,
                "lng": -74 + number / 500,
                "line": "Broadway" if number % 2 else "8 Av",
            }
            for station, number in STATIONS.items()
        }
    ).encode()


def _weather() -> bytes:
    degrees = np.random.default_rng(1).normal(15, 8, 200)
    return _zipped({"temp_precip.dat": "".join(f"{degree:.1f},{degree / 2:.1f}\n" for degree in degrees).encode()})


def _classes() -> bytes:
    leaves = "".join(f'<node id="leaf {number}" size="{number + 1}"/>' for number in range(12))
    return (
        f'<?xml version="1.0"?><tree><node id="one" size="1">{leaves}</node><node id="two" size="2"/></tree>'.encode()
    )


def _zipped(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return archive.getvalue()


# ---- VTK's data ----


def _written(writer: Any, data: Any, suffix: str = ".vtk") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"data{suffix}"
        writer.SetInputData(data)
        writer.SetFileName(str(file))
        writer.Write()
        return file.read_bytes()


def _named(values: Any, name: str) -> Any:
    from vtk.util.numpy_support import numpy_to_vtk

    array = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
    array.SetName(name)
    return array


def _volume(
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
    image.GetPointData().SetScalars(_named(values, "scalars"))
    if vectors:
        flow = np.stack([-y.ravel(), x.ravel(), 0.3 + 0 * z.ravel()], axis=1)
        image.GetPointData().SetVectors(_named(flow, "vectors"))
    return _written(vtk.vtkStructuredPointsWriter(), image)


def _tetrahedra() -> bytes:
    import vtk

    source = vtk.vtkPointSource()
    source.SetNumberOfPoints(300)
    mesh = vtk.vtkDelaunay3D()
    mesh.SetInputConnection(source.GetOutputPort())
    mesh.Update()
    grid = mesh.GetOutput()
    _add_scalars(grid)
    return _written(vtk.vtkUnstructuredGridWriter(), grid)


def _add_scalars(data: Any) -> Any:
    places = np.array([data.GetPoint(number) for number in range(data.GetNumberOfPoints())])
    values = np.linalg.norm(places, axis=1)
    data.GetPointData().SetScalars(_named(2 * values / values.max(), "scalars"))
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
        grid.GetPointData().AddArray(_named(np.linspace(0, 1, n), f"thickness{step}"))
        grid.GetPointData().AddArray(_named(np.full((n, 3), 0.05 * step), f"displacement{step}"))
    return _written(vtk.vtkUnstructuredGridWriter(), grid)


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


def _poly(lines: bool = False) -> bytes:
    import vtk

    return _written(vtk.vtkPolyDataWriter(), _surface(lines))


def _stl() -> bytes:
    import vtk

    return _written(vtk.vtkSTLWriter(), _surface(), ".stl")


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
    points.SetData(_named(np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1), "points"))
    grid.SetDimensions(21, 20, 17)
    grid.SetPoints(points)
    flow = np.stack([0.5 + 0 * x.ravel(), 0.3 * np.cos(x.ravel()), 0.1 * np.sin(y.ravel())], axis=1)
    grid.GetPointData().SetScalars(_named(x.ravel(), "scalars"))
    grid.GetPointData().SetVectors(_named(flow, "vectors"))
    return _written(vtk.vtkStructuredGridWriter(), grid)


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
    image.GetPointData().SetScalars(_named(np.stack([transparent] * 2, axis=1).astype("uint8"), "texture"))
    return _written(vtk.vtkStructuredPointsWriter(), image)


def _bricks() -> Any:
    import vtk

    image = vtk.vtkImageData()
    image.SetDimensions(64, 64, 1)
    bricks = np.zeros((64, 64, 3), "uint8")
    bricks[...] = (170, 80, 60)
    bricks[::16] = bricks[:, ::16] = 220
    image.GetPointData().SetScalars(_named(bricks.reshape(-1, 3), "colours"))
    return image


def _bitmap() -> bytes:
    import vtk

    return _written(vtk.vtkBMPWriter(), _bricks(), ".bmp")


def _logo() -> bytes:
    import vtk

    return _written(vtk.vtkPNGWriter(), _bricks(), ".png")


def _vtk_data() -> bytes:
    files: dict[str, Callable[[], bytes]] = {
        "42400-IDGH.stl": _stl,
        "Viewpoint/cow.g": _byu,
        "teapot.g": _byu,
        "blow.vtk": _blow,
        "bluntfinxyz.bin": _plot3d_places,
        "bluntfinq.bin": _plot3d_flow,
        "combxyz.bin": _plot3d_places,
        "combq.bin": _plot3d_flow,
        "faults.vtk": lambda: _poly(lines=True),
        "hello.vtk": lambda: _poly(lines=True),
        "fran_cut.vtk": _poly,
        "ironProt.vtk": _volume,
        "masonry.bmp": _bitmap,
        "office.binary.vtk": _office,
        "texThres2.vtk": _texture,
        "tetraMesh.vtk": _tetrahedra,
    }
    made = {name: make() for name, make in files.items()}
    # An older archive has them in a folder further down.
    return _zipped({f"{top}Data/{name}": content for top in ("", "VTKData/") for name, content in made.items()})


_SITES: dict[str, Callable[[], bytes]] = {
    "fares_": _fares,
    "stationlocations_dict.json": _stations,
    "weather_data.zip": _weather,
    "vtkclasses.xml": _classes,
    "vtkdata-5.0": _vtk_data,
    "head.120.vtk": _volume,
    "carotid.vtk": lambda: _volume("int16", vectors=True, top=600),
    "spx.vtk": _tetrahedra,
    "torus.vtk": _poly,
    "gktbhFA.vtk": lambda: _volume("float32", top=1.0),
    "gktbhL123.vtk": lambda: _volume("float32", top=1.0),
    "eeg.dat": lambda: np.random.default_rng(1).normal(0, 1, (800, 4)).astype("<f8").tobytes(),
    "s1045.ima": lambda: (np.add.outer(np.arange(256), np.arange(256)) * 8).astype("<u2").tobytes(),
    "table_7_3.csv": lambda: b"a,b\n1,2\n3,4\n",
}
