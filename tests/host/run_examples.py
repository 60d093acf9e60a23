"""Runs tagged versions of vistrails in VisTrails' real window, and keeps what their cells show.

``python run_examples.py JOB`` reads a job from a JSON file: the folder for VisTrails' settings, a folder for pictures, the
packages to enable, and what to run, as pairs of a file and a version's name ("" is the latest). For each it appends a line to
``outcomes`` beside the job, before and after: what was begun, then the errors and the cells' pictures.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Whose cameras only say from where to look: who opens them presses R in their cells.
_FROM_AFAR = ("lung.vt",)

# A dialog that an example opens is answered as its default button does, after so many milliseconds.
_LOOK = 200

# How long a page may take to be there, in seconds.
_PAGE = 120

# Whether a page is loaded, and has drawn two frames since.
_DRAWN = """
if (document.readyState === "complete" && location.href !== "about:blank" && window.drawn === undefined) {
  window.drawn = false;
  requestAnimationFrame(() => requestAnimationFrame(() => { window.drawn = true; }));
}
window.drawn === true;
"""

_MAPS = Path(__file__).with_name("maps_stand_in.js")


def main(job: Path) -> None:
    """Do the job and end this process."""
    in_window(job, _run_version)


def _run_version(application: Any, file: str, tag: str, folder: Path) -> dict[str, Any]:
    window = application.builderWindow
    if _open != [file]:
        open_vistrail(window, file)
        _open[:] = [file]
    keys = "r" if Path(file).name in _FROM_AFAR else ""
    errors, cells = run(application, window.get_current_controller(), tag, folder, keys)
    return {"errors": errors, "cells": cells}


_open: list[str] = []


def in_window(
    job: Path, do: Callable[[Any, str, Any, Path], dict[str, Any]], finish: Callable[[], None] = lambda: None
) -> None:
    """Open the window, do what a job asks for, and end this process.

    :param do: runs one thing; takes VisTrails' application, the file, what of it, and a folder for pictures, and returns what the
        line of it says
    :param finish: called in the end
    """
    told = json.loads(job.read_text(encoding="utf-8"))
    outcomes = job.with_name("outcomes")

    def note(**what: Any) -> None:
        with open(outcomes, "a", encoding="utf-8") as file:
            file.write(json.dumps(what) + "\n")

    def go() -> None:
        try:
            watch_for_dialogs(application)
            enable(told["packages"])
            if "PyQt5.QtWebEngineWidgets" in sys.modules:
                keep_from_the_internet(application)
            for number, (file, which) in enumerate(told["runs"]):
                note(begun=[file, which])
                note(ended=[file, which], **do(application, file, which, Path(told["pictures"]) / str(number)))
        except BaseException:
            note(failure=traceback.format_exc())
        finally:
            with contextlib.suppress(Exception):
                finish()
            os._exit(0)  # Python's own exit may end in a segmentation fault after a window was open

    from PyQt5 import QtCore
    from PyQt5.QtWidgets import QApplication
    from vistrails.gui import application as gui

    options = {
        "dotVistrails": told["settings"],
        "handlerDontAsk": True,
        "installBundles": False,
        "singleInstance": False,
    }
    options |= {"showSplash": False, "errorLog": False, "loadPackages": False}
    assert gui.start_application(options, args=[]) == 0
    application = gui.get_vistrails_application()
    QtCore.QTimer.singleShot(0, go)
    QApplication.exec_()


def watch_for_dialogs(application: Any) -> None:
    """Answer dialogs, which nobody is there to do."""
    from PyQt5 import QtCore, QtWidgets

    def look() -> None:
        dialog = application.activeModalWidget()
        if isinstance(dialog, QtWidgets.QMessageBox):
            button = dialog.defaultButton() or (dialog.buttons() or [None])[0]
            if button is not None:
                button.click()
        elif isinstance(dialog, QtWidgets.QDialog) and not isinstance(dialog, QtWidgets.QProgressDialog):
            dialog.accept()

    application.watching = timer = QtCore.QTimer(application)
    timer.timeout.connect(look)
    timer.start(_LOOK)


def enable(packages: list[str]) -> None:
    """Enable packages, each after what it depends on."""
    from vistrails.core.packagemanager import get_package_manager

    manager = get_package_manager()
    for codepath in packages:
        if not any(package.codepath == codepath for package in manager.enabled_package_list()):
            manager.late_enable_package(codepath)


def keep_from_the_internet(application: Any) -> None:
    """Have pages in web cells reach nothing beyond this machine, and a stand-in for the script that maps are drawn with."""
    from PyQt5.QtWebEngineCore import QWebEngineUrlRequestInterceptor
    from PyQt5.QtWebEngineWidgets import QWebEngineProfile, QWebEngineScript

    class Blocker(QWebEngineUrlRequestInterceptor):  # type: ignore[misc]
        def interceptRequest(self, request: Any) -> None:
            request.block(not request.requestUrl().isLocalFile())

    script = QWebEngineScript()
    script.setSourceCode(_MAPS.read_text(encoding="utf-8"))
    script.setInjectionPoint(QWebEngineScript.DocumentCreation)
    script.setWorldId(QWebEngineScript.MainWorld)
    profile = QWebEngineProfile.defaultProfile()
    profile.scripts().insert(script)
    application.blocker = Blocker(application)
    profile.setUrlRequestInterceptor(application.blocker)


def open_vistrail(window: Any, file: str) -> None:
    """Open a file in the window."""
    from vistrails.core.db.locator import FileLocator

    window.close_all_vistrails(True)
    window.open_vistrail_without_prompt(FileLocator(file))


def run(application: Any, controller: Any, tag: str, folder: Path, keys: str = "") -> tuple[dict[str, str], list[str]]:
    """Run a version.

    :param keys: what is pressed in each cell that VTK draws, before its picture is taken
    :returns: what went wrong, by module; and the files of the cells' pictures
    """
    from vistrails.packages.spreadsheet.spreadsheet_controller import spreadsheetController

    spreadsheet = spreadsheetController.findSpreadsheetWindow()
    spreadsheet.tabController.clearTabs()
    spreadsheet.tabController.newSheetActionTriggered()
    spreadsheet.show()
    application.processEvents()
    try:
        version = controller.vistrail.get_version_number(tag) if tag else controller.get_latest_version_in_graph()
        controller.change_selected_version(version)
        _find_data(controller.current_pipeline)
        results, _ = controller.execute_current_workflow()
    except Exception as error:
        return {"the version": f"{type(error).__name__}: {error}"}, []
    errors = {}
    for result in results:
        for number, error in result.errors.items():
            module = controller.current_pipeline.modules.get(number)
            errors[module.name if module else str(number)] = str(error.msg if hasattr(error, "msg") else error)
    application.processEvents()
    spreadsheet.repaint()
    application.processEvents()
    return errors, pictures(spreadsheet, folder, keys)


def _find_data(pipeline: Any) -> None:
    """Data that a workflow looks for at the top of the file system are in the folder that this process runs in."""
    for module in pipeline.module_list:
        for function in module.functions:
            for parameter in function.params:
                if parameter.strValue.startswith("/Data/"):
                    parameter.strValue = parameter.strValue[1:]


def pictures(spreadsheet: Any, folder: Path, keys: str = "") -> list[str]:
    """Save a picture of each cell.

    :param keys: what is pressed before, in each that VTK draws
    """
    from PyQt5.QtTest import QTest

    files = []
    tabs = spreadsheet.tabController
    for number in range(tabs.count()):
        sheet = tabs.widget(number)
        tabs.setCurrentIndex(number)
        rows, columns = sheet.getDimension()
        for row, column in ((row, column) for row in range(rows) for column in range(columns)):
            cell = sheet.getCell(row, column)
            if hasattr(cell, "grabWindowPixmap"):
                if hasattr(getattr(cell, "browser", None), "page"):
                    wait_for_page(cell.browser.page())
                if keys and hasattr(cell, "GetInteractor"):
                    QTest.keyClicks(cell, keys)
                folder.mkdir(parents=True, exist_ok=True)
                file = folder / f"{number} {row} {column} {type(cell).__name__}.png"
                cell.grabWindowPixmap().save(str(file))
                files.append(str(file))
    return files


def wait_for_page(page: Any) -> None:
    """Wait until a page is loaded and drawn."""
    from PyQt5 import QtCore

    drawn: list[bool] = []
    deadline = time.monotonic() + _PAGE
    while not any(drawn):
        assert time.monotonic() < deadline, f"{page.url()} is not drawn"
        page.runJavaScript(_DRAWN, drawn.append)
        QtCore.QCoreApplication.processEvents(QtCore.QEventLoop.WaitForMoreEvents, 50)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
