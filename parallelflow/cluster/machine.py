"""Which machine this is: for good, whatever it is called at the moment. Host names change with networks.
And which folders for temporary files are its own, where several machines see the same ones.

Imports the standard library only: `login` sends this file's text to other machines, and `parallelflow.map.drain` runs it by itself.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

with suppress(ImportError):  # there is none on Windows
    import fcntl

_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_BOOT = "/proc/sys/kernel/random/boot_id"
_PROCESSES = "/proc/self/ns/pid"

FOLDERS = "parallelflow_vistrails_"
"""How the names begin of the folders that VisTrails and engines have for temporary files, and lock while they live."""


@functools.cache
def this_machine() -> str:
    """The machine, as it is put on record: its id, this boot of it, and whose processes can be seen.

    The last tells a container from its host, on which process ids mean others.
    """
    name = next((text for path in _IDS if (text := _read(path))), "")
    processes = ""
    with suppress(OSError):
        processes = os.readlink(_PROCESSES)
    return "/".join((name, _read(_BOOT) or platform.node(), processes))


def is_this(recorded: str) -> bool:
    """Whether something was put on record by this machine, perhaps before it was started anew.

    :param recorded: what :func:`this_machine` returned then
    """
    name, boot, processes = this_machine().split("/", 2)
    then_name, then_boot, then_processes = (*recorded.split("/", 2), "", "")[:3]
    if processes != then_processes:
        return False
    # Without an id, only this boot is known to be this machine.
    return name == then_name if name else boot == then_boot and not then_name


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


# ---------------------------------------------------------------- folders for temporary files


def folder_prefix() -> str:
    """How the name begins of a folder of this machine's, which no other one removes.

    A lock may hold for one machine only, where the file system is that of several (NFS mounted with ``nolock``).
    """
    return f"{FOLDERS}{'_'.join(_marks())}_"


def _marks() -> tuple[str, str]:
    """This boot of this machine, by which a lock tells whether a folder is in use; and the machine, for those of earlier boots.

    The latter by its name, too: copies of a machine may share its id. It is '-' where that would not tell it from others.
    """
    name, boot, _ = this_machine().split("/", 2)
    called = platform.node()
    known = name and called and not called.startswith("localhost")
    return _mark(name, boot), _mark(name, called) if known else "-"


def _mark(*texts: str) -> str:
    return hashlib.sha256("/".join(texts).encode("utf-8", "replace")).hexdigest()[:8]


def remove_folders(place: str) -> None:
    """Remove the folders that processes of this machine have left which were killed.

    :param place: where they are
    """
    now, machine = _marks()
    for path in glob.glob(os.path.join(glob.escape(place), f"{FOLDERS}*")):
        then, whose = (*os.path.basename(path)[len(FOLDERS) :].split("_"), "", "")[:2]
        if then == now or (whose == machine and whose != "-"):
            with suppress(OSError), locked(path):  # it is in use, somebody else's, or just being removed
                shutil.rmtree(path)


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Lock a folder; the lock goes with the process, however that ends.

    :raises BlockingIOError: if somebody else has locked it
    :raises OSError: if it is not there, or its file system has no locks
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
