"""A parameter exploration as VisTrails means it: its cells, each with a pipeline, a position and the values of its parameters.

May import VisTrails and `parallelflow.texts`; never Qt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vistrails.core.param_explore import ActionBasedParameterExploration, _pipelinePositions

from parallelflow.map import values
from parallelflow.texts import tr

Place = Callable[[Sequence[Any], tuple[int, int, int], Any], tuple[Sequence[Any], Sequence[tuple[int, int, int]]]]
"""Gives pipelines their places in the spreadsheet: takes the pipelines, how many columns, rows and sheets there are, and the
exploration; returns the pipelines to execute, and for each its row, column and sheet."""


# The annotation by which VisTrails labels a module.
_LABEL = "__desc__"


class ExplorationError(Exception):
    """An exploration cannot be run; `str()` says why, in sentences."""


@dataclass
class Cell:
    """One cell.

    :ivar index: its place in the order in which VisTrails executes them.
    :ivar pipeline: what is executed.
    :ivar row: as `column` and `sheet`, from 0.
    :ivar actions: VisTrails' actions that lead from the version to this pipeline.
    :ivar parameters: the values of what is explored, as text, by what they are called.
    """

    index: int
    pipeline: Any
    row: int
    column: int
    sheet: int
    actions: Sequence[Any]
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where it is, for the user, who counts from 1."""
        return tr(
            "column {column}, row {row}, sheet {sheet}", column=self.column + 1, row=self.row + 1, sheet=self.sheet + 1
        )

    def values(self, longest: int = 200) -> str:
        """Return the values of its parameters, for a message.

        :param longest: of each value at most so many characters.
        """
        pairs = [f"{name} = {values.short(_Bare(text), longest)}" for name, text in self.parameters.items()]
        return ", ".join(pairs)


class _Bare(str):
    """Text that is shown without quotes."""

    def __repr__(self) -> str:
        return str(self)


@dataclass
class Exploration:
    """All cells of a parameter exploration.

    :ivar number: its id in the vistrail.
    :ivar cells: in the order in which VisTrails executes them.
    :ivar variables: gives the vistrail's variables, as VisTrails' interpreter asks for them, or None where there are none.
    """

    number: int
    cells: list[Cell]
    variables: Callable[[str], Any] | None


def explore(controller: Any, exploration: Any, place: Place | None = None) -> Exploration:
    """Make the pipelines of all cells.

    :param controller: the vistrail's controller; the exploration's version becomes the current one.
    :param exploration: VisTrails' `ParameterExploration`.
    :param place: gives pipelines their places in the spreadsheet; None where there is none.
    :raises ExplorationError: if nothing is explored.
    """
    if exploration.action_id != controller.current_version:
        controller.change_selected_version(exploration.action_id)
        controller.flush_delayed_actions()
        exploration = upgraded(controller, exploration)
    pipeline = controller.current_pipeline
    collected = exploration.collectParameterActions(pipeline)
    if pipeline is None or not collected or not any(collected[0]):
        raise ExplorationError(tr("Nothing is explored: drag a parameter into the exploration, and give it values."))
    actions, before, explored_variables = collected
    pipelines, performed = ActionBasedParameterExploration().explore(pipeline, actions, before)
    columns, rows, sheets = (max(1, len(each)) for each in actions[:3])
    if place is None:
        positions = _pipelinePositions(sheets, rows, columns, pipelines)
    else:
        pipelines, positions = place(pipelines, (columns, rows, sheets), exploration)
    own = {each.uuid: each for each in controller.get_vistrail_variables() if each.uuid not in explored_variables}
    names = _names(pipeline, exploration)
    cells = [
        Cell(index, each, row, column, sheet, done, _parameters(each, names))
        for index, (each, done, (row, column, sheet)) in enumerate(zip(pipelines, performed, positions, strict=True))
    ]
    return Exploration(exploration.id, cells, own.get if own else None)


def upgraded(controller: Any, exploration: Any) -> Any:
    """Return what has become of an exploration where VisTrails has upgraded its version, whose modules have other ids then.

    :param controller: the vistrail's controller; its current version is the exploration's, or what that was upgraded to.
    :param exploration: VisTrails' `ParameterExploration`.
    :raises ExplorationError: if VisTrails could not translate it.
    """
    if controller.current_version == exploration.action_id:
        return exploration
    same = [
        each
        for each in controller.vistrail.get_paramexps(controller.current_version)
        if (each.name, each.dims, each.layout) == (exploration.name, exploration.dims, exploration.layout)
    ]
    if not same:
        raise ExplorationError(
            tr(
                "VisTrails has upgraded the workflow, and could not translate the exploration: make it anew in its window."
            )
        )
    return max(same, key=lambda each: each.id)


def called(module: Any) -> str:
    """Return what a module is called: its label, if the user has given it one, or its name.

    :param module: the module, as VisTrails stores it.
    """
    label = module.get_annotation_by_key(_LABEL).value.strip() if module.has_annotation_with_key(_LABEL) else ""
    return label or str(module.name)


def _names(pipeline: Any, exploration: Any) -> dict[str, tuple[int, str, int]]:
    """What is explored, by what it is called: module, port, and which of the port's parameters."""
    names: dict[str, tuple[int, str, int]] = {}
    for function in exploration.functions:
        module = pipeline.modules[function.module_id]
        for parameter in function.parameters:
            if parameter.dimension not in range(4):
                continue
            name = f"{called(module)}.{function.port_name}"
            if len(function.parameters) > 1:
                name = f"{name}[{parameter.pos}]"
            if name in names and names[name] != (function.module_id, function.port_name, parameter.pos):
                name = f"{module.name} {module.id}.{function.port_name}[{parameter.pos}]"
            names[name] = (function.module_id, function.port_name, parameter.pos)
    return names


def _parameters(pipeline: Any, names: dict[str, tuple[int, str, int]]) -> dict[str, str]:
    found = {}
    for name, (module_id, port, position) in names.items():
        functions = [each for each in pipeline.modules[module_id].functions if each.name == port]
        if functions:
            found[name] = functions[0].params[position].strValue
    return found
