"""ipyparallel's launcher for engines on other machines by SSH, with one connection to each machine.

What is configured, kept on file and seen by ``ipcluster`` is ipyparallel's; how machines are spoken to is `login` and `there`.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import logging
import os
import time
from collections.abc import Sequence
from concurrent import futures
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from ipyparallel.cluster.launcher import (
    LauncherError,
    LocalEngineSetLauncher,
    SSHEngineLauncher,
    SSHEngineSetLauncher,
)
from traitlets import default

from parallelflow import threads
from parallelflow.texts import tr

from .commands import CommandFailed, in_thread, with_what_it_said
from .cores import THREAD_VARIABLES
from .errors import StopError
from .login import Login, mark
from .tree import carriers

log = logging.getLogger(__name__)

# Of the time that ending engines on a machine may take: what is theirs. The rest is for the way there.
_ENGINES_SHARE = 0.5


class SSHEngine(SSHEngineLauncher):
    """One engine on another machine: what is to be started there. Its set does it."""

    ssh_args: list[str]
    _output = ""

    @default("loop")  # type: ignore[untyped-decorator]
    def _parents_loop(self) -> Any:
        return self.parent.loop  # it is made in another thread than the loop's

    @default("to_send")  # type: ignore[untyped-decorator]
    def _engines_file_only(self) -> list[tuple[str, str]]:
        return [(self.connection_files["engine"], self.remote_connection_files["engine"])]

    def _reconstruct_process(self, state: dict[str, Any]) -> None:
        """Its set watches it."""

    def place(self, user: str | None, host: str, port: str | None) -> None:
        """Say where it is to run."""
        if user is not None:
            self.user = user
        self.hostname = host
        self.ssh_args = [*self.ssh_args]  # the port is appended, and must not be the next machine's too
        if port is not None and "-p" not in self.ssh_args:
            self.ssh_args += ["-p", port]

    def request(self) -> dict[str, Any]:
        """What is to be started, for :meth:`.there.There.start`."""
        return {
            "name": self.identifier,
            "command": [*self.program, *self.program_args],
            "environment": self.get_env(),
            "log": self.remote_output_file,
        }

    def get_output(self, remove: bool = False) -> str:
        """The end of its log, as far as it has been told."""
        return self._output

    def _log_output(self, stop_data: Any = None) -> None:
        """Keep it for whoever asks."""


class SSHEngineSet(SSHEngineSetLauncher):
    """Engines on other machines."""

    token = ""
    start_limit = 60.0  # seconds
    stop_limit = 8.0  # seconds
    keep_logs = False
    """Whether engines have ended by themselves, so that somebody may want to know why."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._logins: dict[tuple[str, ...], Login] = {}
        self._logs: dict[tuple[str, ...], list[str]] = {}
        self._starting: asyncio.Future[Any] | None = None
        self._stopping = False
        self.lacking: list[str] = []
        """Sentences on the machines that no engine was started on."""
        super().__init__(*arguments, **options)
        assert self.loop is not None  # this thread's

    # On file

    def to_dict(self) -> dict[str, Any]:
        """What it takes to know it again; the machines from before anything is started there."""
        logins = [
            {"key": key, "logs": self._logs.get(key, []), "reached": login.reached}
            for key, login in list(self._logins.items())
        ]
        return {**super().to_dict(), "machines": logins}

    @classmethod
    def from_dict(cls, d: dict[str, Any], **options: Any) -> Any:
        """Know it again, and watch its engines."""
        # Not the parent's, which knows no set of which no engine was noted before a crash.
        self: SSHEngineSet = super(LocalEngineSetLauncher, cls).from_dict(d, **options)
        for name, state in d["engines"].items():
            engine = self.launchers[name] = self.launcher_class.from_dict(state, identifier=name, parent=self)
            engine.on_stop(self._notice_engine_stopped)
            self._login(engine)
        for machine in d.get("machines", []):
            key = tuple(machine["key"])
            self._make_login(key).reached = bool(machine["reached"])
            self._logs[key] = [*machine["logs"]]
        self.n = len(self.launchers)
        for key, engines in self._machines().items():
            running = {each.identifier: (each.pid, each.remote_output_file) for each in engines if each.pid > 0}
            if running:
                threads.start(partial(self._watch, key, running), "parallelflow-watch")
        return self

    def _watch(self, key: tuple[str, ...], engines: dict[str, tuple[int, str]]) -> None:
        # Without a connection nobody knows whether they run; the hub will tell.
        with suppress(CommandFailed):
            self._logins[key].ask(self.start_limit, "start_timeout", "watch", engines=engines)

    # Machines

    def _key(self, engine: Any) -> tuple[str, ...]:
        """A machine: two may have the same name and be told apart by their ports."""
        return (*engine.ssh_cmd, *engine.ssh_args, "", engine.location, engine.remote_python)

    def _login(self, engine: Any) -> Login:
        return self._make_login(self._key(engine))

    def _make_login(self, key: tuple[str, ...]) -> Login:
        if key not in self._logins:
            *command, _, location, python = key
            self._logins[key] = Login(command, location, python, self.token, self._heard)
        return self._logins[key]

    def _machines(self) -> dict[tuple[str, ...], list[Any]]:
        machines: dict[tuple[str, ...], list[Any]] = {}
        for engine in list(self.launchers.values()):
            machines.setdefault(self._key(engine), []).append(engine)
        return machines

    def _heard(self, told: dict[str, Any]) -> None:
        """An engine was started, or has ended."""
        if "started" in told:
            engine = self.launchers.get(told["started"])
            if engine is not None:
                engine.pid = int(told["pid"])
                engine.notify_start({"host": engine.location, "pid": engine.pid})
            return
        engine = self.launchers.get(told["ended"])
        if engine is not None:
            engine._output = str(told["log"])
            data = {"exit_code": told["status"], "pid": engine.pid, "identifier": engine.identifier}
            with suppress(RuntimeError):  # the loop is closed
                self.loop.add_callback(lambda: engine.notify_stop(data))

    # Start

    async def start(self, n: int) -> Any:
        """Start at most as many engines as there are places for."""
        self._starting = in_thread(self._start, n)
        return await asyncio.shield(self._starting)

    def _start(self, n: int) -> list[str]:
        self._place(n)
        placed = list(self.launchers)
        machines = self._machines()
        if not machines:
            raise LauncherError(tr("c.SSHEngineSetLauncher.engines names no machines to start engines on"))
        for key, engines in machines.items():
            self._make_login(key)
            self._logs[key] = [engine.remote_output_file for engine in engines]
        over = time.monotonic() + self.start_limit
        outcomes = {
            key: threads.start(partial(self._start_on, key, engines, over), "parallelflow-login")
            for key, engines in machines.items()
        }
        futures.wait(outcomes.values())
        problems = [error for error in (outcome.exception() for outcome in outcomes.values()) if error is not None]
        unexpected = next((error for error in problems if not isinstance(error, CommandFailed)), None)
        if unexpected is not None or len(problems) == len(machines):
            raise unexpected or problems[0]
        for (key, engines), outcome in zip(machines.items(), outcomes.values(), strict=True):
            error = outcome.exception()
            if error is None:
                continue
            self.lacking.append(
                tr(
                    "No engine was started on {host}: {reason}.",
                    host=self._logins[key].name,
                    reason=with_what_it_said(error).rstrip("."),  # type: ignore[arg-type]
                )
            )
            for engine in engines:
                if engine.pid <= 0:
                    placed.remove(engine.identifier)
                    self.launchers.pop(engine.identifier, None)
            if not self._logins[key].reached:
                # It was asked for nothing: nothing of ours can be there, and whoever stops the others has no business there.
                self._logs.pop(key)
                self._logins.pop(key)
        for sentence in self.lacking:
            log.warning("%s", sentence)
        # Those that have ended at once, too, which are no longer among the launchers.
        self.n = len(placed)
        if self.state != "after":
            self.notify_start(placed)
        return placed

    def _place(self, n: int) -> None:
        """Make the launchers of the engines, as ipyparallel does."""
        traits = set(self.traits(config=True)) & set(self.launcher_class.class_traits(config=True))
        traits -= {"location", "user", "hostname", "to_send", "to_fetch"}
        traits |= {"profile_dir", "cluster_id"}
        for place, count in self.engines.items():
            own = copy.deepcopy(count) if isinstance(count, dict) else {"n": count}
            most = own.pop("n", 1)
            user, _, address = place.rpartition("@")
            host, _, port = address.partition(":")
            for number in range(min(most, n - len(self.launchers))):
                values = {**{name: getattr(self, name) for name in traits}, **own}
                name = f"{place}/{number}"
                engine = self.launcher_class(**values, parent=self, identifier=name)
                engine.place(user or None, host, port or None)
                engine.on_stop(self._notice_engine_stopped)
                # Machines may share the folder, and other jobs log there.
                log_name = f"ipengine-{self.token[:12]}-{len(self.launchers)}.out"
                engine.remote_output_file = os.path.join(os.path.dirname(engine.remote_output_file), log_name)
                self.launchers[name] = engine

    def _start_on(self, key: tuple[str, ...], engines: Sequence[Any], over: float) -> None:
        if self._stopping:
            raise LauncherError(tr("it is being stopped"))
        files: dict[str, str] = {}
        for engine in engines:
            for near, far in engine.to_send:
                content = base64.b64encode(Path(near).read_bytes()).decode()
                files[far.replace(os.path.sep, "/")] = content
        self._logins[key].ask(
            max(0.1, over - time.monotonic()),
            "start_timeout",
            "start",
            files=files,
            engines=[engine.request() for engine in engines],
            delay=self.delay,
            shared=THREAD_VARIABLES,
        )

    # Stop

    async def stop(self) -> None:
        """End everything on every machine that carries the job's token.

        :raises StopError: if something is left, or a machine cannot be reached
        """
        self._stopping = True
        over = time.monotonic() + self.stop_limit / 2
        if self._starting is not None and not self._starting.done():
            # The start hangs, or was called off: it must not start anything any more.
            for login in self._logins.values():
                login.call_off()
            for process in carriers([mark(self.token)]):
                with suppress(psutil.Error):
                    process.kill()
        while self._starting is not None and not self._starting.done() and time.monotonic() < over:
            await asyncio.sleep(0.05)
        for login in self._logins.values():
            login.go_on()
        keys = list(self._logins)
        problems = await asyncio.gather(*(in_thread(self._end, key) for key in keys))
        machines = self._machines()
        for key, problem in zip(keys, problems, strict=True):
            for engine in machines.get(key, []) if not problem else []:
                engine.notify_stop({"exit_code": 0, "pid": engine.pid, "identifier": engine.identifier})
        self._stopping = False
        if any(problems):
            raise StopError(" ".join(problem for problem in problems if problem))

    def _end(self, key: tuple[str, ...]) -> str:
        """End a job's engines on one machine; '' or a sentence on what went wrong."""
        login = self._logins[key]
        own = [engine for engine in self.launchers.values() if self._key(engine) == key]
        begun = (
            self._starting is None or login.reached
        )  # somebody else may have started them, who did not get to the end
        if not begun:
            return ""  # it was not even reached
        try:
            left = login.ask(
                0.95 * self.stop_limit,
                "stop_timeout",
                "end",
                limit=_ENGINES_SHARE * self.stop_limit,
                files=[] if self.keep_logs else self._logs.get(key, [engine.remote_output_file for engine in own]),
            )["left"]
        except Exception as error:
            return tr(
                "The engines on {host} could not be stopped: {reason}.",
                host=login.name,
                reason=with_what_it_said(error).rstrip("."),
            )
        if left:
            return tr(
                "These processes on {host} could not be stopped within {seconds} seconds: {pids}.",
                host=login.name,
                seconds=round(self.stop_limit),
                pids=", ".join(map(str, left)),
            )
        login.close()
        return ""

    def is_over(self, limit: float) -> bool:
        """Ask every machine whether anything is left there that carries the job's token.

        :param limit: seconds
        :returns: whether all have said that nothing is
        """

        def left(login: Login) -> bool:
            try:
                return bool(login.ask(limit, "stop_timeout", "left")["left"])
            except CommandFailed:
                return True  # for all that is known

        asked = [threads.start(partial(left, login), "parallelflow-login") for login in list(self._logins.values())]
        return not any(each.result() for each in asked)

    def find_out(self) -> None:
        """Ask for the ends of the logs of engines that run."""
        for key, engines in self._machines().items():
            for engine in engines:
                with suppress(CommandFailed):
                    answer = self._logins[key].ask(5.0, "start_timeout", "read", path=engine.remote_output_file)
                    engine._output = str(answer["text"])

    def get_output(self, remove: bool = False) -> str:
        """The ends of the engines' logs."""
        if not self._stopping:
            self.find_out()
        return str(super().get_output(remove))
