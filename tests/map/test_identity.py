"""What kept results are known by: what makes a plan another one, and what does not. Without engines."""

from __future__ import annotations

from typing import Any

import pytest
from vistrails.core.interpreter.noncached import Interpreter
from workflows import OURS, Flow

from parallelflow.map import execution, identity
from parallelflow.map.identity import PlanIdentity
from parallelflow.map.plan import make_plan
from parallelflow.map.scheduler import MapError


@pytest.fixture
def identity_of(vistrails: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives what the Map in a flow is known by, and runs nothing."""
    made: list[PlanIdentity | str] = []

    def stop(map_module: Any, *arguments: Any) -> Any:
        made.append(identity.of_plan(map_module, make_plan(map_module, *arguments).content))
        raise MapError("planned")

    monkeypatch.setattr(execution, "make_plan", stop)

    def known_by(flow: Any) -> PlanIdentity | str:
        Interpreter.get().execute(flow.build(OURS) if isinstance(flow, Flow) else flow)
        return made.pop()

    return known_by


def flow_with(
    preset: str = "1", elements: str = "[1, 2]", port: str = "value", output: str = "value", other: str = ""
) -> Flow:
    flow = Flow()
    echo = flow.parity("Echo", {"text": preset})
    if other:
        flow.connect(flow.python(f"o = {other}", {}, {"o": "Variant"}), "o", echo, "other")
    flow.map(echo, port, output, elements)
    return flow


def test_a_plan_is_known_by_what_would_run(identity_of: Any) -> None:
    own = identity_of(flow_with()).digest
    assert identity_of(flow_with()).digest == own
    assert identity_of(flow_with(elements="[3, 4, 5]")).digest == own
    others = [
        identity_of(flow_with(preset="2")),
        identity_of(flow_with(port="other")),
        identity_of(flow_with(output="all")),
        identity_of(flow_with(other="5")),
        identity_of(flow_with(other="6")),
    ]
    assert len({own, *(each.digest for each in others)}) == 6
