"""What code an engine runs, so that VisTrails knows whether results of it are what their keys say.

An engine has loaded its code at some time; what lies on the disk may be another one by now. So it notes what it has loaded of code
that is not known by a version, and looks whether that is still there; and what it finds installed, VisTrails compares with what it
finds itself.

Runs in engines. May import the standard library, psutil, and `configuration`, `file_contents`, `hashing`, `source_code` of the map
room.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import platform
import struct
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import psutil

from parallelflow.map import file_contents, source_code
from parallelflow.map.hashing import Unknown

# File systems keep times in ticks, which are at most so long where programs are kept, in nanoseconds.
_TICK = 20_000_000


@dataclass(frozen=True)
class Asked:
    """What an engine is to say of the code that it runs, so that results can be kept.

    :ivar units: of which units of code.
    :ivar shortest: once an element has taken so many seconds: what took less is not kept.
    """

    units: list[str]
    shortest: float


@dataclass(frozen=True)
class Loaded:
    """What code an engine runs.

    :ivar python: its Python and version.
    :ivar units: what is on its disk of the units that were asked for, as `source_code.Code` has it.
    :ivar modules: the digests of the files that it has loaded and that are known by no version, by the names of the modules.
    :ivar beside: such files that belong to none of these units and were loaded after VisTrails was, with their digests.
    :ivar changed: files that are not what was loaded of them any more.
    :ivar made: digests of the plan's classes of modules that packages have made there, as `made_classes` has them.
    :ivar settings: digests of what the preferences of the plan's packages say there, by their codepaths; None where they said
        something else when the package was loaded.
    """

    python: tuple[str, tuple[object, ...]]
    units: dict[str, bytes]
    modules: dict[str, bytes]
    beside: dict[str, bytes]
    changed: tuple[str, ...]
    made: dict[str, bytes] = field(default_factory=dict)
    settings: dict[str, bytes | None] = field(default_factory=dict)


def python() -> tuple[str, tuple[object, ...]]:
    """Return this process's Python and version."""
    return platform.python_implementation(), tuple(sys.version_info)


@dataclass
class _File:
    """A file that has been loaded; `digest` is None if it may have been changed since."""

    path: str
    digest: bytes | None
    at_start: bool


@dataclass
class _Notes:
    files: dict[str, _File] = field(default_factory=dict)  # by the module's name
    # Modules that are known by a version: their identities, and when they were not yet loaded, or at the start of this process.
    others: dict[str, tuple[int, int]] = field(default_factory=dict)
    looked: int = 0  # when it was looked last, in nanoseconds
    last: tuple[int, str] = 0, ""  # how many modules there were then, and the last one


_notes = _Notes()


def look(at_start: bool = False) -> bool:
    """Note what has been loaded since the last look, and say whether that was something that is known by no version.

    :param at_start: whether it has been loaded because VisTrails was started.
    """
    last = len(sys.modules), next(reversed(sys.modules), "")
    if last == _notes.last:
        _notes.looked = time.time_ns()
        return False
    known = len(_notes.files)
    before = _notes.looked or int(psutil.Process().create_time() * 1e9)
    now = time.time_ns()
    for name, module in list(sys.modules.items()):
        if name in _notes.files or _notes.others.get(name, (0, 0))[0] == id(module):
            continue
        path = _origin(module)
        if path is None or source_code.is_known_by_version(path) or not os.path.isfile(path):
            _notes.others[name] = id(module), before
        else:
            _notes.files[name] = _File(path, _digest(path, before, _is_empty(module)), at_start)
    _notes.looked, _notes.last = now, last
    return len(_notes.files) > known


def tell(
    units: Iterable[str], made: dict[str, bytes] | None = None, settings: dict[str, bytes | None] | None = None
) -> Loaded:
    """Return what code this engine runs.

    :param units: the units that the plan is made of.
    :param made: what `made_classes` says of the plan's modules.
    :param settings: what `configuration` says of the plan's packages.
    """
    look()
    code = source_code.Code()
    asked = set(units)
    found = {}
    for unit in sorted(asked):
        with contextlib.suppress(Unknown):
            found[unit] = code.look(unit)
    modules: dict[str, bytes] = {}
    beside: dict[str, bytes] = {}
    changed = {path for unit in asked if (path := _installed_anew(unit)) is not None}
    for name, file in _notes.files.items():
        if file.digest is None or not file_contents.is_still(file.path, file.digest):
            changed.add(file.path)
            continue
        modules[name] = file.digest
        if not file.at_start and source_code.unit_of(name) not in asked:
            beside[file.path] = file.digest
    return Loaded(python(), found, modules, beside, tuple(sorted(changed)), made or {}, settings or {})


def _installed_anew(unit: str) -> str | None:
    """The file of a module that is known by its version, if it has been installed since it was loaded."""
    noted, module = _notes.others.get(unit), sys.modules.get(unit)
    path = None if noted is None or module is None else _origin(module)
    if noted is None or path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return path
    return path if max(found.st_mtime_ns, found.st_ctime_ns) > noted[1] else None


def path_of(name: str) -> str | None:
    """Return the file that this process has loaded for a module, if it has, and if it is known by no version.

    :param name: the module's.
    """
    module = sys.modules.get(name)
    path = None if module is None else _origin(module)
    return None if path is None or source_code.is_known_by_version(path) or not os.path.isfile(path) else path


def _origin(module: ModuleType) -> str | None:
    """The name of the file that a module says it is from."""
    path = getattr(getattr(module, "__spec__", None), "origin", None) or getattr(module, "__file__", None)
    if not isinstance(path, str) or os.sep not in path or getattr(module, "__name__", "") == "__main__":
        return None  # built-in or frozen ones, too
    return path if path.startswith(os.sep) else os.path.abspath(path)


# What every VisTrails that starts writes into the folder of the user's packages, engines among them.
_WRITTEN_AT_STARTS = b"pass\n"


def _is_empty(module: ModuleType) -> bool:
    """Whether nothing has come of a module's code."""
    return all(name.startswith("__") or isinstance(each, ModuleType) for name, each in list(vars(module).items()))


def _digest(path: str, before: int, is_empty: bool) -> bytes | None:
    """Return the digest of a file that was loaded after some time; None if it may have been changed after it was loaded."""
    try:
        digest = file_contents.digest_of(path)
        if is_empty and os.path.getsize(path) < 10 and Path(path).read_bytes() == _WRITTEN_AT_STARTS:
            return digest
        found = os.stat(path)
        if max(found.st_mtime_ns, found.st_ctime_ns) + _TICK > before or _is_compiled_of_another(path, found):
            return None
    except (OSError, Unknown):
        return None
    return digest


def _is_compiled_of_another(path: str, found: os.stat_result) -> bool:
    """Whether Python has taken compiled code that was made of what the file held before: it goes by whole seconds and the size."""
    try:
        compiled = Path(source_code.compiled_of(path))
        written = compiled.stat().st_mtime_ns
        content = compiled.read_bytes()
        flags, seconds, size = struct.unpack("<III", content[4:16])
    except (OSError, NotImplementedError, struct.error):
        return False
    its = int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF
    if flags or (seconds, size) != its or written > max(found.st_mtime_ns, found.st_ctime_ns):
        return False
    try:
        return bool(marshal.loads(content[16:]) != compile(Path(path).read_bytes(), path, "exec", dont_inherit=True))
    except (OSError, ValueError, SyntaxError, EOFError, TypeError):
        return True
