"""Goes through `ten_minutes.rst` in VisTrails' real window, with the mouse and the keyboard, and photographs each step.

`make_screenshots` runs it, so that the pictures show what a reader gets who does what the page says, and so that the page is
tried each time. It starts a real cluster and stops it again.
"""

from __future__ import annotations

import contextlib
import io
import platform
import socket
import sys
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

Steps = Generator[None, None, Any]

ROOT = Path(__file__).resolve().parent.parent

ENGINES = 4  # as many as the machine in the pictures has cores

# As in ten_minutes.rst.
BLOCKS = str(list(range(24)))
CODE = """\
first = block * 100000
count = 0
for n in range(max(first, 2), first + 100000):
    if all(n % d for d in range(2, int(n ** 0.5) + 1)):
        count += 1
"""
RESULT = "[9592, 8392, 8013, 7863, 7678, 7560, 7445,"  # and so on

_TICK = 20  # milliseconds
_PATIENCE = 120.0  # seconds

# Where modules are put in the pipeline, as shares of its width and height.
_PLACES = {"PythonSource": (0.35, 0.2), "Map": (0.5, 0.5), "StandardOutput": (0.62, 0.8)}


class Reader:
    """Somebody who follows the page.

    :param keep: keeps a picture, a QPixmap, under a name
    """

    def __init__(self, application: Any, keep: Callable[[str, Any], None]) -> None:
        self._application = application
        self._window = application.builderWindow
        self._keep = keep

    def follow(self) -> Steps:
        """Do it all."""
        yield from self._enable()
        self._keep("menu", self._menu())
        yield from self._start_engines()
        yield from self._draw()
        yield from self._execute()
        yield from self._look_at_the_log()
        yield from self._fail()
        yield from self._run_hillshade()
        yield from self._take_kept_results()
        yield from self._clean_up()

    # ------------------------------------------------------------ the steps

    def _enable(self) -> Steps:
        self._window.qactions["editPreferences"].trigger()
        dialog = self._window.preferencesDialog
        packages = dialog._packages_tab
        dialog._tab_widget.setCurrentWidget(packages)
        dialog.resize(680, 430)
        (item,) = packages._available_packages_list.findItems("ipyparallel_flow", _qt().MatchExactly)
        packages._available_packages_list.setCurrentItem(item)
        yield from self._until(packages._enable_button.isEnabled, "the button to enable")
        yield from self._moment()
        self._keep("ten-enable", dialog.grab())
        _later(lambda: _click(packages._enable_button))
        yield from self._until(lambda: _menu_of(self._window) is not None, "the menu")
        yield from self._moment()
        dialog.close()
        yield from self._moment()

    def _start_engines(self) -> Steps:
        self._choose("Start new engine processes")
        dialog = yield from self._dialog("StartDialog")
        self._keep("ten-start", dialog.grab())
        assert dialog.count.value() == ENGINES
        _click(_button(dialog, "accept"))
        starting = yield from self._dialog("ProgressDialog")
        yield from self._until(lambda: starting.bar.value() > 0, "progress")
        self._keep("ten-starting", starting.grab())
        message = yield from self._dialog("Message")
        self._keep("ten-started", message.grab())
        _click(message.defaultButton())
        yield from self._gone(message)

    def _draw(self) -> Steps:
        window = self._window
        window.qactions["newVistrail"].trigger()
        window.qactions["pipeline"].trigger()
        yield from self._moment()
        self._without_close_button()
        controller = window.get_current_controller()
        source = yield from self._drop("Basic Modules", "PythonSource")
        yield from self._write_source()
        yield from self._show_self()
        the_map = yield from self._drop("Parallel Flow", "Map")
        self._keep("ten-drop", window.grab())
        sink = yield from self._drop("Basic Modules", "StandardOutput")
        self._connect(source, "self", the_map, "FunctionPort")
        yield from self._moment()
        self._connect(the_map, "Result", sink, "value")
        yield from self._moment()
        connected = {
            (each.source.name, each.destination.name) for each in controller.current_pipeline.connections.values()
        }
        assert connected == {("self", "FunctionPort"), ("Result", "value")}, connected
        self._keep("ten-connect", self._pipeline())
        yield from self._set_ports(the_map, {"InputList": BLOCKS, "InputPort": "['block']", "OutputPort": "count"})

    def _execute(self) -> Steps:
        from parallelflow.map import progress

        self._choose("Show information on the cluster")
        cluster = yield from self._dialog("ClusterWindow")
        cluster.resize(1120, 440)
        printed = io.StringIO()
        results = self._press_execute(printed)
        yield from self._until(lambda: progress.current() and progress.current().done > 7, "progress")
        yield from self._until(lambda: cluster.map_bar.value() > 0 and _rows(cluster.table) >= ENGINES, "engines' rows")
        running = yield from self._dialog("ExecutionProgressDialog")
        self._keep("ten-progress", _on_top(self._window, running))
        self._keep("ten-cluster", cluster.grab())
        yield from self._until(lambda: results, "the end of the execution")
        assert not results[0].errors, results[0].errors
        assert printed.getvalue().startswith(RESULT), printed.getvalue()
        execution = self._window.get_current_controller().log.workflow_execs[-1]
        (of_map,) = (each for each in execution.item_execs if each.module_name == "Map")
        assert len(of_map.loop_execs[0].loop_iterations) == 24
        cluster.close()
        yield from self._moment()
        self._keep("ten-done", self._pipeline())

    def _look_at_the_log(self) -> Steps:
        yield from self._photograph_log("ten-log", 1, 520)
        yield from self._close()

    def _photograph_log(self, name: str, unfolded: int, height: int) -> Steps:
        """Open the log, with the last execution's Map and its first elements unfolded, and the first one's module selected."""
        from vistrails.gui.collection.vis_log import QLogDetails

        self._window.qactions["provenance"].trigger()
        yield from self._moment()
        details = QLogDetails.instance()
        tree = details.executionList
        tree.sortByColumn(0, _qt().AscendingOrder)
        last = self._window.get_current_controller().log.workflow_execs[-1]
        (execution,) = (each for each in _children(tree.invisibleRootItem()) if each.execution is last)
        _expand(tree, 3)
        for other in _children(tree.invisibleRootItem()):
            other.setExpanded(other is execution)
        (of_map,) = (each for each in _children(execution) if each.text(0) == "Map")
        (loop,) = _children(of_map)
        elements = _children(loop)[:unfolded]
        for element in elements:
            element.setExpanded(True)
        tree.resizeColumnToContents(0)
        tree.setCurrentItem(_children(elements[0])[0])
        tree.scrollToItem(execution, tree.PositionAtTop)
        yield from self._moment()
        shown = details.detailsWidget.toPlainText()
        details.detailsWidget.setPlainText(shown.replace(platform.node(), socket.gethostname()))
        self._keep(name, (yield from self._floating(details, 520, height)))
        self._window.qactions["pipeline"].trigger()
        yield from self._moment()

    def _open_example(self, name: str, version: str = "Parallel") -> Steps:
        """Open an example, and return its controller."""
        from vistrails.core.db.locator import FileLocator

        self._window.open_vistrail_without_prompt(FileLocator(str(ROOT / "examples" / f"{name}.vt")))
        controller = self._window.get_current_controller()
        controller.change_selected_version(controller.vistrail.get_version_number(version))
        self._window.qactions["pipeline"].trigger()
        yield from self._moment()
        return controller

    def _close(self) -> Steps:
        """Close the vistrail without saving it."""
        self._window.get_current_controller().set_changed(False)
        self._window.close_vistrail(self._window.get_current_view(), quiet=True)
        yield from self._moment()

    def _fail(self) -> Steps:
        """For `examples.rst`: the example that fails."""
        yield from self._open_example("failing")
        results = self._press_execute()
        yield from self._until(lambda: results, "the end of the execution")
        assert [error.msg.splitlines()[0] for error in results[0].errors.values()] == ["-16 has no square root"]
        yield from self._moment()
        self._keep("failed", self._pipeline())
        yield from self._close()

    def _run_hillshade(self) -> Steps:
        """For `index.rst`: the window in the middle of a Map, which is then cancelled."""
        from parallelflow.map import progress

        controller = yield from self._open_example("hillshade")
        controller.current_pipeline_view.scene().fitToAllViews(True)
        open_palette("Parallel Flow")
        self._without_close_button()
        results = self._press_execute()
        yield from self._until(lambda: progress.current() and progress.current().done > 20, "progress")
        self._keep("vistrails", self._window.grab())
        running = yield from self._dialog("ExecutionProgressDialog")
        running.cancel()
        question = yield from self._dialog("QMessageBox")
        _click(question.button(question.Yes))
        yield from self._until(lambda: results, "the end of the execution")
        yield from self._gone(running)
        yield from self._close()

    def _take_kept_results(self) -> Steps:
        """For `results.rst`: the log of a Map of which all elements but one were taken from kept results."""
        controller = yield from self._open_example("tolerances")
        for version in ("Parallel", "Another tolerance"):
            controller.change_selected_version(controller.vistrail.get_version_number(version))
            yield from self._moment()
            results = self._press_execute(io.StringIO())
            yield from self._until(lambda results=results: results, "the end of the execution")
            assert not results[0].errors, results[0].errors
        execution = controller.log.workflow_execs[-1]
        (of_map,) = (each for each in execution.item_execs if each.module_name == "Map")
        elements = [each.item_execs[0].cached for each in of_map.loop_execs[0].loop_iterations]
        assert elements == [1, 1, 1, 0], elements
        yield from self._photograph_log("kept-log", 4, 720)
        yield from self._close()

    def _without_close_button(self) -> None:
        """Without a display, Qt draws it on top of the only tab's text."""
        self._window.get_current_view().tabs.setTabsClosable(False)

    def _menu(self) -> Any:
        """A picture of the menu bar with Packages > Parallel Flow open, on a plain ground."""
        from PyQt5.QtGui import QPainter, QPixmap

        window = self._window
        packages, bar = window.qmenus["packages"], window.menuBar()
        entry = next(action for action in packages.actions() if action.text() == "Parallel Flow")
        place = bar.actionGeometry(packages.menuAction()).bottomLeft()
        bar.setActiveAction(packages.menuAction())
        packages.setActiveAction(entry)
        below = packages.actionGeometry(entry)
        menus = [(place, packages.grab()), (place + below.topRight(), entry.menu().grab())]
        strip = bar.grab()
        packages.hide()
        right = menus[1][0].x() + menus[1][1].width() + 20
        picture = QPixmap(right, menus[1][0].y() + menus[1][1].height() + 20)
        picture.fill(window.palette().window().color())
        painter = QPainter(picture)
        painter.drawPixmap(0, 0, strip)
        for corner, menu in menus:
            painter.drawPixmap(corner, menu)
        painter.end()
        return picture

    def _clean_up(self) -> Steps:
        self._choose("Cleanup started processes")
        dialog = yield from self._dialog("CleanupDialog")
        self._keep("ten-cleanup", dialog.grab())
        _click(_button(dialog, "accept"))
        message = yield from self._dialog("Message")
        self._keep("ten-cleaned", message.grab())
        _click(message.defaultButton())
        yield from self._gone(message)

    # ------------------------------------------------------------ parts of steps

    def _drop(self, package: str, name: str) -> Steps:
        """Drag a module from the palette into the pipeline, and return its id."""
        from types import SimpleNamespace

        from vistrails.gui.module_palette import QModulePalette

        open_palette(package)
        tree = QModulePalette.instance().treeWidget
        (top,) = (each for each in map(tree.topLevelItem, range(tree.topLevelItemCount())) if each.text(0) == package)
        (item,) = (each for each in map(top.child, range(top.childCount())) if each.text(0) == name)
        tree.scrollToItem(item)
        yield from self._moment()
        controller = self._window.get_current_controller()
        before = set(controller.current_pipeline.modules)
        view = controller.current_pipeline_view
        x, y = _PLACES[name]
        place = view.mapToScene(int(x * view.viewport().width()), int(y * view.viewport().height()))
        # What VisTrails does when a module is let go of over the pipeline.
        view.scene().add_module_event(SimpleNamespace(scenePos=lambda: place), SimpleNamespace(items=[item]))
        yield from self._moment()
        (number,) = set(controller.current_pipeline.modules) - before
        return number

    def _write_source(self) -> Steps:
        """Give the PythonSource, which is selected, its ports and its code, in its configuration."""
        from vistrails.gui.module_configuration import QModuleConfiguration

        self._window.configure_module()
        palette = QModuleConfiguration.instance()
        yield from self._until(lambda: palette.confWidget.widget is not None, "the configuration")
        tool = palette.toolWindow()
        tool.setFloating(True)
        tool.resize(560, 400)
        yield from self._moment()
        widget = palette.confWidget.widget
        for table, name in ((widget.inputPortTable, "block"), (widget.outputPortTable, "count")):
            yield from self._fill_row(table, name)
        widget.codeEditor.setFocus()
        widget.codeEditor.insertPlainText(CODE)  # as if pasted
        yield from self._moment()
        self._keep("ten-source", palette.grab())
        _click(widget.saveButton)
        yield from self._moment()
        tool.setFloating(False)
        tool.hide()
        yield from self._moment()

    def _fill_row(self, table: Any, name: str) -> Steps:
        """Type a port's name, and choose Integer as its type."""
        from PyQt5.QtTest import QTest

        model = table.model()
        table.edit(model.index(0, 0))
        yield
        field = table.findChildren(_class("QLineEdit"))[-1]
        QTest.keyClicks(field, name)
        QTest.keyClick(field, _qt().Key_Return)
        yield from self._moment()
        table.edit(model.index(0, 1))
        yield
        (combo,) = table.findChildren(_class("QComboBox"))
        combo.setCurrentIndex(combo.findText("Integer (org.vistrails.vistrails.basic)"))
        QTest.keyClick(combo, _qt().Key_Return)
        yield from self._moment()

    def _show_self(self) -> Steps:
        """Switch the optional port `self` on in the module information, with a click on its eye."""
        info = yield from self._information()
        ports = info.output_ports_list
        info.tab_widget.setCurrentWidget(ports)
        yield from self._moment()
        _, item = ports.port_spec_items["self"]
        self._hit(ports, item, 1)
        yield from self._moment()
        assert item.is_visible
        self._keep("ten-self", (yield from self._floating(info, 330, 300)))

    def _set_ports(self, number: int, values: Mapping[str, str]) -> Steps:
        """Type values for ports of a module, in the module information."""
        from PyQt5.QtTest import QTest

        controller = self._window.get_current_controller()
        scene = controller.current_pipeline_view.scene()
        scene.clearSelection()
        scene.modules[number].setSelected(True)
        info = yield from self._information()
        ports = info.input_ports_list
        info.tab_widget.setCurrentWidget(ports)
        for port, value in values.items():
            yield from self._moment()
            _, item = ports.port_spec_items[port]
            self._hit(ports, item, 3)
            yield from self._moment()
            (field,) = ports.itemWidget(item.child(0), 2).findChildren(_class("QLineEdit"))
            field.setFocus()
            field.selectAll()
            QTest.keyClicks(field, value)
            QTest.keyClick(field, _qt().Key_Return)
            yield from self._moment()
        module = controller.current_pipeline.modules[number]
        found = {function.name: function.params[0].strValue for function in module.functions}
        assert found == values, found
        self._keep("ten-ports", (yield from self._floating(info, 330, 480)))

    def _information(self) -> Steps:
        """Bring the module information to the front."""
        from vistrails.gui.module_info import QModuleInfo

        info = QModuleInfo.instance()
        info.set_visible(True)
        yield from self._moment()
        return info

    def _floating(self, palette: Any, width: int, height: int) -> Steps:
        """A picture of a palette on its own, so large that nothing is cut off."""
        tool = palette.toolWindow()
        tool.setFloating(True)
        tool.resize(width, height)
        yield from self._moment()
        palette.setFocus()
        yield from self._moment()
        for field in palette.findChildren(_class("QLineEdit")):
            field.home(False)
        picture = palette.grab()
        tool.setFloating(False)
        yield from self._moment()
        tool.raise_()
        yield from self._moment()
        return picture

    @staticmethod
    def _hit(tree: Any, item: Any, column: int) -> None:
        from PyQt5.QtTest import QTest

        place = tree.visualRect(tree.indexFromItem(item, column)).center()
        QTest.mouseClick(tree.viewport(), _qt().LeftButton, _qt().NoModifier, place)

    def _connect(self, source: int, output: str, target: int, port: str) -> None:
        """Drag from an output port to an input port with the mouse."""
        from PyQt5.QtCore import QEvent, QPointF
        from PyQt5.QtGui import QMouseEvent

        view = self._window.get_current_controller().current_pipeline_view
        modules = view.scene().modules
        ends = _port(modules[source].outputPorts, output), _port(modules[target].inputPorts, port)
        begin, end = (view.mapFromScene(item.sceneBoundingRect().center()) for item in ends)
        left, none = _qt().LeftButton, _qt().NoButton
        for kind, place, button, buttons in (
            (QEvent.MouseButtonPress, begin, left, left),
            (QEvent.MouseMove, (begin + end) / 2, none, left),
            (QEvent.MouseMove, end, none, left),
            (QEvent.MouseButtonRelease, end, left, none),
        ):
            where = QPointF(place), QPointF(view.viewport().mapToGlobal(place))
            self._application.sendEvent(view.viewport(), QMouseEvent(kind, *where, button, buttons, _qt().NoModifier))

    def _press_execute(self, printed: io.StringIO | None = None) -> list[Any]:
        """Press Execute; what came of it will be in the list that is returned.

        :param printed: gets what is printed
        """
        controller = self._window.get_current_controller()
        results: list[Any] = []
        execute = controller.execute_current_workflow

        def and_note(*arguments: Any, **more: Any) -> Any:
            with contextlib.redirect_stdout(printed or sys.stdout):
                found = execute(*arguments, **more)
            results.append(found[0][0])
            return found

        controller.execute_current_workflow = and_note
        _later(self._window.qactions["execute"].trigger)
        return results

    def _pipeline(self) -> Any:
        """A picture of the pipeline, as far as there is anything in it."""
        return picture_of_pipeline(self._window.get_current_controller())

    def _choose(self, entry: str) -> None:
        next(action for action in _menu_of(self._window).actions() if action.text() == entry).trigger()

    # ------------------------------------------------------------ wait

    def _until(self, look: Callable[[], Any], what: str) -> Steps:
        end = time.monotonic() + _PATIENCE
        while not (found := look()):
            assert time.monotonic() < end, f"{what} did not come"
            yield
        return found

    def _dialog(self, name: str) -> Steps:
        def look() -> Any:
            tops = self._application.topLevelWidgets()
            return next((each for each in tops if type(each).__name__ == name and each.isVisible()), None)

        found = yield from self._until(look, name)
        yield from self._moment()
        return found

    def _gone(self, dialog: Any) -> Steps:
        from PyQt5 import sip

        yield from self._until(lambda: sip.isdeleted(dialog) or not dialog.isVisible(), "the end of a dialog")

    @staticmethod
    def _moment(seconds: float = 0.3) -> Steps:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield


def follow(application: Any, keep: Callable[[str, Any], None]) -> None:
    """Go through the page; returns when all is done and nothing runs any more.

    :param keep: keeps a picture under a name
    """
    from PyQt5.QtCore import QEventLoop, QTimer

    steps = Reader(application, keep).follow()
    loop, timer = QEventLoop(), QTimer()
    failures: list[BaseException] = []

    def tick() -> None:
        try:
            next(steps)
        except BaseException as error:
            timer.stop()
            if not isinstance(error, StopIteration):
                failures.append(error)
            loop.quit()

    timer.timeout.connect(tick)
    timer.start(_TICK)
    loop.exec_()
    if failures:
        from parallelflow.cluster import get_session

        get_session().close()
        raise failures[0]


# ---------------------------------------------------------------- also for make_screenshots


def open_palette(*packages: str) -> None:
    """Show the modules of packages in the palette."""
    from vistrails.gui.module_palette import QModulePalette

    tree = QModulePalette.instance().treeWidget
    for row in range(tree.topLevelItemCount()):
        item = tree.topLevelItem(row)
        item.setExpanded(item.text(0) in packages)


def picture_of_pipeline(controller: Any, widest: int = 760) -> Any:
    """A picture of a pipeline as the window draws it, as far as there is anything in it.

    :param widest: how wide it may be, in pixels
    """
    from PyQt5.QtCore import QRectF
    from PyQt5.QtGui import QColor, QPainter, QPixmap

    scene = controller.current_pipeline_view.scene()
    scene.clearSelection()
    area = QRectF()
    for item in scene.modules.values():
        area = area.united(item.sceneBoundingRect())
    area.adjust(-20, -20, 20, 20)
    scale = min(1.25, widest / area.width())
    picture = QPixmap(int(area.width() * scale), int(area.height() * scale))
    picture.fill(QColor("white"))
    painter = QPainter(picture)
    painter.setRenderHints(QPainter.Antialiasing | QPainter.TextAntialiasing | QPainter.SmoothPixmapTransform)
    brush = scene.backgroundBrush()
    scene.setBackgroundBrush(QColor("white"))
    scene.render(painter, QRectF(picture.rect()), area)
    scene.setBackgroundBrush(brush)
    painter.end()
    return picture


# ---------------------------------------------------------------- small things


def _qt() -> Any:
    from PyQt5.QtCore import Qt

    return Qt


def _class(name: str) -> Any:
    from PyQt5 import QtWidgets

    return getattr(QtWidgets, name)


def _click(button: Any) -> None:
    from PyQt5.QtTest import QTest

    QTest.mouseClick(button, _qt().LeftButton)


def _button(dialog: Any, name: str) -> Any:
    return dialog.findChild(_class("QAbstractButton"), name)


def _later(function: Callable[[], Any]) -> None:
    from PyQt5.QtCore import QTimer

    QTimer.singleShot(0, function)


def _menu_of(window: Any) -> Any:
    for action in window.qmenus["packages"].actions():
        if action.text() == "Parallel Flow":
            return action.menu()
    return None


def _port(ports: Mapping[Any, Any], name: str) -> Any:
    return next(item for spec, item in ports.items() if spec.name == name)


def _rows(table: Any) -> int:
    model = table.model()
    return sum(model.rowCount(model.index(row, 0)) for row in range(model.rowCount()))


def _children(item: Any) -> list[Any]:
    return [item.child(row) for row in range(item.childCount())]


def _expand(tree: Any, levels: int) -> None:
    """Open what is in a tree, so many levels deep."""
    waiting = [(tree.topLevelItem(row), 1) for row in range(tree.topLevelItemCount())]
    while waiting:
        item, level = waiting.pop()
        item.setExpanded(True)
        if level < levels:
            waiting += [(child, level + 1) for child in _children(item)]


def _on_top(window: Any, dialog: Any) -> Any:
    """A picture of a window with a dialog in front of it."""
    from PyQt5.QtGui import QPainter

    picture, front = window.grab(), dialog.grab()
    painter = QPainter(picture)
    painter.drawPixmap(picture.width() // 4, picture.height() * 2 // 3, front)
    painter.end()
    return picture
