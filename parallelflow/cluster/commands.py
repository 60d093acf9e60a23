"""Commands of ssh and of batch systems: run with a time limit, in a thread of their own, and what they say when they fail."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from ipyparallel.cluster.launcher import LauncherError

from parallelflow import threads
from parallelflow.texts import tr

_LINES = 15


class CommandFailed(LauncherError):
    """A command that failed.

    :param message: which, and how it ended
    :param said: the last lines of what it printed
    """

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


def with_what_it_said(error: Exception) -> str:
    """An error's text, with what the command printed that failed, if one did.

    :param error: what a launcher raised
    """
    said = getattr(error, "said", "")
    return f"{error}: {said}" if said else str(error)


def run(command: Sequence[str], *, shown: str = "", timeout: float | None = None, **options: Any) -> Any:
    """What a command prints.

    :param command: the program and its arguments
    :param shown: how it is called in an error
    :param timeout: seconds
    :param options: for :func:`subprocess.run`
    :raises CommandFailed: if it cannot be started, fails or takes longer
    """
    shown = shown or shlex.join(command)
    if options.get("input") is None:
        options.pop("input", None)
        options["stdin"] = subprocess.DEVNULL
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout, **options)
    except subprocess.TimeoutExpired:
        raise CommandFailed(
            tr("'{command}' did not end within {seconds} seconds", command=shown, seconds=round(timeout or 0))
        ) from None
    except OSError as error:
        raise CommandFailed(
            tr("'{command}' cannot be started: {reason}", command=command[0], reason=error.strerror or error)
        ) from error
    if done.returncode:
        said = done.stderr or done.stdout
        text = said if isinstance(said, str) else said.decode("utf-8", "replace")
        raise CommandFailed(
            tr("'{command}' ended with exit status {status}", command=shown, status=done.returncode),
            "\n".join(text.strip().splitlines()[-_LINES:]),
        )
    return done.stdout


def in_thread(function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
    """Call something that blocks, in a thread of its own: asyncio's executor takes nothing any more when Python ends.

    :param function: what blocks
    :param arguments: for the function
    :returns: its outcome, to be awaited
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()
    outcome.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to ask

    def deliver(settle: Callable[[Any], None], value: Any) -> None:
        if not outcome.done():
            settle(value)

    def call() -> None:
        try:
            settle, value = outcome.set_result, function(*arguments)
        except BaseException as error:
            settle, value = outcome.set_exception, error
        loop.call_soon_threadsafe(deliver, settle, value)

    threads.start(call, "parallelflow-launcher")
    return outcome
