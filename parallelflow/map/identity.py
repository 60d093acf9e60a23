"""What a kept result is known by: a digest of what would run, and of the element.

What decides an element's result is in it: the modules with their parameters, what is inside Groups and subworkflows, the values
on other ports, the mapped ports and the output port, the code that they are made of, the version of Python; and the element. Where
modules stand in the workflow, what they are called there and what is upstream of the values is not, nor is the element's index, the
session, the folder or the file pool. What cannot be known for certain is not kept: a result that is not the element's must never be
taken for it.

Runs on the client. May import VisTrails and the map room.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import unquote

from vistrails.core.modules.basic_modules import OutputPath, Path
from vistrails.core.modules.module_registry import ModuleRegistryException, get_module_registry
from vistrails.core.modules.vistrails_module import Module

import parallelflow
from parallelflow.map import configuration, file_contents, loaded_code, made_classes
from parallelflow.map.digests import Digester
from parallelflow.map.hashing import SIZE, Later, Unknown
from parallelflow.map.loaded_code import Loaded
from parallelflow.map.needs import Package
from parallelflow.map.plan import Connector, Content, PlannedModule
from parallelflow.map.source_code import Code
from parallelflow.map.vistrails_values import FileName, Used, ValueDigester
from parallelflow.results.store import BEGIN
from parallelflow.texts import tr

# Changes with how things are written down here, so that what was kept by another way is not found.
_FORMAT = 1


class PlanIdentity:
    """What the results of one plan's elements are known by.

    :param digest: the digest of what is the same for all elements, without `later`.
    :param later: what of it is long, and is hashed when it is asked for.
    :param code: the code that the plan is made of.
    :param made: its classes of modules that packages have made, as `made_classes` has them.
    :param settings: digests of its packages' preferences, by their codepaths.
    :param files: what is in the files and folders that it names.
    :param pool: VisTrails' file pool.
    :param order: a digest of the order in which modules run that are in Groups.
    :param workflow: what the workflow is called.
    :param map_name: what the Map is called in it.
    :param pause: called every few milliseconds while large values are looked at; may raise.
    """

    def __init__(
        self,
        digest: bytes,
        later: Sequence[Later],
        code: Code,
        made: dict[str, bytes],
        settings: dict[str, bytes],
        files: dict[str, bytes],
        pool: str,
        order: bytes,
        workflow: str,
        map_name: str,
        pause: Callable[[], None],
    ):
        self._without_later = digest
        self._later = later
        self._digest = None if later else digest
        self.code = code
        self._made = made
        self._settings = settings
        self.workflow = workflow
        self.map_name = map_name
        self._pool = pool
        self._order = order
        self._pause = pause
        self._files = files
        self._files_of: dict[bytes, dict[str, bytes]] = {}
        self._units: dict[str, bytes | None] = {}  # by the Python module of an element's class

    @property
    def begin(self) -> str:
        """How `name` begins; it takes no time."""
        return self._without_later.hex()[:BEGIN]

    @property
    def name(self) -> str:
        """What is the same for all elements, in hexadecimal digits.

        :raises Unknown: when some of it has been changed since this was made.
        """
        return f"{self.begin}{self.digest.hex()[BEGIN:]}"

    @property
    def digest(self) -> bytes:
        """The digest of what is the same for all elements.

        :raises Unknown: when some of it has been changed since this was made.
        """
        if self._digest is None:
            hashed = hashlib.blake2b(self._without_later, digest_size=SIZE, person=b"later")
            for each in self._later:
                hashed.update(each.digest(self._pause))
            self._digest = hashed.digest()
        return self._digest

    def of_element(self, value: Any) -> bytes | None:
        """Return the digest that keys an element's result.

        :param value: the values that go to the mapped ports, in their order.
        :returns: the key, or None if the element cannot be known for certain, so that it always runs.
        """
        writer = ValueDigester(self._pool, self._pause)
        try:
            key = writer.digest(value, self.digest)
            if writer.modules:
                key = self._with_code(key, writer.modules)
        except Unknown:
            return None
        if writer.files:
            self._files_of[key] = writer.files
        return key

    def of_random(self, key: bytes, seeds: tuple[int | None, int | None], index: int) -> bytes:
        """Return the key of an element that has drawn random numbers, which follow from seeds and its index.

        :param key: the element's.
        :param seeds: the run's, of both generators; None for one that it has not drawn from.
        :param index: the element's in the list.
        """
        about = repr((*seeds, index)).encode() + self._order  # who runs first draws the first numbers
        return hashlib.blake2b(about, key=key, digest_size=SIZE, person=b"random").digest()

    def holds(self) -> bool:
        """Whether the files that the plan names are as they were when this was made. If they are not, results may be of what
        was in them later, and must not be kept."""
        return self._are_still(self._files)

    def is_as_it_was(self, key: bytes) -> bool:
        """Whether the files that an element names are as they were when its key was made.

        :param key: what `of_element` returned.
        """
        return self._are_still(self._files_of.get(key, {}))

    def _are_still(self, files: dict[str, bytes]) -> bool:
        return all(file_contents.is_still(path, digest, self._pause) for path, digest in files.items())

    def why_not(self, loaded: Loaded) -> str | None:
        """Return why results of an engine cannot be kept, a sentence; None if they can.

        :param loaded: what the engine says of the code that it runs.
        """
        if loaded.changed:
            return tr(
                "{file} is not what an engine has loaded of it: start engines anew, so that they run what is there now.",
                file=loaded.changed[0],
            )
        if loaded.python != loaded_code.python():
            own, other = (".".join(map(str, version[:3])) for _, version in (loaded_code.python(), loaded.python))
            return tr("an engine has Python {other}, and VisTrails has {own}.", other=other, own=own)
        for unit, known in self.code.units.items():
            if loaded.units.get(unit) != known:
                return tr("what an engine has of '{unit}' is not what VisTrails has.", unit=unit)
        for name, digest in self._made.items():
            if loaded.made.get(name) != digest:
                module = name.split(":")[1]
                return tr(
                    "what an engine has of the module '{module}' is not what VisTrails has: start engines anew.",
                    module=module,
                )
        for codepath, digest in self._settings.items():
            if digest and loaded.settings.get(codepath) != digest:
                return tr(
                    "the preferences of the package '{package}' are not those with which an engine has loaded it: start engines"
                    " anew.",
                    package=codepath,
                )
        for name, digest in loaded.modules.items():
            path = loaded_code.path_of(name)
            if path is not None and not file_contents.is_still(path, digest, self._pause):
                return tr("{file} is not what an engine has of it: start engines anew.", file=path)
        return None

    def _with_code(self, key: bytes, modules: Iterable[str]) -> bytes:
        hashed = hashlib.blake2b(key=key, digest_size=SIZE, person=b"code")
        for name in sorted(modules):
            if name not in self._units:
                code = Code(self._pause)
                try:
                    code.add_module(name)
                    self._units[name] = code.digest()
                except Unknown:
                    self._units[name] = None
            known = self._units[name]
            if known is None:
                raise Unknown(f"the code of {name}")
            hashed.update(known)
        return hashed.digest()


def of_plan(map_module: Module, content: Content, pause: Callable[[], None] = lambda: None) -> PlanIdentity | str:
    """Return what the results of a plan's elements are known by.

    :param map_module: the Map, in the middle of its execution.
    :param content: what its plan says.
    :param pause: called every few milliseconds while large values and files are looked at; may raise.
    :returns: that, or a sentence why nothing of this plan can be kept.
    """
    return _MapDescription(map_module.moduleInfo["pipeline"], content, pause).identity(*_names(map_module))


class Description(ABC):
    """Describes a plan as plain values; whatever a plan gets has to be in here, or in a test's list of what does not count.

    :param pipeline: the pipeline that the plan is of.
    :param content: what the plan says: packages and a file pool, as `plan.Content` has them; the rest `plan` knows.
    :param pause: called every few milliseconds while large values and files are looked at; may raise.
    """

    def __init__(self, pipeline: Any, content: Any, pause: Callable[[], None]):
        self._stored = pipeline.modules
        self._content = content
        self._pause = pause
        self._code = Code(pause)  # that is found in it
        self._writer = ValueDigester(content.file_pool, pause)
        self._made_classes: dict[str, bytes] = {}
        self._order: list[Any] = []

    def identity(self, workflow: str, map_name: str) -> PlanIdentity | str:
        """Return what the results of the plan's elements are known by, or a sentence why nothing of it can be kept.

        :param workflow: what the workflow is called.
        :param map_name: what the Map, or whatever runs elements, is called in it.
        """
        content, code, writer = self._content, self._code, self._writer
        settings = {each.codepath: settings_of(each) for each in content.packages}
        packages = sorted((each.identifier, each.version, settings[each.codepath]) for each in content.packages)
        try:
            described = packages, *self.plan()
            for package in content.packages:
                if package.prefix is not None:
                    code.add_package(package.prefix + package.codepath)
            # Not by the packages' digest: what is in `described` may be of any class.
            later: list[Later] = []
            writer.later = later
            plan = writer.digest(described)
            writer.later = None
            for name in sorted(writer.modules):
                code.add_module(name)
        except Unknown as error:
            return str(error)
        versions = (_FORMAT, parallelflow.__version__, *loaded_code.python())
        digest = Digester(self._pause).digest((versions, plan, code.digest()))
        pool, made = content.file_pool, self._made_classes
        order = Digester().digest(self._order) if self._order else b""
        return PlanIdentity(
            digest, later, code, made, settings, writer.files, pool, order, workflow, map_name, self._pause
        )

    @abstractmethod
    def plan(self) -> tuple[Any, ...]:
        """Describe all but the packages.

        :raises Unknown: if something of it cannot be known for certain.
        """

    def value(self, connector: Connector) -> tuple[Any, ...]:
        """Describe a value that arrives on a port."""
        return *self._port(connector), "value", connector.value, connector.depth

    def _port(self, connector: Connector) -> tuple[Any, ...]:
        spec = connector.spec and (connector.spec.sigstring, connector.spec.depth, connector.spec.optional)
        typecheck = None if connector.typecheck is None else [bool(each) for each in connector.typecheck]
        return connector.port, spec, typecheck

    # ------------------------------------------------------------ as VisTrails stores it

    def module(self, stored: Any, with_presets: bool = True) -> tuple[Any, ...]:
        """Describe a module.

        :param stored: the module.
        :param with_presets: whether its presets are in it; those inside of a Group are in any case.
        """
        if stored.cache != 1:  # a PythonSource may say otherwise when it runs, but not against the user
            raise Unknown(tr("the cache of the module '{module}' is switched off", module=_label(stored)))
        inner: Any = None
        specs: list[Any] = []
        if stored.is_group() or stored.is_abstraction():
            inner = self._pipeline(stored.pipeline)
        else:
            specs = [_spec(each) for each in stored.port_spec_list]
            inner = self._made(stored)
        return (
            stored.package,
            stored.name,
            stored.namespace or "",
            stored.version,
            str(stored.internal_version or "") if stored.is_abstraction() else "",
            self.presets(stored) if with_presets else [],
            sorted((each.name, each.value) for each in stored.control_parameters),
            sorted(specs),
            inner,
        )

    def _made(self, stored: Any) -> bytes | None:
        kind = made_classes.class_of(stored)
        made = None if kind is None else made_classes.digest_of(kind)
        if made is not None:
            self._made_classes[f"{stored.package}:{stored.name}:{stored.namespace or ''}"] = made
        return made

    def presets(self, stored: Any) -> list[tuple[Any, ...]]:
        """Describe a module's presets.

        :param stored: the module.
        """
        return [self._function(function) for function in stored.functions]

    def _function(self, function: Any) -> tuple[Any, ...]:
        parameters = []
        for parameter in function.params:
            text = parameter.strValue
            if function.name == "source":  # of a PythonSource
                self._code.add_text(unquote(text))
            kind = _kind(parameter)
            is_file = kind is not None and issubclass(kind, Path) and not issubclass(kind, OutputPath)
            parameters.append((parameter.identifier, parameter.type, FileName(text) if is_file and text else text))
        return function.name, parameters

    def _pipeline(self, pipeline: Any) -> tuple[bytes, ...]:
        """Describe what is in a Group: each module by a digest that holds all that is upstream of it, so that it needs no name."""
        into: dict[int, list[Any]] = {}
        for connection in pipeline.connection_list:
            into.setdefault(connection.destination.moduleId, []).append(connection)
        known: dict[int, bytes] = {}

        def upstream(module_id: int) -> bytes:
            if module_id not in known:
                sources = tuple(
                    (each.destination.name, each.source.name, upstream(each.source.moduleId))
                    for each in sorted(into.get(module_id, ()), key=lambda each: each.destination.name)
                )
                known[module_id] = self._writer.fresh().digest((self.module(pipeline.modules[module_id]), sources))
            return known[module_id]

        try:
            found = tuple(sorted(upstream(module_id) for module_id in pipeline.modules))
        except RecursionError as error:
            raise Unknown("what is in a Group is too long a chain") from error
        self._order.append([known[each] for each in pipeline.graph.sinks()])
        for number, connections in into.items():
            if len(connections) > 1:
                sources = [(each.destination.name, known[each.source.moduleId]) for each in connections]
                self._order.append((known[number], sources))
        return found


class _MapDescription(Description):
    """Describes a Map's plan."""

    def __init__(self, pipeline: Any, content: Content, pause: Callable[[], None]):
        super().__init__(pipeline, content, pause)
        self._modules = {module.module_id: module for module in content.modules}
        self._described: dict[int, tuple[Any, ...]] = {}

    def plan(self) -> tuple[Any, ...]:
        content: Content = self._content
        functions = [self._planned(module_id) for module_id in content.functions]
        ports = list(content.input_ports), content.output_port
        return functions, ports, content.is_range, content.chunk

    def _planned(self, module_id: int) -> tuple[Any, ...]:
        if module_id not in self._described:
            module = self._modules[module_id]
            self._described[module_id] = (
                self.module(self._stored[module_id]),
                module.list_depth,
                sorted(module.enabled_outputs),
                [self._connector(connector) for connector in module.connectors],
                self._computed(module),
            )
        return self._described[module_id]

    def _connector(self, connector: Connector) -> tuple[Any, ...]:
        if connector.source is None:
            return self.value(connector)
        return *self._port(connector), "module", self._planned(connector.source), connector.source_port

    def _computed(self, module: PlannedModule) -> Any:
        return None if module.computed is None else Used(module.computed)


def _spec(spec: Any) -> tuple[Any, ...]:
    labels = [(item.pos, item.label, item.default, item.db_values) for item in spec.port_spec_items]
    return (
        spec.type,
        spec.name,
        spec.sigstring,
        spec.depth,
        bool(spec.optional),
        spec.sort_key,
        spec.min_conns,
        spec.max_conns,
        repr(labels),
    )


def _kind(parameter: Any) -> type | None:
    try:
        found = get_module_registry().get_descriptor_by_name(
            parameter.identifier, parameter.type, parameter.namespace or ""
        )
    except ModuleRegistryException:
        return None
    return found.module  # type: ignore[no-any-return]


def settings_of(package: Package) -> bytes:
    """Return a digest of what a package's preferences say that its modules may go by.

    :param package: a package that is enabled.
    """
    if package.identifier == parallelflow.IDENTIFIER:
        return b""  # where and how elements run
    return configuration.of_package(package.codepath)


def _label(stored: Any) -> str:
    """What a module is called in the workflow."""
    if stored.has_annotation_with_key("__desc__"):
        return str(stored.get_annotation_by_key("__desc__").value)
    return str(stored.name)


def _names(map_module: Module) -> tuple[str, str]:
    """What a workflow and a Map in it are called, for a list that the user reads."""
    info = map_module.moduleInfo
    locator = info.get("locator")
    workflow = getattr(locator, "name", None) or info.get("vistrailName") or ""
    stored = info["pipeline"].modules[info["moduleId"]]
    if stored.has_annotation_with_key("__desc__"):
        return str(workflow), _label(stored)
    names = [type(connector.obj).__name__ for connector in map_module.inputPorts.get("FunctionPort", ())]
    return str(workflow), f"{stored.name} ({', '.join(names)})" if names else str(stored.name)
