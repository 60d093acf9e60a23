"""Batch jobs: engines that a launcher of the profile starts elsewhere, as a kind of started thing.

What its launcher has of one is a :class:`.launchers.Job`. Which ones are ours is up to `inventory`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent import futures
from dataclasses import replace
from functools import partial
from pathlib import Path

from ipyparallel.cluster.launcher import NotRunning

from parallelflow import threads
from parallelflow.texts import tr

from .errors import ClusterError, ProfileError, StopError
from .launchers import Job, Known
from .record import Entry
from .started import Started
from .waiting import Wait

log = logging.getLogger(__name__)

LAUNCHERS_SHARE = 0.8
"""Of the time limit for stopping: what the launchers of batch jobs may take."""


class BatchJob(Started):
    """Engines that a launcher of the profile starts elsewhere: all of them are one thing.

    :param entry: what is on record about it
    :param job: what its launcher has of it
    :param registered: whether all of its engines have registered
    """

    job: Job
    through_hub = True

    def __init__(self, entry: Entry, job: Job, *, registered: bool = False) -> None:
        super().__init__(entry, registered=registered)
        self.job = job

    @classmethod
    def new(cls, entry: Entry, profile_dir: Path, cluster_id: str, hub: str, variables: Mapping[str, str]) -> BatchJob:
        """A batch job that is not submitted yet.

        :param entry: what there is to say of it without its launcher
        :param profile_dir: the profile's folder
        :param cluster_id: which of the profile's clusters its engines are for
        :param hub: tells that cluster's controller from others
        :param variables: more environment variables for its engines
        :returns: the batch job, with what is to be on record about it before it is submitted
        :raises ProfileError: if the profile's configuration has an error in it
        """
        job = Job(profile_dir, entry.token, cluster_id=cluster_id, hub=hub, variables=variables)
        return cls(replace(entry, job=job.save()), job)

    @classmethod
    def take_back(cls, entry: Entry, profile_dir: Path) -> BatchJob | None:
        """What is on record, as ours; None if its launcher says that it does not run any more."""
        try:
            return cls(entry, Job(profile_dir, entry.token, entry.job or {}), registered=True)
        except NotRunning as error:
            log.info("A job that is on record is over: %s", error)
            return None
        except Exception as error:  # whatever the launcher's class does
            told = tr(
                "A job that is on record cannot be looked after, and may still run: {reason}. It is tried again at the next start"
                " or stop.",
                reason=str(error).rstrip(".") or type(error).__name__,
            )
            if not isinstance(error, ProfileError):  # which says so itself
                told = tr("{what} Correct {path}.", what=told, path=profile_dir / "ipcluster_config.py")
            raise ClusterError(told) from error

    def submit(self, n: int | None, known: Collection[str], wait: Wait, save: Callable[[], object]) -> None:
        """Submit it, once it is on record; its engines are not registered when this returns.

        It is saved as it grows, so that whoever comes after a crash can end what has been started by then.

        :param n: how many engines; None for one on each machine of the profile
        :param known: the uuids that the hub knows already
        :param wait: who wants to hear of it; what is left of it is how long the launcher may take
        :param save: brings on record what has become of it
        :raises StartError: if the launcher fails
        :raises Cancelled: if the caller of ``wait`` called it off
        :raises ClusterError: if it cannot be saved
        """
        job = self.job
        job.strangers = set(known)
        count = n if n is not None else job.one_each()
        limit = max(wait.left, 0.1)
        wait.call(
            lambda: job.start(count, limit, save),
            tr("Starting engines with {launcher}", launcher=job.name),
            0.3,
        )
        save()

    @property
    def n(self) -> int:
        """How many engines it is to be."""
        return self.job.n

    @property
    def lacking(self) -> Sequence[str]:
        """Sentences on machines on which no engine was started, though on others some were."""
        return self.job.lacking

    @property
    def queued(self) -> bool:
        """Whether it is in a batch system's queue, where it may have to wait."""
        return self.job.queued

    @property
    def alive(self) -> bool:
        """Whether it is not known to be over."""
        return not self.job.ended

    @property
    def uuids(self) -> set[str]:
        """The hub's names for its engines, as far as they have registered."""
        return self.job.uuids

    def find(self, known: Collection[str], ours: Iterable[Started]) -> None:
        """Note which engines have registered: those that the hub did not know before, and that nothing else of ours is."""
        others = {uuid for started in ours if started is not self for uuid in started.uuids}
        self.registered = self.job.found(set(known) - others)

    def look(self) -> str:
        """Ask the batch system about it, and note if it is over."""
        return self.job.look()

    def is_over(self, limit: float) -> bool:
        """See :meth:`.launchers.Job.is_over`."""
        return self.job.is_over(limit)

    def is_left(self, known: Collection[str], hub: str) -> bool:
        """See :meth:`.launchers.Job.is_left`."""
        return self.job.is_left(known, hub)

    def was_taken(self) -> bool:
        """Whether the batch system ended it."""
        return self.job.was_taken()

    def stop(self, limit: float, known: Known | None = None) -> futures.Future[None]:
        """Begin to have its launcher end it, in a thread of its own."""
        return threads.start(partial(self.job.stop, LAUNCHERS_SHARE * limit, known), "parallelflow-cancel")

    def give_up(self, limit: float) -> None:
        """End what may be left of it when its engines have left; see :meth:`.launchers.Job.give_up`."""
        self.job.give_up(LAUNCHERS_SHARE * limit)

    def note_death(self) -> bool:
        """Note that it has ended without being told to; at once, for its number may become another's."""
        self.job.died = True
        return True

    def describe(self) -> str:
        """What starts its engines, with its number in the queue."""
        return self.job.name

    def fails_like(self, ended: bool) -> str:
        """Itself alone."""
        return self.job.name

    def not_ready(self, group: Sequence[Started], timeout: float, ended: bool) -> str:
        """A sentence with what the batch system says."""
        launcher, seconds, said = self.job.name, round(timeout), self.look()
        if ended and said:
            return tr("{launcher} ended; the batch system says: {said}.", launcher=launcher, said=said)
        if ended:
            return tr("{launcher} ended.", launcher=launcher)
        if said:
            return tr(
                "{launcher} had not registered after {seconds} seconds. The batch system says of the job, which is cancelled now:"
                " {said}. If it only has to wait for longer, give it more time with the preference start_timeout.",
                launcher=launcher,
                seconds=seconds,
                said=said,
            )
        if self.queued:
            return tr(
                "{launcher} had not registered after {seconds} seconds. If the job was still waiting in its queue, give it more"
                " time with the preference start_timeout.",
                launcher=launcher,
                seconds=seconds,
            )
        return tr("{launcher} had not registered after {seconds} seconds.", launcher=launcher, seconds=seconds)

    def output(self) -> str:
        """The engines' output, as far as it is at hand."""
        return self.job.output()

    def on_record(self) -> Entry:
        """What its launcher has to know of it by now."""
        return replace(self.entry, job=self.job.save(), log_path=self.job.log_path)


def not_stopped(stopping: Mapping[str, futures.Future[None]], limit: float, timeout: float) -> dict[str, str]:
    """Wait until launchers have ended what they were told to, see :meth:`.started.Started.stop`.

    :param stopping: what tells when they have, by tokens
    :param limit: seconds that stopping may take in all
    :param timeout: seconds that are left of these
    :returns: sentences about what could not be ended, by tokens
    """
    # Each has a time limit of its own; when Python ends, one may not even get a thread to begin in.
    futures.wait(stopping.values(), timeout)
    problems = {}
    for token, outcome in stopping.items():
        if not outcome.done():
            problems[token] = tr(
                "A job could not be cancelled within {seconds} seconds; look for it in the batch system.",
                seconds=round(limit),
            )
        elif isinstance(error := outcome.exception(), StopError):
            problems[token] = str(error)
    return problems
