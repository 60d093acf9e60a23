"""How many cores this process may use: fewer than the machine has where an administrator or a batch system says so; and how many
threads engines may use that share them.

Not loky's ``cpu_count``, the well-kept one, for two reasons: it looks for quotas at the root of the cgroups only, so that it
misses those of Slurm and systemd, and it does not know what Slurm has granted. Nor ``os.process_cpu_count``, which knows of
affinity only.

Imports the standard library only: `login` sends this file's text to other machines.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

# https://slurm.schedmd.com/srun.html: what was asked for each process of a job; else what the job has on this machine. Where
# Slurm does not bind its jobs to their cores, nothing else tells.
_GRANTED = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")


# By these OpenMP, OpenBLAS, MKL, numexpr and Apple's Accelerate learn how many threads to make; else each makes one for every core.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def thread_limits(threads: int, engines: int, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that keep engines from making more threads together than there are cores.

    :param threads: how many each engine may make; 0: its share of the cores
    :param engines: how many engines share the cores; 0 if that is not known, where their share is not, either
    :param environment: the environment variables that the engines have otherwise; what the user has set there stays, unless
        ``threads`` says otherwise
    """
    if threads:
        return dict.fromkeys(THREAD_VARIABLES, str(threads))
    if not engines or "OMP_NUM_THREADS" in environment:  # which the others go by, too
        return {}
    share = max(1, usable_cores() // engines)
    return {name: str(share) for name in THREAD_VARIABLES if name not in environment}


def usable_cores(proc: Path = Path("/proc/self")) -> int:
    """How many cores this process may use at the same time: by its affinity, its cgroups' quotas and its Slurm job.

    :param proc: what Linux tells of this process
    :returns: at least 1; a quota of one and a half cores counts as two
    """
    try:
        most: float = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not every system has it
        most = os.cpu_count() or 1
    return max(1, math.ceil(min([most, *_quotas(proc), *_granted()])))


def _granted() -> Iterator[int]:
    """What Slurm has granted, if this process is in a job of its."""
    for name in _GRANTED:
        with suppress(ValueError):
            if (cores := int(os.environ.get(name, ""))) > 0:
                yield cores
                return


def _quotas(proc: Path) -> Iterator[float]:
    """The quotas of this process's cgroups and all that these are in, in cores.

    See https://docs.kernel.org/admin-guide/cgroup-v2.html and https://docs.kernel.org/scheduler/sched-bwc.html.
    """
    try:
        mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
        groups = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, group in groups:
        for _, _, _, root, place, *rest in mounts:
            kind, _, controlled = rest[rest.index("-") + 1 :][:3]
            # Version 2 has one hierarchy, without a name; of version 1, the one with the controller is looked for.
            if (kind == "cgroup2" and not controllers) or (
                kind == "cgroup" and "cpu" in controllers.split(",") and "cpu" in controlled.split(",")
            ):
                # A container may see its own group only, under whatever name.
                inside = os.path.relpath(group, root) if group.startswith(root) else "."
                folder = Path(place, inside)
                for each in (folder, *list(folder.parents)[: len(Path(inside).parts)]):
                    yield from _quota(each)


def _quota(group: Path) -> Iterator[float]:
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (group / "cpu.max").read_text().split()  # "max" where there is none
        yield float(quota) / float(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        if (quota_us := float((group / "cpu.cfs_quota_us").read_text())) > 0:  # -1 where there is none
            yield quota_us / float((group / "cpu.cfs_period_us").read_text())
