"""The folder in which results are kept: finds what is kept of a plan, evicts what was not used for longest, lists and clears.

Standard library and `parallelflow.texts` only.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from parallelflow.results.file import Entry, Header, LaterVersion, ResultFile, Unreadable, is_own
from parallelflow.results.writer import Writer
from parallelflow.texts import tr

SUFFIX = ".kept"

# Where the folder lies in VisTrails' own for what belongs to the user. That one may be on `sys.path`, for the user's packages:
# a folder `parallelflow` in there would be taken for this project where it is installed from a clone.
PLACE = Path("parallelflow-results")

# So many letters of what a plan is known by begin the names of its files.
BEGIN = 32

# A file that a process on another machine may still write is left alone for so long, in seconds.
_OTHER_MACHINE = 86_400.0

# How many bytes are written until it is looked again how much there is in the folder: others write there, too.
_LOOK_EVERY = 64 * 1024**2

# So many entries are gone through without a pause.
_WITHOUT_PAUSE = 250

# The files that this process writes.
_open: set[Path] = set()


def _nothing() -> None:
    """Make no pause."""


@dataclass(frozen=True)
class Listed:
    """What is kept of one Map of one workflow.

    :ivar workflow: the workflow's name.
    :ivar module: the Map's name.
    :ivar results: how many results.
    :ivar nbytes: how large its files are.
    :ivar oldest: when the first of them was begun, in seconds since the epoch.
    :ivar used: when one of them was last used or written, in seconds since the epoch.
    :ivar files: the files.
    """

    workflow: str
    module: str
    results: int
    nbytes: int
    oldest: float
    used: float
    files: tuple[Path, ...] = ()


class Store:
    """A folder of results.

    :param folder: where it lies; it is made when the first result is kept.
    :param limit: how many bytes its files may have, all together.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder = folder
        self._limit = limit

    def _paths(self, begin: str = "") -> list[Path]:
        try:
            names = os.listdir(self.folder)
        except OSError:
            return []
        return [self.folder / name for name in sorted(names) if name.endswith(SUFFIX) and name.startswith(begin)]

    def find(self, begin: str, plan: Callable[[], str], pause: Callable[[], None] = _nothing) -> Found:
        """Find what is kept of a plan.

        :param begin: the first `BEGIN` letters of what it is known by, in hexadecimal digits.
        :param plan: returns all of them; it is called where something may be there.
        :param pause: called every few milliseconds; may raise.
        """
        paths = self._paths(begin)
        return Found(plan() if paths else "", paths, pause)

    def writer(self, header: Header) -> Writer:
        """Return what writes a run's results. Nothing is made in the folder before it writes the first.

        :param header: what the results are of; when and where is added.
        """
        header = replace(header, created=time.time(), host=platform.node(), pid=os.getpid())
        name = f"{header.plan[:BEGIN]}-{time.time_ns():x}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        path = self.folder / name
        _open.add(path)
        return Writer(path, header, _Room(self, path).make)

    def written(self, writer: Writer) -> None:
        """Take note that a writer is closed.

        :param writer: what `writer` returned.
        """
        _open.discard(writer.path)

    def make_folder(self) -> None:
        """Make the folder, for the user only.

        :raises OSError: if it cannot be made, or is somebody else's.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self.folder.stat()
        if not is_own(status):
            raise PermissionError(1, tr("others may write there"), str(self.folder))
        if status.st_mode & 0o077:
            self.folder.chmod(0o700)

    def evict(self, room: int, apart: Path | None = None) -> int:
        """Remove files that were not used for longest, until there is room.

        :param room: for how many bytes.
        :param apart: a file that stays.
        :returns: how many bytes there are then.
        """
        sizes: list[tuple[float, int, Path]] = []
        for path in self._paths():
            with contextlib.suppress(OSError):
                status = path.lstat()
                sizes.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in sizes)
        for _, size, path in sorted(sizes):
            if total + room <= self._limit:
                break
            if path != apart:
                with contextlib.suppress(OSError):
                    path.unlink()
                    total -= size
        return total

    @property
    def limit(self) -> int:
        """How many bytes there may be."""
        return self._limit

    def completed(self, found: Found, writer: Writer | None) -> None:
        """Remove results that were to be kept until their Map has completed, as it has: those that were there, and its own, if any.

        :param found: what was there.
        :param writer: what has written its own.
        """
        if writer is not None:
            writer.discard()
            self.written(writer)
        for path, header in found.files.items():
            if header.until_completed and not _is_being_written(path, header):
                with contextlib.suppress(OSError):
                    path.unlink()

    def listing(self) -> list[Listed]:
        """Return what is kept, by workflow and Map, that which was used last first. Takes as long as the disk is slow."""
        groups: dict[tuple[str, str], Listed] = {}
        for path in self._paths():
            try:
                with ResultFile(path) as file:
                    status, header = path.lstat(), file.header
                    results = sum(1 for _ in file.entries())
            except (OSError, Unreadable):
                continue
            key = header.workflow, header.module
            before = groups.get(key) or Listed(*key, 0, 0, header.created, 0.0)
            groups[key] = Listed(
                *key,
                before.results + results,
                before.nbytes + status.st_size,
                min(before.oldest, header.created),
                max(before.used, status.st_mtime),
                (*before.files, path),
            )
        return sorted(groups.values(), key=lambda each: each.used, reverse=True)

    def clear(self, listed: Iterable[Listed] | None = None) -> int:
        """Remove results.

        :param listed: those that are to go; None: all.
        :returns: how many bytes there are fewer.
        :raises OSError: if one cannot be removed.
        """
        paths = self._paths() if listed is None else [path for each in listed for path in each.files]
        gone = 0
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                size = path.lstat().st_size
                path.unlink()
                gone += size
        return gone


class Found:
    """What is kept of one plan.

    :param plan: what it is known by, in hexadecimal digits.
    :param paths: the files that may be of it.
    :param pause: called every few milliseconds; may raise.
    :ivar files: those that are, with what they say of themselves.
    :ivar later: whether there is one of a later version.
    """

    def __init__(self, plan: str, paths: Iterable[Path], pause: Callable[[], None]):
        self.files: dict[Path, Header] = {}
        self.later = False
        self._open: list[ResultFile] = []
        self._used: set[Path] = set()
        self._entries: dict[bytes, tuple[ResultFile, Entry]] = {}
        try:
            for path in paths:
                self._add(plan, path, pause)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._entries)

    def _add(self, plan: str, path: Path, pause: Callable[[], None]) -> None:
        try:
            file = ResultFile(path)
        except LaterVersion:
            self.later = True
            return
        except (OSError, Unreadable):
            return
        if file.header.plan != plan:
            file.close()
            return
        self._open.append(file)
        self.files[path] = file.header
        with contextlib.suppress(OSError):
            for number, entry in enumerate(file.entries()):
                self._entries[entry.key] = file, entry
                if number % _WITHOUT_PAUSE == _WITHOUT_PAUSE - 1:
                    pause()

    def entries(self) -> list[Entry]:
        """Return all that is there and not damaged, as far as it has been read."""
        return [entry for _, entry in self._entries.values()]

    def entry(self, key: bytes) -> Entry | None:
        """Return where an element's result is, None if it is not kept.

        :param key: what the element is known by.
        """
        found = self._entries.get(key)
        return None if found is None else found[1]

    def read(self, key: bytes, pause: Callable[[], None] = _nothing) -> tuple[bytes, list[Any]] | None:
        """Read an element's result.

        :param key: what the element is known by.
        :param pause: called between pieces of a large one; may raise.
        :returns: its note and its parts; None if it is not kept, or damaged.
        """
        found = self._entries.get(key)
        if found is None:
            return None
        file, entry = found
        result = file.read(entry, pause)
        if result is None:
            del self._entries[key]
        else:
            self._used.add(file.path)
        return result

    def close(self) -> None:
        """Read no more, and note which files were used."""
        for file in self._open:
            file.close()
        self._open.clear()
        for path in self._used:
            with contextlib.suppress(OSError):
                os.utime(path)
        self._used.clear()


class _Room:
    """Sees to it that a file has room in its folder, as it grows."""

    def __init__(self, store: Store, path: Path):
        self._store, self._path = store, path
        self._made = False
        self._left = 0  # bytes that may be written until it is looked again

    def make(self, nbytes: int) -> bool:
        if not self._made:
            self._store.make_folder()
            self._made = True
        if nbytes > self._left:
            piece = max(nbytes, min(_LOOK_EVERY, self._store.limit // 16))
            total = self._store.evict(piece, self._path)
            if total + nbytes > self._store.limit:
                return False
            self._left = min(piece, self._store.limit - total)
        self._left -= nbytes
        return True


def _is_being_written(path: Path, header: Header) -> bool:
    """Whether some process may still write a file."""
    if path in _open:
        return True
    if header.host != platform.node():
        with contextlib.suppress(OSError):
            return time.time() - path.lstat().st_mtime < _OTHER_MACHINE
        return False
    if header.pid == os.getpid():
        return False
    try:
        os.kill(header.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
