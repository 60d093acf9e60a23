"""What the cluster may have to ask. The layer above hands in somebody who answers; in batch mode the preferences do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from .settings import Settings

log = logging.getLogger(__name__)

OrphanAnswer: TypeAlias = Literal["stop", "take back", "leave", "undecided"]


@dataclass(frozen=True)
class Orphan:
    """A process that a VisTrails which crashed or was killed left behind.

    :param kind: ``controller``, ``engine`` or ``job``
    :param pid: process id; 0 for a job
    :param host: the machine it runs on
    :param since: when it was started, in seconds since the epoch
    :param profile: the IPython profile that it is on record with
    """

    kind: str
    pid: int
    host: str
    since: float
    profile: str = ""


@dataclass(frozen=True)
class Need:
    """A Map that finds no engines.

    :param profile: the IPython profile
    :param engines: how many the preferences would start
    :param here: whether they would run on this machine; else the profile starts them elsewhere, by SSH or a batch system
    :param stay: whether they would run on when VisTrails exits
    """

    profile: str
    engines: int
    here: bool = True
    stay: bool = False


class Questions(Protocol):
    """Somebody who answers. Called in the thread that needs the answer, which need not be the main thread."""

    def start_cluster(self, need: Need) -> int | None:
        """No engines are running: start some?

        :param need: for what
        :returns: how many to start, or None for none
        """

    def orphans(self, orphans: Sequence[Orphan]) -> OrphanAnswer:
        """Processes of a crashed VisTrails are still running: what about them?

        :param orphans: the processes
        :returns: ``stop`` ends them, ``take back`` makes them this session's, ``leave`` lets them run for good; ``undecided``,
            from somebody who was interrupted, leaves the question to the next session
        """


class BatchQuestions:
    """Answers from the preferences, for batch mode and scripts.

    :param settings: returns the preferences
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings

    def start_cluster(self, need: Need) -> int | None:
        """As many as the preferences say."""
        return need.engines

    def orphans(self, orphans: Sequence[Orphan]) -> OrphanAnswer:
        """Stop them if the preferences say so, else take them back."""
        return "stop" if self._settings().after_crash == "stop" else "take back"
