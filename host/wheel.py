"""Makes an ordinary distribution of the repaired VisTrails: one wheel, package data and metadata included.

The format: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path

NAME = "vistrails-3.0-py3-none-any.whl"
_DIST_INFO = "vistrails-3.0.dist-info"

# VisTrails' own list names two packages that only optional parts of it use, and none of these.
REQUIRES = (
    "PyQt5",
    "numpy",
    "scipy",
    "qtconsole",  # gui/shell.py does not start without it
    "ipykernel",
    "setuptools<81",  # VisTrails finds its packages' entry points through pkg_resources
    'fissix; python_version >= "3.13"',  # what became of lib2to3, which converts Python 2 code of old workflows
)

# What VisTrails' bundled packages and its window's cells are for; large, so that it is an extra, `visual`.
VISUAL = (
    "matplotlib>=3.8",
    "vtk>=9.3",  # since when its data objects can be pickled
    "PyQtWebEngine",  # web cells
    "scikit-learn>=1.3",
    "dulwich>=0.24",  # persistence
    "file_archive",  # persistent_archive
    "pymongo>=4",
    "SQLAlchemy>=2",
    "tej",
    "xlrd",  # tabledata: Excel's files
)


def build(packages: Path, wheel: Path) -> None:
    """Write the wheel. The same input makes the same bytes, and the file appears only when it is whole.

    :param packages: the folder that holds ``vistrails`` and Debian's egg-info beside it
    :param wheel: the file to write
    """
    unfinished = wheel.with_name(wheel.name + ".unfinished")
    record = []
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in _contents(packages):
            archive.writestr(_entry(name), data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}\n")
        record.append(f"{_DIST_INFO}/RECORD,,\n")
        archive.writestr(_entry(f"{_DIST_INFO}/RECORD"), "".join(record))
    os.replace(unfinished, wheel)


def requirements() -> list[str]:
    """What the wheel says that it takes, its extra included."""
    return [*REQUIRES, *(f'{requirement}; extra == "visual"' for requirement in VISUAL)]


def _contents(packages: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted((packages / "vistrails").rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            yield file.relative_to(packages).as_posix(), file.read_bytes()
    yield f"{_DIST_INFO}/METADATA", _metadata(packages / "vistrails-3.0.egg-info" / "PKG-INFO")
    yield f"{_DIST_INFO}/WHEEL", b"Wheel-Version: 1.0\nGenerator: host\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    yield f"{_DIST_INFO}/top_level.txt", b"vistrails\n"


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)  # dated 1980, the same every time
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o100644 << 16
    return entry


def _metadata(pkg_info: Path) -> bytes:
    original = Parser().parsestr(pkg_info.read_text(encoding="utf-8"))
    metadata = Message()
    metadata["Metadata-Version"] = "2.1"
    for key in ("Name", "Version", "Summary", "Home-page", "Author", "Author-email", "License", "Keywords"):
        metadata[key] = original[key]
    metadata["Requires-Python"] = ">=3.10"
    for requirement in requirements():
        metadata["Requires-Dist"] = requirement
    metadata["Provides-Extra"] = "visual"
    metadata.set_payload(original.get_payload())
    return metadata.as_bytes()
