"""What repairs are made of, and how one is made.

A repair holds only the few words that it replaces. Its text must be found exactly as often as the table says, in each
file that the table names: a VisTrails other than the one these repairs were made for stops the setup instead of failing
later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from host import SetupError


@dataclass(frozen=True)
class Edit:
    """One replacement: `find` (text, or a pattern) becomes `put`, `times` in all.

    `files` is a path below the package ``vistrails``, or a glob; each file that it matches must hold the text.
    """

    files: str
    find: str | re.Pattern[str]
    put: str
    times: int = 1


@dataclass(frozen=True)
class Repair:
    """One thing that is wrong, why, and `since` which version of Python or of a library; "any" if none is to blame."""

    name: str
    since: str
    reason: str
    edits: tuple[Edit, ...]


def replace(package: Path, name: str, edit: Edit) -> None:
    """Make one replacement.

    :param package: the folder of the Python package ``vistrails``
    :param name: the repair's
    :raises SetupError: if the text is not there as often as `edit` says; names the repair and the file
    """
    pattern = re.compile(re.escape(edit.find)) if isinstance(edit.find, str) else edit.find
    put = edit.put.replace("\\", r"\\") if isinstance(edit.find, str) else edit.put
    files = sorted(package.glob(edit.files))
    if not files:
        raise _misfit(name, edit.files, "has no such file")
    found = 0
    for file in files:
        before = _read(file)
        # What only adds to a text leaves that in place.
        if isinstance(edit.find, str) and edit.find in edit.put and edit.put in before:
            raise _misfit(name, file.relative_to(package), f"has been repaired there: it has the text {edit.put!r}")
        text, count = pattern.subn(put, before)
        if not count:
            raise _misfit(name, file.relative_to(package), f"does not have the text {pattern.pattern!r} there")
        file.write_bytes(text.encode())
        found += count
    if found != edit.times:
        raise _misfit(name, edit.files, f"has the text {pattern.pattern!r} {found} times there, not {edit.times}")


def _read(file: Path) -> str:
    return file.read_bytes().decode()  # as it is: read_text() would change line ends


def _misfit(name: str, file: object, what: str) -> SetupError:
    return SetupError(
        f"The repair '{name}' does not fit: this VisTrails {what} (vistrails/{file})."
        " It is not the version that the tables in host/repairs were made for."
    )
