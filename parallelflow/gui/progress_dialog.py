"""A progress bar that says what it waits for, with a Cancel that stays until the work has really ended."""

from __future__ import annotations

from PyQt5.QtCore import pyqtSignal
from PyQt5.QtWidgets import QProgressBar, QWidget

from parallelflow.gui.dialog import Dialog, label
from parallelflow.gui.texts import tr

_STEPS = 1000


class ProgressDialog(Dialog):
    """How far some work has come.

    QProgressDialog goes away as soon as Cancel is pressed, although what was begun must still be undone; this one says
    so and waits.

    :param parent: the window that it belongs to
    :param title: what is being done
    :param text: what it waits for at first
    :param can_cancel: whether the work can be called off
    """

    cancelled = pyqtSignal()

    def __init__(self, parent: QWidget | None, title: str, text: str, can_cancel: bool) -> None:
        super().__init__(parent, title)
        self.text = label(text, "text")
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)
        self.bar.setTextVisible(False)
        self.column.addWidget(self.text)
        self.column.addWidget(self.bar)
        self.column.addStretch()
        self._can_cancel = can_cancel
        if can_cancel:
            self.add_buttons(None)
        self.fit()

    def show_progress(self, text: str, fraction: float) -> None:
        """Show what the work waits for now.

        :param text: what it waits for
        :param fraction: how much is done, from 0 to 1; 0 if nobody knows
        """
        if self._can_cancel and not self.reject_button.isEnabled():
            return
        self.text.setText(text)
        self.bar.setRange(0, _STEPS if fraction > 0 else 0)
        self.bar.setValue(round(fraction * _STEPS))

    def reject(self) -> None:
        """Escape, Cancel and the window's close button: ask the work to give up. Whoever runs it closes the dialog."""
        if self._can_cancel and self.reject_button.isEnabled():
            self.reject_button.setEnabled(False)
            self.text.setText(tr("Cancelling: what was just started is stopped again."))
            self.bar.setRange(0, 0)
            self.cancelled.emit()
