"""The controller and engine processes that we start: in time, known at each moment, stopped for certain.

Everything runs in a session of its own with a private log, carries a token that its descendants
inherit, and is on record with the profile before it is started. Nothing here talks to the hub: who
waits for registrations hands in a function that tells which uuids the hub knows. Jobs are among what is
ours; how one is submitted and cancelled is up to `jobs`.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import psutil

from parallelflow.texts import tr

from . import ipcluster, pools, profile, threads
from .connecting import no_ipc
from .cores import thread_limits
from .errors import ClusterError, ProfileError, SettingsError, StartError, StopError
from .failures import failed, not_started
from .jobs import LAUNCHERS_SHARE, Cancelling, Jobs
from .launchers import Command, controller_command, engine_command
from .logs import Logs
from .machine import this_machine
from .ports import listening, listening_ports
from .record import Entry, Record, in_environment
from .settings import Settings
from .started import CONTROLLER, ENGINE, JOB, Started, reaper
from .tree import Identity, Root, carriers, end, environment, lives, members, own_identity, tokens_of
from .waiting import Wait

log = logging.getLogger(__name__)

# An engine counts as registered after one and a half heartbeats on average, and ipyparallel's own period
# is 3 s. A silent engine is given up after 12 s (ipyparallel: 30 s), so that a Map whose last one it was, and which waits for
# another for 10 s, ends within half a minute.
_HEARTBEAT_MS = 500
_HEARTBEAT_MISSES = 24

_KEEP_DIED = 100
_LOOK_EVERY = 3.0  # seconds between two questions to a batch system about a job whose engines have not registered

# These would make a process join another cluster than the profile's.
_FOREIGN = ("IPP_CONNECTION_INFO", "IPP_CLUSTER_ID", "IPP_PROFILE_DIR")


class ProcessManager:
    """Starts, knows and stops a profile's processes.

    :param profile_dir: the profile's folder
    :param settings: time limits and encryption
    """

    def __init__(self, profile_dir: Path, settings: Settings) -> None:
        self.profile_dir = profile_dir
        self.settings = settings
        self.record = Record(profile_dir)
        self.logs = Logs(profile_dir)
        self._jobs = Jobs(profile_dir, self.record)
        self._started: dict[str, Started] = {}
        self._stopping: Counter[str] = Counter()  # tokens, and how many want that
        self._died: list[Started] = []
        self._unswept: list[Started] = []
        self._again: dict[str, futures.Future[None]] = {}  # attempts to end jobs in the background, by token
        self._lock = threading.RLock()
        self._owner = own_identity()
        self.one_each = False
        """Whether one engine is started on each machine of the profile, however many are wanted."""

    # Know

    @property
    def started(self) -> list[Started]:
        """Everything that is ours and has not been seen to end, whether started here or taken over.

        What is being stopped is there until it has ended: whoever closes up meanwhile must find it.
        """
        with self._lock:
            return list(self._started.values())

    @property
    def died(self) -> list[Started]:
        """What was ours and ended without being told to, the latest last."""
        with self._lock:
            return list(self._died)

    @property
    def all_let_go(self) -> bool:
        """Whether nothing is left that is to be stopped at the end."""
        return all(started.entry.let_go or started.entry.stuck for started in self.started)

    def alive(self) -> list[Started]:
        """What is ours and lives at this moment, and is not being stopped."""
        self.notice()
        with self._lock:
            return [started for token, started in self._started.items() if token not in self._stopping]

    def controller(self) -> Started | None:
        """The controller, if it is ours and lives."""
        return next((s for s in self.alive() if s.entry.kind == CONTROLLER), None)

    def engines(self) -> dict[str, Started]:
        """The engines that are ours and live, by uuid; those of a job share one value."""
        return {identity: s for s in self.alive() for identity in s.uuids}

    def notice(self) -> None:
        """Find out which of ours have died since; :meth:`sweep` ends what they left running."""
        with self._lock:
            dead = [
                s
                for token, s in self._started.items()
                if token not in self._stopping and not s.entry.stuck and not s.running
            ]
            for started in dead:
                del self._started[started.entry.token]
            self._died = (self._died + dead)[-_KEEP_DIED:]
            self._unswept += dead
            for started in dead:
                if started.job is not None and started.entry.token not in self._again:
                    started.job.died = True
                    # At once, for its number may become another job's.
                    self._again[started.entry.token] = threads.start(partial(self._bury, started), "parallelflow-job")
        self.logs.trim(self.started)
        for started in dead:
            if started.job is not None:
                log.warning("%s ended", started.job.name)
            else:
                log.warning("The %s with process id %d %s", started.entry.kind, started.entry.pid, started.ending)

    def observe(self, known: Collection[str], hub: str) -> None:
        """Find out which jobs have ended by themselves, see :meth:`.launchers.Job.is_left`. Never waits.

        They then count as ended as soon as nothing can be left of them, which is seen to in the background.

        :param known: the uuids that the hub knows
        :param hub: tells that hub's controller from others
        """
        with self._lock:
            which = [s for token, s in self._started.items() if not s.only_shown and token not in self._stopping]
        self._jobs.give_up(which, known, hub, self.settings.stop_timeout, self.notice)

    def _bury(self, started: Started) -> None:
        try:
            self._end([started], self.settings.stop_timeout, quick=False, pause=None)
            self._forget([started])
        except StopError as error:
            log.warning("%s", error)
            self._mark(error.stuck, [started])
        except ClusterError as error:
            log.warning("%s", error)
        finally:
            with self._lock:
                self._again.pop(started.entry.token, None)

    def try_again(self) -> None:
        """Stop in the background what could not be stopped before."""
        with self._lock:
            stuck = [s for token, s in self._started.items() if s.entry.stuck and token not in self._stopping]
            for started in stuck:
                if started.entry.token not in self._again:
                    again = threads.start(partial(self._try_again, started), "parallelflow-again")
                    self._again[started.entry.token] = again

    def _try_again(self, started: Started) -> None:
        try:
            with self.stopping([started]):
                self._end([started], self.settings.stop_timeout, quick=False, pause=None)
                self._forget([started])
            log.warning("Stopped at last: %s", started.entry.stuck)
        except ClusterError as error:
            log.info("Tried again in vain: %s", error)
        finally:
            with self._lock:
                self._again.pop(started.entry.token, None)

    def forget_stuck(self) -> list[Entry]:
        """Let go of what could not be stopped; nobody tries to stop it any more.

        :returns: what was on record about it
        :raises ClusterError: if the record cannot be written
        """
        stuck = [entry for entry in self.record.read() if entry.stuck]
        with self._lock:
            for entry in stuck:
                self._started.pop(entry.token, None)
        self.record.remove(*(entry.token for entry in stuck))
        return stuck

    def sweep(self) -> None:
        """End what those of ours that died by themselves have left running, and take them off the record.

        :raises ClusterError: if the record cannot be written
        """
        self.notice()
        try:
            self.stop([])
        except StopError as error:
            log.warning("%s", error)

    def lacking(self) -> list[str]:
        """Sentences on machines on which none of the engines was started that were to be."""
        return [sentence for started in self.started if started.job is not None for sentence in started.job.lacking]

    def remaining(self) -> list[psutil.Process]:
        """Every process on this machine that is left of what is ours, leaders and descendants."""
        return members(started.root for started in self.started)[0]

    # Start

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
        how = controller_command(self.profile_dir)
        options = [
            f"--profile-dir={self.profile_dir}",
            *pools.options(own, self.profile_dir / "ipcontroller_config.py"),
        ]
        if "HeartMonitor" not in own:
            options.append(f"--HeartMonitor.period={_HEARTBEAT_MS}")
            options.append(f"--HeartMonitor.max_heartmonitor_misses={_HEARTBEAT_MISSES}")
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
    ) -> list[Started]:
        """Start engines; they are not registered when this returns.

        They run on this machine, unless the profile's configuration has them started elsewhere: then
        there must be a controller already, and one job is returned for all of them.

        :param n: how many
        :param connection_file: what they connect by; they wait for it to appear
        :param registered: returns the uuids that the hub knows; needed for a job, whose engines may register
            while others are still being started
        :param wait: who wants to hear of it while a job is submitted
        :param cluster_id: which of the profile's clusters they are for, if there is no ``connection_file``
        :param hub: tells that cluster's controller from others
        :returns: the processes, or the job, which are ours and on record
        :raises StartError: if they cannot be started
        :raises ProfileError: if the profile's configuration has an error in it
        :raises Cancelled: if the caller of ``wait`` called it off
        :raises ClusterError: if they cannot go on record
        """
        how = engine_command(self.profile_dir)
        if how is None:
            # How many cores there are elsewhere, and how many engines share them, is not known here.
            variables = thread_limits(self.settings.threads_per_engine, 0, {})
            job = self._jobs.new(self._entry(JOB), cluster_id, hub, variables)
            if self.one_each and job.job is not None:
                n = job.job.one_each()
            with self._launching([job]):
                self._jobs.submit(job, n, registered(), wait or Wait(self.settings.start_timeout))
            return [job]
        path = connection_file or profile.engine_file(self.profile_dir, cluster_id)
        limit = self.settings.start_timeout
        uuids = [str(uuid.uuid4()) for _ in range(n)]
        options = [
            [
                f"--profile-dir={self.profile_dir}",
                f"--IPEngine.url_file={path}",
                f"--IPEngine.wait_for_url_file={limit:g}",
                f"--IPEngine.timeout={limit:g}",
                f"--Session.session={identity}",
            ]
            for identity in uuids
        ]
        here = n + sum(started.entry.kind == ENGINE for started in self.alive())
        variables = thread_limits(self.settings.threads_per_engine, here, {**os.environ, **how.environment})
        how = replace(how, environment={**how.environment, **variables})
        return self._launch(ENGINE, how, options, uuids)

    def _entry(self, kind: str, identity: str = "") -> Entry:
        token = uuid.uuid4().hex
        return Entry(
            token=token,
            kind=kind,
            host=socket.gethostname(),
            machine=this_machine(),
            uuid=identity,
            log_path="" if kind == JOB else str(self.logs.path(kind, token)),
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
    ) -> list[Started]:
        self.logs.prune({entry.log_path for entry in self.record.read()})
        batch = [Started(self._entry(kind, identity)) for identity in uuids]
        with self._launching(batch):
            for started, own in zip(batch, options, strict=True):
                started.popen = self._popen(started.entry, how, own, umask)
                reaper.add(started.popen)
                pid = started.popen.pid
                identity = Identity.of(pid) or Identity(pid, time.time())
                started.entry = replace(started.entry, pid=pid, create_time=identity.create_time)
            self.record.put(*(started.entry for started in batch))
        return batch

    @contextmanager
    def _launching(self, batch: Sequence[Started]) -> Iterator[None]:
        """While in this context, processes or jobs are started; if that fails, all of them are stopped."""
        # Known by their tokens from before they start, so that an interruption at any moment leaves none behind.
        self.record.put(*(started.entry for started in batch))
        with self._lock:
            self._started.update((started.entry.token, started) for started in batch)
        try:
            yield
        except BaseException:
            self.stop_after_failure(batch)
            raise

    def stop_after_failure(self, which: Sequence[Started]) -> None:
        """Stop what was just started, because something has failed, which is what is to be told.

        :param which: some of :attr:`started`
        """
        try:
            self.stop(which, quick=True)
        except ClusterError as error:
            log.warning("%s", error)

    def _popen(self, entry: Entry, how: Command, options: Sequence[str], umask: int) -> subprocess.Popen[bytes]:
        env = {**environment(entry.token), **in_environment(entry, self.profile_dir)}
        for name in _FOREIGN:
            env.pop(name, None)
        env.update(how.environment)
        try:
            output = os.open(entry.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, profile.PRIVATE_FILE)
        except OSError as error:
            raise StartError(
                tr("No log can be written to {path}: {reason}.", path=entry.log_path, reason=error.strerror)
            ) from error
        command = [*how.command, *options, *how.arguments]
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
            raise StartError(
                tr("{program} cannot be started: {reason}.", program=command[0], reason=error.strerror or error)
            ) from error
        finally:
            os.close(output)

    def wait_for_controller(self, controller: Started, wait: Wait) -> None:
        """Wait until a controller that was launched has written its connection files and listens.

        :param controller: what :meth:`launch_controller` returned
        :param wait: how long
        :raises StartError: if it ends instead, or is not ready by the deadline
        :raises Cancelled: if the caller called it off
        """
        while True:
            if not controller.running:
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
        wanted = sum(s.job.n if s.job is not None else 1 for s in engines)
        looks: list[futures.Future[None]] = []
        look_at = time.monotonic() + _LOOK_EVERY
        while True:
            known = set(registered())
            for engine in engines:
                if engine.job is not None:
                    others = {identity for s in self.started if s is not engine for identity in s.uuids}
                    engine.registered = engine.job.found(known - others)
                else:
                    engine.registered = engine.registered or engine.entry.uuid in known
            missing = [engine for engine in engines if not engine.registered]
            if not missing:
                self._jobs.save(engines)
                return {identity for engine in engines for identity in engine.uuids}
            ready = len(known & {identity for engine in engines for identity in engine.uuids})
            dead = [engine for engine in missing if not engine.running]
            if time.monotonic() > look_at and all(look.done() for look in looks):
                # A job that has failed at once is not waited for.
                queued = [engine.job for engine in missing if engine.job is not None and engine.job.queued]
                looks = [threads.start(job.look, "parallelflow-look") for job in queued]
                look_at = time.monotonic() + _LOOK_EVERY
            if wait.over or len(dead) == len(missing):
                self._jobs.save(missing)
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
            engines = [s.entry for s in self.started if s.entry.kind != CONTROLLER]
            ipcluster.write(self.profile_dir, controller.entry, engines)

    # Stop, let go, take over

    def stop(
        self,
        which: Iterable[Started] | None = None,
        *,
        quick: bool = False,
        limit: float | None = None,
        pause: Callable[[], None] | None = None,
        known: Callable[[], Collection[str]] | None = None,
    ) -> None:
        """Stop processes with everything that they started, politely, then for certain.

        What was started elsewhere and cannot be stopped stays on record as such, see :meth:`try_again` and
        :meth:`forget_stuck`.

        :param which: some of :attr:`started`; default: all
        :param quick: give them little time to end by themselves
        :param limit: seconds, if not what the settings say
        :param pause: called between two looks
        :param known: returns the uuids that the hub knows, if there is one
        :raises StopError: if something still lives when the time limit is over
        :raises ClusterError: if the record cannot be written
        """
        with self._lock:
            chosen = list(which) if which is not None else self.started
            again = [self._again[s.entry.token] for s in [*chosen, *self._unswept] if s.entry.token in self._again]
        if again:  # two must not do it at once
            futures.wait(again, self.settings.stop_timeout)
        with self._lock:
            chosen = [started for started in chosen if not started.entry.stuck or started.entry.token in self._started]
            dead = list(self._unswept)
        with self.stopping(chosen):
            try:
                if chosen or dead:
                    self._end([*chosen, *dead], limit or self.settings.stop_timeout, quick, pause, known)
                for started in chosen:
                    # A log is worth keeping only if something went wrong.
                    if started.registered and started.log_path is not None:
                        with suppress(OSError):
                            started.log_path.unlink()
                self._forget([*chosen, *dead])
            except StopError as error:
                left = {
                    token
                    for process in carriers([started.entry.token for started in chosen])
                    for token in tokens_of(process)
                } | set(error.stuck)
                self._forget([started for started in chosen if not started.running and started.entry.token not in left])
                self._mark(error.stuck, [*chosen, *dead])
                if not error.stuck:
                    raise
                sentences = [str(error), self._remedy()]
                raise StopError(" ".join(sentences), error.stuck) from error

    def _mark(self, stuck: Mapping[str, str], which: Sequence[Started]) -> None:
        """Note on record what could not be stopped."""
        with self._lock:
            marked = [started for started in which if started.entry.token in stuck]
            for started in marked:
                started.entry = replace(started.entry, stuck=stuck[started.entry.token])
            self._unswept = [started for started in self._unswept if started.entry.token not in stuck]
            self._started.update((started.entry.token, started) for started in marked)
        changed = {started.entry.token: started.entry for started in marked}
        with suppress(ClusterError):
            self.record.change(lambda old: [changed.get(entry.token, entry) for entry in old])

    def _remedy(self) -> str:
        return tr(
            "Everything else was stopped. This stays on record, prevents nothing, and is tried again at the next start or stop."
            " If it is gone for good, let go of it: python -m parallelflow forget --profile {name}",
            name=profile.name_of(self.profile_dir),
        )

    @contextmanager
    def stopping(self, which: Iterable[Started]) -> Iterator[None]:
        """While in this context, that some processes end is no surprise: they are being stopped.

        :param which: the processes
        """
        tokens = Counter(started.entry.token for started in which)
        with self._lock:
            self._stopping += tokens
        try:
            yield
        finally:
            with self._lock:
                self._stopping -= tokens

    def _end(
        self,
        chosen: Sequence[Started],
        limit: float,
        quick: bool,
        pause: Callable[[], None] | None,
        known: Callable[[], Collection[str]] | None = None,
    ) -> None:
        """End processes and jobs, all at the same time.

        :raises StopError: if something is left
        """
        begin = time.monotonic()
        cancelling = Cancelling(chosen, limit, known)
        roots = [started.root for started in chosen if started.job is None]
        hub_stays = not any(started.entry.kind == CONTROLLER for started in chosen)
        left = end(roots, limit / 3 if quick else limit, pause, hub_stays=hub_stays)
        if left and quick:
            left = end(roots, limit - (time.monotonic() - begin), pause, hub_stays=hub_stays)
        stuck = cancelling.problems(max(0.0, limit - (time.monotonic() - begin)))
        problems = list(stuck.values())
        # What a launcher does not end on this machine, we do.
        rest = max((1 - LAUNCHERS_SHARE) * limit, limit - (time.monotonic() - begin))
        left += end([started.root for started in chosen if started.job is not None], rest, pause, hub_stays=hub_stays)
        pids = {process.pid for process in left if lives(process)}  # some may have ended since
        for started in chosen:
            if started.popen is not None:
                try:
                    started.exit_status = started.popen.wait(0.0 if started.popen.pid in pids else 0.5)
                except subprocess.TimeoutExpired:
                    pids.add(started.popen.pid)
        if pids:
            problems.append(
                tr(
                    "These processes could not be stopped within {seconds} seconds: {pids}.",
                    seconds=round(limit),
                    pids=", ".join(map(str, sorted(pids))),
                )
            )
        if problems:
            raise StopError(" ".join(problems), stuck)

    def _forget(self, gone: Sequence[Started]) -> None:
        with self._lock:
            tokens = {started.entry.token for started in gone}
            self._unswept = [started for started in self._unswept if started.entry.token not in tokens]
            for token in tokens:
                self._started.pop(token, None)
        for started in gone:
            if started.entry.kind == CONTROLLER:
                self.remove_connection_files(started.entry.hub)
                ipcluster.remove(self.profile_dir, started.entry)
                with suppress(OSError):
                    (self.logs.folder / "engines.json").unlink()
        self.record.remove(*tokens)

    def remove_connection_files(self, mark: str) -> None:
        """Remove the connection files that a controller of ours left behind; never those of another one that listens.

        :param mark: the controller's mark, '' if it is not known
        """
        try:
            own = profile.config(self.profile_dir, "ipcontroller")
        except ProfileError as error:
            # It was spoilt meanwhile, and may say that they are to stay; the next start finds that nobody answers them.
            log.warning("The connection files stay: %s", error)
            return
        if own.get("IPController", {}).get("reuse_files"):
            return
        for path in (profile.client_file(self.profile_dir), profile.engine_file(self.profile_dir)):
            with suppress(OSError, ValueError, KeyError, TypeError):
                info = json.loads(path.read_text(encoding="utf-8"))
                url = f"{info['interface']}:{info['registration']}"
                if (mark and profile.fingerprint(info) == mark) or listening({"hub": url}, 0.5)["hub"] is False:
                    path.unlink()

    def let_go(self) -> None:
        """Forget all processes: they run on, and are on record for the next VisTrails.

        :raises ClusterError: if the record cannot be written
        """
        with self._lock:
            tokens = set(self._started)
            self._started.clear()
        self.record.change(lambda old: [replace(e, let_go=True) if e.token in tokens else e for e in old])

    def close(self, settings: Callable[[], Settings], stop: Callable[[Sequence[Started]], None] | None = None) -> None:
        """Stop what is to be stopped at the end or let it go, as the preference ``at_exit`` says.

        :param settings: returns the preferences; if they are not valid, those from before hold
        :param stop: stops some of :attr:`started`; default: :meth:`stop`
        :raises StopError: if something still lives when the time limit is over
        :raises ClusterError: if the record cannot be written
        """
        with suppress(SettingsError):  # stopping must not fail because of a preference
            self.settings = settings()
        if self.settings.at_exit == "leave":
            self.let_go()
        else:
            (stop or self.stop)([s for s in self.started if not s.entry.let_go and not s.entry.stuck])

    def know(self, entries: Iterable[Entry]) -> None:
        """Show processes that are on record as ours, and leave the record as it is.

        :param entries: those that live; a job that its launcher no longer knows is left out
        """
        for entry in entries:
            started = Started(entry, registered=True, only_shown=True)
            if entry.kind == JOB:
                try:
                    started.job = self._jobs.recall(entry)
                except ClusterError as error:
                    log.warning("%s", error)
                if started.job is None:
                    continue
            with self._lock:
                self._started.setdefault(entry.token, started)

    def adopt(self, entries: Iterable[Entry], let_go: bool) -> list[Started]:
        """Take over processes that are on record.

        :param entries: those that live, as they were on record when it was decided to take them over
        :param let_go: whether they are to run on when this VisTrails exits
        :returns: the processes, without those that another VisTrails has taken over meanwhile; a job that its launcher no
            longer knows is taken off the record instead, and one that it cannot look after stays there
        :raises ClusterError: if the record cannot be written
        """
        adopted = []
        for entry in self._claim({entry.token: entry for entry in entries}, let_go):
            with self._lock:
                known = self._started.get(entry.token)
            started = Started(entry, registered=True)
            if known is not None:
                started.popen, started.job = known.popen, known.job
            elif entry.kind == JOB:
                try:
                    started.job = self._jobs.recall(entry)
                except ClusterError as error:
                    log.warning("%s", error)
                    self.record.put(replace(entry, stuck=str(error)))  # it stays on record, and is tried again later
                    continue
                if started.job is None:
                    end([Root(entry.token, None)], self.settings.stop_timeout)
                    self.record.remove(entry.token)
                    continue
            adopted.append(started)
        with self._lock:
            self._started.update((started.entry.token, started) for started in adopted)
        return adopted

    def _claim(self, seen: dict[str, Entry], let_go: bool) -> list[Entry]:
        """Become the owner of what still has the owner that was seen, or that nobody is to stop."""
        if not seen:  # the profile may not even have a folder
            return []
        mine = {"owner_pid": self._owner.pid, "owner_create_time": self._owner.create_time, "let_go": let_go}
        claimed: dict[str, Entry] = {}

        def claim(entry: Entry) -> Entry:
            if entry.token not in seen or (entry.owner != seen[entry.token].owner and not entry.let_go):
                return entry
            claimed[entry.token] = replace(entry, **mine)  # type: ignore[arg-type]
            return claimed[entry.token]

        # A full disk must keep nobody from using or stopping what runs.
        self.record.change(lambda old: [claim(entry) for entry in old], needed=False)
        return list(claimed.values())
