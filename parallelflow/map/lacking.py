"""Which files and folders that elements name the hosts of the engines do not see; asked before any element runs.

An engine looks for what is on the modules' ports when it gets the plan, which may be after others have begun; and nobody but
the module itself knows what an element's file is for. So one engine of each host is asked first, where any are named.

May import ipyparallel, the cluster room, `parallelflow.map.forgetting` and `parallelflow.texts`. What runs in an engine needs the
standard library only.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import PurePath
from typing import Any
from weakref import WeakKeyDictionary

from parallelflow.cluster import internals
from parallelflow.map.forgetting import Forgetting
from parallelflow.texts import tr

# How long, in seconds, engines may take to tell. One that is busy looks for itself, when it gets the plan.
_TELL_WITHIN = 3.0
_LOOK_EVERY = 0.04

# So many paths are asked for: of a list of a hundred thousand files on a shared disk, the first ones tell.
_MOST = 1000

# By client the hosts of its engines, by the engines' uuids, as far as they have been asked.
_hosts: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()


# Of these, none is a file.
_PLAIN = frozenset({bool, int, float, complex, bytes, type(None)})


def paths_of(
    elements: Iterable[Iterable[Any]], pause: Callable[[], None] = lambda: None
) -> tuple[list[str], list[str]]:
    """Find the files and folders that elements name and that exist here.

    :param elements: for each element its values.
    :param pause: called at least every `_LOOK_EVERY` seconds while there are many; may raise.
    :returns: those that are files by their type, and those that are text, which may mean something else; no more than `_MOST`.
    """
    if isinstance(elements, Sequence) and _PLAIN.issuperset(map(type, chain.from_iterable(elements))):
        return [], []  # at a glance
    certain: dict[str, None] = {}
    perhaps: dict[str, None] = {}
    last = time.monotonic()
    for number, element in enumerate(elements):
        if not number % 100 and time.monotonic() > last + _LOOK_EVERY:
            pause()
            last = time.monotonic()
        for value in element:
            if type(value) in _PLAIN:
                continue
            for part in value if isinstance(value, list | tuple) and len(value) <= _MOST else (value,):
                name, found = (part, perhaps) if isinstance(part, str) else (_file(part), certain)
                if len(name) > 1 and name.startswith(os.sep) and "\0" not in name and os.path.exists(name):
                    found[name] = None
        if len(certain) + len(perhaps) >= _MOST:
            break
    return list(certain)[:_MOST], [name for name in perhaps if name not in certain][:_MOST]


def complaints(
    client: Any, on_ports: list[str], elements: Iterable[Iterable[Any]], pause: Callable[[], None]
) -> list[tuple[str, bool]]:
    """Say which engines' hosts do not see which files and folders.

    :param client: the ``ipyparallel.Client``.
    :param on_ports: those that are the same for all elements.
    :param elements: for each element its values.
    :param pause: as for `hosts_without`.
    :returns: by host a sentence, and whether they are files for certain; a text that names one may mean something else.
    """
    named, perhaps = paths_of(elements, pause)
    certain, found = {*on_ports, *named}, []
    for host, paths in hosts_without(client, [*on_ports, *named, *perhaps], pause).items():
        missing = [path for path in paths if path in certain]
        one, more = (missing or paths)[0], len(missing or paths) - 1
        what = tr("'{path}' and {more} more files or folders", path=one, more=more) if more else f"'{one}'"
        sentence = tr(
            "{host} does not see {what}, which VisTrails' machine has: keep them in a folder that both share.",
            host=host,
            what=what,
        )
        found.append((sentence, bool(missing)))
    return found


def _file(value: Any) -> str:
    """The path that a value is, '' if it is none: one of Python's, or of VisTrails' modules for files and folders."""
    if isinstance(value, PurePath):
        return str(value)
    name = getattr(value, "name", None) if any(each.__name__ == "PathObject" for each in type(value).__mro__) else None
    return os.path.abspath(name) if isinstance(name, str) and name else ""


def hosts_without(client: Any, paths: list[str], pause: Callable[[], None]) -> dict[str, list[str]]:
    """Ask the engines' hosts which of some paths they do not see.

    :param client: the ``ipyparallel.Client``.
    :param paths: absolute paths.
    :param pause: called at least every `_LOOK_EVERY` seconds while engines are asked.
    :returns: by host, in alphabetical order, what it does not see; hosts that have not told in time are left out.
    """
    known = _hosts.setdefault(client, {})
    there = internals.engines(client)
    if {known.get(uuid) for uuid in there.values()} == {platform.node()}:
        return {}  # all of them are here
    asked: dict[str, int] = {}  # one of each host, and all of which the host is not known
    for number, uuid in there.items():
        asked.setdefault(known.get(uuid, uuid), number)
    if not paths or not asked:
        return {}
    requests = {}
    forgetting = Forgetting(client)
    for number in asked.values():
        try:
            requests[number] = client.direct_view(number).apply_async(_lacks, paths)
        except Exception:  # it has just gone
            continue
    end = time.monotonic() + _TELL_WITHIN
    found: dict[str, list[str]] = {}
    for number, request in requests.items():
        while not request.ready() and time.monotonic() < end:
            request.wait(_LOOK_EVERY)
            pause()
        names = list(request.msg_ids)
        if not request.ready():
            forgetting.forget_when_answered(names)
            continue
        for name in names:
            forgetting.add(name)
        if request.successful():
            host, lacks = request.get()
            known[there[number]] = host
            if lacks:
                found[host] = lacks
    forgetting.forget(hub=True)
    return dict(sorted(found.items()))


def _lacks(paths: list[str]) -> tuple[str, list[str]]:
    """In an engine: its host, and which paths it does not see or may not look at."""
    return platform.node(), [path for path in paths if not os.path.exists(path)]
