"""What VisTrails exports of a run (OPM, PROV) is the same graph after either Map."""

from __future__ import annotations

import contextlib
import io
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from parity import OUR_NOTES, PACKAGES, Stage, all_kept
from vistrails.core.log.opm_graph import OpmGraph
from vistrails.core.log.prov_document import ProvDocument
from vistrails.core.modules.module_registry import get_module_registry
from vistrails.db.services.io import save_opm_to_xml, save_prov_to_xml
from workflows import Flow

from parallelflow.map.marks import KEY

pytestmark = pytest.mark.usefixtures("parity")


def _module() -> Flow:
    flow = Flow()
    upstream = flow.parity("Counts", {"text": "7"})
    echo = flow.parity("Counts", {"other": "5"})
    flow.connect(upstream, "value", echo, "text")
    mapped = flow.map(echo, "value", "value", "[1, 2, 3, 4]")
    flow.connect(mapped, "Result", flow.parity("Holds"), "list")
    return flow


def _inner() -> Flow:
    inner = Flow()
    counts, more = inner.parity("Counts"), inner.parity("Counts")
    inner.connect(counts, "value", more, "value")
    inner.inputs, inner.outputs = {"in": (counts, "value")}, {"out": (more, "value")}
    return inner


def _group() -> Flow:
    flow = Flow()
    mapped = flow.map(flow.group(_inner()), "in", "out", "[1, 2, 3]")
    flow.connect(mapped, "Result", flow.parity("Holds"), "list")
    return flow


def _map_in_a_group() -> Flow:
    inner = Flow()
    mapped = inner.map(inner.parity("Counts"), "value", "value", "[1, 2]")
    holds = inner.parity("Holds")
    inner.connect(mapped, "Result", holds, "list")
    inner.outputs = {"out": (holds, "list")}
    flow = Flow()
    flow.group(inner)
    return flow


def _two_maps() -> Flow:
    flow = Flow()
    first = flow.map(flow.parity("Counts"), "value", "value", "[1, 2]")
    flow.map(flow.parity("Counts"), "value", "value", (first, "Result"))
    return flow


def _loops() -> Flow:
    flow = Flow()
    keeps = flow.python("o = i > 1", {"i": "Integer"}, {"o": "Boolean"})
    filtered = flow.map(keeps, "i", "o", "[1, 2, 3]", kind="Filter")
    flow.connect(filtered, "Result", flow.parity("Holds"), "list")
    presets = {"InputPort": "value", "OutputPort": "value", "LowerBound": "2", "HigherBound": "4"}
    flow.connect(flow.loop(flow.parity("Counts"), presets), "Result", flow.parity("Holds"), "list")
    return flow


def _loops_of_groups() -> Flow:
    inner = Flow()
    keeps = inner.python("o = i > 1", {"i": "Integer"}, {"o": "Boolean"})
    inner.inputs, inner.outputs = {"in": (keeps, "i")}, {"out": (keeps, "o")}
    flow = Flow()
    filtered = flow.map(flow.group(inner), "in", "out", "[1, 2, 3]", kind="Filter")
    flow.connect(filtered, "Result", flow.parity("Holds"), "list")
    presets = {"InputPort": "in", "OutputPort": "out", "HigherBound": "2"}
    flow.connect(flow.loop(flow.group(_inner()), presets), "Result", flow.parity("Holds"), "list")
    return flow


def _failing() -> Flow:
    flow = Flow()
    flow.map(flow.parity("Fails"), "value", "value", "['fine', 'exception']")
    return flow


def _suspended() -> Flow:
    flow = Flow()
    flow.map(flow.parity("Suspends"), "value", "value", "[2, 1, 4]")
    return flow


def _no_map() -> Flow:
    flow = Flow()
    flow.connect(flow.parity("Counts", {"text": "7"}), "value", flow.parity("Holds"), "value")
    return flow


FLOWS: dict[str, Callable[[], Flow]] = {
    "a module": _module,
    "a group": _group,
    "a map in a group": _map_in_a_group,
    "two maps": _two_maps,
    "filter and for": _loops,
    "filter and for of groups": _loops_of_groups,
    "one that failed": _failing,
    "one that was suspended": _suspended,
    "no map": _no_map,
}


def _marked(mark: dict[str, str]) -> Flow:
    flow = Flow()
    numbers = flow.python("o = [1, 2, 3]", {}, {"o": "[Integer]"})
    square = flow.python("o = i * i", {"i": "Integer"}, {"o": "Integer"}, annotations=mark)
    flow.connect(numbers, "o", square, "i")
    flow.connect(square, "o", flow.parity("Lists"), "value")
    return flow


def _marked_group(mark: dict[str, str]) -> Flow:
    inner = Flow()
    square = inner.python("o = i * i", {"i": "Integer"}, {"o": "Integer"})
    inner.inputs, inner.outputs = {"in": (square, "i")}, {"out": (square, "o")}
    flow = Flow()
    numbers = flow.python("o = [1, 2, 3]", {}, {"o": "[Integer]"})
    group = flow.group(inner, annotations=mark)
    flow.connect(numbers, "o", group, "in")
    flow.connect(group, "out", flow.parity("Lists"), "value")
    return flow


def _export(kind: str, side: str, flow: Flow, folder: Path) -> Any:
    """The graph as XML, or what writing it raised."""
    stage = Stage(side)
    stage.run(flow)
    return exported(kind, stage.log, 1, flow.build(PACKAGES[side]), folder / f"{side}.xml")


def exported(kind: str, log: Any, version: int, pipeline: Any, file: Path) -> Any:
    """The graph of a log as XML, without our notes, or what writing it raised.

    :param kind: "opm" or "prov".
    """
    before = [(module.name, module.package, module.version) for module in pipeline.module_list]
    of = {"log": log, "version": version, "workflow": pipeline, "registry": get_module_registry()}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            if kind == "opm":
                save_opm_to_xml(OpmGraph(**of), str(file))
            else:
                save_prov_to_xml(ProvDocument(**of), str(file))
    except Exception as error:
        return type(error).__name__, str(error)
    assert [(module.name, module.package, module.version) for module in pipeline.module_list] == before
    return _without_our_notes(ElementTree.parse(file).getroot())


def _tag(node: Any) -> str:
    return re.sub(r"\{.*\}", "", node.tag)


def _without_our_notes(root: Any) -> Any:
    for parent in list(root.iter()):
        for node in list(parent):
            if _tag(node) == "annotation" and node.get("key") in (*OUR_NOTES, KEY):
                parent.remove(node)
    return root


# What differs from run to run, and what `parity` compares: errors say more after ours.
_LEFT_OUT = re.compile(r"ts_?start|ts_?end|startTime|endTime|session|machine|error", re.IGNORECASE)
# Nodes of the log, which have ids of the log, and their notes.
_OF_THE_LOG = re.compile(r"Exec$|loopIteration|annotation")


def _shape(node: Any) -> Any:
    """An element's name, what it says but for times, and what is in it, in order."""
    said = sorted((name, value) for name, value in node.attrib.items() if not _LEFT_OUT.search(name))
    if _OF_THE_LOG.search(_tag(node)):
        said = [(name, value) for name, value in said if name != "id" and node.get("key") != "errorTrace"]
    return _tag(node), said, [_shape(each) for each in node]


def _count(root: Any) -> Counter[str]:
    return Counter(_tag(node) for node in root.iter())


def _edges(root: Any) -> list[Any]:
    """The dependencies: kind, and the ids of what they connect, which are numbered in the order of their making."""
    kinds = ("used", "wasGeneratedBy", "wasTriggeredBy")
    return [
        (_tag(node), [(_tag(each), each.get("id")) for each in node]) for node in root.iter() if _tag(node) in kinds
    ]


@pytest.mark.parametrize("name", FLOWS)
def test_opm_is_the_same_graph(name: str, tmp_path: Path) -> None:
    serial, ours = (_export("opm", side, FLOWS[name](), tmp_path) for side in ("serial", "ours"))
    if isinstance(serial, tuple):  # VisTrails itself cannot export it
        assert ours == serial
        return
    assert _count(ours) == _count(serial)
    assert _edges(ours) == _edges(serial)
    assert _shape(ours) == _shape(serial)


@pytest.mark.parametrize("name", FLOWS)
def test_prov_is_the_same_document(name: str, tmp_path: Path) -> None:
    serial, ours = (_export("prov", side, FLOWS[name](), tmp_path) for side in ("serial", "ours"))
    if isinstance(serial, tuple):
        assert ours == serial
        return
    assert _count(ours) == _count(serial)


@pytest.mark.parametrize("kind", ["opm", "prov"])
@pytest.mark.parametrize("make", [_marked, _marked_group])
def test_a_marked_loop_is_in_the_graph(kind: str, make: Callable[[dict[str, str]], Flow], tmp_path: Path) -> None:
    serial = _export(kind, "serial", make({}), tmp_path)
    ours = _export(kind, "ours", make({KEY: ""}), tmp_path)
    if isinstance(serial, tuple):
        assert ours == serial
        return
    assert _count(ours) == _count(serial)
    assert _shape(ours) == _shape(serial)


@pytest.mark.parametrize("kind", ["opm", "prov"])
def test_elements_that_are_taken_from_kept_results_are_in_the_graph(kind: str, tmp_path: Path) -> None:
    for name in ("a module", "filter and for"):
        serial = _export(kind, "serial", FLOWS[name](), tmp_path)
        with all_kept() as kept:
            _export(kind, "ours", FLOWS[name](), tmp_path)
            kept.clear()
            ours = _export(kind, "ours", FLOWS[name](), tmp_path)
            assert sum(each.taken for each in kept) >= 2, name
        assert not isinstance(serial, tuple), name
        for root in (serial, ours):
            for node in root.iter():
                node.attrib.pop("cached", None)  # what is taken is in the log as cached
        assert _count(ours) == _count(serial), name
        if kind == "opm":
            assert _edges(ours) == _edges(serial), name
            assert _shape(ours) == _shape(serial), name


def test_the_opm_graph_of_a_map_has_its_elements(tmp_path: Path) -> None:
    root = _export("opm", "ours", _module(), tmp_path)
    processes = [node[0][0] for node in root.iter() if _tag(node) == "process"]
    assert [node.get("moduleName") for node in processes].count("Counts") == 1 + 4
    assert {"Split", "Join"} <= {node.get("moduleName") for node in processes}
