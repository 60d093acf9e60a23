"""What can go wrong with a cluster, each as an exception whose text is a sentence for the user.

``str(error)`` says what happened and what to do about it; no error of this package shows a stack trace to the user.
"""

from __future__ import annotations

from pathlib import Path


class ClusterError(Exception):
    """Something about the cluster that the user should read: what happened, and what to do."""


class ProfileError(ClusterError):
    """An IPython profile that does not exist, cannot be made or has no valid name."""


class SettingsError(ClusterError):
    """A preference that has a value which is not allowed."""


class StartError(ClusterError):
    """A controller or engines that did not become ready.

    :param message: the sentence, without the log
    :param log_path: the process's own log, if it has one
    :param log_tail: the last lines of that log; connection keys are blanked out
    """

    def __init__(self, message: str, log_path: Path | None = None, log_tail: str = "") -> None:
        text = message
        if log_path is not None:
            text += f" Its log is {log_path}."
        if log_tail:
            text += f" The log ends with:\n{log_tail}"
        super().__init__(text)
        self.log_path = log_path
        self.log_tail = log_tail


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


class StopError(ClusterError):
    """A process that could not be stopped within the time limit."""


class Cancelled(ClusterError):
    """The caller's ``cancelled`` said yes; whatever had just been started was stopped again."""
