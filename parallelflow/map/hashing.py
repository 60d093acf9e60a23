"""Hashes what is long in pieces, between which there are pauses, or later, when somebody asks for that.

May import the standard library only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

# So much is hashed between two pauses, in bytes.
PIECE = 4 * 1024**2

# Bytes of a digest.
SIZE = 32

# Contents from this many bytes on may be hashed later, which takes 30 ms for so many.
LATER = 32 * 1024**2

# Of each of so many bytes of them some are looked at, to see whether they are as they were.
_SAMPLED = 64 * 1024


class Unknown(Exception):
    """A value whose content cannot be known for certain; `str()` says of what type and why."""


class Later:
    """A long content that is hashed when that is asked for.

    :param content: bytes, a bytearray, or an array of numpy whose elements lie one after the other.
    """

    def __init__(self, content: Any):
        self._content = content
        self._sample = self._sampled()

    def digest(self, pause: Callable[[], None]) -> bytes:
        """Return its digest.

        :param pause: called every few milliseconds; may raise.
        :raises Unknown: when somebody has changed it since; a change of a few bytes is not noticed.
        """
        stream = Stream(pause, hashlib.blake2b(digest_size=SIZE))
        stream.put_long(self._view())
        if self._sampled() != self._sample:
            raise Unknown(f"a value of type {type(self._content).__name__} was changed meanwhile")
        return stream.digest()

    def _view(self) -> memoryview:
        # Made each time: while there is one of a bytearray, nobody can make that longer.
        content = self._content
        if not isinstance(content, bytes | bytearray):
            content = content.reshape(-1).view("u1")
        return memoryview(content)

    def _sampled(self) -> bytes:
        view, hashed = self._view(), hashlib.blake2b(digest_size=SIZE)
        for start in range(0, view.nbytes, _SAMPLED):
            hashed.update(view[start : start + 64])
        return hashed.digest() + view.nbytes.to_bytes(8, "little")


class Stream:
    """Takes what a value is written down as.

    :param pause: called between pieces of what is long; may raise.
    :param hashed: what hashes it; by default it is all kept in `data`.
    """

    def __init__(self, pause: Callable[[], None], hashed: Any = None):
        self.data = bytearray()
        self._pause = pause
        self._hashed = hashed

    def put(self, content: bytes | bytearray) -> None:
        """Add some bytes."""
        if len(content) > PIECE and self._hashed is not None:
            self.put_long(content)
            return
        self.data += content
        if len(self.data) > PIECE and self._hashed is not None:
            self._flush()

    def put_long(self, content: Any) -> None:
        """Add the bytes of a buffer, whose number has been written down before."""
        view = memoryview(content).cast("B")
        if view.nbytes < 4096 or self._hashed is None:
            self.put(view)  # type: ignore[arg-type]
            return
        self._flush()
        for start in range(0, view.nbytes, PIECE):
            if start:
                self._pause()
            self._hashed.update(view[start : start + PIECE])

    def digest(self) -> bytes:
        """Return the digest of all that has been put."""
        self._flush()
        return self._hashed.digest()  # type: ignore[no-any-return]

    def _flush(self) -> None:
        if self.data:
            self._hashed.update(self.data)
            self.data = bytearray()
            self._pause()
