"""Lock files: what only one process and one thread may do at a time, on whichever file system.

Where a file system knows no locks, or has nobody who manages them, a lock is a file that is there while it is held, and that
is removed for whoever ended without doing so. filelock sees to both kinds, and to Windows; which kind it is, is decided here, for
in versions before 4 what is to replace a lock that the system lacks removes that of others.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from parallelflow.texts import tr

from . import profile
from .errors import ClusterError
from .waiting import Wait

if TYPE_CHECKING:
    from filelock import BaseFileLock

with contextlib.suppress(ImportError):  # there is none on Windows
    import fcntl

# Network file systems without a lock manager, and those that know no locks at all.
_WITHOUT_LOCKS = frozenset((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP))


class NotWritten(ClusterError):
    """A file of ours, or its lock, cannot be written: the disk is full or read-only, or it belongs to somebody else."""


class Locked(ClusterError):
    """Somebody else holds a lock."""


def cannot_be_written(path: Path, error: OSError) -> NotWritten:
    """What to raise where a file cannot be written.

    :param path: the file
    :param error: why
    """
    return NotWritten(tr("{path} cannot be written: {reason}.", path=path, reason=error.strerror or error))


@contextmanager
def locked(path: Path, wait: Wait, what: str) -> Iterator[None]:
    """Hold a lock file.

    A thread that holds it already, and was interrupted by a signal whose handler asks for it, goes on: nobody else has it.

    :param path: the lock file; it is made, and stays where the file system knows locks
    :param wait: how long to wait for whoever holds it
    :param what: what is waited for, as the progress text and in the error's sentence
    :raises Locked: if somebody else holds it to the end of the wait
    :raises NotWritten: if it cannot be made
    :raises Cancelled: if the caller of the wait called it off
    """
    holder = threading.get_ident(), path
    if holder in _held:
        yield
        return
    lock = _acquired(path, wait, what)
    try:
        _held.add(holder)
        yield
    finally:
        _held.discard(holder)
        lock.release()


def _acquired(path: Path, wait: Wait, what: str) -> BaseFileLock:
    # Here, because whoever only connects needs no lock.
    from filelock import FileLock, SoftFileLock, Timeout

    try:
        if _knows_locks(path):
            lock: BaseFileLock = FileLock(path, mode=profile.PRIVATE_FILE)
        else:  # under another name, for the file itself is there
            lock = SoftFileLock(path.with_name(f"{path.name}-held"), mode=profile.PRIVATE_FILE)
        while True:
            try:
                lock.acquire(blocking=False)
                return lock
            except Timeout:
                if wait.over:
                    raise Locked(_taken(lock.lock_file, wait, what, stays=isinstance(lock, SoftFileLock))) from None
                wait.pause(what, 0.0)
    except OSError as error:
        raise cannot_be_written(path, error) from error


def _taken(path: str, wait: Wait, what: str, stays: bool) -> str:
    """Say that somebody else holds a lock.

    :param stays: whether that is a file, which nobody removes if its owner crashed on another machine
    """
    said = tr(
        "Waited {seconds} seconds for {what}. Another VisTrails holds {path}; try again when it is done.",
        seconds=round(wait.timeout),
        what=what,
        path=path,
    )
    if stays:
        said += " " + tr("If it has crashed on another machine, remove that file.")
    return said


def _knows_locks(path: Path) -> bool:
    """Whether a file can be locked where it lies, whoever holds it. The file is made.

    :raises OSError: if it cannot be
    """
    if os.name != "posix":
        return True
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, profile.PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _WITHOUT_LOCKS
    finally:
        os.close(descriptor)
    return True


# Who holds which lock file in this process.
_held: set[tuple[int, Path]] = set()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_held.clear)
