"""What a program can change of its own process, and modules find there: environment variables, Python's search path, the umask,
the time zone.

As VisTrails has it when a Map runs; it travels with the run, so that engines that are there already follow. Of environment
variables only that travels which has changed since VisTrails was started, for engines may be on other machines.

May import psutil and the standard library.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import psutil

from parallelflow.map.plain_python import KERNELS_VARIABLES

# What begins so says whose process one is.
_OURS = "PARALLELFLOW_"

# A variable's value when VisTrails was started, and now; None where it has none.
Change = tuple[str | None, str | None]


def _zone() -> tuple[int, int, tuple[str, str]]:
    return time.timezone, time.altzone, time.tzname


@dataclass(frozen=True)
class Surroundings:
    """What a run finds around it.

    :ivar umask: which permissions new files do not get.
    :ivar variables: what has changed of environment variables.
    :ivar path: Python's search path.
    :ivar zone: the time zone that is in force, as Python's `time` has it, which need not be what ``TZ`` says by now.
    """

    umask: int
    variables: dict[str, Change]
    path: list[str]
    zone: tuple[int, int, tuple[str, str]] = field(default_factory=_zone)


def current() -> Surroundings:
    """Return what is around this process."""
    umask = os.umask(0o077)  # there is no other way to learn it
    os.umask(umask)
    before, now = _at_start(), dict(os.environ)
    variables = {
        name: (before.get(name), now.get(name))
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and name not in KERNELS_VARIABLES and not name.startswith(_OURS)
    }
    return Surroundings(umask, variables, search_path())


def search_path() -> list[str]:
    """Return Python's search path; an engine has another working folder, so no entry is relative."""
    return [os.path.abspath(entry) for entry in sys.path]


@cache
def _at_start() -> dict[str, str]:
    try:
        return dict(psutil.Process().environ())
    except (psutil.Error, OSError):
        return dict(os.environ)


# ------------------------------------------------------------ on engines

_followed: dict[str, Change] = {}
_own: dict[str, str | None] = {}  # what the variables were here that have ever followed
_added: list[str] = []  # of the search path


def take_over(surroundings: Surroundings) -> None:
    """Have the same around this process. What an element has changed itself stays until VisTrails changes it again.

    :param surroundings: VisTrails'.
    """
    os.umask(surroundings.umask)
    for name in _followed.keys() | surroundings.variables.keys():
        change = surroundings.variables.get(name)
        if _followed.get(name) != change:
            own = _own.setdefault(name, os.environ.get(name))
            value = own if change is None else _changed(own, *change)
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    _followed.clear()
    _followed.update(surroundings.variables)
    if _zone() != surroundings.zone and hasattr(time, "tzset"):  # not on Windows
        time.tzset()
    follow_path(surroundings.path)


def _changed(own: str | None, before: str | None, now: str | None) -> str | None:
    """What becomes of a variable's value here. To a list, such as ``PATH``, is added what was added to VisTrails' own."""
    if not own or not before or now is None:
        return now
    around = f"{os.pathsep}{now}{os.pathsep}"
    return around.replace(f"{os.pathsep}{before}{os.pathsep}", f"{os.pathsep}{own}{os.pathsep}", 1)[1:-1]


def follow_path(path: Sequence[str]) -> None:
    """Find modules where VisTrails finds them: before Python's own what stands there before Python's own, else at the end.

    :param path: VisTrails' search path.
    """
    for entry in [each for each in _added if each not in path]:
        _added.remove(entry)
        if entry in sys.path:
            sys.path.remove(entry)
    new = [entry for entry in dict.fromkeys(path) if entry not in sys.path]
    first = [entry for entry in new if entry in path[: _library(path)]]
    sys.path[:] = [*first, *sys.path, *(entry for entry in new if entry not in first)]
    _added.extend(new)


def _library(path: Sequence[str]) -> int:
    """Where Python's own modules begin, in whichever installation."""
    names = [os.path.basename(entry) for entry in path]
    own = {
        f"python{sys.version_info.major}{sys.version_info.minor}.zip",
        os.path.basename(os.path.dirname(os.__file__)),
    }
    return next((place for place, name in enumerate(names) if name in own), 0)
