"""Gives modules what engines have computed for them, while VisTrails executes the cell that they are in.

VisTrails' interpreter runs what is upstream of a module before it looks whether the module is up to date. So a module that is given
its outputs does nothing but to say so, for as long as its cell is executed. Afterwards it leaves VisTrails' cache:
it has only those outputs that the cell asks for, and nothing upstream of it has been computed.

May import VisTrails and the map room; never Qt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from vistrails.core.modules.vistrails_module import ModuleError, ModuleHadError

from parallelflow.explorations import vtk_outputs
from parallelflow.explorations.outcomes import CellError, Computed
from parallelflow.map.outcomes import ExecutionRecord, Host
from parallelflow.map.provenance import WorkflowLog


def forget(interpreter: Any, modules: Iterable[int]) -> None:
    """Have modules leave VisTrails' cache, with what depends on them.

    :param interpreter: VisTrails' interpreter.
    :param modules: their ids in its cache; those that are not there any more are left out.
    """
    left = interpreter._objects.keys() & set(modules)
    if left:  # given none that is there, VisTrails' own cleaning takes all
        interpreter.clean_modules(left)


@dataclass(frozen=True)
class Executed:
    """What has been executed for a cell, and where.

    :ivar record: what was recorded there.
    :ivar engine: the engine's number; None if it was in VisTrails, or is not known.
    :ivar host: the machine.
    :ivar is_there: whether it was on an engine.
    """

    record: ExecutionRecord
    engine: int | None
    host: Host
    is_there: bool = True


class Filling:
    """What one cell is given.

    :param interpreter: VisTrails' interpreter.
    :param pipeline: the cell's.
    :param engines: the modules that run on engines.
    :param wanted: those of them that VisTrails has to be given.
    :param computed: what became of the cell on an engine.
    :param common: modules that have been computed in VisTrails before, for all cells.
    :param executed: what goes into the cell's log.
    """

    def __init__(
        self,
        interpreter: Any,
        pipeline: Any,
        engines: set[int],
        wanted: set[int],
        computed: Computed,
        common: set[int],
        executed: Sequence[Executed],
    ):
        self._interpreter = interpreter
        self._pipeline = pipeline
        self._engines = engines
        self._wanted = wanted
        self._computed = computed
        self._common = common
        self._executed = [each for each in executed if each.record.module_id not in computed.stays]
        self._objects: dict[int, Any] = {}
        self._filled: list[Any] = []
        self._forget: list[int] = []
        self._written = False

    @contextmanager
    def in_force(self) -> Iterator[Any]:
        """Give what there is to give while the cell is executed; yields a hook for VisTrails' interpreter."""
        try:
            yield self._fill
        finally:
            for module in self._filled:
                vars(module).pop("update", None)
            forget(self._interpreter, self._forget)

    def _fill(self, persistent: Any, objects: Any) -> None:
        found, _, _ = self._interpreter.find_persistent_entities(self._pipeline)
        self._objects = {module_id: module for module_id, module in found.items() if module is not None}
        for module_id in self._engines & self._objects.keys():
            module = self._objects[module_id]
            output, errors = self._computed.outputs.get(module_id), self._errors_of(module_id)
            if not module.upToDate:
                self._forget.append(module.id)
                if output is not None:
                    for port, value in output.ports.items():
                        module.set_output(port, vtk_outputs.restored(value))
                    module.list_depth = output.list_depth
            if output is not None:
                self._take_over(module, [])
            elif errors and (module_id in self._wanted or any(each.module_id == module_id for each in errors)):
                self._take_over(module, errors)
        for module_id in self._common & self._objects.keys():
            if self._objects[module_id].upToDate:
                self._take_over(self._objects[module_id], [])

    def _errors_of(self, module_id: int) -> list[CellError]:
        """The errors of a module and of those upstream of it."""
        if not self._computed.errors:
            return []
        upstream, waiting = set[int | None]([None]), [module_id]
        while waiting:
            each = waiting.pop()
            if each not in upstream:
                upstream.add(each)
                waiting += [source for source, _ in self._pipeline.graph.edges_to(each)]
        return [error for error in self._computed.errors if error.module_id in upstream]

    def _take_over(self, module: Any, errors: list[CellError]) -> None:
        vars(module)["update"] = partial(self._update, module, errors)
        self._filled.append(module)

    def _update(self, module: Any, errors: list[CellError]) -> None:
        """What a module does in place of its own `update`."""
        if module.had_error:
            raise ModuleHadError(module)
        if module.computed:
            return
        module.logging.begin_update(module)
        self._write(module)
        for error in errors:
            culprit = module if error.module_id is None else self._objects.get(error.module_id, module)
            if culprit.had_error:
                raise ModuleHadError(culprit)
            culprit.had_error = True
            raise ModuleError(culprit, error.message, abort=error.abort, errorTrace=error.trace or None)
        module.upToDate = module.computed = True

    def _write(self, module: Any) -> None:
        """Write into the log what has been executed elsewhere, and show it in the pipeline."""
        if self._written:
            return
        self._written = True
        logging = module.logging
        log = WorkflowLog(logging)
        for each in self._executed:
            record = each.record
            log.write_beside(record, each.engine, each.host, each.is_there)
            executed = self._objects.get(record.module_id)
            if executed is None:
                continue
            if record.cached:
                logging.cached[executed.id] = True
                logging.view.set_module_not_executed(record.module_id)
            elif record.completed == 1:
                logging.signalSuccess(executed)
                logging.end_update(executed)
