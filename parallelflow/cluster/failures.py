"""What to say about engines that did not start: each kind of failure once, with the end of a log."""

from __future__ import annotations

import re
from collections.abc import Sequence

from parallelflow.texts import tr

from .errors import FailedLog, StartError
from .logs import Logs
from .started import Started

_MOST_LOGS = 3  # that an error shows the ends of
_MOST_PIDS = 10  # that a sentence names

# What differs between two logs that say the same: times, process ids, addresses, uuids.
_DIFFERENT = re.compile(r"\b(?:0x)?[0-9a-f]*[0-9][0-9a-f]*\b")


def failed(message: str, started: Started, logs: Logs) -> StartError:
    """An error about one process, with the end of its log.

    :param message: what happened, a sentence
    :param started: the process
    :param logs: where its log is
    """
    return StartError(message, FailedLog(logs.tail(started), started.log_path))


def not_started(
    dead: Sequence[Started], late: Sequence[Started], missing: int, wanted: int, timeout: float, logs: Logs
) -> StartError:
    """The error about engines that did not start, with the end of each one's log, and what many say said once.

    :param dead: those that ended, and jobs that did
    :param late: those that run and have not registered in time
    :param missing: how many engines that is
    :param wanted: of how many
    :param timeout: seconds that they had
    :param logs: where their logs are
    """
    alike: dict[tuple[str, str], list[Started]] = {}
    tails: dict[str, str] = {}
    for engine in (*dead, *late):
        tail = logs.tail(engine)
        tails[engine.entry.token] = tail
        how = engine.job.name if engine.job is not None else engine.ending if engine in dead else ""
        alike.setdefault((how, _DIFFERENT.sub("#", tail)), []).append(engine)
    told = [
        FailedLog(
            tails[group[0].entry.token],
            group[0].log_path,
            _what_happened(group, timeout, ended=group[0] in dead),
            same=len(group) - 1,
        )
        for group in list(alike.values())[:_MOST_LOGS]
    ]
    others = sum(len(group) for group in list(alike.values())[_MOST_LOGS:])
    if others:
        about = (
            tr("The log of one more engine is in {folder}.", folder=logs.folder)
            if others == 1
            else tr("The logs of {others} more engines are in {folder}.", others=others, folder=logs.folder)
        )
        told.append(FailedLog(about=about))
    if wanted == 1:
        return StartError(tr("The engine did not start."), *told)
    return StartError(
        tr("{missing} of {wanted} engines did not start.", missing=missing, wanted=wanted),
        *told,
    )


def _what_happened(group: Sequence[Started], timeout: float, ended: bool) -> str:
    """A sentence on engines that did not start, which all failed in the same way.

    :param group: the engines, or one job
    :param timeout: seconds that they had
    :param ended: whether they ended by themselves
    """
    first, seconds = group[0], round(timeout)
    said = first.job.look() if first.job is not None else ""
    if first.job is not None and ended and said:
        return tr("{launcher} ended; the batch system says: {said}.", launcher=first.job.name, said=said)
    if first.job is not None and ended:
        return tr("{launcher} ended.", launcher=first.job.name)
    if first.job is not None and said:
        return tr(
            "{launcher} had not registered after {seconds} seconds. The batch system says of the job, which is cancelled now:"
            " {said}. If it only has to wait for longer, give it more time with the preference start_timeout.",
            launcher=first.job.name,
            seconds=seconds,
            said=said,
        )
    if first.job is not None and first.job.queued:
        return tr(
            "{launcher} had not registered after {seconds} seconds. If the job was still waiting in its queue, give it more"
            " time with the preference start_timeout.",
            launcher=first.job.name,
            seconds=seconds,
        )
    if first.job is not None:
        return tr("{launcher} had not registered after {seconds} seconds.", launcher=first.job.name, seconds=seconds)
    pids = ", ".join([str(engine.entry.pid) for engine in group[:_MOST_PIDS]] + ["..."] * (len(group) > _MOST_PIDS))
    if not ended and len(group) == 1:
        return tr("Process {pid} had not registered after {seconds} seconds.", pid=pids, seconds=seconds)
    if not ended:
        return tr("Processes {pids} had not registered after {seconds} seconds.", pids=pids, seconds=seconds)
    if len(group) == 1:
        return first.by_status(
            tr("Process {pid} ended.", pid=pids),
            tr("Process {pid} was killed by signal {number}.", pid=pids, number=first.number),
            tr("Process {pid} ended with exit status {number}.", pid=pids, number=first.number),
        )
    return first.by_status(
        tr("Processes {pids} ended.", pids=pids),
        tr("Processes {pids} were killed by signal {number}.", pids=pids, number=first.number),
        tr("Processes {pids} ended with exit status {number}.", pids=pids, number=first.number),
    )
