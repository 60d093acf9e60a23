"""Clicks through Packages > Parallel Flow with a real mouse, and leaves screenshots: ``python mouse_session.py FOLDER``.

Starts an X server without a display (Xvfb) and a window manager (openbox) of its own, opens VisTrails there, and moves the
pointer with xdotool: what is clicked is what a user would hit, through menus, window frames and focus. Run by hand; on Debian
it needs the packages xvfb, openbox and xdotool.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mouse_workflows
import scenarios
from driver import Scenario, run
from hand import Hand

ROOT = Path(__file__).resolve().parents[2]
SCREEN = "1600x1000x24"
PACKAGES = ("spreadsheet", "controlflow", "matplotlib", "vtk")
NEEDED = ("Xvfb", "openbox", "xdotool")


def session(user: Hand) -> Scenario:
    """Everything that the menu offers, by mouse and keyboard."""

    user.builder.resize(1300, 800)
    user.builder.move(20, 40)
    yield from user.moment(1)
    yield from enable(user)
    yield from user.pick("Show information on the cluster")
    window = yield from user.meet("ClusterWindow", "cluster-none")
    window.move(250, 330)
    yield from user.press_button(window, "start")
    dialog = yield from user.meet("StartDialog", "start")
    yield from user.xdotool("key", "ctrl+a")
    yield from user.xdotool("type", "9")
    yield from user.photograph("start-many")
    yield from user.xdotool("key", "ctrl+a")
    yield from user.xdotool("type", "2")
    yield from user.xdotool("key", "Return")
    yield from user.meet("ProgressDialog", "progress")
    yield from user.okay("started")
    rows = window.table.model()
    yield from user.until(lambda: rows.rowCount() and all(engine.pid for engine in user.cluster.engines), "the engines")
    yield from user.photograph("cluster")
    table = window.table
    yield from user.hit(table.viewport(), table.visualRect(rows.index(1, 0, rows.index(0, 0))).center())
    yield from user.press_button(window, "stop")
    dialog = yield from user.meet("Confirmation", "stop")
    yield from user.escape(dialog)
    yield from user.pick("Change profile")
    dialog = yield from user.meet("ProfileDialog", "profile")
    yield from user.hit(dialog.new_name)
    yield from user.xdotool("type", "my lab")
    yield from user.photograph("profile-refused")
    yield from user.xdotool("key", "ctrl+a")
    yield from user.xdotool("type", "lab")
    yield from user.xdotool("key", "Return")
    dialog = yield from user.meet("LeaveProfileDialog", "leave-profile")
    yield from user.press_button(dialog, "reject")
    yield from user.gone(dialog)
    yield from user.pick("Preferences...")
    dialog = yield from user.meet("PreferencesDialog", "preferences")
    yield from user.press_button(dialog, "reject")
    yield from user.gone(dialog)
    yield from run_a_map(user, window)
    yield from mouse_workflows.change_loops(user)
    yield from mouse_workflows.change_maps(user)
    yield from mouse_workflows.explore(user)
    yield from mouse_workflows.explore_all_kinds(user)
    yield from user.pick("Cleanup started processes")
    dialog = yield from user.meet("CleanupDialog", "cleanup")
    yield from user.press_button(dialog, "leave")
    yield from user.press_button(dialog, "accept")
    yield from user.okay("cleaned-up")
    yield from user.pick("Request cluster shutdown")
    dialog = yield from user.meet("ShutdownDialog", "shutdown")
    yield from user.press_button(dialog, "accept")
    yield from user.okay("shut-down")
    yield from user.until(lambda: "no controller" in window.status.label.text(), "the window to say so")
    window.raise_()
    window.activateWindow()
    yield from user.photograph("cluster-gone")
    yield from user.escape(window)
    yield from disable(user)


def enable(user: Hand) -> Scenario:
    """Switch the package on in Preferences, and change a value in VisTrails' own table."""
    packages = yield from user.open_packages()
    yield from user.choose_package(packages, packages._available_packages_list)
    yield from user.until(packages._enable_button.isEnabled, "the button to enable")
    yield from user.photograph("preferences-available")
    yield from user.hit(packages._enable_button)
    yield from user.until(user.menu, "the menu")
    yield from user.until(packages._configure_button.isEnabled, "the button to configure")
    yield from user.photograph("preferences-enabled")
    yield from user.hit(packages._configure_button)
    table = yield from user.dialog("QPackageConfigurationDialog")
    tree = table._configuration_widget._tree.treeWidget
    item = scenarios._cells(tree)["engines"]
    value = tree.visualRect(tree.indexFromItem(item, 1)).center()
    yield from user.hit(tree.viewport(), value)
    yield from user.xdotool("click", "--repeat", 2, 1)
    yield from user.xdotool("key", "ctrl+a")
    yield from user.xdotool("type", "2")
    yield from user.xdotool("key", "Return")
    yield from user.until(lambda: user.package().configuration.engines == 2, "the value")
    yield from user.photograph("preferences-table")
    table.close_dialog()
    yield from user.gone(table)
    yield from user.escape(user.builder.preferencesDialog)


def disable(user: Hand) -> Scenario:
    """Switch the package off while engines run: they end."""
    user.package().configuration.if_no_engines = "auto"
    yield from user.pick("Start new engine processes")
    yield from user.dialog("StartDialog")
    yield from user.xdotool("key", "Return")
    yield from user.okay("started-again")
    packages = yield from user.open_packages()
    yield from user.choose_package(packages, packages._enabled_packages_list)
    yield from user.until(packages._disable_button.isEnabled, "the button to disable")
    yield from user.hit(packages._disable_button)
    yield from user.until(lambda: not user.menu(), "the end of the menu")
    yield from user.until(lambda: not scenarios._children(), "the end of the processes")
    # For the workflow that is open with our Map in it, VisTrails would like to enable the package again.
    question = yield from user.meet("QMessageBox", "enable-again")
    yield from user.hit(question.button(question.No))
    yield from user.gone(question)
    message = yield from user.meet("QMessageBox", "package-is-missing")
    yield from user.hit(message.button(message.Ok))
    yield from user.gone(message)
    yield from user.photograph("disabled")
    yield from user.escape(user.builder.preferencesDialog)


def drop_a_map(user: Hand) -> Scenario:
    """Drag Map from the palette into the pipeline."""
    from PyQt5.QtCore import QPoint, Qt
    from vistrails.gui.module_palette import QModulePalette

    palette = QModulePalette.instance()
    tree = palette.treeWidget
    found = [
        item
        for item in tree.findItems("Map", Qt.MatchExactly | Qt.MatchRecursive)
        if item.parent().text(0) == "Parallel Flow"
    ]
    (item,) = found
    item.parent().setExpanded(True)
    tree.scrollToItem(item)
    yield from user.moment(0.3)
    pipeline = user.builder.get_current_view().get_current_tab()
    start = tree.viewport().mapToGlobal(tree.visualItemRect(item).center())
    controller = user.builder.get_current_controller()
    yield from user.drag(start, pipeline.viewport().mapToGlobal(QPoint(120, 120)))
    yield from user.until(lambda: controller.current_pipeline and controller.current_pipeline.module_list, "the module")
    yield from user.photograph("dropped")
    yield from user.xdotool("key", "ctrl+z")


def save_and_open(user: Hand) -> Scenario:
    """Save the workflow under a name, and open it again."""
    path = user.folder / "by-mouse.vt"
    file_menu = user.builder.qmenus["file"]
    yield from user.pick_in_menu(file_menu, user.builder.qactions["saveFileAs"])
    yield from user.moment(1)
    yield from user.xdotool("type", str(path))
    yield from user.photograph("save")
    yield from user.xdotool("key", "Return")
    yield from user.until(path.exists, "the file")
    user.builder.close_vistrail(user.builder.get_current_view(), quiet=True)
    yield from user.pick_in_menu(file_menu, user.builder.qactions["openFile"])
    yield from user.moment(1)
    yield from user.xdotool("type", str(path))
    yield from user.xdotool("key", "Return")
    yield from user.until(lambda: user.builder.get_current_controller().get_locator() is not None, "the workflow")
    yield from user.photograph("opened-again")


def run_a_map(user: Hand, window: Any) -> Scenario:
    """Execute a Map, use the cluster's window meanwhile, and cancel."""
    from PyQt5.QtWidgets import QPushButton

    yield from drop_a_map(user)
    scenarios.draw(user, scenarios.SLOW, 100)
    window.move(300, 560)
    window.resize(window.width(), 420)
    yield from user.photograph("pipeline")
    execute = user.builder.qactions["execute"]
    yield from user.click_action(execute)
    progress = yield from user.dialog("ExecutionProgressDialog")
    yield from user.until(lambda: window.map.isVisible() and window.map_bar.value() > 10, "progress in the window")
    window.raise_()
    yield from user.photograph("running")
    yield from user.press_button(window, "start")  # VisTrails blocks its own window now, but not ours
    dialog = yield from user.meet("StartDialog", "start-while-running")
    yield from user.escape(dialog)
    progress.raise_()
    yield from user.moment(0.5)
    yield from user.hit(progress.findChild(QPushButton))
    question = yield from user.meet("QMessageBox", "cancel")
    yield from user.hit(question.button(question.Yes))
    yield from user.until(lambda: not window.map.isVisible(), "the end of the Map")
    yield from user.photograph("cancelled")
    yield from user.gone(progress)
    yield from user.click_action(execute)
    yield from user.until(lambda: window.map.isVisible(), "the second run")
    yield from user.until(lambda: not window.map.isVisible(), "the end of the second run")
    yield from user.photograph("run-again")
    yield from save_and_open(user)
    user.builder.get_current_controller().set_changed(False)


def main(pictures: Path) -> int:
    """Start the X server and the window manager, run the session, end them."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        sys.stderr.write(f"This needs {', '.join(missing)}. On Debian: apt-get install xvfb openbox xdotool\n")
        return 1
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home, "IPYTHONDIR": f"{home}/.ipython", "TMPDIR": home}
        environment.update(PARALLELFLOW_PICTURES=str(pictures.resolve()), QT_QPA_PLATFORM="xcb", XDG_RUNTIME_DIR=home)
        number = next(n for n in range(90, 200) if not Path(f"/tmp/.X{n}-lock").exists())
        environment["DISPLAY"] = f":{number}"
        started = [subprocess.Popen(["Xvfb", f":{number}", "-screen", "0", SCREEN], stderr=subprocess.DEVNULL)]
        try:
            _wait_for(lambda: Path(f"/tmp/.X11-unix/X{number}").exists())
            started.append(subprocess.Popen(["openbox"], env=environment, stderr=subprocess.DEVNULL))
            inside = [sys.executable, __file__, "--inside", home]
            status = subprocess.run(inside, env=environment, timeout=900, check=False).returncode
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(240)
    sys.stdout.write(f"The pictures are in {pictures}\n" if status == 0 else "The session failed\n")
    return status


def _wait_for(there: Any) -> None:
    end = time.monotonic() + 240
    while not there():
        if time.monotonic() > end:
            raise TimeoutError("the X server did not start")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.path.append(str(ROOT))
    if sys.argv[1:2] == ["--inside"]:
        seen = run(Path(sys.argv[2]), Hand, session, PACKAGES)
        failures = [*([seen["failure"]] if "failure" in seen else []), *seen["raised"]]
        sys.stderr.write("\n".join(failures))
        sys.stderr.flush()
        os._exit(1 if failures else 0)
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "mouse"))
