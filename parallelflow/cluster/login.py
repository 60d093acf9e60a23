"""One machine that a job's engines run on, and the one connection to it, by which they are started, watched and ended.

A login may take seconds, and sshd refuses many at once: there is one connection for a machine, however many engines it has. It is
made when it is first needed, and again when it has broken. `there` runs at its other end.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import queue
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from parallelflow import threads
from parallelflow.texts import tr

from . import cores, machine, there
from .commands import CommandFailed
from .tree import TOKENS, environment

log = logging.getLogger(__name__)

_CONNECT_WITHIN = 10  # seconds that ssh may take to reach a machine
_LINES = 15
_LOOK_EVERY = 0.1  # seconds
_CLOSE_WITHIN = 5.0  # seconds that somebody may still wait for an answer

# After the user's own options, which ssh gives precedence. Nothing asks for a password; a machine that has gone is noticed; a
# connection that the user keeps is used, but no terminal of his depends on ours, which may be killed.
_OPTIONS = (
    "BatchMode=yes",
    f"ConnectTimeout={_CONNECT_WITHIN}",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ControlMaster=no",
)

# What a text can begin with only.
_FUTURE = "from __future__ import annotations\n"

_PROGRAM = _FUTURE + "".join(inspect.getsource(module).replace(_FUTURE, "") for module in (cores, machine, there))


def mark(token: str) -> str:
    """The token that the ssh processes on this machine carry besides their job's, and the engines do not.

    :param token: the job's
    """
    return f"{token}-ssh"


class Login:
    """The connection to one machine, for one job.

    :param command: ssh and its arguments, up to and without the machine
    :param location: the machine, as ssh is told
    :param python: the Python over there
    :param token: what the job's processes carry
    :param heard: called, in a thread of its own, with what is told of an engine: that it was started, or has ended
    """

    def __init__(
        self,
        command: Sequence[str],
        location: str,
        python: str,
        token: str,
        heard: Callable[[dict[str, Any]], object],
    ) -> None:
        self.command = [*command]
        self.location = location
        self.python = python
        self.reached = False
        """Whether it has ever answered; if not, it was never asked for anything."""
        self._ready = False  # whether the program at the other end of the connection has said so
        self._token = token
        self._heard = heard
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._lock = threading.Lock()
        self._stderr: Any = None
        self._off = False

    @property
    def shown(self) -> str:
        """What a user would type to get there."""
        program = os.path.basename(self.command[0])
        port = self.command.index("-p") if "-p" in self.command[:-1] else None
        return shlex.join([program, *(self.command[port : port + 2] if port is not None else ()), self.location])

    @property
    def name(self) -> str:
        """The machine's name for a sentence."""
        port = self.command.index("-p") if "-p" in self.command[:-1] else None
        return f"{self.location}:{self.command[port + 1]}" if port is not None else self.location

    def ask(self, timeout: float, preference: str, what: str, **request: Any) -> dict[str, Any]:
        """Have something done over there.

        :param timeout: seconds, with the login if there is no connection yet
        :param preference: the one that the time limit follows from
        :param what: a method of :class:`.there.There`
        :param request: its arguments
        :returns: the answer
        :raises CommandFailed: if it fails, or takes longer
        """
        over = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise self._late(timeout, preference)
        try:
            process = self._connected()
            try:
                # Asked only once it has answered: where nothing was ever reached, nothing was begun.
                while not self._ready:
                    if self._next(process, over) is None:
                        raise self._late(timeout, preference)
                    self._ready = True
                self._send(process, {"do": what, **request})
                answer = self._next(process, over)
                if answer is None:
                    raise self._late(timeout, preference)
            except CommandFailed:
                self._give_up(process)
                raise
        finally:
            self._lock.release()
        if "failed" in answer:
            raise CommandFailed(tr("'{command}': {reason}", command=self.shown, reason=answer["failed"]))
        return answer

    def _late(self, timeout: float, preference: str) -> CommandFailed:
        return CommandFailed(
            tr(
                "'{command}' did not answer within {seconds} seconds. If that machine just takes long to log in, raise the"
                " preference {preference}",
                command=self.shown,
                seconds=round(timeout),
                preference=preference,
            )
        )

    def _connected(self) -> subprocess.Popen[bytes]:
        if self._off:
            raise CommandFailed(tr("'{command}' was called off", command=self.shown))
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._give_up(self._process)
        data = f"{_PROGRAM}\nThere{(TOKENS, self._token, mark(self._token))!r}.serve()\n".encode()
        options = [*self.command[1:]]
        if os.path.basename(self.command[0]) == "ssh":
            options += [word for option in _OPTIONS for word in ("-o", option)]
        python = shlex.quote(self.python)
        # Whatever the shell over there is, this needs no more quoting.
        remote = f'{python} -c "import sys; exec(sys.stdin.buffer.read({len(data)}))"'
        # No pipe: what ssh leaves running may keep that open after its end.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed when ssh has ended
        try:
            process = subprocess.Popen(
                [self.command[0], *options, self.location, remote],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=environment(f"{self._token}/{mark(self._token)}"),
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise CommandFailed(
                tr(
                    "'{command}' cannot be started: {reason}",
                    command=self.command[0],
                    reason=error.strerror or error,
                )
            ) from error
        self._process = process
        self._ready = False
        self._answers = queue.Queue()
        threads.start(partial(self._read, process, self._answers), "parallelflow-login")
        self._write(process, data)
        return process

    def _write(self, process: subprocess.Popen[bytes], data: bytes) -> None:
        assert process.stdin is not None
        with suppress(OSError):  # it has ended; what it said is told then
            process.stdin.write(data)
            process.stdin.flush()

    def _send(self, process: subprocess.Popen[bytes], request: dict[str, Any]) -> None:
        self._write(process, json.dumps(request).encode() + b"\n")

    def _read(self, process: subprocess.Popen[bytes], answers: queue.Queue[dict[str, Any] | None]) -> None:
        assert process.stdout is not None
        with suppress(OSError, ValueError):
            for line in process.stdout:
                text = line.decode("utf-8", "replace").strip()
                if not text.startswith(there.MARK):
                    continue  # what its login prints
                with suppress(ValueError):
                    answer = json.loads(text.removeprefix(there.MARK))
                    self.reached = True
                    if "started" in answer or "ended" in answer:
                        self._heard(answer)
                    else:
                        answers.put(answer)
            process.stdout.close()
        answers.put(None)

    def _next(self, process: subprocess.Popen[bytes], over: float) -> dict[str, Any] | None:
        """The next answer, None if there is none in time.

        :raises CommandFailed: if the connection ends
        """
        while time.monotonic() < over:
            try:
                answer = self._answers.get(timeout=min(_LOOK_EVERY, max(0.0, over - time.monotonic())))
            except queue.Empty:
                if process.poll() is None:
                    continue
                answer = None
            if answer is not None:
                return answer
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, over - time.monotonic()))
            raise CommandFailed(
                tr("'{command}' ended with exit status {status}", command=self.shown, status=process.poll()),
                self._said(),
            )
        return None

    def _said(self) -> str:
        if self._stderr is None or self._stderr.closed:
            return ""
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        return "\n".join(lines[-_LINES:])

    def _give_up(self, process: subprocess.Popen[bytes] | None) -> None:
        """End a connection; the next request makes another one."""
        if process is not None:
            with suppress(OSError):
                process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()
        if self._stderr is not None:
            self._stderr.close()
        if process is self._process:
            self._process = None

    def call_off(self) -> None:
        """Make what is just being asked fail, and ask nothing more until :meth:`go_on`."""
        self._off = True
        process = self._process
        if process is not None:
            with suppress(OSError):
                process.kill()

    def go_on(self) -> None:
        """Take requests again."""
        self._off = False

    def close(self) -> None:
        """End the connection, as soon as whoever asks something has an answer."""
        waited = self._lock.acquire(timeout=_CLOSE_WITHIN)
        try:
            self._give_up(self._process)
        finally:
            if waited:
                self._lock.release()
