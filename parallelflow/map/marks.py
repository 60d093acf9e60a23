"""The mark on a module whose loops over lists are to run on the cluster.

It is an annotation of the module in the workflow: VisTrails keeps it with the version, without the package it means nothing, and
caches do not ask for it. May import the standard library only.
"""

from __future__ import annotations

from typing import Any

# The annotation's key. Its value is of no importance.
KEY = "parallelflow.loop"


def is_marked(stored: Any) -> bool:
    """Return whether a module is marked.

    :param stored: the module, as VisTrails stores it.
    """
    return bool(stored.has_annotation_with_key(KEY))


def marked_module(module: Any) -> Any | None:
    """Return the stored module of one that is being executed, if that is marked; else None.

    :param module: the module, as VisTrails executes it; any.
    """
    known = getattr(module, "moduleInfo", {})
    pipeline = known.get("pipeline")
    stored = pipeline.modules.get(known.get("moduleId")) if pipeline is not None else None
    return stored if stored is not None and is_marked(stored) else None
