"""VisTrails modules that are values: what travels of them.

A module is tied to its interpreter, its workflow and its log, none of which can leave the process. What another module can
use of it arrives: its class, its outputs, its presets, and what it has noted on itself. A module of the mapped ones that comes
back from an engine becomes a copy of the workflow's own, as the serial Map gives it. Loading this teaches `values` to do so.

May import VisTrails, `parallelflow.map.short_way` and `parallelflow.map.values`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from vistrails.core.modules.module_registry import ModuleRegistryException, get_module_registry
from vistrails.core.modules.vistrails_module import Module, ModuleConnector
from vistrails.core.vistrail.port_spec import PortSpec

from parallelflow.map import short_way, values
from parallelflow.texts import tr

# On an engine: a module's id in the user's pipeline, and the index of the element that a copy of it stands for.
_ID, _ELEMENT = "_parallelflow_id", "_parallelflow_element"

# What VisTrails puts on a module for its own use.
_TIES = {
    "change_parameter",
    "control_params",
    "id",
    "input_remap",
    "input_specs",
    "input_specs_order",
    "inputPorts",
    "interpreter",
    "is_cacheable",
    "is_method",
    "iterated_ports",
    "logging",
    "moduleInfo",
    "output_remap",
    "output_specs",
    "output_specs_order",
    "outputPorts",
    "persistent_modules",
    "pipeline",
    "registry",
    "streamed_ports",
    "_latest_method_order",
    _ID,
    _ELEMENT,
    *short_way.ATTRIBUTES,
}

# What it says of the module's own execution, of which a copy of the workflow's module has its own.
_OF_EXECUTION = {"in_pipeline", "is_breakpoint", "list_depth", "signature"}

Kind = tuple[str, str, str]  # package, name, namespace


def kind_of(module: Module) -> Kind:
    """Return what VisTrails' registry knows a module's class by.

    :param module: any module.
    :raises ModuleRegistryException: for a class that is not registered.
    """
    descriptor = get_module_registry().get_descriptor(type(module))
    return descriptor.identifier, descriptor.name, descriptor.namespace


def make(kind: Kind) -> Module:
    """Make a module that is in no workflow.

    :param kind: what `kind_of` returned, perhaps in another process.
    :raises ModuleRegistryException: for a class that is not registered here.
    """
    registry = get_module_registry()
    module = registry.get_descriptor_by_name(*kind).module()
    module.registry = registry
    return module


def place(module: Module, module_id: int) -> None:
    """Note on an engine which module of the user's pipeline a module is.

    :param module: the engine's module.
    :param module_id: the id in the user's pipeline.
    """
    vars(module)[_ID] = module_id


def note_element(module: Module, index: int) -> None:
    """Note on an engine which element a copy of a mapped module stands for.

    :param module: the copy.
    :param index: the element's in the user's list.
    """
    vars(module)[_ELEMENT] = index


def adopt(stand_in: Module, module: Module) -> Module:
    """Let a stand-in take the place of an engine's module, from which it has what ties it to the workflow.

    :param stand_in: what has arrived of the user's module.
    :param module: the same module as the plan's pipeline has it.
    :returns: the stand-in.
    """
    ties = {name: value for name, value in vars(module).items() if name in _TIES and name != "outputPorts"}
    vars(stand_in).update(ties)
    return stand_in


# Gives a copy of the workflow's own module for an id and an element; where no Map of this process waits for results, None.
_home: Callable[[int, int | None], Module | None] | None = None


@contextlib.contextmanager
def at_home(find: Callable[[int, int | None], Module | None]) -> Iterator[None]:
    """Have modules that come back become copies of the workflow's own.

    :param find: gives one for the id in the pipeline and the index of the element that it stood for, if any; None where the
        workflow has no such module.
    """
    global _home
    before, _home = _home, find
    try:
        yield
    finally:
        _home = before


class LostNote:
    """Stands for something that a module has noted on itself and that cannot be pickled: whoever uses it is told.

    :param reason: a sentence.
    """

    def __init__(self, reason: str):
        self.__dict__["reason"] = reason

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(self.__dict__["reason"])

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Say why it is not there."""
        raise TypeError(self.__dict__["reason"])

    def __repr__(self) -> str:
        return f"<{self.__dict__['reason']}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return LostNote, (self.__dict__["reason"],)


class _Preset(ModuleConnector):
    """Connects a stand-in with a preset that its original has."""


def parts_of(module: Module) -> tuple[dict[str, Any], dict[str, Any], list[tuple[str, Any, str, int]]]:
    """Return what arrives of a module beside its class: its outputs, what it has noted on itself, its presets.

    :param module: any module.
    """
    outputs, notes = _outputs_and_notes(module)
    return outputs, {name: note for name, note in notes.items() if name not in _OF_EXECUTION}, _presets(module)


def _outputs_and_notes(module: Module) -> tuple[dict[str, Any], dict[str, Any]]:
    outputs = {port: value for port, value in module.outputPorts.items() if port != "self"}
    return outputs, {name: value for name, value in vars(module).items() if name not in _TIES}


def _reduce(module: Module, lenient: bool) -> tuple[Any, ...]:
    own = vars(module)
    try:
        kind: Any = kind_of(module)
    except (KeyError, ModuleRegistryException):
        kind = type(module)  # made by another module, and in no palette
    outputs, notes = _outputs_and_notes(module)
    if lenient:
        notes = {name: _note(module, name, value) for name, value in notes.items()}
    info = {name: module.moduleInfo.get(name) for name in ("moduleId", "version", "reason")}
    presets = [] if _ID in own else _presets(module)
    # Its state apart, so that what refers to the module itself finds it made.
    state = outputs, notes, info, presets
    return _make, (kind, own.get(_ID), own.get(_ELEMENT)), state, None, None, _fill


def _note(module: Module, name: str, value: Any) -> Any:
    why = values.why_not(value, [module])
    if why is None:
        return value
    return LostNote(
        tr(
            "what {module} noted as '{name}' has stayed in another process: {why}",
            module=type(module).__name__,
            name=name,
            why=why,
        )
    )


def _presets(module: Module) -> list[tuple[str, Any, str, int]]:
    given = []
    for port, connectors in module.inputPorts.items():
        for connector in connectors:
            is_preset = connector in module.is_method or isinstance(connector, _Preset)
            if is_preset and connector.spec is not None:
                given.append((port, connector.get_raw(), connector.spec.sigstring, connector.spec.depth))
    return given


def _make(kind: Any, module_id: int | None, element: int | None) -> Module:
    if module_id is not None and _home is not None:
        module = _home(module_id, element)
        if module is not None:
            return module
    if isinstance(kind, type):
        made: Module = object.__new__(kind)
        Module.__init__(made)
        return made
    return make(kind)


def _fill(module: Module, state: tuple[dict[str, Any], dict[str, Any], dict[str, Any], list[Any]]) -> None:
    outputs, notes, info, presets = state
    is_home = module.moduleInfo.get("pipeline") is not None
    vars(module).update((name, note) for name, note in notes.items() if not is_home or name not in _OF_EXECUTION)
    module.outputPorts.update(outputs)
    if is_home:
        return
    module.moduleInfo.update(info)
    for port, value, sigstring, depth in presets:
        spec = PortSpec(name=port, type="input", sigstring=sigstring, depth=depth)
        module.set_input_port(port, _Preset(short_way.GivenValue(value), "value", spec))


values.register(Module, _reduce)
