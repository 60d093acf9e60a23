"""The confirmation before a whole cluster ends."""

from __future__ import annotations

from collections import Counter

from PyQt5.QtWidgets import QFormLayout, QWidget

from parallelflow.cluster.state import ClusterState
from parallelflow.gui.cleanup_dialog import summary
from parallelflow.gui.dialog import Dialog, Icon, Note, label
from parallelflow.gui.texts import both, engines, host, hosts, starter, tr, tr_count

_MOST_LINES = 10


def engines_on_hosts(cluster: ClusterState) -> str:
    """Return, for instance, '4 engines on 2 hosts'.

    :param cluster: what there is
    """
    if not cluster.engines:
        return tr("no engines")
    found = engines(len(cluster.engines))
    return tr("{engines} on {hosts}", engines=found, hosts=hosts(max(1, len(cluster.hosts))))


def what_ends(cluster: ClusterState) -> str:
    """Return, for instance, '4 engines on 2 hosts and the controller'. Where no controller answers, ours is all there is.

    :param cluster: what there is
    """
    if not cluster.connected:
        return summary(cluster.processes)
    return both(engines_on_hosts(cluster) if cluster.engines else "", tr("the controller"))


def _controller(cluster: ClusterState) -> str:
    controller = cluster.controller
    if controller is None or not cluster.connected:
        ours = next((process for process in cluster.processes if process.kind == "controller"), None)
        if ours is None:
            return tr("none that answers")
        return tr("process {pid} on {host}, which does not answer", pid=ours.pid, host=host(ours.host, True))
    where = host(controller.host, controller.here)
    if controller.pid is None:
        return tr("on {host}", host=where)
    return tr("on {host}, process {pid}", host=where, pid=controller.pid)


def _engines(cluster: ClusterState) -> str:
    if not cluster.connected:
        return summary([process for process in cluster.processes if process.kind != "controller"]) or tr("no engines")
    counts = Counter((engine.host, engine.here) for engine in cluster.engines)
    lines = [tr("{host}: {engines}", host=host(*name), engines=engines(n)) for name, n in sorted(counts.items())]
    if len(lines) > _MOST_LINES:
        rest = len(lines) - _MOST_LINES + 1
        lines[_MOST_LINES - 1 :] = [tr_count("and %Ln more hosts", "and %Ln more host", rest)]
    return "\n".join([engines_on_hosts(cluster), *lines]) if len(counts) > 1 else engines_on_hosts(cluster)


def _warning(cluster: ClusterState) -> str:
    busy = sum(1 for engine in cluster.engines if engine.state == "busy")
    others = sum(1 for engine in cluster.engines if not engine.ours)
    lost = tr_count(
        "%Ln engines are busy; what they compute is lost.",
        "%Ln engine is busy; what it computes is lost.",
        busy,
    )
    strange = tr_count(
        "%Ln engines were not started by this VisTrails.",
        "%Ln engine was not started by this VisTrails.",
        others,
    )
    return "\n".join(text for text, count in ((lost, busy), (strange, others)) if count)


class ShutdownDialog(Dialog):
    """Asks whether the whole cluster is to end.

    :param parent: the window that it belongs to
    :param cluster: what there is
    """

    def __init__(self, parent: QWidget | None, cluster: ClusterState) -> None:
        super().__init__(parent, tr("Request Cluster Shutdown"))
        text = tr("Shut down the whole cluster of the profile '{profile}'?", profile=cluster.profile)
        self.column.addWidget(label(text, "text"))
        form = QFormLayout()
        form.addRow(tr("Engines that end:"), label(_engines(cluster), "engines"))
        form.addRow(tr("Controller that ends:"), label(_controller(cluster), "controller"))
        if cluster.controller is not None and cluster.connected:
            form.addRow(tr("Started by:"), label(starter(cluster.controller.started_by), "starter"))
        self.column.addLayout(form)
        self.column.addWidget(Note(Icon.SP_MessageBoxWarning, _warning(cluster), "warning"))
        self.column.addStretch()
        self.add_buttons(tr("&Shut Down"))
        # Enter must not end other people's work by accident.
        self.reject_button.setDefault(True)
        self.reject_button.setFocus()
        self.fit()
