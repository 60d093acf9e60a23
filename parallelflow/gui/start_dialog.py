"""How many engines to start: from the menu, and for a Map that finds none."""

from __future__ import annotations

from dataclasses import dataclass

from PyQt5.QtWidgets import QCheckBox, QFormLayout, QSpinBox, QWidget

from parallelflow.cluster.settings import MOST_ENGINES
from parallelflow.cluster.state import ClusterState
from parallelflow.gui.dialog import Dialog, Icon, Note, label
from parallelflow.gui.texts import engines, host, hosts, starter, tr, tr_count


@dataclass(frozen=True)
class StartState:
    """What there is to know before engines are started.

    :param cluster: what runs already
    :param cores: how many of this machine's cores VisTrails may use
    :param preferred: how many engines the preferences would start; 0 for as many as there are cores
    :param here: whether they would be started on this machine; else the profile starts them elsewhere
    :param stay: whether they would run on when VisTrails exits
    """

    cluster: ClusterState
    cores: int
    preferred: int = 0
    here: bool = True
    stay: bool = False

    @property
    def engines_here(self) -> int:
        """How many engines this machine has."""
        return sum(1 for engine in self.cluster.engines if engine.here or not engine.host)

    @property
    def suggestion(self) -> int:
        """How many engines make sense: one for each core that has none; nobody knows the cores of other machines."""
        wanted = self.preferred or self.cores
        return max(1, wanted - self.engines_here) if self.here else wanted


def running(cluster: ClusterState) -> str:
    """Return a sentence on what runs.

    :param cluster: what there is
    """
    if cluster.controller is None or cluster.lost is not None:
        return tr("Nothing yet; a controller is started as well.")
    controller = tr(
        "a controller on {host}, started by {starter}",
        host=host(cluster.controller.host, cluster.controller.here),
        starter=starter(cluster.controller.started_by),
    )
    found = len(cluster.engines)
    if not found:
        return tr("{controller}; no engines", controller=controller)
    on = tr("{engines} on {hosts}", engines=engines(found), hosts=hosts(max(1, len(cluster.hosts))))
    return tr("{controller}; {engines}", controller=controller, engines=on)


def warning(count: int, present: int, cores: int) -> str:
    """Return a word of warning if there would be more engines than cores, else ''.

    :param count: how many engines are to be started
    :param present: how many this machine has
    :param cores: how many of its cores VisTrails may use
    """
    if count + present <= cores:
        return ""
    return tr(
        "This machine would have {engines} on {cores}. They share the cores, so each is slower, and each takes memory "
        "of its own. That pays only if elements wait for something else than the processor.",
        engines=engines(count + present),
        cores=tr_count("%Ln cores", "%Ln core", cores),
    )


class _EnginesForm(Dialog):
    """A form with the number of engines, and the warning below it."""

    def __init__(self, parent: QWidget | None, title: str, state: StartState) -> None:
        super().__init__(parent, title)
        self.state = state
        self.form = QFormLayout()
        self.count = QSpinBox()
        self.count.setObjectName("count")
        self.count.setRange(1, MOST_ENGINES)
        self.count.setGroupSeparatorShown(True)
        self.count.setAccelerated(True)
        self.warning = Note(Icon.SP_MessageBoxWarning, name="warning")
        self.count.valueChanged.connect(self._warn)

    def finish(self, accept: str) -> None:
        """Add the rows that both dialogs end with, and suggest a number."""
        self.column.addWidget(self.warning)
        self.count.setValue(self.state.suggestion)
        self._warn(self.count.value())  # it may have been that number before
        self.column.addStretch()
        self.add_buttons(accept)
        self.count.setFocus()
        self.count.selectAll()
        self.fit()

    def _warn(self, count: int) -> None:
        state = self.state
        self.warning.show_text(warning(count, state.engines_here, state.cores) if state.here else "")


class StartDialog(_EnginesForm):
    """Asks for the number of engines to start. The answer is that number.

    :param parent: the window that it belongs to
    :param state: what runs, and what this machine has
    """

    def __init__(self, parent: QWidget | None, state: StartState) -> None:
        super().__init__(parent, tr("Start New Engine Processes"), state)
        self.form.addRow(tr("Profile:"), label(state.cluster.profile, "profile"))
        self.form.addRow(tr("Running:"), label(_capitalised(running(state.cluster)), "running"))
        if state.here:
            self.form.addRow(tr("This machine:"), label(self._machine(), "machine"))
        else:
            self.form.addRow(tr("Where:"), label(tr("As the profile's configuration says"), "machine"))
        self.form.addRow(tr("&Engines to start:"), self.count)
        self.column.addLayout(self.form)
        self.finish(tr("&Start"))

    def _machine(self) -> str:
        free = max(0, self.state.cores - self.state.engines_here)
        cores = tr_count("%Ln cores", "%Ln core", self.state.cores)
        if free == self.state.cores:
            return tr("{cores}, none used by an engine", cores=cores)
        unused = tr_count("%Ln not used by an engine", "%Ln not used by an engine", free) if free else ""
        return tr("{cores}, {unused}", cores=cores, unused=unused or tr("each with an engine"))

    def answer(self) -> int:
        """Return how many engines to start."""
        return self.count.value()


@dataclass(frozen=True)
class NeedAnswer:
    """The answer to :class:`NeedDialog`.

    :param engines: how many engines to start
    :param remember: whether engines are started without a question from now on
    """

    engines: int
    remember: bool


class NeedDialog(_EnginesForm):
    """A workflow needs a cluster and there is none: start one? The answer is a :class:`NeedAnswer`.

    :param parent: the window that it belongs to
    :param state: what this machine has, and how many engines the preferences would start
    """

    def __init__(self, parent: QWidget | None, state: StartState) -> None:
        super().__init__(parent, tr("Start a Cluster?"), state)
        need = tr(
            "The workflow needs engines to run on, and none are running for the profile '{profile}'.",
            profile=state.cluster.profile,
        )
        start = tr("Start some on this machine?") if state.here else tr("Start some where its configuration says?")
        end = tr("They run on when VisTrails ends.") if state.stay else tr("They end when VisTrails does.")
        self.column.addWidget(label(f"{need} {start} {end}", "text"))
        self.form.addRow(tr("&Engines to start:"), self.count)
        self.remember = QCheckBox(tr("Do not ask &again: start them whenever they are needed"))
        self.remember.setObjectName("remember")
        self.column.addLayout(self.form)
        self.column.addWidget(self.remember)
        self.finish(tr("&Start"))

    def answer(self) -> NeedAnswer:
        """Return how many engines to start, and whether to remember that."""
        return NeedAnswer(self.count.value(), self.remember.isChecked())


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
