"""Checks of VisTrails: whether it is there, whether it finds the package, and what it has been told."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from parallelflow.cluster import ClusterError
from parallelflow.command_line import user
from parallelflow.command_line.checks import FINE, NOTE, WRONG, Check

_ENABLE = "python -m parallelflow enable"


def vistrails(folder: Path) -> Iterator[Check]:
    """Check VisTrails.

    :param folder: VisTrails' folder for what belongs to the user
    """
    if importlib.util.find_spec("vistrails") is None:
        yield Check(
            "VisTrails",
            NOTE,
            "this Python has none, so Maps cannot run in it; clusters can be started and stopped.",
            "On a machine where VisTrails or engines run, use the Python that they run in.",
        )
    else:
        yield _import()
        yield _registration()
    yield from _settings(folder)


def _import() -> Check:
    try:
        import vistrails.core.system

        # What VisTrails 3 says of itself is "2.x", where it was made from its repository.
        known = [each.version for each in metadata.distributions(name="vistrails")]
        version = known[0] if known else vistrails.core.system.vistrails_version()
    except Exception as error:  # whatever an incomplete installation raises
        return Check(
            "VisTrails",
            WRONG,
            f"it cannot be imported: {type(error).__name__}: {error}.",
            "Install VisTrails 3 with all that it needs; from a clone of this project: make setup",
        )
    return Check("VisTrails", FINE, f"{version}.")


def _registration() -> Check:
    modules = [point.value for point in metadata.entry_points(group="vistrails.packages")]
    if f"parallelflow.{user.OURS}" not in modules:
        return Check(
            "Registration",
            WRONG,
            "VisTrails does not find the package: it is not registered under 'vistrails.packages'.",
            "Install Parallel Flow again, as in: pip install --force-reinstall .",
        )
    # Without it VisTrails finds no entry point, and says nothing.
    if importlib.util.find_spec("pkg_resources") is None:
        return Check(
            "Registration",
            WRONG,
            "VisTrails does not find the package: it looks for packages with pkg_resources, which this Python lacks.",
            'Install it, as in: pip install "setuptools<81"',
        )
    return Check("Registration", FINE, "VisTrails finds the package by its entry point.")


def _settings(folder: Path) -> Iterator[Check]:
    if why := user.name_trouble(folder):
        yield Check("Settings", NOTE, why)
    try:
        startup = user.read_startup(folder)
    except ClusterError as error:
        yield Check("Settings", WRONG, str(error), "Correct or remove that file.")
        return
    if startup is None:
        finding = f"VisTrails has not been started yet: {folder} has no settings."
        there = importlib.util.find_spec("vistrails") is not None
        yield Check("Settings", NOTE, finding, f"Make them, with the package switched on: {_ENABLE}" if there else "")
        return
    if user.package(startup, user.OURS) is not None:
        yield Check("Settings", FINE, "the package is switched on in VisTrails.")
    else:
        yield Check("Settings", WRONG, "the package is not switched on in VisTrails.", f"Switch it on with: {_ENABLE}")
    if user.package(startup, user.BUNDLED) is not None:
        yield Check(
            "Settings",
            WRONG,
            "the package 'parallelflow' that VisTrails bundles, and which does not work any more, is switched on.",
            f"Switch it off with: {_ENABLE}",
        )
    try:
        user.settings(folder)
    except ClusterError as error:
        yield Check("Preferences", WRONG, str(error), "Correct it with Packages > Parallel Flow > Preferences...")
    else:
        yield Check("Preferences", FINE, "every value is allowed.")
