"""ipyparallel's launchers for batch systems, of whose commands nothing is taken for what it is not.

The job's number is what the batch system itself says in its own words, or in a form that is asked for, however much else is
printed at a site: with a wrong number somebody else's job would be cancelled. Whether a job is over is never read from messages.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
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

from . import options, profile
from .commands import CommandFailed, in_thread, run

_ASK_EVERY = 0.2  # seconds
_ASK_WITHIN = 5.0  # seconds


_OWN_FILE = "parallelflow-job-{}.json"


def remove_files(folder: Path, tokens: Collection[str]) -> None:
    """Remove the connection files of jobs that are long gone.

    :param folder: the profile's folder
    :param tokens: what the processes of jobs carry that may still run
    """
    kept = {_OWN_FILE.format(token[:12]) for token in tokens}
    for path in profile.security_dir(folder).glob(_OWN_FILE.format("*")):
        if path.name not in kept:
            with suppress(OSError):
                path.unlink()


@dataclass(frozen=True)
class System:
    """How a batch system speaks.

    :param number: a line that its command for submitting prints, the job's number as its first group
    :param plain: arguments by which the command prints the number alone
    :param submit: the command that takes them
    :param jobs: the command that lists the user's jobs that are not over, a number a line or '' if there is none
    :param name: arguments by which the command for submitting gives the job a name, ``{name}``
    :param named: the command that lists those of them that have a name, in the same way
    :param listed: how a job called ``{name}`` looks in what these two print, with its number as the first group; '' if they print
        numbers
    """

    number: str
    plain: tuple[str, ...] = ()
    submit: str = ""
    jobs: tuple[str, ...] = ()
    name: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    listed: str = ""


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
        r"^(?:Your job(?:-array)? )?(\d+)(?:\.\d+-\d+:\d+)?(?: \(.*\) has been submitted)?$",
        ("-terse",),
        "qsub",
        ("qstat", "-xml"),
        ("-N", "{name}"),
        ("qstat", "-xml"),
        # Without -xml names are cut off.
        r"<JB_job_number>(\d+)</JB_job_number>(?:(?!<JB_job_number>).)*?<JB_name>{name}</JB_name>",
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
    # No name: what its launcher submits is an array, whose size is a part of its name.
    LSFLauncher: System(r"^Job <(\d+)> is submitted\b", jobs=("bjobs", "-noheader", "-o", "jobid")),
    HTCondorLauncher: System(
        r"\bsubmitted to cluster (\d+)\.?$",
        (),
        "condor_submit",
        ("condor_q", "-autoformat", "ClusterId"),
        ("-batch-name", "{name}"),
        ("condor_q", "-constraint", 'JobBatchName == "{name}"', "-autoformat", "ClusterId"),
    ),
}


class Batch(BatchSystemLauncher):
    """A batch system whose commands' errors are known."""

    token = ""
    """What the job's processes carry; its name carries it, too, so that a job is found of which nobody has heard the number."""
    stop_limit = 8.0  # seconds
    engines_left: Callable[[], bool] | None = None
    """Says whether the hub knows none of the job's engines any more, though it knew all; None if nobody can say."""
    engine_args: list[str]
    _starting: asyncio.Future[Any] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.token:
            # A script of its own: another job may be submitted while this one is cancelled and its script removed.
            name = Path(self.batch_file_name)
            self.batch_file = os.path.join(self.work_dir, f"{name.stem}-{self.token[:12]}{name.suffix}")

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
        return [each.format(name=self._name) for each in arguments] if self.token else []

    @property
    def _name(self) -> str:
        # No longer than 15 characters: older PBS allows no more.
        return f"pf-{self.token[:12]}"

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
        """Submit the job.

        :raises LauncherError: if its engines cannot be given their connection file
        """
        if self.token and not self._keeps_its_file():
            self._give_own_file(self.own_file)
        self._starting = in_thread(super().start, n)
        return await asyncio.shield(self._starting)

    @property
    def own_file(self) -> Path:
        """The copy of their controller's connection file by which the job's engines connect."""
        return profile.security_dir(Path(self.profile_dir)) / _OWN_FILE.format(self.token[:12])

    def _keeps_its_file(self) -> bool:
        """Whether all controllers of the profile have the same connection file, which may have been copied to where engines run."""
        options = profile.config(Path(self.profile_dir), "ipcontroller").get("IPController", {})
        return bool(options.get("reuse_files"))

    def _give_own_file(self, path: Path) -> None:
        """Have the engines join their own controller, however late the job begins: another one may have taken its place by then."""
        try:
            text = Path(self.connection_files["engine"]).read_text(encoding="utf-8")
            profile.write_private(path, text)
        except OSError as error:
            raise LauncherError(
                tr("{path} cannot be written: {reason}", path=path, reason=error.strerror or error)
            ) from error
        self.engine_args = options.before(self.engine_args, [f"--IPEngine.url_file={path}"])

    async def stop(self) -> None:
        """Cancel the job, if it has been submitted and is not over, and wait until it is over, as far as that can be known.

        One that the batch system has agreed to cancel counts as stopped all the same when its time limit is over: what a site does
        after each job may take longer.

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
        else:
            # It agrees at once, and what runs may take its time to end.
            until = begin + 0.9 * self.stop_limit
            while (left := until - time.monotonic()) > 0 and await in_thread(self._is_listed, min(left, _ASK_WITHIN)):
                await asyncio.sleep(_ASK_EVERY)
        self.notify_stop({"job_id": self.job_id})

    def is_over(self, limit: float) -> bool:
        """Ask whether the job is over; False if the batch system does not say.

        :param limit: seconds
        """
        return bool(self.job_id) and self._is_listed(limit) is False

    def _is_over(self) -> bool:
        """Whether the job is known to be over: its engines have left the hub, or the batch system lists it no longer."""
        return (self.engines_left is not None and self.engines_left()) or self._is_listed() is False

    def _is_listed(self, timeout: float = _ASK_WITHIN) -> bool | None:
        """Whether the batch system lists the job among those that are not over; None if it does not say.

        :param timeout: seconds that it may take
        """
        system = self._system
        if system is None or not system.jobs:
            return None
        try:
            listed = self._listed(system.jobs, system.listed.format(name="[^<]*"), timeout)
        except CommandFailed:
            return None
        number = self.job_id.partition(".")[0]
        return number in [each.partition(".")[0] for each in listed]

    def _find_by_name(self) -> str:
        """The number of the job that has our name; '' if there is none, or this system cannot be asked.

        :raises CommandFailed: if nobody knows
        """
        system = self._system
        command = self._with_name(system.named) if system is not None else []
        if system is None or not command:
            return ""
        listed = self._listed(command, system.listed.format(name=self._name))
        return listed[0] if listed else ""

    def _listed(self, command: Sequence[str], entry: str, timeout: float = _ASK_WITHIN) -> list[str]:
        """The numbers that a command lists, each in what an expression matches; '' if it prints nothing else."""
        folder = os.path.dirname(self.delete_command[-1]) if self.delete_command else ""
        # Where the user said that this system's commands are.
        said = self._run_command([os.path.join(folder, command[0]), *command[1:]], timeout=timeout)
        return re.findall(entry, said, re.DOTALL) if entry else said.split()

    def _run_command(self, command: Sequence[str], **options: Any) -> str:
        return str(run(command, **options).decode("utf-8", "replace"))

    def _log_output(self, stop_data: Any = None) -> None:
        """Leave its log where it is."""
