"""Whether what a module has computed may be taken instead of computing it, in another session.

VisTrails asks a module each time whether it still may (`is_cacheable`), and the module may look at a server or a database before it
answers. Of a result that is kept nobody can ask that. So a module's word counts only where it always says the same.

Runs in engines. May import VisTrails and, of the map room, `shared_files`, `shared_sources` and `stand_ins`.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from vistrails.core.modules.module_registry import ModuleRegistryException
from vistrails.core.modules.sub_module import Group
from vistrails.core.modules.vistrails_module import Module

from parallelflow.map import shared_files, shared_sources, stand_ins


def for_good(module: Module) -> bool:
    """Whether what a module has computed may be taken in any other session.

    :param module: a module that has just been computed. What ran in a Group has to be asked about by itself.
    """
    own: Any = vars(module).get("is_cacheable", type(module).is_cacheable)
    says_always = own in (Module.is_cacheable, Group.is_cacheable) or _says_always(own)
    keeps_files = _keeps_files(module) or shared_sources.locks_of(module)
    return says_always and not keeps_files and bool(module.is_cacheable())


def _says_always(method: Any) -> bool:
    """Whether a method says the same whenever it is asked: it looks at nothing."""
    if not isinstance(method, FunctionType):
        return False
    return not method.__code__.co_names and not method.__code__.co_freevars


_keep_files: dict[type, bool] = {}


def _keeps_files(module: Module) -> bool:
    """Whether a module is of a package that keeps files for all, from which it may take what it gives."""
    kind = type(module)
    if kind not in _keep_files:
        try:
            _keep_files[kind] = shared_files.is_shared(stand_ins.kind_of(module)[0])
        except (KeyError, ModuleRegistryException):
            _keep_files[kind] = False
    return _keep_files[kind]
