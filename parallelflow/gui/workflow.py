"""What entries of the menu change in the workflow that is shown: marks on modules that loop; Map, Filter and For of either package.

Each is one version of the history, which VisTrails undoes as any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from PyQt5.QtWidgets import QMessageBox, QWidget

from parallelflow.gui.dialog import Message
from parallelflow.gui.flow import Action, Ask
from parallelflow.gui.texts import tr, tr_count
from parallelflow.map import marks
from parallelflow.map.conversion import Conversion, carry_explorations, convert, counted


def mark_loops(controller: Any, window: QWidget | None, marked: bool) -> Action:
    """Mark the selected modules, so that their loops run in parallel, or take the mark from them.

    :param controller: VisTrails' controller of the vistrail that is shown; None if there is none
    :param window: the window that messages belong to
    :param marked: whether they are to be marked
    """
    selected = _selected(controller)
    if not selected:
        more = tr("A module loops where a list arrives on a port that takes one of its values.")
        yield Ask(_refusal(window, tr("Select the modules whose loops are meant, in the pipeline."), more))
        return
    action = marks.change(controller.current_pipeline, controller.id_scope, selected, marked)
    if action is None:
        text = tr("The selected modules are marked already.") if marked else tr("No selected module is marked.")
        yield Ask(Message(window, text))
        return
    _add(controller, action, tr("Loops in parallel") if marked else tr("Loops one after the other"), selected)


def convert_loops(controller: Any, window: QWidget | None, parallel: bool) -> Action:
    """Have the selected loops, or all, be ours or Control Flow's.

    :param controller: as for :func:`mark_loops`
    :param window: the window that messages belong to
    :param parallel: whether they become ours
    """
    if controller is None or controller.current_pipeline is None:
        yield Ask(_refusal(window, tr("There is no workflow: open one, or choose a version.")))
        return
    controller.flush_delayed_actions()
    selected = _selected(controller)
    found = convert(controller.current_pipeline, controller.id_scope, parallel, selected)
    if found.action is None:
        yield Ask(Message(window, _nothing(parallel, bool(selected)), _left(found)))
        return
    description = tr("Made Maps parallel") if parallel else tr("Made Maps serial")
    before = controller.current_version
    _add(controller, found.action, description, [found.new_ids.get(each, each) for each in selected])
    carry_explorations(controller.vistrail, before, found)
    yield Ask(Message(window, said(found, parallel), _left(found)))


def said(found: Conversion, parallel: bool) -> str:
    """Say what was changed.

    :param found: what was changed
    :param parallel: whether it has become ours
    """
    counts = counted(found.changes)
    inside = sum(bool(each.path) for each in found.changes)
    text = tr("Parallel now: {counts}.", counts=counts) if parallel else tr("Serial again: {counts}.", counts=counts)
    if not inside:
        return text
    more = tr_count("%Ln of them are in Groups.", "One of them is in a Group.", inside)
    return f"{text} {more}"


def _nothing(parallel: bool, selected: bool) -> str:
    if parallel:
        if selected:
            return tr("None of the selected modules is a Map, Filter or For of Control Flow.")
        return tr("There is no Map, Filter or For of Control Flow in this workflow.")
    if selected:
        return tr("None of the selected modules is a Map, Filter or For of Parallel Flow.")
    return tr("There is no Map, Filter or For of Parallel Flow in this workflow.")


def _left(found: Conversion) -> str:
    names = sorted({each.subworkflow for each in found.left if each.subworkflow is not None})
    if not names:
        return ""
    return tr(
        "Subworkflows are shared with other workflows, and stay as they are: {names}. Open them with Workflow > Edit"
        " Subworkflow, and choose this there.",
        names=", ".join(names),
    )


def _refusal(window: QWidget | None, text: str, more: str = "") -> Message:
    return Message(window, text, more, QMessageBox.Icon.Warning)


def _selected(controller: Any) -> list[int]:
    if controller is None or controller.current_pipeline is None:
        return []
    shown = controller.current_pipeline_scene.get_selected_module_ids()
    return [each for each in shown if each in controller.current_pipeline.modules]


def _add(controller: Any, action: Any, description: str, selected: Iterable[int]) -> None:
    """Add an action to the history, and show what has become of the pipeline."""
    controller.flush_delayed_actions()
    controller.add_new_action(action, description)
    controller.perform_action(action)
    scene = controller.current_pipeline_scene
    scene.setupScene(controller.current_pipeline)
    for module in selected:
        if module in scene.modules:
            scene.modules[module].setSelected(True)
