"""What an element's module leaves out in an engine, it leaves out only where that comes to nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from vistrails.core.interpreter.cached import CachedInterpreter
from vistrails.core.modules.basic_modules import Generator
from vistrails.core.modules.vistrails_module import InvalidOutput, Module, ModuleConnector
from workflows import Flow

import parallelflow.map.stand_ins  # noqa: F401  so that modules can travel
from parallelflow.map import short_way, values
from parallelflow.map.short_way import GivenValue

VISTRAILS_OWN = {name: vars(Module)[name] for name in (*short_way.NOTHING_TO_DO, "update_upstream", "get_input")}

pytestmark = pytest.mark.usefixtures("vistrails")


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an engine, for one test."""
    for name, method in VISTRAILS_OWN.items():
        monkeypatch.setattr(Module, name, method)
    short_way.open_in_this_process()
    short_way.open_in_this_process()  # as often as anybody likes


class Source(GivenValue):
    """A value that notes whether anybody has asked whether it is computed."""

    asked = False

    def update(self) -> None:
        self.asked = True


_alive: list[Any] = []  # what modules know without keeping it


def echo(**presets: str) -> Any:
    """A module with many ports, as VisTrails makes it for a workflow."""
    flow = Flow()
    flow.parity("Echo", presets)
    pipeline = flow.build("")
    interpreter = CachedInterpreter()
    objects, *_ = interpreter.setup_pipeline(pipeline)
    (module,) = objects.values()
    _alive.append((pipeline, interpreter))
    return module


def an_elements(module: Any, /, **given: Any) -> Any:
    """A copy of it with values on ports."""
    element = copy.copy(module)
    short_way.set_plain_values(element, list(given), list(given.values()))
    return element


def source_on(module: Any, value: Any = 1, port: str = "other") -> Source:
    source = Source(value)
    module.set_input_port(port, ModuleConnector(source, "value"))
    return source


def test_nothing_upstream_is_asked_for_and_the_results_are_the_same() -> None:
    module = echo(text="some text", whole="3")
    source = source_on(module)
    short_way.prepare(module, ["value"])
    element = an_elements(module, value=2.5)
    element.update()
    assert not source.asked
    assert element.get_output("all") == {"value": 2.5, "text": "some text", "whole": 3, "other": 1}
    assert element.computed
    assert element.upToDate


@pytest.mark.parametrize("value", [[1, 2], []])
def test_a_list_goes_vistrails_own_way(value: list[int]) -> None:
    module = echo()
    source = source_on(module)
    short_way.prepare(module, ["value"])
    element = an_elements(module, value=value)
    element.update()
    assert source.asked
    assert element.get_output("value") == value


def test_a_copy_of_an_elements_module_goes_vistrails_own_way() -> None:
    module = echo()
    source = source_on(module)
    short_way.prepare(module, ["value"])
    element = copy.copy(an_elements(module, value=1))
    element.update()
    assert source.asked


def test_a_deep_copy_goes_vistrails_own_way_too() -> None:
    module = copy.deepcopy(a_marked_module())
    module.logging = Module().logging
    source = Source(1)
    module.inputPorts["other"] = [ModuleConnector(source, "value")]
    module.update()
    assert source.asked


def a_marked_module() -> Any:
    """An element's module that nothing keeps from being copied."""
    module = Module()
    short_way.prepare(module, ["value"])
    element = an_elements(module, value=1)
    assert all(name in vars(element) for name in short_way.ATTRIBUTES)
    return element


def _with_something_upstream(module: Any) -> None:
    module.set_input_port("other", ModuleConnector(echo(), "value", module.input_specs["other"]))


def _with_a_stream(module: Any) -> None:
    source_on(module, Generator())


def _with_no_valid_value(module: Any) -> None:
    source_on(module, InvalidOutput)


def _with_a_list_to_loop_over(module: Any) -> None:
    source_on(module, [1.0, 2.0], "number")


def _that_loops_while(module: Any) -> None:
    module.control_params["while_max"] = "3"


def _that_caches_jobs(module: Any) -> None:
    module.useJobCache = lambda: True


def _at_the_depth_of_a_list(module: Any) -> None:
    module.list_depth = 1


@pytest.mark.parametrize(
    "change",
    [
        _with_something_upstream,
        _with_a_stream,
        _with_no_valid_value,
        _with_a_list_to_loop_over,
        _that_loops_while,
        _that_caches_jobs,
        _at_the_depth_of_a_list,
    ],
)
def test_a_module_goes_vistrails_own_way(change: Any) -> None:
    module = echo()
    change(module)
    short_way.prepare(module, ["value"])
    element = an_elements(module, value=1)
    assert not any(name in vars(element) for name in short_way.ATTRIBUTES)


@pytest.mark.parametrize(
    "port", ["value", "module", "items", "list", "text", "whole", "number", "truth", "file", "measure", "standard"]
)
@pytest.mark.parametrize("value", [3, 2.5, "a text", True, ""], ids=repr)
def test_a_port_gives_what_it_gives_the_long_way(port: str, value: Any) -> None:
    module = echo()
    short_way.prepare(module, [port])
    element = an_elements(module, **{port: value})
    expected = VISTRAILS_OWN["get_input"](copy.copy(element), port)
    got = element.get_input(port)
    assert type(got) is type(expected)
    assert got == expected


def test_defaults_and_missing_values_are_as_ever() -> None:
    module = echo()
    short_way.prepare(module, ["value"])
    element = an_elements(module, value=1)
    assert element.get_input("standard") == 7
    with pytest.raises(Exception, match="Missing value from port text"):
        element.get_input("text")


def test_a_module_that_is_a_result_travels_without_its_marks() -> None:
    module = echo()
    short_way.prepare(module, ["value"])
    element = an_elements(module, value=1)
    element.update()
    assert all(name in vars(element) for name in short_way.ATTRIBUTES)
    arrived = values.unpack(values.pack(element))
    assert arrived.get_output("value") == 1
    assert not any(name in vars(arrived) for name in short_way.ATTRIBUTES)
