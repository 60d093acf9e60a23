"""Lock files: what only one process and one thread may do at a time, on whichever file system.

Where a file system knows no locks, or has nobody who manages them, a lock is a file that is there while it is held, and that
is removed for whoever ended without doing so. `filelock` sees to both kinds, and to Windows.
"""

from __future__ import annotations

import errno
import os
import threading
import warnings
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

# Network file systems without a lock manager, and those that know no locks; filelock itself sees to ENOSYS.
_WITHOUT_LOCKS = frozenset((errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP))


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

    warnings.filterwarnings("ignore", message="flock not supported", module="filelock")  # it works all the same
    lock: BaseFileLock = FileLock(path, mode=profile.PRIVATE_FILE)
    while True:
        try:
            lock.acquire(blocking=False)
            return lock
        except Timeout:
            if wait.over:
                raise Locked(
                    tr(
                        "Waited {seconds} seconds for {what}. Another VisTrails holds {path}; try again when it is done.",
                        seconds=round(wait.timeout),
                        what=what,
                        path=path,
                    )
                ) from None
            wait.pause(what, 0.0)
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS or isinstance(lock, SoftFileLock):
                raise cannot_be_written(path, error) from error
            # Under another name: the file itself is there.
            lock = SoftFileLock(path.with_name(f"{path.name}-held"), mode=profile.PRIVATE_FILE)


# Who holds which lock file in this process.
_held: set[tuple[int, Path]] = set()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_held.clear)
