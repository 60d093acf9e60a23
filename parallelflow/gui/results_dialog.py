"""Results of elements that are kept: how many of which workflow and Map, how large and how old; and which of them are to go."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt5.QtWidgets import QTreeView, QWidget

from parallelflow.gui.dialog import Dialog, label, text_table, there
from parallelflow.gui.texts import age, memory, tr, tr_count
from parallelflow.results.store import Listed


def what(listed: Sequence[Listed]) -> str:
    """Return, for instance, '712 results (1.2 MiB)'.

    :param listed: what is kept
    """
    count = sum(each.results for each in listed)
    size = memory(sum(each.nbytes for each in listed))
    return tr_count("%Ln results ({size})", "%Ln result ({size})", count, size=size)


def how() -> str:
    """Return a sentence on when results are kept."""
    return tr("Those of a Map that has not completed are, unless the preference 'keep_results' says otherwise.")


class ResultsDialog(Dialog):
    """Shows what is kept. The answer is what is to be cleared.

    :param parent: the window that it belongs to
    :param listed: what is kept, by workflow and Map
    :param folder: where it lies
    """

    def __init__(self, parent: QWidget | None, listed: Sequence[Listed], folder: str) -> None:
        super().__init__(parent, tr("Kept Results"))
        self._listed = listed
        self._all = False
        text = tr(
            "Elements whose results are kept need not run again. All together these are {what}, in {folder}.",
            what=what(listed),
            folder=folder,
        )
        self.column.addWidget(label(text, "text"))
        self.table = _table(listed)
        self.column.addWidget(self.table, 1)
        self._clear_all = self.button(tr("Clear &All"), self.buttons.ButtonRole.DestructiveRole, "clear_all")
        self._clear_all.clicked.connect(self._everything)
        self._clear = self.button(tr("&Clear Selected"), self.buttons.ButtonRole.ActionRole, "clear")
        self._clear.clicked.connect(self.accept)
        self.add_buttons(None, tr("Cl&ose"))
        self.reject_button.setDefault(True)
        there(self.table.selectionModel()).selectionChanged.connect(lambda *_: self._selected())
        self._selected()
        self.table.setFocus()
        self.fit()

    def _rows(self) -> list[int]:
        return sorted(index.row() for index in there(self.table.selectionModel()).selectedRows())

    def _selected(self) -> None:
        self._clear.setEnabled(bool(self._rows()))

    def _everything(self) -> None:
        self._all = True
        self.accept()

    def answer(self) -> list[Listed]:
        """Return what is to be cleared."""
        return list(self._listed) if self._all else [self._listed[row] for row in self._rows()]


def _table(listed: Sequence[Listed]) -> QTreeView:
    titles = [tr("Workflow"), tr("Map"), tr("Results"), tr("Size"), tr("Age"), tr("Last used")]
    rows = [
        [
            each.workflow or tr("(not saved)"),
            each.module,
            str(each.results),
            memory(each.nbytes),
            age(each.oldest),
            tr("{age} ago", age=age(each.used)),
        ]
        for each in listed
    ]
    return text_table("results", titles, rows, right=(2, 3))
