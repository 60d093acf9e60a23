"""What the mouse does with parameter explorations, loops, and workflows that exist; part of `mouse_session`."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import editing
import exploring
from driver import Scenario
from hand import Hand

sys.path.append(str(Path(__file__).resolve().parents[1] / "host"))
from run_examples import pictures


def change_loops(user: Hand) -> Scenario:
    """Mark a module that loops, run it, undo the mark, and run it again, by clicks in the pipeline and in the menu."""
    vistrail = editing.Vistrail()
    editing.looping(vistrail)
    controller = yield from open_pipeline(user, vistrail, "loops")
    yield from hit_module(user, controller, "Round")
    yield from user.pick(editing.MARK)
    yield from user.until(lambda: marked(controller), "the mark")
    yield from user.photograph("marked")
    assert (yield from execute(user, controller))["Round"] == [False, *([True] * 4)]
    yield from user.photograph("marked-run")
    yield from undo(user, controller)
    assert not marked(controller)
    yield from user.photograph("mark-undone")
    assert not any((yield from execute(user, controller)).get("Round", []))
    controller.set_changed(False)


def change_maps(user: Hand) -> Scenario:
    """Make a Map parallel, undo that, make it parallel again, run it, make it serial again, undo that, run it serially."""
    vistrail = editing.Vistrail()
    editing.mapping(vistrail)
    controller = yield from open_pipeline(user, vistrail, "maps")
    before = controller.current_version
    serial, parallel = ["Map of control_flow"], ["Map of parallelflow"]
    yield from hit_module(user, controller, "Map")
    yield from user.pick(editing.PARALLEL)
    yield from user.okay("made-parallel")
    assert editing.maps(controller.current_pipeline) == parallel
    yield from undo(user, controller)
    assert editing.maps(controller.current_pipeline) == serial
    assert controller.current_version == before
    yield from hit_module(user, controller, "Map")
    yield from user.pick(editing.PARALLEL)
    yield from user.okay("made-parallel-again")
    assert all((yield from execute(user, controller))["PythonSource"])
    yield from hit_module(user, controller, "Map")
    yield from user.pick(editing.SERIAL)
    yield from user.okay("made-serial")
    assert editing.maps(controller.current_pipeline) == serial
    yield from undo(user, controller)
    assert editing.maps(controller.current_pipeline) == parallel
    yield from undo(user, controller)
    assert editing.maps(controller.current_pipeline) == serial
    assert not any((yield from execute(user, controller))["PythonSource"])
    controller.set_changed(False)


def explore(user: Hand) -> Scenario:
    """Run a parameter exploration on the cluster, look at its cells, and run it once more with Cancel in between."""
    from PyQt5.QtWidgets import QPushButton

    view = exploring.open_exploration(user, exploring.two_dimensions(user, seconds=0.5), "explored")
    yield from user.moment(1)
    yield from user.photograph("explore")
    yield from user.pick(exploring.EXPLORE)
    dialog = yield from user.meet("PEProgressDialog", "exploring")
    yield from user.gone(dialog)
    yield from user.until(lambda: [len(cells) for cells in exploring.sheets().values()] == [1 + 5], "the cells")
    message = yield from user.meet("QMessageBox", "explored")  # one cell fails
    yield from user.hit(message.button(message.Ok))
    yield from user.gone(message)
    yield from come_forward(user)
    yield from user.pick(exploring.EXPLORE)
    dialog = yield from user.dialog("PEProgressDialog")
    yield from user.until(lambda: len(exploring.sheets()) == 2, "the first cell")
    dialog.raise_()
    (button,) = dialog.findChildren(QPushButton)
    yield from user.hit(button)
    yield from user.gone(dialog)
    yield from user.photograph("exploring-cancelled")
    view.controller.set_changed(False)


def explore_all_kinds(user: Hand) -> Scenario:
    """Explore a Group, a vistrail variable, VTK and a figure: as VisTrails does, then twice on the cluster; then execute."""
    from vistrails.packages.spreadsheet.spreadsheet_controller import spreadsheetController

    tabs = spreadsheetController.findSpreadsheetWindow().tabController
    tabs.clearTabs()
    view = exploring.open_exploration(user, exploring.all_kinds, "kinds")
    yield from user.moment(1)
    shown = []
    for turn, begin in (
        ("own", user.click_action(user.builder.qactions["execute"])),
        ("first", user.pick(exploring.EXPLORE)),
        ("second", user.pick(exploring.EXPLORE)),
    ):
        yield from come_forward(user)
        yield from begin
        yield from user.until(lambda: _have_ended(view, 6), "all cells")
        tabs.window().raise_()
        yield from user.photograph(f"kinds-{turn}")
        (sheet,) = exploring.sheets().values()
        files = [Path(each) for each in pictures(tabs.window(), user.folder / turn)]
        log = exploring.cells_in_log(view)
        done = [(cell["completed"], {name: state[0] for name, state in cell["modules"].items()}) for cell in log]
        there = {name for cell in log for name, state in cell["modules"].items() if state[2]}
        on_engines = {"Group", "MplLinePlot", "MplFigure", "vtkSphereSource", "vtkElevationFilter"}
        assert there == (set() if turn == "own" else on_engines)
        shown.append((sheet, [(each.name, each.read_bytes()) for each in files], done))
        tabs.clearTabs()
    own, first, second = shown
    assert len(own[1]) == 12
    assert len({picture for _, picture in own[1]}) >= 3 + 2, own[0]  # figures, and spheres
    assert first == own
    assert second == own
    yield from come_forward(user)
    yield from user.click_action(user.builder.qactions["pipeline"])
    assert not any(any(each) for each in (yield from execute(user, view.controller)).values())
    view.controller.set_changed(False)


def _have_ended(view: Any, cells: int) -> bool:
    """Whether an exploration of so many cells is over, of which nobody has asked the log yet."""
    executions = view.controller.log.workflow_execs[getattr(view, "_seen_execs", 0) :]
    return len(executions) == cells and all(each.ts_end for each in executions) and view.controller.progress is None


def open_pipeline(user: Hand, vistrail: Any, name: str) -> Generator[None, None, Any]:
    """Open a vistrail, look at its pipeline, and return VisTrails' controller of it."""
    controller = editing.open_vistrail(user, vistrail, name)
    user.builder.qactions["pipeline"].trigger()
    yield from user.moment(1)
    controller.current_pipeline_scene.fitToAllViews(True)
    return controller


def come_forward(user: Hand) -> Generator[None, None, None]:
    """Bring VisTrails' window to the front, as a click on it does."""
    user.builder.raise_()
    user.builder.activateWindow()
    yield from user.until(user.builder.isActiveWindow, "VisTrails' window")


def execute(user: Hand, controller: Any) -> Generator[None, None, dict[str, list[bool]]]:
    """Click Execute, and return by module's name where each of its executions ran: whether on an engine."""
    before = len(controller.log.workflow_execs)
    yield from user.click_action(user.builder.qactions["execute"])
    yield from user.until(lambda: len(controller.log.workflow_execs) > before, "the execution")
    execution = controller.log.workflow_execs[-1]
    yield from user.until(lambda: execution.ts_end, "the end of the execution")
    yield from user.until(lambda: not user.window("ExecutionProgressDialog"), "the end of its dialog")
    assert execution.completed == 1
    return editing.where_modules_ran(execution)


def undo(user: Hand, controller: Any) -> Generator[None, None, None]:
    """Press Ctrl-Z in the pipeline."""
    before = controller.current_version
    yield from come_forward(user)
    yield from user.xdotool("key", "ctrl+z")
    yield from user.until(lambda: controller.current_version != before, "the version before")


def marked(controller: Any) -> bool:
    """Whether a module is marked."""
    from parallelflow.map.marks import is_marked

    return any(is_marked(module) for module in controller.current_pipeline.module_list)


def hit_module(user: Hand, controller: Any, name: str) -> Generator[None, None, None]:
    """Click a module in the pipeline, left of its name."""
    view = controller.current_pipeline_view
    (item,) = (each for each in view.scene().modules.values() if each.module.name == name)
    place = item.sceneBoundingRect()
    yield from user.hit(view.viewport(), view.mapFromScene(place.left() + place.width() / 4, place.center().y()))
    yield from user.until(item.isSelected, "the selection")
