"""What VisTrails calls when the package is enabled: its modules, its menu, its beginning and end. No logic."""

from __future__ import annotations

from collections.abc import Callable

from vistrails.core.packagemanager import get_package_manager

from parallelflow.cluster import PREFERENCES, Settings, configure, get_session
from parallelflow.map.module import Map, MapChunk

_modules = [Map, MapChunk]


def settings() -> Settings:
    """Return the preferences as they are now.

    :raises SettingsError: for a value that is not allowed.
    """
    # Preferences' "Restore Defaults" replaces the configuration object, so it is looked up at each use.
    stored = get_package_manager().get_package_configuration("ipyparallel_flow")
    return Settings.from_mapping({each.key: getattr(stored, each.key, None) for each in PREFERENCES})


def initialize() -> None:
    """Tell the cluster room where the preferences are and whom to ask."""
    configure(settings)


def finalize() -> None:
    """Stop what was started, or let it go, as the preferences say."""
    get_session().close()


def menu_items() -> list[tuple[str, Callable[..., None]]]:
    """Return the entries of Packages > Parallel Flow; the GUI is loaded when one is chosen."""

    def entry(name: str) -> Callable[..., None]:
        def choose(checked: bool = False) -> None:
            from parallelflow.gui.controller import controller

            getattr(controller(), name)()

        return choose

    return [
        ("Start new engine processes", entry("start_engines")),
        ("Show information on the cluster", entry("show_cluster")),
        ("Change profile", entry("change_profile")),
        ("Cleanup started processes", entry("clean_up")),
        ("Request cluster shutdown", entry("shut_down")),
    ]
