"""The Map module.

It is VisTrails' own `controlflow.Map`, but for where elements run: it checks its input with the same code and hands the elements
out. `parallelflow.map.chunk_module` is its other half, on an engine. May import VisTrails and the map room.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, ClassVar

from vistrails.core import debug
from vistrails.core.modules.config import IPort, ModuleSettings, OPort
from vistrails.core.modules.vistrails_module import Module
from vistrails.packages.controlflow.utils import Map as SerialMap

from parallelflow.map import engine
from parallelflow.texts import tr

# Processes that can be told apart, locked and signalled as clusters need it; Windows has other ones.
_HAS_CLUSTERS = os.name == "posix"


class Map(SerialMap):
    """Runs a module or a Group once per element of a list, in parallel on an IPython cluster.

    It works like the Map of the Control Flow package: connect the `self` output of a module or Group to FunctionPort, a
    list to InputList, and name the ports. The elements run on the engines of the cluster that the Parallel Flow
    preferences name; where there is none, one can be started. Results come in the list's order.
    """

    _settings = ModuleSettings(name="Map")
    # VisTrails draws an optional port only where something is connected to it: names of ports are typed in, nearly always.
    _input_ports: ClassVar = [
        IPort("FunctionPort", Module, docstring="The module or Group to run: connect its 'self' output."),
        IPort("InputList", "basic:List", docstring="The list; the module runs once per element."),
        IPort(
            "InputPort",
            "basic:List",
            docstring="The names of the module's input ports that an element goes to, as a list: ['a'] gives the whole"
            " element to port a; ['a', 'b'] gives an element's first part to a and its second to b.",
            optional=True,
        ),
        IPort(
            "OutputPort",
            "basic:String",
            docstring="The name of the module's output port to take results from.",
            optional=True,
        ),
    ]
    _output_ports: ClassVar = [OPort("Result", "basic:List", docstring="The results, in the order of the list.")]

    def updateFunctionPort(self) -> None:
        """Run the elements; the serial Map calls this from `compute`."""
        # A Map inside a mapped Group runs in place: its engine is one of many already. So does one with a breakpoint, because
        # what that is for is a look at the module in VisTrails.
        if engine.inside() or _has_breakpoint(self.inputPorts.get("FunctionPort", ())):
            super().updateFunctionPort()
            return
        if not _HAS_CLUSTERS:
            debug.warning(
                tr("Clusters need Linux or another Unix; here, Parallel Flow's Map runs one element after the other.")
            )
            super().updateFunctionPort()
            return
        from parallelflow.map import window  # the client's half, which engines have no use for
        from parallelflow.map.execution import Execution

        needs_window = window.needs(connector.obj for connector in self.inputPorts.get("FunctionPort", ()))
        if needs_window is None:
            Execution(self).run()
        else:
            debug.warning(
                tr(
                    "Map: the module '{module}' needs VisTrails' window, so that the elements run in VisTrails, one after the"
                    " other.",
                    module=needs_window,
                )
            )
            super().updateFunctionPort()


def _has_breakpoint(connectors: Iterable[Any]) -> bool:
    return any(connector.obj.is_breakpoint or _has_breakpoint_inside(connector.obj) for connector in connectors)


def _has_breakpoint_inside(group: Any) -> bool:
    pipeline = getattr(group, "pipeline", None)
    return pipeline is not None and any(
        module.is_breakpoint or _has_breakpoint_inside(module) for module in pipeline.module_list
    )
