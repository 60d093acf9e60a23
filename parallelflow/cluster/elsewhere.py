"""ipyparallel's launchers for other machines, with what an application without a terminal needs.

What a command says when it fails is part of the error, nothing asks for a password, nothing that blocks runs in the event
loop, and processes on another machine are ended by the token that they carry, so that none is left there. :func:`adapted` is
the way in.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from ipyparallel.cluster.launcher import (
    BatchSystemLauncher,
    LauncherError,
    SSHEngineLauncher,
    SSHEngineSetLauncher,
)
from ipyparallel.cluster.shellcmd import ShellCommandSend
from traitlets import default

from parallelflow.texts import tr

from . import threads
from .errors import StopError
from .tree import TOKENS, carriers, environment

_LINES = 15
_CONNECT_WITHIN = 10  # seconds that ssh may take to reach a machine


class CommandFailed(LauncherError):
    """A command that failed.

    :param message: which, and how it ended
    :param said: the last lines of what it printed
    """

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


def with_what_it_said(error: Exception) -> str:
    """An error's text, with what the command printed that failed, if one did.

    :param error: what a launcher raised
    """
    said = getattr(error, "said", "")
    return f"{error}: {said}" if said else str(error)


def _run(command: Sequence[str], *, shown: str = "", timeout: float | None = None, **options: Any) -> Any:
    """What a command prints.

    :param command: the program and its arguments
    :param shown: how it is called in an error
    :param timeout: seconds
    :param options: for :func:`subprocess.run`
    :raises CommandFailed: if it cannot be started, fails or takes longer
    """
    shown = shown or shlex.join(command)
    if options.get("input") is None:
        options.pop("input", None)
        options["stdin"] = subprocess.DEVNULL
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout, **options)
    except subprocess.TimeoutExpired:
        raise CommandFailed(
            tr("'{command}' did not end within {seconds} seconds", command=shown, seconds=round(timeout or 0))
        ) from None
    except OSError as error:
        raise CommandFailed(
            tr("'{command}' cannot be started: {reason}", command=command[0], reason=error.strerror or error)
        ) from error
    if done.returncode:
        said = done.stderr or done.stdout
        text = said if isinstance(said, str) else said.decode("utf-8", "replace")
        raise CommandFailed(
            tr("'{command}' ended with exit status {status}", command=shown, status=done.returncode),
            "\n".join(text.strip().splitlines()[-_LINES:]),
        )
    return done.stdout


def in_thread(function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
    """Call something that blocks, in a thread of its own: asyncio's executor takes nothing any more when Python ends.

    :param function: what blocks
    :param arguments: for the function
    :returns: its outcome, to be awaited
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()
    outcome.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to ask

    def deliver(settle: Callable[[Any], None], value: Any) -> None:
        if not outcome.done():
            settle(value)

    def run() -> None:
        try:
            settle, value = outcome.set_result, function(*arguments)
        except BaseException as error:
            settle, value = outcome.set_exception, error
        loop.call_soon_threadsafe(deliver, settle, value)

    threads.start(run, "parallelflow-launcher")
    return outcome


# What batch systems say when a job is cancelled that is over already.
_OVER = re.compile(r"(invalid|unknown|no matching) job|job.*(finished|complet|does not exist|not found)", re.IGNORECASE)


class _Batch(BatchSystemLauncher):
    """A batch system whose commands' errors are known."""

    stop_limit = 5.0  # seconds
    _starting: asyncio.Future[Any] | None = None

    async def start(self, n: int = 1) -> Any:
        """Submit the job."""
        self._starting = in_thread(super().start, n)
        return await asyncio.shield(self._starting)

    async def stop(self) -> None:
        """Cancel the job, if it has been submitted and is not over.

        :raises CommandFailed: if the batch system refuses
        """
        end = time.monotonic() + self.stop_limit / 2
        while self._starting is not None and not self._starting.done() and time.monotonic() < end:
            await asyncio.sleep(0.05)  # a job that is just being submitted has no number yet
        if not self.job_id:
            return
        command = [*self.delete_command, self.job_id]
        try:
            await in_thread(lambda: self._run_command(command, timeout=self.stop_limit))
        except CommandFailed as error:
            if not _OVER.search(error.said):
                raise
        self.notify_stop({"job_id": self.job_id})

    def _run_command(self, command: Sequence[str], **options: Any) -> str:
        return str(_run(command, **options).decode("utf-8", "replace"))

    def _log_output(self, stop_data: Any = None) -> None:
        """Leave its log where it is."""


class _Sender(ShellCommandSend):
    """Runs commands on another machine. What needs to be done only once there is done once."""

    def __init__(self, token: str, *arguments: Any, **options: Any) -> None:
        # The receiver's code is sent along: importing ipyparallel there takes a second, each time.
        super().__init__(*arguments, initialize=False, send_receiver_code=True, **options)
        self._environment = environment(f"{token}/{_ssh(token)}")
        self._done: set[str] = set()
        self._shown = shlex.join([*self.shell, self.args[-1]])
        self.initialize()

    def _check_output(self, cmd: Sequence[str], **options: Any) -> Any:
        options.setdefault("text", True)
        return _run(cmd, shown=self._shown, env=self._environment, **options)

    def _runs_successful(self, cmd: Sequence[str]) -> bool:
        if str(cmd) not in self._done:
            self._check_output(cmd)
            self._done.add(str(cmd))
        return True

    def _cmd_send(self, method: str, **options: Any) -> Any:
        log = options.get("output_file")
        private = _PRIVATE_LOG.format(path=log) if log else ""
        self.receiver_code = private + ShellCommandSend.receiver_code
        return super()._cmd_send(method, **options)

    def check_output_python_module(self, module_params: Sequence[str], **options: Any) -> Any:
        """Run a module there, unless that has been done."""
        if str(module_params) in self._done:
            return ""
        output = super().check_output_python_module(module_params, **options)
        self._done.add(str(module_params))
        return output


def _ssh(token: str) -> str:
    """The token that the ssh processes on this machine carry besides their job's, and the engines do not."""
    return f"{token}-ssh"


# Run on the other machine by its Python, which has psutil because ipyparallel needs it.
_WRITE = """
import base64, os
path, content = {path!r}, {content!r}
os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
draft = path + {suffix!r}
with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
    file.write(base64.b64decode(content))
os.replace(draft, path)
"""
# Run before the log is opened over there, by the same Python: what exists keeps its mode. The engine has its user's umask.
_PRIVATE_LOG = """
import os
path = {path!r}
folder = os.path.dirname(path) or "."
os.makedirs(folder, mode=0o700, exist_ok=True)
try:
    os.chmod(folder, 0o700)
except OSError:
    pass
os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
"""
_READ = """
with open({path!r}, "rb") as file:
    file.seek(max(0, file.seek(0, 2) - 8192))
    print(file.read().decode("utf-8", "replace"))
"""
_END = """
import os, signal, sys, time
import psutil

def left():
    found = []
    for process in psutil.process_iter():
        try:
            tokens = process.environ().get({variable!r}, "").split("/")
            if {token!r} in tokens and {ssh!r} not in tokens and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            pass
    return found

start, signals = time.monotonic(), [(0.3, signal.SIGKILL), (0.0, signal.SIGTERM)]
while left():
    elapsed = (time.monotonic() - start) / {limit!r}
    if elapsed > 1:
        sys.exit("still running: " + ", ".join(str(process.pid) for process in left()))
    if signals and elapsed >= signals[-1][0]:
        number = signals.pop()[1]
        for process in left():
            try:
                process.send_signal(number)
            except psutil.Error:
                pass
    time.sleep(0.05)
for path in {files!r}:
    try:
        os.remove(path)
    except OSError:
        pass
"""


class _SSHEngine(SSHEngineLauncher):
    """One engine on another machine."""

    ssh_args: list[str]
    _output: str | None = None

    @default("loop")  # type: ignore[untyped-decorator]
    def _parents_loop(self) -> Any:
        return self.parent.loop  # it is started in another thread than the loop's

    @default("to_send")  # type: ignore[untyped-decorator]
    def _engines_file_only(self) -> list[tuple[str, str]]:
        return [(self.connection_files["engine"], self.remote_connection_files["engine"])]

    @property
    def ssh_sender(self) -> Any:
        options = [*self.ssh_args]
        if self.ssh_cmd and os.path.basename(self.ssh_cmd[-1]) == "ssh":
            # After the user's own, which ssh gives precedence.
            options += ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_WITHIN}"]
        return self.parent.sender([*self.ssh_cmd], [*options, self.location], self.remote_python)

    def start(self, hostname: str | None = None, user: str | None = None, port: str | None = None) -> None:
        """Start it, unless its job is being stopped."""
        if self.parent.stopping:
            raise LauncherError(tr("it is being stopped"))
        self.ssh_args = [*self.ssh_args]  # the port is appended, and must not be the next machine's too
        super().start(hostname=hostname, user=user, port=port)

    def _wait(self) -> None:
        # Without a connection nobody knows whether it runs; the hub will tell.
        with suppress(CommandFailed):
            super()._wait()

    def _send_file(self, local: str, remote: str, wait: bool = True) -> None:
        # In one move: where the two machines share their files, scp would empty what it copies.
        content = base64.b64encode(Path(local).read_bytes())
        self.ssh_sender.check_output_python_code(
            _WRITE.format(path=remote.replace(os.path.sep, "/"), content=content, suffix=f".{os.getpid()}")
        )

    def get_output(self, remove: bool = False) -> str:
        """The end of its log; nothing while it is being stopped."""
        if self._output is None and not self.parent.stopping:
            with suppress(Exception):
                self._output = self.ssh_sender.check_output_python_code(_READ.format(path=self.remote_output_file))
        return self._output or ""

    def _log_output(self, stop_data: Any = None) -> None:
        """Keep it for whoever asks."""


class _SSHEngineSet(SSHEngineSetLauncher):
    """Engines on other machines."""

    token = ""
    stop_limit = 5.0  # seconds
    stopping = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._senders: dict[str, _Sender] = {}
        self._starting: asyncio.Future[Any] | None = None
        super().__init__(*arguments, **options)
        assert self.loop is not None  # this thread's

    def sender(self, command: list[str], arguments: list[str], python: str) -> _Sender:
        """What runs commands on a machine."""
        key = str((command, arguments, python))
        if key not in self._senders:
            self._senders[key] = _Sender(self.token, command, arguments, python, log=self.log)
        return self._senders[key]

    async def start(self, n: int) -> Any:
        """Start at most as many engines as there are places for."""
        self._starting = in_thread(super().start, n)
        started = await asyncio.shield(self._starting)
        if not started:
            raise LauncherError(tr("c.SSHEngineSetLauncher.engines names no machines to start engines on"))
        return started

    async def stop(self) -> None:
        """End everything on every machine that carries the job's token.

        :raises StopError: if something is left, or a machine cannot be reached
        """
        self.stopping = True
        end = time.monotonic() + self.stop_limit
        while self._starting is not None and not self._starting.done() and time.monotonic() < end:
            # The start hangs, or was called off: it must not start anything any more.
            for process in carriers([_ssh(self.token)]):
                with suppress(psutil.Error):
                    process.kill()
            await asyncio.sleep(0.05)
        machines: dict[str, list[Any]] = {}
        for engine in list(self.launchers.values()):
            machines.setdefault(engine.location, []).append(engine)
        problems = await asyncio.gather(*(in_thread(self._end, engines) for engines in machines.values()))
        for engines, problem in zip(machines.values(), problems, strict=True):
            for engine in engines if not problem else []:
                engine.notify_stop({"exit_code": 0, "pid": engine.pid, "identifier": engine.identifier})
        if any(problems):
            raise StopError(" ".join(problem for problem in problems if problem))

    def _end(self, engines: Sequence[Any]) -> str:
        """End a job's engines on one machine; '' or a sentence on what went wrong."""
        program = _END.format(
            variable=TOKENS,
            token=self.token,
            ssh=_ssh(self.token),
            limit=self.stop_limit,
            files=[engine.remote_output_file for engine in engines],
        )
        location = engines[0].location
        started = any(engine.pid > 0 for engine in engines)
        known_again = self._starting is None  # somebody else began to start them and did not get to the end
        if (
            not started
            and not known_again
            and location not in (sender.args[-1] for sender in list(self._senders.values()))
        ):
            return ""  # it was not even reached
        try:
            engines[0].ssh_sender.check_output_python_code(program, timeout=1.4 * self.stop_limit)
        except Exception as error:
            if not started:
                return ""
            return tr(
                "The engines on {host} could not be stopped: {reason}. Stop them there.",
                host=location,
                reason=with_what_it_said(error),
            )
        return ""


def adapted(kind: Any, token: str) -> Any:
    """A launcher's class, made fit. It has the same name, so the same configuration applies to it.

    :param kind: one of ipyparallel's, or what a profile derives from one
    :param token: what the job's processes carry
    """
    if issubclass(kind, SSHEngineSetLauncher):
        one = kind.launcher_class
        own = {"token": token, "launcher_class": type(one.__name__, (_SSHEngine, one), {})}
        return type(kind.__name__, (_SSHEngineSet, kind), own)
    if issubclass(kind, BatchSystemLauncher):
        return type(kind.__name__, (_Batch, kind), {})
    return kind
