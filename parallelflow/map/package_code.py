"""The code of VisTrails packages that may change while their version does not, above all the user's own.

An engine loads a package once, and so does VisTrails, perhaps on another day. Whether both have the same code is told by a digest
of each of its files, taken soon after it was imported.

May import the standard library, and `file_contents`, `hashing` and `source_code` of the map room.
"""

from __future__ import annotations

import sys
import weakref
from types import ModuleType

from parallelflow.map import file_contents, source_code
from parallelflow.map.hashing import Unknown

_digests: weakref.WeakKeyDictionary[ModuleType, bytes] = weakref.WeakKeyDictionary()

# What is imported of packages, for as long as there are so many modules, and this one is the last of them.
_names: dict[str, list[str]] = {}
_last: tuple[int, ModuleType | None] = 0, None


def code_of(name: str) -> dict[str, bytes]:
    """Return digests of a package's code as it has been imported here.

    What is looked at for the first time is believed to be what was imported.

    :param name: the name of its Python package.
    :returns: by the names of its Python modules; without those that are known by a version, and those that cannot be read.
    """
    imported = [(each, sys.modules.get(each)) for each in _imported_in(name)]
    digests = ((each, _digest(module)) for each, module in imported if module is not None)
    return {each: digest for each, digest in digests if digest != file_contents.NOT_THERE}


def _imported_in(name: str) -> list[str]:
    """The names of what is imported of a package, in alphabetical order."""
    global _last
    # The last one tells what has been imported since: it itself, not its name, for a package that is loaded anew may have other
    # modules then, as many, and the same one at the end.
    count, last = len(sys.modules), next(reversed(sys.modules.values()), None)
    if count != _last[0] or last is not _last[1]:
        _names.clear()
        _last = count, last
    if name not in _names:
        below = f"{name}."
        _names[name] = sorted(each for each in sys.modules.copy() if each == name or each.startswith(below))
    return _names[name]


def _digest(module: ModuleType) -> bytes:
    if module not in _digests:
        path = getattr(module, "__file__", None)
        try:
            known = path is None or source_code.is_known_by_version(path)
            _digests[module] = file_contents.NOT_THERE if known else file_contents.digest_of(str(path))
        except Unknown:
            _digests[module] = file_contents.NOT_THERE
    return _digests[module]


def changed(here: dict[str, bytes], there: dict[str, bytes]) -> str | None:
    """Return the name of a Python module that is not the same here and there; None if all are that both have imported.

    :param here: what `code_of` has said in one process.
    :param there: what it has said in another.
    """
    return next((name for name in sorted(here.keys() & there.keys()) if here[name] != there[name]), None)
