"""Source by which elements note that they have begun and wait for each other: a busy machine may have one engine run them all."""

from __future__ import annotations

from pathlib import Path

from helpers import LONG

_MARK = "import os, time, pathlib\npathlib.Path({folder!r}, '%s-%s' % (i, os.getpid())).touch()\n"
_WAIT = "_end = time.monotonic() + {long}\nwhile {condition} and time.monotonic() < _end:\n    time.sleep(0.02)\n"


def marked(folder: Path, rest: str) -> str:
    """Source that leaves a file for each run of an element ``i``, named element-pid, before the rest."""
    return _MARK.format(folder=str(folder)) + rest


def while_fewer(count: int, folder: Path) -> str:
    """Source that waits, after :func:`marked`, until so many elements have begun."""
    return _WAIT.format(long=LONG, condition=f"len(os.listdir({str(folder)!r})) < {count}")


def together(folder: Path, rest: str, engines: int = 2) -> str:
    """The same as :func:`marked`, in which nobody goes on to the rest before so many engines have begun an element."""
    seen = f"len({{name.split('-')[1] for name in os.listdir({str(folder)!r})}})"
    return marked(folder, _WAIT.format(long=LONG, condition=f"{seen} < {engines}") + rest)
