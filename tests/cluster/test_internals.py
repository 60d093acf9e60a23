"""ipyparallel's private names: each is there, and one module alone uses them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import ipyparallel
import ipyparallel.cluster.shellcmd
import ipyparallel.controller.app
import pytest

import parallelflow
from parallelflow.cluster import Session, internals
from parallelflow.cluster.internals import CONTROLLER_NAMES, LAUNCHER_NAMES, NAMES, Name

SOURCES = sorted(Path(parallelflow.__file__).parent.rglob("*.py"))


def missing(name: Name, client: Any) -> str | None:
    """What to say of a name that the installed ipyparallel lacks."""
    owner: Any = ipyparallel
    for part in name.owner.split("."):
        owner = getattr(owner, part)
    if hasattr(client if owner is ipyparallel.Client else owner, name.name):
        return None
    return (
        f"ipyparallel {ipyparallel.__version__} has no {name.owner}.{name.name} any more (checked with {name.checked});"
        f" it was used for: {name.reason}"
    )


def test_the_installed_ipyparallel_has_every_name(shared_cluster: Session) -> None:
    client = shared_cluster.client()
    lacking = [said for name in (*NAMES, *LAUNCHER_NAMES, *CONTROLLER_NAMES) if (said := missing(name, client))]
    assert lacking == []


def test_a_name_that_is_missing_is_named(shared_cluster: Session) -> None:
    said = missing(Name("Client", "_gone", "the example"), shared_cluster.client())
    assert said is not None
    assert "Client._gone" in said
    assert "the example" in said


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_no_other_module_uses_one(source: Path) -> None:
    if source.stem == "internals":
        return
    names = {name.name for name in NAMES}
    used = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in names:
            # What is ours may be called the same.
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                used.add(node.attr)
        elif isinstance(node, ast.Constant) and node.value in names:
            used.add(node.value)
    assert used == set()


def test_what_it_says_is_true(shared_cluster: Session) -> None:
    client = shared_cluster.client()
    assert sorted(internals.engines(client)) == list(client.ids)
    assert internals.send(client, internals.HUB, "connection_request", {}).result(60)["content"]["status"] == "ok"
    uuid = internals.engines(client)[client.ids[0]]
    answer = internals.send(client, internals.NANNY, "usage_request", {}, uuid).result(60)
    assert answer["content"]["pid"] > 0
    assert not internals.is_closed(client)
    assert internals.answer(client, "no such message") is None
    assert "registration" in internals.addresses(client)
    assert internals.context(client) is client._context
