"""What is in files and folders, as digests: by content up to 64 MB, above that by size and time.

A digest is remembered by the file's name, size and times in nanoseconds, so that a file is read once. A file that has been written
to within the last moments is not remembered: it may be written to again without that its time changes, because file systems keep
times in ticks (what git calls racy).

May import the standard library and `parallelflow.map.hashing`.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable

from parallelflow.map.hashing import PIECE, SIZE, Unknown

# Files above so many bytes are known by size and time.
MOST_BYTES = 64 * 1024**2

# Files and folders in a folder, all together, above which it cannot be known.
MOST_ENTRIES = 10_000

# Ticks of file systems' times in nanoseconds: of one that keeps whole seconds, or two of them; of any other.
_LONG_TICK, _TICK = 2_000_000_000, 20_000_000

# What is remembered: so many files, the last ones.
_MOST_REMEMBERED = 200_000

NOT_THERE = b"not there"

_Known = tuple[int, int, int, int, int]  # size, two times, inode, device
_remembered: dict[str, tuple[_Known, bytes]] = {}


def is_still(path: str, digest: bytes, pause: Callable[[], None] = lambda: None) -> bool:
    """Whether what was in a file or a folder is in it now.

    :param path: its name.
    :param digest: what `digest_of` returned then.
    :param pause: called every few milliseconds; may raise.
    """
    try:
        return digest_of(path, pause) == digest
    except Unknown:
        return False


def digest_of(path: str, pause: Callable[[], None] = lambda: None) -> bytes:
    """Return a digest of what is in a file, or in a folder and all that is in it; links are followed.

    :param path: a file's name or a folder's.
    :param pause: called every few milliseconds; may raise.
    :returns: the digest, `NOT_THERE` if there is nothing of that name.
    :raises Unknown: for what cannot be read, what is neither file nor folder, a folder with too much in it, and a large file
        that has just been written to.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return NOT_THERE
    except (OSError, ValueError) as error:
        raise Unknown(f"{path!r} cannot be looked at: {error}") from error
    try:
        return _digest(os.path.abspath(path), found, [MOST_ENTRIES], (), pause)
    except OSError as error:
        raise Unknown(f"{path!r} cannot be read: {error}") from error


def _digest(
    path: str, found: os.stat_result, left: list[int], above: tuple[tuple[int, int], ...], pause: Callable[[], None]
) -> bytes:
    left[0] -= 1
    if left[0] < 0:
        raise Unknown(f"there are more than {MOST_ENTRIES} files in the folder")
    if stat.S_ISREG(found.st_mode):
        return _of_file(path, found, pause)
    if not stat.S_ISDIR(found.st_mode):
        raise Unknown(f"{path!r} is neither a file nor a folder")
    own = found.st_dev, found.st_ino
    if own in above:
        raise Unknown(f"{path!r} is a link to a folder that it is in")
    hashed = hashlib.blake2b(b"folder", digest_size=SIZE)
    with os.scandir(path) as entries:
        names = sorted(os.fsencode(entry.name) for entry in entries)
    for name in names:
        pause()
        inner = os.path.join(path, os.fsdecode(name))
        try:
            digest = _digest(inner, os.stat(inner), left, (*above, own), pause)
        except FileNotFoundError:
            digest = NOT_THERE  # a link to nothing
        hashed.update(b"%d;%b%d;%b" % (len(name), name, len(digest), digest))
    return hashed.digest()


def _of_file(path: str, found: os.stat_result, pause: Callable[[], None]) -> bytes:
    known = _known(found)
    if found.st_size > MOST_BYTES:
        if _is_racy(found):
            raise Unknown(f"{path!r} has just been written to")
        about = b"large %d %d" % (found.st_size, found.st_mtime_ns)
        return hashlib.blake2b(about, digest_size=SIZE).digest()
    remembered = _remembered.get(path)
    if remembered is not None and remembered[0] == known:
        return remembered[1]
    hashed = hashlib.blake2b(b"file", digest_size=SIZE)
    with open(path, "rb") as file:
        before = _known(os.fstat(file.fileno()))
        while content := file.read(PIECE):
            hashed.update(content)
            pause()
        after = os.fstat(file.fileno())
    if not before == _known(after) == known:
        raise Unknown(f"{path!r} changes while it is read")
    digest = hashed.digest()
    if not _is_racy(after):
        if len(_remembered) >= _MOST_REMEMBERED:
            del _remembered[next(iter(_remembered))]
        _remembered.pop(path, None)
        _remembered[path] = known, digest
    return digest


def _known(found: os.stat_result) -> _Known:
    # The second time is that of the last change of anything about it, which no program can set back.
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def _is_racy(found: os.stat_result) -> bool:
    times = found.st_mtime_ns, found.st_ctime_ns
    tick = _TICK if any(each % 1_000_000_000 for each in times) else _LONG_TICK
    return max(times) + tick > time.time_ns()
