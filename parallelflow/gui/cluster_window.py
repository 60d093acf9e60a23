"""The window that stays open beside the work: what we are connected to, the engines, and how far the Map has come."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PyQt5.QtCore import QItemSelection, QSize, Qt, QTimer, QUrl, pyqtSignal
from PyQt5.QtGui import QHideEvent, QKeyEvent, QShowEvent
from PyQt5.QtWidgets import (
    QAction,
    QDialogButtonBox,
    QFormLayout,
    QGroupBox,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from parallelflow.cluster.state import ClusterState, ProcessState
from parallelflow.gui import texts
from parallelflow.gui.dialog import Icon, Note, label, there, within_screen
from parallelflow.gui.engine_table import EngineTable
from parallelflow.gui.texts import tr, tr_count
from parallelflow.map.progress import MapProgress

_EVERY = 1000  # milliseconds between two looks
_MOST_ENDED = 3


@dataclass(frozen=True)
class WindowState:
    """What the window shows.

    :param cluster: the cluster, or None while nothing is known yet
    :param progress: the Map that runs now
    :param trouble: a sentence on why there is no connection, if there is more to say than that there is none
    """

    cluster: ClusterState | None = None
    progress: MapProgress | None = None
    trouble: str = ""


class ClusterWindow(QWidget):
    """The window. It shows the state that it was given last, and says what the user wants.

    While it is visible, `wanted` asks for a new state once a second; `rested` says that it is not any more. It belongs to
    no other window, because VisTrails blocks its own window, and those that belong to it, while a workflow runs.
    """

    wanted = pyqtSignal()
    rested = pyqtSignal()
    connect_chosen = pyqtSignal()
    start_chosen = pyqtSignal()
    stop_chosen = pyqtSignal(list)
    log_chosen = pyqtSignal(Path)
    forget_chosen = pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self.setWindowTitle(tr("Parallel Flow: Cluster"))
        self.setObjectName("cluster_window")
        self._timer = QTimer(self)
        self._timer.setInterval(_EVERY)
        self._timer.timeout.connect(self.wanted)
        self._logs: list[Path] = []
        column = QVBoxLayout(self)
        self._add_head(column)
        self._add_table(column)
        self._add_map(column)
        self._add_buttons(column)
        self.show_state(WindowState())
        self.table.setFocus()
        wanted = QSize(self.sizeHint().width(), self.fontMetrics().lineSpacing() * 34)
        self.resize(within_screen(wanted))

    def _add_head(self, column: QVBoxLayout) -> None:
        self.status = Note(name="status")
        font = self.status.label.font()
        font.setBold(True)
        self.status.label.setFont(font)
        column.addWidget(self.status)
        form = QFormLayout()
        self.profile, self.controller, self.starter, self.summary = (
            label(name=name) for name in ("profile", "controller", "starter", "summary")
        )
        form.addRow(tr("Profile:"), self.profile)
        form.addRow(tr("Controller:"), self.controller)
        form.addRow(tr("Started by:"), self.starter)
        form.addRow(tr("Engines:"), self.summary)
        column.addLayout(form)
        self.ended = Note(Icon.SP_MessageBoxWarning, name="ended")
        self.ended.label.setTextFormat(Qt.TextFormat.RichText)
        self.ended.label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.ended.label.linkActivated.connect(self._show_log)
        column.addWidget(self.ended)
        self.stuck = Note(Icon.SP_MessageBoxWarning, name="stuck")
        column.addWidget(self.stuck)

    def _add_table(self, column: QVBoxLayout) -> None:
        self.table = EngineTable()
        there(self.table.selectionModel()).selectionChanged.connect(self._selection_changed)
        stop = self._stop_action = QAction(tr("&Stop…"), self)
        stop.triggered.connect(self._stop)
        self.table.addAction(stop)
        column.addWidget(self.table, 1)

    def _add_map(self, column: QVBoxLayout) -> None:
        self.map = QGroupBox(tr("Map"))
        self.map.setObjectName("map")
        inner = QVBoxLayout(self.map)
        self.map_text = label(name="map_text")
        self.map_bar = QProgressBar()
        self.map_bar.setObjectName("map_bar")
        inner.addWidget(self.map_text)
        inner.addWidget(self.map_bar)
        column.addWidget(self.map)

    def _add_buttons(self, column: QVBoxLayout) -> None:
        box = QDialogButtonBox()
        action = QDialogButtonBox.ButtonRole.ActionRole
        self.start_button = _button(box, tr("Start &Engines…"), action, "start")
        self.start_button.clicked.connect(lambda: self.start_chosen.emit())
        self.stop_button = _button(box, tr("&Stop Selected…"), action, "stop")
        self.stop_button.clicked.connect(self._stop)
        self.connect_button = _button(box, tr("C&onnect"), action, "connect")
        self.connect_button.clicked.connect(lambda: self.connect_chosen.emit())
        self.forget_button = _button(box, tr("&Let Go of What Cannot Be Stopped"), action, "forget")
        self.forget_button.clicked.connect(lambda: self.forget_chosen.emit())
        close = _button(box, tr("&Close"), QDialogButtonBox.ButtonRole.RejectRole, "close")
        box.rejected.connect(self._close)
        for button in (self.start_button, self.stop_button, self.connect_button, self.forget_button, close):
            button.setAutoDefault(True)  # Enter presses the one with the focus, as in a dialog
        column.addWidget(box)

    # ------------------------------------------------------------ what it shows

    def show_state(self, state: WindowState) -> None:
        """Show another state.

        :param state: what is to be seen
        """
        cluster = state.cluster
        connected = cluster is not None and cluster.connected
        self.status.show_text(*_status(state))
        self.profile.setText(cluster.profile if cluster is not None else "")
        self.controller.setText(_controller(cluster))
        self.starter.setText(_started(cluster))
        self.summary.setText(_engines(cluster))
        self.ended.show_text(self._ended_text(cluster.died if cluster is not None else ()))
        self.table.show_engines(cluster.engines if cluster is not None else (), state.progress)
        self._show_map(state.progress)
        stuck = [process.stuck for process in cluster.processes if process.stuck] if cluster is not None else []
        self.stuck.show_text("\n".join([*stuck, tr("It is tried again at each start and stop.")] if stuck else []))
        self.forget_button.setVisible(bool(stuck))
        self.connect_button.setVisible(not connected)
        self.start_button.setEnabled(cluster is not None)
        self._selection_changed()

    def _ended_text(self, died: Sequence[ProcessState]) -> str:
        lines = []
        self._logs = []
        for process in reversed(died[-_MOST_ENDED:]):
            what = texts.kind(process.kind)
            text = tr("{what}, process {pid}, {ending}.", what=what, pid=process.pid, ending=process.ending)
            if process.kind == "job":
                text = tr("{what}: {ending}.", what=what, ending=process.ending)
            line = html.escape(text)
            if process.log_path is not None:
                link = tr("Show its log")
                line += f' <a href="{len(self._logs)}">{html.escape(link)}</a>'
                self._logs.append(process.log_path)
            lines.append(line)
        more = len(died) - len(lines)
        if more > 0:
            text = tr_count("%Ln more ended by themselves.", "%Ln more ended by itself.", more)
            lines.append(html.escape(text))
        return "<br>".join(lines)

    def _show_map(self, progress: MapProgress | None) -> None:
        self.map.setVisible(progress is not None)
        if progress is None:
            return
        left = progress.seconds_left
        rest = tr("about {duration} left", duration=texts.duration(left)) if left is not None else tr("no estimate yet")
        waiting = sum(chunk[2] for chunk in progress.chunks if chunk[0] is None)
        text = tr(
            "'{module}' has run for {done} of {elements} elements; {rest}.",
            module=progress.module,
            done=progress.done,
            elements=progress.elements,
            rest=rest,
        )
        if progress.taken:
            taken, elements = progress.taken, progress.elements
            text += " " + tr("{taken} of {elements} were taken from kept results.", taken=taken, elements=elements)
        if waiting:
            text += " " + tr_count("%Ln elements wait for an engine.", "%Ln element waits for an engine.", waiting)
        self.map_text.setText(text)
        self.map_bar.setRange(0, max(1, progress.elements))
        self.map_bar.setValue(progress.done)

    # ------------------------------------------------------------ what the user wants

    def _selection_changed(self, *changed: QItemSelection) -> None:
        some = bool(self.table.selected_engines())
        self.stop_button.setEnabled(some)
        self._stop_action.setEnabled(some)

    def _stop(self) -> None:
        chosen = self.table.selected_engines()
        if chosen:
            self.stop_chosen.emit(chosen)

    def _close(self) -> None:
        self.close()

    def _show_log(self, link: str) -> None:
        self.log_chosen.emit(self._logs[int(QUrl(link).toString())])

    # ------------------------------------------------------------ what Qt tells it

    def showEvent(self, event: QShowEvent | None) -> None:
        """Begin to ask for states."""
        super().showEvent(event)
        if not self._timer.isActive():
            self._timer.start()
            self.wanted.emit()

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Stop asking, unless the window is only minimised."""
        super().hideEvent(event)
        if not self.isVisible():
            self._timer.stop()
            self.rested.emit()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Close on Escape, as a dialog does."""
        if there(event).key() == Qt.Key.Key_Escape:
            self.close()
        else:
            super().keyPressEvent(event)


def _button(box: QDialogButtonBox, text: str, role: QDialogButtonBox.ButtonRole, name: str) -> QPushButton:
    made = there(box.addButton(text, role))
    made.setObjectName(name)
    return made


def _status(state: WindowState) -> tuple[str, Icon]:
    cluster = state.cluster
    if cluster is None:
        return tr("Looking for the cluster…"), Icon.SP_MessageBoxInformation
    if cluster.lost is not None:
        return tr("The connection was lost. {reason}", reason=cluster.lost), Icon.SP_MessageBoxWarning
    if cluster.controller is not None:
        return tr("Connected"), Icon.SP_DialogApplyButton
    if state.trouble:
        return tr("Not connected. {reason}", reason=state.trouble), Icon.SP_MessageBoxWarning
    return tr("Not connected: no controller runs for this profile."), Icon.SP_MessageBoxInformation


def _controller(cluster: ClusterState | None) -> str:
    if cluster is None or cluster.controller is None:
        return "-"
    controller = cluster.controller
    text = tr("{url} on {host}", url=controller.url, host=texts.host(controller.host, controller.here))
    if controller.pid is not None:
        text = tr("{controller}, process {pid}", controller=text, pid=controller.pid)
    return tr("{controller}, encrypted", controller=text) if controller.encrypted else text


def _started(cluster: ClusterState | None) -> str:
    if cluster is None or cluster.controller is None:
        return "-"
    starter = texts.starter(cluster.controller.started_by)
    since = cluster.controller.since
    return tr("{starter}, {moment}", starter=starter, moment=texts.moment(since)) if since else starter


def _engines(cluster: ClusterState | None) -> str:
    if cluster is None or cluster.controller is None:
        return "-"
    if not cluster.engines:
        return tr("none")
    text = tr(
        "{engines} on {hosts}; {busy} busy",
        engines=texts.engines(len(cluster.engines)),
        hosts=texts.hosts(max(1, len(cluster.hosts))),
        busy=sum(engine.state == "busy" for engine in cluster.engines),
    )
    if cluster.unassigned:
        waiting = tr_count("%Ln tasks wait for an engine", "%Ln task waits for an engine", cluster.unassigned)
        text = tr("{engines}; {waiting}", engines=text, waiting=waiting)
    return text
