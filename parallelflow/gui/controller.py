"""What is behind the menu: starts actions, and owns the cluster's window, the questions and the preferences.

Nothing here blocks: whatever waits for the cluster is an action (see `actions`) or a job in the background.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from PyQt5.QtCore import QCoreApplication, QEventLoop, QObject, QSocketNotifier, Qt, QTimer
from PyQt5.QtWidgets import QApplication, QMessageBox, QProgressDialog, QWidget
from vistrails.core import debug
from vistrails.core.application import get_vistrails_application

from parallelflow.cluster import profile as profiles
from parallelflow.cluster.connection import Connection
from parallelflow.cluster.errors import ClusterError
from parallelflow.cluster.guard import Guard
from parallelflow.cluster.record import Record
from parallelflow.cluster.session import Session, get_session
from parallelflow.cluster.state import ClusterState
from parallelflow.gui import background, pipeline_marks, workflow
from parallelflow.gui.actions import Actions
from parallelflow.gui.background import Job
from parallelflow.gui.cluster_window import ClusterWindow, WindowState
from parallelflow.gui.dialog import Message
from parallelflow.gui.flow import Action, Flow
from parallelflow.gui.garbage import GarbageCollection
from parallelflow.gui.preferences import Preferences
from parallelflow.gui.progress_dialog import ProgressDialog
from parallelflow.gui.questions import DialogQuestions
from parallelflow.gui.texts import tr
from parallelflow.map import execution  # noqa: F401  as VisTrails starts: the first Map would block the window for it
from parallelflow.map import progress as map_progress

_EVERY = 3  # looks of the window between two tries to connect
_CLOSING = 60.0  # seconds; the cluster's own limits are below that unless the user has set them higher
_PATIENCE = 400  # milliseconds before a window says that something is being stopped
_ENDING = 5.0  # seconds that cancelled work gets


def builder_window() -> QWidget | None:
    """Return VisTrails' window, or None if it has none."""
    return getattr(get_vistrails_application(), "builderWindow", None)


def _shown() -> Any:
    """VisTrails' controller of the vistrail that is shown, or None."""
    window = builder_window()
    return window.get_current_controller() if window is not None else None


def _execution() -> QProgressDialog | None:
    """VisTrails' progress dialog for the workflow that runs now, of which it makes one per execution."""
    return getattr(_shown(), "progress", None)


def _show_progress(progress: map_progress.MapProgress | str) -> None:
    """Say in VisTrails' progress dialog how far a Map has come, or what it waits for."""
    if isinstance(progress, str):
        text = progress
    else:
        text = tr(
            "{module}: {done} of {elements} elements",
            module=progress.module,
            done=progress.done,
            elements=progress.elements,
        )
        if progress.taken:
            taken = tr(
                "{taken} of {elements} taken from kept results", taken=progress.taken, elements=progress.elements
            )
            text = f"{text}\n{taken}"
    dialog = _execution()
    if dialog is not None and dialog.labelText() != text:
        dialog.setLabelText(text)
    if isinstance(progress, str):
        # A Map that waits, for what it started to end after Cancel for instance, cannot let VisTrails ask for Cancel again.
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)


class Controller(QObject):
    """The menu's controller. There is one, see :func:`controller`."""

    def __init__(self) -> None:
        super().__init__()
        self._session: Session = get_session()
        self._flow: Flow | None = None
        self._window: ClusterWindow | None = None
        self._looking: Job | None = None
        self._connecting: Job | None = None
        self._watched: Connection | None = None
        self._watching = ExitStack()
        self._looks = 0
        self._connects = True  # whether the window connects by itself
        self._trouble = ""
        self._is_exploring = False
        self.preferences = Preferences(self._refused, self._profile_set)
        self.questions = DialogQuestions(self._parent, self._remember_to_start, _execution)
        self.preferences.watch()
        map_progress.listen(_show_progress)
        pipeline_marks.show()
        self._wakeup = _Wakeup()
        self._garbage = GarbageCollection()
        self._guard = Guard(self._last_act)
        self._guard.arm()
        # When VisTrails' event loop runs, its window is there.
        QTimer.singleShot(0, self._look_for_what_was_left)

    # ------------------------------------------------------------ the menu

    def start_engines(self) -> None:
        """Start new engine processes."""
        self._run(lambda actions: actions.start_engines())

    def show_cluster(self) -> None:
        """Show information on the cluster: open its window, or bring it to the front."""
        if self._window is None:
            self._window = ClusterWindow()
            self._window.wanted.connect(self._look)
            self._window.rested.connect(lambda: self._watch(None))
            self._window.connect_chosen.connect(self._connect_again)
            self._window.start_chosen.connect(self._start_from_window)
            self._window.stop_chosen.connect(self._stop_from_window)
            self._window.log_chosen.connect(self._show_log)
            self._window.forget_chosen.connect(self._forget_stuck)
        if not self._window.isVisible():
            self._connects, self._looks, self._trouble = True, 0, ""
        if self._window.isMinimized():
            self._window.showNormal()
        self._window.show()
        self._window.raise_()
        self._window.activateWindow()

    def change_profile(self) -> None:
        """Change the profile."""
        self._run(lambda actions: actions.change_profile())

    def clean_up(self) -> None:
        """Clean up started processes."""
        self._run(lambda actions: actions.clean_up())

    def shut_down(self) -> None:
        """Request the cluster's shutdown."""
        self._run(lambda actions: actions.shut_down())

    def kept_results(self) -> None:
        """Show which results of elements are kept."""
        self._run(lambda actions: actions.kept_results())

    def change_preferences(self) -> None:
        """Open the dialog for the preferences."""
        self._run(lambda actions: actions.change_preferences())

    def run_exploration(self) -> None:
        """Run the current view's parameter exploration on the cluster."""
        from parallelflow.gui import exploration  # it takes the map with it

        if self._is_exploring:
            return
        self._is_exploring = True
        try:
            window = builder_window()
            exploration.run(window.get_current_view() if window is not None else None, self._refused)
        finally:
            self._is_exploring = False

    def mark_loops(self) -> None:
        """Run loops of the selected modules in parallel."""
        self._run(lambda actions: workflow.mark_loops(_shown(), self._parent(), True))

    def unmark_loops(self) -> None:
        """Run loops of the selected modules one after the other."""
        self._run(lambda actions: workflow.mark_loops(_shown(), self._parent(), False))

    def make_parallel(self) -> None:
        """Make the selected Maps parallel, or all."""
        self._run(lambda actions: workflow.convert_loops(_shown(), self._parent(), True))

    def make_serial(self) -> None:
        """Make the selected Maps serial again, or all."""
        self._run(lambda actions: workflow.convert_loops(_shown(), self._parent(), False))

    # ------------------------------------------------------------ actions

    def _parent(self) -> QWidget | None:
        return QApplication.activeModalWidget() or builder_window()

    def _run(self, choose: Callable[[Actions], Action], window: QWidget | None = None) -> None:
        """Run an action, unless one is under way: then show that one."""
        if self._flow is not None:
            self._flow.raise_window()
            return
        parent = window or self._parent()
        shown = self._window is not None and self._window.isVisible()
        actions = Actions(self._session, self.preferences, parent, None if shown else self.show_cluster)
        self._flow = Flow(choose(actions), parent, actions.report)
        self._flow.ended.connect(lambda: self._ended(actions))
        self._flow.start()

    def _ended(self, actions: Actions) -> None:
        self._flow = None
        if actions.stays_connected is not None:
            self._connects, self._trouble = actions.stays_connected, ""
        if self._window is not None and self._window.isVisible():
            self._look()

    def _start_from_window(self) -> None:
        self._run(lambda actions: actions.start_engines(), self._window)

    def _stop_from_window(self, ids: list[int]) -> None:
        self._run(lambda actions: actions.stop_engines(ids), self._window)

    def _show_log(self, path: Path) -> None:
        self._run(lambda actions: actions.show_log(path), self._window)

    # ------------------------------------------------------------ the window

    def _look(self) -> None:
        """Get a new state for the window, unless one is on its way."""
        if self._looking is None:
            self._watch(self._session.connection)
            self._looking = background.run(self._session.state)
            self._looking.succeeded.connect(self._looked)
            self._looking.failed.connect(self._could_not_look)
            self._looking.start()

    def _watch(self, connection: Connection | None) -> None:
        """Have a connection's health watched while the window is open, as it otherwise is only while a Map runs."""
        if connection is not self._watched:
            self._watching.close()
            self._watched = connection
            if connection is not None:
                self._watching.enter_context(connection.watched())

    def _looked(self, state: ClusterState) -> None:
        self._looking = None
        if self._window is None:
            return
        if state.lost is not None and self._flow is None and self._session.connection is not None:
            # Not one that an action has just ended; this state may be too old to know of that.
            self._trouble = state.lost
        connects = self._connects and not state.connected and self._flow is None and map_progress.current() is None
        if connects and self._connecting is None and self._looks % _EVERY == 0:
            self._connect()
        self._looks += 1
        trouble = self._trouble if self._connects else tr("VisTrails has let go of the cluster, which goes on running.")
        self._window.show_state(WindowState(state, map_progress.current(), trouble))

    def _could_not_look(self, error: BaseException) -> None:
        self._looking = None
        if self._window is not None:
            self._window.show_state(WindowState(trouble=str(error)))

    def _connect(self) -> None:
        self._connecting = background.run(self._session.connect)
        # Where there is nothing any more, what happened to it is still worth reading.
        self._connecting.succeeded.connect(lambda found: self._connected("" if found is not None else self._trouble))
        self._connecting.failed.connect(lambda error: self._connected(str(error)))
        self._connecting.start()

    def _connected(self, trouble: str) -> None:
        self._connecting = None
        self._trouble = trouble
        if self._window is not None and self._window.isVisible():
            self._look()

    def _connect_again(self) -> None:
        self._connects, self._looks = True, 0
        self._look()

    def _forget_stuck(self) -> None:
        job = background.run(self._session.forget)
        job.succeeded.connect(lambda forgotten: self._look())
        job.failed.connect(_tell)
        job.start()

    # ------------------------------------------------------------ preferences

    def _refused(self, sentence: str) -> None:
        message = Message(self._parent(), sentence, icon=QMessageBox.Icon.Warning)
        message.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        message.open()

    def _profile_set(self, name: str) -> None:
        """The profile was set in VisTrails' own table: change to it as the menu would."""
        if name != self._session.profile:
            self._run(lambda actions: actions.follow_profile())

    def _remember_to_start(self, engines: int | None) -> None:
        self.preferences.write(
            {"if_no_engines": "auto"} if engines is None else {"if_no_engines": "auto", "engines": engines}
        )

    # ------------------------------------------------------------ begin and end

    def _look_for_what_was_left(self) -> None:
        """If a VisTrails before this one left something running, on any profile, find it now, and not when it is in the way."""
        session = self._session

        def look() -> None:
            try:
                session.settle()
            finally:
                with suppress(OSError, ClusterError):
                    if Record(profiles.folder_of(session.profile)).path.exists():
                        session.connect()

        job = background.run(look)
        job.failed.connect(lambda error: debug.warning(str(error)))
        job.start()

    def close(self) -> None:
        """End everything: called when VisTrails exits, and when the package is disabled or reloaded."""
        global _controller
        if _controller is self:
            _controller = None
        self.preferences.close()
        map_progress.listen(None)
        pipeline_marks.hide()
        self.questions.close()
        if self._flow is not None:
            self._flow.close()
        if self._window is not None:
            self._window.close()
            self._window.deleteLater()
            self._window = None
        background.cancel_all(_ENDING)
        job = background.run(self._session.close)
        job.failed.connect(_tell)
        dialog = ProgressDialog(
            builder_window(), tr("Parallel Flow"), tr("Ending the processes that VisTrails started"), False
        )
        timer = QTimer(dialog)
        timer.setSingleShot(True)
        timer.timeout.connect(dialog.show)
        timer.start(_PATIENCE)
        job.start()
        background.wait_for(job, _CLOSING)
        background.cancel_all(0)
        dialog.hide()
        dialog.deleteLater()
        self._guard.disarm()
        self._wakeup.close()
        self._garbage.close()

    def _last_act(self) -> None:
        """At a signal that ends VisTrails, or at the end of Python."""
        # Who waits for an answer holds what has to be closed.
        self.questions.close()
        background.give_up()
        try:
            self._session.close()
        except ClusterError as error:
            debug.critical(str(error))


class _Wakeup(QObject):
    """Lets Python's signal handlers run at once although the main thread sleeps in Qt."""

    def __init__(self) -> None:
        super().__init__()
        self._ours, theirs = socket.socketpair()
        self._theirs = theirs
        self._ours.setblocking(False)
        theirs.setblocking(False)
        self._before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._notifier = QSocketNotifier(self._ours.fileno(), QSocketNotifier.Type.Read, self)
        self._notifier.activated.connect(self._drain)

    def _drain(self, descriptor: Any) -> None:
        # That this runs is all that is needed: before its first instruction, Python calls the handlers.
        with suppress(OSError):
            self._ours.recv(4096)

    def close(self) -> None:
        """Undo it."""
        self._notifier.setEnabled(False)
        signal.set_wakeup_fd(self._before)
        self._ours.close()
        self._theirs.close()


def _tell(error: BaseException) -> None:
    debug.critical(str(error) if isinstance(error, ClusterError) else repr(error))


_controller: Controller | None = None


def controller() -> Controller:
    """Return the one controller; it is made when it is first asked for, and after the last was closed."""
    global _controller
    if _controller is None:
        _controller = Controller()
    return _controller
