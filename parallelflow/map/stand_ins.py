"""VisTrails modules that are values: what travels of them.

A module is tied to its interpreter, its workflow and its log, none of which can leave the process. What another module can
use of it arrives: its class, its outputs, and what it has noted on itself. Loading this teaches `values` to do so.

May import VisTrails, `parallelflow.map.short_way` and `parallelflow.map.values`.
"""

from __future__ import annotations

from typing import Any

from vistrails.core.modules.module_registry import get_module_registry
from vistrails.core.modules.vistrails_module import Module

from parallelflow.map import short_way, values

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
    *short_way.ATTRIBUTES,
}

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


def _reduce(module: Module) -> tuple[Any, ...]:
    outputs = {port: value for port, value in module.outputPorts.items() if value is not module}
    notes = {name: value for name, value in vars(module).items() if name not in _TIES}
    info = {name: module.moduleInfo.get(name) for name in ("moduleId", "version", "reason")}
    # Its state apart, so that what refers to the module itself finds it made.
    return make, (kind_of(module),), (outputs, notes, info), None, None, _fill


def _fill(module: Module, state: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]) -> None:
    outputs, notes, info = state
    vars(module).update(notes)
    module.outputPorts.update(outputs)
    module.moduleInfo.update(info)


values.register(Module, _reduce)
