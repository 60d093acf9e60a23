"""Which IPython profile to use: the profiles that exist, which of them have a cluster, and a new one by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PyQt5.QtGui import QStandardItem, QStandardItemModel
from PyQt5.QtWidgets import QAbstractItemView, QFormLayout, QLineEdit, QTreeView, QWidget

from parallelflow.cluster.errors import ProfileError
from parallelflow.cluster.profile import check_name
from parallelflow.cluster.state import ProfileState
from parallelflow.gui.dialog import Dialog, Icon, Note, fit_table, label, there
from parallelflow.gui.texts import host, tr


@dataclass(frozen=True)
class ProfileAnswer:
    """The profile that the user chose.

    :param name: its name
    :param new: whether it must be made first
    """

    name: str
    new: bool = False


class ProfileDialog(Dialog):
    """Asks for a profile. The answer is a :class:`ProfileAnswer`.

    :param parent: the window that it belongs to
    :param present: the profile in use
    :param profiles: those that exist
    """

    def __init__(self, parent: QWidget | None, present: str, profiles: Sequence[ProfileState]) -> None:
        super().__init__(parent, tr("Change Profile"))
        self._present = present
        self._names: list[str] = []
        text = tr(
            "A profile is IPython's name for a cluster and its settings. VisTrails uses '{present}' now.",
            present=present,
        )
        self.column.addWidget(label(text, "text"))
        self._model = QStandardItemModel(0, 2, self)
        self._model.setHorizontalHeaderLabels([tr("Profile"), tr("Cluster")])
        self.list = QTreeView()
        self.list.setObjectName("profiles")
        self.list.setModel(self._model)
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setAlternatingRowColors(True)
        self.list.setAllColumnsShowFocus(True)
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.list.activated.connect(self._activated)
        self.column.addWidget(self.list, 1)
        self.new_name = QLineEdit()
        self.new_name.setObjectName("new_name")
        self.new_name.setPlaceholderText(tr("name of a profile to make"))
        self.new_name.setClearButtonEnabled(True)
        form = QFormLayout()
        form.addRow(tr("&New profile:"), self.new_name)
        self.column.addLayout(form)
        self.problem = Note(Icon.SP_MessageBoxWarning, name="problem")
        self.column.addWidget(self.problem)
        self.add_buttons(tr("&Change"))
        self.show_profiles(profiles)
        self._select(present)
        there(self.list.selectionModel()).currentChanged.connect(self._choose)
        self.new_name.textChanged.connect(self._judge)
        self._judge()
        fit_table(self.list, len(profiles))
        self.list.setFocus()
        self.fit()

    def show_profiles(self, profiles: Sequence[ProfileState]) -> None:
        """Show the profiles again, with what has been learnt of their clusters; the selection stays.

        :param profiles: those that exist
        """
        chosen = self._chosen()
        self._names = [profile.name for profile in profiles]
        self._model.setRowCount(len(profiles))
        for row, profile in enumerate(profiles):
            mark = profile.name == self._present
            name = QStandardItem(tr("{name} (in use)", name=profile.name) if mark else profile.name)
            font = name.font()
            font.setBold(mark)
            name.setFont(font)
            self._model.setItem(row, 0, name)
            self._model.setItem(row, 1, QStandardItem(self._cluster(profile)))
        if chosen in self._names:
            self._select(chosen)

    @staticmethod
    def _cluster(profile: ProfileState) -> str:
        if profile.running is None and profile.location:
            return tr("{host} does not tell", host=host(profile.location, profile.here))
        if profile.running is None:
            return tr("looking…")
        where = host(profile.location, profile.here)
        return tr("running on {host}", host=where) if profile.running else tr("not running")

    def _select(self, name: str) -> None:
        if name in self._names:
            self.list.setCurrentIndex(self._model.index(self._names.index(name), 0))

    def _chosen(self) -> str:
        row = self.list.currentIndex().row()
        return self._names[row] if 0 <= row < len(self._names) else ""

    def _choose(self) -> None:
        """A profile in the list was chosen, so no new one is wanted."""
        if self.list.hasFocus():
            self.new_name.clear()
        self._judge()

    def _activated(self) -> None:
        self.new_name.clear()
        if self.accept_button.isEnabled():
            self.accept()

    def _judge(self) -> None:
        """Say what is wrong with the new name, and let only a real change be accepted."""
        name = self.new_name.text().strip()
        problem = ""
        if name:
            try:
                check_name(name)
            except ProfileError as error:
                problem = str(error)
            if name in self._names:
                problem = tr("There is a profile '{name}' already; choose it in the list.", name=name)
        self.problem.show_text(problem)
        self.accept_button.setText(tr("&Make and Change") if name else tr("&Change"))
        chosen = self._chosen()
        self.accept_button.setEnabled(not problem if name else bool(chosen) and chosen != self._present)

    def answer(self) -> ProfileAnswer:
        """Return the profile that was chosen."""
        name = self.new_name.text().strip()
        return ProfileAnswer(name, new=True) if name else ProfileAnswer(self._chosen())
