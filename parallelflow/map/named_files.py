"""The files that a result names: those in VisTrails' file pool are kept with it and put into the new pool, others count only while
they are as they were.

Loading this teaches `values` to leave a place for a file of the pool. May import VisTrails and, of the map room,
`file_contents`, `hashing`, `values` and `vistrails_values`.
"""

from __future__ import annotations

import io
import math
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vistrails.core.modules.basic_modules import PathObject

from parallelflow.map import file_contents, values
from parallelflow.map.hashing import Unknown
from parallelflow.map.vistrails_values import made_up_name

# A result with files of more bytes than these in the pool is not kept.
MOST_BYTES = 256 * 1024**2

_PIECE = 4 * 1024**2

# Where a pickle has the name of a type of numpy's whose elements are texts, 'U12' for instance.
_WIDE = re.compile(rb"U\d")

# Links and permissions as they were; later versions of Python want to be told so.
_TRUSTED: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}


class CannotBeKept(Exception):
    """A result cannot be kept because of what it names; `str()` says why."""


@dataclass(frozen=True)
class PoolFile:
    """How a file or folder of the pool is called.

    :ivar is_folder: whether it is a folder; its content is a tar file then.
    :ivar name: the name that a module has given it, '' if the pool has made one up.
    :ivar suffix: what a name that was made up ends in.
    """

    is_folder: bool
    name: str
    suffix: str


@dataclass
class Kept:
    """A result that can be kept.

    :ivar packed: the result, as `values.pack` made it.
    :ivar contents: the content of each file that is kept with it.
    :ivar files: how these are called.
    :ivar others: other files and folders that it names, with digests of what is in them.
    """

    packed: values.Packed
    contents: list[bytes] = field(default_factory=list)
    files: list[PoolFile] = field(default_factory=list)
    others: dict[str, bytes] = field(default_factory=dict)


class _Named:
    """What is named by the value that is being packed."""

    def __init__(self, pool: str):
        self.pool = os.path.join(pool, "")
        self.inside: dict[str, int] = {}
        self.others: dict[str, None] = {}

    def place_of(self, name: str) -> int | None:
        """Note a file, and give the number of one in the pool."""
        path = os.path.abspath(name)
        if not path.startswith(self.pool):
            self.others[name] = None
            return None
        return self.inside.setdefault(path, len(self.inside))


_named: _Named | None = None
_put_back_as: Sequence[str] = ()


def pack(value: Any, pool: str, pause: Callable[[], None] = lambda: None, most: float = math.inf, **how: Any) -> Kept:
    """Pack a result, with the files of the pool that it names.

    :param value: the result.
    :param pool: VisTrails' file pool.
    :param pause: called every few milliseconds while it is packed and files are read; may raise.
    :param most: so many bytes it may have, without files.
    :param how: what else `values.pack` is told.
    :raises CannotTravel: when it cannot be pickled.
    :raises CannotBeKept: when it has more, when a file that it names is not there or cannot be known, or when a text in it names
        one of the pool.
    """
    global _named
    before, _named = _named, _Named(pool)
    try:
        named = _named
        kept = Kept(values.pack(value, pause=pause, **how))
    finally:
        _named = before
    if values.size(kept.packed) > most:
        raise CannotBeKept("it is too large for that")
    if _mentions(kept.packed, pool, pause):
        raise CannotBeKept("a text in it names a file of the pool, which has another name in each session")
    left = MOST_BYTES
    for path in named.inside:
        content = _content(path, left, pause)
        left -= len(content)
        name = os.path.basename(path)
        given = made_up_name.sub("", name)
        is_made_up = given != name
        kept.contents.append(content)
        kept.files.append(PoolFile(os.path.isdir(path), "" if is_made_up else name, given if is_made_up else ""))
    for name in named.others:
        kept.others[name] = _digest(name, pause)
    return kept


def unpack(
    kept: Kept,
    pool: Any,
    unpacked: Callable[[Sequence[Any], Callable[[], None]], Any] = values.unpack,
    pause: Callable[[], None] = lambda: None,
) -> Any:
    """Turn what `pack` made back into the result, and put its files into a pool.

    :param kept: what `pack` made, perhaps in another session.
    :param pool: VisTrails' file pool, a `FilePool`.
    :param unpacked: does what `values.unpack` does.
    :param pause: called every few milliseconds while it is unpacked and files are written; may raise.
    :raises CannotBeKept: when other files that it names are not as they were.
    :raises OSError: when a file cannot be written.
    """
    global _put_back_as
    for name, digest in kept.others.items():
        if not file_contents.is_still(name, digest, pause):
            raise CannotBeKept(f"{name!r} is not as it was")
    before, _put_back_as = (
        _put_back_as,
        [_put(*each, pool, pause) for each in zip(kept.contents, kept.files, strict=True)],
    )
    try:
        return unpacked(kept.packed, pause)
    finally:
        _put_back_as = before


def _content(path: str, left: int, pause: Callable[[], None]) -> bytes:
    try:
        if os.path.isdir(path):
            written = io.BytesIO()
            with tarfile.open(fileobj=written, mode="w") as archive:
                for folder, _, names in os.walk(path):
                    for name in names:
                        left -= os.path.getsize(os.path.join(folder, name))
                        if left < 0:
                            raise CannotBeKept("its files in the pool are too large")
                archive.add(path, arcname=".")
            return written.getvalue()
        if os.path.getsize(path) > left:
            raise CannotBeKept("its files in the pool are too large")
        with open(path, "rb") as file:
            pieces = []
            while piece := file.read(_PIECE):
                pieces.append(piece)
                pause()
        return b"".join(pieces)
    except (OSError, tarfile.TarError) as error:
        raise CannotBeKept(f"a file of the pool cannot be read: {error}") from error


def _put(content: bytes, file: PoolFile, pool: Any, pause: Callable[[], None]) -> str:
    if file.name:
        path = os.path.join(pool.create_directory().name, file.name)
        if file.is_folder:
            os.mkdir(path)
    else:
        path = (pool.create_directory if file.is_folder else pool.create_file)(suffix=file.suffix).name
    if file.is_folder:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(path, **_TRUSTED)  # it is the user's own, and the store has checked it
        return path
    with open(path, "wb") as opened:
        for start in range(0, len(content), _PIECE):
            opened.write(memoryview(content)[start : start + _PIECE])
            pause()
    return path


def _digest(name: str, pause: Callable[[], None]) -> bytes:
    try:
        digest = file_contents.digest_of(name, pause)
    except Unknown as error:
        raise CannotBeKept(str(error)) from error
    if digest == file_contents.NOT_THERE:
        raise CannotBeKept(f"{name!r}, which it names, is not there")
    return digest


def _mentions(packed: values.Packed, pool: str, pause: Callable[[], None]) -> bool:
    """Whether a text in what has been packed names a file of the pool."""
    if not pool:
        return False
    narrow = pool.encode("utf-8", "surrogatepass")
    # numpy's, which has texts so where the pickle says that it does. These have many zeros, as numbers do, in which they are long
    # looked for.
    wide = [re.compile(re.escape(pool.encode(encoding, "surrogatepass"))) for encoding in ("utf-32-le", "utf-32-be")]
    wide = wide if any(_WIDE.search(piece) for piece in _pieces(packed[0], 1, pause)) else []
    return any(
        narrow in piece or any(each.search(piece) for each in wide)
        for part in packed
        for piece in _pieces(part, 4 * len(narrow), pause)
    )


def _pieces(part: Any, beyond: int, pause: Callable[[], None]) -> Iterator[bytes]:
    """Cut bytes up; each piece ends with so many of the next one, so that what is looked for is whole in one."""
    content = memoryview(part).cast("B")
    for start in range(0, len(content), _PIECE):
        if start:
            pause()
        yield bytes(content[start : start + _PIECE + beyond])


def _put_back(number: int, is_vistrails: bool) -> Any:
    name = _put_back_as[number]
    return PathObject(name) if is_vistrails else Path(name)


def _reduce_file(file: Any, lenient: bool) -> Any:
    name = vars(file).get("name")
    if _named is None or not isinstance(name, str) or not name:
        return NotImplemented
    number = _named.place_of(name)
    if number is not None and type(file) is not PathObject:
        raise TypeError("a file of the pool that is more than a file")
    return NotImplemented if number is None else (_put_back, (number, True))


def _reduce_path(path: Path, lenient: bool) -> Any:
    if _named is None:
        return NotImplemented
    number = _named.place_of(str(path))
    return NotImplemented if number is None else (_put_back, (number, False))


values.register(PathObject, _reduce_file)
values.register(Path, _reduce_path)
