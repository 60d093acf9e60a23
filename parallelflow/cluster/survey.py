"""Which profiles have a cluster, without connecting to any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parallelflow import threads

from . import profile
from .connecting import answers_by_ssh, hub_url, whereabouts
from .errors import ClusterError
from .ports import find_controller, listening
from .state import ProfileState

_WITHIN = 1.5  # seconds for all controllers together
_BY_SSH = 6.0  # seconds for those that are reached by ssh, where there are any


@dataclass
class _Place:
    """A controller that a connection file names.

    :ivar folder: the profile's folder
    :ivar info: the connection file's content
    :ivar running: whether it answers; None if nobody knows
    """

    folder: Path
    info: dict[str, Any]
    here: bool = False
    address: str = ""
    running: bool | None = None

    @property
    def location(self) -> str:
        return str(self.info["location"])

    @property
    def by_ssh(self) -> bool:
        return bool(self.info.get("ssh")) and not self.here

    def look_up(self) -> None:
        self.here, self.address = whereabouts(self.folder, self.info)

    def is_held(self) -> bool:
        """Whether a controller holds its port on this machine, also one that does not answer."""
        port = str(self.info["registration"])
        return port.isdigit() and find_controller(int(port)) is not None

    def look_by_ssh(self) -> None:
        self.running = answers_by_ssh(self.info, _BY_SSH)


def survey(names: list[str]) -> list[ProfileState]:
    """Look at profiles, without changing anything. Takes up to 1.5 s, and where ssh leads to controllers up to 6 s.

    :param names: the profiles' names
    :returns: one state each, in the same order
    """
    places: dict[str, list[_Place]] = {}
    for name in names:
        folder = profile.folder_of(name)
        found = (_read(profile.client_file(folder, cluster)) for cluster in ("", *profile.other_clusters(folder)))
        places[name] = [_Place(folder, info) for info in found if info is not None]
    everywhere = [place for each in places.values() for place in each]
    _all_at_once([place.look_up for place in everywhere], _WITHIN)
    by_ssh = [place for place in everywhere if place.by_ssh]
    # Nobody else knows of a controller that can be reached from its own machine only.
    urls = {
        str(number): url
        for number, place in enumerate(everywhere)
        if not place.by_ssh and (url := hub_url(place.info, place.here, place.address))
    }
    for number, answer in listening(urls, _WITHIN).items():
        place = everywhere[int(number)]
        # A controller elsewhere that is silent may be behind a firewall; one here is busy or stopped, or it is gone.
        place.running = (bool(answer) or (answer is None and place.is_held())) if place.here else answer
    _all_at_once([place.look_by_ssh for place in by_ssh], _BY_SSH)
    return [_state(name, places[name]) for name in names]


def _state(name: str, places: Sequence[_Place]) -> ProfileState:
    # The first one that answers is the one that would be used.
    for answer in (True, None):
        for place in places:
            if place.running is answer:
                return ProfileState(name, answer, place.location, place.here)
    return ProfileState(name, False, places[0].location, places[0].here) if places else ProfileState(name, False)


def _all_at_once(looks: Sequence[Callable[[], object]], timeout: float) -> None:
    futures.wait([threads.start(look, "parallelflow-survey") for look in looks], timeout)


def _read(path: Path) -> dict[str, Any] | None:
    """What a connection file says, if it says anything."""
    try:
        return profile.read_connection_file(path)
    except ClusterError:
        return None
