"""What a profile's own configuration says about how its processes are started.

``ipcluster_config.py`` can give engines other arguments, or have them started elsewhere by one of
ipyparallel's launchers (ssh, slurm, pbs, mpi, ...), to which :mod:`.elsewhere` adds a little.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ipyparallel.cluster.cluster import Cluster
from ipyparallel.cluster.launcher import (
    EngineLauncher,
    LocalControllerLauncher,
    LocalEngineSetLauncher,
    ipcontroller_cmd_argv,
)
from traitlets import import_item

from parallelflow import threads
from parallelflow.texts import tr

from . import options, profile, queue_state
from .commands import in_thread, with_what_it_said
from .elsewhere import adapted
from .errors import FailedLog, ProfileError, StartError, StopError
from .tree import TOKENS

log = logging.getLogger(__name__)
_LOOK_EVERY = 0.1  # seconds
_REGISTERS_SHARE = 0.3  # of the time for a start: what an engine elsewhere may wait until the controller lets it in

Known = Callable[[str], Collection[str] | None]
"""Tells the uuids that a hub knows, from what tells its controller from others; None if it cannot be asked."""

# Threads that it takes when Python ends: one waits for the launcher to stop its engines, one does what blocks meanwhile.
_AT_THE_END = 2

# Launchers copy their processes' output to this process's stderr if their logger's level is DEBUG.
_launcher_log = logging.getLogger(f"{__name__}.ipyparallel")
_launcher_log.setLevel(logging.INFO)


@dataclass(frozen=True)
class Command:
    """How to start a process on this machine.

    :param command: the program and what it needs to be started
    :param arguments: further arguments
    :param environment: further environment variables
    """

    command: list[str]
    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


def _cluster(folder: Path, cluster_id: str = "") -> Any:
    """ipyparallel's own idea of the profile's cluster; it starts nothing and writes nothing."""
    try:
        return Cluster(
            profile_dir=str(folder),
            cluster_id=cluster_id,
            cluster_file="",
            shutdown_atexit=False,
            load_profile=False,
            config=profile.config(folder, "ipcluster"),
            log=_launcher_log,
        )
    except ProfileError:
        raise
    except Exception as error:
        raise ProfileError(
            tr(
                "The configuration of the IPython profile '{name}' cannot be used: {reason}. Correct {path}.",
                name=profile.name_of(folder),
                reason=error,
                path=folder / "ipcluster_config.py",
            )
        ) from error


def _launcher(cluster: Any, kind: Any, **traits: str) -> Any:
    return kind(
        work_dir=str(profile.log_dir(Path(cluster.profile_dir))),
        parent=cluster,
        log=_launcher_log,
        profile_dir=cluster.profile_dir,
        cluster_id=cluster.cluster_id,
        **traits,
    )


def controller_command(folder: Path) -> Command:
    """How the profile's controller is started on this machine.

    :param folder: the profile's folder
    :raises ProfileError: if the profile's configuration has an error in it, or wants the controller started elsewhere:
        engines that are configured for that would look for it there
    """
    if not profile.config(folder, "ipcluster"):
        return Command(list(ipcontroller_cmd_argv))
    cluster = _cluster(folder)
    kind = cluster.controller_launcher_class
    if kind is not LocalControllerLauncher:
        raise ProfileError(
            tr(
                "The IPython profile '{name}' has its controller started by {launcher}, which VisTrails does not do. Start"
                " the cluster in a terminal with: ipcluster start --profile={name}; VisTrails then uses it. Or remove"
                " controller_launcher_class from {path}, and the controller runs here.",
                name=profile.name_of(folder),
                launcher=kind.__name__,
                path=folder / "ipcluster_config.py",
            )
        )
    launcher = _launcher(cluster, kind)
    arguments = [*launcher.controller_args, *cluster.controller_args]
    if cluster.controller_ip:
        arguments.append(f"--ip={cluster.controller_ip}")
    if cluster.controller_location:
        arguments.append(f"--location={cluster.controller_location}")
    return Command(list(launcher.controller_cmd), arguments, dict(launcher.environment))


def with_relay(how: Command) -> Command:
    """How to start a controller with our relay, if it is not started in a way of the user's own.

    :param how: how the profile's controller is started
    """
    if how.command != ipcontroller_cmd_argv:
        return how
    return replace(how, command=[sys.executable, "-m", "parallelflow.cluster.ipyparallel_controller"])


def engine_command(folder: Path) -> Command | None:
    """How the profile's engines are started on this machine.

    :param folder: the profile's folder
    :returns: None if the profile wants them started by another launcher, see :class:`Job`
    :raises ProfileError: if the profile's configuration has an error in it
    """
    if not profile.config(folder, "ipcluster"):
        return Command([sys.executable, "-m", "ipyparallel.engine"])
    cluster = _cluster(folder)
    if cluster.engine_launcher_class is not LocalEngineSetLauncher:
        return None
    launcher = _launcher(cluster, LocalEngineSetLauncher)
    return Command(list(launcher.engine_cmd), list(launcher.engine_args), dict(launcher.environment))


class _Loop:
    """The event loop that a launcher lives in, in a thread that is made when it is first needed."""

    def __init__(self) -> None:
        # Reentrant, because a signal's handler may want to stop what the code below it just starts.
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def call(self, function: Callable[[], Any], timeout: float, meanwhile: Callable[[], object] = lambda: None) -> Any:
        """Call a function in the loop's thread, await what it returns if need be, and return the result.

        :param timeout: seconds
        :param meanwhile: called in this thread now and then while it takes
        :raises TimeoutError: if it takes longer
        """
        end = time.monotonic() + timeout
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
                threads.start(self._loop.run_forever, "parallelflow-launchers")
                threads.reserve(_AT_THE_END)

        async def run() -> Any:
            result = function()
            return await result if inspect.isawaitable(result) else result

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        while not concurrent.futures.wait([future], min(_LOOK_EVERY, max(0.0, end - time.monotonic()))).done:
            if time.monotonic() > end:
                future.cancel()
                raise TimeoutError
            meanwhile()
        return future.result()

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            if self._loop is not None and self._pid == os.getpid():
                self._loop.call_soon_threadsafe(_call_off, self._loop)
                threads.dismiss(_AT_THE_END)
            self._loop = None


def _call_off(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.call_soon(loop.stop)


class Job:
    """Engines that one of ipyparallel's launchers starts elsewhere.

    :param folder: the profile's folder
    :param token: what the engines carry in their environment, if the launcher hands it on
    :param saved: what :meth:`save` returned, to know a job again
    :param cluster_id: which of the profile's clusters the engines are for
    :param hub: tells the controller that they register with from others
    :param variables: more environment variables for the engines, if the launcher hands them on
    :raises ProfileError: if the profile's configuration has an error in it
    :raises Exception: if the launcher does not know a saved job any more, or cannot be made
    """

    def __init__(
        self,
        folder: Path,
        token: str,
        saved: dict[str, Any] | None = None,
        *,
        cluster_id: str = "",
        hub: str = "",
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._folder = folder
        self._loop = _Loop()
        cluster = _cluster(folder, cluster_id)
        self.n = 0
        self.uuids: set[str] = set()
        self.strangers: set[str] = set()
        """The engines that the hub knew before these were started."""
        self._hub = hub
        self._seen = False  # whether the hub knew one of its engines while we looked
        self._refused = False
        # Whoever has ended it closes the loop, in which another one's call would never come to its end. Reentrant, as the loop's.
        self._ending = threading.RLock()
        self._is_stopped = False
        self.died = False
        """Whether it has ended without being told to."""
        if saved is None:
            self._kind = cluster.engine_launcher_class
            kind = adapted(self._kind, token)
            self._launcher = self._loop.call(lambda: _launcher(cluster, kind, engine_set_id=token[:12]), 10)
            inherited = os.environ.get(TOKENS, "")
            self._launcher.environment = {
                **self._launcher.environment,
                **variables,
                TOKENS: f"{inherited}/{token}" if inherited else token,
            }
            return
        self._kind = import_item(saved["launcher"])
        self.n = int(saved["n"])
        self.uuids = set(saved["uuids"])
        self._hub = str(saved.get("hub", ""))
        kind = adapted(self._kind, token)
        self._launcher = self._loop.call(
            lambda: kind.from_dict(
                saved["state"], parent=cluster, log=_launcher_log, work_dir=str(profile.log_dir(folder))
            ),
            10,
        )

    @property
    def name(self) -> str:
        """What starts the engines, for messages."""
        number = getattr(self._launcher, "job_id", "")
        name = str(self._kind.__name__)
        return tr("{launcher} (job {number})", launcher=name, number=number) if number else name

    @property
    def queued(self) -> bool:
        """Whether it is in a batch system's queue, where it may have to wait."""
        return bool(getattr(self._launcher, "job_id", ""))

    @property
    def log_path(self) -> str:
        """The file with the engines' output, if there is one that this machine can read."""
        return str(self._launcher.output_file) if self.queued else ""

    def start(self, n: int, timeout: float, meanwhile: Callable[[], object]) -> None:
        """Submit the job, or start the processes; the engines are not registered when this returns.

        :param n: how many engines; some launchers know better, see :attr:`n`
        :param timeout: seconds
        :param meanwhile: called in this thread now and then while it takes
        :raises StartError: if the launcher fails
        """
        launcher = self._launcher
        launcher.start_limit = 0.95 * timeout  # its own words, which name a machine, come before ours
        if isinstance(launcher, EngineLauncher):
            # Shorter than a start may take, so that its own words come before ours.
            own = options.patience(self._folder, _REGISTERS_SHARE * timeout)
            launcher.engine_args = options.before(launcher.engine_args, own)
        try:
            self._loop.call(lambda: launcher.start(getattr(launcher, "engine_count", n)), timeout, meanwhile)
        except TimeoutError:
            raise StartError(
                tr(
                    "{launcher}, which the profile's configuration names to start engines, did not return within"
                    " {seconds} seconds.",
                    launcher=self.name,
                    seconds=round(timeout),
                )
            ) from None
        except Exception as error:
            raise StartError(
                tr(
                    "{launcher}, which the profile's configuration names to start engines, failed: {reason}. Correct"
                    " {path}, or start the engines by hand.",
                    launcher=self.name,
                    reason=error,
                    path=self._folder / "ipcluster_config.py",
                ),
                FailedLog(getattr(error, "said", "")),
            ) from error
        self.n = int(launcher.n)

    def one_each(self) -> int:
        """Have it start one engine on each machine that its launcher names.

        :returns: how many engines that are; 1 if its launcher names none
        """
        machines = getattr(self._launcher, "engines", None)
        if not isinstance(machines, dict) or not machines:
            return 1
        self._launcher.engines = {
            place: {**count, "n": 1} if isinstance(count, dict) else 1 for place, count in machines.items()
        }
        return len(machines)

    @property
    def lacking(self) -> list[str]:
        """Sentences on machines on which no engine was started, though on others some were."""
        return list(getattr(self._launcher, "lacking", ()))

    @property
    def ended(self) -> bool:
        """Whether the job is known to be over; see :meth:`is_left` for how that of a batch system becomes known."""
        return bool(self._launcher.state == "after")

    def was_taken(self) -> bool:
        """Whether the batch system ended it, of which an engine has just gone; waits for seconds at most until that is known."""
        return queue_state.was_taken(self._launcher)

    def look(self) -> str:
        """Ask the batch system about it, whose engines have not registered yet, and note if it is over.

        :returns: what it says, in its own words; '' if it says nothing
        """
        state = queue_state.ask(self._launcher)
        if state is not None and state.over:
            self._launcher.state = "after"
        return state.text if state is not None else ""

    def is_over(self, limit: float) -> bool:
        """Whether it is over, as whoever runs it says when he is asked now.

        :param limit: seconds that he may take
        """
        asked = getattr(self._launcher, "is_over", None)
        return self.ended or (asked is not None and bool(asked(limit)))

    def is_left(self, known: Collection[str], hub: str) -> bool:
        """Whether all of its engines had registered, and the hub knows none of them any more.

        This is how it shows that a batch job has ended by itself: ipyparallel's launchers for batch systems cannot tell (their
        ``poll`` always says that it runs), and a batch system's own command would be a process at each look. Nothing is
        said of a job of which an engine has not registered, which may be waiting in its queue, and of one that was to
        be stopped and could not be.

        :param known: the uuids that the hub knows
        :param hub: tells that hub's controller from others
        """
        if not self._hub or hub != self._hub or self._refused or not 0 < self.n <= len(self.uuids):
            return False
        left = self.uuids.isdisjoint(known)
        self._seen = self._seen or not left
        return left

    def found(self, known: Collection[str]) -> bool:
        """Note which engines of it have registered.

        :param known: the uuids that the hub knows, without those of other engines of ours
        :returns: whether all have
        """
        self.uuids = set(known) - self.strangers
        self._seen = self._seen or bool(self.uuids)
        return len(self.uuids) >= self.n

    def give_up(self, timeout: float) -> None:
        """End what may be left of a job that its engines have left.

        One that has just ended is cancelled all the same: an engine of which the hub has heard nothing for long may
        still run. One that had ended before we looked for the first time is not: its number may be another job's by now.

        :param timeout: seconds
        :raises StopError: as for :meth:`stop`
        """
        if self.queued and not self._seen:
            self._launcher.state = "after"
        self.stop(timeout, lambda hub: ())  # it knows none of them

    def _have_left(self, known: Known) -> bool:
        there = known(self._hub)  # another hub has never known them
        return there is not None and 0 < self.n <= len(self.uuids) and self.uuids.isdisjoint(there)

    def output(self) -> str:
        """The engines' output, as far as it is at hand."""
        with suppress(Exception):
            return str(self._loop.call(lambda: in_thread(self._launcher.get_output, False), 5))
        return ""

    def save(self) -> dict[str, Any]:
        """What it takes to know the job again, as JSON has it."""
        return {
            "launcher": f"{self._kind.__module__}.{self._kind.__qualname__}",
            "state": self._launcher.to_dict(),
            "n": self.n,
            "uuids": sorted(self.uuids),
            "hub": self._hub,
        }

    def stop(self, timeout: float, known: Known | None = None) -> None:
        """Have the launcher end the job, if that has not been done yet. Two threads that want it do it once.

        :param timeout: seconds
        :param known: tells what the job's hub knows: a job that all engines have left is over, whatever the batch system says
            of it
        :raises StopError: if it fails or takes longer, or engines are left
        """
        end = time.monotonic() + timeout
        if not self._ending.acquire(timeout=timeout):
            raise self._not_within(timeout)
        try:
            if not self._is_stopped:
                self._stop(max(_LOOK_EVERY, end - time.monotonic()), known)
                self._is_stopped = True
        finally:
            self._ending.release()

    def _stop(self, timeout: float, known: Known | None) -> None:
        launcher = self._launcher
        launcher.stop_limit = 0.95 * timeout
        launcher.keep_logs = self.died
        launcher.engines_left = partial(self._have_left, known) if known is not None else None
        try:
            # What elements have started may be left on machines that all engines have left.
            if not (self.queued and self.ended):
                self._refused = True  # until it has worked
                self._loop.call(launcher.stop, timeout)
                self._refused = False
        except StopError:
            raise
        except TimeoutError:
            raise self._not_within(timeout) from None
        except Exception as error:
            raise StopError(
                tr(
                    "{launcher} could not stop its engines: {reason}.",
                    launcher=self.name,
                    reason=with_what_it_said(error).rstrip("."),
                )
            ) from error
        self._loop.close()
        for path in (getattr(self._launcher, name, None) for name in ("batch_file", "own_file")):
            if path:
                with suppress(OSError):
                    Path(path).unlink()

    def _not_within(self, timeout: float) -> StopError:
        return StopError(
            tr(
                "{launcher} did not stop its engines within {seconds} seconds.",
                launcher=self.name,
                seconds=round(timeout),
            )
        )
