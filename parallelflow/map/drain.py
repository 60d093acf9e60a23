"""The process beside an engine that reads what the engine's elements print, and hands it over when it is asked to.
When the engine has ended, it removes the folders of engines that were killed, which cannot do so.

A process of its own, because one that only reads is never in the way of what prints: a pipe that nobody reads blocks whoever
writes into it, and a thread of the engine's would not read while compiled code there keeps Python to itself and prints. Run as a
script by `parallelflow.map.streams`, which has the other ends.

Standard library only; nothing of this package.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import struct
import sys
import time
from collections import deque

with contextlib.suppress(ImportError):  # there is none on Windows
    import fcntl
    import termios

# Of what is printed between two questions, so many bytes are kept from the beginning and from the end. Where this is not enough
# and more comes while the engine waits for the answer, a child prints without end: each time a quarter of it is kept, but no less
# than the second number, because all that is kept goes through engine and client.
MOST, LEAST = 16 * 2**20, 64 * 2**10

# How the answer begins: of standard output and standard error, the bytes of the beginning, those left out, those of the end.
LENGTHS = struct.Struct("!6Q")

_READ = 2**20
# After reading, it waits so many milliseconds for more to come together: a thousand short lines need not wake it a thousand times.
_PAUSE = 5
# That many where it was little, as where elements print nothing and only begin.
_LONG_PAUSE, _LITTLE = 20, 4096
# When some is left out already, it reads no more than so many bytes in a millisecond: what prints without end then waits for the
# pipe most of the time, and the cores are the elements'.
_BRAKED = 50 * 2**10
# So many bytes of an answer the socket takes in any case before anybody reads them.
_FITS = 2**15
# How often it looks whether the engine is still there, in milliseconds; the end of its question's pipe tells, normally.
_LOOK = 5000
# What is left when the engine dies goes into its log, that much of it, without the marks in between.
_LAST_WORDS = 16 * 2**10
# For so many seconds it waits for an engine that has let go of its pipes to end.
_ENDS_WITHIN = 5.0
MARK = rb"\0[0-9a-f]{12}:(?:\d+|w[0-9a-fx!]*)\0"


class Kept:
    """What came from one stream since the last question: all of it, or the beginning and the end.

    :ivar most: how many bytes of the beginning are kept, and of the end.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.head = bytearray()
        self.lost = 0
        self.tail: deque[bytes] = deque()
        self._in_tail = 0

    def add(self, data: bytes) -> None:
        """Keep what has just been read."""
        room = self.most - len(self.head)
        if room > 0:
            self.head += data[:room]
            data = data[room:]
        if data:
            self.lost += max(0, len(data) - self.most)
            data = data[-self.most :]
            self.tail.append(data)
            self._in_tail += len(data)
            while self._in_tail - len(self.tail[0]) >= self.most:
                gone = self.tail.popleft()
                self._in_tail -= len(gone)
                self.lost += len(gone)

    def next(self, goes_on: bool) -> Kept:
        """Return a new one for what comes from now on, with room for less if this was too much and goes on.

        :param goes_on: whether more is being printed.
        """
        return Kept(max(LEAST, self.most // 4) if self.lost and goes_on else MOST)


def _waiting(descriptor: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


def _read_what_is_there(kept: dict[int, Kept]) -> None:
    """Read what has been printed until now; more may come for ever."""
    for descriptor, stream in kept.items():
        left = _waiting(descriptor)
        while left > 0 and (data := os.read(descriptor, left)):
            stream.add(data)
            left -= len(data)


def _goes_on(descriptor: int) -> bool:
    """Whether something is being printed in this moment."""
    soon = select.poll()
    soon.register(descriptor, select.POLLIN)
    return bool(soon.poll(_PAUSE))


def main(output: int, errors: int, questions: int, folder: str) -> None:
    """Read until the engine is gone.

    :param output: the descriptor to read standard output from
    :param errors: the same of standard error
    :param questions: the socket that asks, by one byte, for what has come
    :param folder: where the engine has temporary files. To find that out Python writes one, which stays if it is killed meanwhile.
    """
    engine = os.getppid()
    asked = socket.socket(fileno=questions)
    kept = {output: Kept(MOST), errors: Kept(MOST)}
    both = select.poll()
    for descriptor in (output, errors, questions):
        both.register(descriptor, select.POLLIN)
    quiet = select.poll()
    quiet.register(questions, select.POLLIN)
    pause = 0
    while os.getppid() == engine:
        ready = [descriptor for descriptor, _ in (quiet.poll(pause) if pause else both.poll(_LOOK))]
        pause = 0
        if questions in ready:
            if not asked.recv(1):
                break
            _read_what_is_there(kept)  # was printed before the question
            going_on = {descriptor: stream.lost > 0 and _goes_on(descriptor) for descriptor, stream in kept.items()}
            answer(asked, list(kept.values()))
            kept = {descriptor: stream.next(going_on[descriptor]) for descriptor, stream in kept.items()}
            continue
        for descriptor in ready:
            data = os.read(descriptor, _READ)
            kept[descriptor].add(data)
            if kept[descriptor].lost:
                pause = max(pause, 1 + len(data) // _BRAKED)
            elif len(data) < _READ // 8:
                pause = max(pause, _LONG_PAUSE if len(data) < _LITTLE else _PAUSE)
    import re  # for the end only

    _read_what_is_there(kept)  # last of all it says why it ends
    for stream in kept.values():
        last = b"".join([bytes(stream.head), *stream.tail])[-_LAST_WORDS:]
        if last:
            os.write(2, re.sub(MARK, b"", last))
    end_of_time = time.monotonic() + _ENDS_WITHIN
    while os.getppid() == engine and time.monotonic() < end_of_time:
        time.sleep(0.01)
    import runpy  # for the end only

    with contextlib.suppress(OSError):  # nothing of the package is imported; it may be gone by now
        runpy.run_path(os.path.join(os.path.dirname(__file__), "..", "cluster", "machine.py"))["remove_folders"](folder)


def answer(asked: socket.socket, streams: list[Kept]) -> None:
    """Hand over what has come; what is long in a thread of its own.

    The engine takes it when it has done what else there was to do. What it prints until then must not wait for that.
    """
    tails = [b"".join(stream.tail) for stream in streams]
    lengths = [
        number
        for stream, tail in zip(streams, tails, strict=True)
        for number in (len(stream.head), stream.lost, len(tail))
    ]
    parts: list[bytes | bytearray] = [LENGTHS.pack(*lengths)]
    for stream, tail in zip(streams, tails, strict=True):
        parts += [stream.head, tail]
    if sum(map(len, parts)) <= _FITS:
        _send(asked, parts)
    else:
        import threading  # which hardly any engine needs

        threading.Thread(target=_send, args=(asked, parts), daemon=True).start()


def _send(asked: socket.socket, parts: list[bytes | bytearray]) -> None:
    with contextlib.suppress(OSError):  # the engine has gone
        for part in parts:
            asked.sendall(part)


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal that the engine runs in
    signal.signal(
        signal.SIGTERM, signal.SIG_IGN
    )  # of a batch system, to all processes of a job: it ends after the engine
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
