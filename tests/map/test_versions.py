"""What VisTrails' package persistence has stored after a Map: the same versions, and the same last one, as after the serial Map."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Any

import pytest
from dulwich.repo import Repo
from test_explorations import Explorer, there
from test_explorations import explorer as explorer
from test_shared_files import PERSISTENCE, results
from vistrails.core.modules.basic_modules import PathObject
from vistrails.tests.utils import enable_package
from workflows import Flow

from parallelflow.map import module, versions
from parallelflow.map.looping import Looping

# The first one's file is the last to be there.
LATE = """import time
from vistrails.core.modules.basic_modules import PathObject
time.sleep(0.5 if i == '0' else 0)
f = PathObject(place + i)
with open(f.name, 'w') as file:
    file.write(i)"""

SAID = "keeps versions of one file, so that the elements run in VisTrails, one after the other"


@pytest.fixture
def said(parity: Any, own_temporaries: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Maps say in VisTrails' messages."""
    enable_package(PERSISTENCE)
    texts: list[str] = []
    monkeypatch.setattr(module.debug, "warning", texts.append)
    return texts


def reference(name: str) -> str:
    """A reference as a preset: of a file that may be there or not, by an id."""
    return repr((1, name, None, None, False, False, True, name, ""))


def stored(folder: Path, name: str) -> list[str]:
    """The texts that have been stored under a reference, each other than the one before, oldest first."""

    found: list[str] = []
    with contextlib.closing(Repo(str(folder / "persistent_files"))) as repository:
        commit = repository[repository.head()]
        while name.encode() in repository[commit.tree]:
            _, blob = repository[commit.tree][name.encode()]
            found.append(repository[blob].data.decode())
            if not commit.parents:
                break
            commit = repository[commit.parents[0]]
    return [text for text, _ in itertools.groupby(reversed(found))]


def files(folder: Path, names: list[str]) -> list[PathObject]:
    """Files, each with its name in it."""
    for name in names:
        (folder / name).write_text(name)
    return [PathObject(str(folder / name)) for name in names]


def mapped(where: str, presets: dict[str, str], side: str = "") -> tuple[Flow, int]:
    flow, inner = Flow(), Flow()
    if where == "alone":
        keep = flow.add("PersistentOutputFile", presets, package=PERSISTENCE)
        return flow, flow.map(keep, "value", "value", (flow.held("files"), "list"))
    keep = inner.add("PersistentIntermediateFile", presets, package=PERSISTENCE)
    inner.inputs, inner.outputs = {"value": (keep, "value")}, {"kept": (keep, "value")}
    name = f"keeps_versions_{side}"
    function = flow.group(inner) if where == "in a Group" else flow.subworkflow(name, inner)
    return flow, flow.map(function, "value", "kept", (flow.held("files"), "list"))


@pytest.mark.parametrize("where", ["alone", "in a Group", "in a subworkflow"])
def test_versions_of_one_reference_are_stored_in_the_lists_order(
    where: str, said: list[str], vistrails_folder: Path, tmp_path: Path, held: dict[str, Any]
) -> None:
    found = {}
    for side in ("serial", "ours"):
        name = f"{where} {side}"
        flow, number = mapped(where, {"ref": reference(name)}, side)
        texts = [f"{index}" for index in range(5)]
        held["files"] = files(tmp_path, texts)
        given = [Path(file.name).read_text() for file in results(flow, number, side)]
        found[side] = given, stored(vistrails_folder, name)
        assert found[side] == (texts, texts)
    assert found["serial"] == found["ours"]
    assert len([each for each in said if SAID in each]) == 1


def test_a_subworkflow_stores_anew_in_each_run(
    said: list[str], vistrails_folder: Path, tmp_path: Path, held: dict[str, Any]
) -> None:
    """VisTrails gives what is inside of it another signature each time. What has changed upstream is in the results, so."""
    place = vistrails_folder / "persistent_files"
    flow, number = mapped("in a subworkflow", {})
    for side in ("serial", "ours"):
        held["files"] = files(tmp_path, [f"{side} {index}" for index in range(5)])
        for run in range(2):
            before = len(list(place.iterdir()))
            for file in held["files"]:
                Path(file.name).write_text(f"{Path(file.name).name}, run {run}")
            texts = [Path(file.name).read_text() for file in results(flow, number, side)]
            assert texts == [f"{side} {index}, run {run}" for index in range(5)]
            assert len(list(place.iterdir())) == before + 5
    assert not any(SAID in each for each in said)


def test_cells_of_an_exploration_store_in_their_order(
    said: list[str], explorer: Explorer, vistrails_folder: Path, tmp_path: Path
) -> None:
    flow = Flow()
    makes = flow.python(
        LATE, {"i": "String", "place": "String"}, {"f": "File"}, presets={"i": "", "place": str(tmp_path / "file")}
    )
    keeps = flow.add("PersistentOutputFile", {"ref": reference("explored")}, package=PERSISTENCE)
    flow.connect(makes, "f", keeps, "value")
    texts = [f"{index}" for index in range(5)]
    ours = explorer.ours(explorer.controller(flow), {(makes, "i"): texts})
    assert ours.failed == []
    assert stored(vistrails_folder, "explored") == texts
    assert there(ours.log) == {"PythonSource"}


def test_what_only_reads_a_reference_runs_on_engines(said: list[str], tmp_path: Path, held: dict[str, Any]) -> None:
    held["files"] = files(tmp_path, ["stored "])
    results(*mapped("alone", {"ref": reference("is read")}), "serial")
    inner = Flow()
    file = inner.add("PersistentInputFile", {"ref": reference("is read")}, package=PERSISTENCE)
    read = inner.python("o = open(f.name).read() + str(i)", {"f": "File", "i": "Integer"}, {"o": "String"})
    inner.connect(file, "value", read, "f")
    inner.inputs, inner.outputs = {"i": (read, "i")}, {"o": (read, "o")}
    flow = Flow()
    number = flow.map(flow.group(inner), "i", "o", "[1, 2, 3]")
    for side in ("serial", "ours"):
        assert results(flow, number, side) == ["stored 1", "stored 2", "stored 3"]
    assert not any(SAID in each for each in said)


class Reference:
    """What is asked of a reference."""

    def __init__(self, name: str | None):
        self.id = self.name = name


def test_elements_with_references_of_their_own_run_on_engines() -> None:
    def different(*elements: Any, ports: tuple[str, ...] = ("value", "ref")) -> set[str]:
        return versions._different(Looping(list(elements), list(ports), "value", True))

    a, b, new = Reference("a"), Reference("b"), Reference(None)
    assert different(("x", a), ("x", b)) == {"ref"}
    assert different((a, b), (b, a), ports=("localPath", "ref")) == {"localPath", "ref"}
    for elements in ([("x", a), ("y", a)], [("x", a), ("y", new)], [("x", new), ("y", new)], [("x", a), ("y",)], [3]):
        assert different(*elements) == set()
