"""Checks of what only VisTrails' window shows; `test_vistrails_window` runs this in a process of its own.

``python window_checks.py SETTINGS RESULTS`` writes, as JSON, each check's name and the traceback of its
failure, or null.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

BASIC = "org.vistrails.vistrails.basic"


def check_the_window_opens_without_a_question(application: Any) -> None:
    from PyQt5.QtWidgets import QDialog

    windows = [widget for widget in application.topLevelWidgets() if widget.isVisible()]
    assert [type(widget).__name__ for widget in windows] == ["QVistrailsWindow"]
    assert not any(isinstance(widget, QDialog) for widget in windows)


def check_the_projects_package_is_enabled(_application: Any) -> None:
    from vistrails.core.packagemanager import get_package_manager

    assert get_package_manager().has_package("org.vistrails.parallelflow")


def check_the_module_palette_is_painted(_application: Any) -> None:
    from vistrails.gui.module_palette import QModulePalette

    tree = QModulePalette.instance().treeWidget
    tree.expandAll()
    tree.resize(300, 2000)
    assert not tree.grab().isNull()


def check_a_module_is_drawn_for_dragging(application: Any) -> None:
    from vistrails.core.modules.module_registry import get_module_registry

    view = application.builderWindow.get_current_controller().current_pipeline_view
    item = view.scene().add_tmp_module(get_module_registry().get_descriptor_by_name(BASIC, "String"))
    assert view.paintModuleToPixmap(item).width() > 0
    view.scene().delete_tmp_module()


def check_modules_are_pasted(application: Any) -> None:
    application.builderWindow.get_current_controller().current_pipeline_view.pasteFromClipboard()


def check_the_editors_of_python_source_and_string_open(application: Any) -> None:
    from vistrails.gui.modules.python_source_configure import PythonEditor
    from vistrails.gui.modules.string_configure import TextEditor

    for editor in (PythonEditor, TextEditor):
        widget = editor(application.builderWindow)
        widget.setPlainText("o = 1")
        assert widget.toPlainText() == "o = 1"


def check_colors_are_shown(_application: Any) -> None:
    from vistrails.gui.modules.constant_configuration import QColorWidget
    from vistrails.gui.modules.paramexplore import PEColorChooserButton

    assert QColorWidget().colorFromString("1.0,0.5,0.2").getRgb() == (255, 127, 51, 255)
    button = PEColorChooserButton(SimpleNamespace(value=""))
    button.set_value("1.0,0.5,0.2")
    assert button.qcolor.getRgb() == (255, 127, 51, 255)


def check_a_message_with_markup_is_shown_as_it_is(_application: Any) -> None:
    from PyQt5.QtWidgets import QListWidgetItem
    from vistrails.gui.debug import DebugView

    item = QListWidgetItem()
    item.setData(32, "WARNING\nnow\nhere\n1 < 2 & 3")
    view = DebugView()
    view.showMessage(item, None)
    assert "1 < 2 & 3" in view.text.toPlainText()


def check_the_workspace_is_searched(_application: Any) -> None:
    from PyQt5.QtWidgets import QTreeWidget
    from vistrails.gui.collection.workspace import QCollectionWidget

    QCollectionWidget.run_search(QTreeWidget(), SimpleNamespace(match=lambda _entity: True))


def check_the_spreadsheet_is_painted_and_resized(_application: Any) -> None:
    from PyQt5.QtWidgets import QHeaderView
    from vistrails.packages.spreadsheet.spreadsheet_controller import spreadsheetController

    window = spreadsheetController.findSpreadsheetWindow()
    window.show()
    for size in (900, 500):
        window.resize(size, size)
        window.grab()
    headers = [header for header in window.findChildren(QHeaderView) if header.count()]
    assert headers
    for header in headers:
        header.resizeSection(0, 123)
    window.close()


def check_a_package_may_import_a_lazy_module(_application: Any) -> None:
    # Forget numpy.random, and import it the way a package's own `import` does.
    import numpy as np
    from vistrails.core.packagemanager import get_package_manager

    for name in [name for name in sys.modules if name.startswith("numpy.random")]:
        del sys.modules[name]
    vars(np).pop("random", None)
    package = get_package_manager().get_package_by_codepath("controlflow")
    package.import_override(__import__, "numpy.random", None, None, (), 0, True)


def check_an_exported_subworkflow_package_is_read(application: Any) -> None:
    import tempfile

    from vistrails.gui.vistrail_controller import VistrailController

    controller = application.builderWindow.get_current_controller()
    with tempfile.TemporaryDirectory() as folder:
        init = Path(folder) / "__init__.py"
        init.write_text("identifier = 'a.b'\nname = 'b'\nversion = '1'\n_subworkflows = []\n_dependencies = []\n")
        # It asks for the folder, and for nothing else if it can read the package there.
        controller.do_save_dir_prompt = lambda: folder
        VistrailController.export_abstractions(controller, [])
        assert "_subworkflows.extend([])" in init.read_text()


def check_a_closed_mashup_window_lives_until_qt_deletes_it(application: Any) -> None:
    import gc
    import weakref

    from PyQt5 import QtCore
    from PyQt5.QtWidgets import QMainWindow
    from vistrails.gui.mashups.mashups_manager import MashupsManager
    from vistrails.gui.version_prop import QVersionProp

    class Window(QMainWindow):
        appWasClosed = QtCore.pyqtSignal(QMainWindow)

        def closeEvent(self, event: Any) -> None:
            self.appWasClosed.emit(self)

    def opened_and_closed(version: int) -> weakref.ref[Window]:
        made: list[Window] = []
        MashupsManager.createMashupApp = lambda *_arguments: made.append(Window()) or made[0]
        mashups.openMashup(version)
        made[0].itself = made[0]  # a cycle: Python's garbage collection is what lets go of it
        window = weakref.ref(made.pop())
        window().close()
        gc.collect()
        return window

    mashups = QVersionProp.instance().versionMashups
    mashups.mtrail = SimpleNamespace(id="made for a check")
    create = MashupsManager.createMashupApp
    try:
        first = opened_and_closed(1)
        assert first() is not None
        application.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
        second = opened_and_closed(2)
        assert mashups.living == [second()]
        gc.collect()
        assert first() is None
    finally:
        MashupsManager.createMashupApp = create


def check_the_windows_job_monitor_shows_jobs_and_goes_on_when_they_are_done(application: Any) -> None:
    import shutil
    import tempfile

    import vistrails
    from PyQt5.QtWidgets import QMessageBox
    from vistrails.core.configuration import get_vistrails_configuration
    from vistrails.core.db.locator import FileLocator
    from vistrails.core.packagemanager import get_package_manager
    from vistrails.gui.job_monitor import QJobView

    window, monitor = application.builderWindow, QJobView.instance()
    get_package_manager().late_enable_package("myjob", {"myjob": "vistrails.tests.resources."})
    monitor.autorun.setChecked(True)
    assert get_vistrails_configuration().jobAutorun  # else it waits, with a dialog
    asked: list[str] = []
    question, QMessageBox.question = (
        QMessageBox.question,
        lambda _, title, text, *more: asked.append(text) or QMessageBox.Yes,
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "jobs.vt")
        shutil.copyfile(Path(str(vistrails.__file__)).parent / "tests" / "resources" / "jobs.vt", file)
        try:
            for tag in ("SuspendOnce", "SuspendMap"):
                _suspended_and_continued(window, monitor, FileLocator(str(file)), tag, asked)
        finally:
            QMessageBox.question = question
            monitor.autorun.setChecked(False)


def _suspended_and_continued(window: Any, monitor: Any, locator: Any, tag: str, asked: list[str]) -> None:
    """Run a version until it is suspended, save, close and open it, and have the monitor check its jobs until they are done."""

    def opened() -> Any:
        window.open_vistrail_without_prompt(locator)
        controller = window.get_current_controller()
        controller.change_selected_version(controller.vistrail.get_version_number(tag))
        return controller

    def item(controller: Any) -> Any:
        (found,) = [each for each in monitor.widgets[controller].workflowItems.values() if each.text(0) == tag]
        return found

    controller = opened()
    results, _ = controller.execute_user_workflow()
    assert results[0].suspended
    assert not results[0].errors
    assert not item(controller).workflowFinished
    assert any(job.text(1) != "Finished" for job in item(controller).jobs.values())
    controller.write_vistrail(locator)
    window.close_vistrail(quiet=True)
    controller = opened()
    assert not item(controller).workflowFinished
    asked.clear()
    executed = controller.execute_current_workflow
    runs: list[Any] = []
    controller.execute_current_workflow = lambda *arguments, **more: (
        runs.append(executed(*arguments, **more)) or runs[-1]
    )
    for _ in range(10):  # a job of this package is done after it has been looked at a few times
        monitor.check_jobs()
    assert item(controller).workflowFinished
    assert len(asked) == 1
    assert "not yet monitored" in asked[0]
    assert not runs[-1][0][0].suspended
    assert not runs[-1][0][0].errors
    assert {job.text(1) for job in item(controller).jobs.values()} == {"Finished"}
    controller.write_vistrail(locator)
    window.close_vistrail(quiet=True)


def run_checks(checks: dict[str, Any], settings: Path, results: Path) -> None:
    """Open the window, run the checks inside its event loop in their names' order, write what failed."""
    from host import vistrails_window

    raised: list[str] = []  # by Qt's callbacks, which have nobody to raise to

    def run(application: Any) -> None:
        sys.excepthook = lambda *error: raised.append("".join(traceback.format_exception(*error)))
        outcome: dict[str, str | None] = {}
        for name in sorted(name for name in checks if name.startswith("check_")):
            raised.clear()
            try:
                checks[name](application)
                application.processEvents()
            except Exception:
                raised.append(traceback.format_exc())
            outcome[name.removeprefix("check_")] = "\n".join(raised) or None
        results.write_text(json.dumps(outcome))
        os._exit(0)  # Python's own exit may end in a segmentation fault after a window was open

    def in_event_loop(application: Any) -> int:
        from PyQt5 import QtCore
        from PyQt5.QtWidgets import QApplication

        QtCore.QTimer.singleShot(0, lambda: run(application))
        return int(QApplication.exec_())

    from vistrails.gui import application as gui

    gui.VistrailsApplicationSingleton.exec_ = in_event_loop
    vistrails_window.main([], settings)


if __name__ == "__main__":
    run_checks(globals(), Path(sys.argv[1]), Path(sys.argv[2]))
