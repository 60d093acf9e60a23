"""Checks everything that must be right for a Map to run, and says what is wrong and what to do."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

import parallelflow
from parallelflow.cluster import Session, Settings
from parallelflow.cluster import profile as profiles
from parallelflow.cluster.errors import ClusterError
from parallelflow.command_line import user
from parallelflow.command_line.arguments import Arguments
from parallelflow.command_line.clusters import open_session
from parallelflow.command_line.output import FAILED, FINE, Output

OK = "fine"
NOTE = "note"
WRONG = "wrong"

_MARKS = {OK: "ok", NOTE: "--", WRONG: "!!"}
_DISTRIBUTION = "vistrails-parallelflow"
_OLDEST_PYTHON = (3, 10)
_ANSWER_WITHIN = 10.0  # seconds

# Asks an engine for its versions. An expression, so that the engine needs nothing of ours to understand it.
_VERSIONS = """(lambda metadata, sys, platform: {
    "host": platform.node(),
    "Python": "%d.%d" % sys.version_info[:2],
    "executable": sys.executable,
    **{name: next((each.version for each in metadata.distributions(name=name)), None)
       for name in ("vistrails-parallelflow", "vistrails", "ipyparallel")},
})(__import__("importlib.metadata").metadata, __import__("sys"), __import__("platform"))"""


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


def doctor(arguments: Arguments, output: Output) -> int:
    """Check everything."""
    checks = [*_installed(), *_vistrails(arguments.vistrails), *_cluster(arguments)]
    healthy = all(check.result != WRONG for check in checks)
    lines = []
    for check in checks:
        lines.append(f"[{_MARKS[check.result]}] {check.what}: {check.finding}")
        if check.advice:
            lines.append(f"     {check.advice}")
    wrong = sum(check.result == WRONG for check in checks)
    lines += ["", "All is well." if healthy else f"{wrong} of {len(checks)} checks found something wrong."]
    output.answer("\n".join(lines), {"healthy": healthy, "checks": [asdict(check) for check in checks]})
    return FINE if healthy else FAILED


# ---------------------------------------------------------------- this Python


def _installed() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= _OLDEST_PYTHON:
        yield Check("Python", OK, f"{version}, {sys.executable}.")
    else:
        oldest = ".".join(map(str, _OLDEST_PYTHON))
        yield Check("Python", WRONG, f"{version} is too old.", f"Use Python {oldest} or later.")
    try:
        wanted = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Check(
            "Parallel Flow",
            WRONG,
            f"it is not installed in this Python; it only lies in {Path(parallelflow.__file__).parent}.",
            "Install it, as in: pip install .",
        )
        return
    yield Check("Parallel Flow", OK, f"{parallelflow.__version__}, in {Path(parallelflow.__file__).parent}.")
    for text in wanted:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _dependency(requirement)


def _dependency(requirement: Requirement) -> Check:
    advice = f'Install it, as in: pip install "{requirement.name}{requirement.specifier}"'
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Check(requirement.name, WRONG, "it is missing.", advice)
    if not requirement.specifier.contains(Version(found), prereleases=True):
        return Check(
            requirement.name, WRONG, f"version {found} does not do; {requirement.specifier} is needed.", advice
        )
    return Check(requirement.name, OK, f"{found}.")


# ---------------------------------------------------------------- VisTrails


def _vistrails(folder: Path) -> Iterator[Check]:
    if importlib.util.find_spec("vistrails") is None:
        yield Check(
            "VisTrails",
            NOTE,
            "this Python has none, so Maps cannot run in it; clusters can be started and stopped.",
            "On a machine where VisTrails or engines run, use the Python that they run in.",
        )
    else:
        yield _import_vistrails()
        yield _entry_point()
    yield from _settings(folder)


def _import_vistrails() -> Check:
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
    return Check("VisTrails", OK, f"{version}.")


def _entry_point() -> Check:
    modules = [point.value for point in metadata.entry_points(group="vistrails.packages")]
    if f"parallelflow.{user.OURS}" in modules:
        return Check("Registration", OK, "VisTrails finds the package by its entry point.")
    return Check(
        "Registration",
        WRONG,
        "VisTrails does not find the package: it is not registered under 'vistrails.packages'.",
        "Install Parallel Flow again, as in: pip install --force-reinstall .",
    )


def _settings(folder: Path) -> Iterator[Check]:
    advice = "Switch it on with: python -m parallelflow enable"
    try:
        startup = user.read_startup(folder)
    except ClusterError as error:
        yield Check("Settings", WRONG, str(error), "Correct or remove that file.")
        return
    if startup is None:
        yield Check("Settings", NOTE, f"VisTrails has not been started yet: {folder} has no settings.", advice)
        return
    if user.package(startup, user.OURS) is not None:
        yield Check("Settings", OK, "the package is switched on in VisTrails.")
    else:
        yield Check("Settings", WRONG, "the package is not switched on in VisTrails.", advice)
    if user.package(startup, user.BUNDLED) is not None:
        yield Check(
            "Settings",
            WRONG,
            "the package 'parallelflow' that VisTrails bundles, and which does not work any more, is switched on.",
            "Switch it off with: python -m parallelflow enable",
        )
    try:
        user.settings(folder)
    except ClusterError as error:
        yield Check("Preferences", WRONG, str(error), "Correct it with Packages > Parallel Flow > Preferences...")
    else:
        yield Check("Preferences", OK, "every value is allowed.")


# ---------------------------------------------------------------- the cluster


def _cluster(arguments: Arguments) -> Iterator[Check]:
    try:
        settings = user.settings(arguments.vistrails, arguments.profile)
    except ClusterError:
        settings = Settings.from_mapping({"profile": arguments.profile})
    name = settings.profile
    folder = profiles.ipython_dir() / f"profile_{name}"
    if not folder.is_dir():
        if name == "default":
            yield Check("Profile", NOTE, "'default' does not exist yet; it is made when it is first used.")
        else:
            known = ", ".join(profiles.profiles()) or "none"
            make = f"ipython profile create --parallel {name}"
            yield Check(
                "Profile",
                WRONG,
                f"there is no IPython profile '{name}'; those that exist: {known}.",
                f"Make it: {make}",
            )
        return
    yield Check("Profile", OK, f"'{name}', {folder}.")
    yield from _configuration(folder)
    yield _privacy(folder)
    try:
        with open_session(settings, "leave") as session:
            yield from _running(session)
    except ClusterError as error:
        yield Check("Cluster", WRONG, str(error))


def _configuration(folder: Path) -> Iterator[Check]:
    try:
        for application in ("ipcontroller", "ipengine", "ipcluster"):
            profiles.config(folder, application)
    except ClusterError as error:
        yield Check("Configuration", WRONG, str(error))
    else:
        yield Check("Configuration", OK, "the profile's configuration files can be read.")


def _privacy(folder: Path) -> Check:
    open_parts = [
        path
        for part in (profiles.security_dir(folder), profiles.log_dir(folder))
        for path in (part, *(part.glob("*.json") if part.is_dir() else ()))
        if path.exists() and path.stat().st_mode & 0o077
    ]
    if open_parts:
        names = " ".join(map(str, open_parts))
        return Check(
            "Privacy",
            WRONG,
            f"others can read {open_parts[0]}.",
            f"Whoever reads keys can run code as you: chmod go= {names}",
        )
    return Check("Privacy", OK, "only you can read the profile's keys and logs.")


def _running(session: Session) -> Iterator[Check]:
    connection = session.connect()
    if connection is None:
        yield Check("Cluster", OK, "none is running; a Map starts one, or: python -m parallelflow start")
        return
    yield Check("Cluster", OK, f"connected to the controller at {connection.url} on {connection.location}.")
    if not connection.client.ids:
        yield Check("Engines", WRONG, "the controller has no engines.", "Start some: python -m parallelflow start -n 2")
        return
    yield from _engines(connection.client)


def _engines(client: Any) -> Iterator[Check]:
    """Compare what all engines have with what is here; asks them all at once."""
    here = eval(_VERSIONS)
    requests = {number: client[number].apply_async(eval, _VERSIONS) for number in client.ids}
    end = time.monotonic() + _ANSWER_WITHIN
    for request in requests.values():
        request.wait(max(0.0, end - time.monotonic()))
    fine: list[int] = []
    for number, request in requests.items():
        if not request.ready():
            yield Check(f"Engine {number}", NOTE, f"it has not answered within {_ANSWER_WITHIN:.0f} s; it may be busy.")
        elif not request.successful():
            yield Check(f"Engine {number}", WRONG, f"it could not tell its versions: {request.exception()}.")
        else:
            problems = list(_differences(request.get(), here))
            for finding, advice in problems:
                yield Check(f"Engine {number} on {request.get()['host']}", WRONG, finding, advice)
            if not problems:
                fine.append(number)
    if fine:
        numbers = ", ".join(map(str, fine))
        yield Check("Engines", OK, f"{numbers}: the same Python, Parallel Flow, VisTrails and ipyparallel as here.")


def _differences(there: dict[str, Any], here: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What an engine lacks, and what to do about it."""
    where = f"for {there['executable']} there"
    same: Callable[[str], bool] = lambda name: there[name] == here[name]  # noqa: E731
    if not same("Python"):
        yield (
            f"it runs Python {there['Python']}, and here is {here['Python']}: functions do not travel between them.",
            "Start the engines with the same version of Python.",
        )
    if there[_DISTRIBUTION] is None:
        yield "it has no Parallel Flow.", f"Install vistrails-parallelflow {parallelflow.__version__} {where}."
    elif there[_DISTRIBUTION] != parallelflow.__version__:
        yield (
            f"it has Parallel Flow {there[_DISTRIBUTION]}, and here is {parallelflow.__version__}.",
            f"Install the same version {where}.",
        )
    if there["vistrails"] is None:
        yield "it has no VisTrails.", f"Install VisTrails {here['vistrails'] or 3} {where}."
    elif here["vistrails"] is not None and not same("vistrails"):
        yield f"it has VisTrails {there['vistrails']}, and here is {here['vistrails']}.", f"Install the same {where}."
    if str(there["ipyparallel"]).split(".")[0] != str(here["ipyparallel"]).split(".")[0]:
        yield (
            f"it has ipyparallel {there['ipyparallel']}, and here is {here['ipyparallel']}.",
            f"Install the same {where}.",
        )
