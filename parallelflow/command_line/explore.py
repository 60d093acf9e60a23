"""Runs a parameter exploration of a vistrail, without a window.

VisTrails is started here as its own batch mode starts it: with Qt where that is installed, because cells of the spreadsheet need
it, but on no screen. What output modules write is written, and the log of the cells is saved in the vistrail, as VisTrails' batch
mode does.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from parallelflow import IDENTIFIER
from parallelflow.cluster.errors import ClusterError
from parallelflow.command_line import user
from parallelflow.command_line.arguments import Arguments
from parallelflow.command_line.output import FAILED, FINE, INTERRUPTED, Output, table

if TYPE_CHECKING:
    from parallelflow.explorations.exploring import Exploring


_INTERRUPTED = "Interrupted."
_NOT_RUN = "not run"


def explore(arguments: Arguments, output: Output) -> int:
    """Run a parameter exploration.

    :param arguments: what was typed
    :param output: where the answer goes
    :returns: the exit code, which also says whether all cells are there
    :raises ClusterError: if there is no such vistrail or exploration, or it cannot be run
    """
    path, folder = Path(str(arguments.file)).absolute(), arguments.folder
    if not path.is_file():
        raise ClusterError(f"{path} is a folder, not a vistrail." if path.is_dir() else f"There is no file {path}.")
    for each in (path, folder):
        if each is not None and (why := user.name_trouble(each)):
            raise ClusterError(why)
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ClusterError(f"{folder} is a file: --output-directory takes a folder.")
    # What cells print is no part of the answer for programs.
    printed = contextlib.redirect_stdout(sys.stderr) if arguments.json else contextlib.nullcontext()
    with printed, _vistrails(arguments), _opened(path) as (controller, locator):
        exploring, name, trouble = _run(controller, arguments, output)
        saved = _save(controller, locator, path) if exploring.shown else ""
    cells = _cells(exploring)
    failed = [cell for cell in cells if cell["error"]]
    kept = exploring.what_is_kept() if failed or trouble else ""
    output.answer(
        _describe(name, cells, [each for each in (trouble, saved, kept) if each]),
        {"exploration": name, "cells": cells, "error": trouble or None},
    )
    if trouble == _INTERRUPTED:
        return INTERRUPTED
    return FAILED if failed or trouble else FINE


@contextlib.contextmanager
def _vistrails(arguments: Arguments) -> Iterator[None]:
    """Start VisTrails in batch mode, and stop it in the end."""
    startup = user.read_startup(arguments.vistrails)
    if user.package(startup, user.OURS) is None:
        raise ClusterError("Parallel Flow is not enabled in VisTrails. Enable it with: python -m parallelflow enable")
    options: dict[str, Any] = {
        "batch": True,
        "dotVistrails": str(arguments.vistrails),
        "installBundles": False,
        "singleInstance": False,
        "errorLog": False,
        "handlerDontAsk": True,
    }
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        options["outputDirectory"] = str(arguments.folder.absolute())
    from parallelflow.map.engine_vistrails import have_a_folder

    have_a_folder()  # VisTrails does not start without
    # VisTrails' messages are for its own log file; what concerns the exploration is said here.
    logging.getLogger("vistrails").addHandler(logging.NullHandler())
    logging.getLogger("vistrails").propagate = False
    with_qt = importlib.util.find_spec("PyQt5") is not None
    if with_qt:
        if not any(os.environ.get(each) for each in ("DISPLAY", "WAYLAND_DISPLAY")):
            os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")  # what it cannot do without a screen
        from vistrails.core.application import get_vistrails_application
        from vistrails.gui.application import start_application, stop_application

        start_application(options, args=[])
        started = get_vistrails_application()
        try:
            yield
        finally:
            stop_application()
            started.destroy = lambda: None  # it would do so again when half of Python is gone
    else:
        from vistrails.core import application

        started = application.init(options, args=[])
        try:
            yield
        finally:
            started.finishSession()
            started.destroy()
            application.set_vistrails_application(None)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a vistrail; yields its controller, and where it is stored."""
    from vistrails.core.db.io import load_vistrail
    from vistrails.core.db.locator import FileLocator
    from vistrails.core.packagemanager import get_package_manager
    from vistrails.core.vistrail.controller import VistrailController

    if not get_package_manager().has_package(IDENTIFIER):
        raise ClusterError(
            "VisTrails could not load the package Parallel Flow. To see why, use: python -m parallelflow doctor"
        )
    locator = FileLocator(str(path))
    try:
        yield VistrailController(*_loaded(load_vistrail, locator)), locator
    finally:
        locator.close()  # removes what it has unpacked


def _loaded(load: Any, locator: Any) -> tuple[Any, ...]:
    try:
        vistrail, abstractions, thumbnails, mashups = load(locator)
    except Exception as error:  # whatever is wrong with the file
        raise ClusterError(f"VisTrails cannot open {locator.name}: {error}") from error
    return vistrail, locator, abstractions, thumbnails, mashups


def _find(controller: Any, wanted: str | None) -> Any:
    """The exploration of that name or number, or of the version with that tag; without one, the only one there is.

    Of several with the same name it is the last one, as a version that VisTrails upgrades, or that is converted, leaves them to the
    new one; unless their versions have different tags.
    """
    vistrail = controller.vistrail
    every = sorted(vistrail.parameter_explorations, key=lambda each: each.id)
    if not every:
        raise ClusterError("There is no parameter exploration in this vistrail.")
    known = _distinct(vistrail, every)
    names = ", ".join(f"{_name(each)} ({_version(vistrail, each.action_id)})" for each in known)
    if wanted is None:
        found, several = known, f"There are {len(known)} parameter explorations in this vistrail: {names}."
    else:
        by_number = [each for each in every if str(each.id) == wanted]
        found = [each for each in known if _name(each) == wanted] or by_number or _of_version(vistrail, every, wanted)
        numbers = ", ".join(f"{each.id} ('{_name(each)}', {_version(vistrail, each.action_id)})" for each in found)
        several = f"There are {len(found)} parameter explorations '{wanted}' in this vistrail: {numbers}."
    if not found:
        raise ClusterError(f"There is no parameter exploration '{wanted}' in this vistrail. It has: {names}.")
    if len(found) > 1:
        raise ClusterError(f"{several} Say which with --exploration, by name, number or the version's tag.")
    return found[0]


def _distinct(vistrail: Any, every: Sequence[Any]) -> list[Any]:
    """The explorations but for those that have been left to another one, which has their name."""
    versions = {each.action_id for each in every}
    last: dict[str, Any] = {}
    tagged: dict[str, dict[str, Any]] = {}
    for each in every:
        if each.name or vistrail.get_upgrade(each.action_id) not in versions:
            last[_name(each)] = each
            tag = _tag(vistrail, each.action_id)
            if tag:
                tagged.setdefault(_name(each), {})[tag] = each
    found: list[Any] = []
    for name, each in last.items():
        by_tag = tagged.get(name, {})
        found += by_tag.values() if len(by_tag) > 1 else [each]
    return found


def _of_version(vistrail: Any, every: Sequence[Any], tag: str) -> list[Any]:
    """The explorations of the version with a tag, or of what VisTrails has upgraded it to, if that has some."""
    tagged = [version for version, each in vistrail.get_tagMap().items() if each == tag]
    for version in [*map(vistrail.get_upgrade, tagged), *tagged]:
        found = [each for each in every if each.action_id == version]
        if found:
            return found
    return []


def _name(exploration: Any) -> str:
    return str(exploration.name or exploration.id)


def _version(vistrail: Any, number: int) -> str:
    tag = _tag(vistrail, number)
    return f"version '{tag}'" if tag else f"version {number}"


def _tag(vistrail: Any, number: int) -> str:
    """The tag of a version, or of the one that it is an upgrade of, as VisTrails shows it."""
    upgraded = (tag for version, tag in vistrail.get_tagMap().items() if vistrail.get_upgrade(version) == number)
    return str(vistrail.get_tag(number) or next(upgraded, ""))


def _run(controller: Any, arguments: Arguments, output: Output) -> tuple[Exploring, str, str]:
    from dataclasses import replace

    from parallelflow.cluster import configure
    from parallelflow.explorations.cells import ExplorationError, explore
    from parallelflow.explorations.client import CalledOff, Client
    from parallelflow.explorations.exploring import Exploring
    from parallelflow.ipyparallel_flow.init import settings

    if arguments.profile is not None:
        profile = arguments.profile
        configure(lambda: replace(settings(), profile=profile))
    exploration = _find(controller, arguments.exploration)

    class TerminalClient(Client):
        """VisTrails' side of the exploration, as far as a terminal shows it."""

        def execute(self, *what: Any, **more: Any) -> Any:
            result = super().execute(*what, **more)
            self._check()  # in a module, VisTrails makes an error of it, and would go on with the next cell
            return result

        def tell(self, text: str) -> None:
            output.progress(text, 0.0)
            self._check()

        def progress(self, computed: int, shown: int, taken: int = 0) -> None:
            cells = len(self.exploration.cells)
            kept = f" ({taken} taken from kept results)" if taken else ""
            output.progress(f"{computed} of {cells} cells computed{kept}, {shown} done", shown / cells)
            self._check()

        def warn(self, text: str) -> None:
            output.warn(text)

        def _check(self) -> None:
            if ctrl_c.was_pressed:  # also where Python ignores what is raised, as in a `__del__`
                raise CalledOff

    ctrl_c = _CtrlC()
    try:
        # Without places in the spreadsheet: they would take the place of how output modules are configured.
        exploring = Exploring(TerminalClient(controller, explore(controller, exploration)))
    except ExplorationError as error:
        raise ClusterError(str(error)) from error
    trouble = ""
    try:
        with ctrl_c:
            exploring.run()
    except ExplorationError as error:
        trouble = str(error)
    except (KeyboardInterrupt, CalledOff):
        trouble = _INTERRUPTED
    return exploring, _name(exploration), trouble


class _CtrlC:
    """Takes note of Ctrl-C. To be entered.

    :ivar was_pressed: whether it was pressed.
    """

    def __init__(self) -> None:
        self.was_pressed = False
        self._before: Callable[[int, FrameType | None], Any] | int | None = None

    def __enter__(self) -> _CtrlC:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is signal.default_int_handler:  # and not, for instance, ignored
            signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._before)

    def _pressed(self, *signal_and_frame: object) -> None:
        self.was_pressed = True
        raise KeyboardInterrupt


def _save(controller: Any, locator: Any, path: Path) -> str:
    """Save the log of the cells in the vistrail; returns a sentence if that cannot be done."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # VisTrails writes in place: half of it would be no vistrail
    try:
        controller.set_changed(True)  # VisTrails does not count the log
        controller.write_vistrail(locator)
    except Exception as error:  # of the file system, or of what VisTrails makes of it
        return f"The log could not be saved in {path}: {error}"
    finally:
        signal.signal(signal.SIGINT, before)
    return ""


def _cells(exploring: Exploring) -> list[dict[str, Any]]:
    errors: dict[int, list[str]] = {}
    for failure in exploring.failures:
        errors.setdefault(failure.cell.index, []).append(str(failure.error.msg))
    cells = []
    for cell in exploring.cells:
        where = exploring.where.get(cell.index)
        is_done = cell.index < exploring.shown
        cells.append(
            {
                "column": cell.column + 1,
                "row": cell.row + 1,
                "sheet": cell.sheet + 1,
                "parameters": cell.parameters,
                "engine": where.engine if where is not None else None,
                "host": where.host if where is not None else None,
                "seconds": round(where.seconds, 3) if where is not None and where.seconds is not None else None,
                "kept": where is not None and where.seconds is None,
                "error": "; ".join(errors.get(cell.index, [])) or (None if is_done else _NOT_RUN),
            }
        )
    return cells


def _where(cell: dict[str, Any]) -> str:
    if cell["host"] is None:
        return "" if cell["error"] == _NOT_RUN else "VisTrails"
    return f"kept, {cell['host']}" if cell["kept"] else f"{cell['engine']} on {cell['host']}"


def _describe(name: str, cells: Sequence[dict[str, Any]], troubles: Sequence[str]) -> str:
    parameters = list(cells[0]["parameters"])
    head = ["column", "row", "sheet", *parameters, "seconds", "engine", "result"]
    rows = [
        [
            *(cell[each] for each in ("column", "row", "sheet")),
            *(cell["parameters"].get(each, "") for each in parameters),
            "" if cell["seconds"] is None else f"{cell['seconds']:.2f}",
            _where(cell),
            " ".join((cell["error"] or "done").split())[:100],
        ]
        for cell in cells
    ]
    failed = sum(cell["error"] is not None for cell in cells)
    end = f"{len(cells) - failed} of {len(cells)} cells of '{name}' done."
    return "\n".join([table(head, rows), end, *troubles])
