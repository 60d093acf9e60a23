"""Workflows of older versions are upgraded in a VisTrails without a window; what of them is left behind does not stop that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
    assert found == {"an empty function": [["PythonCalc", []]], "another one": [["String", []]]}


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
    for port, kind, value in functions:
        items = [PortSpecItem(module=kind, package="org.vistrails.vistrails." + ("vtk" if kind[:3] == "vtk" else "basic"), pos=0)]
        spec = PortSpec(name=port, type="input", items=items)
        controller.add_function_action(module, controller.create_function(module, spec, [value]))
    version = controller.current_version
    controller.current_version, controller.current_pipeline = 0, Pipeline()
    controller.change_selected_version(version)
    controller.current_pipeline.validate()
    return [[module.name, [[f.name, f.params[0].strValue] for f in module.functions]]
            for module in controller.current_pipeline.modules.values()]

vtk = "org.vistrails.vistrails.vtk"
found["an overload that takes no constant"] = saved(vtk, "vtkCellArray", "0.9.3", [("InsertNextCell_1", "vtkCell", "4")])
found["a function that is gone"] = saved(
    vtk, "vtkTexture", "1.0.1", [("Interpolate", "Boolean", "True"), ("MapColorScalarsThroughLookupTable", "Boolean", "True")])
found["a class that is gone"] = saved(vtk, "vtkVolumeRayCastMapper", "1.0.1", [])
found["a parameter of another name"] = saved(
    "org.vistrails.vistrails.sklearn", "TSNE", "0.15.2", [("n_iter", "String", "300")], "manifold")
from vistrails.core.modules.module_registry import get_module_registry
registry = get_module_registry()
import matplotlib.mlab
found["at the origin"] = round(float(matplotlib.mlab.bivariate_normal(0.0, 0.0)) * 2 * math.pi, 9)
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


@pytest.mark.slow
def test_what_libraries_have_lost_or_renamed_is_upgraded(tmp_path: Path) -> None:
    script = SCRIPT.replace('with open("found", "w")', LIBRARIES + '\nwith open("found", "w")')
    script = script.replace(
        "import PortSpec\n", "import PortSpec\nfrom vistrails.core.vistrail.port_spec_item import PortSpecItem\n"
    )
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "VTK_DEFAULT_OPENGL_WINDOW": "vtkOSOpenGLRenderWindow"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (tmp_path / "found").exists(), said.stderr[-3000:]
    found = json.loads((tmp_path / "found").read_text())
    assert found["an overload that takes no constant"] == [["vtkCellArray", [["InsertNextCell_3", "4"]]]]
    assert found["a function that is gone"] == [["vtkTexture", [["Interpolate", "True"]]]]
    assert found["a class that is gone"] == [["vtkFixedPointVolumeRayCastMapper", []]]
    assert found["a parameter of another name"] == [["TSNE", [["n_iter", "300"]]]]
    assert found["at the origin"] == 1
    assert found["runs"] == 40
    assert found["a tuple"] == [5, 0.5, 1.5]
