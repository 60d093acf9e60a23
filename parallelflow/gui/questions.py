"""Asks what the cluster wants to know, in dialogs, whichever thread it wants to know it in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import TypeVar

from PyQt5.QtCore import QObject, pyqtSignal
from PyQt5.QtWidgets import QApplication, QDialog, QWidget

from parallelflow.cluster.cores import usable_cores
from parallelflow.cluster.questions import Need, Orphan, OrphanAnswer
from parallelflow.cluster.state import ClusterState
from parallelflow.gui.cleanup_dialog import Fate, OrphansDialog
from parallelflow.gui.start_dialog import NeedDialog, StartState

_T = TypeVar("_T")
_LOOK = 0.1  # seconds between two looks at whether VisTrails is closing


class DialogQuestions(QObject):
    """Answers by dialog. Satisfies `parallelflow.cluster.Questions`.

    A background thread hands its question over and waits. Whoever asks in the GUI's thread gets the answer there: the
    dialog runs in an event loop of its own.

    :param window: returns the window that dialogs belong to
    :param remember: called when the user does not want to be asked about starting a cluster again, with the number of
        engines if it is another than the preferences have
    :param execution: returns something that is the same for all Maps of one execution of a workflow, or None
    """

    _handed_over = pyqtSignal(object, object)

    def __init__(
        self,
        window: Callable[[], QWidget | None],
        remember: Callable[[int | None], None],
        execution: Callable[[], object | None],
    ) -> None:
        super().__init__()
        self._window = window
        self._remember = remember
        self._execution = execution
        self._refused_in: object | None = None
        self._open: list[QDialog] = []
        self._closed = False
        self._handed_over.connect(self._answer)

    def start_cluster(self, need: Need) -> int | None:
        """Ask whether to start engines for a Map that finds none; after a refusal, not again for the same execution."""
        return self._in_gui(lambda: self._start_cluster(need), None)

    def _start_cluster(self, need: Need) -> int | None:
        execution = self._execution()
        if execution is not None and execution is self._refused_in:
            return None
        state = StartState(ClusterState(need.profile), usable_cores(), need.engines, need.here, need.stay)
        dialog = NeedDialog(self._parent(), state)
        if not self._run(dialog):
            self._refused_in = execution
            return None
        answer = dialog.answer()
        if answer.remember:
            self._remember(answer.engines if answer.engines != need.engines else None)
        return answer.engines

    def orphans(self, orphans: Sequence[Orphan]) -> OrphanAnswer:
        """Ask what becomes of what a crashed VisTrails left running."""
        return self._in_gui(lambda: self._orphans(orphans), "undecided")

    def _orphans(self, orphans: Sequence[Orphan]) -> OrphanAnswer:
        dialog = OrphansDialog(self._parent(), orphans)
        if not self._run(dialog):
            return "undecided" if self._closed else "leave"
        return "stop" if dialog.answer() is Fate.STOP else "take back"

    def close(self) -> None:
        """Ask nothing any more: what is being asked is answered as if the user had cancelled."""
        self._closed = True
        for dialog in list(self._open):
            dialog.reject()

    # ------------------------------------------------------------ how it is asked

    def _parent(self) -> QWidget | None:
        # VisTrails shows a modal progress dialog while a workflow runs; whoever is not its child cannot be clicked.
        return QApplication.activeModalWidget() or self._window()

    def _run(self, dialog: QDialog) -> bool:
        self._open.append(dialog)
        try:
            return dialog.exec() == QDialog.DialogCode.Accepted
        finally:
            self._open.remove(dialog)
            dialog.deleteLater()

    def _in_gui(self, ask: Callable[[], _T], otherwise: _T) -> _T:
        """Call a function in the GUI's thread.

        :param otherwise: what is returned if VisTrails is closing
        """
        if self._closed:
            return otherwise
        if threading.current_thread() is threading.main_thread():
            return ask()
        outcome: Future[_T] = Future()
        with suppress(RuntimeError):  # Qt has gone
            self._handed_over.emit(ask, outcome)
            while not self._closed:
                with suppress(TimeoutError, FutureTimeoutError):
                    return outcome.result(_LOOK)
        return otherwise

    def _answer(self, ask: Callable[[], _T], outcome: Future[_T]) -> None:
        try:
            outcome.set_result(ask())
        except BaseException as error:
            outcome.set_exception(error)
