"""Makes every picture of the user's guide from the real program: ``python docs/make_screenshots.py [folder]``.

Opens VisTrails' window without a display, with settings and a home of its own. First it goes through `ten_minutes.rst` on a
real cluster (see `follow_ten_minutes`), then it photographs the examples, and each dialog with a made-up state. At last it
runs the examples that make pictures. What is measured, such as times and process numbers, differs from run to run; the rest
comes out the same on each machine that has the same fonts.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PICTURES = Path(__file__).resolve().parent / "pictures"

_WIDEST = 760  # pixels, of pictures that examples make

_STARTUP = """\
<startup version="0.1"><configuration>
<key name="handlerDontAsk"><bool value="True"/></key><key name="installBundles"><bool value="False"/></key>
<key name="singleInstance"><bool value="False"/></key><key name="showSplash"><bool value="False"/></key>
</configuration>
<packages><package name="pythonCalc"/><package name="controlflow"/></packages><disabledpackages/></startup>
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
                here=host == _HERE,
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
    controller = ControllerState(f"tcp://{_HERE}:36119", _HERE, 21790, VISTRAILS, _NOW - 3600 * 3 - 2, here=True)
    ours = [ProcessState("controller", 21790, _HERE, _NOW - 3600 * 3 - 2)]
    ours += [ProcessState("engine", e.pid or 0, e.host, e.since) for e in engines if e.ours]
    cluster = ClusterState("default", controller, None, tuple(engines), tuple(ours))
    chunks = tuple((e.id, 1180 + 8 * e.id, 8, _NOW - 1.5) for e in engines if e.state == "busy")
    # Relative to the clock, so that the estimate is the same each time.
    progress = MapProgress("Hillshade", 2000, 1180, time.time() - 94.0, chunks)  # type: ignore[arg-type]
    return cluster, progress


def kept_results() -> list[Any]:
    """What is kept of three Maps; relative to the clock, because ages are shown."""
    from parallelflow.results.store import Listed

    now = time.time()
    return [
        Listed("hillshade.vt", "Map (Shade)", 899, 214_000_000, now - 380, now - 64),
        Listed("sweep.vt", "Tolerances", 48, 1_310_000, now - 7 * 86_400, now - 5 * 3600),
        Listed("sweep.vt", "Map (Group)", 712, 18_400_000, now - 12 * 86_400, now - 3 * 86_400),
    ]


def said_of_conversion() -> str:
    """What is said when two Maps, one of them in a Group, and a Filter have become parallel."""
    from parallelflow.gui.workflow import said
    from parallelflow.map.conversion import Change, Conversion

    changes = [Change("Map", 5), Change("Map", 2, ("Scan",)), Change("Filter", 6)]
    return said(Conversion(None, changes, [], {}), True)


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
    from parallelflow.gui.results_dialog import ResultsDialog
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
    window.show_state(WindowState(cluster, progress))
    yield "cluster", window
    idle = ClusterWindow()
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
    yield "converted", Message(parent, said_of_conversion())
    yield "results", ResultsDialog(parent, kept_results(), "/home/ada/.vistrails/parallelflow-results")
    orphans = [
        Orphan("controller", 18022, _HERE, _NOW - 86400, "default"),
        Orphan("engine", 18025, _HERE, _NOW - 86399, "default"),
    ]
    yield "orphans", OrphansDialog(parent, orphans)


_FAILED = (
    "2 of 8 engines did not start. Processes 21846, 21848 ended with exit status 1."
    " Their logs say the same; one of them is /home/ada/.ipython/profile_default/log/parallelflow-engine-21d1b23e61a0.log."
)
_TAIL = """\
2026-05-04 11:30:02.114 [IPEngine] Loading connection info from ipcontroller-engine.json
Traceback (most recent call last):
  File "/usr/lib/python3.11/runpy.py", line 198, in _run_module_as_main
    return _run_code(code, main_globals, None,
  File "/home/ada/.ipython/profile_default/startup/10-licence.py", line 3, in <module>
    licence.check_out("terrain", seats=1)
licence.NoSeat: all 6 seats of 'terrain' are taken"""


# These are for the tests; the guide has them from `follow_ten_minutes`, or does without.
_NOT_IN_THE_GUIDE = ("start", "progress", "started", "cluster-idle", "stop")


def photograph(application: Any, folder: Path) -> None:
    """Make all pictures of the window and the dialogs."""
    from follow_ten_minutes import follow, picture_of_pipeline  # beside this file
    from PyQt5.QtWidgets import QDialog

    def keep(name: str, picture: Any) -> None:
        _save(picture, folder / f"{name}.png")

    window = application.builderWindow
    window.resize(1000, 640)
    follow(application, keep)
    for name in ("sweep", "table", "viewshed", "loops", "hillshade", "tolerances"):
        keep(f"example-{name}", picture_of_pipeline(_open_example(application, name)))
    exploration(application, keep)
    for name, dialog in dialogs(window):
        if name in _NOT_IN_THE_GUIDE:
            continue
        dialog.show()
        if isinstance(dialog, QDialog):
            dialog.activateWindow()
        if name == "log":
            dialog.resize(dialog.width(), dialog.height() // 2)
        if name == "cluster":  # wider than this screen, which nobody sees
            dialog.resize(dialog.sizeHint().width(), dialog.height())
        _settle(application)
        keep(name, dialog.grab())
        dialog.hide()
        dialog.deleteLater()


def _save(picture: Any, path: Path) -> None:
    """Save a QPixmap as a PNG file with no more colours than can be told apart, which makes the file much smaller."""
    from PIL import Image
    from PyQt5.QtCore import QBuffer

    buffer = QBuffer()
    buffer.open(QBuffer.WriteOnly)
    picture.save(buffer, "PNG")
    image = Image.open(io.BytesIO(bytes(buffer.data()))).convert("RGB")
    image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)


def _open_example(application: Any, name: str) -> Any:
    """Open an example's parallel version, and return its controller."""
    from vistrails.core.db.locator import FileLocator

    window = application.builderWindow
    window.open_vistrail_without_prompt(FileLocator(str(ROOT / "examples" / f"{name}.vt")))
    controller = window.get_current_controller()
    controller.change_selected_version(controller.vistrail.get_version_number("Parallel"))
    window.qactions["pipeline"].trigger()
    _settle(application)
    controller.current_pipeline_view.scene().fitToAllViews(True)
    _settle(application)
    return controller


def exploration(application: Any, keep: Callable[[str, Any], None]) -> None:
    """Run the example's parameter exploration on a cluster of its own, and photograph the exploration and its cells."""
    from vistrails.core.db.locator import FileLocator
    from vistrails.core.packagemanager import get_package_manager
    from vistrails.packages.spreadsheet.spreadsheet_controller import spreadsheetController

    from parallelflow.cluster import get_session
    from parallelflow.gui.controller import controller

    get_package_manager().late_enable_package("spreadsheet")
    window = application.builderWindow
    window.open_vistrail_without_prompt(FileLocator(str(ROOT / "examples" / "rates.vt")))
    view = window.get_current_view()
    (explored,) = view.controller.vistrail.parameter_explorations
    view.open_parameter_exploration(explored.id)
    _settle(application)
    keep("explore", window.grab())
    controller().preferences.write({"if_no_engines": "auto"})
    controller().run_exploration()
    spreadsheet = spreadsheetController.findSpreadsheetWindow()
    spreadsheet.resize(860, 640)
    spreadsheet.tabController.setCurrentIndex(spreadsheet.tabController.count() - 1)
    _settle(application)
    keep("exploration", spreadsheet.grab())
    spreadsheet.hide()
    get_session().close()


def results(folder: Path) -> None:
    """Run the examples that make pictures, in VisTrails' batch mode, and keep what they make."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as home:
        for name in ("hillshade", "sweep", "viewshed"):
            subprocess.run([sys.executable, "-c", _RUN, name], cwd=home, check=True)
            image = Image.open(Path(home) / f"{name}.png").convert("RGB")
            image.thumbnail((_WIDEST, _WIDEST), Image.Resampling.LANCZOS)
            image.save(folder / f"{name}.jpg", quality=75, optimize=True)


# What runs an example in a process of its own: VisTrails can be started once in each.
_RUN = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "examples")!r})
from batch import open_vistrail, run_version, vistrails_in
here = Path.cwd()
with vistrails_in(here / sys.argv[1], output=here):
    run = run_version(open_vistrail(Path({str(ROOT / "examples")!r}) / (sys.argv[1] + ".vt")), "Parallel")
assert not run.errors, run.errors
"""


def _settle(application: Any) -> None:
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        application.processEvents()
        time.sleep(0.01)


def _alike(application: Any) -> None:
    """Have everything look the same whichever machine this runs on."""
    from follow_ten_minutes import ENGINES
    from PyQt5.QtCore import QLocale

    from parallelflow.gui import texts

    QLocale.setDefault(QLocale(QLocale.English, QLocale.UnitedStates))
    name_of = texts.host
    socket.gethostname = lambda: _HERE
    texts.host = lambda name, here: name_of(_HERE if here else name, here)
    os.sched_getaffinity = lambda pid: set(range(ENGINES))
    font = application.font()
    font.setPointSize(9)
    application.setFont(font)


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
        except BaseException:
            traceback.print_exc()  # os._exit() would keep it to itself
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
            try:
                _alike(application)
                photograph(application, folder)
                results(folder)
            finally:
                shutil.rmtree(home, ignore_errors=True)  # this process ends without cleaning up

        open_window(Path(home) / "settings", then)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES)
