"""The code of VisTrails packages that may change while their version does not, above all the user's own.

An engine loads a package once, and so does VisTrails, perhaps on another day. Whether both have the same code is told by a digest
of each of its files, taken soon after it was imported.

May import the standard library, and `file_contents`, `hashing` and `source_code` of the map room.
"""

from __future__ import annotations

import sys
import weakref
from functools import lru_cache
from types import ModuleType

from parallelflow.map import file_contents, source_code
from parallelflow.map.hashing import Unknown

_digests: weakref.WeakKeyDictionary[ModuleType, bytes] = weakref.WeakKeyDictionary()


def code_of(name: str) -> dict[str, bytes]:
    """Return digests of a package's code as it has been imported here.

    What is looked at for the first time is believed to be what was imported.

    :param name: the name of its Python package.
    :returns: by the names of its Python modules; without those that are known by a version, and those that cannot be read.
    """
    # The last one tells what has been imported since: it itself, not its name, for a package that is loaded anew may have other
    # modules then, as many, and the same one at the end.
    last = next(reversed(sys.modules.values()), None)
    imported = _imported_in(name, len(sys.modules), _Same(last))
    digests = ((each, _digest(sys.modules[each])) for each in imported if sys.modules.get(each) is not None)
    return {each: digest for each, digest in digests if digest != file_contents.NOT_THERE}


class _Same:
    """Equal to what holds the very same object, which it keeps: so that none comes by its address."""

    def __init__(self, content: object):
        self._content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._content is other._content

    def __hash__(self) -> int:
        return id(self._content)


@lru_cache(maxsize=100)
def _imported_in(name: str, count: int, last: _Same) -> list[str]:
    below = f"{name}."
    return sorted(each for each in sys.modules.copy() if each == name or each.startswith(below))


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
