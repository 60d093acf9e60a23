"""The code that modules are made of, as digests: what is installed by its version, all other code by its content.

Code is looked at in *units*: a VisTrails package of the user's own, a Python package, a Python module that is a file. Of what is
imported in a unit's code, or in a PythonSource, all that is not Python's own counts as well. Only what can be read in the text of
the code is found; `parallelflow.map.loaded_code` is for what an engine has loaded beside that.

May import the standard library, VisTrails, and `file_contents` and `hashing` of the map room.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import site
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import parallelflow
from parallelflow.map import file_contents
from parallelflow.map.hashing import SIZE, Unknown

# The Python package that the user's own VisTrails packages are in.
USER_PACKAGES = "userpackages"

# Of a unit's folder, that counts which is not made of it by Python or kept beside it by tools.
_LEFT_OUT = frozenset({"__pycache__"})
_MOST_FILES = 5_000

# A tick of file systems' times in nanoseconds, the longest that there is.
_TICK = 2_000_000_000

_IMPORT = re.compile(
    r"(?:^|[;:])[ \t]*(?:from[ \t]+([A-Za-z_][\w.]*)[ \t]+import\b|import[ \t]+([^\n;#]+))"
    r"|(?:import_module|__import__|find_spec)\([ \t\n]*['\"]([A-Za-z_][\w.]*)['\"]",
    re.MULTILINE,
)


def unit_of(module: str) -> str:
    """Return the unit that a Python module belongs to.

    :param module: its full name.
    """
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == USER_PACKAGES else 1])


@functools.lru_cache(maxsize=5000)
def imported_by(text: str) -> frozenset[str]:
    """Return the names of modules that some code may import, as far as its text says; relative ones are left out.

    :param text: Python code, in which there may be errors.
    """
    names = set()
    for plain, several, called in _IMPORT.findall(text):
        for name in [plain, called, *several.strip("()\\ ").split(",")]:
            first = name.split()[0] if name.split() else ""
            if re.fullmatch(r"[A-Za-z_][\w.]*", first):
                names.add(first)
    return frozenset(names)


class Code:
    """The code that a plan's modules are made of.

    :param pause: called every few milliseconds; may raise.
    :ivar units: what is known of each unit: its version, or the digest of its content.
    :ivar files: by the unit its files and folders, for those that are known by content.
    """

    def __init__(self, pause: Callable[[], None] = lambda: None):
        self._pause = pause
        self.units: dict[str, bytes] = {}
        self.files: dict[str, list[str]] = {}

    def add_module(self, module: str) -> None:
        """Add the unit of a Python module, and all that is imported in it.

        :param module: its full name.
        :raises Unknown: for code that is in no file.
        """
        waiting = [module]
        while waiting:
            unit = unit_of(waiting.pop())
            if unit not in self.units and not _is_pythons(unit):
                self.units[unit], texts = self._look(unit)
                for text in texts:
                    waiting += imported_by(text)

    def add_text(self, text: str) -> None:
        """Add what some code imports.

        :param text: Python code.
        """
        for name in imported_by(text):
            self.add_module(name)

    def add_package(self, module: str) -> None:
        """Add a VisTrails package: its own unit, or what it imports, if it is installed and known by its version.

        :param module: the name of its Python package.
        """
        self.add_module(module)
        unit = unit_of(module)
        if unit not in self.files:
            for imported in _imported_in(module, self.units.get(unit)):
                self.add_module(imported)

    def digest(self) -> bytes:
        """Return a digest of all that has been added."""
        hashed = hashlib.blake2b(digest_size=SIZE)
        for unit, known in sorted(self.units.items()):
            name = unit.encode()
            hashed.update(b"%d;%b%d;%b" % (len(name), name, len(known), known))
        return hashed.digest()

    def look(self, unit: str) -> bytes:
        """Return what is known of a unit: its version, or the digest of its content.

        :param unit: its name.
        :raises Unknown: for code that is in no file.
        """
        return self._look(unit)[0]

    def _look(self, unit: str) -> tuple[bytes, list[str]]:
        if unit == "vistrails":
            from vistrails.core.system import vistrails_version

            return f"version {vistrails_version()} {_version('vistrails')}".encode(), []
        if unit == "parallelflow":
            return f"version {parallelflow.__version__}".encode(), []
        if unit in ("__main__", "__mp_main__"):
            raise Unknown("code that is in no file")
        places = _places(unit)
        if not places:
            return b"not there", []
        if all(map(_is_pythons_file, places)):
            return b"", []
        if all(map(_is_installed, places)):
            version = _version(unit)
            if version:
                return f"version {version}".encode(), []
        self.files[unit] = places
        return self._content(unit, places)

    def _content(self, unit: str, places: list[str]) -> tuple[bytes, list[str]]:
        hashed = hashlib.blake2b(digest_size=SIZE)
        texts = []
        count = 0
        for place in places:
            for path in [place] if os.path.isfile(place) else _files(place):
                count += 1
                if count > _MOST_FILES:
                    raise Unknown(f"the code of {unit!r} has more than {_MOST_FILES} files beside it")
                self._pause()
                name = os.fsencode(os.path.relpath(path, place))
                content = file_contents.digest_of(path, self._pause)
                hashed.update(b"%d;%b%d;%b" % (len(name), name, len(content), content))
                if path.endswith(".py"):
                    texts.append(_read(path))
        return hashed.digest(), texts


@functools.lru_cache(maxsize=500)
def _imported_in(module: str, known: bytes | None) -> tuple[str, ...]:
    """The units that a package imports which is known by its version: of each it is looked up once, for that costs 10 ms."""
    paths = [path for folder in _places(module) for path in _python_files(folder)]
    units = {unit_of(name): None for path in paths for name in imported_by(_read(path))}
    return tuple(unit for unit in units if not _is_pythons(unit))


def _places(module: str) -> list[str]:
    """Return the folders of a Python package, or the file of a Python module; nothing where there is none."""
    spec: Any = getattr(sys.modules.get(module), "__spec__", None)
    return _places_of(spec) if spec is not None else list(_found(module, _stamp(tuple(sys.path))))


@functools.lru_cache(maxsize=1000)
def _found(module: str, stamp: Any) -> tuple[str, ...]:
    """The same for a module that has not been loaded; VisTrails makes it slow to look for one."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return ()
    return () if spec is None else tuple(_places_of(spec))


def _places_of(spec: Any) -> list[str]:
    if spec.submodule_search_locations is not None:
        return [os.path.abspath(each) for each in spec.submodule_search_locations]
    origin = spec.origin
    return [os.path.abspath(origin)] if origin and os.path.isfile(origin) else []


def _stamp(folders: tuple[str, ...]) -> Any:
    """What is another one when something has been put into one of these folders, or taken out of it."""
    written = tuple(_written(folder) for folder in folders)
    now = time.time_ns()
    # Within the same tick something else may still come.
    return folders, written, now if max(written, default=0) + _TICK > now else 0


def _written(folder: str) -> int:
    try:
        return os.stat(folder or os.curdir).st_mtime_ns
    except OSError:
        return 0


def _files(folder: str) -> Iterable[str]:
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if each not in _LEFT_OUT and not each.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith((".pyc", "~", ".swp")):
                yield os.path.join(path, name)


def _python_files(place: str) -> list[str]:
    return [place] if os.path.isfile(place) else [path for path in _files(place) if path.endswith(".py")]


@functools.lru_cache(maxsize=5000)
def _text_of(path: str, size: int, written: int) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def _read(path: str) -> str:
    try:
        found = os.stat(path)
        return _text_of(path, found.st_size, found.st_mtime_ns)
    except OSError:
        return ""


def _is_pythons(unit: str) -> bool:
    return unit in sys.stdlib_module_names or unit in sys.builtin_module_names


@functools.cache
def _folders(*names: str) -> tuple[str, ...]:
    return tuple({os.path.realpath(sysconfig.get_path(name)) + os.sep for name in names})


@functools.cache
def _installed_in() -> tuple[str, ...]:
    folders = {*site.getsitepackages(), site.getusersitepackages()}
    return (*_folders("purelib", "platlib"), *(os.path.realpath(each) + os.sep for each in folders))


@functools.cache
def _real(folder: str) -> str:
    return os.path.realpath(folder) + os.sep


def _is_installed(path: str) -> bool:
    return _real(os.path.dirname(path)).startswith(_installed_in())


def _is_pythons_file(path: str) -> bool:
    return _real(os.path.dirname(path)).startswith(_folders("stdlib", "platstdlib")) and not _is_installed(path)


_OWN = os.path.realpath(os.path.dirname(parallelflow.__file__)) + os.sep


def is_known_by_version(path: str) -> bool:
    """Whether a file belongs to Python, to what is installed, or to Parallel Flow.

    :param path: its name.
    """
    return _is_installed(path) or _is_pythons_file(path) or _real(os.path.dirname(path)).startswith(_OWN)


def compiled_of(path: str) -> str:
    """Return the name of the file in which Python keeps a module compiled.

    :param path: the module's.
    :raises NotImplementedError: if this Python keeps none.
    """
    return importlib.util.cache_from_source(path)


def _version(unit: str) -> str:
    """The versions of the distributions that a unit is from, '' if there are none."""
    return _version_among(unit, _stamp(_installed_in()))


@functools.lru_cache(maxsize=1000)
def _version_among(unit: str, stamp: Any) -> str:
    try:
        own = importlib.metadata.distribution(unit)
        if f"{unit}/" in (own.read_text("RECORD") or ""):
            return f"{unit} {own.version}"
    except (importlib.metadata.PackageNotFoundError, ValueError):
        pass
    found = []
    for name in _distributions(stamp).get(unit, ()):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


@functools.lru_cache(maxsize=1)
def _distributions(stamp: Any) -> dict[str, list[str]]:
    # It reads all that is installed: a third of a second.
    return {name: sorted(set(found)) for name, found in importlib.metadata.packages_distributions().items()}
