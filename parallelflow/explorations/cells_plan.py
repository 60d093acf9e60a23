"""The plan of an exploration: the pipeline down to where VisTrails takes over, and the values that arrive there from above.

Runs on the client; `parallelflow.explorations.engine_cells` is its counterpart. May import VisTrails and the map room.
"""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import vistrails.db.versions
from vistrails.core.modules.basic_modules import Generator, PathObject
from vistrails.core.modules.basic_modules import identifier as basic_pkg
from vistrails.core.modules.vistrails_module import InvalidOutput
from vistrails.core.vistrail.pipeline import Pipeline
from vistrails.db.services.io import serialize as db_serialize

from parallelflow.explorations.cells import Cell
from parallelflow.explorations.cut import Cut, sources
from parallelflow.explorations.outcomes import Texts
from parallelflow.map import configuration, series, values
from parallelflow.map.loaded_code import Asked
from parallelflow.map.needs import Needed, Package, Subworkflow
from parallelflow.map.plan import (
    Connector,
    Run,
    Spec,
    each_parameter,
    parameters_of,
    restore_parameters,
    working_folder,
)
from parallelflow.map.seeds import Seeds


@dataclass
class CellsContent:
    """What travels to an engine.

    `given` is what is connected to the modules' ports from outside of the plan, by module; `wanted` are the ports that VisTrails
    has to be given the values of. The rest is as in `parallelflow.map.plan.Content`.
    """

    made_ready_by: ClassVar = "parallelflow.explorations.engine_cells:ReadyCells"
    output_port: ClassVar = ""

    packages: list[Package]
    subworkflows: list[Subworkflow]
    pipeline: bytes
    parameters: list[str]
    given: dict[int, list[Connector]]
    wanted: dict[int, set[str]]
    files: list[str]
    folder: str
    file_pool: str


class CellsPlan:
    """A plan that is ready to be sent, and what each cell is to it.

    :param content: what it says.
    :param cells: by cell, the text of each of the plan's parameters.
    :param are_files: of each of these, whether it is a file or folder by its type.
    :raises CannotTravel: when a value in it cannot be pickled.
    """

    def __init__(self, content: CellsContent, cells: Sequence[Sequence[str]], are_files: Sequence[bool]):
        self.content = content
        self.packed = values.pack(content)
        self._cells = cells
        self._are_files = are_files

    @cached_property
    def digest(self) -> str:
        """The plan digest: the same for the same content, in whichever session."""
        return values.digest(self.packed)

    def texts(self, index: int) -> Texts:
        """Return what a cell is to engines.

        :param index: the cell's.
        """
        first = self.content.parameters
        return {place: text for place, text in enumerate(self._cells[index]) if text != first[place]}

    def named(self) -> list[list[Any]]:
        """Return what the cells' parameters name, each once, as elements: files and folders, and texts that may mean others."""
        found = dict.fromkeys(each for cell in self._cells for each in zip(self._are_files, cell, strict=True))
        return [[PathObject(text) if is_file else text] for is_file, text in found]


def make_plan(cells: Sequence[Cell], where: Cut, objects: dict[int, Any], pause: Callable[[], None]) -> CellsPlan:
    """Gather what engines need.

    :param cells: all cells.
    :param where: where their pipelines are cut; what gives values that cannot travel, but can be computed there, is added to what
        runs on engines.
    :param objects: the modules of the first cell, by id, of which those in `where.common` have been computed.
    :param pause: called now and then; may raise.
    """
    pipeline = cells[0].pipeline
    reverse = {id(module): module_id for module_id, module in objects.items()}
    while True:
        pause()
        gathered = _Gathered(objects, reverse, where.engines)
        cannot = gathered.cannot_travel()
        if not cannot:
            break
        where.engines |= cannot
    where.common = sources(pipeline, where.engines) - where.engines
    order = [module.id for module in pipeline.module_list if module.id in where.engines]
    stored = [pipeline.modules[module_id].do_copy() for module_id in order]
    needed = Needed(stored, gathered.types)
    parameters = parameters_of(stored)
    partial = Pipeline(version=vistrails.db.versions.currentVersion)
    for module in stored:
        partial.add_module(module)
    for connection in pipeline.connection_list:
        if {connection.sourceId, connection.destinationId} <= where.engines:
            partial.add_connection(connection.do_copy())
    restore_parameters(stored, [""] * len(parameters))  # XML refuses control characters; they travel beside it
    interpreter = next(iter(objects.values())).interpreter
    content = CellsContent(
        packages=needed.packages(),
        subworkflows=list(needed.subworkflows.values()),
        pipeline=db_serialize(partial),
        parameters=parameters,
        given=gathered.given,
        wanted=where.wanted,
        files=list(gathered.files),
        folder=working_folder(),
        file_pool=interpreter.filePool.directory,
    )
    texts = [parameters_of(cell.pipeline.modules[each] for each in order) for cell in cells]
    return CellsPlan(content, texts, list(map(_is_file, each_parameter(pipeline.modules[each] for each in order))))


def _is_file(parameter: Any) -> bool:
    return parameter.identifier == basic_pkg and parameter.type in ("File", "Directory", "Path")


class _Gathered:
    """What arrives on ports of the modules of a plan from others, which have been computed."""

    def __init__(self, objects: dict[int, Any], ids: dict[int, int], engines: set[int]):
        self._ids = ids
        self.given: dict[int, list[Connector]] = {}
        self.types: list[str] = []
        self.files: dict[str, None] = {}  # in order
        self._untold: set[int] = set()
        for module_id in sorted(engines):
            self._add(objects, module_id, engines)

    def _add(self, objects: dict[int, Any], module_id: int, engines: set[int]) -> None:
        module = objects[module_id]
        for port, connectors in module.inputPorts.items():
            for connector in connectors:
                source = self._ids.get(id(connector.obj))
                if connector in module.is_method or source is None or source in engines:
                    continue
                value = connector.obj.get_output(connector.port)
                if value is InvalidOutput:
                    continue
                if value is connector.obj or isinstance(value, Generator) or not connector.obj.upToDate:
                    self._untold.add(source)  # a module as a value, a stream, or what only its consumer runs
                    continue
                self.given.setdefault(module_id, []).append(self._connector(port, connector, value, source))

    def _connector(self, port: str, connector: Any, value: Any, source: int) -> Connector:
        spec = None
        if connector.spec is not None:
            stored = connector.spec
            spec = Spec(stored.name, stored.sigstring, stored.depth, bool(stored.optional))
            self.types.append(spec.sigstring)
        if isinstance(value, PathObject) and os.path.exists(value.name):
            self.files[os.path.abspath(value.name)] = None
        return Connector(
            port,
            spec,
            connector.typecheck,
            source_port=connector.port,
            value=value,
            depth=connector.obj.list_depth,
            origin=source,
        )

    def cannot_travel(self) -> set[int]:
        """The modules of which a value cannot be sent."""
        found = set(self._untold)
        try:
            values.pack(self.given)
        except values.CannotTravel:
            for connectors in self.given.values():
                for connector in connectors:
                    try:
                        values.pack(connector.value)
                    except values.CannotTravel:
                        assert connector.origin is not None
                        found.add(connector.origin)
        return found


def make_run(arguments: dict[str, Any], drawn: Seeds, cells: int, asked: Asked | None = None) -> bytes:
    """Describe this run of an exploration to engines.

    :param arguments: what VisTrails' interpreter gets for the first cell.
    :param drawn: what the cells' random numbers follow from.
    :param cells: how many there are.
    :param asked: what engines are to say of their code; None if nothing is kept.
    :returns: a `parallelflow.map.plan.Run`, pickled.
    """
    name = uuid.uuid4().hex
    known = ("current_version", "reason", "locator")
    info = {each: arguments.get(each) for each in known}
    configured, start = configuration.current(), series.start(name, cells)
    return pickle.dumps(Run(name, "", info, None, drawn, configured, start, job_interval=0, first=0, asked=asked))
