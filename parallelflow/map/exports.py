"""Exports of a run: VisTrails' OPM graph, in which it has a place for the elements of its own Map only.

VisTrails tells it by its package's identifier. So the workflow that a graph is made of has the serial Map where ours is, and the
serial Filter and For; they have the same ports, and their loops read the same in the log. (Its PROV document asks nothing of
the sort.)

May import VisTrails.
"""

from __future__ import annotations

import functools
from typing import Any

import vistrails.db.services.opm
from vistrails.core.packagemanager import get_package_manager
from vistrails.packages.controlflow import identifier as serial_identifier

import parallelflow

# Of our modules that Control Flow has, too.
_NAMES = frozenset({"Map", "Filter", "For"})

_create_opm = vistrails.db.services.opm.create_opm


@functools.wraps(_create_opm)
def _create_opm_of_ours(workflow: Any, *arguments: Any) -> Any:
    return _create_opm(with_serial_maps(workflow), *arguments)


def take_part() -> None:
    """Have the graphs that VisTrails exports show the elements of our Maps. Further calls change nothing."""
    vistrails.db.services.opm.create_opm = _create_opm_of_ours


def leave() -> None:
    """Have VisTrails export as it does by itself."""
    vistrails.db.services.opm.create_opm = _create_opm


def with_serial_maps(workflow: Any) -> Any:
    """Return a workflow that has the serial Map where ours is, also in Groups.

    :param workflow: the pipeline that was run; it stays as it is, and is returned if there is nothing to replace.
    """
    ours = {parallelflow.IDENTIFIER, *parallelflow.OLD_IDENTIFIERS}
    if not _maps(workflow, ours):
        return workflow
    replaced = workflow.do_copy()
    for module in _maps(replaced, ours):
        module.db_package = serial_identifier
        module.db_version = get_package_manager().get_package(serial_identifier).version
    return replaced


def _maps(workflow: Any, packages: set[str]) -> list[Any]:
    found = []
    for module in workflow.db_modules:
        inner = getattr(module, "db_workflow", None)
        if inner is not None:
            found += _maps(inner, packages)
        elif module.db_name in _NAMES and module.db_package in packages:
            found.append(module)
    return found
