"""What all our dialogs have in common, and the plain messages. A dialog shows a state and returns an answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from PyQt5.QtCore import QEvent, QSize, Qt
from PyQt5.QtGui import QFont, QFontDatabase, QFontInfo, QGuiApplication, QStandardItem, QStandardItemModel, QTextCursor
from PyQt5.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractScrollArea,
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QMessageBox,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QSpacerItem,
    QStyle,
    QTreeView,
    QVBoxLayout,
    QWidget,
)

from parallelflow.gui.texts import tr

Icon = QStyle.StandardPixmap

_T = TypeVar("_T")

# A line of text that is comfortable to read, in characters.
_LINE = 68

_FEWEST_ROWS, _MOST_ROWS = 3, 9


def there(value: _T | None) -> _T:
    """Return something of Qt's that, its type says, might be None.

    :param value: what Qt returned
    :raises AssertionError: if it is None
    """
    assert value is not None
    return value


def label(text: str = "", name: str = "") -> QLabel:
    """Return a label whose text wraps, and can be selected and copied.

    :param text: the text, plain
    :param name: its name for tests, Qt's object name
    """
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setWordWrap(True)
    made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    made.setObjectName(name)
    return made


def within_screen(size: QSize) -> QSize:
    """Return a size, but no larger than what a screen has room for.

    :param size: what would be wanted, in pixels
    """
    return size.boundedTo(there(QGuiApplication.primaryScreen()).availableSize())


class Note(QWidget):
    """A sentence beside a small icon. Without a sentence it is not there.

    :param icon: which one, of Qt's standard ones
    :param text: the sentence, or ''
    :param name: as for :func:`label`
    """

    def __init__(self, icon: Icon = Icon.SP_MessageBoxInformation, text: str = "", name: str = "") -> None:
        super().__init__()
        self._icon = QLabel()
        self.label = label(name=name)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self.label, 1)
        self.show_text(text, icon)

    def show_text(self, text: str, icon: Icon | None = None) -> None:
        """Show another sentence, and perhaps another icon.

        :param text: the sentence, or ''
        :param icon: the icon; None: the same as before
        """
        if icon is not None:
            style = there(self.style())
            size = style.pixelMetric(QStyle.PixelMetric.PM_SmallIconSize)
            self._icon.setPixmap(style.standardIcon(icon).pixmap(size, size))
        self.label.setText(text)
        self.setVisible(bool(text))


def fit_table(table: QTreeView, rows: int) -> None:
    """Give a table columns as wide as what they show, and room for its rows, up to some.

    :param table: the table, with its model
    :param rows: how many rows it has
    """
    header = there(table.header())
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setStretchLastSection(True)
    line = table.sizeHintForRow(0) if rows else table.fontMetrics().lineSpacing()
    shown = min(max(rows, _FEWEST_ROWS), _MOST_ROWS)
    table.setSizeAdjustPolicy(QAbstractScrollArea.SizeAdjustPolicy.AdjustToContents)
    table.setMinimumHeight(header.sizeHint().height() + line * shown + 2 * table.frameWidth())


def text_table(name: str, titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> QTreeView:
    """Return a table of texts, of whose rows several can be selected.

    :param name: the name of the object
    :param titles: what stands above the columns
    :param rows: the texts
    :param right: the columns of numbers
    """
    model = QStandardItemModel()
    model.setHorizontalHeaderLabels(titles)
    for row in rows:
        items = [QStandardItem(text) for text in row]
        for column in right:
            items[column].setTextAlignment(Qt.AlignmentFlag.AlignRight)
        model.appendRow(items)
    table = QTreeView()
    table.setObjectName(name)
    model.setParent(table)
    table.setModel(model)
    table.setRootIsDecorated(False)
    table.setUniformRowHeights(True)
    table.setAlternatingRowColors(True)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
    fit_table(table, len(rows))
    return table


class Dialog(QDialog):
    """A dialog that is modal to its parent's window.

    :param parent: the window that it belongs to
    :param title: its title
    """

    def __init__(self, parent: QWidget | None, title: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setWindowModality(Qt.WindowModality.WindowModal)
        self.setWindowFlag(Qt.WindowType.WindowContextHelpButtonHint, False)
        self.column = QVBoxLayout(self)

    @cached_property
    def buttons(self) -> QDialogButtonBox:
        """The button box, which is made when it is first used: after everything else, because that is how Tab goes."""
        box = QDialogButtonBox(self)  # only a button that is in its dialog already can be made the default one
        box.accepted.connect(self.accept)
        box.rejected.connect(self.reject)
        return box

    def add_buttons(self, accept: str | None, reject: str | None = None) -> None:
        """Add the button box as the last row.

        :param accept: the text of the button that Enter presses, or None for none
        :param reject: the text of the button that Escape presses; default: Cancel
        """
        if accept is not None:
            self.accept_button = self.button(accept, QDialogButtonBox.ButtonRole.AcceptRole, "accept")
            self.accept_button.setDefault(True)
        if reject is None:
            self.reject_button = there(self.buttons.addButton(QDialogButtonBox.StandardButton.Cancel))
            self.reject_button.setObjectName("reject")
        else:
            self.reject_button = self.button(reject, QDialogButtonBox.ButtonRole.RejectRole, "reject")
        self.column.addWidget(self.buttons)

    def button(self, text: str, role: QDialogButtonBox.ButtonRole, name: str) -> QPushButton:
        """Add a button to the button box.

        :param text: its text
        :param role: what Qt places it by
        :param name: as for :func:`label`
        """
        made = there(self.buttons.addButton(text, role))
        made.setObjectName(name)
        return made

    def fit(self) -> None:
        """Take a width in which text reads well, whatever the font and the scale, unless the content needs more."""
        width = max(self.fontMetrics().averageCharWidth() * _LINE, self.sizeHint().width())
        height = self.column.totalHeightForWidth(width) if self.column.hasHeightForWidth() else self.sizeHint().height()
        self.resize(within_screen(QSize(width, height)))

    def event(self, event: QEvent | None) -> bool:
        """Grow when the content needs it: Qt does not do that for text that wraps."""
        done = super().event(event)
        if there(event).type() == QEvent.Type.LayoutRequest and self.column.hasHeightForWidth():
            needed = self.column.totalHeightForWidth(self.width())
            if self.isVisible() and self.height() < needed:
                self.resize(within_screen(QSize(self.width(), needed)))
        return done

    def answer(self) -> Any:
        """Return what the user chose; asked only after the dialog was accepted."""
        return True


class Message(QMessageBox):
    """A message with an icon, whose text can be selected.

    :param parent: the window that it belongs to
    :param text: what happened
    :param more: what to know about it, in smaller type
    :param icon: QMessageBox' icon
    :param buttons: the texts of further buttons beside OK, by the answer that they give
    """

    def __init__(
        self,
        parent: QWidget | None,
        text: str,
        more: str = "",
        icon: QMessageBox.Icon = QMessageBox.Icon.Information,
        buttons: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(icon, tr("Parallel Flow"), text, QMessageBox.StandardButton.Ok, parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setInformativeText(more)
        for each in self.findChildren(QLabel):  # QMessageBox' own way leaves the smaller text out
            if each.text():
                each.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setWindowModality(Qt.WindowModality.WindowModal)
        self._answers: dict[QAbstractButton | None, str] = {}
        for answer, caption in buttons:
            made = there(self.addButton(caption, QMessageBox.ButtonRole.ActionRole))
            made.setObjectName(answer)
            self._answers[made] = answer
        grid = self.layout()
        if more and isinstance(grid, QGridLayout):
            # Left alone, QMessageBox makes the smaller text as narrow as the other happens to be.
            room = QSpacerItem(self.fontMetrics().averageCharWidth() * _LINE, 0)
            grid.addItem(room, grid.rowCount(), 0, 1, grid.columnCount())
        self.setDefaultButton(QMessageBox.StandardButton.Ok)
        self.setEscapeButton(QMessageBox.StandardButton.Ok)

    def answer(self) -> str | None:
        """Return the answer of the further button that was pressed, or None for OK."""
        return self._answers.get(self.clickedButton())


class Confirmation(Dialog):
    """Asks whether to go on.

    :param parent: the window that it belongs to
    :param title: its title
    :param text: what will be done
    :param accept: the text of the button that does it
    """

    def __init__(self, parent: QWidget | None, title: str, text: str, accept: str) -> None:
        super().__init__(parent, title)
        self.column.addWidget(label(text, "text"))
        self.column.addStretch()
        self.add_buttons(accept)
        self.fit()


def log_view(text: str, lines: int) -> QPlainTextEdit:
    """Return a view of a log that shows its end.

    :param text: the log
    :param lines: how many lines it would like to show
    """
    view = QPlainTextEdit(text)
    view.setObjectName("log")
    view.setReadOnly(True)
    view.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    view.setFont(font if QFontInfo(font).fixedPitch() else QFont("monospace"))
    view.setTabChangesFocus(True)
    metrics = view.fontMetrics()
    view.setMinimumHeight(metrics.lineSpacing() * min(lines, 5))
    view.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
    view.moveCursor(QTextCursor.MoveOperation.End)
    view.moveCursor(QTextCursor.MoveOperation.StartOfLine)
    return view


class FailureDialog(Dialog):
    """What failed, with the end of the log that says why. Accepted means: show me the whole log.

    :param parent: the window that it belongs to
    :param sentence: what happened and what to do
    :param log_tail: the last lines of the log
    :param several: whether these are of several logs
    """

    def __init__(self, parent: QWidget | None, sentence: str, log_tail: str, several: bool = False) -> None:
        super().__init__(parent, tr("Parallel Flow"))
        self.sentence = label(sentence, "sentence")
        row = QHBoxLayout()
        icon = QLabel()
        style = there(self.style())
        size = style.pixelMetric(QStyle.PixelMetric.PM_MessageBoxIconSize)
        icon.setPixmap(style.standardIcon(Icon.SP_MessageBoxWarning).pixmap(size, size))
        row.addWidget(icon, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self.sentence, 1)
        self.column.addLayout(row)
        lines = log_tail.count("\n") + 1
        self.column.addWidget(label(tr("The ends of their logs:") if several else tr("The end of its log:")))
        view = log_view(log_tail, lines)
        self.column.addWidget(view, 1)
        caption = tr("Show the &Whole Logs") if several else tr("Show the &Whole Log")
        whole = self.button(caption, QDialogButtonBox.ButtonRole.ActionRole, "whole_log")
        whole.clicked.connect(self.accept)
        self.add_buttons(None, tr("&Close"))
        self.reject_button.setDefault(True)
        self.reject_button.setFocus()
        self.fit()
        wanted = view.fontMetrics().lineSpacing() * (min(lines, 15) + 2) - view.sizeHint().height()
        width = max(self.width(), view.fontMetrics().averageCharWidth() * 90)
        self.resize(within_screen(QSize(width, self.height() + max(0, wanted))))


class LogDialog(Dialog):
    """A whole log, to read and to copy.

    :param parent: the window that it belongs to
    :param path: where it lies
    :param text: what is in it
    """

    def __init__(self, parent: QWidget | None, path: Path, text: str) -> None:
        super().__init__(parent, tr("Log of a Process"))
        self.column.addWidget(label(str(path), "path"))
        view = log_view(text, 30)
        self.column.addWidget(view, 1)
        self.add_buttons(None, tr("&Close"))
        self.reject_button.setDefault(True)
        copy = self.button(tr("Co&py All"), QDialogButtonBox.ButtonRole.ActionRole, "copy")
        copy.clicked.connect(view.selectAll)
        copy.clicked.connect(view.copy)
        metrics = view.fontMetrics()
        self.resize(within_screen(QSize(metrics.averageCharWidth() * 110, metrics.lineSpacing() * 35)))
