"""VisTrails' configuration, as it is when a Map runs: it travels with the run, so that engines that are there already follow.

What the command line of batch mode says (``--output-directory``, ``--output-settings``) is in the *temporary* configuration,
preferences are in the *persistent* one. Of both only that travels which is not VisTrails' default. Packages have preferences of
their own; of these only that travels which is not the package's default.

May import VisTrails and `surroundings` of the map room.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from parallelflow import IDENTIFIER
from parallelflow.map import surroundings
from parallelflow.map.surroundings import Surroundings

# What an engine's VisTrails has of its own: it has no window, its folders may be others, and it never asks.
_OF_THE_PROCESS = frozenset(
    {
        "batch",
        "dotVistrails",
        "errorLog",
        "installBundles",
        "isRunningGUI",
        "jobCheckInterval",
        "loadPackages",
        "singleInstance",
        "spawned",
        "userPackageDir",
    }
)

# What a configuration says by name: a value, another such dictionary, or None where the default has a value and it has none.
Values = dict[str, Any]


@dataclass(frozen=True)
class Configuration:
    """What a run finds configured.

    :ivar temporary: what differs from VisTrails' defaults in this session.
    :ivar persistent: what differs from them in the preferences.
    :ivar surroundings: what is around VisTrails' process.
    :ivar packages: what differs from their defaults in the preferences of packages, by their codepaths.
    """

    temporary: Values
    persistent: Values
    surroundings: Surroundings
    packages: dict[str, Values] = field(default_factory=dict)


def current() -> Configuration:
    """Return this VisTrails' configuration."""
    temporary, persistent = ({**_values(each)} for each in _both())
    packages = {}
    for package, values in _of_packages():
        defaults = _defaults_of(package)
        if differing := {name: each for name, each in values.items() if name not in defaults or defaults[name] != each}:
            packages[package.codepath] = differing
    return Configuration(_without_defaults(temporary), _without_defaults(persistent), surroundings.current(), packages)


# What the preferences of packages said when they were loaded here, by codepath: what they have made of them then stays.
_as_loaded: dict[str, bytes] = {}


def take_over(configuration: Configuration) -> None:
    """Make a configuration this VisTrails' own, but for what belongs to the process.

    :param configuration: the user's.
    """
    surroundings.take_over(configuration.surroundings)
    for own, users in zip(_both(), (configuration.temporary, configuration.persistent), strict=True):
        _make(own, _values(own), {**_defaults(), **users})
    for package, values in _of_packages():
        _as_loaded.setdefault(package.codepath, _digest(values))
        wanted = {**_defaults_of(package), **configuration.packages.get(package.codepath, {})}
        _make(package.configuration, values, wanted)


def _make(own: Any, there: Values, wanted: Values) -> None:
    for name in (there.keys() | wanted.keys()) - _OF_THE_PROCESS:
        if there.get(name) != wanted.get(name):
            _set(own, name, wanted.get(name))


def of_package(codepath: str) -> bytes:
    """Return a digest of what a VisTrails package's preferences say.

    :param codepath: the package's.
    """
    from vistrails.core.packagemanager import get_package_manager

    found = get_package_manager().get_package_configuration(codepath)
    return _digest({} if found is None else _values(found))


def of_loaded_package(codepath: str) -> bytes | None:
    """Return the same, for this engine, if it is what they said when the package was loaded, too; else None.

    :param codepath: the package's.
    """
    now = of_package(codepath)
    return now if _as_loaded.get(codepath, now) == now else None


def _digest(values: Values) -> bytes:
    return hashlib.blake2b(json.dumps(values, sort_keys=True, default=repr).encode(), digest_size=16).digest()


def _of_packages() -> Iterator[tuple[Any, Values]]:
    """Yield the packages that are enabled and have preferences, with what these say; not ours, which says where elements run."""
    from vistrails.core.configuration import ConfigurationObject
    from vistrails.core.packagemanager import get_package_manager

    for package in get_package_manager().enabled_package_list():
        configuration = getattr(package.module, "configuration", None)
        if isinstance(configuration, ConfigurationObject) and package.identifier != IDENTIFIER:
            yield package, _values(configuration)


def _defaults_of(package: Any) -> Values:
    return {} if package._default_configuration is None else _values(package._default_configuration)


def _both() -> tuple[Any, Any]:
    from vistrails.core.configuration import get_vistrails_persistent_configuration, get_vistrails_temp_configuration

    return get_vistrails_temp_configuration(), get_vistrails_persistent_configuration()


@cache
def _defaults() -> Values:
    from vistrails.core.configuration import default

    return _values(default())


def _without_defaults(values: Values) -> Values:
    defaults = _defaults()
    names = (values.keys() | defaults.keys()) - _OF_THE_PROCESS
    return {name: values.get(name) for name in sorted(names) if values.get(name) != defaults.get(name)}


def _values(configuration: Any) -> Values:
    from vistrails.core.configuration import ConfigurationObject

    found = {}
    for name, key in configuration.db_config_keys_name_index.items():
        value = key.value
        found[name] = _values(value) if isinstance(value, ConfigurationObject) else value
    return found


def _set(configuration: Any, name: str, value: Any) -> None:
    from vistrails.core.configuration import ConfigKey

    # The usual way refuses what is not of the type that this VisTrails has seen first.
    key = configuration.db_config_keys_name_index.get(name)
    if key is not None:
        configuration.db_delete_config_key(key)
        configuration._unset_keys[name] = (None, type(key.value))
    if value is not None:
        configuration._unset_keys.pop(name, None)
        configuration.db_add_config_key(ConfigKey(name, _object(value)))


def _object(value: Any) -> Any:
    from vistrails.core.configuration import ConfigurationObject

    if not isinstance(value, dict):
        return value
    return ConfigurationObject(**{name: _object(each) for name, each in value.items()})
