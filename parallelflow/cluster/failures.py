"""What to say about engines that did not start: each kind of failure once, with the end of a log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from parallelflow.texts import tr

from .errors import FailedLog, StartError
from .logs import Logs
from .started import Started

_MOST_LOGS = 3  # that an error shows the ends of

# What differs between two logs that say the same: times, process ids, addresses, uuids.
_DIFFERENT = re.compile(r"\b(?:0x)?[0-9a-f]*[0-9][0-9a-f]*\b")


def _log(started: Started) -> Path | None:
    """Its log; a job that never began has none."""
    path = started.log_path
    return path if path is not None and path.exists() else None


def failed(message: str, started: Started, logs: Logs) -> StartError:
    """An error about one process, with the end of its log.

    :param message: what happened, a sentence
    :param started: the process
    :param logs: where its log is
    """
    return StartError(message, FailedLog(logs.tail(started), _log(started)))


def not_started(
    dead: Sequence[Started], late: Sequence[Started], missing: int, wanted: int, timeout: float, logs: Logs
) -> StartError:
    """The error about engines that did not start, with the end of each one's log, and what many say said once.

    :param dead: those that ended
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
        alike.setdefault((engine.fails_like(engine in dead), _DIFFERENT.sub("#", tail)), []).append(engine)
    told = [
        FailedLog(
            tails[group[0].entry.token],
            _log(group[0]),
            group[0].not_ready(group, timeout, ended=group[0] in dead),
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
