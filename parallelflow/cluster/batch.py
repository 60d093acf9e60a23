"""ipyparallel's launchers for batch systems, of whose commands nothing is taken for what it is not.

The job's number is what the batch system itself says in its own words, or in a form that is asked for, however much else is
printed at a site: with a wrong number somebody else's job would be cancelled. Whether a job is over is never read from messages.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ipyparallel.cluster.launcher import (
    BatchSystemLauncher,
    HTCondorLauncher,
    LauncherError,
    LSFLauncher,
    PBSLauncher,
    SGELauncher,
    SlurmLauncher,
)

from parallelflow.texts import tr

from .commands import CommandFailed, in_thread, run

_ASK_EVERY = 0.2  # seconds
_ASK_WITHIN = 5.0  # seconds


@dataclass(frozen=True)
class System:
    """How a batch system speaks.

    :param number: a line that its command for submitting prints, the job's number as its first group
    :param plain: arguments by which the command prints the number alone
    :param submit: the command that takes them
    :param jobs: the command that lists the user's jobs that are not over, a number a line or '' if there is none
    :param name: arguments by which the command for submitting gives the job a name, ``{name}``
    :param named: the command that lists those of them that have a name, in the same way
    """

    number: str
    plain: tuple[str, ...] = ()
    submit: str = ""
    jobs: tuple[str, ...] = ()
    name: tuple[str, ...] = ()
    named: tuple[str, ...] = ()


SYSTEMS: dict[type, System] = {
    SlurmLauncher: System(
        r"^(\d+)(?:;\S+)?$",
        ("--parsable",),
        "sbatch",
        ("squeue", "--me", "--noheader", "--format=%A"),
        ("--job-name={name}",),
        ("squeue", "--me", "--noheader", "--format=%A", "--name={name}"),
    ),
    # Before PBS, of which ipyparallel makes it a kind.
    SGELauncher: System(
        r"^(?:Your job(?:-array)? )?(\d+)(?:\.\d+-\d+:\d+)?(?: \(.*\) has been submitted)?$", ("-terse",), "qsub"
    ),
    # OpenPBS and Torque print '123.server' or, of an array, '123[].server'.
    PBSLauncher: System(
        r"^(\d+(?:\[\])?)(?:\.[\w.-]+)?$",
        (),
        "qsub",
        ("qselect", "-s", "EHQRSTUW"),
        ("-N", "{name}"),
        ("qselect", "-s", "EHQRSTUW", "-N", "{name}"),
    ),
    LSFLauncher: System(r"^Job <(\d+)> is submitted\b", jobs=("bjobs", "-noheader", "-o", "jobid")),
    HTCondorLauncher: System(r"\bsubmitted to cluster (\d+)\.?$"),
}


class Batch(BatchSystemLauncher):
    """A batch system whose commands' errors are known."""

    token = ""
    """What the job's processes carry; its name carries it, too, so that a job is found of which nobody has heard the number."""
    stop_limit = 8.0  # seconds
    engines_left: Callable[[], bool] | None = None
    """Says whether the hub knows none of the job's engines any more, though it knew all; None if nobody can say."""
    _starting: asyncio.Future[Any] | None = None

    @property
    def _system(self) -> System | None:
        return next((system for kind, system in SYSTEMS.items() if isinstance(self, kind)), None)

    def find_args(self) -> list[str]:
        """The command that submits the job."""
        system = self._system
        command = list(self.submit_command)
        if system is not None and command and os.path.basename(command[-1]) == system.submit:
            command += [*system.plain, *self._with_name(system.name)]
        return [*command, self.batch_file]

    def _with_name(self, arguments: Sequence[str]) -> list[str]:
        # No longer than 15 characters: older PBS allows no more.
        return [each.format(name=f"pf-{self.token[:12]}") for each in arguments] if self.token else []

    def parse_job_id(self, output: str) -> str:
        """The job's number.

        :param output: what the command printed that submitted it
        :raises LauncherError: if it is not there
        """
        system = self._system
        default = type(self).job_id_regexp.default_value
        if system is None or self.job_id_regexp.pattern != getattr(default, "pattern", default):
            return str(super().parse_job_id(output))  # the user's own expression
        found = [match for line in output.splitlines() if (match := re.search(system.number, line.strip()))]
        if not found:
            raise LauncherError(
                tr(
                    "'{command}' did not say the job's number, so the job cannot be cancelled from here; look for it in the"
                    " batch system. It said: {output}",
                    command=self.submit_command[0],
                    output=output.strip(),
                )
            )
        self.job_id = found[-1].group(1)
        return str(self.job_id)

    async def start(self, n: int = 1) -> Any:
        """Submit the job."""
        self._starting = in_thread(super().start, n)
        return await asyncio.shield(self._starting)

    async def stop(self) -> None:
        """Cancel the job, if it has been submitted and is not over.

        :raises CommandFailed: if the batch system refuses, and the job is not known to be over
        """
        begin = time.monotonic()
        while (
            self._starting is not None and not self._starting.done() and time.monotonic() < begin + self.stop_limit / 2
        ):
            await asyncio.sleep(0.05)  # a job that is just being submitted has no number yet
        if not self.job_id:
            # Whoever submitted it may not have lived to hear its number.
            self.job_id = await in_thread(self._find_by_name)
        if not self.job_id:
            return
        command = [*self.delete_command, self.job_id]
        try:
            await in_thread(lambda: self._run_command(command, timeout=0.6 * self.stop_limit))
        except CommandFailed:
            while not await in_thread(self._is_over):
                if time.monotonic() > begin + 0.9 * self.stop_limit:
                    raise
                await asyncio.sleep(_ASK_EVERY)
        self.notify_stop({"job_id": self.job_id})

    def _is_over(self) -> bool:
        """Whether the job is known to be over: its engines have left the hub, or the batch system lists it no longer."""
        if self.engines_left is not None and self.engines_left():
            return True
        system = self._system
        if system is None or not system.jobs:
            return False
        try:
            listed = self._listed(system.jobs)
        except CommandFailed:
            return False
        number = self.job_id.partition(".")[0]
        return number not in [each.partition(".")[0] for each in listed]

    def _find_by_name(self) -> str:
        """The number of the job that has our name; '' if there is none, or this system cannot be asked.

        :raises CommandFailed: if nobody knows
        """
        system = self._system
        command = self._with_name(system.named) if system is not None else []
        listed = self._listed(command) if command else []
        return listed[0] if listed else ""

    def _listed(self, command: Sequence[str]) -> list[str]:
        """The numbers that a command lists."""
        folder = os.path.dirname(self.delete_command[-1]) if self.delete_command else ""
        # Where the user said that this system's commands are.
        return self._run_command([os.path.join(folder, command[0]), *command[1:]], timeout=_ASK_WITHIN).split()

    def _run_command(self, command: Sequence[str], **options: Any) -> str:
        return str(run(command, **options).decode("utf-8", "replace"))

    def _log_output(self, stop_data: Any = None) -> None:
        """Leave its log where it is."""
