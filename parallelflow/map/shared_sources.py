"""Modules whose code is in the workflow, PythonSource above all, and files that they keep in VisTrails' folder.

What `shared_files` does for modules of packages, for those that have code on a port: one that asks VisTrails for its folder, or
imports a package that keeps files there, computes when no other does.

Runs in engines. May import VisTrails and, of the map room, `engine_vistrails` and `shared_files`.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from parallelflow.map import shared_files
from parallelflow.map.engine_vistrails import Refused

# The port that code comes on.
PORT = "source"

# What all of it computes under; packages have their identifiers.
_NAME = "source"

# The code's own word, as a package's: it bears that others write there meanwhile.
_BEARS_OTHERS = re.compile(rf"^{shared_files.OWN_WORD}\s*=\s*False\b", re.MULTILINE)

# What of Python's own and VisTrails' core names the folder for others.
_KNOWN = sys.stdlib_module_names | {"vistrails", "parallelflow"}

# The mark of a method that looks at its module's code first.
_LOOKS = "_looks_at_source"


def see_to(modules: Iterable[Any], given: Mapping[int, Iterable[str]]) -> None:
    """Have modules whose code asks for the user's folder compute one at a time.

    :param modules: the modules, as VisTrails stores them. Groups and subworkflows are searched through.
    :param given: code that arrives on modules' ports from upstream, by the modules' ids.
    :raises Refused: if files cannot be locked there.
    """
    for module in modules:
        if module.is_group() or module.is_abstraction():
            see_to(module.pipeline.module_list, {})
            continue
        if not module.has_port_spec(PORT, "input"):
            continue
        presets = [function.params[0].strValue for function in module.functions if function.name == PORT]
        if any(map(locks_for, [*presets, *given.get(module.id, ())])):
            try:
                shared_files.check_locks()
            except shared_files.CannotLock as error:
                raise Refused(f"{error} (the module '{module.name}')") from error
        elif presets:
            continue
        kind = module.module_descriptor.module
        if not hasattr(kind.compute, _LOOKS):
            kind.compute = _one_at_a_time(kind.compute)


def locks_of(module: Any) -> tuple[str, ...]:
    """Return under which names a module computes alone, because of the code on its port.

    :param module: the module, whose input is there.
    """
    if not hasattr(type(module).compute, _LOOKS):
        return ()  # no code that it has had asks for the folder
    try:
        source = module.force_get_input(PORT)
    except Exception:  # the module will say so itself
        return ()
    return locks_for(source) if isinstance(source, str) else ()


def locks_for(source: str) -> tuple[str, ...]:
    """Return under which names code computes alone; none where it may run at the same time as any other.

    :param source: the code, quoted or not.
    """
    asks, imports = _look_through(source)
    packages = shared_files.sharers() if imports else {}
    used = {packages[name] for name in packages if any(f"{each}.".startswith(f"{name}.") for each in imports)}
    # In another engine the package may not have been loaded by VisTrails: what all engines lock is the first.
    return tuple(sorted({_NAME} | used)) if asks or used else ()


@functools.lru_cache(maxsize=256)
def _look_through(source: str) -> tuple[bool, tuple[str, ...]]:
    """Return whether code asks for the folder, and the full names of what it imports."""
    code = unquote(source)
    if _BEARS_OTHERS.search(code):
        return False, ()
    asks = shared_files.asks(code.encode(errors="surrogatepass"))
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return asks, ()  # another language
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{each.name}" for each in node.names]
    return asks or any(map(_module_asks, names)), tuple(names)


def _module_asks(name: str) -> bool:
    """Whether what is imported under a full name asks for the folder, as far as files of that name say. Nothing is imported."""
    top, *inner = name.split(".")
    if top in _KNOWN and inner[:1] != ["packages"]:
        return False
    files, folders = [], list(getattr(sys.modules.get(top), "__path__", ()))
    with contextlib.suppress(ImportError, ValueError, AttributeError):  # there is none
        spec = importlib.util.find_spec(top)
        if spec is not None:
            files += [Path(spec.origin)] if spec.has_location and spec.origin else []
            folders += spec.submodule_search_locations or ()
    for folder in dict.fromkeys(folders):
        for count in range(1, len(inner) + 1):
            place = Path(folder, *inner[:count])
            files += [place.with_suffix(".py"), place / "__init__.py", place / "init.py"]
    return any(shared_files.asks(file.read_bytes()) for file in files if file.suffix == ".py" and file.is_file())


def _one_at_a_time(compute: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(compute)
    def run(self: Any, *arguments: Any, **more: Any) -> Any:
        with contextlib.ExitStack() as locked:
            try:
                for name in locks_of(self):
                    locked.enter_context(shared_files.alone(name))
            except shared_files.CannotLock as error:  # the code is the element's own
                from vistrails.core.modules.vistrails_module import ModuleError

                raise ModuleError(self, str(error)) from error
            return compute(self, *arguments, **more)

    setattr(run, _LOOKS, True)
    return run
