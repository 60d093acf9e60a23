"""Builds vistrails with VisTrails' own controller, step by step as a user does in its window. Needs VisTrails started."""

from __future__ import annotations

import datetime
import textwrap
import urllib.parse
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASIC = "org.vistrails.vistrails.basic"
CONTROL_FLOW = "org.vistrails.vistrails.control_flow"
PARALLEL_FLOW = "org.vistrails.parallelflow"
PYTHON_CALC = "org.vistrails.vistrails.pythoncalc"
MATPLOTLIB = "org.vistrails.vistrails.matplotlib"
VTK = "org.vistrails.vistrails.vtk"

# The same in each saved vistrail, so that making it anew changes nothing that nobody changed.
_USER = "parallelflow"
_DATE = datetime.datetime(2026, 1, 1)


@dataclass(frozen=True)
class Default:
    """A parameter's value together with an alias, by which a command line can set it."""

    value: object
    alias: str


@dataclass(frozen=True)
class Mapped:
    """How a Map is connected.

    :param function: the id of the module to run
    :param ports: the names of its input ports that an element goes to
    :param output: the name of its output port that results are taken from
    :param elements: the module and the output port that the list comes from
    :param results: the module and the input port that the results go to
    """

    place: tuple[float, float]
    label: str
    function: int
    ports: list[str]
    output: str
    elements: tuple[int, str]
    results: tuple[int, str]


class Vistrail:
    """A vistrail in the making; what is added continues its current version."""

    def __init__(self) -> None:
        from vistrails.core.db.io import load_vistrail
        from vistrails.core.db.locator import UntitledLocator
        from vistrails.core.vistrail.controller import VistrailController

        locator = UntitledLocator()
        self._controller: Any = VistrailController(load_vistrail(locator)[0], locator, auto_save=False)
        self._controller.change_selected_version(0)

    @property
    def version(self) -> int:
        """The current version's number."""
        return int(self._controller.current_version)

    def go_back_to(self, version: int) -> None:
        """Continue from an earlier version."""
        self._controller.change_selected_version(version)

    def add(
        self,
        name: str,
        place: tuple[float, float],
        label: str = "",
        package: str = BASIC,
        /,
        **values: object,
    ) -> int:
        """Add a module and return its id.

        :param place: where it lies, in columns to the right and rows up
        :param label: what it is called in the pipeline
        :param values: values for its input ports; a Default also has an alias
        """
        x, y = place
        module = self._controller.add_module(package, name, x=230.0 * x, y=110.0 * y)
        if label:
            self._controller.add_annotation(("__desc__", label), module.id)
        self.set(module.id, **values)
        return int(module.id)

    def add_source(
        self,
        place: tuple[float, float],
        label: str,
        code: str,
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
        /,
        **values: object,
    ) -> int:
        """Add a PythonSource and return its id.

        :param code: Python code, in which each input port is a variable, and which sets a variable for each output port
        :param inputs: input ports' names and types, of the basic modules
        :param outputs: output ports' names and types
        """
        number = self.add("PythonSource", place, label)
        ports = [
            (kind, name, f"{BASIC}:{type_name}", key)
            for kind, those in (("input", inputs), ("output", outputs))
            for key, (name, type_name) in enumerate(those.items())
        ]
        source = urllib.parse.quote(textwrap.dedent(code).strip() + "\n")
        self._controller.update_ports_and_functions(number, [], ports, [("source", [source])])
        self.set(number, **values)
        return number

    def connect_variable(
        self, name: str, type_name: str, value: object, target: int, port: str, place: tuple[float, float]
    ) -> None:
        """Make a variable of the vistrail, and connect it to an input port.

        :param type_name: its type, of the basic modules
        :param place: where the module lies that it is in the pipeline, and that VisTrails hides
        """
        from vistrails.core.modules.module_registry import get_module_registry
        from vistrails.core.vistrail.vistrailvariable import VistrailVariable

        variable = VistrailVariable(name, name, BASIC, type_name, "", str(value))
        self._controller.vistrail.set_vistrail_var(name, variable)
        descriptor = get_module_registry().get_descriptor_by_name(BASIC, type_name)
        x, y = place
        module = self._controller.current_pipeline.modules[target]
        self._controller.connect_vistrail_var(descriptor, name, module, port, 230.0 * x, 110.0 * y)

    def set(self, number: int, /, **values: object) -> None:
        """Set parameters of a module, by the names of its input ports; a tuple is for a port that takes several."""
        for port, value in values.items():
            text, alias = (value.value, value.alias) if isinstance(value, Default) else (value, "")
            module = self._controller.current_pipeline.modules[number]
            texts = [str(part) for part in text] if isinstance(text, tuple) else [str(text)]
            self._controller.update_function(module, port, texts, aliases=[alias] if alias else [])

    def mark(self, number: int) -> None:
        """Mark a module, so that its loops run in parallel."""
        from parallelflow.map.marks import KEY

        self._controller.add_annotation((KEY, "parallel"), number)

    def move(self, number: int, place: tuple[float, float]) -> None:
        """Move a module to another place."""
        x, y = place
        self._controller.move_module_list([(number, 230.0 * x, 110.0 * y)])

    def connect(self, source: int, output: str, target: int, port: str) -> None:
        """Connect an output port to an input port."""
        self._controller.add_connection(source, output, target, port)

    def group(self, numbers: Sequence[int], label: str) -> int:
        """Make a Group of modules that are only connected among themselves, and return its id."""
        inside = set(numbers)
        pipeline = self._controller.current_pipeline
        connections = [
            c.id for c in pipeline.connection_list if c.source.moduleId in inside and c.destination.moduleId in inside
        ]
        group = self._controller.create_group(list(numbers), connections)
        self._controller.add_annotation(("__desc__", label), group.id)
        return int(group.id)

    def tag(self, name: str, notes: str) -> None:
        """Name the current version.

        :param notes: what VisTrails shows beside it, plain text; an empty line begins a new paragraph
        """
        self._controller.vistrail.set_tag(self.version, name)
        paragraphs = textwrap.dedent(notes).strip().split("\n\n")
        html = "".join(f"<p>{' '.join(paragraph.split())}</p>" for paragraph in paragraphs)
        self._controller.vistrail.set_notes(self.version, html)

    def explore(
        self,
        name: str,
        explored: Mapping[tuple[int, str], Sequence[object] | str],
        sizes: Sequence[int] = (),
        layout: Mapping[tuple[str, int], tuple[int, int]] | None = None,
    ) -> None:
        """Add a parameter exploration of the current version.

        :param name: what it is called
        :param explored: a module's id and an input port, each of a dimension of its own (columns, rows, sheets), with the values,
            or the code of a function that gives them
        :param sizes: how many values each has, where that is not to be counted
        :param layout: which row and column each of a workflow's cells gets, by its module's name and its number
        """
        from vistrails.core.paramexplore.function import PEFunction
        from vistrails.core.paramexplore.param import PEParam
        from vistrails.core.paramexplore.paramexplore import ParameterExploration

        counts = list(sizes) or [len(values) for values in explored.values()]
        exploration = ParameterExploration(
            dims=str((counts + [1] * 4)[:4]),
            layout=repr(dict(layout or {})),
            name=name,
            date=_DATE,
            user=_USER,
            action_id=self.version,
        )
        scope = self._controller.vistrail.idScope
        for dimension, ((number, port), values) in enumerate(explored.items()):
            is_code = isinstance(values, str)
            parameter = PEParam(
                id=scope.getNewId(PEParam.vtType),
                pos=0,
                interpolator="User-defined Function" if is_code else "List",
                value=values if is_code else repr([str(value) for value in values]),
                dimension=dimension,
            )
            exploration.db_add_function(
                PEFunction(
                    id=scope.getNewId(PEFunction.vtType),
                    module_id=number,
                    port_name=port,
                    is_alias=0,
                    parameters=[parameter],
                )
            )
        self._controller.vistrail.add_paramexp(exploration)

    def save(self, path: Path) -> None:
        """Write the vistrail into a `.vt` file."""
        from vistrails.core.db.locator import FileLocator

        vistrail = self._controller.vistrail
        for part in [*vistrail.actions, *vistrail.action_annotations]:
            part.db_user = _USER
            part.db_date = _DATE
        path.unlink(missing_ok=True)
        locator = FileLocator(str(path))
        self._controller.write_vistrail(locator)
        locator.close()
        _pack_again(path)


def _pack_again(path: Path) -> None:
    """Compress a `.vt` file, with the same dates each time."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, _DATE.timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)


def both_ways(vistrail: Vistrail, mapped: Mapped, notes: str) -> None:
    """Finish a workflow twice: with Control Flow's Map, as the version "Serial", and with ours, as the version "Parallel"."""
    begun = vistrail.version
    for tag, package, difference in (
        ("Serial", CONTROL_FLOW, "This version uses Control Flow's Map, which runs one element after the other."),
        (
            "Parallel",
            PARALLEL_FLOW,
            "This version uses Parallel Flow's Map, which runs them on all engines of the cluster.",
        ),
    ):
        vistrail.go_back_to(begun)
        ports = {"InputPort": mapped.ports, "OutputPort": mapped.output}
        number = vistrail.add("Map", mapped.place, mapped.label, package, **ports)
        vistrail.connect(mapped.function, "self", number, "FunctionPort")
        vistrail.connect(*mapped.elements, number, "InputList")
        vistrail.connect(number, "Result", *mapped.results)
        vistrail.tag(tag, f"{textwrap.dedent(notes).strip()}\n\n{difference}")
