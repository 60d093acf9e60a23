"""Starts the controller and engines of a profile, in time, and knows and stops them.

Everything runs in a session of its own with a private log, carries a token that its descendants inherit, and is on record with the
profile before it is started. Nothing here talks to the hub: who waits for registrations hands in a function that tells which
uuids the hub knows.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import psutil

from parallelflow import threads
from parallelflow.texts import tr

from . import ipcluster, options, pools, profile
from .connecting import no_ipc
from .cores import thread_limits
from .errors import ProfileError
from .failures import failed, not_started
from .jobs import BatchJob
from .launchers import Command, controller_command, engine_command, with_relay
from .machine import this_machine
from .ports import listening_ports
from .record import CONTROLLER, ENGINE, JOB, Entry
from .settings import Settings
from .started import Started, StartedProcess
from .stopper import Stopper
from .tree import members
from .waiting import Wait

log = logging.getLogger(__name__)

# An engine counts as registered after one and a half heartbeats on average, and ipyparallel's own period
# is 3 s. A silent engine is given up after 12 s (ipyparallel: 30 s), so that a Map whose last one it was, and which waits for
# another for 10 s, ends within half a minute.
_HEARTBEAT_MS = 500
_HEARTBEAT_MISSES = 24

_LOOK_EVERY = 3.0  # seconds between two questions to a batch system about a job whose engines have not registered


class ProcessManager(Stopper):
    """Starts, knows and stops a profile's processes.

    :param profile_dir: the profile's folder
    :param settings: time limits and encryption
    """

    def __init__(self, profile_dir: Path, settings: Settings) -> None:
        super().__init__(profile_dir, settings)
        self.one_each = False
        """Whether one engine is started on each machine of the profile, however many are wanted."""

    def launch_controller(self, stale: Mapping[Path, bytes] = MappingProxyType({})) -> Started:
        """Start a controller; it is not ready when this returns.

        The caller holds the profile's start lock and knows that no controller answers.

        :param stale: the connection files that nobody answers, with their contents; they are removed unless somebody has
            written them anew meanwhile
        :returns: the process, which is ours and on record
        :raises StartError: if the process cannot be started
        :raises ProfileError: if the profile's configuration has an error in it
        :raises ClusterError: if it cannot go on record
        """
        own = profile.config(self.profile_dir, "ipcontroller")
        if own.get("IPController", {}).get("transport") == "ipc":
            raise ProfileError(no_ipc(profile.name_of(self.profile_dir)))
        how = with_relay(controller_command(self.profile_dir))
        options = [
            f"--profile-dir={self.profile_dir}",
            *pools.options(own, self.profile_dir),
        ]
        if "HeartMonitor" not in own:
            options.append(f"--HeartMonitor.period={_HEARTBEAT_MS}")
            options.append(f"--HeartMonitor.max_heartmonitor_misses={_HEARTBEAT_MISSES}")
        configured = {**own.get("HubFactory", {}), **own.get("IPController", {})}
        if "db_class" not in configured and not any("db" in each for each in how.arguments):
            options.append("--nodb")  # records of what was run, which nobody asks for, would fill its memory
        if self.settings.encryption:
            options.append("--IPController.enable_curve=True")
        if not own.get("IPController", {}).get("reuse_files"):
            # Left by a controller that was killed; engines would take them for the new one's.
            for path, content in stale.items():
                with suppress(OSError):
                    if path.read_bytes() == content:
                        path.unlink()
                        log.info("Removed the stale connection file %s", path)
        return self._launch(CONTROLLER, how, [options], [""], umask=0o077)[0]

    def launch_engines(
        self,
        n: int,
        connection_file: Path | None = None,
        registered: Callable[[], Collection[str]] = tuple,
        wait: Wait | None = None,
        cluster_id: str = "",
        hub: str = "",
    ) -> Sequence[Started]:
        """Start engines; they are not registered when this returns.

        They run on this machine, unless the profile's configuration has them started elsewhere: then
        there must be a controller already, and one batch job is returned for all of them.

        :param n: how many
        :param connection_file: what they connect by; they wait for it to appear
        :param registered: returns the uuids that the hub knows; needed for a batch job, whose engines may register
            while others are still being started
        :param wait: who wants to hear of it while a batch job is submitted
        :param cluster_id: which of the profile's clusters they are for, if there is no ``connection_file``
        :param hub: tells that cluster's controller from others
        :returns: the processes, or the batch job, which are ours and on record
        :raises StartError: if they cannot be started
        :raises ProfileError: if the profile's configuration has an error in it
        :raises Cancelled: if the caller of ``wait`` called it off
        :raises ClusterError: if they cannot go on record
        """
        how = engine_command(self.profile_dir)
        if how is None:
            # How many cores there are elsewhere, and how many engines share them, is not known here: with SSH, it is `there`.
            variables = thread_limits(self.settings.threads_per_engine, 0, {})
            job = BatchJob.new(self._entry(JOB), self.profile_dir, cluster_id, hub, variables)
            with self._launching([job]):
                count = None if self.one_each else n
                job.submit(count, registered(), wait or Wait(self.settings.start_timeout), lambda: self._save([job]))
            return [job]
        path = connection_file or profile.engine_file(self.profile_dir, cluster_id)
        limit = self.settings.start_timeout
        patience = options.patience(self.profile_dir, limit)
        uuids = [str(uuid.uuid4()) for _ in range(n)]
        own = [
            [
                f"--profile-dir={self.profile_dir}",
                f"--IPEngine.url_file={path}",
                f"--IPEngine.wait_for_url_file={limit:g}",
                *patience,
                f"--Session.session={identity}",
            ]
            for identity in uuids
        ]
        here = n + sum(started.entry.kind == ENGINE for started in self.alive())
        variables = thread_limits(self.settings.threads_per_engine, here, {**os.environ, **how.environment})
        how = replace(how, environment={**how.environment, **variables})
        return self._launch(ENGINE, how, own, uuids)

    def _entry(self, kind: str, identity: str = "") -> Entry:
        return Entry(
            token=uuid.uuid4().hex,
            kind=kind,
            host=socket.gethostname(),
            machine=this_machine(),
            uuid=identity,
            started=time.time(),
            owner_pid=self._owner.pid,
            owner_create_time=self._owner.create_time,
        )

    def _launch(
        self,
        kind: str,
        how: Command,
        options: Sequence[Sequence[str]],
        uuids: Sequence[str],
        umask: int = -1,
    ) -> list[StartedProcess]:
        self.logs.prune({entry.log_path for entry in self.record.read()})
        entries = [self._entry(kind, identity) for identity in uuids]
        batch = [StartedProcess(replace(entry, log_path=str(self.logs.path(kind, entry.token)))) for entry in entries]
        with self._launching(batch):
            for started, own in zip(batch, options, strict=True):
                started.start(how, own, self.profile_dir, umask)
            self.record.put(*(started.entry for started in batch))
        return batch

    @contextmanager
    def _launching(self, batch: Sequence[Started]) -> Iterator[None]:
        """While in this context, processes or batch jobs are started; if that fails, all of them are stopped."""
        self._add(batch)
        try:
            yield
        except BaseException:
            self.stop_after_failure(batch)
            raise

    def wait_for_controller(self, controller: Started, wait: Wait) -> None:
        """Wait until a controller that was launched has written its connection files and listens.

        :param controller: what :meth:`launch_controller` returned
        :param wait: how long
        :raises StartError: if it ends instead, or is not ready by the deadline
        :raises Cancelled: if the caller called it off
        """
        while True:
            if not controller.alive:
                sentence = controller.by_status(
                    tr("The controller ended before it was ready."),
                    tr("The controller was killed by signal {number} before it was ready.", number=controller.number),
                    tr("The controller ended with exit status {number} before it was ready.", number=controller.number),
                )
                raise failed(sentence, controller, self.logs)
            if self._is_up(controller):
                controller.registered = True
                self._note_mark(controller)
                return
            if wait.over:
                seconds = round(wait.timeout)
                sentence = tr("The controller was not ready within {seconds} seconds.", seconds=seconds)
                raise failed(sentence, controller, self.logs)
            wait.pause(tr("Starting the controller"), 0.1)

    def _note_mark(self, controller: Started) -> None:
        """Have it on record which connection files are this controller's."""
        with suppress(OSError, ValueError, KeyError):
            info = json.loads(profile.client_file(self.profile_dir).read_text(encoding="utf-8"))
            controller.entry = replace(controller.entry, hub=profile.fingerprint(info))
            token = controller.entry.token
            self.record.change(lambda old: [controller.entry if entry.token == token else entry for entry in old])

    def _is_up(self, controller: Started) -> bool:
        try:
            info = json.loads(profile.engine_file(self.profile_dir).read_text(encoding="utf-8"))
            json.loads(profile.client_file(self.profile_dir).read_text(encoding="utf-8"))
            port = int(info["registration"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if not str(info["interface"]).startswith("tcp"):
            return True
        # The files may be another controller's, started by hand at the same moment; and ours may be a child of what was
        # started, as with "conda run".
        for process in members([controller.root])[0]:
            with suppress(psutil.Error):
                if port in listening_ports(process):
                    return True
        return False

    def wait_for_engines(
        self, engines: Sequence[Started], registered: Callable[[], Collection[str]], wait: Wait
    ) -> set[str]:
        """Wait until engines that were launched are registered.

        :param engines: what :meth:`launch_engines` returned
        :param registered: returns the uuids that the hub knows
        :param wait: how long
        :returns: their uuids
        :raises StartError: if some end instead, or are not registered by the deadline; the others stay
        :raises Cancelled: if the caller called it off
        """
        wanted = sum(engine.n for engine in engines)
        looks: list[futures.Future[str]] = []
        look_at = time.monotonic() + _LOOK_EVERY
        while True:
            known, ours = set(registered()), self.started
            for engine in engines:
                engine.find(known, ours)
            missing = [engine for engine in engines if not engine.registered]
            if not missing:
                self._save(engines)
                return {identity for engine in engines for identity in engine.uuids}
            ready = len(known & {identity for engine in engines for identity in engine.uuids})
            dead = [engine for engine in missing if not engine.alive]
            if time.monotonic() > look_at and all(look.done() for look in looks):
                # A job that has failed at once is not waited for.
                looks = [threads.start(engine.look, "parallelflow-look") for engine in missing if engine.queued]
                look_at = time.monotonic() + _LOOK_EVERY
            if wait.over or len(dead) == len(missing):
                self._save(missing)
                late = [engine for engine in missing if engine not in dead]
                raise not_started(dead, late, wanted - ready, wanted, wait.timeout, self.logs)
            wait.pause(
                tr("Starting engines: {ready} of {wanted} ready", ready=ready, wanted=wanted),
                0.3 + 0.7 * ready / wanted,
            )

    def show_to_ipcluster(self) -> None:
        """Write the file by which ``ipcluster list`` and ``ipcluster stop`` see what is ours, if the controller is."""
        controller = self.controller()
        if controller is not None:
            engines = [started.entry for started in self.started if not started.is_controller]
            ipcluster.write(self.profile_dir, controller.entry, engines)
