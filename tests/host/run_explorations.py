"""Runs parameter explorations of vistrails in VisTrails' real window, with its own Execute and on the cluster.

``python run_explorations.py JOB`` reads a job as `run_examples` does; what to run are pairs of a file and an exploration's id. For
each it appends a line to ``outcomes`` beside the job, before and after: what was begun, then by way (`own`, `ours`) what there was
to see.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from run_examples import in_window, open_vistrail, pictures

_EXPLORE = "Run parameter exploration on the cluster"


def run(application: Any, file: str, number: int, folder: Path) -> dict[str, Any]:
    """Run an exploration both ways; what there was to see, by way."""
    from parallelflow.gui.controller import controller

    # Limits only, for a busy machine.
    limits = {"start_timeout": 200, "stop_timeout": 30, "connect_timeout": 60}
    controller().preferences.write({"if_no_engines": "auto", "engines": 2, **limits})
    return {way: _explore(application, file, number, way, folder / way) for way in ("own", "ours")}


def _explore(application: Any, file: str, number: int, way: str, folder: Path) -> dict[str, Any]:
    from vistrails.core.interpreter.cached import CachedInterpreter
    from vistrails.gui.debug import DebugView
    from vistrails.packages.spreadsheet.spreadsheet_controller import spreadsheetController

    CachedInterpreter.flush()
    window = application.builderWindow
    open_vistrail(window, file)
    spreadsheet = spreadsheetController.findSpreadsheetWindow()
    spreadsheet.tabController.clearTabs()
    spreadsheet.show()
    application.processEvents()
    view, messages = window.get_current_view(), DebugView.instance().list
    view.open_parameter_exploration(number)
    # As whenever the view shows a pipeline: what is stored names cells that VisTrails has upgraded since.
    view.pe_view.get_palette().virtual_cell.updateVirtualCell(view.controller.current_pipeline)
    said = messages.count()
    if way == "own":
        view.pe_view.execute()
    else:
        menu = next(each.menu() for each in window.qmenus["packages"].actions() if each.text() == "Parallel Flow")
        next(each for each in menu.actions() if each.text() == _EXPLORE).trigger()
    application.processEvents()
    tabs = spreadsheet.tabController
    sheets = [(tabs.tabText(each).split(" ", 1)[1], tabs.widget(each).getDimension()) for each in range(tabs.count())]
    cells = pictures(spreadsheet, folder)
    _come_near(tabs)
    return {
        "sheets": sheets,
        "cells": cells,
        "near": pictures(spreadsheet, folder / "near"),
        "log": [_cell(each) for each in view.controller.log.workflow_execs],
        "said": [messages.item(each).data(32) for each in range(said, messages.count())],
    }


def _come_near(tabs: Any) -> None:
    """Have VTK's cells show all that is in them: data that stand in for others may be far away, or beside a narrow cell."""
    for number in range(tabs.count()):
        sheet = tabs.widget(number)
        rows, columns = sheet.getDimension()
        for cell in [sheet.getCell(row, column) for row in range(rows) for column in range(columns)]:
            if hasattr(cell, "getRendererList"):
                for renderer in cell.getRendererList():
                    renderer.ResetCamera()
                cell.mRenWin.Render()


def _cell(execution: Any) -> dict[str, Any]:
    """What the log says of a cell: by module, whether it was completed, and whether on an engine."""
    modules = {}
    for each in execution.item_execs:
        notes = {note.key: note.value for note in each.annotations}
        modules[each.module_name] = [each.completed, "parallel_engine" in notes]
    return {"completed": execution.completed, "modules": modules}


def _stop_cluster() -> None:
    from parallelflow.cluster import get_session

    get_session().close()


if __name__ == "__main__":
    in_window(Path(sys.argv[1]), run, _stop_cluster)
