"""Classes of modules that a package makes when it is loaded, of files that the user can edit for instance (CLTools).

Such a class is in no Python module under its own name, so that the code of its package does not tell what it does.

May import VisTrails and, of the map room, `digests` and `hashing`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from types import FunctionType
from typing import Any

from vistrails.core.modules.module_registry import ModuleRegistryException, get_module_registry
from vistrails.core.modules.sub_module import Group
from vistrails.core.modules.vistrails_module import Module

from parallelflow.map.digests import Digester
from parallelflow.map.hashing import Unknown

# What Python and VisTrails put on a class that has no part in what it does.
_LEFT_OUT = frozenset({"__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__"})


def class_of(stored: Any) -> type | None:
    """Return the class of a module as VisTrails stores it; None if that is not registered.

    :param stored: the module.
    """
    try:
        found = get_module_registry().get_descriptor_by_name(stored.package, stored.name, stored.namespace or "")
    except ModuleRegistryException:
        return None
    return found.module  # type: ignore[no-any-return]


def digest_of(kind: type) -> bytes | None:
    """Return a digest of what a class has been made of; None for one that is where it says, or is a Group's.

    :param kind: a class of modules.
    :raises Unknown: for one that is made of something that cannot be known.
    """
    made = [each for each in kind.__mro__ if issubclass(each, Module) and not _is_there(each)]
    if not made or issubclass(kind, Group):
        return None
    digester = Digester()
    try:
        return digester.digest([(each.__name__, _parts(each)) for each in made])
    except Unknown as error:
        raise Unknown(f"the module '{kind.__name__}' was made by its package: {error}") from error


def in_pipeline(modules: Iterable[Any]) -> dict[str, bytes]:
    """Return digests of the classes that were made, of all modules that are in a pipeline and in its Groups.

    :param modules: the modules, as VisTrails stores them.
    :returns: by the modules' names; without those that cannot be known.
    """
    found: dict[str, bytes] = {}
    for module in modules:
        if module.is_group() or module.is_abstraction():
            found.update(in_pipeline(module.pipeline.module_list))
            continue
        kind = class_of(module)
        with contextlib.suppress(Unknown):
            digest = None if kind is None else digest_of(kind)
            if digest is not None:
                found[f"{module.package}:{module.name}:{module.namespace or ''}"] = digest
    return found


def _is_there(kind: type) -> bool:
    found: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind


def _parts(kind: type) -> dict[str, Any]:
    return {name: _part(value) for name, value in vars(kind).items() if name not in _LEFT_OUT}


def _part(value: Any) -> Any:
    if not isinstance(value, FunctionType):
        return value
    try:
        closure = [each.cell_contents for each in value.__closure__ or ()]
    except ValueError as error:
        raise Unknown("a function that is not complete") from error
    # What it says is in the code of its package; what it was made with is not.
    inside = [_part(each) for each in closure]
    return value.__module__, value.__qualname__, inside, value.__defaults__, value.__kwdefaults__
