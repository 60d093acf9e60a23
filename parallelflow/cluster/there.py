"""Runs on another machine, in that machine's Python: starts a job's engines, watches them and ends them, as it is told.

This file's text is sent there, see `login`, behind those of `cores` and `machine`; so it imports the standard library only, psutil
where that Python has it, and nothing else of ours. A request is a line of JSON on standard input, and an answer one on standard
output, behind a mark by which it is told from what a login prints. It ends with its standard input; engines go on then.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

try:
    import psutil
except ImportError:  # not the Python that engines run in, or one that lacks what they need
    psutil = None

with contextlib.suppress(ImportError):  # there, their texts stand before this one
    from .cores import usable_cores
    from .machine import remove_folders

MARK = "parallelflow:"
"""What stands before an answer."""

_LOOK_EVERY = 0.2  # seconds
_TAIL = 8192  # bytes of a log


class There:
    """What is known of a job's engines on this machine.

    :param variable: the environment variable that holds tokens
    :param token: what the job's processes carry
    :param besides: what those carry that are not to be ended
    """

    def __init__(self, variable: str, token: str, besides: str):
        self._variable = variable
        self._token = token
        self._besides = besides
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._engines: dict[str, tuple[Any, str]] = {}  # by their names: the process, and its log
        self._waiting: list[str] = []  # requests that came while engines were being started

    def serve(self) -> None:
        """Do what is asked until there is nobody to ask any more."""
        threading.Thread(target=self._read, name="parallelflow-requests", daemon=True).start()
        tell({"ready": True})
        while True:
            line = self._next(_LOOK_EVERY)
            if line is None:
                return
            if line:
                request = json.loads(line)
                try:
                    answer = getattr(self, request.pop("do"))(**request)
                except Exception as error:
                    answer = {"failed": f"{type(error).__name__}: {error}"}
                tell(answer)
            self._look()

    def _read(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        self._lines.put(None)

    def _next(self, timeout: float) -> str | None:
        """The next request, '' if there is none yet, None if there will be none."""
        if self._waiting:
            return self._waiting.pop(0)
        try:
            return self._lines.get(timeout=timeout)
        except queue.Empty:
            return ""

    def start(
        self, files: dict[str, str], engines: list[dict[str, Any]], delay: float, shared: list[str]
    ) -> dict[str, Any]:
        """Write files and start engines. That one has been started is told at once.

        :param files: contents, base64, by path
        :param engines: of each, ``name``, ``command``, ``environment`` and ``log``
        :param delay: seconds between two
        :param shared: environment variables by which an engine learns its share of the cores, if none of the first is set
        """
        share = dict.fromkeys(shared, str(max(1, usable_cores() // max(1, len(engines)))))
        for path, content in files.items():
            write(path, base64.b64decode(content))
        for number, engine in enumerate(engines):
            if number and not self._pause(delay):
                break
            name, log = engine["name"], engine["log"]
            folder = os.path.dirname(log) or "."
            os.makedirs(folder, mode=0o700, exist_ok=True)
            with contextlib.suppress(OSError):
                os.chmod(folder, 0o700)
            environment = {**os.environ, **engine["environment"]}
            if not environment.keys() & shared[:1]:  # which the others go by, too
                environment = {**share, **environment}
            with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
                process = subprocess.Popen(
                    engine["command"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
            self._engines[name] = (process, log)
            tell({"started": name, "pid": process.pid})
        return {"done": True}

    def _pause(self, seconds: float) -> bool:
        """Wait, and return whether somebody is still there who wants to have engines started."""
        over = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, over - time.monotonic()))
            except queue.Empty:
                return True
            self._waiting.append(line)  # type: ignore[arg-type]
            return False

    def watch(self, engines: dict[str, tuple[int, str]]) -> dict[str, Any]:
        """Watch engines that somebody else has started.

        :param engines: process id and log, by name
        """
        for name, (pid, log) in engines.items():
            process = None
            with contextlib.suppress(*_GONE):
                found = Process(pid)
                if self._token in self._tokens(found):
                    process = found
            self._engines[name] = (process, log)
        return {"done": True}

    def read(self, path: str) -> dict[str, Any]:
        """The end of a log."""
        return {"text": tail(path)}

    def left(self) -> dict[str, Any]:
        """What carries the token."""
        return {"left": [process.pid for process in self._left()]}

    def end(self, limit: float, files: list[str]) -> dict[str, Any]:
        """End everything that carries the token, politely, then for certain.

        :param limit: seconds
        :param files: logs that nobody needs then
        """
        left = self._end(limit)
        for path in [] if left else files:
            with contextlib.suppress(OSError):
                os.remove(path)
        return {"left": left}

    def _look(self) -> None:
        """Tell which engines have ended, and end what they have left when all have."""
        ended = False
        for name, (process, log) in list(self._engines.items()):
            status: int | None = None
            if isinstance(process, subprocess.Popen):
                status = process.poll()
                if status is None:
                    continue
            elif process is not None and _lives(process):
                continue
            del self._engines[name]
            ended = True
            tell({"ended": name, "status": status, "log": tail(log)})
        if ended and not self._engines:
            self._end(3.0)

    def _tokens(self, process: Any) -> list[str]:
        return str(process.environ().get(self._variable, "")).split("/")

    def _left(self) -> list[Any]:
        found = []
        for process in processes():
            with contextlib.suppress(*_GONE):
                tokens = self._tokens(process)
                if self._token in tokens and self._besides not in tokens and process.status() != "zombie":
                    found.append(process)
        return found

    def _end(self, limit: float) -> list[int]:
        begin, signals = time.monotonic(), [(0.3, signal.SIGKILL), (0.0, signal.SIGTERM)]
        while left := self._left():
            elapsed = (time.monotonic() - begin) / limit
            if elapsed > 1:
                return [process.pid for process in left]
            if signals and elapsed >= signals[-1][0]:
                number = signals.pop()[1]
                for process in left:
                    with contextlib.suppress(*_GONE):
                        process.send_signal(number)
            for process, _ in self._engines.values():
                if isinstance(process, subprocess.Popen):
                    process.poll()
            time.sleep(0.05)
        remove_folders(temporary())
        return []


class _Process:
    """What is needed here of psutil's class of that name, by Linux's files.

    :param pid: the process id
    """

    def __init__(self, pid: int):
        self.pid = pid
        self._begun = self._stat()[19]

    def _stat(self) -> list[str]:
        with open(f"/proc/{self.pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()  # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html

    def status(self) -> str:
        return "zombie" if self._stat()[0] in "ZX" else "running"

    def is_running(self) -> bool:
        try:
            return self._stat()[19] == self._begun
        except OSError:
            return False

    def environ(self) -> dict[str, str]:
        with open(f"/proc/{self.pid}/environ", "rb") as file:
            return dict(entry.split("=", 1) for entry in os.fsdecode(file.read()).split("\0") if "=" in entry)

    def send_signal(self, number: int) -> None:
        if self.is_running():
            os.kill(self.pid, number)


Process: Any = _Process if psutil is None else psutil.Process
_GONE: tuple[type[Exception], ...] = (OSError,) if psutil is None else (OSError, psutil.Error)


def _lives(process: Any) -> bool:
    with contextlib.suppress(*_GONE):
        return bool(process.is_running() and process.status() != "zombie")
    return False


def processes() -> Iterator[Any]:
    """All processes of this machine."""
    if psutil is not None:
        yield from psutil.process_iter()
        return
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        with contextlib.suppress(OSError):
            if name.isdigit():
                yield _Process(int(name))


def write(path: str, content: bytes) -> None:
    """Write a file in one move, readable by its owner only: where machines share their files, others may be reading it."""
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    draft = f"{path}.{os.getpid()}.{platform.node()}"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    os.replace(draft, path)


def temporary() -> str:
    """Where temporary files are."""
    # Not `tempfile.gettempdir()`: to find that out Python writes a file, which stays if this is killed meanwhile.
    named = (os.environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP"))
    return next((folder for folder in named if os.path.isdir(folder)), "/tmp")


def tail(path: str) -> str:
    """The end of a file; '' if it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def tell(answer: dict[str, Any]) -> None:
    """Answer, or tell what has happened."""
    sys.stdout.write(f"\n{MARK}{json.dumps(answer)}\n")
    sys.stdout.flush()
