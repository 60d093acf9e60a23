"""Stops what is ours, politely and then for certain, and deals with what has ended by itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent import futures
from contextlib import suppress
from functools import partial
from pathlib import Path

from parallelflow import threads
from parallelflow.texts import tr

from . import profile
from .errors import ClusterError, SettingsError, StopError
from .inventory import Inventory
from .jobs import LAUNCHERS_SHARE, not_stopped
from .launchers import Known
from .settings import Settings
from .started import Started
from .tree import carriers, end, lives, tokens_of

log = logging.getLogger(__name__)

_KEEP_DIED = 100


class Stopper(Inventory):
    """Notices and brings about the end of a profile's processes and batch jobs that are ours.

    :param profile_dir: the profile's folder
    :param settings: time limits and encryption
    """

    def __init__(self, profile_dir: Path, settings: Settings) -> None:
        super().__init__(profile_dir, settings)
        self._again: dict[str, futures.Future[None]] = {}  # attempts to end things in the background, by token
        self._giving_up: set[str] = set()  # tokens

    # Notice

    def alive(self) -> list[Started]:
        """What is ours and lives at this moment, and is not being stopped."""
        self.notice()
        with self._lock:
            return [started for token, started in self._started.items() if token not in self._stopping]

    @property
    def shown(self) -> list[Started]:
        """What is ours and is to be seen: :meth:`alive`, and what could not be stopped, also while that is tried again."""
        alive = self.alive()
        with self._lock:
            return [s for s in self._started.values() if s.entry.stuck or s in alive]

    def controller(self) -> Started | None:
        """The controller, if it is ours and lives."""
        return next((s for s in self.alive() if s.is_controller), None)

    def engines(self) -> dict[str, Started]:
        """The engines that are ours and live, by uuid; those of a job share one value."""
        return {identity: s for s in self.alive() for identity in s.uuids}

    def notice(self) -> None:
        """Find out which of ours have died since; :meth:`sweep` ends what they left running."""
        with self._lock:
            dead = [
                s
                for token, s in self._started.items()
                if token not in self._stopping and not s.entry.stuck and not s.alive
            ]
            for started in dead:
                del self._started[started.entry.token]
            self._died = (self._died + dead)[-_KEEP_DIED:]
            self._unswept += dead
            for started in dead:
                if started.note_death() and started.entry.token not in self._again:
                    self._again[started.entry.token] = threads.start(partial(self._bury, started), "parallelflow-job")
        self.logs.trim(self.started)
        for started in dead:
            log.warning("%s %s", started.describe(), started.ending)

    def observe(self, known: Collection[str], hub: str) -> None:
        """Find out by the hub what has ended by itself, see :meth:`.Started.is_left`. Never waits.

        It then counts as ended as soon as nothing can be left of it, which is seen to in the background.

        :param known: the uuids that the hub knows
        :param hub: tells that hub's controller from others
        """
        with self._lock:
            left = [
                started
                for token, started in self._started.items()
                if not started.only_shown
                and token not in self._stopping
                and token not in self._giving_up
                and started.is_left(known, hub)
            ]
            self._giving_up.update(started.entry.token for started in left)
        for started in left:
            threads.start(partial(self._give_up, started), "parallelflow-job")

    def _give_up(self, started: Started) -> None:
        try:
            started.give_up(self.settings.stop_timeout)
        except StopError as error:
            log.warning("%s", error)
        finally:
            with self._lock:
                self._giving_up.discard(started.entry.token)
        self.notice()

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
            # Nobody waits for it: a login may take as long as at a start. A batch system that refuses will do so for as long.
            limit = self.settings.stop_timeout
            limit = limit if started.queued else max(limit, self.settings.start_timeout)
            with self.stopping([started]):
                self._end([started], limit, quick=False, pause=None)
                self._forget([started])
            log.warning("Stopped at last: %s", started.entry.stuck)
        except ClusterError as error:
            log.info("Tried again in vain: %s", error)
        finally:
            with self._lock:
                self._again.pop(started.entry.token, None)

    def sweep(self) -> None:
        """End what those of ours that died by themselves have left running, and take them off the record.

        :raises ClusterError: if the record cannot be written
        """
        self.notice()
        try:
            self.stop([])
        except StopError as error:
            log.warning("%s", error)

    # Stop

    def stop(
        self,
        which: Iterable[Started] | None = None,
        *,
        quick: bool = False,
        limit: float | None = None,
        pause: Callable[[], None] | None = None,
        known: Known | None = None,
    ) -> None:
        """Stop processes with everything that they started, politely, then for certain.

        What was started elsewhere and cannot be stopped stays on record as such, see :meth:`try_again` and
        :meth:`forget_stuck`.

        :param which: some of :attr:`started`; default: all
        :param quick: give them little time to end by themselves
        :param limit: seconds, if not what the settings say
        :param pause: called between two looks
        :param known: tells what the hub knows, if there is one
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
                self._forget([started for started in chosen if not started.alive and started.entry.token not in left])
                self._mark(error.stuck, [*chosen, *dead])
                if not error.stuck:
                    raise
                sentences = [str(error), self._remedy()]
                raise StopError(" ".join(sentences), error.stuck) from error

    def _remedy(self) -> str:
        return tr(
            "Everything else was stopped. This stays on record, prevents nothing, and is tried again at the next start or stop."
            " If it is gone for good, let go of it: python -m parallelflow forget --profile {name}",
            name=profile.name_of(self.profile_dir),
        )

    def stop_after_failure(self, which: Sequence[Started]) -> None:
        """Stop what was just started, because something has failed, which is what is to be told.

        :param which: some of :attr:`started`
        """
        try:
            self.stop(which, quick=True)
        except ClusterError as error:
            log.warning("%s", error)

    def _end(
        self,
        chosen: Sequence[Started],
        limit: float,
        quick: bool,
        pause: Callable[[], None] | None,
        known: Known | None = None,
    ) -> None:
        """End processes and batch jobs, all at the same time.

        :raises StopError: if something is left
        """
        begin = time.monotonic()
        stopping = {
            started.entry.token: outcome for started in chosen if (outcome := started.stop(limit, known)) is not None
        }
        roots = [started.root for started in chosen if started.entry.token not in stopping]
        hub_stays = not any(started.is_controller for started in chosen)
        left = end(roots, limit / 3 if quick else limit, pause, hub_stays=hub_stays)
        if left and quick:
            left = end(roots, limit - (time.monotonic() - begin), pause, hub_stays=hub_stays)
        stuck = not_stopped(stopping, limit, max(0.0, limit - (time.monotonic() - begin)))
        problems = list(stuck.values())
        # What a launcher does not end on this machine, we do.
        rest = max((1 - LAUNCHERS_SHARE) * limit, limit - (time.monotonic() - begin))
        roots = [started.root for started in chosen if started.entry.token in stopping]
        left += end(roots, rest, pause, hub_stays=hub_stays)
        pids = {process.pid for process in left if lives(process)}  # some may have ended since
        for started in chosen:
            if not started.collect(0.0 if started.entry.pid in pids else 0.5):
                pids.add(started.entry.pid)
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
