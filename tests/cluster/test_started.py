"""Started things are of two kinds with the same methods, so that nobody else has to ask which one he deals with."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import parallelflow
from parallelflow.cluster.jobs import BatchJob
from parallelflow.cluster.started import Started, StartedProcess

SOURCES = sorted(Path(parallelflow.__file__).parent.rglob("*.py"))
KNOW = {"cluster/record.py", "cluster/started.py", "cluster/jobs.py"}


def asks_for_the_kind(node: ast.AST) -> bool:
    """Whether something is compared with what only batch jobs have, or asked for its class."""
    if isinstance(node, ast.Compare):
        return any(
            (isinstance(side, ast.Attribute) and side.attr in ("job", "popen"))
            or (isinstance(side, ast.Name) and side.id == "JOB")
            for side in (node.left, *node.comparators)
        )
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
        return any(isinstance(part, ast.Name) and part.id in ("BatchJob", "StartedProcess") for part in ast.walk(node))
    return False


def test_nobody_else_asks_whether_it_is_a_batch_job() -> None:
    root = Path(parallelflow.__file__).parent
    asking = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in SOURCES
        if str(path.relative_to(root)) not in KNOW
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Compare, ast.Call)) and asks_for_the_kind(node)
    ]
    assert asking == []


@pytest.mark.parametrize("kind", [StartedProcess, BatchJob])
def test_a_kind_has_every_method_with_the_same_arguments(kind: type[Started]) -> None:
    assert not inspect.isabstract(kind)
    for name, method in inspect.getmembers(Started, inspect.isfunction):
        if name != "__init__":
            mine = inspect.signature(getattr(kind, name)).parameters
            assert list(mine) == list(inspect.signature(method).parameters), name
