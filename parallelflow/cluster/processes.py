"""The controller and engine processes that we start: started in time, known at each moment, stopped for certain.

Everything runs in sessions of its own with a private log, carries a token that its descendants inherit, and is on record
with the profile before it is started. Nothing here talks to the hub: who waits for registrations is told which uuids to expect.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from . import profile
from .connection import listening
from .errors import ClusterError, StartError, StopError
from .record import Entry, Record, now
from .settings import Settings
from .tree import Identity, end, environment, members, own_identity
from .waiting import Wait

log = logging.getLogger(__name__)

CONTROLLER = "controller"
ENGINE = "engine"
JOB = "job"

# An engine counts as registered after one and a half heartbeats on average, and ipyparallel's own period is 3 s. The
# time after which a silent engine is given up stays what it is: 30 s.
_HEARTBEAT_MS = 500
_HEARTBEAT_MISSES = 60

_TAIL_LINES = 15
_TAIL_BYTES = 8192
_KEEP_LOGS = 20
_PORT_TAKEN = "Address already in use"

# These would make a process join another cluster than the profile's.
_FOREIGN = ("IPP_CONNECTION_INFO", "IPP_CLUSTER_ID", "IPP_PROFILE_DIR")


@dataclass
class Started:
    """One process that we started, or found on record and took over.

    :param entry: what is on record about it
    :param popen: our handle on it, if this process is its parent
    :param registered: whether it became ready
    """

    entry: Entry
    popen: subprocess.Popen[bytes] | None = None
    registered: bool = False
    exit_status: int | None = field(default=None)

    @property
    def running(self) -> bool:
        """Whether its leader runs at this moment."""
        if self.popen is not None:
            status = self.popen.poll()
            if status is not None:
                self.exit_status = status
            return status is None
        identity = self.entry.identity
        return identity is not None and identity.process(self.entry.token) is not None

    @property
    def ending(self) -> str:
        """How it ended, as the end of a sentence."""
        if self.exit_status is None:
            return "ended"
        return f"was killed by signal {-self.exit_status}" if self.exit_status < 0 else f"ended with exit status {self.exit_status}"

    @property
    def log_path(self) -> Path:
        """Its log."""
        return Path(self.entry.log_path)


class ProcessManager:
    """Starts, knows and stops a profile's processes.

    :param profile_dir: the profile's folder
    :param settings: time limits and encryption
    """

    def __init__(self, profile_dir: Path, settings: Settings) -> None:
        self.profile_dir = profile_dir
        self.settings = settings
        self.record = Record(profile_dir)
        self._started: dict[str, Started] = {}
        self._lost: list[Started] = []
        self._unswept: list[Started] = []
        self._lock = threading.RLock()
        self._owner = own_identity()

    # What there is

    @property
    def started(self) -> list[Started]:
        """Everything that is ours and has not been seen to end, whether started here or taken over."""
        with self._lock:
            return list(self._started.values())

    @property
    def died(self) -> list[Started]:
        """What was ours and ended without being told to."""
        self.notice()
        with self._lock:
            return list(self._lost)

    def alive(self) -> list[Started]:
        """Those that live at this moment."""
        self.notice()
        return self.started

    def controller(self) -> Started | None:
        """The controller, if it is ours and lives."""
        return next((s for s in self.alive() if s.entry.kind == CONTROLLER), None)

    def engines(self) -> dict[str, Started]:
        """The engines that are ours and live, by uuid."""
        return {s.entry.uuid: s for s in self.alive() if s.entry.kind == ENGINE}

    def notice(self) -> None:
        """Find out which of ours have died since; :meth:`sweep` ends what they left running."""
        with self._lock:
            dead = [s for s in self._started.values() if s.entry.here and s.entry.kind != JOB and not s.running]
            for started in dead:
                del self._started[started.entry.token]
                self._lost.append(started)
                self._unswept.append(started)
        for started in dead:
            log.warning("The %s with process id %d %s", started.entry.kind, started.entry.pid, started.ending)

    def sweep(self) -> None:
        """End what processes of ours that died by themselves have left running, and take them off the record."""
        self.notice()
        with self._lock:
            dead, self._unswept = self._unswept, []
        if not dead:
            return
        end([started.entry.root for started in dead], self.settings.stop_timeout)
        if any(started.entry.kind == CONTROLLER for started in dead):
            self._remove_stale_files()
        self.record.remove(*(started.entry.token for started in dead))

    # Start

    def launch_controller(self) -> Started:
        """Start a controller; it is not ready when this returns.

        The caller holds the profile's start lock and knows that no controller answers.

        :raises StartError: if the process cannot be started
        """
        own = profile.config(self.profile_dir, "ipcontroller")
        cluster = profile.config(self.profile_dir, "ipcluster").get("Cluster", {})
        arguments = [f"--profile-dir={self.profile_dir}"]
        if "HeartMonitor" not in own:
            arguments.append(f"--HeartMonitor.period={_HEARTBEAT_MS}")
            arguments.append(f"--HeartMonitor.max_heartmonitor_misses={_HEARTBEAT_MISSES}")
        if self.settings.encryption:
            arguments.append("--IPController.enable_curve=True")
        if cluster.get("controller_ip"):
            arguments.append(f"--ip={cluster['controller_ip']}")
        if cluster.get("controller_location"):
            arguments.append(f"--location={cluster['controller_location']}")
        arguments += [str(argument) for argument in cluster.get("controller_args", [])]
        if not own.get("IPController", {}).get("reuse_files"):
            # Left by a controller that was killed; engines would take them for the new one's.
            for path in (profile.client_file(self.profile_dir), profile.engine_file(self.profile_dir)):
                with suppress(FileNotFoundError):
                    path.unlink()
                    log.info("Removed the stale connection file %s", path)
        return self._launch(CONTROLLER, "ipyparallel.controller", [arguments], umask=0o077)[0]

    def launch_engines(self, n: int, connection_file: Path | None = None) -> list[Started]:
        """Start engines on this machine; they are not registered when this returns.

        :param n: how many
        :param connection_file: what they connect by; they wait for it to appear
        :raises StartError: if the processes cannot be started
        """
        identities = [str(uuid.uuid4()) for _ in range(n)]
        path = connection_file or profile.engine_file(self.profile_dir)
        limit = self.settings.start_timeout
        arguments = [
            [
                f"--profile-dir={self.profile_dir}",
                f"--IPEngine.url_file={path}",
                f"--IPEngine.wait_for_url_file={limit:g}",
                f"--IPEngine.timeout={limit:g}",
                f"--Session.session={identity}",
            ]
            for identity in identities
        ]
        return self._launch(ENGINE, "ipyparallel.engine", arguments, uuids=identities)

    def _launch(
        self, kind: str, module: str, arguments: Sequence[Sequence[str]], uuids: Sequence[str] = (), umask: int = -1
    ) -> list[Started]:
        self._prune_logs()
        entries = []
        for number in range(len(arguments)):
            token = uuid.uuid4().hex
            entries.append(
                Entry(
                    token=token,
                    kind=kind,
                    host=os.uname().nodename,
                    uuid=uuids[number] if uuids else "",
                    log_path=str(profile.log_dir(self.profile_dir) / f"parallelflow-{kind}-{token[:12]}.log"),
                    started=now(),
                    owner_pid=self._owner.pid,
                    owner_create_time=self._owner.create_time,
                )
            )
        self.record.put(*entries)
        batch: list[Started] = []
        try:
            for entry, options in zip(entries, arguments, strict=True):
                popen = self._popen(entry, [sys.executable, "-m", module, *options], umask)
                identity = Identity.of(popen.pid)
                started = Started(replace(entry, pid=popen.pid, create_time=identity.create_time if identity else now()), popen)
                batch.append(started)
                with self._lock:
                    self._started[entry.token] = started
            self.record.put(*(started.entry for started in batch))
        except BaseException:
            self.stop(batch, quick=True)
            self.record.remove(*(entry.token for entry in entries))
            raise
        return batch

    def _popen(self, entry: Entry, command: list[str], umask: int) -> subprocess.Popen[bytes]:
        env = environment(entry.token)
        for name in _FOREIGN:
            env.pop(name, None)
        try:
            output = os.open(entry.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, profile.PRIVATE_FILE)
        except OSError as error:
            raise StartError(f"No log can be written to {entry.log_path}: {error.strerror}.") from error
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
                umask=umask,
            )
        except OSError as error:
            raise StartError(f"{command[0]} cannot be started: {error.strerror or error}.") from error
        finally:
            os.close(output)

    def wait_for_controller(self, controller: Started, wait: Wait) -> None:
        """Wait until a controller that was launched has written its connection files and listens.

        :raises StartError: if it ends instead, or is not ready by the deadline
        """
        while True:
            if not controller.running:
                raise self._failed(f"The controller {controller.ending} before it was ready.", controller)
            if self._is_up(controller):
                controller.registered = True
                return
            if wait.over:
                raise self._failed(f"The controller was not ready within {wait.timeout:.0f} seconds.", controller)
            wait.pause("Starting the controller", 0.1)

    def _is_up(self, controller: Started) -> bool:
        try:
            info = json.loads(profile.engine_file(self.profile_dir).read_text(encoding="utf-8"))
            json.loads(profile.client_file(self.profile_dir).read_text(encoding="utf-8"))
            port = int(info["registration"])
        except (OSError, ValueError, KeyError):
            return False
        process = controller.entry.identity and controller.entry.identity.process()
        if process is None:
            return False
        if not str(info["interface"]).startswith("tcp"):
            return True
        # The files may be another controller's, started by hand at the same moment.
        with suppress(psutil.Error):
            return any(
                entry.status == psutil.CONN_LISTEN and entry.laddr.port == port for entry in _connections(process) if entry.laddr
            )
        return False

    def wait_for_engines(self, engines: Sequence[Started], registered: Callable[[], Collection[str]], wait: Wait) -> None:
        """Wait until engines that were launched are registered.

        :param engines: the engines
        :param registered: returns the uuids that the hub knows
        :param wait: how long
        :raises StartError: if some end instead, or are not registered by the deadline; those that are stay
        """
        while True:
            known = set(registered())
            for engine in engines:
                engine.registered = engine.registered or engine.entry.uuid in known
            missing = [engine for engine in engines if not engine.registered]
            if not missing:
                return
            dead = [engine for engine in missing if not engine.running]
            ready = len(engines) - len(missing)
            if wait.over or len(dead) == len(missing):
                worst = dead[0] if dead else missing[0]
                count = f"{len(missing)} of {len(engines)} engines" if len(engines) > 1 else "The engine"
                why = worst.ending if dead else f"had not registered after {wait.timeout:.0f} seconds"
                raise self._failed(f"{count} did not start: process {worst.entry.pid} {why}.", worst)
            wait.pause(f"Starting engines: {ready} of {len(engines)} ready", 0.3 + 0.7 * ready / len(engines))

    def _failed(self, message: str, started: Started) -> StartError:
        return StartError(message, started.log_path, self.log_tail(started))

    def log_tail(self, started: Started) -> str:
        """The last lines of a process's log, with every connection key blanked out."""
        try:
            with open(started.log_path, "rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        for secret in profile.secrets(self.profile_dir):
            text = text.replace(secret, "(key)")
        return "\n".join(text.rstrip().splitlines()[-_TAIL_LINES:])

    def _prune_logs(self) -> None:
        """Remove all but the newest logs of processes that are gone."""
        in_use = {entry.log_path for entry in self.record.read()}
        with suppress(OSError):
            logs = sorted(
                (path for path in profile.log_dir(self.profile_dir).glob("parallelflow-*.log") if str(path) not in in_use),
                key=lambda path: path.stat().st_mtime,
            )
            for path in logs[: max(0, len(logs) - _KEEP_LOGS)]:
                path.unlink(missing_ok=True)

    # Stop, let go, take over

    def stop(
        self, which: Iterable[Started] | None = None, *, quick: bool = False, pause: Callable[[], None] | None = None
    ) -> None:
        """Stop processes with everything that they started, politely, then for certain.

        :param which: those of :attr:`started`; default: all
        :param quick: give them little time to end by themselves
        :param pause: called between two looks
        :raises StopError: if something still lives when the time limit is over
        """
        chosen = list(which) if which is not None else self.started
        if not chosen:
            return
        chosen = [started for started in chosen if started.entry.kind != JOB]
        with self._lock:
            for started in chosen:
                self._started.pop(started.entry.token, None)
        limit = self.settings.stop_timeout
        roots = [started.entry.root for started in chosen]
        hub_stays = not any(started.entry.kind == CONTROLLER for started in chosen)
        left = end(roots, limit / 3 if quick else limit, pause, hub_stays=hub_stays)
        if left and quick:
            left = end(roots, limit, pause, hub_stays=hub_stays)
        for started in chosen:
            if started.popen is not None:
                with suppress(subprocess.TimeoutExpired):
                    started.popen.wait(0.5)
                    started.exit_status = started.popen.returncode
        if left:
            with self._lock:
                self._started.update((started.entry.token, started) for started in chosen)
            pids = ", ".join(str(process.pid) for process in left)
            raise StopError(f"These processes could not be stopped within {limit:.0f} seconds: {pids}.")
        if any(started.entry.kind == CONTROLLER for started in chosen):
            self._remove_stale_files()
        for started in chosen:
            # A log is worth keeping only if something went wrong.
            if started.registered:
                started.log_path.unlink(missing_ok=True)
        self.record.remove(*(started.entry.token for started in chosen))

    def _remove_stale_files(self) -> None:
        """Remove the connection files that a killed controller of ours left behind; never those of one that listens."""
        if profile.config(self.profile_dir, "ipcontroller").get("IPController", {}).get("reuse_files"):
            return
        for path in (profile.client_file(self.profile_dir), profile.engine_file(self.profile_dir)):
            with suppress(OSError, ValueError, KeyError):
                info = json.loads(path.read_text(encoding="utf-8"))
                url = f"{info['interface']}:{info['registration']}"
                if listening({"hub": url}, 0.5)["hub"] is False:
                    path.unlink()

    def let_go(self) -> None:
        """Forget all processes: they run on, and are on record for the next VisTrails."""
        with self._lock:
            tokens = set(self._started)
            self._started.clear()
        self.record.change(lambda old: [replace(e, let_go=True) if e.token in tokens else e for e in old])

    def adopt(self, entries: Iterable[Entry], let_go: bool) -> None:
        """Take over processes that are on record.

        :param entries: those that live
        :param let_go: whether they are to run on when this VisTrails exits
        """
        mine = [
            replace(entry, owner_pid=self._owner.pid, owner_create_time=self._owner.create_time, let_go=let_go)
            for entry in entries
        ]
        self.record.put(*mine)
        with self._lock:
            for entry in mine:
                known = self._started.get(entry.token)
                self._started[entry.token] = Started(entry, known.popen if known else None, registered=True)

    def remaining(self) -> list[psutil.Process]:
        """Every process that is left of what is ours, leaders and descendants."""
        return members(started.entry.root for started in self.started)


def _connections(process: psutil.Process) -> list[Any]:
    # psutil 6 renamed the method.
    method = getattr(process, "net_connections", None) or process.connections
    return list(method("tcp"))


__all__ = ["CONTROLLER", "ENGINE", "JOB", "ClusterError", "ProcessManager", "Started"]
