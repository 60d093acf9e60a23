"""The mark on a module whose loops over lists are to run on the cluster.

It is an annotation of the module in the workflow: VisTrails keeps it with the version, without the package it means nothing, and
caches do not ask for it. May import VisTrails.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from vistrails.core.db.action import create_action
from vistrails.core.vistrail.annotation import Annotation

# The annotation's key. Its value is of no importance.
KEY = "parallelflow.loop"


def is_marked(stored: Any) -> bool:
    """Return whether a module is marked.

    :param stored: the module, as VisTrails stores it.
    """
    return bool(stored.has_annotation_with_key(KEY))


def is_loop_marked(module: Any) -> bool:
    """Return whether a module that is being executed is marked.

    :param module: the module, as VisTrails executes it; any.
    """
    known = getattr(module, "moduleInfo", {})
    pipeline = known.get("pipeline")
    stored = pipeline.modules.get(known.get("moduleId")) if pipeline is not None else None
    return stored is not None and is_marked(stored)


def change(pipeline: Any, scope: Any, modules: Collection[int], marked: bool) -> Any:
    """Return the action that marks modules, or takes the mark from them; None if there is nothing to do.

    :param pipeline: the pipeline; it stays as it is.
    :param scope: gives new ids: a controller's `id_scope`.
    :param modules: the modules' ids.
    :param marked: whether they are to be marked.
    """
    operations: list[tuple[Any, ...]] = []
    for stored in (pipeline.modules[each] for each in modules):
        if marked and not is_marked(stored):
            mark = Annotation(id=scope.getNewId(Annotation.vtType), key=KEY, value="parallel")
            operations.append(("add", mark, stored.vtType, stored.id))
        elif not marked and is_marked(stored):
            operations.append(("delete", stored.get_annotation_by_key(KEY), stored.vtType, stored.id))
    return create_action(operations) if operations else None
