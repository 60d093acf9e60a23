"""The plan: everything about a Map that is the same for all of its elements.

It holds the function modules as VisTrails stores them (XML), the values that arrive on their other ports, and what an
engine's VisTrails needs to run them (see `parallelflow.map.needs`). It is packed once, named by its content, and sent
once to each engine, so that a second run of the same Map sends nothing but elements.

Runs on the client; `parallelflow.map.engine_plan` is its counterpart. May import VisTrails and the map room.
"""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import vistrails.db.versions
from vistrails.core.configuration import get_vistrails_configuration
from vistrails.core.db.locator import XMLFileLocator, ZIPFileLocator
from vistrails.core.modules.basic_modules import Constant, Generator, PathObject
from vistrails.core.modules.sub_module import InputPort
from vistrails.core.modules.vistrails_module import InvalidOutput, Module, ModuleError
from vistrails.core.vistrail.pipeline import Pipeline
from vistrails.db.services.io import serialize as db_serialize

from parallelflow.map import (
    configuration,
    remote_queues,  # noqa: F401  how these travel
    series,
    values,
)
from parallelflow.map.configuration import Configuration
from parallelflow.map.loaded_code import Asked
from parallelflow.map.looping import Looping
from parallelflow.map.needs import Needed, Package, Subworkflow
from parallelflow.map.outcomes import Jobs
from parallelflow.map.seeds import Seeds
from parallelflow.map.series import Start
from parallelflow.texts import tr


@dataclass(frozen=True)
class Spec:
    """A port's type, as text; the engine makes VisTrails' `PortSpec` of it again."""

    name: str
    sigstring: str
    depth: int
    optional: bool


@dataclass(frozen=True)
class Connector:
    """What arrives on one port: a value, or what `source`, another module of the plan, has on its port `source_port`.

    `typecheck` is VisTrails' own; `depth` is the list depth of the module that the value came from, `origin` that module's id
    in the user's pipeline, `source_port` its port.
    """

    port: str
    spec: Spec | None
    typecheck: Any
    source: int | None = None
    source_port: str = ""
    value: Any = None
    depth: int = 0
    origin: int | None = None


@dataclass
class PlannedModule:
    """One module of the plan, by its id in the user's pipeline."""

    module_id: int
    list_depth: int
    signature: Any
    enabled_outputs: list[str]
    connectors: list[Connector] = field(default_factory=list)
    computed: Module | None = None  # itself, where it has been computed already: `stand_ins` says what arrives of it


@dataclass
class Content:
    """What travels to an engine.

    `functions` are the ids of the modules on FunctionPort, `map_id` is the Map's own. `chunk` is the name of the module that runs
    chunks in the Map's place. `made_ready_by` is the name of the class of `parallelflow.map.ready.Ready` that it becomes there.
    """

    made_ready_by: ClassVar = "parallelflow.map.engine_plan:ReadyPlan"

    packages: list[Package]
    subworkflows: list[Subworkflow]
    pipeline: bytes  # XML, its parameters left empty
    parameters: list[str]  # every parameter's text, in the pipeline's order
    modules: list[PlannedModule]
    functions: list[int]
    map_id: int
    is_range: bool  # as `looping.Looping` has it
    input_ports: list[str]
    output_port: str
    files: list[str]  # files and folders that exist here and are named by values on ports
    folder: str  # VisTrails' working folder
    file_pool: str  # where VisTrails keeps files for as long as it runs
    chunk: str = "MapChunk"


@dataclass(frozen=True)
class Run:
    """What is the same for all elements of one run of a Map and different in the next, and so no part of the plan.

    :ivar name: tells runs apart.
    :ivar signature: the Map module's, which the serial Map mixes into its copies'.
    :ivar info: what modules find in their `moduleInfo`, as arguments of VisTrails' interpreter.
    :ivar jobs: what VisTrails' job monitor knows, or None where it monitors no workflow.
    :ivar seeds: what the elements' random numbers follow from.
    :ivar configuration: VisTrails' configuration.
    :ivar series: where the numbers of files begin that output modules write in series.
    :ivar job_interval: how often to look whether a job has finished, in seconds, or 0: leave it to VisTrails.
    :ivar first: the number of the first iteration.
    :ivar asked: what engines are to say of their code; None: nothing is kept.
    """

    name: str
    signature: Any
    info: dict[str, Any]
    jobs: Jobs | None
    seeds: Seeds
    configuration: Configuration
    series: Start
    job_interval: int
    first: int
    asked: Asked | None = None


class Plan:
    """A plan that is ready to be sent.

    :param content: what it says.
    :param pause: called every few milliseconds while large values are packed, or their digest is computed; may raise.
    :raises CannotTravel: when a value in it cannot be pickled.
    """

    def __init__(self, content: Content, pause: Callable[[], None] = lambda: None):
        self.content = content
        self._pause = pause
        self.packed = values.pack(content, pause=pause)

    @cached_property
    def digest(self) -> str:
        """The plan digest: the same for the same content, in whichever session."""
        return values.digest(self.packed, self._pause)

    def sizes(self) -> dict[str, int]:
        """How many bytes the values on the modules' ports have, by the port; takes as long as to pack them."""
        sizes: dict[str, int] = {}
        for module in self.content.modules:
            given = [(connector.port, connector.value) for connector in module.connectors if connector.source is None]
            outputs = {} if module.computed is None else module.computed.outputPorts
            for port, value in [*given, *((port, value) for port, value in outputs.items() if port != "self")]:
                sizes[port] = sizes.get(port, 0) + values.size(values.pack(value, pause=self._pause))
        return sizes


def make_plan(
    map_module: Module,
    functions: Sequence[Module],
    looping: Looping,
    pause: Callable[[], None] = lambda: None,
    chunk: str = "MapChunk",
) -> Plan:
    """Gather what engines need to run `functions`.

    :param map_module: the Map, in the middle of its execution; everything upstream has been updated. It may be one of `functions`,
        which loops over lists on its own ports; an element is then one step of its outermost loop.
    :param functions: the modules on its FunctionPort, in order.
    :param looping: what it runs over.
    :param pause: called every few milliseconds while large values are looked at; may raise.
    :param chunk: the name of the module that runs chunks on engines in the Map's place.
    :raises ModuleError: when a value on another port cannot be sent; the message names port and type.
    """
    pipeline = map_module.moduleInfo["pipeline"]
    gathered = _Gathered(map_module, set(looping.ports))
    for function in functions:
        gathered.add(function, is_function=True)
    stored = [pipeline.modules[module_id].do_copy() for module_id in gathered.modules]
    map_id = map_module.moduleInfo["moduleId"]
    if map_id in gathered.modules:
        gathered.modules[map_id].list_depth -= 1
        map_id = max(pipeline.modules) + 1
    needed = Needed(stored, gathered.types)
    parameters = parameters_of(stored)
    restore_parameters(stored, [""] * len(parameters))  # XML refuses control characters; they travel beside it
    partial = Pipeline(version=vistrails.db.versions.currentVersion)
    for module in stored:
        partial.add_module(module)
    content = Content(
        packages=needed.packages(),
        subworkflows=list(needed.subworkflows.values()),
        pipeline=db_serialize(partial),
        parameters=parameters,
        modules=list(gathered.modules.values()),
        functions=[function.moduleInfo["moduleId"] for function in functions],
        map_id=map_id,
        is_range=looping.is_range,
        input_ports=list(looping.ports),
        output_port=looping.output,
        files=list(gathered.files),
        folder=working_folder(),
        file_pool=map_module.interpreter.filePool.directory,
        chunk=chunk,
    )
    try:
        return Plan(content, pause)
    except values.CannotTravel as error:
        raise _name_the_port(map_module, gathered, error) from error


def working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return ""


def _name_the_port(map_module: Module, gathered: _Gathered, error: values.CannotTravel) -> ModuleError:
    """Find the value that cannot be pickled, so that the message can name its port."""
    for module in gathered.modules.values():
        for connector in module.connectors:
            try:
                values.pack(connector.value)
            except values.CannotTravel as culprit:
                return ModuleError(
                    map_module,
                    tr(
                        "The value on port '{port}' cannot be sent to an engine: {why}.",
                        port=connector.port,
                        why=culprit,
                    ),
                )
        outputs = {} if module.computed is None else module.computed.outputPorts
        for port, value in outputs.items():
            try:
                values.pack(value)
            except values.CannotTravel as culprit:
                return ModuleError(
                    map_module,
                    tr("The value of output '{port}' cannot be sent to an engine: {why}.", port=port, why=culprit),
                )
    return ModuleError(map_module, tr("The modules to run cannot be sent to an engine: {why}.", why=error))


class _Gathered:
    """The modules that must exist on an engine, and what arrives on their ports."""

    def __init__(self, map_module: Module, mapped_ports: set[str]):
        self.map_module = map_module
        self.mapped_ports = mapped_ports
        self.modules: dict[int, PlannedModule] = {}
        self.types: list[str] = []
        self.files: dict[str, None] = {}  # in order

    def add(self, module: Module, is_function: bool = False) -> int:
        module_id = module.moduleInfo["moduleId"]
        if module_id in self.modules:
            return module_id  # type: ignore[no-any-return]
        planned = PlannedModule(
            module_id,
            module.list_depth,
            getattr(module, "signature", None),
            [port for port in module.outputPorts if port != "self"],
        )
        self.modules[module_id] = planned
        if not is_function and module.computed:
            # Used as a value (its `self`): it has run here and must not run again there.
            planned.computed = module
            for value in module.outputPorts.values():
                self._note_files(value)
            return module_id  # type: ignore[no-any-return]
        for port, connectors in module.inputPorts.items():
            if is_function and port in self.mapped_ports:
                continue  # an element takes its place
            for connector in connectors:
                if connector not in module.is_method:
                    planned.connectors += self._connector(port, connector)
                elif isinstance(connector.obj, Constant):  # presets are in the XML
                    self._note_files(connector.get_raw())
        return module_id  # type: ignore[no-any-return]

    def _connector(self, port: str, connector: Any) -> list[Connector]:
        spec = None
        stated = _from_outside(connector)
        if stated.spec is not None:
            stored = stated.spec
            spec = Spec(stored.name, stored.sigstring, stored.depth, bool(stored.optional))
            self.types.append(spec.sigstring)
        source = connector.obj
        value = source.get_output(connector.port)
        if value is InvalidOutput:
            return []
        if isinstance(value, Generator):
            raise ModuleError(
                self.map_module,
                tr("The value on port '{port}' is a stream, which cannot be sent; use a List.", port=port),
            )
        in_pipeline = getattr(source, "moduleInfo", {}).get("pipeline") is not None
        if value is source or (in_pipeline and not source.computed):
            # A module as a value, or one that only its consumer runs (If, ExecuteInOrder): it must exist there.
            return [Connector(port, spec, connector.typecheck, self.add(source), connector.port)]
        self._note_files(value)
        origin = source.moduleInfo["moduleId"] if in_pipeline else None
        return [
            Connector(
                port,
                spec,
                stated.typecheck,
                source_port=connector.port,
                value=value,
                depth=source.list_depth,
                origin=origin,
            )
        ]

    def _note_files(self, value: Any) -> None:
        """Note which files and folders a value names that are there."""
        if isinstance(value, list | tuple) and value and isinstance(value[0], PathObject):
            for each in value:
                self._note_files(each)
        elif isinstance(value, PathObject) and os.path.exists(value.name):
            self.files[os.path.abspath(value.name)] = None


def _from_outside(connector: Any) -> Any:
    """Return the connector that says which type and depth a value has.

    To a port of the Group that a module is in, a value of any type comes; VisTrails asks what it came from outside as.
    """
    source = connector.obj
    return source.inputPorts.get("ExternalPipe", [connector])[0] if isinstance(source, InputPort) else connector


def make_run(
    map_module: Module, jobs: Jobs | None, drawn: Seeds, looping: Looping, asked: Asked | None = None
) -> bytes:
    """Describe this run of a Map to engines.

    :param map_module: the Map, in the middle of its execution.
    :param jobs: what VisTrails' job monitor knows, or None where it monitors no workflow.
    :param drawn: what the elements' random numbers follow from.
    :param looping: what it runs over.
    :param asked: what engines are to say of their code; None if nothing is kept.
    :returns: a `Run`, pickled.
    """
    known = map_module.moduleInfo
    # A file's name, which modules write into their metadata; a database's locator knows a password, and stays here.
    locator = known["locator"] if isinstance(known["locator"], (XMLFileLocator, ZIPFileLocator)) else None
    # Batch mode's folder for output; the rest concerns VisTrails' window.
    extra = {key: value for key, value in known.get("extra_info", {}).items() if key == "pathDumpCells"}
    info = {"current_version": known["version"], "reason": known["reason"], "locator": locator, "extra_info": extra}
    name = uuid.uuid4().hex
    return pickle.dumps(
        Run(
            name,
            map_module.signature,
            info,
            jobs,
            drawn,
            configuration.current(),
            series.start(name, len(looping.elements)),
            _job_interval(known.get("job_monitor")),
            looping.first,
            asked,
        )
    )


def _job_interval(monitor: Any) -> int:
    """How often a module on an engine looks whether its job has finished, in seconds; 0: once, then it is suspended."""
    settings = get_vistrails_configuration()
    # With a window VisTrails shows a dialog for each job while it waits; engines have none, and leave jobs to its job monitor.
    has_window = monitor is not None and monitor.callback is not None and monitor.callback() is not None
    return 0 if has_window or settings.jobAutorun else settings.jobCheckInterval


def parameters_of(modules: Iterable[Any]) -> list[str]:
    """Return the text of every parameter of stored modules, in their order, Groups searched through.

    VisTrails writes a parameter as an XML attribute, which cannot hold control characters.

    :param modules: the modules, as VisTrails stores them.
    """
    return [parameter.strValue for parameter in each_parameter(modules)]


def each_parameter(modules: Iterable[Any]) -> Iterator[Any]:
    """Give every parameter of stored modules, in their order, Groups searched through.

    :param modules: the modules, as VisTrails stores them.
    """
    for module in modules:
        for function in module.functions:
            yield from function.params
        if module.is_group() and not module.is_abstraction():
            yield from each_parameter(module.pipeline.module_list)


def restore_parameters(modules: Iterable[Any], texts: list[str]) -> None:
    """Give every parameter its text back; the counterpart of `parameters_of`.

    :param modules: the modules, as VisTrails stores them.
    :param texts: what `parameters_of` returned; it is empty afterwards.
    """
    for parameter in each_parameter(modules):
        parameter.strValue = texts.pop(0)
