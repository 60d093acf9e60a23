"""What a batch system says of a job: why it waits, that it is over, and whether it was the system that ended it."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from ipyparallel.cluster.launcher import PBSLauncher, SGELauncher, SlurmLauncher

_ANSWER_WITHIN = 5.0  # seconds
_ENDED_WITHIN = 4.0  # seconds from the first process's end until the job has come to its own
_ASK_EVERY = 0.3  # seconds

# https://slurm.schedmd.com/squeue.html#SECTION_JOB-STATE-CODES
_SLURM_OVER = frozenset(
    ["BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"]
)
_SLURM_TAKEN = frozenset(["BOOT_FAIL", "DEADLINE", "NODE_FAIL", "PREEMPTED", "TIMEOUT"])
_SLURM_REASONS = frozenset(("TimeLimit", "NodeDown"))
# Of OpenPBS and Torque: exiting, finished, completed.
_PBS_OVER = frozenset("EFC")


@dataclass(frozen=True)
class QueueState:
    """What a batch system says of a job.

    :ivar text: in its own words
    :ivar over: whether the job has ended
    :ivar taken: whether the system ended it, and not what ran in it
    :ivar ending: whether it is just coming to its end, so that more will be known in a moment
    """

    text: str
    over: bool = False
    taken: bool = False
    ending: bool = False


def ask(launcher: Any) -> QueueState | None:
    """Ask a batch system about a job.

    :param launcher: the job's launcher
    :returns: None if it says nothing, or is not one that we know how to ask
    """
    number = str(getattr(launcher, "job_id", ""))
    # Where the user said that this system's commands are.
    folder = os.path.dirname(launcher.delete_command[-1]) if getattr(launcher, "delete_command", None) else ""
    if not number:
        return None
    if isinstance(launcher, SlurmLauncher):
        words = ["squeue", "--noheader", "--states=all", f"--jobs={number}", "--format=%T %r"]
        return _slurm(_said(folder, words))
    if isinstance(launcher, PBSLauncher) and not isinstance(launcher, SGELauncher):
        return _pbs(_said(folder, ["qstat", "-f", number]))
    return None


def was_taken(launcher: Any) -> bool:
    """Whether the batch system ended a job of which an engine has just gone; waits until it knows.

    :param launcher: the job's launcher
    """
    end = time.monotonic() + _ENDED_WITHIN
    while True:
        state = ask(launcher)
        if state is None or state.taken or not state.ending or time.monotonic() > end:
            return state is not None and state.taken
        time.sleep(_ASK_EVERY)


def _said(folder: str, words: list[str]) -> str:
    command = [os.path.join(folder, words[0]), *words[1:]]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_ANSWER_WITHIN, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout


def _slurm(said: str) -> QueueState | None:
    lines = said.strip().splitlines()
    if not lines:
        return None
    state, _, reason = lines[-1].strip().partition(" ")
    told = state if reason in ("", "None") else f"{state} ({reason})"
    taken = state in _SLURM_TAKEN or reason in _SLURM_REASONS
    # A job that was running a moment ago may be found to be over its limit only when its processes have gone.
    return QueueState(told, state in _SLURM_OVER, taken, state in ("RUNNING", "COMPLETING"))


def _pbs(said: str) -> QueueState | None:
    state = re.search(r"^\s*job_state = (\w)", said, re.MULTILINE)
    if state is None:
        return None
    comment = re.search(r"^\s*comment = (.+(?:\n\t.+)*)", said, re.MULTILINE)
    words = comment[1].replace("\n\t", "") if comment is not None else ""
    return QueueState(f"{state[1]} ({words})" if words else state[1], state[1] in _PBS_OVER)
