"""The short way through VisTrails for an element's module.

For every element VisTrails runs what is upstream of its module, looks for ports to loop over, for streams and for a job cache,
and asks the registry for types when the module takes its input. With a number or a text on the port and nothing upstream that
is yet to be computed, all of that comes to nothing. It was a third to a half of what VisTrails spends on an element, and most
after one that slept or waited for a disk: by then the processor has forgotten so much code. So in an engine VisTrails' `Module`
leaves it out for a module that is marked. Every other one, a copy of a marked one too, goes VisTrails' own way.

May import VisTrails.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

from vistrails.core.modules.basic_modules import Constant, List, get_module
from vistrails.core.modules.vistrails_module import InvalidOutput, Module, ModuleConnector
from vistrails.core.vistrail.port_spec import PortSpec

# Values of which VisTrails wants to know no more than their type; those but for lists are never looped over, either.
PLAIN_TYPES = frozenset({bool, int, float, str, list})
_NEVER_LOOPED_OVER = PLAIN_TYPES - {list}

# Methods of VisTrails' modules that a marked one leaves out.
NOTHING_TO_DO = ("set_iterated_ports", "set_streamed_ports", "setJobCache", "addJobCache")

# Attributes of modules. The first holds the ports on which a plain value can be handed over as it is; the second, the module's
# own identity: a copy has another's.
_PORTS, _MARK = "_short_way_ports", "_short_way"

# What is not for other processes.
ATTRIBUTES = frozenset({_PORTS, _MARK})


class GivenValue:
    """Stands in for the module that a value came from; has what a `ModuleConnector` asks of its module.

    :param value: the value.
    :param depth: how many loops over lists it comes from.
    :param origin: the id of the module that it came from in the user's pipeline; None if it was in none.
    """

    def __init__(self, value: Any, depth: int = 0, origin: int | None = None):
        self.value = value
        self.list_depth = depth
        self.origin = origin
        if origin is not None:
            # By this attribute VisTrails tells a workflow's modules from others when one is to carry an error.
            self.interpreter = None

    def get_output(self, port: str) -> Any:
        """Return the value."""
        return self.value

    def update(self) -> None:
        """Nothing to do: it has been computed."""

    def update_upstream(self) -> None:
        """Nothing to do: it has been computed."""

    def clear(self) -> None:
        """Let go of the value."""
        self.value = None


class _PlainConnector(ModuleConnector):
    """Connects a plain value with a port that takes it as it is."""

    def __init__(self, value: Any, spec: PortSpec):
        self.value = value
        self.obj, self.port, self.spec, self.typecheck = GivenValue(value), "value", spec, None


def look_up_types(spec: PortSpec) -> PortSpec:
    """Have a port's types looked up once, not ten times per element.

    :param spec: the port, in a pipeline that does not change any more.
    """
    found = spec.descriptors()
    spec.descriptors = lambda: found
    return spec


_specs: dict[type, PortSpec] = {}


def _spec_of(value: Any) -> PortSpec:
    kind = type(value)
    if kind not in _specs:
        _specs[kind] = look_up_types(PortSpec(signature=get_module(value)))
    return _specs[kind]


def prepare(module: Module, mapped: Iterable[str]) -> None:
    """Note on a module whether its copies, one per element, can go the short way.

    :param module: a module on FunctionPort, with all that is connected to it.
    :param mapped: the ports that elements go to.
    """
    given = [
        (port, each) for port, connectors in module.inputPorts.items() if port not in mapped for each in connectors
    ]
    if not all(_is_known(each) for _, each in given):
        return
    module.set_iterated_ports()
    module.set_streamed_ports()
    loops = module.iterated_ports or module.streamed_ports or module.list_depth or module.control_params
    if loops or module.useJobCache():
        return
    simple = {name for name, spec in module.input_specs.items() if not spec.depth and not _is_list(spec)}
    for port, connector in given:
        value = connector.get_raw()
        if (
            port in simple
            and type(value) in _NEVER_LOOPED_OVER
            and not connector.spec.depth
            and not any(connector.typecheck or ())
        ):
            connector.__class__, connector.value = _PlainConnector, value
    vars(module)[_PORTS] = frozenset(simple.intersection(mapped))


def _is_known(connector: ModuleConnector) -> bool:
    """Whether what a connector brings has been computed for good: a value that came with the plan, or a preset."""
    source = connector.obj
    preset = isinstance(source, Constant) and source.upToDate and not source.inputPorts
    return (preset or isinstance(source, GivenValue)) and connector.get_raw() is not InvalidOutput


def _is_list(spec: PortSpec) -> bool:
    return [descriptor.module for descriptor in spec.descriptors()] == [List]


def set_plain_values(module: Module, ports: Sequence[str], values: Sequence[Any]) -> None:
    """Do what VisTrails does to set values of any type, without looking up their types each time.

    :param module: an element's module.
    :param ports: the names of the ports that the values go to.
    :param values: as many, each of one of `PLAIN_TYPES`.
    """
    notes = vars(module)
    simple = notes.get(_PORTS)
    for value, port in zip(values, ports, strict=False):
        spec = _spec_of(value)
        if simple is not None and port in simple:
            connector = _PlainConnector(value, spec)
        else:
            connector = ModuleConnector(GivenValue(value), "value", spec)
        module.inputPorts.pop(port, None)  # so that it is the last one, as in VisTrails
        module.set_input_port(port, connector)
    if simple is not None and _NEVER_LOOPED_OVER.issuperset(map(type, values)):
        notes[_MARK] = id(module)


def open_in_this_process() -> None:
    """Have VisTrails' modules take the short way where they are marked. Further calls change nothing."""
    if Module.get_input is not _get_input:
        for name in NOTHING_TO_DO:
            setattr(Module, name, _left_out(getattr(Module, name)))
        Module.update_upstream = _update_upstream
        Module.get_input = _get_input


_get_any_input = Module.get_input
_update_all_upstream = Module.update_upstream


def _is_marked(module: Module) -> bool:
    mark: int | None = vars(module).get(_MARK)
    return mark == id(module)


def _left_out(method: Any) -> Any:
    @functools.wraps(method)
    def leave_out(self: Module) -> Any:
        return False if _is_marked(self) else method(self)

    return leave_out


@functools.wraps(_update_all_upstream)
def _update_upstream(self: Module) -> None:
    # While it computes, it may connect something and call this itself; VisTrails has `had_error` set then.
    if self.had_error or not _is_marked(self):
        _update_all_upstream(self)


@functools.wraps(_get_any_input)
def _get_input(self: Module, port_name: str, allow_default: bool = True) -> Any:
    connectors = self.inputPorts.get(port_name)
    if connectors and type(connectors[0]) is _PlainConnector and _is_marked(self):
        return connectors[0].value
    return _get_any_input(self, port_name, allow_default)
