"""The confirmation before a whole cluster ends."""

from __future__ import annotations

from collections import Counter

from PyQt5.QtWidgets import QFormLayout, QWidget

from parallelflow.cluster.state import ClusterState, ControllerState
from parallelflow.gui.dialog import Dialog, Icon, Note, label
from parallelflow.gui.texts import engines, host, hosts, starter, tr, tr_count

_MOST_LINES = 10


def what_ends(cluster: ClusterState) -> str:
    """Return, for instance, '4 engines on 2 hosts'."""
    if not cluster.engines:
        return tr("no engines")
    found = engines(len(cluster.engines))
    return tr("{engines} on {hosts}", engines=found, hosts=hosts(max(1, len(cluster.hosts))))


def _controller(controller: ControllerState | None) -> str:
    if controller is None:
        return tr("none that answers")
    if controller.pid is None:
        return tr("on {host}", host=host(controller.host))
    return tr("on {host}, process {pid}", host=host(controller.host), pid=controller.pid)


def _per_host(cluster: ClusterState) -> str:
    counts = Counter(engine.host for engine in cluster.engines)
    lines = [tr("{host}: {engines}", host=host(name), engines=engines(n)) for name, n in sorted(counts.items())]
    if len(lines) > _MOST_LINES:
        rest = len(lines) - _MOST_LINES + 1
        lines[_MOST_LINES - 1 :] = [tr_count(rest, "and {count} more host", "and {count} more hosts")]
    return "\n".join([what_ends(cluster), *lines]) if len(counts) > 1 else what_ends(cluster)


def _warning(cluster: ClusterState) -> str:
    busy = sum(1 for engine in cluster.engines if engine.state == "busy")
    others = sum(1 for engine in cluster.engines if not engine.ours)
    lost = tr_count(
        busy,
        "{count} engine is busy; what it computes is lost.",
        "{count} engines are busy; what they compute is lost.",
    )
    strange = tr_count(
        others,
        "{count} engine was not started by this VisTrails.",
        "{count} engines were not started by this VisTrails.",
    )
    return "\n".join(text for text, count in ((lost, busy), (strange, others)) if count)


class ShutdownDialog(Dialog):
    """Asks whether the whole cluster is to end.

    :param cluster: what there is
    """

    def __init__(self, parent: QWidget | None, cluster: ClusterState) -> None:
        super().__init__(parent, tr("Request Cluster Shutdown"))
        text = tr("Shut down the whole cluster of the profile '{profile}'?", profile=cluster.profile)
        self.column.addWidget(label(text, "text"))
        form = QFormLayout()
        form.addRow(tr("Engines that end:"), label(_per_host(cluster), "engines"))
        form.addRow(tr("Controller that ends:"), label(_controller(cluster.controller), "controller"))
        if cluster.controller is not None:
            form.addRow(tr("Started by:"), label(starter(cluster.controller.started_by), "starter"))
        self.column.addLayout(form)
        self.column.addWidget(Note(Icon.SP_MessageBoxWarning, _warning(cluster), "warning"))
        self.column.addStretch()
        self.add_buttons(tr("&Shut Down"))
        # Enter must not end other people's work by accident.
        self.reject_button.setDefault(True)
        self.reject_button.setFocus()
        self.fit()
