"""Workflows that exist: loops of Control Flow's become ours, and ours become Control Flow's again.

They have the same names and ports, so that all that is set and connected stays. VisTrails' history knows no change of a module's
package: what is changed is deleted and added anew, in one action, so that it is one version, which can be undone.

May import VisTrails, which need not have been started.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vistrails.core.db.action import create_action
from vistrails.core.modules.module_registry import ModuleRegistryException
from vistrails.core.utils import VistrailsInternalError
from vistrails.packages import controlflow

import parallelflow

LOOPS = frozenset({"Map", "Filter", "For"})


@dataclass(frozen=True)
class Change:
    """A loop that is changed, or would have to be.

    :ivar name: the module's name: Map, Filter or For.
    :ivar module_id: its id, as it was, in the pipeline that it is in.
    :ivar path: the names of the Groups that it is in, from outside to inside; a label's text, if there is one.
    :ivar subworkflow: the name of the subworkflow that it is in and which is shared by others, so that it stays as it is.
    """

    name: str
    module_id: int
    path: tuple[str, ...] = ()
    subworkflow: str | None = None


def counted(changes: Sequence[Change]) -> str:
    """Say how many loops there are of each kind, as in '2 Maps, 1 Filter'.

    :param changes: the loops.
    """
    counts = Counter(each.name for each in changes)
    return ", ".join(
        f"{count} {name}{'s' if count > 1 and name != 'For' else ''}" for name, count in sorted(counts.items())
    )


@dataclass(frozen=True)
class Conversion:
    """What is changed in a pipeline.

    :ivar action: VisTrails' action, to be added to the history; None if there is nothing to change.
    :ivar changes: what it changes.
    :ivar left: what stays, in subworkflows.
    :ivar new_ids: by the old id of each module that is replaced, its new id.
    """

    action: Any
    changes: list[Change]
    left: list[Change]
    new_ids: dict[int, int]


def convert(pipeline: Any, scope: Any, parallel: bool, modules: Collection[int] = ()) -> Conversion:
    """Find out what is to be changed in a pipeline.

    :param pipeline: the pipeline; it stays as it is.
    :param scope: gives new ids: the vistrail's `idScope`, or a controller's `id_scope`.
    :param parallel: whether loops become parallel; else serial.
    :param modules: the ids of the modules to look at, Groups searched through; none means all.
    """
    stored = [module for module in pipeline.module_list if not modules or module.id in modules]
    found = list(_found(stored, _packages(not parallel), ()))
    changes = [each for each in found if each.subworkflow is None]
    replaced = [
        module
        for module in stored
        if any(each.subworkflow is None for each in _found([module], _packages(not parallel), ()))
    ]
    if not replaced:
        return Conversion(None, [], found, {})
    ids = {module.id for module in replaced}
    remap: dict[tuple[str, int], int] = {}
    added = [module.do_copy(True, scope, remap) for module in replaced]
    for module in added:
        _change(module, parallel)
    touching = [
        connection
        for connection in pipeline.connection_list
        if connection.source.moduleId in ids or connection.destination.moduleId in ids
    ]
    operations = [
        *(("delete", connection) for connection in touching),
        *(("delete", module) for module in replaced),
        *(("add", module) for module in added),
        *(("add", connection.do_copy(True, scope, remap)) for connection in touching),
    ]
    new_ids = {old.id: new.id for old, new in zip(replaced, added, strict=True)}
    return Conversion(create_action(operations), changes, [each for each in found if each.subworkflow], new_ids)


def carry_explorations(vistrail: Any, version: int, found: Conversion) -> None:
    """Give a new version the parameter explorations of the one that it was made from.

    :param vistrail: the vistrail.
    :param version: the version that was converted.
    :param found: what was changed; its action is in the history.
    """
    for exploration in [each for each in vistrail.parameter_explorations if each.action_id == version]:
        copied = exploration.do_copy(True, vistrail.idScope, {})
        copied.action_id = found.action.id
        for function in copied.functions:
            function.module_id = found.new_ids.get(function.module_id, function.module_id)
        vistrail.db_add_parameter_exploration(copied)


def _packages(parallel: bool) -> frozenset[str]:
    """The identifiers of the package that has the parallel loops, or the serial ones."""
    if parallel:
        return frozenset({parallelflow.IDENTIFIER, *parallelflow.OLD_IDENTIFIERS})
    return frozenset({controlflow.identifier, *controlflow.old_identifiers})


def _found(modules: Iterable[Any], packages: frozenset[str], path: tuple[str, ...]) -> Iterator[Change]:
    for module in modules:
        if module.is_abstraction():
            for each in _found(_inside(module), packages, path):
                yield Change(each.name, each.module_id, path, module.name)
        elif module.is_group():
            yield from _found(module.pipeline.module_list, packages, (*path, _called(module)))
        elif module.name in LOOPS and module.package in packages:
            yield Change(module.name, module.id, path)


def _inside(subworkflow: Any) -> list[Any]:
    """The modules of a subworkflow; none where VisTrails is not there to say what it is."""
    try:
        return subworkflow.pipeline.module_list  # type: ignore[no-any-return]
    except (ModuleRegistryException, VistrailsInternalError):
        return []


def _called(module: Any) -> str:
    label = module.get_annotation_by_key("__desc__").value if module.has_annotation_with_key("__desc__") else ""
    return label.strip() or str(module.name)


def _change(module: Any, parallel: bool) -> None:
    """Change a copy of a module: a loop, or those in a Group."""
    if module.is_abstraction():
        return
    if module.is_group():
        for inner in module.pipeline.module_list:
            _change(inner, parallel)
    elif module.name in LOOPS and module.package in _packages(not parallel):
        module.package = parallelflow.IDENTIFIER if parallel else controlflow.identifier
        module.version = parallelflow.__version__ if parallel else controlflow.version
        module._module_descriptor = None  # VisTrails looks it up when it is asked for
