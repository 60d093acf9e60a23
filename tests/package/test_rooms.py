"""The modules of a room stand in one line: none imports another that imports it, wherever in it the import is. None is long."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import parallelflow

PACKAGE = Path(parallelflow.__file__).parent
LONGEST = 500
"""Lines of a module."""


def modules(room: str) -> dict[str, Path]:
    """The modules of a room, by their names."""
    return {path.stem: path for path in (PACKAGE / room).glob("*.py") if path.stem != "__init__"}


def imported(path: Path, room: str) -> set[str]:
    """The modules of the room that one imports: at its top, in a function, or for types only."""
    name = f"parallelflow.{room}"
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level == 1:
                module = f"{name}.{module}".rstrip(".")
            if module == name:
                found.update(alias.name for alias in node.names)
            elif module.startswith(f"{name}."):
                found.add(module.removeprefix(f"{name}."))
        elif isinstance(node, ast.Import):
            found.update(a.name.removeprefix(f"{name}.") for a in node.names if a.name.startswith(f"{name}."))
    return found


@pytest.mark.parametrize("room", ["map", "cluster", "results", "explorations", "gui", "command_line"])
def test_there_is_no_circle(room: str) -> None:
    there = modules(room)
    graph = {name: imported(path, room) & set(there) for name, path in there.items()}
    assert sum(map(len, graph.values())) >= len(graph) / 2  # it finds something
    assert len(list(TopologicalSorter(graph).static_order())) == len(there)  # raises CycleError, which names the circle


def test_no_module_is_long() -> None:
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_the_face_is_imported_by_nothing_below_it() -> None:
    for path in modules("map").values():
        assert "ipyparallel_flow" not in path.read_text(encoding="utf-8"), path
