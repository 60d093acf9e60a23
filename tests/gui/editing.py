"""What users do in the window with loops of workflows that exist; see `driver`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from driver import Scenario, User
from exploring import never_ask

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))
from building import CONTROL_FLOW, Vistrail

MARK = "Run loops of selected modules in parallel"
UNMARK = "Run loops of selected modules one after the other"
PARALLEL = "Make selected Maps parallel"
SERIAL = "Make them serial again"


def open_vistrail(user: User, vistrail: Vistrail, name: str) -> Any:
    """Open a vistrail in the window, and return VisTrails' controller of it."""
    from vistrails.core.db.locator import FileLocator

    path = user.folder / f"{name}.vt"
    vistrail.save(path)
    user.builder.open_vistrail_without_prompt(FileLocator(str(path)))
    return user.builder.get_current_controller()


def select(controller: Any, *names: str) -> None:
    """Select modules by their names, and nothing else."""
    scene = controller.current_pipeline_scene
    scene.clearSelection()
    for item in scene.modules.values():
        if item.module.name in names:
            item.setSelected(True)


def looping(vistrail: Vistrail) -> None:
    """Numbers, a module that loops over them, and one that takes all that comes of it."""
    numbers = vistrail.add_source((0, 2), "", "o = [1, 2, 3, 4]", {}, {"o": "List"})
    square = vistrail.add("Round", (0, 1))
    out = vistrail.add("StandardOutput", (0, 0))
    vistrail.connect(numbers, "o", square, "in_value")
    vistrail.connect(square, "out_value", out, "value")


def mapping(vistrail: Vistrail) -> None:
    """A Map of Control Flow's, over two numbers."""
    source = vistrail.add_source((0, 2), "", "o = a + 1", {"a": "Integer"}, {"o": "Integer"})
    the_map = vistrail.add("Map", (0, 1), "", CONTROL_FLOW, InputPort="['a']", OutputPort="o", InputList="[1, 2]")
    vistrail.connect(source, "self", the_map, "FunctionPort")
    out = vistrail.add("StandardOutput", (0, 0))
    vistrail.connect(the_map, "Result", out, "value")


def _blue(user: User, controller: Any, name: str) -> bool:
    """Whether a module is drawn with the mark."""
    from PyQt5.QtCore import QRectF
    from PyQt5.QtGui import QImage, QPainter

    from parallelflow.gui.pipeline_marks import COLOUR

    scene = controller.current_pipeline_scene
    (item,) = (each for each in scene.modules.values() if each.module.name == name)
    place = item.sceneBoundingRect()
    image = QImage(int(4 * place.width()), int(4 * place.height()), QImage.Format_RGB32)
    image.fill(0)
    painter = QPainter(image)
    scene.render(painter, QRectF(image.rect()), place)
    painter.end()
    return any(image.pixelColor(x, y) == COLOUR for x in range(image.width() // 4) for y in range(0, image.height(), 2))


def _state(user: User, controller: Any) -> list[Any]:
    """Whether the mark is drawn, whether the pipeline has it, what the version is called, and what is selected."""
    from parallelflow.map.marks import is_marked

    pipeline = controller.current_pipeline
    (module,) = (each for each in pipeline.module_list if each.name == "Round")
    scene = controller.current_pipeline_scene
    selected = sorted(pipeline.modules[each].name for each in scene.get_selected_module_ids())
    description = controller.vistrail.get_description(controller.current_version)
    return [_blue(user, controller, "Round"), is_marked(module), description, selected]


def _run(user: User, controller: Any) -> Any:
    """Execute; where modules have run, by their names, and what has failed, will be in what is returned."""
    results: list[dict[str, Any]] = []

    def execute() -> None:
        (result,), _ = controller.execute_user_workflow()
        where = where_modules_ran(controller.log.workflow_execs[-1])
        results.append({"where": where, "errors": [str(error) for error in result.errors.values()]})

    user.later(execute)
    return results


def where_modules_ran(execution: Any) -> dict[str, list[bool]]:
    """Of what the log says of an execution: by module's name, for each time that it ran, whether on an engine."""
    where: dict[str, list[bool]] = {}
    for each in _executions(execution):
        notes = [note.key for note in each.annotations]
        name = getattr(each, "module_name", "Group")
        where.setdefault(name, []).append("parallel_engine" in notes)
    return where


def _executions(execution: Any) -> Any:
    for name in ("item_execs", "loop_execs", "loop_iterations"):
        for each in getattr(execution, name, ()):
            if hasattr(each, "module_name") or hasattr(each, "group_name"):
                yield each
            yield from _executions(each)


def mark_loops(user: User) -> Scenario:
    never_ask()
    vistrail = Vistrail()
    looping(vistrail)
    controller = open_vistrail(user, vistrail, "loops")
    yield
    select(controller)
    user.choose(MARK)
    message = yield from user.dialog("Message")
    user.click(message.defaultButton())
    yield from user.gone(message)
    before = controller.current_version
    user.seen["before"] = _state(user, controller)
    select(controller, "Round", "StandardOutput")
    user.choose(MARK)
    yield
    user.seen["marked"] = _state(user, controller)
    marked = controller.current_version
    user.seen["versions"] = controller.vistrail.actionMap[marked].parent == before
    select(controller, "Round")
    user.choose(MARK)
    message = yield from user.dialog("Message")
    user.click(message.defaultButton())
    yield from user.gone(message)
    results = _run(user, controller)
    yield from user.until(lambda: results, "the end of the execution")
    user.seen["run"] = results[0]
    controller.undo()
    yield
    user.seen["undone"] = _state(user, controller)
    results = _run(user, controller)
    yield from user.until(lambda: results, "the end of the execution")
    user.seen["run again"] = results[0]
    controller.redo()
    yield
    user.seen["redone"] = _state(user, controller)
    select(controller, "Round")
    user.choose(UNMARK)
    yield
    user.seen["unmarked"] = _state(user, controller)
    controller.change_selected_version(marked)
    yield
    from vistrails.core.packagemanager import get_package_manager

    disable(user)
    yield
    user.seen["disabled"] = _state(user, controller)[:2]
    results = _run(user, controller)
    yield from user.until(lambda: results, "the end of the execution")
    user.seen["run without the package"] = results[0]
    user.seen["left behind"] = _ours_in_vistrails()
    get_package_manager().late_enable_package("ipyparallel_flow")
    yield
    user.seen["enabled again"] = [*_state(user, controller)[:2], _ours_in_vistrails()]


def _ours_in_vistrails() -> list[str]:
    """The methods of VisTrails' modules, and of how it draws them, whose code is ours."""
    from vistrails.core.modules.vistrails_module import Module
    from vistrails.gui.pipeline_view import QGraphicsModuleItem

    return sorted(
        name
        for owner in (Module, QGraphicsModuleItem)
        for name, value in vars(owner).items()
        if getattr(value, "__globals__", {}).get("__name__", "").startswith("parallelflow")
    )


def disable(user: User) -> None:
    """Disable the package, as Preferences does."""
    from vistrails.core.packagemanager import get_package_manager

    get_package_manager().late_disable_package("ipyparallel_flow")


def assisted(controller: Any) -> None:
    """Have VisTrails' control flow assistant make a Map of the selected module, which takes `a` and gives `o`."""
    from vistrails.gui.controlflow_assist import QControlFlowAssistDialog

    view = controller.current_pipeline_view
    modules, connections = view.scene().get_selected_item_ids(True)
    dialog = QControlFlowAssistDialog(view, modules, connections, view.scene())
    (item,) = (each for each in dialog.pipelineView.scene().modules.values() if each.module.id in modules)
    for ports, wanted, chosen in (
        (item.inputPorts, "a", dialog.pipelineView.getSelectedInputPorts()),
        (item.outputPorts, "o", dialog.pipelineView.getSelectedOutputPorts()),
    ):
        chosen += [port for port in ports.values() if port.port.name == wanted]
    dialog.okClicked()


def maps(pipeline: Any) -> list[str]:
    """The Maps, Filters and Fors, each with its package, those in Groups too."""
    found = []
    for module in pipeline.module_list:
        if module.is_group():
            found += [f"{each} in {module.name}" for each in maps(module.pipeline)]
        elif module.name in ("Map", "Filter", "For"):
            found.append(f"{module.name} of {module.package.split('.')[-1]}")
    return sorted(found)


def convert_maps(user: User) -> Scenario:
    never_ask()
    vistrail = Vistrail()
    mapping(vistrail)
    vistrail.add_source((2, 1), "", "o = a * 2", {"a": "Float"}, {"o": "Float"})
    controller = open_vistrail(user, vistrail, "maps")
    yield
    scene = controller.current_pipeline_scene
    scene.clearSelection()
    free = max(controller.current_pipeline.modules)
    scene.modules[free].setSelected(True)
    assisted(controller)
    yield
    (group,) = (each for each in controller.current_pipeline.module_list if each.is_group())
    (port,) = (
        spec.name for spec in group.input_port_specs if spec.name not in ("UseCartesianProduct", "UserDefinedInputList")
    )
    controller.update_function(group, port, ["[1.0, 2.0, 3.0]"])
    before = controller.current_version
    user.seen["assisted"] = maps(controller.current_pipeline)
    select(controller, "StandardOutput")
    user.choose(PARALLEL)
    message = yield from user.dialog("Message")
    user.click(message.defaultButton())
    yield from user.gone(message)
    user.seen["no version"] = controller.current_version == before
    select(controller, "Map")
    user.choose(PARALLEL)
    message = yield from user.dialog("Message")
    user.click(message.defaultButton())
    yield from user.gone(message)
    user.seen["one"] = maps(controller.current_pipeline)
    user.seen["selected"] = [controller.current_pipeline.modules[each].name for each in scene.get_selected_module_ids()]
    select(controller)
    user.choose(PARALLEL)
    message = yield from user.dialog("Message")
    user.click(message.defaultButton())
    yield from user.gone(message)
    user.seen["all"] = maps(controller.current_pipeline)
    user.seen["description"] = controller.vistrail.get_description(controller.current_version)
    results = _run(user, controller)
    yield from user.until(lambda: results, "the end of the execution")
    user.seen["run"] = results[0]
    controller.undo()
    controller.undo()
    yield
    user.seen["undone"] = [maps(controller.current_pipeline), controller.current_version == before]
    controller.redo()
    controller.redo()
    yield
    select(controller)
    user.choose(SERIAL)
    message = yield from user.dialog("Message")
    user.click(message.defaultButton())
    yield from user.gone(message)
    user.seen["serial"] = maps(controller.current_pipeline)
    results = _run(user, controller)
    yield from user.until(lambda: results, "the end of the execution")
    user.seen["run again"] = results[0]
    select(controller)
    user.choose(SERIAL)
    message = yield from user.dialog("Message")
    user.click(message.defaultButton())
    yield from user.gone(message)
