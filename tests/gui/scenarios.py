"""What users do in the window; see `driver`. The tests call these by name, and say what to make of what was seen."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import signal
import sys
import time
import urllib.parse
from collections import Counter
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import psutil
from driver import Scenario, User, said

ROOT = Path(__file__).resolve().parents[2]
BASIC = "org.vistrails.vistrails.basic"
OURS = "org.vistrails.parallelflow"

START = "Start new engine processes"
SHOW = "Show information on the cluster"
PROFILE = "Change profile"
CLEAN = "Cleanup started processes"
SHUTDOWN = "Request cluster shutdown"
KEPT = "Kept results..."
PREFERENCES = "Preferences..."

Steps = Generator[None, None, Any]


# ---------------------------------------------------------------- what users do again and again


def _message(user: User, button: str = "") -> Steps:
    """Wait for a message, and press OK or another button."""
    message = yield from user.dialog("Message")
    if button:
        user.press(message, button)
    else:
        user.click(message.defaultButton())
    yield from user.gone(message)


def _start(user: User, count: int, button: str = "") -> Steps:
    """Start engines from the menu, and press a button of the message, if not OK."""
    with user.at("starting engines"):
        user.choose(START)
        yield from _answer_start(user, count, button)


def _answer_start(user: User, count: int, button: str = "") -> Steps:
    """Say how many engines to start, and press a button of the message, if not OK."""
    dialog = yield from user.dialog("StartDialog")
    user.type(dialog.count.lineEdit(), str(count))
    user.press(dialog, "accept")
    yield from _message(user, button)


def _answer(user: User, entry: str, kind: str, button: str, *first: str) -> Steps:
    """Choose an entry of the menu, and press buttons of its dialog."""
    user.choose(entry)
    dialog = yield from user.dialog(kind)
    for name in (*first, button):
        user.press(dialog, name)
    yield from user.gone(dialog)


def _processes(user: User) -> list[str]:
    return sorted(process.kind for process in user.cluster.processes)


# ---------------------------------------------------------------- the menu


def start_and_stop(user: User) -> Scenario:
    user.seen["menu"] = list(user.menu())
    with user.at("with nothing running"):
        user.choose(CLEAN)
        yield from _message(user)
        user.choose(SHUTDOWN)
        yield from _message(user)
    yield from _start(user, 2, "show")
    window = yield from user.dialog("ClusterWindow")
    window.showMinimized()
    yield
    user.choose(SHOW)
    yield from user.until(lambda: not window.isMinimized(), "the window's return")
    window.close()
    user.seen["processes"] = _processes(user)
    with user.at("with engines running"):
        yield from _answer(user, SHUTDOWN, "ShutdownDialog", "reject")
        yield from _idle(user)
        user.seen["processes after a shutdown that was cancelled"] = _processes(user)
        user.choose(START)
        dialog = yield from user.dialog("StartDialog")
        user.type(dialog.count.lineEdit(), "500")
        yield
        user.seen["warning"] = dialog.warning.label.text()
        user.press(dialog, "reject")
        yield from user.gone(dialog)
    with user.at("cleaning up"):
        yield from _answer(user, CLEAN, "CleanupDialog", "accept", "stop")
        yield from _message(user)
    user.seen["left"] = _processes(user)


def cancel_and_fail(user: User) -> Scenario:
    with user.at("cancelling"):
        user.choose(START)
        dialog = yield from user.dialog("StartDialog")
        user.press(dialog, "accept")
        progress = yield from user.dialog("ProgressDialog")
        yield from user.until(lambda: _processes(user), "a process")
        user.press(progress, "reject")
        user.seen["cancelling"] = said(progress)["text"]
        yield from user.gone(progress)
    user.seen["after_cancel"] = _processes(user)
    config = Path(os.environ["IPYTHONDIR"], "profile_default", "ipengine_config.py")
    config.write_text(
        "import os, sys\nif 'engine' in sys.argv[0]:\n    os.write(2, b'no licence for engines\\n')\n    os._exit(3)\n"
    )
    with user.at("failing"):
        yield from _fail(user, "tail", "log")
    # Only one of two gets to make the folder.
    config.write_text(
        "import os, sys\n"
        "if 'engine' in sys.argv[0]:\n"
        "    try:\n"
        f"        os.mkdir({str(config.with_name('taken'))!r})\n"
        "    except FileExistsError:\n"
        "        os.write(2, b'the folder is taken\\n')\n"
        "    else:\n"
        "        os.write(2, b'no licence for engines\\n')\n"
        "    os._exit(3)\n"
    )
    with user.at("failing"):
        yield from _fail(user, "tails", "logs", engines=2)
    user.seen["after_failure"] = _processes(user)


def _fail(user: User, tail: str, whole: str, engines: int | None = None) -> Scenario:
    """Start engines that fail; note under two names what is said of their logs, and the logs."""
    user.choose(START)
    dialog = yield from user.dialog("StartDialog")
    if engines is not None:
        dialog.count.setValue(engines)
    user.press(dialog, "accept")
    failure = yield from user.dialog("FailureDialog")
    user.seen[tail] = failure.findChild(_class("QPlainTextEdit"), "log").toPlainText()
    user.press(failure, "whole_log")
    log = yield from user.dialog("LogDialog")
    user.seen[whole] = log.findChild(_class("QPlainTextEdit"), "log").toPlainText()
    user.key(log, _qt().Key_Escape)
    yield from user.gone(log)


def watch_the_cluster(user: User) -> Scenario:
    with user.at("watching"):
        user.choose(SHOW)
        window = yield from user.dialog("ClusterWindow")
        yield from user.until(lambda: "no controller" in window.status.label.text(), "the first look")
        user.press(window, "start")
        yield from _answer_start(user, 2)
        rows = window.table.model()
        yield from user.until(lambda: rows.rowCount() == 1 and rows.rowCount(rows.index(0, 0)) == 2, "two engines")
        yield from user.until(lambda: all(engine.pid for engine in user.cluster.engines), "their process ids")
        user.seen["window"] = said(window)["text"]
        window.table.selectAll()
        window.table.copy()
        user.seen["copied"] = user.application.clipboard().text()
    with user.at("stopping an engine"):
        window.table.setCurrentIndex(rows.index(1, 0, rows.index(0, 0)))
        user.press(window, "stop")
        yield from _answer_open(user, "Confirmation", "accept")
        yield from user.until(lambda: rows.rowCount(rows.index(0, 0)) == 1, "the engine's end")
    with user.at("losing an engine"):
        engine = next(process for process in user.cluster.processes if process.kind == "engine")
        os.kill(engine.pid, signal.SIGKILL)
        yield from user.until(lambda: str(engine.pid) in window.ended.label.text(), "news of the engine's death")
        user.seen["ended"] = window.ended.label.text()
    with user.at("losing the controller"):
        controller = next(process for process in user.cluster.processes if process.kind == "controller")
        os.kill(controller.pid, signal.SIGKILL)
        yield from user.until(lambda: "gone" in window.status.label.text(), "news of the controller's death")
        yield from _moment(user, 4)  # it tries to connect again meanwhile
        user.seen["lost"] = window.status.label.text()
    window.close()
    asked: list[None] = []
    window.wanted.connect(lambda: asked.append(None))
    yield from _moment(user, 1.5)
    user.seen["asked_when_closed"] = len(asked)


def let_go_of_what_cannot_be_stopped(user: User) -> Scenario:
    """A job is on record that could not be stopped."""
    user.choose(SHOW)
    window = yield from user.dialog("ClusterWindow")
    yield from user.until(lambda: "a machine that is gone" in window.stuck.label.text(), "what could not be stopped")
    user.seen["stuck"] = said(window)["text"]
    user.press(window, "forget")
    yield from user.until(lambda: not window.forget_button.isVisible(), "that it is let go of")
    user.seen["after"] = said(window)["text"]
    window.close()


def change_profile(user: User) -> Scenario:
    yield from _start(user, 1)
    user.choose(PROFILE)
    dialog = yield from user.dialog("ProfileDialog")
    yield from user.until(lambda: "running on" in _column(dialog.list, 1)[0], "what is known of the profiles")
    user.seen["profiles"] = list(zip(_column(dialog.list, 0), _column(dialog.list, 1), strict=True))
    user.type(dialog.new_name, "not a name")
    yield
    user.seen["problem"] = dialog.problem.label.text()
    user.seen["may_be_made"] = dialog.accept_button.isEnabled()
    user.press(dialog, "reject")
    yield from user.gone(dialog)
    steps = user.seen["steps"] = []
    for name, new, answers in (
        ("lab", True, ["reject"]),
        ("lab", True, ["leave", "accept"]),
        ("default", False, []),
        ("lab", False, ["stop", "accept"]),
    ):
        with user.at("changing the profile"):
            user.choose(PROFILE)
            dialog = yield from user.dialog("ProfileDialog")
            if new:
                user.type(dialog.new_name, name)
                user.key(dialog.new_name, _qt().Key_Return)
            else:
                row = next(n for n, text in enumerate(_column(dialog.list, 0)) if text.startswith(name))
                user.choose_row(dialog.list, row)
                user.press(dialog, "accept")
            yield from user.gone(dialog)
            if answers:
                fate = yield from user.dialog("LeaveProfileDialog")
                for answer in answers:
                    user.press(fate, answer)
                yield from user.gone(fate)
            said_before = len(user.seen["said"])
            yield from _idle(user)
        texts = [each["text"] for each in user.seen["said"][said_before:]]
        steps.append([user.cluster.profile, _processes(user), " ".join(texts)])


def clear_kept_results(user: User) -> Scenario:
    from vistrails.core.system import current_dot_vistrails

    from parallelflow.results.file import Header
    from parallelflow.results.store import PLACE as IN_FOLDER
    from parallelflow.results.store import Store

    store = Store(Path(current_dot_vistrails()) / IN_FOLDER, 10**9)
    for number, workflow in enumerate(("one.vt", "two.vt", "three.vt")):
        writer = store.writer(Header(f"{number}" * 32, workflow, "Map"))
        for key in range(number + 1):
            writer.add(bytes([key]), 1.0, time.time(), b"", [b"result"])
        writer.close()
        store.written(writer)
    listed = user.seen["listed"] = []
    for button in ("clear", "clear_all", ""):
        user.choose(KEPT)
        if not button:
            yield from _message(user)
            return
        dialog = yield from user.dialog("ResultsDialog")
        table = dialog.table
        rows = zip(_column(table, 0), _column(table, 1), _column(table, 2), strict=True)
        listed.append(sorted(rows))
        user.seen["may clear before a row is selected"] = dialog.findChild(
            _class("QAbstractButton"), "clear"
        ).isEnabled()
        if button == "clear":
            user.choose_row(table, _column(table, 0).index("two.vt"))
        user.press(dialog, button)
        yield from user.gone(dialog)
        if button == "clear":  # it goes on with what is left
            dialog = yield from user.dialog("ResultsDialog")
            listed.append(sorted(_column(dialog.table, 0)))
            user.press(dialog, "reject")
            yield from user.gone(dialog)
        else:
            yield from _message(user)
        yield from _idle(user)
        user.seen["files"] = len(list(store.folder.iterdir()))


def with_somebody_elses_controller(user: User) -> Scenario:
    """There is a cluster that was started in a terminal."""
    with user.at("disconnecting"):
        yield from _answer(user, CLEAN, "CleanupDialog", "accept")
        yield from _message(user)
    user.seen["disconnected"] = not user.cluster.connected
    yield from _start(user, 1)
    user.seen["processes"] = _processes(user)
    user.seen["engines"] = len(user.cluster.engines)
    with user.at("stopping our engine"):
        yield from _answer(user, CLEAN, "CleanupDialog", "accept", "stop")
        yield from _message(user)
    user.seen["left"] = [_processes(user), user.cluster.connected]


def leave_running(user: User) -> Scenario:
    yield from _start(user, 1)
    user.choose(SHOW)
    window = yield from user.dialog("ClusterWindow")
    with user.at("leaving engines"):
        yield from _answer(user, CLEAN, "CleanupDialog", "accept", "leave")
        yield from _message(user)
    yield from user.until(lambda: "let go" in window.status.label.text(), "the window to say so")


def find_and_shut_down(user: User) -> Scenario:
    user.choose(SHOW)
    window = yield from user.dialog("ClusterWindow")
    yield from user.until(lambda: window.status.label.text() == "Connected", "a connection")
    yield from user.until(lambda: all(engine.pid for engine in user.cluster.engines), "what engines tell")
    user.seen["starter"] = window.starter.text()
    with user.at("shutting down"):
        yield from _answer(user, SHUTDOWN, "ShutdownDialog", "accept")
        yield from _message(user)
    yield from user.until(lambda: "no controller" in window.status.label.text(), "the window to say so")


# ---------------------------------------------------------------- preferences


def enable_and_prefer(user: User) -> Scenario:
    user.builder.showPreferences()
    dialog = user.builder.preferencesDialog
    packages = dialog._packages_tab
    dialog._tab_widget.setCurrentWidget(packages)
    yield
    (item,) = packages._available_packages_list.findItems("ipyparallel_flow", _qt().MatchExactly)
    packages._available_packages_list.setCurrentItem(item)
    yield from user.until(packages._enable_button.isEnabled, "the button to enable")
    with user.at("enabling"):
        user.later(lambda: user.click(packages._enable_button))
        yield from user.until(lambda: PREFERENCES in user.menu(), "the menu")
    yield from user.until(packages._configure_button.isEnabled, "the button to configure")
    user.choose(CLEAN)  # which uses the profile, so that a change of it is one
    yield from _message(user)
    user.later(packages.configure_current_package)
    table = yield from user.dialog("QPackageConfigurationDialog")
    tree = table._configuration_widget._tree.treeWidget
    user.seen["keys"] = sorted(_cells(tree))
    for key, value in (("engines", "-3"), ("if_no_engines", "perhaps"), ("profile", "nowhere")):
        _cells(tree)[key].setText(1, value)
        yield from _message(user)
        user.seen[key] = [_cells(tree)[key].text(1), str(getattr(user.package().configuration, key))]
    _cells(tree)["engines"].setText(1, "3")
    yield
    user.seen["startup"] = (user.folder / "settings" / "startup.xml").read_text()
    table.reset_configuration()
    yield
    user.seen["restored"] = user.package().configuration.engines
    for key, value in (("if_no_engines", "perhaps"), ("engines", "-3")):
        _cells(tree)[key].setText(1, value)
        yield from _message(user)
        user.seen[f"{key} after restoring"] = getattr(user.package().configuration, key)
    # A profile that is there when it is set, and gone afterwards.
    folder = Path(os.environ["IPYTHONDIR"], "profile_lab")
    folder.mkdir(parents=True)
    _cells(tree)["profile"].setText(1, "lab")
    yield from _message(user)
    user.seen["profile set"] = user.cluster.profile
    shutil.rmtree(folder)
    messages = len(user.seen["said"])
    _cells(tree)["engines"].setText(1, "2")
    yield from _moment(user, 0.2)
    user.seen["said of the profile that has gone"] = user.seen["said"][messages:]
    user.seen["profile kept"] = _cells(tree)["profile"].text(1)
    table.reset_configuration()
    yield from _message(user)
    user.seen["profile restored"] = [user.cluster.profile, user.package().configuration.profile]
    table.close_dialog()
    yield from user.gone(table)
    user.builder.preferencesDialog.close()
    yield from user.gone(dialog)
    with user.at("changing preferences"):
        user.choose(PREFERENCES)
        proper = yield from user.dialog("PreferencesDialog")
        user.type(proper.editors["engines"].widget.lineEdit(), "5")
        user.press(proper, "encryption")
        user.key(proper, _qt().Key_Return)
        yield from user.gone(proper)
    user.seen["changed"] = [user.package().configuration.engines, user.package().configuration.encryption]
    user.seen["startup_after"] = (user.folder / "settings" / "startup.xml").read_text()
    user.choose(PREFERENCES)
    proper = yield from user.dialog("PreferencesDialog")
    user.click(proper.buttons.button(proper.buttons.RestoreDefaults))
    user.press(proper, "accept")
    yield from user.gone(proper)
    user.seen["defaults"] = [user.package().configuration.engines, user.package().configuration.encryption]
    user.seen["messages"] = user.messages()


enable_and_prefer.packages = ("controlflow",)  # type: ignore[attr-defined]


# ---------------------------------------------------------------- the Map

SLOW = """
import time
time.sleep(0.2)
o = a + 1
"""

# The last of thirty wait until somebody has seen what there is to see of the others.
LAST_WAIT = f"""
import os, time
end = time.monotonic() + 240
while a > 20 and not os.path.exists(%r) and time.monotonic() < end:
    time.sleep(0.05)
{SLOW}"""


def _drop(user: User, package: str, name: str, place: tuple[float, float]) -> Any:
    """Drag a module from the palette into the pipeline, and return it."""
    from vistrails.gui.module_palette import QModulePalette

    tree = QModulePalette.instance().treeWidget
    found = tree.findItems(name, _qt().MatchExactly | _qt().MatchRecursive, 0)
    (item,) = (each for each in found if each.descriptor is not None and each.descriptor.package == package)
    controller = user.builder.get_current_controller()
    scene = controller.current_pipeline_view.scene()
    before = set(controller.current_pipeline.modules)
    x, y = place
    scene.add_module_event(SimpleNamespace(scenePos=lambda: _point(x, -y)), SimpleNamespace(items=[item]))
    (number,) = set(controller.current_pipeline.modules) - before
    return controller.current_pipeline.modules[number]


def draw(user: User, code: str, elements: int | None = None, x: float = 0.0) -> Any:
    """Draw a workflow: a PythonSource that our Map runs for each element. Returns the Map.

    :param elements: how many numbers are on InputList; None: something else is to be connected to it
    :param x: where it is drawn
    """
    controller = user.builder.get_current_controller()
    source = _drop(user, BASIC, "PythonSource", (x, 200.0))
    the_map = _drop(user, OURS, "Map", (x, 0.0))
    sink = _drop(user, BASIC, "StandardOutput", (x, -200.0))
    ports = [("input", "a", f"{BASIC}:Integer", 0), ("output", "o", f"{BASIC}:Integer", 0)]
    controller.update_ports_and_functions(source.id, [], ports, [("source", [urllib.parse.quote(code)])])
    the_map = controller.current_pipeline.modules[the_map.id]
    values = {"InputPort": "['a']", "OutputPort": "o"}
    if elements is not None:
        values["InputList"] = str(list(range(elements)))
    for port, value in values.items():
        controller.update_function(the_map, port, [value])
    controller.add_connection(source.id, "self", the_map.id, "FunctionPort")
    controller.add_connection(the_map.id, "Result", sink.id, "value")
    controller.current_pipeline_view.scene().setupScene(controller.current_pipeline)
    return controller.current_pipeline.modules[the_map.id]


def _run(user: User) -> Any:
    """Press Execute; the result will be in the list that is returned."""
    controller = user.builder.get_current_controller()
    results: list[Any] = []

    def execute() -> None:
        results.append(controller.execute_user_workflow()[0][0])

    user.later(execute)
    return results


def _item(user: User, module: Any) -> Any:
    return user.builder.get_current_controller().current_pipeline_view.scene().modules[module.id]


def map_asks(user: User) -> Scenario:
    from vistrails.core.configuration import get_vistrails_configuration

    draw(user, "assert a != 3, 'three is too many'\no = a + 1\n", 5)
    draw(user, "o = a - 1\n", 2, 300.0)
    get_vistrails_configuration().stopOnError = False
    appeared = user.watch("NeedDialog")
    yield from _moment(user, 0.1)
    with user.at("asking whether to start engines"):
        results = _run(user)
        dialog = yield from user.dialog("NeedDialog")
    with user.at("refusing"):
        user.press(dialog, "reject")
        yield from user.until(lambda: results, "the end of the execution")
    user.seen["refused"] = [str(error) for error in results[0].errors.values()]
    user.seen["asked"] = len(appeared)
    with user.at("asking again"):
        results = _run(user)
        dialog = yield from user.dialog("NeedDialog")
    user.type(dialog.count.lineEdit(), "1")
    user.press(dialog, "remember")
    user.press(dialog, "accept")
    waited_for = set()

    def over() -> Any:
        running = user.window("ExecutionProgressDialog")
        if running is not None:
            waited_for.add(running.labelText())
        return results

    with user.at("starting engines for a Map"):
        yield from user.until(over, "the end of the execution")
    user.seen["asked in all"] = len(appeared)
    user.seen["waited for"] = sorted(waited_for)
    user.seen["engines"] = len(user.cluster.engines)
    user.seen["preferences"] = [user.package().configuration.if_no_engines, user.package().configuration.engines]
    modules = user.builder.get_current_controller().current_pipeline.modules
    user.seen["errors"] = {modules[number].name: str(error) for number, error in results[0].errors.items()}
    user.seen["tooltips"] = {
        module.name: _item(user, module).toolTip() for module in modules.values() if module.id in _first(modules)
    }


def _first(modules: Any) -> set[int]:
    """The modules that were drawn first."""
    return set(sorted(modules)[:3])


def map_runs(user: User) -> Scenario:
    from parallelflow.map import progress

    goes_on = user.folder / "goes on"
    the_map = draw(user, LAST_WAIT % str(goes_on), 30)
    _look_at_ports(user, the_map)
    yield from _moment(user, 0.1)
    user.choose(SHOW)
    window = yield from user.dialog("ClusterWindow")
    yield from _start(user, 2)
    with user.at("first run, in which engines start VisTrails"):
        results = _run(user)
        yield from user.until(lambda: progress.current() and progress.current().done > 2, "progress")
    colours = user.seen["colours"] = []

    def over() -> Any:
        now = progress.current()
        if now is not None:
            colours.append([_item(user, the_map).progress, now.done / now.elements])
        return results

    with user.at("running"):
        yield from user.until(lambda: window.map.isVisible() and window.map_bar.value() > 0, "progress in the window")
        yield from user.until(lambda: "left" in window.map_text.text(), "an estimate")
        yield from user.until(lambda: any(_column(window.table, 4, below=0)), "elements in the table")
        user.seen["progress"] = [window.map_text.text(), _column(window.table, 4, below=0)]
        user.seen["label"] = user.window("ExecutionProgressDialog").labelText()
        yield from user.until(lambda: over() or len(colours) > 20, "colours")
        goes_on.touch()
        yield from user.until(over, "the end of the execution")
    user.seen["errors"] = [str(error) for error in results[0].errors.values()]
    modules = user.builder.get_current_controller().current_pipeline.modules
    user.seen["done"] = sorted(modules[number].name for number, success in results[0].executed.items() if success)
    yield from user.until(lambda: not window.map.isVisible(), "the end of progress")
    _set_code(user, "import time\ntime.sleep(300)\no = a\n")
    with user.at("running while an engine joins"):
        results = _run(user)
        yield from user.until(lambda: sum(map(bool, _column(window.table, 4, below=0))) == 2, "two engines at work")
        user.press(window, "start")
        yield from _answer_start(user, 1)
        yield from user.until(lambda: sum(map(bool, _column(window.table, 4, below=0))) == 3, "three engines at work")
    with user.at("cancelling"):
        running = yield from user.dialog("ExecutionProgressDialog")
        running.cancel()
        question = yield from user.dialog("QMessageBox")
        begin = time.monotonic()
        user.click(question.button(question.Yes))
        yield from user.until(lambda: results, "the end of the execution")
    user.seen["seconds to cancel"] = time.monotonic() - begin
    user.seen["cancelled"] = [str(error) for error in results[0].errors.values()]
    user.seen["engines after cancelling"] = len(user.cluster.engines)
    yield from user.until(lambda: not window.map.isVisible(), "the end of progress")
    _set_code(user, SLOW)
    with user.at("saving and opening"):
        yield from _save_and_reopen(user, user.folder / "saved.vt")
    controller = user.builder.get_current_controller()
    user.seen["reopened"] = sorted(module.name for module in controller.current_pipeline.modules.values())
    with user.at("looking at provenance"):
        yield from _browse(user)
    with user.at("running what was reopened"):
        results = _run(user)
        yield from user.until(lambda: results, "the end of the execution")
    user.seen["again"] = [str(error) for error in results[0].errors.values()]


def map_of_dialogs(user: User) -> Scenario:
    from vistrails.core import debug
    from vistrails.core.packagemanager import get_package_manager

    get_package_manager().late_enable_package("dialogs", {"dialogs": "vistrails.packages."})
    yield from _moment(user, 0.1)
    controller = user.builder.get_current_controller()
    asks = _drop(user, "org.vistrails.vistrails.dialogs", "TextDialog", (0.0, 200.0))
    the_map = _drop(user, OURS, "Map", (0.0, 0.0))
    sink = _drop(user, BASIC, "StandardOutput", (0.0, -200.0))
    for port, value in {
        "InputPort": "['label']",
        "OutputPort": "result",
        "InputList": "['one', 'two', 'three']",
    }.items():
        controller.update_function(the_map, port, [value])
    controller.add_connection(asks.id, "self", the_map.id, "FunctionPort")
    controller.add_connection(the_map.id, "Result", sink.id, "value")
    controller.current_pipeline_view.scene().setupScene(controller.current_pipeline)
    warned: list[str] = []
    usual, debug.warning = debug.warning, lambda text, *_: warned.append(text)
    questions = user.seen["questions"] = []
    results = _run(user)
    for _ in range(3):
        dialog = yield from user.dialog("QInputDialog")
        questions.append(dialog.labelText())
        dialog.setTextValue(f"answer to {dialog.labelText()}")
        dialog.accept()
        yield from user.gone(dialog)
    yield from user.until(lambda: results, "the end of the execution")
    debug.warning = usual
    user.seen["warned"] = [text for text in warned if "window" in text]
    user.seen["errors"] = [str(error) for error in results[0].errors.values()]
    user.seen["results"] = results[0].objects[the_map.id].get_output("Result")
    user.seen["processes"] = _processes(user)


def _browse(user: User) -> Steps:
    """Note what VisTrails' provenance browser shows of the first execution: each element's executions and their notes."""
    from vistrails.gui.collection.vis_log import QLogDetails

    user.builder.qactions["provenance"].trigger()
    details = QLogDetails.instance()
    tree = details.executionList
    yield from user.until(lambda: tree.topLevelItemCount() > 0, "an execution in the provenance browser")

    def below(item: Any) -> list[Any]:
        item.setExpanded(True)
        return [item.child(row) for row in range(item.childCount())]

    runs = [tree.topLevelItem(row) for row in range(tree.topLevelItemCount())]
    maps = [each for execution in runs for each in below(execution) if each.text(0) == "Map"]
    loops = [below(each)[0] for each in maps]
    iterations = max((below(loop) for loop in loops), key=len)
    user.seen["browser"] = [[each.text(0) for each in below(iteration)] for iteration in iterations]
    tree.setCurrentItem(below(iterations[0])[0])
    yield
    user.seen["details"] = details.detailsWidget.toPlainText()
    user.builder.qactions["pipeline"].trigger()
    yield


def _look_at_ports(user: User, the_map: Any) -> None:
    """Note what VisTrails shows of the Map: its documentation, and its ports from left to right."""
    user.seen["documentation"] = the_map.module_descriptor.module_documentation(the_map)
    specs = [*the_map.destinationPorts(), *the_map.sourcePorts()]
    user.seen["ports"] = [[spec.name, spec.docstring(), spec.optional] for spec in specs]
    item = _item(user, the_map)
    drawn = [*item.inputPorts.values(), *item.outputPorts.values()]
    user.seen["port tooltips"] = [port.toolTip() for port in sorted(drawn, key=lambda port: port.x())]


def _set_code(user: User, code: str) -> None:
    """Change what the PythonSource does."""
    controller = user.builder.get_current_controller()
    (source,) = (each for each in controller.current_pipeline.modules.values() if each.name == "PythonSource")
    controller.update_ports_and_functions(source.id, [], [], [("source", [urllib.parse.quote(code)])])


def many_elements(user: User) -> Scenario:
    """A list that nobody would type: ELEMENTS in the environment says how long. With KEPT, it is taken from kept results again."""
    elements = int(os.environ["ELEMENTS"])
    controller = user.builder.get_current_controller()
    the_map = draw(user, "cache_this()\no = a + 1\n")
    makes = _drop(user, BASIC, "PythonSource", (200.0, 200.0))
    code = urllib.parse.quote(f"o = list(range({elements}))\n")
    controller.update_ports_and_functions(makes.id, [], [("output", "o", f"{BASIC}:List", 0)], [("source", [code])])
    controller.add_connection(makes.id, "o", the_map.id, "InputList")
    yield from _moment(user, 0.1)
    yield from _start(user, 2)
    memory, controllers = _memory(), _controllers_memory(user)
    begin = time.monotonic()
    if "KEPT" in os.environ:
        _keep_all()
        with user.at("keeping"):
            results = _run(user)
            yield from user.until(lambda: results, "the end of the first execution", 900)
        begin = time.monotonic()
    with user.at("running"):
        results = _run(user)
        yield from user.until(lambda: results, "the end of the execution", 900)
    user.seen["errors"] = [str(error) for error in results[0].errors.values()]
    user.seen["seconds"] = time.monotonic() - begin
    user.seen["megabytes"] = _memory() - memory
    user.seen["controller's megabytes"] = _controllers_memory(user) - controllers
    if "KEPT" in os.environ:
        (execution,) = [each for each in controller.log.workflow_execs[-1].item_execs if each.module_name == "Map"]
        taken = [each.item_execs[0].cached for each in execution.loop_execs[0].loop_iterations]
        user.seen["iterations"], user.seen["taken"] = len(taken), sum(taken)
        controller.set_changed(False)
        return
    begin = time.monotonic()
    with user.at("saving and opening"):
        yield from _save_and_reopen(user, user.folder / "saved.vt")
    user.seen["seconds to save and open"] = time.monotonic() - begin
    log = user.builder.get_current_controller().read_log()
    (execution,) = [each for run in log.workflow_execs for each in run.item_execs if each.module_name == "Map"]
    user.seen["iterations"] = len(execution.loop_execs[0].loop_iterations)


# By the element's number, what its result is: so many bytes, in several ways, made where nothing of them has to be sent there.
_LARGE = """
n = 1_000_000 * %d
import numpy
if a == 0:
    o = b"x" * n
elif a == 1:
    o = "\\u20ac" * (n // 3)
elif a == 2:
    o = numpy.ones(n, dtype="u1")
elif a == 3:
    o = [numpy.ones(n // 100, dtype="u1") for _ in range(100)]
elif a == 4:
    o = numpy.ones((1000, n // 500), dtype="u1")[:, ::2]
else:
    o = [b"x" * 100_000 for _ in range(n // 100_000)]
"""


def large_values(user: User) -> Scenario:
    """Results of so many MEGABYTES in each of several ways, and a value of so many of CONSTANT on another port."""
    from parallelflow.map import values

    megabytes, controller = int(os.environ["MEGABYTES"]), user.builder.get_current_controller()
    source = _drop(user, BASIC, "PythonSource", (0.0, 200.0))
    the_map = _drop(user, OURS, "Map", (0.0, 0.0))
    given = _drop(user, BASIC, "PythonSource", (200.0, 200.0))
    variant = f"{BASIC}:Variant"
    ports = [("input", "a", f"{BASIC}:Integer", 0), ("input", "c", variant, 0), ("output", "o", variant, 0)]
    code = urllib.parse.quote(_LARGE % megabytes)
    controller.update_ports_and_functions(source.id, [], ports, [("source", [code])])
    code = urllib.parse.quote("import held_by_the_test\no = held_by_the_test.value\n")
    controller.update_ports_and_functions(given.id, [], [("output", "o", variant, 0)], [("source", [code])])
    the_map = controller.current_pipeline.modules[the_map.id]
    for port, value in {"InputPort": "['a']", "OutputPort": "o", "InputList": str(list(range(6)))}.items():
        controller.update_function(the_map, port, [value])
    controller.add_connection(source.id, "self", the_map.id, "FunctionPort")
    controller.add_connection(given.id, "o", source.id, "c")
    held = sys.modules["held_by_the_test"] = ModuleType("held_by_the_test")
    vars(held)["value"] = bytearray(1_000_000 * int(os.environ["CONSTANT"]))
    yield from _moment(user, 0.1)
    yield from _start(user, 2)
    user.seen["loaded"] = "parallelflow.map.execution" in sys.modules  # what the first Map would be blocked by

    at, turns, unpack = "running", Counter[str](), values.unpack

    def unpacking(packed: Any, pause: Any = None) -> Any:
        nonlocal at
        size, at = values.size(packed), "reading"
        try:
            return unpack(packed, pause)
        finally:
            at = "running"
            user.seen.setdefault("read", []).append(size)

    values.unpack = unpacking
    with user.at("running"):
        results = _run(user)
        end = time.monotonic() + 300
        while not results:
            assert time.monotonic() < end
            turns[at] += 1
            yield
    values.unpack = unpack
    user.seen["errors"] = [str(error) for error in results[0].errors.values()]
    user.seen["turns"] = turns
    found = results[0].objects[the_map.id].get_output("Result") if not results[0].errors else []
    user.seen["results"] = [
        [type(each).__name__, len(each) if isinstance(each, (bytes, str, list)) else each.nbytes] for each in found
    ]


def _keep_all() -> None:
    """Have the result of every element kept, however short that is."""
    from vistrails.core.packagemanager import get_package_manager

    from parallelflow.map import kept

    get_package_manager().get_package_configuration("ipyparallel_flow").keep_results = "all"
    kept.SHORTEST, kept.READING = 0.0, math.inf


def _save_and_reopen(user: User, path: Path) -> Steps:
    from vistrails.core.db.locator import FileLocator

    controller = user.builder.get_current_controller()
    controller.flush_delayed_actions()
    controller.write_vistrail(FileLocator(str(path)))
    controller.set_changed(False)
    user.builder.close_vistrail(user.builder.get_current_view(), quiet=True)
    yield
    user.builder.open_vistrail_without_prompt(FileLocator(str(path)))
    yield


# ---------------------------------------------------------------- beginnings and ends


def disable_and_reload(user: User) -> Scenario:
    from vistrails.core.packagemanager import get_package_manager

    yield from _start(user, 1)
    user.choose(SHOW)
    window = yield from user.dialog("ClusterWindow")
    user.builder.showPreferences()
    dialog = user.builder.preferencesDialog
    packages = dialog._packages_tab
    dialog._tab_widget.setCurrentWidget(packages)
    yield
    for press, disabled in ((packages._reload_button, False), (packages._disable_button, True)):
        (item,) = packages._enabled_packages_list.findItems("ipyparallel_flow", _qt().MatchExactly)
        packages._enabled_packages_list.setCurrentItem(item)
        yield from user.until(press.isEnabled, "the button")
        with user.at("disabling" if disabled else "reloading"):
            user.later(lambda press=press: user.click(press))  # VisTrails does not return before it is done
            yield from user.gone(window)
            yield from user.until(lambda: not _children(), "the end of the processes")
        user.seen["children"] = _children()
        if not disabled:
            yield from user.until(lambda: user.menu(), "the menu")
            dialog.hide()
            yield from _start(user, 1)
            user.choose(SHOW)
            window = yield from user.dialog("ClusterWindow")
            dialog.show()
            yield
    user.seen["menu"] = list(user.menu())
    user.seen["enabled"] = get_package_manager().has_package("org.vistrails.parallelflow")


def quit_with_everything_open(user: User) -> Scenario:
    user.choose(SHOW)
    yield from user.dialog("ClusterWindow")
    yield from _start(user, 1)
    user.choose(PREFERENCES)
    yield from user.dialog("PreferencesDialog")
    user.seen["children"] = _children()


def wait_for_the_end(user: User) -> Scenario:
    yield from _start(user, 1)
    (user.folder / "ready").write_text(str(os.getpid()))
    while True:
        yield


def find_orphans(user: User) -> Scenario:
    """ANSWER in the environment is the button that is pressed."""
    dialog = yield from user.dialog("OrphansDialog")
    user.seen["found"] = _column(dialog.findChild(_class("QTreeView"), "processes"), 0)
    answer = os.environ["ANSWER"]
    with user.at(f"orphans: {answer}"):
        user.press(dialog, answer)
        yield from user.gone(dialog)
        if answer == "stop":
            yield from user.until(lambda: not user.cluster.processes, "the end of the processes")
        else:
            yield from user.until(lambda: user.cluster.connected and user.cluster.engines, "a connection")
    user.seen["let go"] = [process.let_go for process in user.cluster.processes]


def find_orphans_of_another_profile(user: User) -> Scenario:
    from parallelflow.cluster import profile
    from parallelflow.cluster.record import Record

    dialog = yield from user.dialog("OrphansDialog")
    table = dialog.findChild(_class("QTreeView"), "processes")
    user.seen["found"] = list(zip(_column(table, 0), _column(table, 4), strict=True))
    with user.at("stopping what a crash left on another profile"):
        user.press(dialog, "stop")
        yield from user.gone(dialog)
        yield from user.until(lambda: not Record(profile.folder_of("lab")).read(), "the end of the processes")


def hesitate(user: User) -> Scenario:
    yield from user.dialog("OrphansDialog")
    (user.folder / "ready").write_text(str(os.getpid()))
    while True:
        yield


# ---------------------------------------------------------------- the dialogs by themselves


def dialogs(user: User) -> Scenario:
    """Each dialog with a made-up state. TRANSLATION in the environment is what pylupdate5 has extracted."""
    user.seen["menu"] = list(user.menu())
    faults = user.seen["faults"] = []
    shown = user.seen["shown"] = {}
    takes_keys = user.application.platformName() == "offscreen"  # an X server without a window manager gives none
    for name, dialog in _every_dialog(user):
        with user.at("showing a dialog"):
            dialog.show()
            dialog.activateWindow()
            yield from user.until(lambda dialog=dialog: _is_there(dialog, takes_keys), "a dialog on the screen")
            yield from _moment(user, 0.1)
        shown[name] = said(dialog)["text"]
        found = list(_faults(dialog))
        if takes_keys:
            found += yield from _without_mouse(user, dialog)
        faults += [f"{name}: {fault}" for fault in found]
        user.key(dialog, _qt().Key_Escape)
        yield
        if dialog.isVisible() and name != "progress":
            faults.append(f"{name}: Escape does not close it")
        dialog.hide()
        dialog.deleteLater()
    user.seen["cancelled by Escape"] = yield from _escape_progress(user)
    user.seen["sorted"] = _sort_engines()
    if "TRANSLATION" in os.environ:
        yield from _translated(user, Path(os.environ["TRANSLATION"]))


def _is_there(dialog: Any, takes_keys: bool) -> bool:
    return dialog.windowHandle().isExposed() and (dialog.isActiveWindow() or not takes_keys)


def _every_dialog(user: User) -> Generator[tuple[str, Any], None, None]:
    """The dialogs of the guide's pictures, and some in states of which it has none."""
    from parallelflow.cluster.questions import Orphan
    from parallelflow.cluster.state import ClusterState, EngineState, ProcessState
    from parallelflow.gui.cleanup_dialog import OrphansDialog
    from parallelflow.gui.shutdown_dialog import ShutdownDialog
    from parallelflow.gui.start_dialog import NeedDialog, StartDialog, StartState

    spec = importlib.util.spec_from_file_location("make_screenshots", ROOT / "docs" / "make_screenshots.py")
    assert spec is not None
    assert spec.loader is not None
    screenshots = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(screenshots)
    yield from screenshots.dialogs(user.builder)
    engines = tuple(EngineState(n, f"uuid-{n}") for n in range(4))
    full = ClusterState("default", engines=engines)
    yield "start-full", StartDialog(user.builder, StartState(full, 4))
    elsewhere = StartState(full, 4, here=False, stay=True)
    yield "start-elsewhere", StartDialog(user.builder, elsewhere)
    yield "need-elsewhere", NeedDialog(user.builder, elsewhere)
    ours = tuple(ProcessState("engine", pid, "here") for pid in (1, 2))
    yield "shutdown-without-controller", ShutdownDialog(user.builder, ClusterState("default", processes=ours))
    yield "orphan", OrphansDialog(user.builder, [Orphan("engine", 18025, "here", 0.0)])


def _without_mouse(user: User, dialog: Any) -> Generator[None, None, list[str]]:
    """What is wrong for somebody who has a keyboard only: Tab must reach everything, and Enter press what it is on."""
    from PyQt5.QtWidgets import QPushButton, QRadioButton, QWidget

    tab, faults = _qt().Key_Tab, []
    if not dialog.isActiveWindow():
        return ["it does not become the active window"]
    reached: list[Any] = []
    while (widget := user.application.focusWidget()) is not None and widget not in reached:
        reached.append(widget)
        user.key(widget, tab)
        yield
    for widget in dialog.findChildren(QWidget):
        unchosen = isinstance(widget, QRadioButton) and not widget.isChecked()  # arrows reach it
        takes = widget.focusPolicy() & _qt().TabFocus and widget.focusProxy() is None and not unchosen
        if takes and widget.isVisible() and widget.isEnabled() and widget not in reached:
            faults.append(f"Tab does not reach {widget.objectName() or widget}")
    pressed: list[str] = []
    buttons = [button for button in dialog.findChildren(QPushButton) if button in reached]
    for button in buttons:
        button.clicked.connect(lambda checked, button=button: pressed.append(button.text()))
    for button in buttons:
        dialog.show()
        user.application.setActiveWindow(dialog)  # without a display, no window manager does it a second time
        yield
        for _ in reached:
            if user.application.focusWidget() is button:
                break
            user.key(user.application.focusWidget(), tab)
            yield
        text = button.text()
        user.key(user.application.focusWidget(), _qt().Key_Return)
        yield
        if pressed != [text]:
            faults.append(f"Enter on {text!r} presses {pressed}")
        pressed.clear()
    dialog.show()
    yield
    return faults


def _escape_progress(user: User) -> Generator[None, None, list[bool]]:
    """Press Escape while something is waited for: whether the work was called off, and whether the dialog stays."""
    from parallelflow.gui.progress_dialog import ProgressDialog

    dialog = ProgressDialog(user.builder, "Start", "Starting", True)
    cancelled: list[None] = []
    dialog.cancelled.connect(lambda: cancelled.append(None))
    dialog.show()
    yield
    for _ in range(2):
        user.key(dialog, _qt().Key_Escape)
    stays = dialog.isVisible()
    dialog.hide()
    return [len(cancelled) == 1, stays]


def _sort_engines() -> dict[str, list[str]]:
    """The engines' numbers in the order of each column."""
    from parallelflow.cluster.state import EngineState
    from parallelflow.gui.engine_table import EngineTable

    sizes = [3 * 2**30, 2**20, None, 5 * 2**30, 2 * 2**30 - 1]
    shares = [0.0, 100.0, 3.5, None, 20.0]
    engines = [
        EngineState(n, f"uuid-{n}", "here", 40000 - n, tasks_done=9 + n % 3, memory=size, cpu_percent=share)
        for n, (size, share) in enumerate(zip(sizes, shares, strict=True))
    ]
    table = EngineTable()
    table.show_engines(engines, None)
    model = table.model()
    found = {}
    for column in range(model.columnCount()):
        table.sortByColumn(column, _qt().AscendingOrder)
        found[model.headerData(column, _qt().Horizontal)] = _column(table, 0, below=0)
    return found


def _translated(user: User, path: Path) -> Steps:
    """Show everything in a language that puts each text into quotes, and note what is not in it."""
    from PyQt5.QtCore import QTranslator
    from PyQt5.QtWidgets import QAbstractButton

    from parallelflow.cluster import profile
    from parallelflow.gui import background, texts

    messages = ElementTree.parse(path).getroot().findall("context[name='@default']/message")
    known = {(each.findtext("source"), each.findtext("comment") or "") for each in messages}

    class Quotes(QTranslator):
        def isEmpty(self) -> bool:
            return False

        def translate(self, context: str, text: str, comment: str | None = None, n: int = -1) -> str | None:
            return f"«{text}»" if context == "@default" and (text, comment or "") in known else None

    translator = Quotes()
    user.application.installTranslator(translator)
    user.seen["numbers"] = [texts.engines(1), texts.engines(1200)]
    words = [text for text, _ in user.package().menu_items()]
    failing = background.run(lambda: profile.find("nowhere"))
    failing.failed.connect(lambda error: user.seen.update(error=str(error)))
    failing.start()
    yield from user.until(lambda: "error" in user.seen, "an error of the cluster's")
    for name, dialog in _every_dialog(user):
        dialog.show()
        yield
        if name not in ("started", "failure", "progress", "stop"):  # what these say was handed to them
            words.append(dialog.windowTitle())
            words += [each.text() for each in dialog.findChildren(QAbstractButton) if each.isVisible()]
        dialog.hide()
        dialog.deleteLater()
    user.application.removeTranslator(translator)
    of_qt = ("OK", "Cancel", "Restore Defaults", "")  # which brings its own translations
    user.seen["not translated"] = [text for text in words if "«" not in text and text.replace("&", "") not in of_qt]


def _faults(dialog: Any) -> Generator[str, None, None]:
    """What is wrong with a dialog."""
    from PyQt5.QtGui import QKeySequence
    from PyQt5.QtWidgets import QAbstractButton, QLabel, QPushButton

    seen: dict[str, str] = {}
    for widget in dialog.findChildren((QAbstractButton, QLabel)):
        text = widget.text()
        if not widget.isVisible() or not text:
            continue
        key = QKeySequence.mnemonic(text).toString() if isinstance(widget, QAbstractButton) or widget.buddy() else ""
        if key and key in seen:
            yield f"{key} is on {seen[key]!r} and {text!r}"
        seen[key] = text
        needed = (
            widget.heightForWidth(widget.width()) if widget.hasHeightForWidth() else widget.minimumSizeHint().height()
        )
        if widget.height() < needed or widget.width() < widget.minimumSizeHint().width():
            yield f"{text!r} is cut off"
        if isinstance(widget, QLabel) and not widget.buddy() and " " in text:
            selectable = bool(widget.textInteractionFlags() & _qt().TextSelectableByMouse)
            if not selectable and not text.endswith(":"):
                yield f"{text!r} cannot be selected"
    room = dialog.screen().availableSize()
    if dialog.width() > room.width() or dialog.height() > room.height():
        yield f"{dialog.width()} x {dialog.height()} is more than the screen, {room.width()} x {room.height()}"
    if type(dialog).__name__ != "Message" and (dialog.maximumWidth() < 10000 or dialog.maximumHeight() < 10000):
        yield "it has a fixed size"
    buttons = [button for button in dialog.findChildren(QPushButton) if button.isDefault()]
    accept = dialog.findChild(QPushButton, "accept")
    careful = type(dialog).__name__ == "ShutdownDialog"
    if type(dialog).__name__ not in ("ClusterWindow", "ProgressDialog") and len(buttons) != 1:
        yield f"{len(buttons)} buttons are the default one"
    elif accept is not None and (buttons == [accept]) == careful:
        yield f"Enter presses {buttons[0].text()!r}"


# ---------------------------------------------------------------- small things


def _qt() -> Any:
    from PyQt5.QtCore import Qt

    return Qt


def _point(x: float, y: float) -> Any:
    from PyQt5.QtCore import QPointF

    return QPointF(x, y)


def _class(name: str) -> Any:
    from PyQt5 import QtWidgets

    return getattr(QtWidgets, name)


def _answer_open(user: User, kind: str, button: str) -> Steps:
    dialog = yield from user.dialog(kind)
    user.press(dialog, button)
    yield from user.gone(dialog)


def _moment(user: User, seconds: float) -> Steps:
    """Let some time pass in which something must not happen, and the event loop have its turns however long each takes."""
    end, turns = time.monotonic() + seconds, 0
    while time.monotonic() < end or turns < 3:
        turns += 1
        yield


def _idle(user: User) -> Steps:
    """Wait until no action is under way any more, and say OK to its message if it has one."""
    from parallelflow.gui.controller import controller

    def idle() -> bool:
        return controller()._flow is None or user.window("Message") is not None

    yield from user.until(idle, "the end of the action")
    if user.window("Message") is not None:
        yield from _message(user)


def _cells(tree: Any) -> dict[str, Any]:
    """The rows of VisTrails' table of preferences, by key."""
    top = tree.topLevelItem(0)
    return {top.child(row).text(0): top.child(row) for row in range(top.childCount())}


def _column(view: Any, column: int, below: int | None = None) -> list[str]:
    """What a column of a view shows, of the top level or below one of its rows."""
    model = view.model()
    parent = model.index(below, 0) if below is not None else view.rootIndex()
    return [model.index(row, column, parent).data() for row in range(model.rowCount(parent))]


def _memory() -> float:
    """What VisTrails occupies, in megabytes."""
    return float(psutil.Process().memory_info().rss) / 1e6


def _controllers_memory(user: User) -> float:
    """What the controller's processes occupy, in megabytes."""
    hub = psutil.Process(user.cluster.controller.pid)
    return sum(float(process.memory_info().rss) for process in (hub, *hub.children(recursive=True))) / 1e6


def _children() -> list[str]:
    """What was started from here and runs: controllers and engines."""
    lines = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # it ends meanwhile; of one that has ended there is no command line
            lines.append(" ".join(child.cmdline()))
    return [line for line in lines if "ipyparallel" in line]
