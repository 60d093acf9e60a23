"""One run's results in a file: how they lie there, and how they are read again.

A file begins with a header, which says what the results are of; entries follow, each with its lengths before and a checksum
(BLAKE2b) over all of it, so that the file can be gone through without reading values, and what is torn or damaged is not taken for
a result. Standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

# The form of a file. A later one is not read.
VERSION = 1

_MAGIC = b"ParallelFlowKept"
_CHECK = 16  # bytes of a checksum
_BEGIN = struct.Struct(f"<{len(_MAGIC)}sHI{_CHECK}s")  # magic, version, the header's length, its checksum
_MARK = b"kept"
# Mark, checksum, seconds, when, and the lengths of key, note and parts.
_ENTRY = struct.Struct(f"<4s{_CHECK}sddHII")
_LENGTH = struct.Struct("<Q")

# No result has more parts (buffers); a damaged length is noticed by that.
_MOST_PARTS = 1000
_LONGEST_HEADER = 1024**2

# So many bytes of a file are read at once while it is gone through.
_AHEAD = 64 * 1024


class Unreadable(Exception):
    """A file that is no file of results, or not the user's own."""


class LaterVersion(Unreadable):
    """A file that a later version has written."""


@dataclass(frozen=True)
class Header:
    """What a file's results are of.

    :ivar plan: what the plan is known by, in hexadecimal digits.
    :ivar workflow: the workflow's name, for people.
    :ivar module: the Map's name, for people.
    :ivar until_completed: whether the results go as soon as the Map has completed.
    :ivar created: when the run began, in seconds since the epoch.
    :ivar host: the machine of the process that wrote it.
    :ivar pid: that process.
    """

    plan: str
    workflow: str = ""
    module: str = ""
    until_completed: bool = False
    created: float = 0.0
    host: str = ""
    pid: int = 0


class Entry(NamedTuple):
    """Where in a file a result is.

    :ivar key: what its element is known by.
    :ivar seconds: how long the element took.
    :ivar when: when it had been computed, in seconds since the epoch.
    :ivar offset: where in the file the entry begins, in bytes.
    :ivar size: how many bytes it has.
    """

    key: bytes
    seconds: float
    when: float
    offset: int
    size: int


def packed_header(header: Header) -> bytes:
    """Return a file's beginning.

    :param header: what it says.
    """
    text = json.dumps(asdict(header)).encode()
    return _BEGIN.pack(_MAGIC, VERSION, len(text), blake2b(text, digest_size=_CHECK).digest()) + text


def packed_entry(key: bytes, seconds: float, when: float, note: bytes, parts: Sequence[Any]) -> list[Any]:
    """Return an entry as pieces to be written one after the other; large parts are not copied.

    :param key: what the element is known by, at most 65,535 bytes.
    :param seconds: how long it took.
    :param when: when it had been computed, in seconds since the epoch.
    :param note: bytes that belong to the result.
    :param parts: the result, bytes-like objects.
    """
    views = [memoryview(part).cast("B") for part in parts]
    lengths = b"".join(_LENGTH.pack(view.nbytes) for view in views)
    numbers = (seconds, when, len(key), len(note), len(views))
    head = _ENTRY.pack(_MARK, b"", *numbers)
    check = _check(head, lengths + key + note, *views)
    return [_ENTRY.pack(_MARK, check, *numbers) + lengths + key + note, *views]


def _check(head: bytes, *pieces: Any) -> bytes:
    hashed = blake2b(head[len(_MARK) + _CHECK :], digest_size=_CHECK)
    for piece in pieces:
        hashed.update(piece)
    return hashed.digest()


def is_own(status: os.stat_result) -> bool:
    """Whether a file or folder is the user's, and nobody else may write to it.

    :param status: what `os.stat` says of it.
    """
    user = getattr(os, "getuid", None)  # there is none on Windows, whose folders for users are their own
    return user is None or (status.st_uid == user() and not status.st_mode & 0o022)


class ResultFile:
    """A file of results, open for reading. What is appended to it later is not seen.

    :param path: where it lies.
    :raises Unreadable: if it is none, or not the user's own.
    :raises LaterVersion: if a later version has written it.
    :raises OSError: if it cannot be read.
    """

    def __init__(self, path: Path):
        self.path = path
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        self._file = os.fdopen(os.open(path, flags), "rb", _AHEAD)
        try:
            status = os.fstat(self._file.fileno())
            if not is_own(status):
                raise Unreadable(f"{path} is not the user's own")
            self.size = status.st_size
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Read no more."""
        self._file.close()

    def _read_header(self) -> Header:
        begin = self._file.read(_BEGIN.size)
        if len(begin) < _BEGIN.size or not begin.startswith(_MAGIC):
            raise Unreadable(f"{self.path} does not hold results")
        _, version, length, check = _BEGIN.unpack(begin)
        if version > VERSION:
            raise LaterVersion(f"{self.path} was written by a later version")
        text = self._file.read(length) if length <= _LONGEST_HEADER else b""
        if version < 1 or len(text) < length or blake2b(text, digest_size=_CHECK).digest() != check:
            raise Unreadable(f"the beginning of {self.path} is damaged")
        said = json.loads(text)
        self._first = _BEGIN.size + length
        return Header(**{each.name: said[each.name] for each in fields(Header)})

    def entries(self) -> Iterator[Entry]:
        """Go through the entries, without their values, up to the end or to what is torn.

        :raises OSError: if it cannot be read.
        """
        place, file = self._first, self._file
        while place + _ENTRY.size <= self.size:
            file.seek(place)
            head = file.read(_ENTRY.size)
            if len(head) < _ENTRY.size:
                return
            mark, _, seconds, when, key_length, note_length, parts = _ENTRY.unpack(head)
            if mark != _MARK or parts > _MOST_PARTS:
                return
            rest = file.read(parts * _LENGTH.size + key_length)
            if len(rest) < parts * _LENGTH.size + key_length:
                return
            lengths = sum(each for (each,) in _LENGTH.iter_unpack(rest[: parts * _LENGTH.size]))
            size = _ENTRY.size + parts * _LENGTH.size + key_length + note_length + lengths
            if place + size > self.size:
                return
            yield Entry(rest[parts * _LENGTH.size :], seconds, when, place, size)
            place += size

    def read(self, entry: Entry, pause: Callable[[], None] = lambda: None) -> tuple[bytes, list[Any]] | None:
        """Read a result.

        :param entry: where it is, as `entries` said.
        :param pause: called between pieces of a large one; may raise.
        :returns: its note and its parts; None if it is damaged or cannot be read.
        """
        try:
            content = memoryview(self._content(entry, pause))
            mark, check, _, _, key_length, note_length, parts = _ENTRY.unpack_from(content)
            place = _ENTRY.size
            lengths = [_LENGTH.unpack_from(content, place + number * _LENGTH.size)[0] for number in range(parts)]
        except (OSError, struct.error):
            return None
        hashed = blake2b(content[len(_MARK) + _CHECK : _ENTRY.size], digest_size=_CHECK)
        for start in range(_ENTRY.size, content.nbytes, _PIECE):
            if start > _ENTRY.size:
                pause()
            hashed.update(content[start : start + _PIECE])
        if mark != _MARK or hashed.digest() != check:
            return None
        place += parts * _LENGTH.size
        if content[place : place + key_length] != entry.key:
            return None
        place += key_length
        note, found = bytes(content[place : place + note_length]), []
        place += note_length
        for length in lengths:
            found.append(content[place : place + length])
            place += length
        return note, found

    def _content(self, entry: Entry, pause: Callable[[], None]) -> bytes | bytearray:
        file = self._file.fileno()
        if entry.size <= _PIECE:
            return os.pread(file, entry.size, entry.offset)
        content = bytearray(entry.size)
        view, got = memoryview(content), 0
        while got < entry.size:
            piece = os.preadv(file, [view[got : got + _PIECE]], entry.offset + got)
            if not piece:
                raise OSError(errno.EIO, "it has become shorter")
            got += piece
            pause()
        return content


# So many bytes are read, hashed or written without a pause.
_PIECE = 4 * 1024**2
