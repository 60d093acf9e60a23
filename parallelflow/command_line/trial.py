"""Starts an engine on each machine of a profile, to see what it lacks and which folders it shares with this machine."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from parallelflow.cluster import Session
from parallelflow.command_line.checks import FINE, NOTE, WRONG, Check

_ANSWER_WITHIN = 20.0  # seconds

# Asks an engine what it has. An expression, so that the engine needs nothing of ours to understand it. What lies on its path
# without being installed will do as well: VisTrails then has no version, and is still there.
WHAT_IT_HAS = """(lambda metadata, find, load, sys, platform: {
    "host": platform.node(),
    "executable": sys.executable,
    "Python": "%d.%d" % sys.version_info[:2],
    "Parallel Flow": getattr(load("parallelflow"), "__version__", None) if find("parallelflow") else None,
    "VisTrails": next((each.version for each in metadata.distributions(name="vistrails")), "") if find("vistrails") else None,
    "ipyparallel": metadata.version("ipyparallel"),
})(__import__("importlib.metadata").metadata, __import__("importlib.util").util.find_spec,
   __import__("importlib").import_module, __import__("sys"), __import__("platform"))"""

# Asks it which of some files it sees, which lie in folders here, and which of some folders it has.
_WHAT_IT_SEES = "(lambda os, files, folders: (list(map(os.path.exists, files)), list(map(os.path.isdir, folders))))"

Differences = Callable[[dict[str, Any], dict[str, Any]], Iterable[tuple[str, str]]]


def run(session: Session, vistrails: Path, differences: Differences) -> Iterator[Check]:
    """Start an engine on each machine, and ask it. What was started ends with the session.

    :param session: the session
    :param vistrails: VisTrails' folder for what belongs to the user
    :param differences: says what is wrong with an engine, from what it has and what is here
    :raises ClusterError: if no engine can be started
    """
    session.processes.one_each = True
    numbers = session.start_engines(1)
    for sentence in session.processes.lacking():
        yield Check("Machines", WRONG, sentence)
    connection = session.connection
    assert connection is not None
    here = eval(WHAT_IT_HAS)
    packages = vistrails / "userpackages"
    places = {
        "home folder": Path.home(),
        "working folder": Path.cwd(),
        "folder of your VisTrails packages": packages,
        "folder for temporary files": Path(tempfile.gettempdir()),
    }
    with ExitStack() as stack:
        marks = {
            what: stack.enter_context(tempfile.NamedTemporaryFile(prefix=".parallelflow-", dir=folder)).name
            for what, folder in places.items()
            if os.access(folder, os.W_OK)
        }
        folders = [str(places[what]) for what in marks]
        sees = f"{_WHAT_IT_SEES}(__import__('os'), {list(marks.values())!r}, {folders!r})"
        client = connection.client
        asked = {
            number: (client[number].apply_async(eval, WHAT_IT_HAS), client[number].apply_async(eval, sees))
            for number in numbers
        }
        end = time.monotonic() + _ANSWER_WITHIN
        for number, requests in asked.items():
            for request in requests:
                request.wait(max(0.0, end - time.monotonic()))
            if not all(request.ready() for request in requests):
                yield Check(
                    f"Engine {number}", WRONG, f"it started, but has not answered within {_ANSWER_WITHIN:.0f} s."
                )
                continue
            failed = next((request for request in requests if not request.successful()), None)
            if failed is not None:
                yield Check(f"Engine {number}", WRONG, f"it could not tell what it has: {failed.exception()}.")
                continue
            there, (seen, has) = requests[0].get(), requests[1].get()
            name = f"Machine {there['host']}"
            found = list(differences(there, here))
            for finding, advice in found:
                yield Check(name, WRONG, finding, advice)
            if not found:
                yield Check(name, FINE, "an engine starts there, and has the same versions as here.")
            yield from _shared(name, dict(zip(marks, zip(folders, seen, has, strict=True), strict=True)))


def _shared(name: str, folders: dict[str, tuple[str, bool, bool]]) -> Iterator[Check]:
    """What it shares with this machine.

    :param name: the machine
    :param folders: by what they are, folders of this machine, whether it sees what is in them, and whether it has such a folder
    """
    shared = [what for what, (_, seen, _) in folders.items() if seen]
    own = [f"{what} ({folder})" for what, (folder, seen, has) in folders.items() if not seen and has]
    missing = [f"{what} ({folder})" for what, (folder, seen, has) in folders.items() if not seen and not has]
    if shared:
        yield Check(name, FINE, f"it shares with this machine: {', '.join(shared)}.")
    if own:
        advice = "What elements write there is not seen here, and the other way round."
        yield Check(name, NOTE, f"it has its own: {', '.join(own)}.", advice)
    if missing:
        advice = "Elements cannot use files there; packages must be installed there, and engines work in a folder of their own."
        yield Check(name, NOTE, f"it lacks: {', '.join(missing)}.", advice)
