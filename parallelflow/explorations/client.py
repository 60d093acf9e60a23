"""VisTrails' own side of an exploration: how a cell is executed there, and how the user sees how far it has come.

May import VisTrails; never Qt. With a window, `parallelflow.gui.exploration` adds what is seen of it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from vistrails.core import debug
from vistrails.core.interpreter.base import AbortExecution
from vistrails.core.interpreter.default import get_default_interpreter
from vistrails.core.vistrail.job import Workflow as JobWorkflow

from parallelflow.explorations.cells import Cell, Exploration

# The key of the note in the log of a cell's execution that holds the values of what is explored.
PARAMETERS_KEY = "exploration_parameters"


class CalledOff(AbortExecution):
    """The user has called the exploration off."""


class Client:
    """Executes cells as VisTrails does.

    :param controller: the vistrail's controller.
    :param exploration: what is explored.
    :param view: what shows the pipeline; None for nobody.
    """

    def __init__(self, controller: Any, exploration: Exploration, view: Any = None):
        self.controller = controller
        self.exploration = exploration
        self.interpreter = get_default_interpreter()
        self._view = view
        self._name = uuid.uuid1()

    def tell(self, text: str) -> None:
        """Say what is waited for. Called often.

        :param text: what it is.
        :raises CalledOff: if the user has called the exploration off.
        """

    def progress(self, computed: int, shown: int, taken: int = 0) -> None:
        """Say how far it has come. Called often.

        :param computed: for how many cells engines have done their part.
        :param shown: how many are done.
        :param taken: for how many cells engines' part was taken from kept results.
        :raises CalledOff: if the user has called the exploration off.
        """

    def warn(self, text: str) -> None:
        """Tell the user what does not end the exploration.

        :param text: a sentence or several.
        """
        debug.warning(text)

    def arguments(self, cell: Cell) -> dict[str, Any]:
        """Return what VisTrails' interpreter gets for a cell.

        :param cell: the cell.
        """
        controller, place = self.controller, f"{cell.row}_{cell.column}_{cell.sheet}"
        arguments = {
            "locator": controller.locator,
            "job_monitor": controller.jobMonitor,
            "current_version": controller.current_version,
            "reason": f"Parameter Exploration {self._name} {place}",
            "logger": _Noting(controller.get_logger(), cell.values(longest=10_000)),
            "actions": cell.actions,
            "extra_info": {"nameDumpCells": f"{os.path.splitext(controller.name)[0]}_{place}"},
        }
        if self._view is not None:
            arguments["view"] = self._view
        if self.exploration.variables is not None:
            arguments["vistrail_variables"] = self.exploration.variables
        return arguments

    def execute(self, cell: Cell, hook: Callable[[Any, Any], None] | None = None, **more: Any) -> Any:
        """Execute a cell, or a part of it.

        :param cell: the cell.
        :param hook: one of the interpreter's `done_summon_hooks`.
        :param more: further arguments of the interpreter, or other ones.
        :returns: the interpreter's result.
        """
        hooks = {} if hook is None else {"done_summon_hooks": [hook]}
        with self._job_workflow(cell):
            return self.interpreter.execute(cell.pipeline, **{**self.arguments(cell), **hooks, **more})

    @contextmanager
    def _job_workflow(self, cell: Cell) -> Iterator[None]:
        """Let VisTrails' job monitor know whose jobs there are, by the name that it gives cells."""
        monitor = self.controller.jobMonitor
        whose = f"{self.controller.current_version} {self.exploration.number}"
        name = f"Parameter Exploration {whose} {cell.row}_{cell.column}_{cell.sheet}"
        known = [each for each in monitor.workflows.values() if each.version == name]
        monitor.startWorkflow(known[0] if known else JobWorkflow(name))
        try:
            yield
        finally:
            monitor.finishWorkflow()


class _Noting:
    """VisTrails' log controller, which notes the values of a cell's parameters on its execution."""

    def __init__(self, logger: Any, parameters: str):
        self._logger = logger
        self._parameters = parameters

    def start_workflow_execution(self, *arguments: Any, **more: Any) -> Any:
        log = self._logger.start_workflow_execution(*arguments, **more)
        log.insert_workflow_exec_annotations({PARAMETERS_KEY: self._parameters})
        return log
