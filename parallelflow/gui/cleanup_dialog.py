"""What becomes of the processes that VisTrails started, or that an earlier one left: stopped, or let go."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from PyQt5.QtWidgets import QButtonGroup, QRadioButton, QTreeView, QWidget

from parallelflow.cluster.questions import Orphan
from parallelflow.cluster.state import ClusterState, ProcessState
from parallelflow.gui.dialog import Dialog, Icon, Note, label, text_table
from parallelflow.gui.texts import both, controllers, engines, host, kind, moment, tr, tr_count


class Fate(enum.Enum):
    """What becomes of processes."""

    STOP = "stop"
    LEAVE = "leave"
    TAKE_BACK = "take back"


def summary(found: Sequence[ProcessState]) -> str:
    """Return what processes are, such as '1 controller and 2 engines'.

    :param found: the processes
    """
    leaders = sum(1 for process in found if process.kind == "controller")
    workers = sum(1 for process in found if process.kind == "engine")
    jobs = len(found) - leaders - workers
    text = both(controllers(leaders) if leaders else "", engines(workers) if workers else "")
    batch = tr_count("%Ln batch jobs with engines", "%Ln batch job with engines", jobs) if jobs else ""
    return both(text, batch)


def process_table(found: Sequence[ProcessState | Orphan]) -> QTreeView:
    """Return a table of processes.

    :param found: the processes
    """
    titles = [tr("What"), tr("Process"), tr("Host"), tr("Started")]
    by_profile = any(isinstance(process, Orphan) and process.profile for process in found)
    rows = []
    for process in found:
        what = kind(process.kind)
        if isinstance(process, ProcessState) and process.let_go:
            what = tr("{what}, left running earlier", what=what)
        texts = [what, str(process.pid or ""), host(process.host, True), moment(process.since)]
        if isinstance(process, Orphan) and by_profile:
            texts.append(process.profile)
        rows.append(texts)
    return text_table("processes", [*titles, tr("Profile")] if by_profile else titles, rows)


def _collateral(cluster: ClusterState) -> str:
    """Return a sentence on engines that end with our controller although others started them, or ''."""
    strangers = sum(1 for engine in cluster.engines if not engine.ours)
    if not strangers or not any(process.kind == "controller" for process in cluster.processes):
        return ""
    return tr_count(
        "Stopping the controller also ends %Ln engines that somebody else started.",
        "Stopping the controller also ends %Ln engine that somebody else started.",
        strangers,
    )


class CleanupDialog(Dialog):
    """Asks what becomes of our processes. The answer is a :class:`Fate`.

    :param parent: the window that it belongs to
    :param cluster: what there is
    """

    def __init__(self, parent: QWidget | None, cluster: ClusterState) -> None:
        super().__init__(parent, tr("Cleanup Started Processes"))
        found = cluster.processes
        if not found:
            text = tr(
                "VisTrails started none of the processes of the cluster that it is connected to (profile '{profile}'). "
                "Disconnect from it? It goes on running.",
                profile=cluster.profile,
            )
            self.column.addWidget(label(text, "text"))
            self.column.addStretch()
            self._fates: _Fates | None = None
            self.add_buttons(tr("&Disconnect"))
        else:
            text = tr(
                "VisTrails started these processes for the profile '{profile}': {summary}.",
                profile=cluster.profile,
                summary=summary(found),
            )
            self.column.addWidget(label(text, "text"))
            self.column.addWidget(process_table(found), 1)
            self._fates = _Fates(self, cluster)
            self.add_buttons(tr("OK"))
        self.fit()

    def answer(self) -> Fate:
        """Return what becomes of the processes."""
        return Fate.LEAVE if self._fates is None else self._fates.chosen()


class _Fates:
    """Two radio buttons: stop, or leave running."""

    def __init__(self, dialog: Dialog, cluster: ClusterState) -> None:
        self._stop = QRadioButton(tr("&Stop them"))
        self._stop.setObjectName("stop")
        self._leave = QRadioButton(tr("&Leave them running: VisTrails disconnects, and the next session can use them"))
        self._leave.setObjectName("leave")
        self._group = QButtonGroup(dialog)
        collateral = Note(Icon.SP_MessageBoxWarning, _collateral(cluster), "collateral")
        for button in (self._stop, self._leave):
            self._group.addButton(button)
            dialog.column.addWidget(button)
        dialog.column.addWidget(collateral)
        self._stop.setChecked(True)
        self._stop.setFocus()

    def chosen(self) -> Fate:
        return Fate.LEAVE if self._leave.isChecked() else Fate.STOP


class LeaveProfileDialog(Dialog):
    """Before the profile is changed: what becomes of what runs under the old one? The answer is a :class:`Fate`.

    Not accepted means to stay on the old profile.

    :param parent: the window that it belongs to
    :param cluster: what there is
    :param new: the new profile's name
    """

    def __init__(self, parent: QWidget | None, cluster: ClusterState, new: str) -> None:
        super().__init__(parent, tr("Change Profile"))
        text = tr(
            "VisTrails started these processes for the profile '{old}'. What becomes of them before it changes to '{new}'?",
            new=new,
            old=cluster.profile,
        )
        self.column.addWidget(label(text, "text"))
        self.column.addWidget(process_table(cluster.processes), 1)
        self._fates = _Fates(self, cluster)
        self.add_buttons(tr("&Change to '{new}'", new=new), tr("Stay on '{old}'", old=cluster.profile))
        self.fit()

    def answer(self) -> Fate:
        """Return what becomes of the processes."""
        return self._fates.chosen()


class OrphansDialog(Dialog):
    """Processes of a VisTrails that crashed are still running. The answer is a :class:`Fate`; not accepted means LEAVE.

    :param parent: the window that it belongs to
    :param orphans: what was found
    """

    def __init__(self, parent: QWidget | None, orphans: Sequence[Orphan]) -> None:
        super().__init__(parent, tr("Processes of an Earlier VisTrails"))
        text = tr_count(
            "VisTrails crashed or was killed, and left %Ln processes running. They can be used again, and then end with "
            "this VisTrails, or be stopped.",
            "VisTrails crashed or was killed, and left %Ln process running. It can be used again, and then ends with "
            "this VisTrails, or be stopped.",
            len(orphans),
        )
        self.column.addWidget(label(text, "text"))
        self.column.addWidget(process_table(orphans), 1)
        self._chosen = Fate.TAKE_BACK
        stop = self.button(tr("&Stop"), self.buttons.ButtonRole.DestructiveRole, "stop")
        stop.clicked.connect(self._stop)
        self.add_buttons(tr("&Use Again"), tr("&Leave Running"))
        self.accept_button.setFocus()
        self.fit()

    def _stop(self) -> None:
        self._chosen = Fate.STOP
        self.accept()

    def answer(self) -> Fate:
        """Return what becomes of the processes."""
        return self._chosen
