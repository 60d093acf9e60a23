"""Switches the package on in a user's VisTrails, and the one that VisTrails bundles off."""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from pathlib import Path
from xml.etree import ElementTree

from parallelflow.cluster import profile as profiles
from parallelflow.cluster.errors import ClusterError
from parallelflow.command_line import user
from parallelflow.command_line.arguments import Arguments
from parallelflow.command_line.output import FINE, Output

_DEFAULT = Path("core", "resources", "default_vistrails_startup.xml")

# What VisTrails asks in a dialog at its first start, in batch mode too, where nobody sees it; and the answers: it does not
# ask whether to open .vt files with it, nor whether to install what its packages lack.
_ANSWERS = {"handlerDontAsk": "True", "installBundles": "False"}


def enable(arguments: Arguments, output: Output) -> int:
    """Switch the package on.

    :param arguments: what was typed
    :param output: where the answer goes
    :returns: the exit code
    :raises ClusterError: if there is no such profile, or the start-up file cannot be read, made or written
    """
    folder = arguments.vistrails
    path = user.startup_file(folder)
    startup = user.read_startup(folder)
    changes = []
    backup = None
    if startup is None:
        startup = _first_startup()
        _answer_questions(startup)
        changes += [
            f"Made VisTrails' settings, as its first start would: {path}.",
            "Answered the questions of VisTrails' first start with No: whether to make it the program that opens .vt files, and"
            " whether to install what its packages lack (in its preferences: handlerDontAsk and installBundles).",
        ]
    changes += _switch_on(startup, user.NEEDED, "Control Flow, which it needs,")
    changes += _switch_on(startup, user.OURS, "Parallel Flow")
    if arguments.profile is not None:
        profiles.locate(arguments.profile)  # there must be one
        changes += _use_profile(startup, arguments.profile)
    changes += _switch_off(startup, user.BUNDLED, "The package 'parallelflow' that VisTrails bundles")
    if changes:
        backup = _write(path, startup)
    text = "\n".join(changes) or f"Parallel Flow is enabled already; nothing was changed in {path}."
    if backup is not None:
        text += f"\nThe settings as they were: {backup}."
    output.answer(text, {"file": str(path), "changes": changes, "backup": str(backup) if backup is not None else None})
    return FINE


def _first_startup() -> ElementTree.Element:
    """What VisTrails starts from when it is started for the first time."""
    found = importlib.util.find_spec("vistrails")
    for place in (found.submodule_search_locations or []) if found is not None else []:
        default = Path(place) / _DEFAULT
        if default.is_file():
            return ElementTree.parse(default).getroot()
    raise ClusterError(
        "There are no settings of VisTrails yet, and no VisTrails in this Python to make them from. Start VisTrails once,"
        " or run this with the Python that VisTrails runs in."
    )


def _answer_questions(startup: ElementTree.Element) -> None:
    configuration = _part(startup, "configuration")
    for name, value in _ANSWERS.items():
        key = ElementTree.SubElement(configuration, "key", {"name": name})
        ElementTree.SubElement(key, "bool", {"value": value})


def _switch_on(startup: ElementTree.Element, name: str, called: str) -> list[str]:
    if user.package(startup, name) is not None:
        return []
    _move(startup, name, user.DISABLED, user.ENABLED)
    return [f"{called} is switched on."]


def _use_profile(startup: ElementTree.Element, name: str) -> list[str]:
    entry = user.package(startup, user.OURS)
    assert entry is not None  # it has just been switched on
    configuration = _part(entry, "configuration")
    key = configuration.find("key[@name='profile']")
    if key is None:
        key = ElementTree.SubElement(configuration, "key", {"name": "profile"})
    value = _part(key, "str")
    if value.get("value") == name:
        return []
    value.set("value", name)
    return [f"VisTrails uses the IPython profile '{name}'."]


def _part(parent: ElementTree.Element, tag: str) -> ElementTree.Element:
    found = parent.find(tag)
    return found if found is not None else ElementTree.SubElement(parent, tag)


def _switch_off(startup: ElementTree.Element, name: str, called: str) -> list[str]:
    if user.package(startup, name) is None:
        return []
    _move(startup, name, user.ENABLED, user.DISABLED)
    return [f"{called} is switched off; Parallel Flow takes its place."]


def _move(startup: ElementTree.Element, name: str, source: str, target: str) -> None:
    """Move a package's entry, with its preferences, from one list to the other; make it if there is none."""
    entry = user.package(startup, name, source)
    if entry is None:
        entry = ElementTree.Element("package", {"name": name})
    else:
        startup.find(source).remove(entry)  # type: ignore[union-attr]
    group = startup.find(target)
    if group is None:
        group = ElementTree.SubElement(startup, target)
    twin = user.package(startup, name, target)
    if twin is not None:
        group.remove(twin)
    group.append(entry)


def _write(path: Path, startup: ElementTree.Element) -> Path | None:
    """Write the start-up file, and keep the old one.

    :returns: where the old one is, or None if there was none
    """
    backup = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path = path.resolve()  # it may be a link to where somebody keeps it
        if path.exists():
            backup = path.with_name(f"startup-before-{time.strftime('%Y%m%d-%H%M%S')}.xml")
            shutil.copy2(path, backup)
        mode = path.stat().st_mode if backup is not None else None
        ElementTree.indent(startup)
        profiles.write_private(path, ElementTree.tostring(startup, encoding="unicode") + "\n")
        if mode is not None:
            os.chmod(path, mode)
    except OSError as error:
        raise ClusterError(f"{path} cannot be written: {error.strerror or error}.") from error
    return backup
