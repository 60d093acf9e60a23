"""Jobs, engines that a launcher of the profile starts elsewhere: submitted, kept on record, given up, cancelled.

One job, as its launcher has it, is a :class:`.launchers.Job`. Which jobs are ours, and what is done with jobs and processes
alike, is up to `processes`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent import futures
from dataclasses import replace
from functools import partial
from pathlib import Path

from ipyparallel.cluster.launcher import NotRunning

from parallelflow.texts import tr

from . import threads
from .errors import ClusterError, StopError
from .launchers import Job
from .record import Entry, Record
from .started import Started
from .waiting import Wait

log = logging.getLogger(__name__)

LAUNCHERS_SHARE = 0.8
"""Of the time limit for stopping: what the launchers of jobs may take."""


class Jobs:
    """The jobs of a profile, from their submission to their end.

    :param profile_dir: the profile's folder
    :param record: the profile's record
    """

    def __init__(self, profile_dir: Path, record: Record) -> None:
        self._profile_dir = profile_dir
        self._record = record
        self._giving_up: set[str] = set()  # tokens
        self._lock = threading.RLock()

    def new(self, entry: Entry, cluster_id: str, hub: str, variables: Mapping[str, str]) -> Started:
        """A job that is not submitted yet.

        :param entry: what there is to say of it without its launcher
        :param cluster_id: which of the profile's clusters its engines are for
        :param hub: tells that cluster's controller from others
        :param variables: more environment variables for its engines
        :returns: the job, with what is to be on record about it before it is submitted
        :raises ProfileError: if the profile's configuration has an error in it
        """
        job = Job(self._profile_dir, entry.token, cluster_id=cluster_id, hub=hub, variables=variables)
        return Started(replace(entry, job=job.save()), job=job)

    def submit(self, started: Started, n: int, known: Collection[str], wait: Wait) -> None:
        """Submit a job; its engines are not registered when this returns.

        It is saved as it grows, so that whoever comes after a crash can end what has been started by then.

        :param started: what :meth:`new` returned; it is on record
        :param n: how many engines
        :param known: the uuids that the hub knows already
        :param wait: who wants to hear of it; what is left of it is how long the launcher may take
        :raises StartError: if the launcher fails
        :raises Cancelled: if the caller of ``wait`` called it off
        :raises ClusterError: if it cannot be saved
        """
        job = started.job
        assert job is not None
        job.strangers = set(known)
        limit = max(wait.left, 0.1)
        wait.call(
            lambda: job.start(n, limit, lambda: self.save([started])),
            tr("Starting engines with {launcher}", launcher=job.name),
            0.3,
        )
        self.save([started])

    def save(self, which: Iterable[Started]) -> None:
        """Bring on record what has become of jobs.

        :param which: the jobs; what else is among them stays as it is
        :raises ClusterError: if the record cannot be written
        """
        changed: dict[str, Entry] = {}
        for started in which:
            if started.job is not None:
                entry = replace(started.entry, job=started.job.save(), log_path=started.job.log_path)
                if entry != started.entry:
                    started.entry = changed[entry.token] = entry
        if changed:
            # Some may have been stopped meanwhile, and be off the record.
            self._record.change(lambda old: [changed.get(entry.token, entry) for entry in old])

    def recall(self, entry: Entry) -> Job | None:
        """A job that is on record.

        :param entry: what is on record about it
        :returns: None if its launcher says that it does not run any more
        :raises ClusterError: if nobody can say whether it runs: the profile's configuration has an error in it, for instance
        """
        try:
            return Job(self._profile_dir, entry.token, entry.job or {})
        except NotRunning as error:
            log.info("A job that is on record is over: %s", error)
            return None
        except Exception as error:  # whatever the launcher's class does
            path = self._profile_dir / "ipcluster_config.py"
            raise ClusterError(
                tr(
                    "A job that is on record cannot be looked after, and may still run: {reason}. Correct {path}; it is tried"
                    " again by the next VisTrails.",
                    reason=str(error).rstrip(".") or type(error).__name__,
                    path=path,
                )
            ) from error

    def give_up(
        self,
        which: Iterable[Started],
        known: Collection[str],
        hub: str,
        limit: float,
        given_up: Callable[[], object],
    ) -> None:
        """Find out which jobs have ended by themselves, and end what may be left of them. Never waits.

        See :meth:`.launchers.Job.is_left`.

        :param which: the jobs to look at; what else is among them is not looked at
        :param known: the uuids that the hub knows
        :param hub: tells that hub's controller from others
        :param limit: seconds that stopping may take
        :param given_up: called, in a thread of its own, when nothing can be left of a job, or it could not be ended
        """

        def run(started: Started, job: Job) -> None:
            try:
                job.give_up(LAUNCHERS_SHARE * limit)
            except StopError as error:
                log.warning("%s", error)
            finally:
                with self._lock:
                    self._giving_up.discard(started.entry.token)
            given_up()

        with self._lock:
            left = [
                (started, started.job)
                for started in which
                if started.job is not None
                and started.entry.token not in self._giving_up
                and started.job.is_left(known, hub)
            ]
            self._giving_up.update(started.entry.token for started, _ in left)
        for started, job in left:
            threads.start(partial(run, started, job), "parallelflow-job")


class Cancelling:
    """Jobs that are being cancelled, all at the same time.

    :param which: the jobs; what else is among them goes on
    :param limit: seconds that stopping may take
    :param known: returns the uuids that the hub knows, if there is one
    """

    def __init__(
        self, which: Iterable[Started], limit: float, known: Callable[[], Collection[str]] | None = None
    ) -> None:
        self._limit = limit
        self._outcomes = {
            started.entry.token: threads.start(
                partial(started.job.stop, LAUNCHERS_SHARE * limit, known), "parallelflow-cancel"
            )
            for started in which
            if started.job is not None
        }

    def problems(self, timeout: float) -> dict[str, str]:
        """Wait until they are cancelled.

        :param timeout: seconds
        :returns: sentences about those that could not be cancelled, by their tokens
        """
        # Each has a time limit of its own; when Python ends, one may not even get a thread to begin in.
        futures.wait(self._outcomes.values(), timeout)
        problems = {}
        for token, outcome in self._outcomes.items():
            if not outcome.done():
                problems[token] = tr(
                    "A job could not be cancelled within {seconds} seconds; look for it in the batch system.",
                    seconds=round(self._limit),
                )
            elif isinstance(error := outcome.exception(), StopError):
                problems[token] = str(error)
        return problems
