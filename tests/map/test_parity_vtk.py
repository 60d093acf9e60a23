"""Parity of what VTK gives: data objects travel in both directions; what draws them does not, and is named."""

from __future__ import annotations

import dataclasses
import gc
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from parity import Stage, assert_same
from workflows import Flow

from parallelflow.cluster import Session
from parallelflow.explorations import vtk_outputs
from parallelflow.map import needs, values

pytest.importorskip("vtkmodules", reason="VTK is not installed (make setup VISUAL=1)")

pytestmark = [pytest.mark.usefixtures("parity"), pytest.mark.slow]

SPHERE = """
from vtkmodules.vtkFiltersSources import vtkSphereSource
sphere = vtkSphereSource()
sphere.SetThetaResolution(i)
sphere.Update()
o = sphere.GetOutput()
"""
SEEN = "o = [i.GetClassName(), i.GetNumberOfPoints(), i.GetNumberOfCells(), list(i.GetBounds()), list(i.GetPoint(5))]"


def test_data_objects_travel_as_results_and_as_elements() -> None:
    flow = Flow()
    spheres = flow.map(flow.python(SPHERE, {"i": "Integer"}, {"o": "Variant"}), "i", "o", "[3, 8, 21]")
    seen = flow.map(flow.python(SEEN, {"i": "Variant"}, {"o": "List"}), "i", "o", (spheres, "Result"))
    # The objects themselves are other ones in each run; what is in them is what counts.
    serial, ours = assert_same(flow, but=[f"outputs of module {spheres}"])
    assert [kind for kind, *_ in ours.outputs[seen]["Result"]] == ["vtkPolyData"] * 3
    assert len({points for _, points, *_ in serial.outputs[seen]["Result"]}) == 3


def test_a_data_object_on_another_port_travels() -> None:
    flow = Flow()
    sphere = flow.python(SPHERE, {"i": "Integer"}, {"o": "Variant"}, presets={"i": "8"})
    reads = flow.python("o = m.GetNumberOfPoints() + i", {"i": "Integer", "m": "Variant"}, {"o": "Integer"})
    flow.connect(sphere, "o", reads, "m")
    flow.map(reads, "i", "o", "[1, 2, 3]")
    assert_same(flow, but=[f"outputs of module {sphere}"])


def test_what_draws_cannot_travel_and_is_named() -> None:
    source = "from vtkmodules.vtkRenderingCore import vtkActor\no = vtkActor()"
    flow = Flow()
    flow.map(flow.python(source, {"i": "Integer"}, {"o": "Variant"}), "i", "o", "[1, 2]")
    ((_, kind, message),) = Stage("ours", "logged").run(flow).errors.values()
    assert kind == "ModuleError"
    assert "vtkActor" in message
    assert "element 0" in message.lower()


MADE: dict[str, Callable[[], Any]] = {
    "image": lambda: _image("vtkImageData"),
    "structured points": lambda: _image("vtkStructuredPoints"),
    "uniform grid": lambda: _image("vtkUniformGrid"),
    "rectilinear grid": lambda: _model("vtkRectilinearGrid"),
    "structured grid": lambda: _model("vtkStructuredGrid"),
    "unstructured grid": lambda: _model("vtkUnstructuredGrid"),
    "table": lambda: _model("vtkTable"),
    "graph": lambda: _model("vtkMutableDirectedGraph"),
    "tree": lambda: _model("vtkTree"),
    "blocks": lambda: _blocks(),
}


def _model(name: str) -> Any:
    from vtkmodules import vtkCommonDataModel

    return getattr(vtkCommonDataModel, name)()


def _image(name: str) -> Any:
    image = _model(name)
    image.SetDimensions(2, 3, 4)
    image.SetSpacing(0.1, 0.2, 0.3)
    return image


def _blocks() -> Any:
    blocks = _model("vtkMultiBlockDataSet")
    blocks.SetBlock(0, _image("vtkImageData"))
    blocks.SetBlock(1, _model("vtkTable"))
    return blocks


@pytest.mark.parametrize("name", MADE)
def test_data_objects_of_each_kind_arrive_as_what_they_are(name: str) -> None:
    made = MADE[name]()
    arrived = values.unpack(values.pack([made]))[0]
    assert type(arrived) is type(made)
    if name == "blocks":
        made, arrived = made.GetBlock(0), arrived.GetBlock(0)
    if made.IsA("vtkImageData"):
        assert arrived.GetDimensions() == (2, 3, 4)
        assert arrived.GetSpacing() == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("kind", ["vtkFloatArray", "vtkDoubleArray", "vtkIdTypeArray", "vtkUnsignedCharArray"])
def test_arrays_of_numbers_arrive_as_what_they_are(kind: str) -> None:
    from vtkmodules import vtkCommonCore

    array = getattr(vtkCommonCore, kind)()
    array.SetName("speed")
    array.SetNumberOfComponents(3)
    array.InsertNextTuple((1, 2, 3))
    array.InsertNextTuple((4, 5, 6))
    arrived = values.unpack(values.pack(array))
    assert type(arrived) is type(array)
    assert arrived.GetName() == "speed"
    assert [arrived.GetTuple(number) for number in range(2)] == [(1, 2, 3), (4, 5, 6)]


def test_to_mappers_go_data_of_filters_which_live_as_long_as_what_shows_them() -> None:
    from vistrails.packages.vtk.vtk_wrapper.wrapper import VTKInstanceWrapper
    from vtkmodules.vtkFiltersCore import vtkElevationFilter
    from vtkmodules.vtkFiltersSources import vtkSphereSource

    sphere, elevation, gone = vtkSphereSource(), vtkElevationFilter(), list[str]()
    sphere.SetThetaResolution(11)
    elevation.SetInputConnection(sphere.GetOutputPort())
    travels = vtk_outputs.taken(VTKInstanceWrapper(elevation.GetOutputPort()))
    arrived = vtk_outputs.restored(values.unpack(values.pack(travels)))
    arrived.GetProducer().AddObserver("DeleteEvent", lambda *_: gone.append("data"))
    shows = vtkElevationFilter()
    shows.SetInputConnection(arrived.vtkInstance)
    del arrived
    gc.collect()
    shows.Update()
    assert shows.GetInput().GetNumberOfPoints() == elevation.GetOutput().GetNumberOfPoints() > 0
    assert shows.GetInput().GetPointData().GetScalars().GetName() == "Elevation"
    assert not gone
    del shows
    gc.collect()
    assert gone == ["data"]


def test_the_output_of_a_filter_that_gives_nothing_does_not_travel() -> None:
    from vistrails.packages.vtk.vtk_wrapper.wrapper import VTKInstanceWrapper
    from vtkmodules.vtkFiltersCore import vtkElevationFilter

    elevation = vtkElevationFilter()
    output = VTKInstanceWrapper(elevation.GetOutputPort())
    assert vtk_outputs.taken(output) is output
    with pytest.raises(values.CannotTravel, match="VTKInstanceWrapper"):
        values.pack(output)


_START = """
import sys
from parallelflow.map import engine_vistrails
engine_vistrails.start(environment)
before = 'vtkmodules.vtkRenderingCore' in sys.modules
engine_vistrails.enable_package(package)
after = 'vtkmodules.vtkRenderingCore' in sys.modules
"""


def test_an_engine_loads_vtk_when_a_plan_needs_it(own_session: Session) -> None:
    from vistrails.packages import vtk

    environment = pickle.loads(needs.environment())
    package = needs.Package(vtk.identifier, "vtk", "vistrails.packages.", vtk.version)
    own_session.start_engines(1)
    client = own_session.client()
    client[:].push({"environment": dataclasses.replace(environment, packages=[*environment.packages, package])})
    client[:].push({"package": package})
    client[:].execute(_START, block=True)
    assert client[:][["before", "after"]] == [[False, True]]
