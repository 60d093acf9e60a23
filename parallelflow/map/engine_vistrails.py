"""VisTrails in an engine: started on the first task, like the user's; packages and subworkflows, as plans need them.

May import VisTrails and the map room. Nothing of VisTrails is imported before it is started.
"""

from __future__ import annotations

import builtins
import contextlib
import datetime
import functools
import gc
import importlib.util
import os
import platform
import random
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parallelflow.map import loaded_code, package_code, shared_files, surroundings
from parallelflow.map.chance import chance
from parallelflow.map.outcomes import Host
from parallelflow.map.own_folder import for_life, own_folder

if TYPE_CHECKING:
    from parallelflow.map.needs import Environment, Package, Subworkflow

_application: Any = None

# VisTrails' own packages that cost seconds and hundreds of megabytes, and do nothing for plans without modules of theirs.
_LARGE = frozenset(
    {"org.vistrails.vistrails.vtk", "org.vistrails.vistrails.matplotlib", "org.vistrails.vistrails.sklearn"}
)


class Refused(Exception):
    """A plan cannot run here; `str()` is the reason, a sentence."""


class Unfit(Refused):
    """No plan at all can run here."""


def started() -> bool:
    """Whether this process is an engine that runs elements of a Map."""
    return _application is not None


def start(environment: Environment, said: Callable[[], str] = str) -> None:
    """Start a VisTrails like the user's, unless it has been started: same packages, same configuration.

    It works with the user's folder, or one of its own where that cannot be used.

    :param environment: the user's VisTrails.
    :param said: returns what has been printed here since the start began, for the reason why it failed.
    :raises Refused: when VisTrails does not start.
    """
    global _application
    have_a_folder()
    surroundings.follow_path(environment.path)
    if _application is not None:
        return
    loaded_code.look(at_start=True)  # packages are loaded later than this, not when the process began
    plain_import = builtins.__import__
    with own_folder() as folder:
        # VisTrails writes where it starts, so it starts in a folder of its own, which goes at once. From then on it saves no
        # start-up file.
        Path(folder, "startup.xml").write_bytes(environment.startup)
        options = {
            "batch": True,
            "installBundles": False,
            "errorLog": False,
            "dotVistrails": folder,
            "singleInstance": False,
            "loadPackages": False,  # those of the start-up file need not be those that are enabled by now
        }
        if environment.user_packages and os.path.isdir(environment.user_packages):
            options["userPackageDir"] = environment.user_packages

        import vistrails.core.application
        from vistrails.core import debug

        messages = debug.DebugPrint.getInstance()
        if environment.to_console:
            messages.log_to_console()
        try:
            application = vistrails.core.application.init(options, args=[])
        except SystemExit as error:  # VisTrails' way to say that it cannot start
            raise Unfit(f"VisTrails did not start there:\n{said()}") from error
        application.startup._dot_vistrails = None
        application.temp_configuration.dotVistrails = _folder_to_work_in(environment.dot_vistrails)
        _raise_for_exits()
        _draw_for_groups_elsewhere()
        chance.watch()
        messages.set_message_level(environment.message_level)
        _application = application
        shared_files.open_in_this_process()
        for package in environment.packages:
            # One that needs a window, for instance, is refused; a plan says what it cannot do without.
            if package.identifier not in _LARGE:
                with contextlib.suppress(Refused):
                    enable_package(package)
    # VisTrails watches every import, to reload packages; an engine never reloads any, and a watched import statement
    # inside a module's compute() costs up to a millisecond.
    builtins.__import__ = plain_import
    from parallelflow.map import short_way

    short_way.open_in_this_process()
    shared_files.let_upstream_run()
    loaded_code.look(at_start=True)
    # What start-up left behind never dies: without it, each full collection during a chunk is 40 ms shorter.
    gc.collect()
    gc.freeze()


def have_a_folder() -> None:
    """Go elsewhere if the working folder, or the one for temporary files, has been removed since this process was started."""
    if not os.path.isdir(tempfile.gettempdir()):
        tempfile.tempdir = None  # look again
    try:
        os.getcwd()
    except OSError:
        os.chdir(tempfile.gettempdir())


def _folder_to_work_in(users: str) -> str:
    """Return the user's folder, or one that goes with this process: this may be another machine, or another user."""
    if os.path.isdir(users) and os.access(users, os.R_OK | os.W_OK | os.X_OK):
        return users
    return for_life()


def _raise_for_exits() -> None:
    """Have a package that ends the process when it cannot be loaded fail like others, which VisTrails clears up after."""
    from vistrails.core.modules.package import Package

    def without_exit(step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def run(*arguments: Any) -> Any:
            try:
                return step(*arguments)
            except SystemExit as error:
                raise RuntimeError(f"it ends the process, with {error!r}") from error

        return run

    for name in ("load", "initialize"):
        setattr(Package, name, without_exit(getattr(Package, name)))


def _draw_for_groups_elsewhere() -> None:
    """Have VisTrails draw the signatures of what comes into a Group from a generator of its own.

    It takes the one that elements draw from, and every element with a Group would be one that has drawn random numbers.
    """
    from vistrails.core.modules import sub_module

    sub_module.random = random.Random()


@functools.cache
def host() -> Host:
    """Return the machine and process that this is, as the log is to have them."""
    from vistrails.core.log.controller import LogController

    machine = LogController.get_local_machine()
    offset = datetime.datetime.now().astimezone().utcoffset() or datetime.timedelta()
    fields = {key: getattr(machine, key) for key in ("name", "os", "architecture", "processor", "ram")}
    return Host(platform.node(), os.getpid(), offset.total_seconds(), fields)


def enable_package(package: Package) -> None:
    """Enable a package, whose dependencies are enabled.

    :param package: the package.
    :raises Refused: when it is not there, does not load, or is of another version.
    """
    from vistrails.core.packagemanager import get_package_manager

    manager = get_package_manager()
    python_name = f"{package.prefix or ''}{package.codepath}"
    name = f"the VisTrails package '{package.codepath}' ({package.identifier}, version {package.version})"
    if not manager.has_package(package.identifier):
        # Where VisTrails found it, for one that is in none of the places where VisTrails looks by itself.
        prefixes = {} if package.prefix is None else {package.codepath: package.prefix}
        if package.codepath not in manager.available_package_names_list() and not _can_import(package):
            raise Refused(f"it lacks {name}; install it there")
        try:
            with shared_files.loading(package.identifier):
                manager.late_enable_package(package.codepath, prefixes)
            package_code.code_of(python_name)  # remembers what it is now
        except (Exception, SystemExit) as error:  # whatever its code does
            raise Refused(f"it cannot load {name}: {error or type(error).__name__}") from error
    found = manager.get_package(package.identifier).version
    if found != package.version:
        raise Refused(f"it has version {found} of {name}")
    if (changed := package_code.changed(package.code, package_code.code_of(python_name))) is not None:
        raise Refused(
            f"it has loaded other code of {name} than VisTrails: '{changed}' has changed in between. Start engines anew, or, if the"
            " engine is the newer one, reload the package in VisTrails"
        )
    try:
        shared_files.check(package.identifier)
    except shared_files.CannotLock as error:
        raise Refused(f"{error} ({name})") from error


def _can_import(package: Package) -> bool:
    try:
        return importlib.util.find_spec(f"{package.prefix or ''}{package.codepath}") is not None
    except ImportError:
        return False


_subworkflows: dict[tuple[str, ...], bytes] = {}


def add_subworkflows(subworkflows: Iterable[Subworkflow]) -> None:
    """Register the subworkflows that no package brings.

    :param subworkflows: all that the plan needs, inner ones before those that are made of them.
    """
    from vistrails.core.modules.module_registry import get_module_registry
    from vistrails.core.modules.sub_module import new_abstraction
    from vistrails.core.vistrail.vistrail import Vistrail
    from vistrails.db.services.io import unserialize

    registry = get_module_registry()
    for sub in subworkflows:
        key = (sub.package, sub.name, sub.namespace, sub.package_version, sub.version)
        if registry.has_descriptor_with_name(*key):
            if _subworkflows.get(key, sub.vistrail) == sub.vistrail:
                continue
            # Of another VisTrails, which was closed before it was saved: this one has changed the saved one in its own way.
            there = registry.get_descriptor_by_name(*key)
            registry.delete_descriptor(there, registry.package_versions[(sub.package, sub.package_version)])
            registry._module_key_map.pop(there.module, None)
        _subworkflows[key] = sub.vistrail
        vistrail = unserialize(sub.vistrail, Vistrail.vtType)
        Vistrail.convert(vistrail)
        module = new_abstraction(sub.name, vistrail, "", int(sub.version))
        registry.auto_add_module(
            (
                module,
                {
                    "package": sub.package,
                    "package_version": sub.package_version,
                    "namespace": sub.namespace,
                    "version": sub.version,
                    "hide_namespace": True,
                },
            )
        )
        registry.auto_add_ports(module)
