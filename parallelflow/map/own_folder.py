"""A folder for temporary files of this process's own, in VisTrails and in engines, which goes with it however it ends.

It is locked while the process lives, and named after this machine, see `parallelflow.cluster.machine`. `drain` and
`parallelflow.cluster.there` remove those of it that nobody locks, and so does whoever makes one. May import the cluster room, and
VisTrails where that runs.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from parallelflow.cluster import machine


@contextlib.contextmanager
def own_folder(place: str | None = None) -> Iterator[str]:
    """A folder while in this context. What processes have left there that were killed meanwhile is removed.

    :param place: where it is; default: where temporary files are.
    """
    pid = os.getpid()
    machine.remove_folders(place or tempfile.gettempdir())
    with contextlib.ExitStack() as lock:
        folder = _new_one(place, lock)
        try:
            yield folder
        finally:
            if os.getpid() == pid:  # a process that was forked has it from its parent
                shutil.rmtree(folder, ignore_errors=True)


def _new_one(place: str | None, lock: contextlib.ExitStack) -> str:
    while True:
        folder = tempfile.mkdtemp(prefix=machine.folder_prefix(), dir=place)
        try:
            lock.enter_context(machine.locked(folder))
        except (BlockingIOError, FileNotFoundError):  # somebody took it for left before it was locked
            continue
        except OSError:  # the file system has no locks: nobody else can lock it either, so nobody removes it
            return folder
        if os.path.isdir(folder):
            return folder
        lock.close()


@functools.cache
def for_life(place: str | None = None) -> str:
    """The folder of this process for as long as it lives.

    :param place: as for :func:`own_folder`.
    """
    own = contextlib.ExitStack()
    atexit.register(own.close)
    return own.enter_context(own_folder(place))


def move_pool(pool: Any) -> bool:
    """Have a file pool of VisTrails, which would stay for ever if this process is killed, go with it.

    :param pool: a `FilePool` of this process.
    :returns: False if files are in it already, so that it stays where it is, or the system has no locks for folders.
    """
    if not hasattr(machine, "fcntl"):
        return False
    place = os.path.dirname(pool.directory)
    try:
        moved = tempfile.mkdtemp(prefix="vt_tmp", dir=for_life(None if place == tempfile.gettempdir() else place))
        try:
            os.rmdir(pool.directory)
        except OSError:
            os.rmdir(moved)
            return False
    except OSError:
        return False
    pool.directory = moved
    return True


def take_part() -> None:
    """Have the file pools of this VisTrails go with it; in an engine, `parallelflow.map.ready` sees to that."""
    from vistrails.core.interpreter.default import get_default_interpreter
    from vistrails.core.modules.module_utils import FilePool

    from parallelflow.cluster.session import inside_engine  # engines have no use for the rest of that room

    if inside_engine() or hasattr(FilePool.__init__, "__wrapped__"):
        return
    move_pool(get_default_interpreter().filePool)
    plain = FilePool.__init__

    @functools.wraps(plain)
    def made(pool: Any) -> None:
        plain(pool)
        move_pool(pool)

    FilePool.__init__ = made
