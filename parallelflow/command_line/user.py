"""What a user's VisTrails has been told: its start-up file, and in it this package's preferences.

VisTrails keeps its settings in ``startup.xml``: its configuration, the packages that are enabled, each with a
configuration of its own, and those that are disabled.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

from parallelflow.cluster import Settings
from parallelflow.cluster.errors import ClusterError

# Packages by the names that VisTrails' settings give them.
OURS = "ipyparallel_flow"
BUNDLED = "parallelflow"
NEEDED = "controlflow"

ENABLED = "packages"
DISABLED = "disabledpackages"


def startup_file(folder: Path) -> Path:
    """The start-up file in VisTrails' folder.

    :param folder: VisTrails' folder
    """
    return folder / "startup.xml"


def name_trouble(path: Path) -> str:
    """Why VisTrails cannot use a file or folder with this name, as sentences; '' if it can.

    :param path: the file or folder
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return (
            f"VisTrails cannot use {path}: there are bytes in its name that are no letters in the encoding that Python takes names"
            f" to be in ({sys.getfilesystemencoding()}). If they are UTF-8, set the environment variable PYTHONUTF8=1; else"
            " rename it."
        )
    return ""


def read_startup(folder: Path) -> ElementTree.Element | None:
    """Read the start-up file.

    :param folder: VisTrails' folder
    :returns: its root, or None if VisTrails has not been started yet
    :raises ClusterError: if it cannot be read
    """
    path = startup_file(folder)
    # Whoever writes it again keeps the comments.
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    try:
        return ElementTree.parse(path, parser).getroot()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ClusterError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the latter for encodings
        raise ClusterError(f"{path} is damaged, and VisTrails cannot read it either: {error}.") from error


def package(startup: ElementTree.Element | None, name: str, where: str = ENABLED) -> ElementTree.Element | None:
    """A package's entry.

    :param startup: what :func:`read_startup` returned
    :param name: the package's name
    :param where: among those that are enabled, or disabled: :data:`ENABLED` or :data:`DISABLED`
    :returns: the entry, or None if there is none
    """
    return None if startup is None else startup.find(f"{where}/package[@name='{name}']")


def settings(folder: Path, profile: str | None = None) -> Settings:
    """This package's preferences in a user's VisTrails; the defaults where there are none.

    :param folder: VisTrails' folder
    :param profile: another profile than the preferences'
    :raises ClusterError: if the file cannot be read, or a value is not allowed
    """
    startup = read_startup(folder)
    stored: dict[str, object] = {}
    entry = package(startup, OURS)
    if entry is None:
        entry = package(startup, OURS, DISABLED)
    for key in entry.findall("configuration/key") if entry is not None else ():
        value = next(iter(key), None)
        if value is not None:
            stored[key.get("name", "")] = value.get("value")
    if profile is not None:
        stored["profile"] = profile
    return Settings.from_mapping(stored)
