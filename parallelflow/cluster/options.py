"""Options that engines get from us, besides those that the profile gives them.

ipyparallel's programs do not start with an option that is there twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from . import profile

_SHORT = {"--timeout": "--IPEngine.timeout", "--file": "--IPEngine.url_file", "-f": "--IPEngine.url_file"}
_SETS_PATIENCE = re.compile(
    r"^[^#\n]*\bIPEngine\b[^#\n]*\btimeout\b|\"IPEngine\"\s*:\s*\{[^}]*\"timeout\"", re.MULTILINE
)
_PATIENCE = 5.0  # seconds, ipyparallel's own


def before(theirs: Sequence[str], ours: Sequence[str]) -> list[str]:
    """Put options of ours before the profile's, but for those that it has itself.

    :param theirs: the profile's
    :param ours: each ``--name=value``
    """
    named = {_name(each) for each in theirs}
    return [*(each for each in ours if _name(each) not in named), *theirs]


def _name(argument: str) -> str:
    name = argument.partition("=")[0]
    return _SHORT.get(name, name)


def patience(folder: Path, seconds: float) -> list[str]:
    """How long an engine waits for the controller's answer when it registers, unless the profile says it.

    On a busy machine, or through a tunnel, ipyparallel's 5 seconds are not enough.

    :param folder: the profile's folder
    :param seconds: how long; no less than ipyparallel would have it wait
    """
    if any(map(_SETS_PATIENCE.search, profile.config_texts(folder, "ipengine"))):
        return []
    return [f"--IPEngine.timeout={max(_PATIENCE, round(seconds)):g}"]
