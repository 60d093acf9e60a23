"""What can go wrong with a cluster, each as an exception whose text is a sentence for the user.

``str(error)`` says what happened and what to do about it; no error of this package shows a stack trace to the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from parallelflow.texts import tr


class ClusterError(Exception):
    """Something about the cluster that the user should read: what happened, and what to do."""


class ProfileError(ClusterError):
    """An IPython profile that does not exist, cannot be made or has no valid name."""


class SettingsError(ClusterError):
    """A preference that has a value which is not allowed."""


@dataclass(frozen=True)
class FailedLog:
    """The end of the log of something that failed.

    :param tail: the last lines; connection keys are blanked out
    :param path: the whole log, if there is one that this machine can read
    :param about: what failed and how, a sentence; '' where the error itself says so
    :param same: of how many other processes the logs say the same
    """

    tail: str = ""
    path: Path | None = None
    about: str = ""
    same: int = 0

    @property
    def sentence(self) -> str:
        """What failed, and where its log is."""
        where = ""
        if self.path is not None and self.same:
            where = tr("Their logs say the same; one of them is {path}.", path=self.path)
        elif self.path is not None:
            where = tr("Its log is {path}.", path=self.path)
        return " ".join(part for part in (self.about, where) if part)

    @property
    def text(self) -> str:
        """All that there is to say about it."""
        if not self.tail:
            return self.sentence
        # What has neither is what a command has said that failed.
        end = tr("The log ends with:") if self.path is not None or self.about else tr("It said:")
        return f"{self.sentence} {end}\n{self.tail}".lstrip()


class StartError(ClusterError):
    """A controller or engines that did not become ready.

    :param message: the sentence, without the logs
    :param logs: the logs of what failed, each different one once
    """

    def __init__(self, message: str, *logs: FailedLog) -> None:
        between = " " if len(logs) < 2 else "\n\n"
        super().__init__(between.join([message, *(log.text for log in logs if log.text)]))
        self.message = message
        self.logs = logs

    @property
    def sentence(self) -> str:
        """What happened, without what the logs say: the whole if there is one log, else what all have in common."""
        return self.message if len(self.logs) != 1 else f"{self.message} {self.logs[0].sentence}".rstrip()

    @property
    def log_paths(self) -> list[Path]:
        """The logs that can be read."""
        return [log.path for log in self.logs if log.path is not None]

    @property
    def log_tail(self) -> str:
        """What the logs say in the end; of several, with what each is about."""
        if len(self.logs) == 1:
            return self.logs[0].tail
        return "\n\n".join(log.text for log in self.logs)


class ConnectError(ClusterError):
    """No connection to a controller.

    :param message: the sentence
    :param gone: True if it is certain that no controller runs there, so that one may be started; False if there may be
        one that cannot be reached or does not answer
    """

    def __init__(self, message: str, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone
        self.stale: dict[Path, bytes] = {}
        """The connection files that were there when it was found that no controller is, and their contents."""


class NoEngines(ClusterError):
    """There is no engine to run anything on, and none was to be started."""


class ControllerLost(ClusterError):
    """The controller that we were connected to, or a part of it, is gone."""


class PortTaken(ControllerLost):
    """Another program listens where a part of the controller should."""


class StopError(ClusterError):
    """A process that could not be stopped within the time limit.

    :param message: the sentence
    :param stuck: of what is started elsewhere and could not be stopped, a sentence on each, by its token
    """

    def __init__(self, message: str, stuck: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(message)
        self.stuck = stuck


class Cancelled(ClusterError):
    """The caller's ``cancelled`` said yes; whatever had just been started was stopped again."""
