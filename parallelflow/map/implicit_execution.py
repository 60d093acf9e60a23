"""One execution of a module's own loop over lists: VisTrails combines the lists, engines run the elements.

`parallelflow.map.implicit_chunk` is its other half, on an engine. May import VisTrails and the map room.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from vistrails.core.modules.vistrails_module import Module, ModuleError, ModuleSuspended

from parallelflow.map import values
from parallelflow.map.execution import Execution
from parallelflow.map.looping import Looping
from parallelflow.map.outcomes import Failure, Suspension
from parallelflow.map.plan import Plan, make_plan
from parallelflow.texts import tr

# Values that can travel for certain.
_PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None)})


class Unfit(Exception):
    """A loop that cannot run on engines; `str()` says why, for a sentence in which it follows a colon."""


class _Combined(Exception):
    """VisTrails has combined the lists, and would begin to run."""


class LoopExecution(Execution):
    """One execution of a module's loop.

    :param module: the module that loops, called upon to run the outermost of its loops.
    :param loop: VisTrails' own way to do that.
    :raises Exception: whatever VisTrails raises when it combines the lists.
    """

    def __init__(self, module: Any, loop: Callable[[Any], None]):
        elements, ports = combined(module, loop)
        every_output = ""
        super().__init__(module, Looping(elements, ports, every_output, takes_apart=len(ports) != 1))
        self._outputs: dict[str, list[Any]] = {}

    def _what(self) -> str:
        return tr("this loop of {module}", module=self.name)

    def _functions(self) -> list[Module]:
        return [self.module]

    def prepare(self) -> None:
        """Make the plan.

        :raises Unfit: if something of it cannot travel, or an element.
        """
        try:
            self._plan = make_plan(self.module, self.functions, self.looping, self._pause, "LoopChunk")
        except ModuleError as error:
            raise Unfit(error.msg) from error
        for index, element in enumerate(self.elements):
            if not _PLAIN.issuperset(map(type, element)):
                self._pause_for(index)
                try:
                    values.pack(element, pause=self._pause)
                except values.CannotTravel as error:
                    raise Unfit(f"{self.source.describe(index)}: {error}") from error

    def run(self) -> None:
        """Run all elements, and set the module's outputs.

        :raises Unfit: if the result of an element cannot come back; then nothing of the loop is in the log.
        """
        try:
            super().run()
        except Unfit:
            self.log.discard()
            raise
        for port, values_there in self._outputs.items():
            self.module.set_output(port, values_there)

    def _pause_for(self, index: int) -> None:
        if index % 100 == 0:
            self._pause()

    def _make_plan(self) -> Plan:
        return self._plan

    def _check(self) -> None:
        # VisTrails checks types where the innermost lists are looped over, so that of others an engine does.
        if self.module.list_depth == 1:
            self._check_types(self.module)

    def _check_functions(self, loop: Any) -> None:
        """Nothing to do: the module is being computed."""

    def _error(self, failure: Failure) -> ModuleError:
        if failure.cannot_travel:
            raise Unfit(failure.message)
        return super()._error(failure)

    def _suspended(self, suspension: Suspension, index: int | None = None) -> ModuleSuspended:
        error = super()._suspended(suspension, index)
        if index is not None:
            error.module.logging.end_update(error.module, error, was_suspended=True)
        return error

    def _take_result(self, index: int, result: dict[str, Any]) -> None:
        for port, value in result.items():
            self._outputs.setdefault(port, []).append(value)

    def _end_functions(self) -> None:
        """Nothing to do: VisTrails does it when the loop has ended."""


def combined(module: Any, loop: Callable[[Any], None]) -> tuple[list[Any], list[str]]:
    """Have VisTrails combine the lists that a module loops over, and return what it would run.

    :param module: the module, called upon to run its loop.
    :param loop: VisTrails' own way to do that.
    :returns: for each element the values, and the names of the ports that they go to.
    :raises Exception: whatever VisTrails raises instead.
    """
    found: list[tuple[list[Any], list[str]]] = []
    probe = copy.copy(module)

    def do_combine(*arguments: Any) -> Any:
        found.append(type(module).do_combine(probe, *arguments))  # the outermost is the last to return
        return found[-1]

    probe.do_combine = do_combine
    probe.logging = _Stop()
    try:
        loop(probe)
    except _Combined:
        return found[-1]
    raise AssertionError("VisTrails has not combined the lists")


class _Stop:
    """Ends VisTrails' loop before it runs anything."""

    def begin_loop_execution(self, module: Module, count: int) -> None:
        raise _Combined

    def update_progress(self, module: Module, fraction: float) -> None:
        """Nothing to do."""
