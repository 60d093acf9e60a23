"""Large values through memory that the processes of a host share: files in a private folder of ``/dev/shm``, which are mapped.

Whoever sends copies a value once, into a file. Whoever receives maps that file, privately: nothing is copied, what it writes
nobody else sees, and the memory goes with the value, because the file's name is removed as soon as it is mapped. Pages that
nobody writes to are shared by all that map a file, as engines do with a plan.

The folder is the client's: its name is random, so that an engine that finds it is on the same host, whatever the hosts are called.
One that does not find it says so, see :class:`OutOfReach`, and gets its values over the network. While the client lives it
holds a lock there; folders whose lock nobody holds are what was left by a client that was killed.

What an engine notes there outlives it, unlike a message that it has only begun to send.

May import the standard library, psutil and pyzmq only.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import mmap
import os
import shutil
import stat
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import zmq

with contextlib.suppress(ImportError):  # there is none on Windows
    import fcntl

# Below this many bytes a file of its own costs more than a message over the network.
SMALLEST = 64 * 1024

# At most this share of what is free is taken, of the file system and of the machine's memory.
SHARE = 0.5

# So many bytes are copied, or hashed, in one go: it takes some milliseconds.
PIECE = 8 * 1024 * 1024

# So many bytes are compared in one go: they stay in the processor's cache.
_COMPARED = 256 * 1024

_ROOT = "/dev/shm"
_LOCK = "lock"
_NOTES = "begun"

# How old, in seconds, a folder without a lock must be to count as left: another client may be just making it.
_UNLOCKED_FOR = 60.0

Parts = Sequence[Any]  # what `values.pack` makes: the pickle's bytes and its buffers; references in place of large ones


class OutOfReach(Exception):
    """Memory that a value was sent through cannot be had in this process: it is the memory of another host, for instance."""


@dataclass(frozen=True)
class Reference:
    """Stands for bytes that lie in a file.

    :ivar path: the file.
    :ivar nbytes: how many bytes they are.
    """

    path: str
    nbytes: int

    def open(self) -> File:
        """Open the file, for as long as somebody keeps what is returned.

        :raises OutOfReach: when it is not there, or is not one of ours.
        """
        try:
            number = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise OutOfReach(str(error)) from error
        file = File(number, self.nbytes)
        found = os.fstat(number)
        if found.st_uid != os.geteuid() or found.st_size != self.nbytes:
            raise OutOfReach(f"{self.path} is not what was sent")
        return file

    def remove(self) -> None:
        """Remove the file's name, if it is still there."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)


class File:
    """An open file, from which bytes can be mapped any number of times.

    :param number: its file descriptor, which is closed with this object.
    :param nbytes: its size.
    """

    def __init__(self, number: int, nbytes: int):
        self._number = number
        self.nbytes = nbytes
        weakref.finalize(self, os.close, number).atexit = False

    def map(self) -> ctypes.Array[ctypes.c_char]:
        """Map the file's bytes privately: what is written to them nobody else sees.

        :raises MemoryError: when this process has no room for them.
        :raises OutOfReach: when they cannot be read.
        """
        # Not Python's mmap: each of those keeps a file open, of which a process may have a thousand.
        address = _libc.mmap(None, self.nbytes, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, self._number, 0)
        if address == _FAILED:  # a process may have so many mappings, and no more
            return self._read()
        content = (ctypes.c_char * self.nbytes).from_address(address)
        weakref.finalize(content, _libc.munmap, address, self.nbytes).atexit = False
        return content

    def holds(self, part: Any, pause: Callable[[], None] = lambda: None) -> bool:
        """Whether these are the file's bytes.

        :param part: a bytes-like object.
        :param pause: called every few milliseconds; may raise.
        :raises OutOfReach: when the file cannot be read.
        """
        view, piece = memoryview(part).cast("B"), bytearray(_COMPARED)
        if view.nbytes != self.nbytes:
            return False
        for start in range(0, view.nbytes, _COMPARED):
            if start and not start % PIECE:
                pause()
            given = view[start : start + _COMPARED]
            try:
                count = os.preadv(self._number, [piece], start)
            except OSError as error:
                raise OutOfReach(str(error)) from error
            # By bytearray's own comparison, which is the C library's: that of views goes byte by byte.
            if count != given.nbytes or (piece if count == _COMPARED else piece[:count]) != given:
                return False
        return True

    def _read(self) -> ctypes.Array[ctypes.c_char]:
        try:
            content = (ctypes.c_char * self.nbytes)()
            view, done = memoryview(content).cast("B"), 0
            while done < self.nbytes and (count := os.preadv(self._number, [view[done : done + PIECE]], done)):
                done += count
        except OSError as error:
            raise OutOfReach(str(error)) from error
        return content


Mapped = ctypes.Array  # bytes of which this process alone sees what it writes to them

_libc: Any = None
with contextlib.suppress(TypeError, OSError, AttributeError):  # Windows has another one
    _libc = ctypes.CDLL(None, use_errno=True)
    _libc.mmap.restype = ctypes.c_void_p
    _libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    _libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_FAILED = ctypes.c_void_p(-1).value


def opened(parts: Parts) -> list[Any]:
    """Keep what has come, so that it can be had any number of times.

    :param parts: what has come.
    :returns: open files in place of references, and copies of the rest.
    :raises OutOfReach: when something that was sent through memory is not there.
    """
    return [part.open() if isinstance(part, Reference) else bytes(part) for part in parts]


def mapped(parts: Parts) -> list[Any]:
    """Map open files, each time anew.

    :param parts: what `opened` returned.
    :raises MemoryError: when this process has no room for them.
    :raises OutOfReach: when they cannot be read.
    """
    return [part.map() if isinstance(part, File) else part for part in parts]


def taken(parts: Parts) -> list[Any]:
    """Map what has come through memory, and remove its files' names: nobody else needs them.

    What has come over the network is this process's as well, and nobody else's: it may be written to.

    :param parts: what has come, and nobody else looks at.
    :raises MemoryError: when this process has no room for it.
    :raises OutOfReach: when it is not there.
    """
    files = [part.open() if isinstance(part, Reference) else part for part in parts]
    there = [_taken_over(part) for part in mapped(files)]
    forget(parts)
    return there


def _taken_over(part: Any) -> Any:
    """What has come in a message of its own, as memory to write to; it would have to be copied for that else.

    ZeroMQ receives what is longer than its buffer of 8 kB into memory that belongs to that message. Earlier pyzmq gives bytes.
    """
    if not isinstance(part, memoryview):
        return part
    if isinstance(part.obj, zmq.Frame) and not part.readonly and part.nbytes >= SMALLEST:
        return (ctypes.c_char * part.nbytes).from_buffer(part)
    whole = part.obj if part.readonly else None
    if type(whole) is not bytes or len(whole) != part.nbytes or len(whole) < SMALLEST:
        return part
    content = (ctypes.c_char * len(whole)).from_address(ctypes.cast(ctypes.c_char_p(whole), ctypes.c_void_p).value)  # type: ignore[arg-type]
    content.kept = whole  # type: ignore[attr-defined]
    return content


def nbytes(part: Any) -> int:
    """Return how many bytes a part is, wherever it lies.

    :param part: one of what `values.pack` made, or what has become of it here.
    """
    return part.nbytes if isinstance(part, (Reference, File)) else memoryview(part).nbytes


class Room:
    """A folder to put bytes into.

    :param path: the folder.
    """

    def __init__(self, path: str):
        self.path = path

    def put(self, parts: Parts, pause: Callable[[], None] = lambda: None) -> list[Any]:
        """Copy what is large into files.

        :param parts: what `values.pack` made.
        :param pause: called every few milliseconds; may raise.
        :returns: the parts, with references in place of large ones; without any if there is no room for them.
        """
        sizes = [nbytes(part) for part in parts]
        large = sum(size for size in sizes if size >= SMALLEST)
        if not large or large > self._free():
            return list(parts)
        made: list[Reference] = []
        result: list[Any] = []
        try:
            for part, size in zip(parts, sizes, strict=True):
                if size < SMALLEST:
                    result.append(part)
                else:
                    reference = Reference(os.path.join(self.path, uuid.uuid4().hex), size)
                    made.append(reference)
                    _write(reference.path, memoryview(part).cast("B"), pause)
                    result.append(reference)
        except OSError:  # full since, or gone with its client
            forget(made)
            return list(parts)
        except BaseException:
            forget(made)
            raise
        return result

    def note(self, name: str) -> None:
        """Leave a name that whoever has made the room finds there, whatever becomes of this process.

        :param name: the name, without a line's end.
        """
        with contextlib.suppress(OSError):  # full, or gone with its client
            number = os.open(self._notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.write(number, name.encode() + b"\n")
            finally:
                os.close(number)

    def notes(self) -> set[str]:
        """Return the names that were left here."""
        try:
            return set(Path(self._notes).read_text(errors="replace").splitlines())
        except OSError:
            return set()

    @property
    def _notes(self) -> str:
        return os.path.join(self.path, _NOTES)

    def _free(self) -> float:
        """How many bytes may be put here."""
        try:
            found = os.statvfs(self.path)
        except OSError:
            return 0.0
        return SHARE * float(min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available))

    def close(self) -> None:
        """Remove the folder; what is mapped from it stays until nobody uses it any more."""
        with contextlib.suppress(OSError):
            os.unlink(self._notes)
        try:
            os.rmdir(self.path)  # mostly nothing else is in it; to look for that first takes ten times as long
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)


def _write(path: str, content: memoryview, pause: Callable[[], None]) -> None:
    # Written, not copied into a mapping: that would have the kernel clear each page first.
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        done = 0
        while done < len(content):
            if done:
                pause()
            written = os.write(number, content[done : done + PIECE])
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done += written
    finally:
        os.close(number)


def forget(parts: Iterable[Any]) -> None:
    """Remove files that nobody is going to take.

    :param parts: what `Room.put` returned.
    """
    for part in parts:
        if isinstance(part, Reference):
            part.remove()


def visible(path: str) -> Room | None:
    """Return the room of a client, if this process is on its host and may write there.

    :param path: the room's path, or ''.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return None
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return Room(path) if private else None


# ---------------------------------------------------------------- the client's folder

_own: tuple[int, Path, int] | None = None  # this process's id, its folder, and the lock's file descriptor
_own_lock = threading.Lock()


def new_room() -> Room | None:
    """Return a new, empty room in this process's folder; None where there is no memory to share.

    What was left by processes that have been killed is removed when the first is made.
    """
    if not os.path.isdir(_ROOT):  # not Linux
        return None
    try:
        with _own_lock:
            folder = _own_folder()
        return Room(tempfile.mkdtemp(dir=folder))
    except OSError:
        return None


def _own_folder() -> Path:
    global _own
    if _own is not None and _own[0] == os.getpid() and _own[1].is_dir():
        return _own[1]
    remove_left()
    all_of_mine = _folder_of_mine()
    all_of_mine.mkdir(mode=0o700, exist_ok=True)
    found = all_of_mine.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{all_of_mine} is not private")  # somebody else has made it
    while True:
        folder = Path(tempfile.mkdtemp(dir=all_of_mine))
        number = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(number, fcntl.LOCK_EX)
        if folder.is_dir():  # nobody has taken it for left between these two lines
            break
        os.close(number)
    _own = os.getpid(), folder, number
    atexit.register(_remove_own, *_own)
    return folder


def _remove_own(pid: int, folder: Path, number: int) -> None:
    if pid == os.getpid():  # a process that was forked has it from its parent
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(number)


def _folder_of_mine() -> Path:
    return Path(_ROOT, f"parallelflow-{os.geteuid()}")


def remove_left() -> None:
    """Remove what processes of this user have left in memory that were killed."""
    if not hasattr(os, "geteuid"):
        return  # Windows, where nothing is shared this way
    try:
        folders = list(_folder_of_mine().iterdir())
    except OSError:
        return
    for folder in folders:
        if _own is not None and folder == _own[1]:
            continue
        try:
            number = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            with contextlib.suppress(OSError):
                if time.time() > folder.stat().st_mtime + _UNLOCKED_FOR:
                    shutil.rmtree(folder, ignore_errors=True)
            continue
        try:
            # Held by the kernel for whoever has taken it, until that process ends, however it ends.
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # its process lives
        finally:
            os.close(number)
