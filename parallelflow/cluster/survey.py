"""Which profiles have a cluster, without connecting to any. Takes up to 1.5 s."""

from __future__ import annotations

import socket
from pathlib import Path

from . import profile
from .errors import ClusterError
from .ports import listening
from .state import ProfileState

_WITHIN = 1.5  # seconds for all profiles together


def survey(names: list[str]) -> list[ProfileState]:
    """Look at profiles, without connecting to anything and without changing anything.

    :param names: the profiles' names
    :returns: one state each, in the same order
    """
    places: dict[str, list[tuple[str, str]]] = {}
    for name in names:
        folder = profile.folder_of(name)
        found = (_place(profile.client_file(folder, cluster)) for cluster in ("", *profile.other_clusters(folder)))
        places[name] = [place for place in found if place is not None]
    answers = listening({url: url for each in places.values() for url, _ in each}, _WITHIN)
    states = []
    for name in names:
        # The first one that answers is the one that would be used.
        answering = [location for url, location in places[name] if answers[url]]
        locations = answering or [location for _, location in places[name]] or [""]
        states.append(ProfileState(name, bool(answering), locations[0]))
    return states


def _place(path: Path) -> tuple[str, str] | None:
    """The address of the controller that a connection file names and the machine it runs on, if there seems to be one."""
    try:
        info = profile.read_connection_file(path)
    except ClusterError:
        return None
    if info is None:
        return None
    location = str(info["location"])
    scheme, _, address = str(info["interface"]).partition("://")
    if address in ("*", "0.0.0.0"):
        address = "127.0.0.1" if location == socket.gethostname() else location
    return f"{scheme}://{address}:{info['registration']}", location
