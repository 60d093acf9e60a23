"""Checks of VisTrails' bundled packages in its window; `test_packages` runs this in a process of its own, on a screen.

``python package_checks.py SETTINGS RESULTS`` writes, as JSON, each check's name and the traceback of its failure, or null.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from window_checks import run_checks

# Each after those that it depends on.
LIVING = (
    *(
        "tabledata",
        "spreadsheet",
        "controlflow",
        "dialogs",
        "URL",
        "CLTools",
        "ImageMagick",
        "analytics",
        "matplotlib",
        "vtk",
    ),
    *("persistence", "persistent_archive", "sklearn", "sql", "tej", "mongodb", "gmaps", "pythonCalc", "pythonCalcQt"),
    *("pipelineEdit", "reprounzip", "vtlcreator"),
)
DEAD = {
    "parallelflow": "IPython.parallel",
    "RemoteQ": "remoteq",
    "rpy": "rpy2",
    "tensorflow": "tensorflow",
}


def _manager() -> Any:
    from vistrails.core.packagemanager import get_package_manager

    return get_package_manager()


def _wait_for(application: Any, condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < end, f"{what} did not come"
        application.processEvents()


def check_1_every_package_with_a_living_library_is_enabled(_application: Any) -> None:
    manager = _manager()
    failed = {}
    for codepath in LIVING:
        try:
            if codepath not in manager._package_list:
                manager.late_enable_package(codepath)
        except Exception as error:
            failed[codepath] = str(error)
    assert not failed, failed
    # What is checked here is all that there is.
    bundled = {path.parent.name for path in Path(sys.modules["vistrails.packages"].__path__[0]).glob("*/__init__.py")}
    assert bundled == {*LIVING, *DEAD}


def check_2_a_package_without_a_library_says_so_in_one_sentence(_application: Any) -> None:
    from vistrails.core import debug
    from vistrails.gui.preferences import QPackagesWidget

    said: list[tuple[Any, ...]] = []
    critical, debug.critical = debug.critical, lambda *what: said.append(what)
    try:
        for codepath, library in DEAD.items():
            said.clear()
            package = _manager().get_available_package(codepath)
            package.load()
            item = SimpleNamespace(text=lambda name=codepath: name)
            # What Preferences have selected when Enable is clicked.
            listed = SimpleNamespace(currentItem=lambda item=item: item, setCurrentItem=lambda _item: None)
            widget = SimpleNamespace(_available_packages_list=listed, _current_package=package)
            QPackagesWidget.enable_current_package(widget)
            ((sentence,),) = said
            assert library in sentence
            assert codepath in sentence
            assert "\n" not in sentence
            assert codepath not in _manager()._package_list
    finally:
        debug.critical = critical


def check_3_entries_of_the_packages_menus_do_not_raise(application: Any) -> None:
    from PyQt5 import QtCore, QtWidgets

    def answer() -> None:
        dialog = application.activeModalWidget()
        if dialog is not None:
            dialog.reject() if isinstance(dialog, QtWidgets.QDialog) else dialog.close()

    timer = QtCore.QTimer()
    timer.timeout.connect(answer)
    timer.start(100)
    # Archives have a window of file_archive's own, for PyQt4.
    for codepath in ("pythonCalcQt", "pipelineEdit", "spreadsheet", "CLTools", "vtlcreator"):
        for item in _manager().get_package_by_codepath(codepath).menu_items() or ():
            if not isinstance(item[1], (list, tuple)) and "Capture" not in item[0]:
                item[1]()
                application.processEvents()
    timer.stop()


def check_4_a_web_cell_shows_a_page_and_saves_it(application: Any) -> None:
    import tempfile

    from vistrails.core.modules.basic_modules import PathObject
    from vistrails.packages.spreadsheet.widgets.webview.webview import WebViewCellWidget

    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text("<title>here</title><body style='background: rgb(200, 30, 40)'>x")
        cell = WebViewCellWidget()
        cell.resize(120, 90)
        cell.show()
        cell.updateContents((None, PathObject(str(page))))
        _wait_for(application, lambda: cell.browser.title() == "here", "the page")
        colour: list[Any] = []

        def red() -> bool:
            colour[:] = [cell.grab().toImage().pixelColor(60, 60).getRgb()[:3]]
            return colour == [(200, 30, 40)]

        _wait_for(application, red, "the page's colour")
        cell.dumpToFile(f"{folder}/saved.html")
        cell.saveToPDF(f"{folder}/saved.pdf")
        assert "rgb(200, 30, 40)" in (Path(folder) / "saved.html").read_text()
        assert (Path(folder) / "saved.pdf").read_bytes().rstrip().endswith(b"%%EOF")
        cell.close()


def check_5_an_svg_cell_is_saved_as_pdf(_application: Any) -> None:
    import tempfile

    from vistrails.core.modules.basic_modules import PathObject
    from vistrails.packages.spreadsheet.widgets.svg.svg import SVGCellWidget

    with tempfile.TemporaryDirectory() as folder:
        drawing = Path(folder) / "a.svg"
        drawing.write_text(
            '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
        )
        cell = SVGCellWidget()
        cell.updateContents((PathObject(str(drawing)),))
        cell.saveToPDF(f"{folder}/saved.pdf")
        assert Path(folder, "saved.pdf").stat().st_size > 500


if __name__ == "__main__":
    run_checks(globals(), Path(sys.argv[1]), Path(sys.argv[2]))
