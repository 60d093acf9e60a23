"""Runs actions. An action is a generator that yields what it waits for, so that it reads from top to bottom.

It yields :class:`Ask` to show a dialog, and gets the answer, or None if the user cancelled; and :class:`Do` to have
something done in the background, and gets the result, or the error raised. Nothing here waits in a loop of its own.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from PyQt5.QtCore import QObject, QTimer, pyqtSignal
from PyQt5.QtWidgets import QDialog, QMessageBox, QWidget
from vistrails.core import debug

from parallelflow.cluster.errors import Cancelled, ClusterError
from parallelflow.gui.background import Job, Work
from parallelflow.gui.dialog import Dialog, Message
from parallelflow.gui.progress_dialog import ProgressDialog
from parallelflow.gui.texts import tr

# Work that takes less, in milliseconds, is done before a progress bar could be read.
_PATIENCE = 400


@dataclass
class Ask:
    """Show a dialog. The action goes on with its answer, or with None if it was not accepted.

    :param dialog: one of ours
    """

    dialog: Dialog | Message


@dataclass
class Do:
    """Have something done in the background. The action goes on with the result; errors are raised where it yields.

    :param work: what is done
    :param title: what it is, for the progress bar
    :param text: what it waits for at first
    :param can_cancel: whether it can be called off
    :param harmless: whether it can be left to itself; Cancel then takes effect at once, and what comes of it is dropped.
        Else the work must look at its `cancelled`, and is waited for
    """

    work: Work
    title: str
    text: str
    can_cancel: bool = False
    harmless: bool = False


Action: TypeAlias = Generator[Ask | Do, Any, None]
Report: TypeAlias = Callable[[ClusterError], Action]


class Flow(QObject):
    """One run of an action.

    :param action: the action
    :param parent: the window that its progress bars belong to
    :param report: shows an error; an action of its own
    """

    ended = pyqtSignal()

    def __init__(self, action: Action, parent: QWidget | None, report: Report) -> None:
        super().__init__()
        self._action = action
        self._window = parent
        self._report = report
        self._dialog: QDialog | None = None
        self._job: Job | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._show_progress)
        self._closed = False

    def start(self) -> None:
        """Run the action to where it waits for the first time."""
        self._advance(None)

    def raise_window(self) -> None:
        """Bring what the user is asked, or waits for, to the front."""
        if self._dialog is not None and self._dialog.isVisible():
            self._dialog.raise_()
            self._dialog.activateWindow()

    def close(self) -> None:
        """Give the action up: its dialog goes, its work is cancelled, nothing of it runs any more."""
        self._closed = True
        self._action.close()
        self._end_dialog()
        self._timer.stop()
        if self._job is not None:
            self._job.cancel()

    def _advance(self, value: object, error: BaseException | None = None) -> None:
        if self._closed:
            return
        try:
            step = self._action.throw(error) if error is not None else self._action.send(value)
        except StopIteration:
            self.ended.emit()
        except Cancelled:
            self.ended.emit()
        except ClusterError as raised:
            self._fail(raised)
        except Exception as raised:
            debug.warning("Parallel Flow: an action failed", traceback.format_exc())
            self._fail(ClusterError(tr("This should not have happened: {error}", error=repr(raised))))
        else:
            if isinstance(step, Ask):
                self._ask(step)
            else:
                self._do(step)

    def _fail(self, error: ClusterError) -> None:
        self._action = self._report(error)
        self._advance(None)

    def _ask(self, step: Ask) -> None:
        dialog = self._dialog = step.dialog
        dialog.finished.connect(lambda result: self._answered(dialog, result))
        dialog.open()

    def _answered(self, dialog: Dialog | Message, result: int) -> None:
        if self._closed or self._dialog is not dialog:
            return
        accepted = isinstance(dialog, QMessageBox) or result == QDialog.DialogCode.Accepted
        answer = dialog.answer() if accepted else None
        self._end_dialog()
        self._advance(answer)

    def _do(self, step: Do) -> None:
        job = self._job = Job(step.work)
        progress = ProgressDialog(self._window, step.title, step.text, step.can_cancel)
        progress.cancelled.connect(job.cancel)
        if step.harmless:
            progress.cancelled.connect(lambda: self._leave(job))
        self._dialog = progress
        job.progressed.connect(progress.show_progress)
        job.succeeded.connect(self._done)
        job.failed.connect(self._done_badly)
        self._timer.start(_PATIENCE)
        job.start()

    def _leave(self, job: Job) -> None:
        job.succeeded.disconnect(self._done)
        job.failed.disconnect(self._done_badly)
        self._done_badly(Cancelled())

    def _show_progress(self) -> None:
        if self._dialog is not None:
            self._dialog.open()

    def _done(self, result: object) -> None:
        self._end_work()
        self._advance(result)

    def _done_badly(self, error: BaseException) -> None:
        self._end_work()
        self._advance(None, error)

    def _end_work(self) -> None:
        self._timer.stop()
        self._job = None
        self._end_dialog()

    def _end_dialog(self) -> None:
        dialog, self._dialog = self._dialog, None
        if dialog is not None:
            dialog.hide()
            dialog.deleteLater()
