"""A plan whose modules exist in an engine, and which runs chunks.

A chunk runs through VisTrails' own interpreter and the serial Map's own loop (`parallelflow.map.chunk_module.MapChunk`), so
that what an element does here is what it does there.

May import VisTrails and the map room. Nothing of VisTrails is imported before a plan arrives.
"""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from parallelflow.map import (
    remote_queues,  # noqa: F401  how these travel
    shared_memory,
    values,
)
from parallelflow.map.chance import chance
from parallelflow.map.engine_vistrails import Refused
from parallelflow.map.frame import trace_of
from parallelflow.map.outcomes import (
    ChunkOutcome,
    ExecutionRecord,
    Failure,
    IterationRecord,
    Jobs,
    LoopRecord,
    LostHandle,
    Suspension,
)
from parallelflow.map.ready import Ready, port_spec

if TYPE_CHECKING:
    from parallelflow.map.interrupts import Interrupts
    from parallelflow.map.plan import Content
    from parallelflow.map.short_way import GivenValue


class ReadyPlan(Ready):
    """A plan whose modules exist in this process.

    :param content: what it says.
    :param kept: the same, packed, as `shared_memory.opened` keeps it.
    :raises Refused: when it cannot run here.
    """

    def __init__(self, content: Content, kept: Sequence[Any]):
        from parallelflow.map.cacheable import for_good
        from parallelflow.map.chunk_module import chunk_module

        super().__init__(content, kept)
        self._for_good = for_good
        self._is_fresh = True
        self._pipeline.add_module(chunk_module(content.map_id, content.chunk))
        keep_apart(self._pipeline)
        self._objects, self._ids, _, _, _, errors = self._interpreter.setup_pipeline(self._pipeline)
        for error in errors.values():
            raise Refused(str(error))
        self._loop = self._objects[content.map_id]
        self._broken_off = False
        self._ever_drawn = self._shared_is_uncached = False
        self._values: list[tuple[GivenValue, int, int]] = []  # with the places of module and connector in the content
        self._uses: list[tuple[Any, int]] = []  # connectors with modules that are values, and these modules' ids
        self._connect()

    def _connect(self) -> None:
        from vistrails.core.modules.vistrails_module import ModuleConnector

        from parallelflow.map import short_way

        self._adopt_modules()
        for place, planned in enumerate(self.content.modules):
            module = self._objects[planned.module_id]
            module.list_depth = planned.list_depth
            module.signature = planned.signature
            for port in planned.enabled_outputs:
                module.enable_output_port(port)
            for number, connector in enumerate(planned.connectors):
                if connector.source is None:
                    source = short_way.GivenValue(connector.value, connector.depth, connector.origin)
                    port = connector.source_port
                    self._values.append((source, place, number))
                else:
                    source, port = self._objects[connector.source], connector.source_port
                made = ModuleConnector(source, port, port_spec(connector.spec), connector.typecheck)
                module.set_input_port(connector.port, made)
                if connector.source is not None:
                    self._uses.append((made, connector.source))
        for module in self._objects.values():
            self._look_up(module)
        for module_id in self.content.functions:
            short_way.prepare(self._objects[module_id], self.content.input_ports)
            # Of a port that it is not told, VisTrails guesses the type, and says that it cannot.
            spec = self._loop.input_specs["FunctionPort"]
            self._loop.set_input_port("FunctionPort", ModuleConnector(self._objects[module_id], "self", spec))
        self._loop.input_port_names = self.content.input_ports
        self._loop.output_port_name = self.content.output_port
        self._loop.knows_own_ports = not self.content.is_range

    def _adopt_modules(self) -> None:
        """Let what has arrived of modules that are values take their places."""
        from parallelflow.map import stand_ins

        for planned in self.content.modules:
            if planned.computed is not None:
                module = stand_ins.adopt(planned.computed, self._objects[planned.module_id])
                module.upToDate = module.computed = True
                self._objects[planned.module_id] = module
            stand_ins.place(self._objects[planned.module_id], planned.module_id)
        for connector, module_id in self._uses:
            connector.obj = self._objects[module_id]

    def _look_up(self, module: Any) -> None:
        """Have what does not change looked up once, not several times per element."""
        from parallelflow.map import short_way

        ports = {*module.inputPorts, *self.content.input_ports}
        for spec in [module.input_specs[port] for port in ports if port in module.input_specs]:
            short_way.look_up_types(spec)
        for connectors in module.inputPorts.values():
            for connector in connectors:
                short_way.look_up_types(connector.spec)

    def _prepare(self, elements: Any, indices: Sequence[int]) -> None:
        self._loop.prepare(
            elements, indices, self._run.signature, self._begin_element, self._run.first, self._figures.are_many
        )
        self._executions: list[ExecutionRecord | LoopRecord] = []
        self._executed: Counter[int] = Counter()
        self._monitor = _job_monitor(self._run.jobs)
        self._last: int | None = None
        self._drawn_by: dict[int, tuple[bool, bool]] = {}
        self._uncached: set[int] = set()
        self._from_cache: set[int] = set()

    def _run_elements(self, outcome: ChunkOutcome, interrupts: Interrupts) -> None:
        from parallelflow.map.recorder import Recorder

        result = self._interpreter.execute_pipeline(
            self._pipeline,
            self._objects,
            self._ids,
            logger=Recorder(self._executions, self._note_ended),
            sinks=[self.content.map_id],
            **self._run.info,
            module_executed_hook=[self._note_executed],
            job_monitor=self._monitor,
        )
        outcome.failure = self._failure(result[2]) or self._unnoticed()

    def _note_executed(self, own_id: int) -> None:
        self._executed[self._ids[own_id]] += 1

    def _begin_element(self, index: int) -> None:
        self._note_drawn()
        self._clear_groups()
        super()._begin_element(index)
        self._last = index

    def _clear_groups(self) -> None:
        """Have VisTrails forget what it has of Groups that were suspended: other elements would take that for theirs."""
        if len(self._interpreter._objects) > len(self._ids):
            self._interpreter.clean_modules([each for each in self._interpreter._objects if each not in self._ids])

    def _note_drawn(self) -> None:
        """Note whether the last element has drawn random numbers."""
        if self._last is None:
            return
        if any(drawn := self._drawn()):
            self._drawn_by[self._last] = drawn
        if chance.was_asked:
            self._uncached.add(self._last)
        self._ever_drawn |= chance.was_asked or any(drawn)

    def _note_ended(self, module: Any, cached: bool) -> None:
        """Note what keeps the element's result from being kept, when a module has completed."""
        if cached:
            self._from_cache.add(self._loop.index)
        elif not self._for_good(module):
            self._uncached.add(self._loop.index)
            # One that all elements share has run for those to come as well.
            self._shared_is_uncached |= any(module is each for each in self._objects.values())

    def _note_what_can_be_kept(self, outcome: ChunkOutcome) -> None:
        self._note_drawn()
        outcome.drawn, outcome.uncached = self._drawn_by, self._uncached
        if self._ever_drawn:
            # What one element has drawn, others get by a cache, or by what they share, without drawing it.
            outcome.uncached |= self._from_cache
            self._shared_is_uncached |= bool(outcome.beside)
        if self._shared_is_uncached:
            outcome.uncached.update(outcome.indices)

    def _broke_off(self, error: BaseException) -> Failure:
        self._broken_off = True
        return Failure(self._loop.index, values.describe_error(error), trace_of(error), self.content.functions[-1])

    def _complete(self, outcome: ChunkOutcome) -> None:
        outcome.values = dict(self._loop.results)
        outcome.gives_back = self._loop.gives_back
        outcome.suspended = {
            index: [self._suspension(error) for error in errors] for index, errors in self._loop.suspensions.items()
        }
        outcome.records, outcome.beside = self._records(self._executions, outcome.indices)
        outcome.executed = dict(self._executed)
        outcome.jobs = _changed_jobs(self._monitor, self._run.jobs)
        self._note_what_can_be_kept(outcome)
        self._loop.forget()

    def _begin_run(self) -> None:
        """Forget what modules that all elements share (an If's branches) have computed in an earlier run.

        Whether it may still be used, only VisTrails' own cache knows.
        """
        if not self._is_fresh:
            self._renew_values()
        self._is_fresh = False
        for planned in self.content.modules:
            if planned.computed is None:
                module = self._objects[planned.module_id]
                module.upToDate = module.computed = False

    def _files_in_series(self) -> int:
        from parallelflow.map import series

        return series.files_in_series([self._pipeline.modules[module_id] for module_id in self.content.functions])

    def _renew_values(self) -> None:
        """Let values be again what they were when the plan came: modules may have changed them in place."""
        self.content = values.unpack(shared_memory.mapped(self._kept))
        for value, place, number in self._values:
            value.value = self.content.modules[place].connectors[number].value
        self._adopt_modules()

    def _records(
        self, executions: list[ExecutionRecord | LoopRecord], indices: Sequence[int]
    ) -> tuple[list[IterationRecord], list[ExecutionRecord]]:
        """Tell the elements' executions from others, and give them the indices that they have in the user's list."""
        elements: list[IterationRecord] = []
        beside: list[ExecutionRecord] = []
        for execution in executions:
            assert isinstance(execution, ExecutionRecord)
            if execution.module_id == self.content.map_id:
                elements += [each for loop in execution.inner for each in loop.iterations]  # type: ignore[union-attr]
            else:
                beside.append(execution)
        for element in elements:
            element.iteration = indices[element.iteration]
        return elements, beside

    def is_spoilt(self) -> bool:
        """Whether a module that the elements share has failed or broken off: the plan must be made ready anew."""
        return self._broken_off or any(self._objects[planned.module_id].had_error for planned in self.content.modules)

    def _values_here(self) -> Iterator[Any]:
        yield from super()._values_here()
        yield from (each.value for each, _, _ in self._values)

    def _failure(self, errors: dict[int, Any]) -> Failure | None:
        for module_id, error in errors.items():
            trace = error.errorTrace or trace_of(error)
            culprit = self._loop.culprit if module_id == self.content.map_id else module_id
            is_own = culprit is not None and (error.module is self._loop or error.module is self._objects.get(culprit))
            return Failure(self._loop.index, error.msg, trace, culprit, getattr(error, "abort", False), is_own)
        return None

    def _unnoticed(self) -> Failure | None:
        """Whatever else has ended the loop: VisTrails drops the error of a module that is in another pipeline, for instance."""
        loop = self._loop
        left = next((each for each in loop.indices if each not in loop.results and each not in loop.suspensions), None)
        if left is None or loop.gives_back:
            return None
        self._broken_off = True
        error = loop.ended_by
        if error is None:
            return Failure(left, "It ended without a result, and VisTrails does not say why.", "", None)
        said = getattr(error, "msg", None) or values.describe_error(error)
        trace = getattr(error, "errorTrace", None) or trace_of(error)
        return Failure(loop.index, said, trace, None)

    def _own_id(self, module: Any) -> int | None:
        """The id of a module in the user's pipeline; None inside a Group, which has ids of its own."""
        inside = module.moduleInfo["pipeline"] is self._pipeline
        return module.moduleInfo["moduleId"] if inside else None

    def _suspension(self, error: Any) -> Suspension:
        from parallelflow.map.stand_ins import kind_of

        module = error.module
        return Suspension(
            error.msg,
            _travelling(error.handle),
            self._own_id(module),
            kind_of(module),
            error.name,
            self._loop.logging.log.get_iteration_from_module(module),
            module.signature,
            getattr(error, "loop_iteration", None),
            None if error.children is None else [self._suspension(child) for child in error.children],
        )


def _travelling(handle: Any) -> Any:
    try:
        values.pack(handle)
    except values.CannotTravel:
        return LostHandle()
    return handle


def keep_apart(pipeline: Any) -> None:
    """Let VisTrails tell apart modules that differ only in what arrives on their ports.

    It shares modules of the same signature, and a signature covers what is upstream; in a plan that is left out.

    :param pipeline: the plan's pipeline, which is changed; not its copies.
    """
    signature = pipeline.subpipeline_signature

    def with_id(module_id: int, visited_ids: Any = None) -> bytes:
        return hashlib.sha1(signature(module_id, visited_ids) + str(module_id).encode()).digest()

    pipeline.subpipeline_signature = with_id


def _job_monitor(jobs: Jobs | None) -> Any:
    """Make a monitor that knows what the user's knows."""
    from vistrails.core.vistrail.job import Job, JobMonitor, Workflow

    monitor = JobMonitor()
    if jobs is not None:
        known = {name: Job.from_dict(job) for name, job in copy.deepcopy(jobs).items()}
        workflow = Workflow(0, jobs=known)
        monitor.addWorkflow(workflow)
        monitor.startWorkflow(workflow)
    return monitor


def _changed_jobs(monitor: Any, before: Jobs | None) -> Jobs:
    now = {name: job.to_dict() for name, job in monitor.jobs.items()}
    return {name: job for name, job in now.items() if job != (before or {}).get(name)}
