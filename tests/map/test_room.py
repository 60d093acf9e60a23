"""The modules of the map room stand in one line: none imports another that imports it, wherever in it the import is."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import parallelflow.map

ROOM = Path(parallelflow.map.__file__).parent
MODULES = {path.stem: path for path in ROOM.glob("*.py") if path.stem != "__init__"}
NAME = "parallelflow.map"


def imported(path: Path) -> set[str]:
    """The modules of the room that one imports: at its top, in a function, or for types only."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == NAME:
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{NAME}."):
            found.add(str(node.module).removeprefix(f"{NAME}."))
        elif isinstance(node, ast.Import):
            found.update(a.name.removeprefix(f"{NAME}.") for a in node.names if a.name.startswith(f"{NAME}."))
    return found


def test_there_is_no_circle() -> None:
    graph = {name: imported(path) for name, path in MODULES.items()}
    assert graph["execution"] >= {"scheduler", "work"}  # it finds something
    assert set().union(*graph.values()) <= set(MODULES)
    assert len(list(TopologicalSorter(graph).static_order())) == len(
        MODULES
    )  # raises CycleError, which names the circle


def test_the_face_is_imported_by_nothing_below_it() -> None:
    for path in MODULES.values():
        assert "ipyparallel_flow" not in path.read_text(), path
