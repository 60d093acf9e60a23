"""The Map on an engine, without one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest


@pytest.mark.parametrize("kind", [bytes, str])
def test_elements_signatures_are_of_the_same_kind_as_the_maps(vistrails: Any, kind: type) -> None:
    from parallelflow.map.chunk_module import MapChunk

    signature = "ab" * 20
    chunk = MapChunk()
    chunk.input_specs = {}
    chunk.prepare([1, 2], [0, 1], signature if kind is str else signature.encode(), lambda index: None)
    inside = SimpleNamespace()
    module = SimpleNamespace(
        input_specs={}, input_remap={"i": inside}, set_input_port=lambda port, connector: None, inputPorts={}
    )
    seen = []
    for iteration in range(2):
        chunk.setInputValues(module, ["i"], [1], iteration)
        assert type(module.signature) is kind
        assert len(module.signature) == 40
        assert isinstance(inside._input_port_signature, bytes)  # as VisTrails mixes it into others
        seen.append((module.signature, inside._input_port_signature))
    assert len(set(seen)) == 2
