"""Workflows of older versions are upgraded in a VisTrails without a window; what of them is left behind does not stop that."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.host

# A version whose module has an empty function of a port that is gone, and one beside it; selected in turn.
SCRIPT = """
import json, os, sys
import vistrails.core.application
options = {"batch": True, "installBundles": False, "errorLog": False, "loadPackages": False, "dotVistrails": "settings"}
vistrails.core.application.init(options, args=[])
from vistrails.core.application import get_vistrails_application
from vistrails.core.modules.module_descriptor import ModuleDescriptor
from vistrails.core.packagemanager import get_package_manager
from vistrails.core.vistrail.pipeline import Pipeline
from vistrails.core.vistrail.port_spec import PortSpec
get_package_manager().late_enable_package("pythonCalc")
application = get_vistrails_application()
application.new_vistrail()
controller = application.get_controller()

def add(identifier, name, version, empty):
    descriptor = ModuleDescriptor(package=identifier, name=name, namespace="", package_version=version)
    module = controller.create_module_from_descriptor(descriptor, use_desc_pkg_version=True)
    module.is_valid = False
    controller.add_module_action(module)
    for port in empty:
        spec = PortSpec(name=port, type="input", items=[])
        controller.add_function_action(module, controller.create_function(module, spec, []))
    return controller.current_version

old = add("org.vistrails.vistrails.pythoncalc", "PythonCalc", "0.8", ["value"])
controller.current_version, controller.current_pipeline = 0, Pipeline()
other = add("org.vistrails.vistrails.basic", "String", "2.1", [])

def select(version):
    controller.change_selected_version(version)
    controller.current_pipeline.validate()
    return [[module.name, [f.name for f in module.functions]] for module in controller.current_pipeline.modules.values()]

found = {"an empty function": select(old)}
# As after an upgrade that was done in part: the version's modules are not what is shown.
controller.current_version, controller.current_pipeline = old, Pipeline()
found["another one"] = select(other)
# One whose second module nothing takes the place of, made from one that is whole.
application.new_vistrail()
controller = application.get_controller()
basic = get_package_manager().get_package("org.vistrails.vistrails.basic")
whole = add(basic.identifier, "String", basic.version, [])
in_part = add("org.vistrails.vistrails.pythoncalc", "Gone", "0.8", [])
for version in (whole, in_part):
    controller.change_selected_version(version)
    found["whole" if version == whole else "in part"] = controller.current_pipeline.is_valid
# An upgrade of it, which fits no more either, and holds something else; both are tried, and it is run all the same.
controller.change_selected_version(0)
for name in ("Gone", "PythonCalc"):
    first = add("org.vistrails.vistrails.pythoncalc", name, "0.8", [])
second = add("org.vistrails.vistrails.pythoncalc", "PythonCalc", "0.8", [])
controller.delete_module_list([max(controller.current_pipeline.modules) - 1])
second = controller.current_version
controller.vistrail.set_upgrade(first, str(second))
controller.change_selected_version(first)
controller.flush_delayed_actions()
modules = controller.vistrail.getPipeline(controller.current_version).modules.values()
found["run in part"] = sorted((module.name, module.version == "0.8") for module in modules)
with open("found", "w") as file:
    json.dump(found, file)
os._exit(0)
"""


def test_an_upgrade_goes_past_an_empty_function_and_another_version_is_reached_from_one_that_is_not_whole(
    tmp_path: Path,
) -> None:
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (tmp_path / "found").exists(), said.stderr[-3000:]
    found = json.loads((tmp_path / "found").read_text())
    assert found == {
        "an empty function": [["PythonCalc", []]],
        "another one": [["String", []]],
        "whole": True,
        "in part": False,
        "run in part": [["Gone", True], ["PythonCalc", False]],
    }


# Modules as older versions have saved them, each in a workflow of its own, upgraded and, but for VTK's, executed.
LIBRARIES = """
import math
for codepath in ("matplotlib", "vtk", "sklearn"):
    get_package_manager().late_enable_package(codepath)

def saved(identifier, name, version, functions, namespace=""):
    application.new_vistrail()
    controller = application.get_controller()
    descriptor = ModuleDescriptor(package=identifier, name=name, namespace=namespace, package_version=version)
    module = controller.create_module_from_descriptor(descriptor, use_desc_pkg_version=True)
    module.is_valid = False
    controller.add_module_action(module)
    for port, kinds, values in functions:
        kinds, values = ([kinds] if kinds else [], [values] if kinds else []) if isinstance(kinds, str) else (kinds, values)
        items = [
            PortSpecItem(module=kind, package="org.vistrails.vistrails." + ("vtk" if kind[:3] == "vtk" else "basic"), pos=place)
            for place, kind in enumerate(kinds)]
        spec = PortSpec(name=port, type="input", items=items)
        controller.add_function_action(module, controller.create_function(module, spec, values))
    version = controller.current_version
    controller.current_version, controller.current_pipeline = 0, Pipeline()
    controller.change_selected_version(version)
    controller.current_pipeline.validate()
    return [[module.name, [[f.name, *(p.strValue for p in f.params)] for f in module.functions]]
            for module in controller.current_pipeline.modules.values()]

vtk = "org.vistrails.vistrails.vtk"
found["an overload that takes no constant"] = saved(vtk, "vtkCellArray", "0.9.3", [("InsertNextCell_1", "vtkCell", "4")])
found["a function that is gone"] = saved(
    vtk, "vtkTexture", "1.0.1", [("Interpolate", "Boolean", "True"), ("MapColorScalarsThroughLookupTable", "Boolean", "True")])
found["a port whose type is gone"] = PortSpecItem(module="vtkVolumeRayCastMapper", package=vtk, pos=0).descriptor.name
found["a class that is gone"] = saved(vtk, "vtkVolumeRayCastMapper", "1.0.1", [])
found["functions in their order"] = saved(
    vtk, "vtkContourFilter", "0.9.3",
    [("ComputeNormalsOff", "", ""), ("SetNumberOfContours", "Integer", "3"), ("UseScalarTreeOn", "", ""),
     ("SetArrayComponent", "Integer", "0")])
found["overloads that fit"] = saved(
    vtk, "vtkPolyDataMapper", "0.9.3", [("ColorByArrayComponent_1", ["Integer", "Integer"], ["Speed", "0"])])
found["overloads by their count"] = saved(
    vtk, "vtkWarpVector", "0.9.3",
    [("SetInputArrayToProcess", ["Integer"] * 4 + ["String"], ["1", "0", "0", "0", "thickness"]), ("SetScaleFactor", "Float", "2")])
found["overloads of the last version"] = saved(
    vtk, "vtkPolyDataMapper", "1.0.1",
    [("ColorByArrayComponent_1", ["String", "Integer"], ["Speed", "0"]), ("ImmediateModeRendering", "Boolean", "True")])
found["a streamline"] = saved(
    vtk, "vtkStreamLine", "0.9.3",
    [("SetMaximumPropagationTime", "Float", "500"), ("SetStepLength", "Float", "0.5"), ("VorticityOn", "", ""),
     ("SetIntegrationStepLength", "Float", "0.05"), ("SetIntegrationDirectionToBackward", "", "")])
found["a parameter of another name"] = saved(
    "org.vistrails.vistrails.sklearn", "TSNE", "0.15.2", [("n_iter", "String", "300")], "manifold")
from vistrails.core.modules.module_registry import get_module_registry
registry = get_module_registry()
import matplotlib.mlab
found["at the origin"] = round(float(matplotlib.mlab.bivariate_normal(0.0, 0.0)) * 2 * math.pi, 9)
import pylab
from vistrails.packages.matplotlib.bases import MplSource
source = MplSource()
source.get_input = {"source": "shares = hist([1, 1, 1, 2], 2, normed=1)[0]\\ntop = normpdf(array([100.0]), 100, 15)"}.__getitem__
drawn = {}
source.run_code = lambda code, **_: exec(code, drawn)
source.set_output = lambda port, draw: draw(pylab.figure())
source.compute()
found["drawn by code"] = [*drawn["shares"], round(float(drawn["top"][0]) * 15 * math.sqrt(2 * math.pi), 9)]
learner = registry.get_module_by_name("org.vistrails.vistrails.sklearn", "TSNE", "manifold")
made = learner()
made.inputPorts = {"n_iter": [], "training_data": []}
values = {"n_iter": "300", "training_data": [[float(row * column % 7) for column in range(4)] for row in range(40)]}
made.get_input = values.__getitem__
given = {}
made.set_output = given.__setitem__
made.compute()
found["runs"] = len(given["transformed_data"])
from vistrails.core.modules import basic_modules
together = basic_modules.Tuple()
together.input_ports_order, together.several = ["one", "two"], {"two"}
together.get_input = {"one": 5, "two": (0.5, 1.5)}.__getitem__
together.set_output = given.__setitem__
together.compute()
found["a tuple"] = list(given["value"])
"""


# Many modules of old that are connected to one port, in another order than that in which they were made.
CONNECTED = """
from vistrails.core.db.action import create_action
from vistrails.core.interpreter.cached import CachedInterpreter
from vistrails.core.upgradeworkflow import UpgradeWorkflowHandler
from vistrails.core.vistrail.connection import Connection
from vistrails.core.vistrail.port import Port
get_package_manager().late_enable_package("vtk")
application.new_vistrail()
controller = application.get_controller()
vtk = "org.vistrails.vistrails.vtk"

def old_module(name):
    descriptor = ModuleDescriptor(package=vtk, name=name, namespace="", package_version="0.9.3")
    module = controller.create_module_from_descriptor(descriptor, use_desc_pkg_version=True)
    module.is_valid = False
    controller.add_module_action(module)
    return module

def port(module, name, kind, signature):
    return Port(name=name, type=kind, signature="(%s:%s)" % (vtk, signature), moduleId=module.id, moduleName=module.name)

spheres = [old_module("vtkSphere") for _ in range(12)]
both = old_module("vtkImplicitBoolean")
for radius, sphere in enumerate(spheres):
    items = [PortSpecItem(module="Float", package="org.vistrails.vistrails.basic", pos=0)]
    spec = PortSpec(name="SetRadius", type="input", items=items)
    controller.add_function_action(sphere, controller.create_function(sphere, spec, [str(radius)]))
for sphere in spheres[::-1]:
    action = create_action([("add", UpgradeWorkflowHandler.create_new_connection(
        controller, sphere, port(sphere, "self", "source", "vtkSphere"),
        both, port(both, "AddFunction", "destination", "vtkImplicitFunction")))])
    controller.add_new_action(action)
    controller.perform_action(action)
version = controller.current_version
controller.current_version, controller.current_pipeline = 0, Pipeline()
controller.change_selected_version(version)
pipeline = controller.current_pipeline
pipeline.validate()
radii = {module.id: module.functions[0].params[0].strValue for module in pipeline.modules.values() if module.name == "vtkSphere"}
found["connected"] = [int(float(radii[pipeline.connections[number].source.moduleId])) for number in sorted(pipeline.connections)]

def executed():
    controller.execute_current_workflow()
    made = [module for module in CachedInterpreter.get()._objects.values() if type(module).__name__ == "vtkImplicitBoolean"]
    functions = made[-1].get_output("Instance").vtkInstance.GetFunction()
    return [int(functions.GetItemAsObject(place).GetRadius()) for place in range(12)]

found["executed"] = executed()
# The other way round, with numbers that a set has in another order.
connections = [pipeline.connections[number] for number in sorted(pipeline.connections)]
controller.id_scope.updateBeginId(Connection.vtType, 4090)
anew = [UpgradeWorkflowHandler.create_new_connection(
    controller, pipeline.modules[old.source.moduleId], old.source, pipeline.modules[old.destination.moduleId], old.destination)
    for old in connections[::-1]]
action = create_action([("delete", old) for old in connections] + [("add", new) for new in anew])
controller.add_new_action(action)
controller.perform_action(action)
assert sorted(controller.current_pipeline.connections) == list(range(4090, 4102))
found["the other way round"] = executed()
"""


@pytest.mark.slow
def test_connections_of_one_port_keep_their_order_in_an_upgrade_and_an_execution(tmp_path: Path) -> None:
    found = _upgraded(tmp_path, CONNECTED)
    assert found["connected"] == found["executed"] == list(range(11, -1, -1))
    assert found["the other way round"] == list(range(12))


# A Group whose modules have other numbers than those of a copy, as after an upgrade: each calculates with what the former gives.
GROUPED = """
from vistrails.core.db.action import create_action
from vistrails.core.upgradeworkflow import UpgradeWorkflowHandler
from vistrails.core.vistrail.port import Port
from vistrails.db.domain import IdScope
application.new_vistrail()
controller = application.get_controller()
calc, float_spec = "org.vistrails.vistrails.pythoncalc", "(org.vistrails.vistrails.basic:Float)"
for _ in range(6):
    add(calc, "PythonCalc", "0.8", [])

def port(module, name, kind):
    return Port(name=name, type=kind, signature=float_spec, moduleId=module.id, moduleName=module.name)

modules = [controller.current_pipeline.modules[number] for number in sorted(controller.current_pipeline.modules)]
for number, module in enumerate(modules):
    items = [PortSpecItem(module="String", package=basic.identifier, pos=0)]
    operation = controller.create_function(module, PortSpec(name="op", type="input", items=items), ["+-*/^%"[number]])
    controller.add_function_action(module, operation)
for former, module in zip(modules, modules[1:]):
    action = create_action([("add", UpgradeWorkflowHandler.create_new_connection(
        controller, former, port(former, "value", "source"), module, port(module, "value1", "destination")))])
    controller.add_new_action(action)
    controller.perform_action(action)
inside = controller.current_pipeline.do_copy(True, IdScope(4), {})
controller.current_version, controller.current_pipeline = 0, Pipeline()
group = controller.create_module(basic.identifier, "Group")
group.pipeline = inside
controller.add_module_action(group)
version = controller.current_version
controller.current_version, controller.current_pipeline = 0, Pipeline()
controller._pipelines.clear()
controller._pipelines[0] = Pipeline()
controller.change_selected_version(version)
controller.current_pipeline.validate()
(group,) = controller.current_pipeline.modules.values()
inside = group.pipeline
assert all(module.version == get_package_manager().get_package(calc).version for module in inside.modules.values())
operations = {number: module.functions[0].params[0].strValue for number, module in inside.modules.items()}
found["grouped"] = sorted(
    [operations[connection.source.moduleId], operations[connection.destination.moduleId], connection.destination.name]
    for connection in inside.connections.values())
"""


def test_all_that_is_in_a_group_is_upgraded_whatever_numbers_it_has(tmp_path: Path) -> None:
    found = _upgraded(tmp_path, GROUPED)
    assert found["grouped"] == sorted([*pair, "value1"] for pair in pairwise("+-*/^%"))


def _upgraded(folder: Path, more: str) -> dict[str, Any]:
    """What the script finds, with more of it."""
    script = SCRIPT.replace('with open("found", "w")', more + '\nwith open("found", "w")')
    script = script.replace(
        "import PortSpec\n", "import PortSpec\nfrom vistrails.core.vistrail.port_spec_item import PortSpecItem\n"
    )
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=folder,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "VTK_DEFAULT_OPENGL_WINDOW": "vtkOSOpenGLRenderWindow"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (folder / "found").exists(), said.stderr[-3000:]
    return dict(json.loads((folder / "found").read_text()))


@pytest.mark.slow
def test_what_libraries_have_lost_or_renamed_is_upgraded(tmp_path: Path) -> None:
    found = _upgraded(tmp_path, LIBRARIES)
    assert found["an overload that takes no constant"] == [["vtkCellArray", [["InsertNextCell_3", "4"]]]]
    assert found["a function that is gone"] == [["vtkTexture", [["Interpolate", "True"]]]]
    assert found["a port whose type is gone"] == "vtkFixedPointVolumeRayCastMapper"
    assert found["a class that is gone"] == [["vtkFixedPointVolumeRayCastMapper", []]]
    assert found["functions in their order"] == [
        [
            "vtkContourFilter",
            [
                ["ComputeNormals", "False"],
                ["NumberOfContours", "3"],
                ["UseScalarTree", "True"],
                ["ArrayComponent", "0"],
            ],
        ]
    ]
    assert found["overloads that fit"] == [["vtkPolyDataMapper", [["ColorByArrayComponent_2", "Speed", "0"]]]]
    assert found["overloads of the last version"] == found["overloads that fit"]
    assert found["overloads by their count"] == [
        ["vtkWarpVector", [["InputArrayToProcess_2", "1", "0", "0", "0", "thickness"], ["ScaleFactor", "2"]]]
    ]
    assert found["a streamline"] == [
        [
            "vtkStreamTracer",
            [
                ["MaximumPropagation", "1e6"],
                ["ComputeVorticity", "True"],
                ["InitialIntegrationStep", "0.05"],
                ["IntegrationDirection", "Backward"],
            ],
        ]
    ]
    assert found["a parameter of another name"] == [["TSNE", [["n_iter", "300"]]]]
    assert found["at the origin"] == 1
    assert found["drawn by code"] == [1.5, 0.5, 1.0]
    assert found["runs"] == 40
    assert found["a tuple"] == [5, 0.5, 1.5]
