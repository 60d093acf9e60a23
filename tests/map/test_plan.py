"""What a plan holds, what it is named by, and what an engine needs for it. Without engines."""

from __future__ import annotations

from typing import Any

import pytest
from vistrails.core.interpreter.noncached import Interpreter
from workflows import OURS, PARITY, Flow

from parallelflow.map import execution
from parallelflow.map.plan import Plan, make_plan
from parallelflow.map.scheduler import MapError


@pytest.fixture
def plan_of(vistrails: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the plan of the Map in a flow, and runs nothing."""
    made: list[Plan] = []

    def stop(*arguments: Any) -> Plan:
        made.append(make_plan(*arguments))
        raise MapError("planned")

    monkeypatch.setattr(execution, "make_plan", stop)

    def plan(flow: Flow) -> Plan:
        Interpreter.get().execute(flow.build(OURS))
        return made.pop()

    return plan


def flow_with(
    preset: str = "1", elements: str = "[1, 2]", port: str = "value", output: str = "value", other: str = ""
) -> Flow:
    flow = Flow()
    echo = flow.parity("Echo", {"text": preset})
    if other:
        flow.connect(flow.python(f"o = {other}", {}, {"o": "Variant"}), "o", echo, "other")
    flow.map(echo, port, output, elements)
    return flow


def test_a_plan_is_named_by_its_content_alone(plan_of: Any) -> None:
    name = plan_of(flow_with()).digest
    assert plan_of(flow_with()).digest == name
    assert plan_of(flow_with(elements="[3, 4, 5]")).digest == name
    others = [
        plan_of(flow_with(preset="2")),
        plan_of(flow_with(port="other")),
        plan_of(flow_with(output="all")),
        plan_of(flow_with(other="5")),
        plan_of(flow_with(other="6")),
    ]
    assert len({name, *(each.digest for each in others)}) == 6


def test_what_arrives_on_other_ports_travels_as_a_value(plan_of: Any) -> None:
    content = plan_of(flow_with(other="{'a': 5}")).content
    (module,) = content.modules
    assert [(each.port, each.value, each.source) for each in module.connectors] == [("other", {"a": 5}, None)]


def test_a_large_value_lies_beside_the_plan_and_is_not_copied_into_it(plan_of: Any) -> None:
    head, *buffers = plan_of(flow_with(other="__import__('numpy').zeros(1_000_000)")).packed
    assert [memoryview(each).nbytes for each in buffers] == [8_000_000]
    assert len(head) < 100_000


def test_a_plan_needs_what_is_inside_groups_and_subworkflows(plan_of: Any) -> None:
    inner = Flow()
    inner.inputs["value"] = (inner.parity("Echo"), "value")
    inner.outputs["value"] = (0, "value")
    middle = Flow()
    number = middle.subworkflow("planned", inner)
    middle.inputs["value"], middle.outputs["value"] = (number, "value"), (number, "value")
    flow = Flow()
    flow.map(flow.group(middle), "value", "value", "[1]")
    content = plan_of(flow).content
    identifiers = [package.identifier for package in content.packages]
    assert PARITY in identifiers
    assert [sub.name for sub in content.subworkflows] == ["planned"]


def test_each_package_comes_after_what_it_depends_on(plan_of: Any) -> None:
    identifiers = [package.identifier for package in plan_of(flow_with()).content.packages]
    assert identifiers.index("org.vistrails.vistrails.control_flow") < identifiers.index(OURS)
    assert identifiers.index("org.vistrails.vistrails.basic") < identifiers.index(PARITY)
