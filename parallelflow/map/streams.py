"""Standard output and error of the elements that an engine runs: real streams, whose text is shown in VisTrails.

File descriptors 1 and 2 lead into two pipes, which the process in `drain` reads; so whatever writes there is heard, be it Python,
C or a child, and never waits for the engine. `sys.stdout` and `sys.stderr` are the interpreter's own for as long as the engine
lives. Only while it does something for others than a Map, everything leads where ipyparallel has led it.

What VisTrails is to be told of an element that fails needs to be told apart from what those before it have printed, so a mark goes
into the pipes before each element.

May import IPython and the map room.
"""

from __future__ import annotations

import contextlib
import locale
import logging
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, TextIO

from IPython import get_ipython

from parallelflow.map import drain
from parallelflow.map.outcomes import Printed
from parallelflow.map.warned import Warned, without_marks

with contextlib.suppress(ImportError):  # there is none on Windows
    import fcntl

_log = logging.getLogger(__name__)

# How many bytes a pipe may hold, if the system lets it, and for how many seconds the process that reads may take to answer.
_PIPE_SIZE = 2**20
_ANSWERS_WITHIN = 20.0

_NUMBERS = (1, 2)

# What messages of a Map hold, which have engines call functions of this module.
_OURS = b"parallelflow.map.engine"


class Streams:
    """The streams of this process's elements.

    :param kernel: the engine's kernel.
    """

    def __init__(self, kernel: Any):
        self._pid = os.getpid()
        self._asked = False
        self._key = secrets.token_hex(6).encode()
        self._marks = re.compile(b"\0" + self._key + rb":(\d+)\0")
        self._pipes = [os.pipe(), os.pipe()]
        for _, write in self._pipes:
            with contextlib.suppress(OSError, AttributeError):  # beyond what one user may have; not on this system
                fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        log = getattr(sys.stderr, "_original_stdstream_copy", None)
        self._log = os.dup(2 if log is None else log)
        self._others = [os.dup(number) for number in _NUMBERS]
        self._start_drain()
        before = sys.__stdout__, sys.__stderr__
        self._keep_the_engines_log(before)
        self._leads_here = False
        self._lead()
        self._own = [_text_stream(stream, number) for stream, number in zip(before, _NUMBERS, strict=True)]
        self._elements: list[Any] = list(self._own)  # a module may have put something else in their place
        for name in ("apply_request", "execute_request"):
            kernel.shell_handlers[name] = self._for_others(kernel.shell_handlers[name])
        os.register_at_fork(after_in_child=self._in_child)
        self.warned = Warned(self._mark_in_errors, self._key)

    # ------------------------------------------------------------ the process that reads

    def _start_drain(self) -> None:
        self._asks, theirs = socket.socketpair()
        self._asks.settimeout(_ANSWERS_WITHIN)
        numbers = [*(read for read, _ in self._pipes), theirs.fileno()]
        folder = ""
        with contextlib.suppress(OSError):  # nothing can be written anywhere
            folder = tempfile.gettempdir()
        self._drain = subprocess.Popen(
            [sys.executable, "-I", "-S", drain.__file__, *map(str, numbers), folder],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=numbers,
            start_new_session=True,
        )
        theirs.close()

    def _ask(self) -> list[bytes]:
        """Return what both streams have printed since the last question."""
        try:
            return self._answer()
        except OSError as error:
            # Somebody has ended it, or it was too large; what is in the pipes goes to the next one.
            _log.warning("What elements have printed is lost in part: %s", error)
            self._asks.close()
            self._drain.kill()
            self._drain.wait()
            self._start_drain()
        try:
            return self._answer()
        except OSError:
            return [b"", b""]

    def ask(self) -> None:
        """Have gathered what `take` returns: what else there is to do can be done meanwhile."""
        if not self._asked:
            with contextlib.suppress(OSError):  # `take` finds out
                self._asks.sendall(b"?")
                self._asked = True

    def _answer(self) -> list[bytes]:
        self.ask()
        self._asked = False
        lengths = drain.LENGTHS.unpack(self._receive(drain.LENGTHS.size))
        return [
            self._whole(self._receive(head), lost, self._receive(tail))
            for head, lost, tail in (lengths[:3], lengths[3:])
        ]

    def _receive(self, length: int) -> bytes:
        data = bytearray(length)
        view, got = memoryview(data), 0
        while got < length:
            count = self._asks.recv_into(view[got:])
            if not count:
                raise ConnectionError("the process that reads it has ended")
            got += count
        return bytes(data)

    @staticmethod
    def _whole(head: bytes, lost: int, tail: bytes) -> bytes:
        if not lost:
            return head + tail
        # At the ends of lines, so that no mark is cut in two.
        begin, _, cut = head.rpartition(b"\n") if b"\n" in head else (head, b"", b"")
        end = tail.partition(b"\n")[2] or tail
        count = lost + len(cut) + len(tail) - len(end)
        return begin + b"\n[Parallel Flow leaves out %d bytes of what was printed here]\n" % count + end

    # ------------------------------------------------------------ where everything leads

    def _keep_the_engines_log(self, streams: Sequence[Any]) -> None:
        """Have the engine log into its own log, where it does so by the standard streams."""
        copy = None
        for name in (None, *logging.root.manager.loggerDict):
            for handler in getattr(logging.getLogger(name), "handlers", ()):
                if isinstance(handler, logging.StreamHandler) and handler.stream in streams:
                    copy = copy or os.fdopen(os.dup(self._log), "w", buffering=1, errors="backslashreplace")
                    handler.setStream(copy)

    @contextlib.contextmanager
    def leading_here(self) -> Iterator[None]:
        """While in this context, elements run."""
        self._lead_here()
        try:
            yield
        finally:
            self._end_copies()
            self._rest()

    def _end_copies(self) -> None:
        """End a child that an element has forked and that goes on: what comes now is not the child's."""
        if os.getpid() != self._pid:
            self._flush()
            os._exit(0)

    def _lead(self) -> None:
        """Have both descriptors lead into the pipes, even if an element has led them elsewhere."""
        if not self._leads_here:
            self._kernels = [sys.stdout, sys.stderr]
        for number, (_, write) in zip(_NUMBERS, self._pipes, strict=True):
            os.dup2(write, number)
        self._leads_here = True

    def _lead_here(self) -> None:
        self._lead()
        self._renew()
        sys.stdout, sys.stderr = self._elements

    def _renew(self) -> None:
        """Have streams even if an element has closed those that were there, or taken them apart."""
        for place, number in enumerate(_NUMBERS):
            if not _is_usable(self._own[place]):
                self._own[place] = _text_stream(None, number)
            if not _is_usable(self._elements[place]):
                self._elements[place] = self._own[place]

    def _rest(self) -> None:
        """An element's turn is over. What prints until the next is heard all the same."""
        self._elements = [sys.stdout, sys.stderr]
        self._flush()
        self._renew()
        sys.stdout, sys.stderr = self._own  # the kernel flushes them and must not fail

    def _lead_to_others(self) -> None:
        if self._leads_here:
            self._flush()
            self._leads_here = False
            for number, descriptor in zip(_NUMBERS, self._others, strict=True):
                os.dup2(descriptor, number)
            sys.stdout, sys.stderr = self._kernels

    def _for_others(self, handle: Callable[..., Any]) -> Callable[..., Any]:
        """Have a kernel's handler begin with the streams that the kernel has made, unless it is for a Map.

        There they stay as they are: a thread that an element has left running may print at any moment.
        """

        def handle_with_the_kernels_streams(stream: Any, identity: Any, message: Any) -> Any:
            if self._leads_here and _is_ours(message):
                return handle(stream, identity, message)
            self._lead_to_others()
            for text in self._kernels:
                if hasattr(text, "set_parent"):  # whose text it is; the kernel has told ours instead
                    text.set_parent(message)
            return handle(stream, identity, message)

        return handle_with_the_kernels_streams

    def _flush(self) -> None:
        for stream in (*self._elements, *self._own):
            with contextlib.suppress(Exception):  # whatever it is, or what an element has done to it
                stream.flush()

    def _in_child(self) -> None:
        self._asks.close()  # it must not live for as long as the child does

    # ------------------------------------------------------------ what was printed

    def mark(self, index: int) -> None:
        """Note that an element begins.

        :param index: the element's in the user's list.
        """
        if os.getpid() != self._pid:
            self._end_copies()
        self.warned.look()
        mark = b"\0%s:%d\0" % (self._key, index)
        for number in (0, 1):
            try:  # noqa: SIM105  quicker, and there are many elements
                self._own[number].flush()
            except (ValueError, OSError):
                pass
            os.write(self._pipes[number][1], mark)

    def _mark_in_errors(self, mark: bytes) -> None:
        for stream in (sys.stderr, self._own[1]):
            with contextlib.suppress(Exception):  # whatever it is
                stream.flush()
        os.write(self._pipes[1][1], mark)

    def take(self) -> Printed:
        """Return what was printed since it was last called; until `ask`, if that has been called."""
        before = ["", ""]
        elements: dict[int, list[str]] = {}
        for place, raw in enumerate(self._ask()):
            between, *parts = self._marks.split(raw)
            before[place] += self._decoded(between, place)
            for index, part in zip(parts[::2], parts[1::2], strict=True):
                if part:
                    elements.setdefault(int(index), ["", ""])[place] += self._decoded(part, place)
        return Printed({index: (text[0], text[1]) for index, text in elements.items()}, (before[0], before[1]))

    def _decoded(self, raw: bytes, place: int) -> str:
        try:
            return raw.decode(self._own[place].encoding, "surrogateescape")
        except (LookupError, ValueError):
            return raw.decode("utf-8", "surrogateescape")

    @contextlib.contextmanager
    def for_the_log(self) -> Iterator[Callable[[], str]]:
        """While in this context, no element has run yet, and what is printed goes into the engine's log.

        :returns: what was printed until now.
        """
        self._lead_here()
        said = ""

        def so_far() -> str:
            nonlocal said
            self._flush()
            said += without_marks("".join(self.take().between))
            return said

        try:
            yield so_far
        finally:
            self._rest()
            os.write(self._log, so_far().encode("utf-8", "surrogateescape"))


def _text_stream(before: Any, number: int) -> TextIO:
    """Make a stream for a descriptor, like the interpreter's own, and put it in that one's place.

    That one itself has seen where it led at first, a file perhaps, and goes by that. Text goes out line by line, as in a terminal.
    """
    name, errors = ("stdout", "strict") if number == 1 else ("stderr", "backslashreplace")
    if before is not None:
        encoding, errors = before.encoding, before.errors
    else:
        encoding = locale.getpreferredencoding(False)
    stream = os.fdopen(number, "w", 1, encoding, errors, closefd=False)
    stream.buffer.raw.name = f"<{name}>"  # type: ignore[attr-defined]
    setattr(sys, f"__{name}__", stream)
    return stream


def _is_ours(message: Any) -> bool:
    """Whether a message to the kernel calls a function of `parallelflow.map.engine`, which looks after the streams itself."""
    # ipyparallel's first buffer is the function, which is pickled with its module's name.
    return any(_OURS in bytes(buffer) for buffer in message.get("buffers", ())[:1])


def _is_usable(stream: Any) -> bool:
    try:
        return not stream.closed
    except (ValueError, AttributeError):  # taken apart by `detach`; not a stream of the usual kind
        return not hasattr(stream, "detach") and hasattr(stream, "write")


@cache
def of_elements() -> Streams:
    """Return the streams of this engine's elements, which begin to exist when they are first asked for."""
    return Streams(get_ipython().kernel)
