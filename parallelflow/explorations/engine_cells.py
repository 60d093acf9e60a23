"""Cells on an engine: VisTrails' own interpreter runs the part of each pipeline that is not VisTrails' own.

What several cells have in common is computed once on an engine, by VisTrails' cache; of which only the last cell is kept.

May import VisTrails and the map room. Nothing of VisTrails is imported before a plan arrives.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from parallelflow.explorations import vtk_outputs
from parallelflow.explorations.outcomes import CellError, Computed, Output, Texts
from parallelflow.map import values
from parallelflow.map.chance import chance
from parallelflow.map.chunks import LONGEST_DURATION
from parallelflow.map.frame import trace_of
from parallelflow.map.outcomes import ChunkOutcome, ExecutionRecord, Failure, IterationRecord, LoopRecord
from parallelflow.map.ready import Ready, port_spec

if TYPE_CHECKING:
    from parallelflow.explorations.cells_plan import CellsContent
    from parallelflow.map.interrupts import Interrupts


class ReadyCells(Ready):
    """The plan of an exploration that can run in this process.

    :param content: what it says.
    :param kept: the same, packed, as `shared_memory.opened` keeps it.
    :raises Refused: when it cannot run here.
    """

    content: CellsContent

    def __init__(self, content: CellsContent, kept: Sequence[Any]):
        super().__init__(content, kept)
        self._stays: dict[int, str] = {}
        self._broken_off = False
        self._ever_unsure = False  # whether a cell has left something in VisTrails' cache of which nothing can be kept

    def is_spoilt(self) -> bool:
        """Whether a cell was broken off in a way that VisTrails' cache may not have survived."""
        return self._broken_off

    def _begin_run(self) -> None:
        from parallelflow.explorations.filling import forget

        forget(self._interpreter, self._interpreter._objects)
        self._ever_unsure = False

    def _prepare(self, elements: Any, indices: Sequence[int]) -> None:
        self._elements: Sequence[Texts] = elements
        self._index = indices[0]

    def _run_elements(self, outcome: ChunkOutcome, interrupts: Interrupts) -> None:
        end = time.perf_counter() + LONGEST_DURATION
        for index, texts in zip(outcome.indices, self._elements, strict=True):
            if outcome.values and (time.perf_counter() > end or self._figures.are_many()):
                outcome.gives_back = True
                return
            self._index = index
            self._begin_element(index)
            record = IterationRecord(index, datetime.now(), None, None, None, [])
            self._from_cache = self._is_uncached = False
            computed = self._run_cell(texts, record.inner)
            record.ended = datetime.now()
            self._note_what_can_be_kept(outcome, computed)
            if interrupts.interrupted_by_mistake:
                raise KeyboardInterrupt
            outcome.values[index] = computed
            outcome.records.append(record)

    def _note_ended(self, module: Any, cached: bool) -> None:
        """Note what keeps the cell's part from being kept, when a module has completed."""
        from parallelflow.map import cacheable

        if cached:
            self._from_cache = True
        elif not cacheable.for_good(module):
            self._is_uncached = True

    def _note_what_can_be_kept(self, outcome: ChunkOutcome, computed: Computed) -> None:
        """Note whether the cell's part can be kept."""
        drawn = self._drawn()
        if any(drawn):
            outcome.drawn[self._index] = drawn
        self._is_uncached |= chance.was_asked
        # What another cell has drawn, or asked somebody for, this one may have got by the cache.
        if self._is_uncached or not computed.is_whole or (self._ever_unsure and self._from_cache):
            outcome.uncached.add(self._index)
        self._ever_unsure |= any(drawn) or self._is_uncached

    def _broke_off(self, error: BaseException) -> Failure:
        self._broken_off = True
        return Failure(self._index, values.describe_error(error), trace_of(error), None)

    def _complete(self, outcome: ChunkOutcome) -> None:
        self._elements = ()

    def _run_cell(self, texts: Texts, executions: list[ExecutionRecord | LoopRecord]) -> Computed:
        from vistrails.core.vistrail.job import JobMonitor

        from parallelflow.explorations.filling import forget
        from parallelflow.map.engine_plan import keep_apart
        from parallelflow.map.plan import restore_parameters
        from parallelflow.map.recorder import Recorder

        interpreter = self._interpreter
        pipeline = copy.copy(self._pipeline)
        keep_apart(pipeline)
        parameters = list(self.content.parameters)
        for place, text in texts.items():
            parameters[place] = text
        restore_parameters(pipeline.module_list, parameters)
        interpreter.clean_non_cacheable_modules()
        objects, ids, added, _, to_delete, wrong = interpreter.setup_pipeline(pipeline)
        for module_id in added:
            self._connect(module_id, objects[module_id])
        if wrong:
            errors = [CellError(each, error.msg, error.errorTrace or "") for each, error in wrong.items()]
            interpreter.finalize_pipeline(pipeline, to_delete, objects, wrong, {}, {}, {})
            return Computed(errors=errors)
        needed = self._needed()
        to_delete, _, failed, executed, suspended, cached, _ = interpreter.execute_pipeline(
            pipeline,
            objects,
            ids,
            logger=Recorder(executions, self._note_ended),
            sinks=needed,
            stop_on_error=False,
            **self._run.info,
            job_monitor=JobMonitor(),
        )
        computed = self._collect(objects, set(failed) | set(suspended))
        computed.is_whole = not (failed or suspended) and bool(computed.outputs)
        computed.errors = [
            CellError(each, error.msg, error.errorTrace or "", getattr(error, "abort", False))
            for each, error in failed.items()
        ]
        interpreter.finalize_pipeline(pipeline, to_delete, objects, failed, executed, suspended, cached)
        kept = {module.id for module in objects.values()}
        forget(interpreter, interpreter._objects.keys() - kept)
        return computed

    def _connect(self, module_id: int, module: Any) -> None:
        """Let values arrive on ports of a module that come from outside of the plan, and have it compute those that go there."""
        from vistrails.core.modules.vistrails_module import ModuleConnector

        from parallelflow.map.short_way import GivenValue

        for port in self.content.wanted.get(module_id, ()):
            module.enable_output_port(port)

        for connector in self.content.given.get(module_id, ()):
            source = GivenValue(connector.value, connector.depth, connector.origin)
            made = ModuleConnector(source, connector.source_port, port_spec(connector.spec), connector.typecheck)
            module.set_input_port(connector.port, made)

    def _needed(self) -> list[int]:
        """What is to be computed: what VisTrails asks for, but for modules of which it is known that they have to run there."""
        return [each for each in self._wanted() if each not in self._stays]

    def _wanted(self) -> dict[int, set[str]]:
        """The ports that VisTrails asks for: also those of what is connected to modules that have to run there."""
        wanted = {each: set(ports) for each, ports in self.content.wanted.items()}
        waiting = [each for each in wanted if each in self._stays]
        seen = set(waiting)
        while waiting:
            for source, number in self._pipeline.graph.edges_to(waiting.pop()):
                wanted.setdefault(source, set()).add(self._pipeline.connections[number].source.name)
                if source in self._stays and source not in seen:
                    seen.add(source)
                    waiting.append(source)
        return wanted

    def _collect(self, objects: dict[int, Any], failed: set[int]) -> Computed:
        """Gather what VisTrails asks for, and find out what of it cannot travel."""
        computed, changed = Computed(), True
        while changed:
            changed = False
            for module_id, ports in self._wanted().items():
                module, known = objects[module_id], computed.outputs.get(module_id)
                if module_id in self._stays or module_id in failed or not module.upToDate:
                    continue
                if known is not None and known.ports.keys() == ports:
                    continue
                changed = True
                found, asked = (
                    {port: module.outputPorts.get(port) for port in ports},
                    self.content.wanted.get(module_id, ()),
                )
                taken = {port: vtk_outputs.taken(value) if port in asked else value for port, value in found.items()}
                output = Output(taken, module.list_depth)
                why = _why_not(module, output)
                if why is None:
                    computed.outputs[module_id] = output
                else:
                    self._stays[module_id] = why
                    computed.outputs.pop(module_id, None)
        computed.stays = dict(self._stays)
        return computed


def _why_not(module: Any, output: Output) -> str | None:
    """Why outputs of a module cannot be sent; None if they can."""
    from vistrails.core.modules.basic_modules import Generator

    for port, value in output.ports.items():
        if isinstance(value, Generator):
            return f"the value on port '{port}' is a stream"
        if value is module:
            return f"the module itself is the value on port '{port}'"
        try:
            values.pack(value)
        except values.CannotTravel as error:
            return f"the value on port '{port}': {error}"
    return None
