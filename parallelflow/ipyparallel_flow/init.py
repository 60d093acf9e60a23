"""What VisTrails calls when the package is enabled: its modules, its menu, its beginning and end. No logic."""

from __future__ import annotations

import atexit
from collections.abc import Callable

from vistrails.core import debug
from vistrails.core.application import get_vistrails_application
from vistrails.core.packagemanager import get_package_manager

from parallelflow.cluster import PREFERENCES, ClusterError, Settings, configure, get_session
from parallelflow.map import exports, implicit_loops, left_running, own_folder, shared_memory
from parallelflow.map.chunk_module import MapChunk
from parallelflow.map.implicit_chunk import LoopChunk
from parallelflow.map.module import Filter, For, Map
from parallelflow.texts import tr

_modules = [Map, Filter, For, MapChunk, LoopChunk]


def settings() -> Settings:
    """Return the preferences as they are now.

    :raises SettingsError: for a value that is not allowed.
    """
    # Preferences' "Restore Defaults" replaces the configuration object, so it is looked up at each use.
    stored = get_package_manager().get_package_configuration("ipyparallel_flow")
    return Settings.from_mapping({each.key: getattr(stored, each.key, None) for each in PREFERENCES})


def _has_window() -> bool:
    """Whether there is a window. VisTrails' graphical program says that a GUI runs in batch mode, too."""
    application = get_vistrails_application()
    return application.is_running_gui() and getattr(application, "builderWindow", None) is not None


def initialize() -> None:
    """Tell the cluster room where the preferences are and whom to ask; deal with what a crash left, as they say."""
    if _has_window():
        from parallelflow.gui.controller import controller

        configure(settings, controller().questions)
    else:
        configure(settings)
        try:
            get_session().settle()
        except ClusterError as error:
            debug.warning(str(error))
    shared_memory.remove_left()
    own_folder.take_part()
    _switch_bundled_package_off()
    atexit.register(_leave_nothing_to_finalize)
    exports.take_part()
    implicit_loops.take_part()


def _switch_bundled_package_off() -> None:
    """Keep VisTrails from enabling the package that it bundles at the next start; workflows made with it get our Map."""
    startup = get_vistrails_application().startup
    if "parallelflow" in startup.enabled_packages:
        startup.set_package_to_disabled("parallelflow")
        startup.save_persisted_startup()
        debug.warning(
            "Parallel Flow takes the place of the package 'parallelflow' that VisTrails bundles, which is disabled."
        )


def finalize() -> None:
    """Stop what was started, or let it go, as the preferences say."""
    exports.leave()
    implicit_loops.leave()
    if _has_window():
        from parallelflow.gui.controller import controller

        controller().close()
        return
    left_running.wait()
    try:
        get_session().close()
    except ClusterError as error:
        debug.critical(str(error))


def _leave_nothing_to_finalize() -> None:
    """Take `finalize` away when Python ends: where a batch run has failed, VisTrails asks for it after that, when it is None.

    What it does happens as Python ends, too; see `parallelflow.cluster.guard`.
    """
    globals().pop("finalize", None)


def menu_items() -> list[tuple[str, Callable[..., None]]]:
    """Return the entries of Packages > Parallel Flow.

    :returns: each entry's text, and what choosing it calls.
    """

    def entry(name: str) -> Callable[..., None]:
        def choose(checked: bool = False) -> None:
            from parallelflow.gui.controller import controller

            getattr(controller(), name)()

        return choose

    return [
        (tr("Start new engine processes"), entry("start_engines")),
        (tr("Show information on the cluster"), entry("show_cluster")),
        (tr("Change profile"), entry("change_profile")),
        (tr("Cleanup started processes"), entry("clean_up")),
        (tr("Request cluster shutdown"), entry("shut_down")),
        (tr("Run parameter exploration on the cluster"), entry("run_exploration")),
        (tr("Run loops of selected modules in parallel"), entry("mark_loops")),
        (tr("Run loops of selected modules one after the other"), entry("unmark_loops")),
        (tr("Make selected Maps parallel"), entry("make_parallel")),
        (tr("Make them serial again"), entry("make_serial")),
        (tr("Kept results..."), entry("kept_results")),
        (tr("Preferences..."), entry("change_preferences")),
    ]
