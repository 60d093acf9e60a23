"""Makes every picture of the user's guide from the real program: ``python docs/make_screenshots.py [folder]``.

Opens VisTrails' window without a display, with settings and a home of its own, and photographs it with a workflow, the menu
and the module's documentation. The dialogs are opened alone, with made-up states. Nothing is started, and the pictures come
out the same on each machine that has the same fonts.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PICTURES = Path(__file__).resolve().parent / "pictures"

_STARTUP = """\
<startup version="0.1"><configuration>
<key name="handlerDontAsk"><bool value="True"/></key><key name="installBundles"><bool value="False"/></key>
<key name="singleInstance"><bool value="False"/></key><key name="showSplash"><bool value="False"/></key>
</configuration>
<packages><package name="pythonCalc"/><package name="controlflow"/><package name="tabledata"/>
<package name="ipyparallel_flow"/></packages><disabledpackages/></startup>
"""

_HERE = "workstation"  # what this machine is called in the pictures
_NOW = time.mktime((2026, 5, 4, 14, 30, 0, 0, 0, -1))
_GIB = 1024**3


def made_up() -> Any:
    """A cluster on three machines in the middle of a Map, and that Map."""
    from parallelflow.cluster.state import VISTRAILS, ClusterState, ControllerState, EngineState, ProcessState
    from parallelflow.map.progress import MapProgress

    engines = []
    for number in range(10):
        host = _HERE if number < 4 else ("node01" if number < 8 else "node02")
        busy = number != 9
        engines.append(
            EngineState(
                id=number,
                uuid=f"uuid-{number}",
                host=host,
                pid=21811 + 7 * number if host == _HERE else 3120 + 13 * number,
                ours=host == _HERE,
                state="busy" if busy else "idle",
                tasks_done=214 + 11 * number % 23,
                tasks_queued=2 if busy else 0,
                cpu_percent=97.0 + number % 3 if busy else 0.4,
                memory=int((0.31 + 0.017 * number) * _GIB),
                since=_NOW - 3600 * 3 + 400 * number,
            )
        )
    controller = ControllerState(f"tcp://{_HERE}:36119", _HERE, 21790, VISTRAILS, _NOW - 3600 * 3 - 2)
    ours = [ProcessState("controller", 21790, _HERE, _NOW - 3600 * 3 - 2)]
    ours += [ProcessState("engine", e.pid or 0, e.host, e.since) for e in engines if e.ours]
    cluster = ClusterState("default", controller, None, tuple(engines), tuple(ours))
    chunks = tuple((e.id, 1180 + 8 * e.id, 8, _NOW - 1.5) for e in engines if e.state == "busy")
    # Relative to the clock, so that the estimate is the same each time.
    progress = MapProgress("Hillshade", 2000, 1180, time.time() - 94.0, chunks)  # type: ignore[arg-type]
    return cluster, progress


def dialogs(parent: Any = None) -> Iterator[tuple[str, Any]]:
    """Make each of our dialogs and windows, with its name."""
    from parallelflow.cluster.questions import Orphan
    from parallelflow.cluster.settings import Settings
    from parallelflow.cluster.state import OTHERS, ClusterState, ProfileState
    from parallelflow.gui.cleanup_dialog import CleanupDialog, LeaveProfileDialog, OrphansDialog
    from parallelflow.gui.cluster_window import ClusterWindow, WindowState
    from parallelflow.gui.dialog import Confirmation, FailureDialog, LogDialog, Message
    from parallelflow.gui.preferences_dialog import PreferencesDialog
    from parallelflow.gui.profile_dialog import ProfileDialog
    from parallelflow.gui.progress_dialog import ProgressDialog
    from parallelflow.gui.shutdown_dialog import ShutdownDialog
    from parallelflow.gui.start_dialog import NeedDialog, StartDialog, StartState

    cluster, progress = made_up()
    nothing = ClusterState("default")
    idling = [replace(e, state="idle", tasks_queued=0, cpu_percent=0.3) for e in cluster.engines[:4]]
    small = replace(cluster, engines=tuple(idling))

    yield "start", StartDialog(parent, StartState(nothing, 8))
    warned = StartDialog(parent, StartState(small, 8))
    warned.count.setValue(6)
    yield "start-more", warned
    yield "need", NeedDialog(parent, StartState(nothing, 8))
    starting = ProgressDialog(parent, "Start New Engine Processes", "Starting", True)
    starting.show_progress("Starting engines: 5 of 8 ready", 0.74)
    yield "progress", starting
    yield (
        "started",
        Message(
            parent,
            "8 engines were started.",
            "Running now: 8 engines on 1 host.",
            buttons=[("show", "Show the &Cluster")],
        ),
    )
    yield "failure", FailureDialog(parent, _FAILED, _TAIL)
    yield (
        "log",
        LogDialog(parent, Path("/home/ada/.ipython/profile_default/log/parallelflow-engine-21d1b23e61a0.log"), _TAIL),
    )
    window = ClusterWindow()
    window.resize(window.sizeHint().width(), window.fontMetrics().lineSpacing() * 34)
    window.show_state(WindowState(cluster, progress))
    yield "cluster", window
    idle = ClusterWindow()
    idle.resize(window.size())
    idle.show_state(WindowState(small))
    yield "cluster-idle", idle
    profiles = [
        ProfileState("default", True, _HERE),
        ProfileState("hpc", True, "login.hpc.example.org"),
        ProfileState("lab", False),
    ]
    yield "profile", ProfileDialog(parent, "default", profiles)
    yield "leave-profile", LeaveProfileDialog(parent, cluster, "lab")
    yield "cleanup", CleanupDialog(parent, cluster)
    controller = replace(cluster.controller, host="node01", pid=2977, started_by=OTHERS)
    yield "shutdown", ShutdownDialog(parent, replace(cluster, controller=controller, processes=()))
    yield (
        "stop",
        Confirmation(
            parent, "Stop Engines", "Stop engine 4? What it computes for a Map is computed again elsewhere.", "&Stop"
        ),
    )
    yield "preferences", PreferencesDialog(parent, Settings(), ["default", "hpc", "lab"], 8)
    orphans = [Orphan("controller", 18022, _HERE, _NOW - 86400), Orphan("engine", 18025, _HERE, _NOW - 86399)]
    yield "orphans", OrphansDialog(parent, orphans)


_FAILED = (
    "2 of 8 engines did not start: process 21846 ended with exit status 1."
    " Its log is /home/ada/.ipython/profile_default/log/parallelflow-engine-21d1b23e61a0.log."
)
_TAIL = """\
2026-05-04 11:30:02.114 [IPEngine] Loading connection info from ipcontroller-engine.json
Traceback (most recent call last):
  File "/usr/lib/python3.11/runpy.py", line 198, in _run_module_as_main
    return _run_code(code, main_globals, None,
  File "/home/ada/.ipython/profile_default/startup/10-licence.py", line 3, in <module>
    licence.check_out("terrain", seats=1)
licence.NoSeat: all 6 seats of 'terrain' are taken"""


def photograph(application: Any, folder: Path) -> None:
    """Make all pictures."""
    from PyQt5.QtWidgets import QDialog

    window = application.builderWindow
    _vistrails(application, folder)
    for name, dialog in dialogs(window):
        dialog.show()
        if isinstance(dialog, QDialog):
            dialog.activateWindow()
        _settle(application)
        dialog.grab().save(str(folder / f"{name}.png"))
        dialog.hide()
        dialog.deleteLater()


def _vistrails(application: Any, folder: Path) -> None:
    """VisTrails' window with the example's workflow, the menu, and the Map in the palette."""
    from vistrails.core.db.locator import FileLocator

    window = application.builderWindow
    window.resize(1280, 800)
    window.open_vistrail_without_prompt(FileLocator(str(ROOT / "examples" / "hillshade.vt")))
    window.qactions["pipeline"].trigger()
    _open_palette("Parallel Flow")
    _settle(application)
    controller = window.get_current_controller()
    view = controller.current_pipeline_view
    view.scene().fitToAllViews(True)
    _color(controller)
    _settle(application)
    picture = window.grab()
    picture.save(str(folder / "vistrails.png"))
    _menu(window).save(str(folder / "menu.png"))


def _menu(window: Any) -> Any:
    """The upper left of the window with Packages > Parallel Flow open."""
    from PyQt5.QtGui import QPainter, QPixmap

    packages = window.qmenus["packages"]
    entry = next(action for action in packages.actions() if action.text() == "Parallel Flow")
    bar = window.menuBar()
    place = bar.mapTo(window, bar.actionGeometry(packages.menuAction()).bottomLeft())
    bar.setActiveAction(packages.menuAction())
    packages.setActiveAction(entry)
    below = packages.actionGeometry(entry)
    behind = window.grab()
    menus = [(place, packages.grab()), (place + below.topRight(), entry.menu().grab())]
    packages.hide()
    right = menus[1][0].x() + menus[1][1].width() + 20
    picture = QPixmap(right, place.y() + below.top() + menus[1][1].height() + 20)
    painter = QPainter(picture)
    painter.drawPixmap(0, 0, behind)
    for corner, menu in menus:
        painter.drawPixmap(corner, menu)
    painter.end()
    return picture


def _open_palette(*packages: str) -> None:
    """Show the modules of packages in the palette."""
    from vistrails.gui.module_palette import QModulePalette

    tree = QModulePalette.instance().treeWidget
    for row in range(tree.topLevelItemCount()):
        item = tree.topLevelItem(row)
        item.setExpanded(item.text(0) in packages)


def _color(controller: Any) -> None:
    """Give the pipeline the colours that it has in the middle of a Map."""
    from vistrails.gui.theme import CurrentTheme

    scene = controller.current_pipeline_view.scene()
    graph = scene.current_pipeline.graph
    (the_map,) = (number for number, item in scene.modules.items() if item.module.name == "Map")
    done, upstream = set(), [the_map]
    while upstream:
        sources = {source for source, _ in graph.edges_to(upstream.pop())} - done
        done |= sources
        upstream += sources
    for number, item in scene.modules.items():
        if number == the_map:
            item.setProgress(0.59)
            item.statusBrush = CurrentTheme.COMPUTING_MODULE_BRUSH
        elif number in done:
            item.statusBrush = CurrentTheme.SUCCESS_MODULE_BRUSH
        item._needs_state_updated = True
        item.update()


def _settle(application: Any) -> None:
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        application.processEvents()
        time.sleep(0.01)


def _alike() -> None:
    """Have everything look the same whichever machine this runs on, and at whichever time."""
    from PyQt5.QtCore import QLocale

    QLocale.setDefault(QLocale(QLocale.English, QLocale.UnitedStates))
    socket.gethostname = lambda: _HERE


def open_window(settings: Path, then: Callable[[Any], None]) -> None:
    """Open VisTrails' window, call a function in its event loop, and end this process."""
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PyQt5.QtCore import QTimer
    from PyQt5.QtWidgets import QApplication
    from vistrails.gui import application as gui

    from host import vistrails_window

    settings.mkdir(parents=True, exist_ok=True)
    (settings / "startup.xml").write_text(_STARTUP, encoding="utf-8")

    def run(application: Any) -> None:
        status = 1
        try:
            then(application)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)  # Python's own exit may end in a segmentation fault after a window was open

    def in_event_loop(application: Any) -> int:
        QTimer.singleShot(0, lambda: run(application))
        return int(QApplication.exec_())

    gui.VistrailsApplicationSingleton.exec_ = in_event_loop
    vistrails_window.main([], settings)


def main(folder: Path) -> None:
    """Make all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(HOME=home, IPYTHONDIR=f"{home}/.ipython", TMPDIR=home, XDG_RUNTIME_DIR=home)

        def then(application: Any) -> None:
            _alike()
            photograph(application, folder)

        open_window(Path(home) / "settings", then)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES)
