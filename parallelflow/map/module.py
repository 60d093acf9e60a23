"""The modules of the palette: Map, Filter and For, and the base that any of VisTrails' folds can have.

Each is VisTrails' own of the same name, of the package Control Flow, but for where elements run: they check their input with
the same code, hand the elements out, and do with results what VisTrails' does. `parallelflow.map.chunk_module` is their other
half, on an engine. May import VisTrails and the map room.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from vistrails.core import debug
from vistrails.core.modules.config import IPort, ModuleSettings, OPort
from vistrails.core.modules.vistrails_module import Module, ModuleError
from vistrails.packages.controlflow.looping import For as SerialFor
from vistrails.packages.controlflow.utils import Filter as SerialFilter
from vistrails.packages.controlflow.utils import Map as SerialMap

from parallelflow.map import engine, garbage
from parallelflow.map.looping import Loop, Looping, nothing_connected, over_list
from parallelflow.texts import tr

# Processes that can be told apart, locked and signalled as clusters need it; Windows has other ones.
_HAS_CLUSTERS = os.name == "posix"

_FUNCTION = IPort("FunctionPort", Module, docstring="The module or Group to run: connect its 'self' output.")

_KEEP = IPort(
    "KeepResults",
    "basic:String",
    docstring="Which results are kept so that elements need not run again, in place of the preference: 'failed' keeps them until"
    " the module has completed once, 'all' longer than that, 'none' keeps none.",
    optional=True,
    entry_type="enum",
    values=["failed", "all", "none"],
)

# VisTrails draws an optional port only where something is connected to it: names of ports are typed in, nearly always.
_FOLD_PORTS = [
    _FUNCTION,
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
    _KEEP,
]


class ParallelFold:
    """Has a fold of VisTrails' run its function module on a cluster, if that can run for each element alone.

    A base that comes before the fold, which keeps what it does with elements and results::

        class Filter(ParallelFold, SerialFilter):
            ...

    Its `operation` is called in VisTrails, in the list's order, as soon as all earlier results are there; what it raises ends
    the run. A fold that replaces `updateFunctionPort` is none of those that this can be for.
    """

    inputPorts: dict[str, Any]
    element: Any
    elementResult: Any
    operation: Callable[[], None]

    def updateFunctionPort(self) -> None:
        """Run the elements; the serial fold calls this from `compute`."""
        _run_in_parallel(self, super().updateFunctionPort)  # type: ignore[misc]

    def looping(self) -> Looping:
        """Return what it runs over, from its ports."""
        return over_list(self)

    def take_result(self, element: Any, result: Any) -> None:
        """Do with an element's result what the fold does with it."""
        self.element, self.elementResult = element, result
        self.operation()


class Map(ParallelFold, SerialMap):
    """Runs a module or a Group once per element of a list, in parallel on an IPython cluster.

    It works like the Map of the Control Flow package: connect the `self` output of a module or Group to FunctionPort, a
    list to InputList, and name the ports. The elements run on the engines of the cluster that the Parallel Flow
    preferences name; where there is none, one can be started. Results come in the list's order.
    """

    _settings = ModuleSettings(name="Map")
    _input_ports: ClassVar = _FOLD_PORTS
    _output_ports: ClassVar = [OPort("Result", "basic:List", docstring="The results, in the order of the list.")]


class Filter(ParallelFold, SerialFilter):
    """Keeps the elements of a list for which a module or a Group gives True, in parallel on an IPython cluster.

    It works like the Filter of the Control Flow package: connect the `self` output of a module or Group to FunctionPort, a
    list to InputList, and name the ports; OutputPort names one that is a Boolean. The elements run on the engines of the
    cluster, as with Map.
    """

    _settings = ModuleSettings(name="Filter")
    _input_ports: ClassVar = _FOLD_PORTS
    _output_ports: ClassVar = [OPort("Result", "basic:List", docstring="The elements, in the order of the list.")]


class For(SerialFor):
    """Runs a module or a Group once for each whole number of a range, in parallel on an IPython cluster.

    It works like the For of the Control Flow package: connect the `self` output of a module or Group to FunctionPort, and
    set HigherBound, the first number for which it is not run any more. The iterations run on the engines of the cluster, as
    Map's elements do. Results come in the numbers' order.
    """

    _settings = ModuleSettings(name="For")
    _input_ports: ClassVar = [
        _FUNCTION,
        IPort(
            "InputPort",
            "basic:String",
            docstring="The name of the module's input port that the number goes to; without it, no number goes anywhere.",
            optional=True,
        ),
        IPort(
            "OutputPort",
            "basic:String",
            docstring="The name of the module's output port to take results from.",
            optional=True,
            default="self",
        ),
        IPort("LowerBound", "basic:Integer", docstring="The first number.", optional=True, default=0),
        IPort("HigherBound", "basic:Integer", docstring="The number after the last one."),
        _KEEP,
    ]
    _output_ports: ClassVar = [OPort("Result", "basic:List", docstring="The results, in the order of the numbers.")]

    def compute(self) -> None:
        """Run the iterations."""
        self._results: list[Any] = []
        if _run_in_parallel(self, super().compute):
            self.set_output("Result", self._results)

    def looping(self) -> Looping:
        """Return what it runs over, from its ports.

        :raises ModuleError: where several modules or none are connected to FunctionPort.
        """
        output: str = self.get_input("OutputPort")
        port: str | None = self.force_get_input("InputPort")
        numbers = range(self.get_input("LowerBound"), self.get_input("HigherBound"))
        functions = self.inputPorts.get("FunctionPort", ())
        if len(functions) > 1:
            raise ModuleError(self, tr("Multiple modules connected on FunctionPort"))
        if not functions:
            raise nothing_connected(self)
        if port is None:
            return Looping([()] * len(numbers), [], output, True, numbers.start, is_range=True)
        return Looping([[number] for number in numbers], [port], output, False, numbers.start, is_range=True)

    def take_result(self, element: Any, result: Any) -> None:
        """Keep an iteration's result."""
        self._results.append(result)

    def setInputValues(self, module: Any, inputPorts: Sequence[str], elementList: Any, iteration: int) -> None:
        """Set an iteration's number as the serial For does, in which a port may be called as one of its own."""
        known = self.__dict__
        own = known["input_specs"]
        known["input_specs"] = {}
        try:
            super().setInputValues(module, inputPorts, elementList, iteration)
        finally:
            known["input_specs"] = own


def _run_in_parallel(module: Any, run_here: Callable[[], None]) -> bool:
    """Run a loop's elements on the cluster, or here, as VisTrails does it.

    :param run_here: does the latter.
    :returns: whether it was on the cluster.
    """
    if engine.inside():  # a loop inside a mapped Group runs in place: its engine is one of many already
        run_here()
        return False
    name = type(module).__name__
    if not _HAS_CLUSTERS:
        told = tr(
            "Clusters need Linux or another Unix; here, Parallel Flow's {loop} runs one element after the other.",
            loop=name,
        )
        _say_and_run(told, "", run_here)
        return False
    from parallelflow.map import versions, window  # the client's half, which engines have no use for
    from parallelflow.map.execution import Execution

    functions = [connector.obj for connector in module.inputPorts.get("FunctionPort", ())]
    if window.has_breakpoint(functions):  # what that is for is a look at the module in VisTrails
        run_here()
        return False
    needs_window = window.needs(functions)
    if needs_window is not None:
        told = tr(
            "{loop}: the module '{module}' needs VisTrails' window, so that the elements run in VisTrails, one after the other.",
            loop=name,
            module=needs_window,
        )
        _say_and_run(told, needs_window, run_here)
        return False
    loop: Loop = module
    with garbage.in_steps():  # a list of many would have Python go through the logs of all earlier Maps
        looping = loop.looping()
    keeps_versions = versions.of_one_file(functions, looping)
    if keeps_versions is not None:
        told = tr(
            "{loop}: the module '{module}' keeps versions of one file, so that the elements run in VisTrails, one after the other:"
            " the last version is that of the last element.",
            loop=name,
            module=keeps_versions,
        )
        _say_and_run(told, keeps_versions, run_here)
        return False
    Execution(module, looping).run()
    return True


# Of which modules loops have said that they run here because of them, and run now.
_said: set[str] = set()


def _say_and_run(told: str, why: str, run_here: Callable[[], None]) -> None:
    """Say once why a loop runs here, not again for each time that a loop inside of it does."""
    if why in _said:
        run_here()
        return
    debug.warning(told)
    _said.add(why)
    try:
        run_here()
    finally:
        _said.discard(why)
