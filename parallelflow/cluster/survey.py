"""Which profiles have a cluster, without connecting to any. Takes up to 1.5 s."""

from __future__ import annotations

import socket
from pathlib import Path

from . import profile
from .connection import listening, read_connection_file
from .errors import ClusterError
from .state import ProfileState

_WITHIN = 1.5  # seconds for all profiles together


def survey(names: list[str]) -> list[ProfileState]:
    """Look at profiles, without connecting to anything and without changing anything.

    :param names: the profiles' names
    :returns: one state each, in the same order
    """
    places: dict[str, tuple[str, str]] = {}
    for name in names:
        place = _place(profile.ipython_dir() / f"profile_{name}")
        if place is not None:
            places[name] = place
    answers = listening({name: url for name, (url, _) in places.items()}, _WITHIN)
    return [ProfileState(name, bool(answers.get(name)), places[name][1] if name in places else "") for name in names]


def _place(folder: Path) -> tuple[str, str] | None:
    """The address of a profile's controller and the machine it runs on, if there seems to be one."""
    try:
        info = read_connection_file(profile.client_file(folder))
    except ClusterError:
        return None
    if info is None:
        return None
    location = str(info["location"])
    scheme, _, address = str(info["interface"]).partition("://")
    if address in ("*", "0.0.0.0"):
        address = "127.0.0.1" if location == socket.gethostname() else location
    return f"{scheme}://{address}:{info['registration']}", location
