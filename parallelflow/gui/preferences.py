"""Our preferences where VisTrails keeps them: read, change and persist them, and refuse what is not allowed.

VisTrails' own dialog for them is a bare table that takes any value of the right type, so the values are watched as they
are set. May import VisTrails and the cluster's settings; of Qt only what brings the table up to date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from PyQt5.QtCore import QTimer
from PyQt5.QtWidgets import QApplication
from vistrails.core import debug
from vistrails.core.packagemanager import get_package_manager

from parallelflow.cluster import profile as profiles
from parallelflow.cluster.errors import SettingsError
from parallelflow.cluster.settings import PREFERENCES, Settings, Value
from parallelflow.gui import background
from parallelflow.gui.texts import tr

CODEPATH = "ipyparallel_flow"

_KEYS = tuple(preference.key for preference in PREFERENCES)


def _stored(default: Value) -> Value:
    """A default as VisTrails' table is to have it: where it may only be a number, the table lets only digits in."""
    return int(default) if isinstance(default, float) and default.is_integer() else default


class Preferences:
    """The preferences of the package as it is enabled now.

    :param refused: told, in the event loop, a sentence on each value that was refused
    :param profile_set: told the profile's name whenever it was set
    """

    def __init__(self, refused: Callable[[str], None], profile_set: Callable[[str], None]) -> None:
        self._refused = refused
        self._profile_set = profile_set
        self._good: dict[str, Value] = {}
        self._told: set[str] = set()
        self._looking_for: set[str] = set()
        self._watched: Any = None
        self._writing = False
        self._closed = False

    # ------------------------------------------------------------ where VisTrails keeps them

    @property
    def _package(self) -> Any:
        # "Restore Defaults" replaces the package's configuration, so it is looked up at each use.
        return get_package_manager().get_package_by_codepath(CODEPATH)

    def _copies(self) -> list[Any]:
        """The values in use and the values to be saved; VisTrails keeps them apart."""
        package = self._package
        found = [package.configuration, getattr(package, "persistent_configuration", None)]
        return [each for each in found if each is not None]

    def watch(self) -> None:
        """Begin: give every preference its place, and have a look at each value that is set from now on."""
        package = self._package
        # Copies inherit the watchers, so watching the defaults means watching what they are restored to.
        found = [*self._copies(), getattr(package, "_default_configuration", None)]
        objects = {id(each): each for each in found if each is not None}
        for preference in PREFERENCES:
            self._good[preference.key] = preference.default
            for configuration in objects.values():
                if not configuration.has(preference.key):
                    setattr(configuration, preference.key, _stored(preference.default))
        for key in _KEYS:
            # A profile that is not there now, on a disk that is not mounted, is no reason to forget its name.
            self._check(key, getattr(package.configuration, key), just_set=False)
            for configuration in objects.values():
                # VisTrails trips over watchers that have gone, so this one stays; it does nothing once we are closed.
                configuration.subscribe(key, lambda name, value: self._check(name, value, just_set=True))
        # "Restore Defaults" replaces the configuration and sets no value, so no watcher hears of it.
        package.reset_configuration = self._restore
        self._watched = package

    def _restore(self) -> None:
        """Restore the defaults, in place of the package's own method."""
        type(self._watched).reset_configuration(self._watched)
        for key in _KEYS:
            self._check(key, getattr(self._watched.configuration, key), just_set=False)
        self._profile_set(str(self._good["profile"]))

    def close(self) -> None:
        """Watch no longer."""
        self._closed = True
        del self._watched.reset_configuration

    # ------------------------------------------------------------ read and change

    def read(self) -> Settings:
        """Return the values as they are now.

        :raises SettingsError: for a value that is not allowed
        """
        configuration = self._package.configuration
        return Settings.from_mapping({key: getattr(configuration, key) for key in _KEYS})

    def write(self, values: Mapping[str, Value]) -> None:
        """Change values, and have VisTrails save them.

        :param values: preference names and allowed values
        :raises SettingsError: for a value that is not allowed; nothing is changed then
        """
        Settings.from_mapping(values)
        self._good.update(values)
        with self._unwatched():
            for key, value in values.items():
                for configuration in self._copies():
                    old = getattr(configuration, key)
                    setattr(configuration, key, type(old)(value))
            self._package.persist_configuration()
        QTimer.singleShot(0, self._refresh_table)

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        """Set values ourselves, and have VisTrails save them, which sets them again."""
        self._writing = True
        try:
            yield
        finally:
            self._writing = False

    # ------------------------------------------------------------ refuse

    def _check(self, key: str, value: object, just_set: bool) -> None:
        """Look at a value: put the last good one back if it is not allowed."""
        if self._closed or self._writing or isinstance(value, tuple):
            return
        try:
            good = getattr(Settings.from_mapping({key: value}), key)
        except SettingsError as error:
            self._refuse(key, value, str(error))
            return
        if key == "profile" and just_set and good != self._good[key]:
            self._look_for_profile(good)
            return
        self._good[key] = good
        if key == "profile" and just_set:
            self._profile_set(good)

    def _look_for_profile(self, name: str) -> None:
        """Refuse a profile that does not exist, as soon as that is known: its disk may be slow."""
        if name in self._looking_for:
            return  # VisTrails' table sets each value several times
        self._looking_for.add(name)

        def ended(error: BaseException | None) -> None:
            self._looking_for.discard(name)
            if self._closed or self._package.configuration.profile != name:
                return
            if error is not None:
                self._refuse("profile", name, str(error))
            else:
                self._good["profile"] = name
                self._profile_set(name)

        look = background.run(lambda: profiles.find(name))
        look.succeeded.connect(lambda found: ended(None))
        look.failed.connect(ended)
        look.start()

    def _refuse(self, key: str, value: object, sentence: str) -> None:
        last = self._good[key]
        with self._unwatched():
            for configuration in self._copies():
                if getattr(configuration, key) == value:
                    setattr(configuration, key, type(value)(last))  # type: ignore[call-arg]
            self._package.persist_configuration()
        kept = tr("{sentence}\nIt stays '{value}'.", sentence=sentence, value=last)
        # VisTrails' table sets each value twice.
        if kept not in self._told:
            self._told.add(kept)
            debug.warning(kept)
            QTimer.singleShot(0, lambda: self._tell(kept))

    def _tell(self, sentence: str) -> None:
        self._told.discard(sentence)
        if not self._closed:
            self._refresh_table()
            self._refused(sentence)

    def _refresh_table(self) -> None:
        if not self._closed:
            refresh_table(self._copies())


def refresh_table(configurations: list[Any]) -> None:
    """Have VisTrails' own table of these values, if it is open, show what they are now.

    :param configurations: VisTrails' configuration objects that hold the values
    """
    with suppress(ImportError):
        from vistrails.gui.configuration import QConfigurationTreeWidget

        for widget in QApplication.allWidgets():
            if isinstance(widget, QConfigurationTreeWidget) and any(
                widget._configuration is configuration for configuration in configurations
            ):
                widget.create_tree(widget._configuration, widget._temp_configuration)
