"""Checks of a profile, of the connection to its cluster, and of what its engines have."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import parallelflow
from parallelflow.cluster import ClusterError, Session, Settings
from parallelflow.cluster import profile as profiles
from parallelflow.command_line import trial, user
from parallelflow.command_line.checks import FINE, NOTE, WRONG, Check
from parallelflow.command_line.clusters import open_session
from parallelflow.command_line.folder_checks import folders

_ANSWER_WITHIN = 10.0  # seconds


def cluster(folder: Path, profile: str | None, tries: bool = False) -> Iterator[Check]:
    """Check a profile and its cluster.

    :param folder: VisTrails' folder for what belongs to the user
    :param profile: the profile; None: the one of VisTrails' preferences
    :param tries: whether to start an engine on each machine
    """
    try:
        settings = user.settings(folder, profile)
    except ClusterError:  # which is among the checks of VisTrails
        try:
            settings = Settings.from_mapping({"profile": profile})
        except ClusterError as error:
            yield Check("Profile", WRONG, str(error))
            return
    name = settings.profile
    place = profiles.folder_of(name)
    if not place.is_dir():
        if name == "default":
            yield Check("Profile", NOTE, "'default' does not exist yet; it is made when it is first used.")
            yield from folders(place, folder)
        else:
            known = ", ".join(profiles.profiles()) or "none"
            finding = f"there is no IPython profile '{name}'; those that exist: {known}."
            yield Check("Profile", WRONG, finding, f"Make it: ipython profile create --parallel {name}")
        return
    yield Check("Profile", FINE, f"'{name}', {place}.")
    yield from folders(place, folder)
    yield _configuration(place)
    yield _privacy(place)
    try:
        with open_session(settings) as session:
            yield from _running(session)
        if tries:
            with open_session(settings) as session:
                yield from trial.run(session, folder, differences)
    except ClusterError as error:
        yield Check("Cluster", WRONG, str(error))


def _configuration(place: Path) -> Check:
    try:
        for application in ("ipcontroller", "ipengine", "ipcluster"):
            profiles.config(place, application)
    except ClusterError as error:
        return Check("Configuration", WRONG, str(error))
    return Check("Configuration", FINE, "the profile's configuration files can be read.")


def _privacy(place: Path) -> Check:
    try:
        open_parts = [path for path in _secret(place) if path.stat().st_mode & 0o077]
    except OSError as error:
        return Check("Privacy", WRONG, f"it cannot be looked at who can read {error.filename}: {error.strerror}.")
    if open_parts:
        names = " ".join(map(str, open_parts))
        return Check(
            "Privacy",
            WRONG,
            f"others can read {open_parts[0]}.",
            f"Whoever reads keys can run code as you: chmod go= {names}",
        )
    return Check("Privacy", FINE, "only you can read the profile's keys and logs.")


def _secret(place: Path) -> Iterator[Path]:
    """What only its owner should be able to read.

    A profile that was just made has an empty folder of logs that everybody can read; that is put right when it is used.
    """
    for part in (profiles.security_dir(place), profiles.log_dir(place)):
        if part.is_dir():
            content = list(part.iterdir())
            if content or part == profiles.security_dir(place):
                yield part
            yield from (path for path in content if path.suffix == ".json")


def _running(session: Session) -> Iterator[Check]:
    connection = session.connect(settle=False)
    if connection is None:
        yield Check("Cluster", FINE, "none is running; a Map can start one, and so can: python -m parallelflow start")
        return
    yield Check("Cluster", FINE, f"connected to the controller at {connection.url} on {connection.location}.")
    if not connection.client.ids:
        yield Check("Engines", WRONG, "the controller has no engines.", "Start some: python -m parallelflow start -n 2")
        return
    yield from _engines(connection.client)


def _engines(client: Any) -> Iterator[Check]:
    """Compare what all engines have with what is here; asks them all at once."""
    here = eval(trial.WHAT_IT_HAS)
    requests = {number: client[number].apply_async(eval, trial.WHAT_IT_HAS) for number in client.ids}
    end = time.monotonic() + _ANSWER_WITHIN
    for request in requests.values():
        request.wait(max(0.0, end - time.monotonic()))
    same: list[int] = []
    for number, request in requests.items():
        if not request.ready():
            yield Check(f"Engine {number}", NOTE, f"it has not answered within {_ANSWER_WITHIN:.0f} s; it may be busy.")
        elif not request.successful():
            yield Check(f"Engine {number}", WRONG, f"it could not tell what it has: {request.exception()}.")
        else:
            found = list(differences(request.get(), here))
            for finding, advice in found:
                yield Check(f"Engine {number} on {request.get()['host']}", WRONG, finding, advice)
            if not found:
                same.append(number)
    if same:
        numbers = ", ".join(map(str, same))
        what = ["Python", "Parallel Flow", *(["VisTrails"] if here["VisTrails"] is not None else []), "ipyparallel"]
        versions = ", ".join(f"{name} {here[name]}".rstrip() for name in what)
        yield Check("Engines", FINE, f"{numbers}: as here, {versions}.")


def differences(there: dict[str, Any], here: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with an engine.

    :param there: what the engine has: ``executable``, and versions by name; None for what it lacks, '' if nobody knows
    :param here: the same of this Python
    :returns: findings, each with what to do
    """
    where = f"for {there['executable']} there"
    if there["Python"] != here["Python"]:
        yield (
            f"it runs Python {there['Python']}, and here is {here['Python']}: functions do not travel between them.",
            "Start the engines with the same version of Python.",
        )
    if there["Parallel Flow"] is None:
        yield (
            "it has no Parallel Flow, so Maps cannot run there.",
            f"Install vistrails-parallelflow {parallelflow.__version__} {where}.",
        )
    elif there["Parallel Flow"] != here["Parallel Flow"]:
        yield (
            f"it has Parallel Flow {there['Parallel Flow']}, and here is {here['Parallel Flow']}.",
            f"Install the same version {where}.",
        )
    if there["VisTrails"] is None:
        yield "it has no VisTrails, so Maps cannot run there.", f"Install VisTrails {here['VisTrails'] or 3} {where}."
    elif there["VisTrails"] and here["VisTrails"] and there["VisTrails"] != here["VisTrails"]:
        yield (
            f"it has VisTrails {there['VisTrails']}, and here is {here['VisTrails']}.",
            f"Install the same version {where}.",
        )
    if there["ipyparallel"].split(".")[0] != here["ipyparallel"].split(".")[0]:
        yield (
            f"it has ipyparallel {there['ipyparallel']}, and here is {here['ipyparallel']}.",
            f"Install the same version {where}.",
        )
