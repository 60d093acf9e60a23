"""Versions that VisTrails' package persistence keeps of a file or folder, by a reference.

Where several elements store something under one reference, which of them is the last one decides what the reference means
afterwards. So these run in the list's order, in VisTrails.

May import VisTrails and, of the map room, `looping` and `window`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from vistrails.core.modules.vistrails_module import Module

from parallelflow.map import window
from parallelflow.map.looping import Looping

_PACKAGE = "org.vistrails.vistrails.persistence"

# The port for a reference, and those for what is stored. A local file takes a copy of that.
_REFERENCE, _LOCAL, _WRITES_LOCAL = "ref", "localPath", "writeLocal"
_CONTENT = frozenset({"value", _LOCAL})


def of_one_file(functions: Iterable[Module], looping: Looping | None = None) -> str | None:
    """Return the name of the first module that stores what several elements give under one reference, or in one local file.

    :param functions: the modules on FunctionPort, in a workflow that is being executed. Groups and subworkflows are searched
        through.
    :param looping: what the loop runs over; None if that is not known.
    :returns: None if there is none.
    """
    functions = list(functions)
    own = [(id(each.moduleInfo["pipeline"]), each.moduleInfo["moduleId"]) for each in functions]
    for module, pipeline in window.executed(functions):
        is_own = (id(pipeline), module.id) in own
        mapped = looping if is_own else None
        if stores_in_one(
            module, pipeline, mapped.ports if mapped else (), _different(mapped) if mapped else (), is_own
        ):
            return str(module.name)
    return None


def stores_in_one(
    module: Any, pipeline: Any, fed: Iterable[str] = (), different: Iterable[str] = (), is_own: bool = True
) -> bool:
    """Whether a module stores under one reference, or in one local file, each time that it runs.

    :param module: the module, as VisTrails stores it; no Group or subworkflow.
    :param pipeline: the pipeline that it is in.
    :param fed: the ports that get something else each time.
    :param different: those of them on which no reference or local file comes twice.
    :param is_own: whether it is what is repeated, and not only inside of that.
    """
    if module.package != _PACKAGE or not module.has_port_spec(_REFERENCE, "input"):
        return False
    used = {function.name for function in module.functions} | set(fed)
    used |= {pipeline.connections[number].destination.name for _, number in pipeline.graph.edges_to(module.id)}
    shares = {_REFERENCE, _LOCAL} & used - set(different)
    # In a Group with no reference VisTrails takes all elements for the same, and stores the first one's.
    writes_local = is_own and _LOCAL in shares and _WRITES_LOCAL in used
    return bool((_REFERENCE in shares and used & _CONTENT) or writes_local)


def _different(looping: Looping) -> set[str]:
    """The ports on which each element has a reference, or a local file, of its own."""
    found = set()
    for place, port in enumerate(looping.ports):
        attribute = {_REFERENCE: "id", _LOCAL: "name"}.get(port)
        if attribute is None:
            continue
        with contextlib.suppress(IndexError, TypeError):  # an element that the loop will refuse
            names: list[Any] = [getattr(element[place], attribute, None) for element in looping.elements]
            if None not in names and len(set(names)) == len(names):
                found.add(port)
    return found
