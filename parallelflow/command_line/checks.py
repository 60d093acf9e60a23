"""Checks of this Python: its version, and what is installed in it. They need nothing but the standard library."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import parallelflow

FINE = "fine"
NOTE = "note"
WRONG = "wrong"

DISTRIBUTION = "vistrails-parallelflow"
_OLDEST_PYTHON = (3, 10)
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+) *(?:>= *([0-9.]+))?\Z")  # all that our own requirements say


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    :param what: what it is
    :param result: ``fine``, ``note`` (worth knowing) or ``wrong``
    :param finding: a sentence
    :param advice: what to do, or ''
    """

    what: str
    result: str
    finding: str
    advice: str = ""


def installed() -> Iterator[Check]:
    """Check Python, this distribution, and what it requires."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= _OLDEST_PYTHON:
        yield Check("Python", FINE, f"{version}, {sys.executable}.")
    else:
        oldest = ".".join(map(str, _OLDEST_PYTHON))
        yield Check("Python", WRONG, f"{version} is too old.", f"Use Python {oldest} or later.")
    try:
        required = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Check(
            "Parallel Flow",
            WRONG,
            f"it is not installed in this Python; it only lies in {Path(parallelflow.__file__).parent}.",
            "Install it, as in: pip install .",
        )
        return
    yield Check("Parallel Flow", FINE, f"{parallelflow.__version__}, in {Path(parallelflow.__file__).parent}.")
    for requirement in required:
        found = _REQUIREMENT.match(requirement)
        if found is not None:  # others are extras
            yield _requirement(found[1], found[2] or "0")


def _requirement(name: str, least: str) -> Check:
    advice = f'Install it, as in: pip install "{name}>={least}"'
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, WRONG, "it is missing.", advice)
    if _numbers(version) < _numbers(least):
        return Check(name, WRONG, f"version {version} is too old; {least} or later is needed.", advice)
    return Check(name, FINE, f"{version}.")


def _numbers(version: str) -> list[int]:
    """A version for comparison; what comes after its numbers does not count."""
    start = re.match(r"[0-9.]*", version)
    numbers = [int(part) for part in (start[0] if start is not None else "").split(".") if part]
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers
