"""One execution of a Map, or of another loop: checks the input, has the elements run, and gives back what the serial one would.

May import VisTrails, the cluster room and the map room.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

from vistrails.core import debug
from vistrails.core.modules.module_registry import ModuleRegistryException
from vistrails.core.modules.vistrails_module import (
    Module,
    ModuleError,
    ModuleHadError,
    ModuleSuspended,
    ModuleWasSuspended,
)

from parallelflow.cluster.errors import ClusterError, ControllerLost
from parallelflow.cluster.session import get_session
from parallelflow.map import (
    connected,
    garbage,
    kept,
    lacking,
    plan_names,
    progress,
    running,
    seeds,
    series,
    stand_ins,
)
from parallelflow.map.elements import Elements
from parallelflow.map.in_order import InOrder
from parallelflow.map.looping import Looping, nothing_connected
from parallelflow.map.needs import environment
from parallelflow.map.outcomes import Failure, Jobs, Suspension
from parallelflow.map.plan import Plan, make_plan, make_run
from parallelflow.map.progress import ChunkProgress, MapProgress
from parallelflow.map.provenance import LoopLog
from parallelflow.map.scheduler import Scheduler
from parallelflow.map.work import MapError, Report, Work
from parallelflow.texts import tr

# After how many seconds in which nothing of a Map runs it is said that all engines are busy.
_BUSY_AFTER = 5.0


class Execution:
    """One execution of a Map, or of another loop.

    :param module: the loop, called upon to compute; a `parallelflow.map.looping.Loop` as well.
    :param looping: what it runs over.
    """

    def __init__(self, module: Any, looping: Looping):
        self.module = module
        self.name = type(module).__name__
        self.looping = looping
        self.elements, self.ports = looping.elements, looping.ports
        self.source = Elements(looping, self._what(), self._pause)
        self.functions = self._functions()
        self.reachable = _with_upstream(self.functions)
        self.executed: dict[int, Module] = {}
        self.results: dict[int, Any] = {}  # that wait for earlier ones
        self.taken = 0  # how many the module has been given, or are suspended
        self.suspended: dict[int, list[Suspension]] = {}
        self.failure: Failure | None = None
        self.failed_on: tuple[int | None, str] = None, ""  # the engine, if it is known, and its host
        self.started = 0.0
        self.fraction = 0.0  # of the elements: how many are done
        self.said_busy = False
        self.going_on: set[int] = set()  # engines on which something goes on that elements have started

    def _what(self) -> str:
        """What runs, as messages call it."""
        return tr("this {loop}", loop=self.name)

    def _functions(self) -> list[Module]:
        """The modules that run for each element."""
        return [connector.obj for connector in self.module.inputPorts.get("FunctionPort", ())]

    def run(self) -> None:
        """Run all elements; the module has been given the results afterwards.

        :raises ModuleError: attributed to the module that the serial loop would attribute it to.
        :raises ModuleSuspended: when elements were suspended; all others have run.
        """
        module, count = self.module, len(self.elements)
        loop = module.logging.begin_loop_execution(module, count)
        if count == 0:
            debug.warning(tr("{loop}: there is no element, so nothing was run; the result is empty.", loop=self.name))
        else:
            self._check()
            self._check_functions(loop)
            self.log = LoopLog(module.logging, loop, self.looping.first)
            self.written = InOrder(self.log)
            with seeds.drawn() as self.seeds:
                self._in_parallel()
            self._raise_what_went_wrong()
        if loop is not None:
            loop.end_loop_execution()

    # ------------------------------------------------------------ before

    def _make_plan(self) -> Plan:
        for function in self.functions:
            function.logging.begin_update(function)
            function.logging.set_computing(function)
        return make_plan(self.module, self.functions, self.looping, self._pause)

    def _check(self) -> None:
        """Check what the serial Map checks, once for the whole list."""
        if not self.functions:
            raise nothing_connected(self.module)
        if self.looping.is_range:
            if self.ports and self.looping.first < 0:  # VisTrails makes no signature of them
                lowest = self.looping.first
                raise ModuleError(
                    self.module, tr("LowerBound is {number}: numbers below 0 cannot go to a port.", number=lowest)
                )
            return
        if not self.ports and any(not isinstance(element, tuple) or element for element in self.elements):
            raise ModuleError(
                self.module, tr("InputPort names no port: give the module's input ports as a list, ['port'].")
            )
        for function in self.functions:
            missing = [port for port in self.ports if function.input_specs and port not in function.input_specs]
            if missing:
                there = ", ".join(function.input_specs_order)
                raise ModuleError(
                    self.module,
                    tr(
                        "InputPort names '{port}', but the module on FunctionPort has no such input port. It has: {there}.",
                        port=missing[0],
                        there=there,
                    ),
                )
            self._check_types(function)

    def _check_functions(self, loop: Any) -> None:
        """End where the serial Map ends: at the first element, if a function module has failed or waits already."""
        for function in self.functions:
            if function.had_error or function.was_suspended:
                module = copy.copy(function)
                if loop is not None:
                    loop.begin_iteration(module, self.looping.first)
                raise ModuleHadError(module) if function.had_error else ModuleWasSuspended(module)

    def _check_types(self, function: Module) -> None:
        try:
            self.module.typeChecking(copy.copy(function), self.ports, _one_of_each_kind(self.elements))
        except ModuleError as error:
            index = self._first_of_wrong_type(function)
            if index is None:
                raise
            first = tr("The first is {element}.", element=self.source.describe(index))
            raise ModuleError(self.module, f"{error.msg} {first}") from error

    def _first_of_wrong_type(self, function: Module) -> int | None:
        for index, element in enumerate(self.elements):
            try:
                self.module.typeChecking(copy.copy(function), self.ports, [element])
            except ModuleError:
                return index
        return None

    # ------------------------------------------------------------ meanwhile

    def _in_parallel(self) -> None:
        module = self.module
        plan = self._make_plan()
        self.source.plan = plan
        self.kept = kept.Results(kept.NONE, len(self.elements), (), self._pause)
        try:
            with stand_ins.at_home(self._own_module):
                self._take_kept(plan)
                if self.kept.left:
                    self._on_cluster(plan)
            if self.failure is None and not self.suspended:
                self.kept.completed()  # what is to go does not have to be written first
        except (MapError, ClusterError) as error:
            self.kept.close()
            # What failed with an element says more than what its failure brought about.
            if self.failure is None:
                raise ModuleError(module, _sentences(str(error), self.kept.sentence())) from error
        finally:
            progress.publish(None)
            self.kept.close()
            self.written.flush()

    def _take_kept(self, plan: Plan) -> None:
        with garbage.in_steps() as collect:

            def pause() -> None:
                collect()
                self._pause()

            self.kept = kept.of_map(self.module, plan, self.elements, self.seeds, pause)
            for report in self.kept.reports():
                self.take(report)
                collect()
                self._publish(0)

    def _on_cluster(self, plan: Plan) -> None:
        """Have the elements run of which no result is kept."""
        session = get_session()
        connected.wait_for_engines(session, self._starting)
        connection = session.connection
        if connection is None:  # closed by somebody else in this very moment
            raise ControllerLost(tr("The connection to the cluster was closed. Run the workflow again."))
        self._check_files(connection.client, plan.content.files)
        run_info = make_run(self.module, self._known_jobs(), self.seeds, self.looping, self.kept.asked)
        with plan_names.of(connection.client).named(plan.packed, lambda: plan.digest, self._pause) as name:
            work = Work(plan.packed, name, cache(environment), run_info, self.kept.left, self.kept.cost())
            self.started = time.time()
            running.run(session, connection, work, self.source, self, self._tick, self._breaking_off, self.going_on)

    def _check_files(self, client: Any, on_ports: list[str]) -> None:
        """Say which engines' hosts do not see which files and folders, before any element runs.

        :raises MapError: if they are files for certain; a text that names one may mean something else.
        """
        told = tr("Asking engines whether they see the files")
        for sentence, is_certain in lacking.complaints(
            client, on_ports, self.elements, lambda: self._starting(told, 0.0)
        ):
            if is_certain:
                raise MapError(tr("{sentence} No element was run.", sentence=sentence))
            self.warn(sentence)

    def _pause(self) -> None:
        """Give the window its turn."""
        self.module.logging.update_progress(self.module, self.fraction)

    def _starting(self, text: str, fraction: float) -> None:
        progress.tell(text)
        self._pause()

    def _breaking_off(self) -> None:
        progress.tell(tr("Waiting for engines to break off what they run"))

    def _tick(self, scheduler: Scheduler) -> None:
        self._publish(scheduler.done, scheduler.under_way())
        if scheduler.done == 0 and scheduler.prepares:
            progress.tell(tr("Engines are starting VisTrails and loading packages"))
        elif scheduler.waits_for_engines > _BUSY_AFTER:
            # They may be busy for a good reason, with what others have them do; so this is no error.
            busy = tr("Waiting for an engine: all of them are busy with something else")
            progress.tell(busy)
            if not self.said_busy:
                self.said_busy = True
                where = tr("Packages > Parallel Flow > Show information on the cluster shows them.")
                self.warn(f"{busy}. {where}")
        self.fraction = (scheduler.done + self.kept.taken) / len(self.elements)
        self._pause()

    def _publish(self, done: int, under_way: tuple[ChunkProgress, ...] = ()) -> None:
        """Say how far it has come."""
        name, taken = type(self.functions[-1]).__name__, self.kept.taken
        progress.publish(MapProgress(name, len(self.elements), done + taken, self.started, under_way, taken))

    def take(self, report: Report) -> None:
        """Take over a chunk's outcome, as the scheduler's sink."""
        outcome = report.outcome
        self.results.update(outcome.values)
        self.suspended.update(outcome.suspended)
        failure = None if report.broken_off else outcome.failure
        if failure is not None and (self.failure is None or failure.index < self.failure.index):
            self.failure = failure
            self.failed_on = (report.engine, outcome.host.name if report.engine is not None else "")
        for module_id, times in outcome.executed.items():
            module = self.reachable.get(module_id)
            if module is not None:
                for _ in range(times):
                    self.module.logging.signalSuccess(module)
                self.executed[module_id] = module
        self._learn_jobs(outcome.jobs)
        series.go_on_after(outcome.after_series)
        if report.engine is not None:
            (self.going_on.add if outcome.goes_on else self.going_on.discard)(report.engine)
        self.written.add(report)
        self.kept.add(report)
        self._hand_over()

    def _hand_over(self) -> None:
        """Give the module the results before which none is missing any more; what it raises is raised."""
        while self.taken in self.results or self.taken in self.suspended:
            index, self.taken = self.taken, self.taken + 1
            if index not in self.suspended:
                try:
                    self._take_result(index, self.results.pop(index))
                except BaseException:
                    self.taken = len(self.elements)  # what still comes in is for the log only
                    self._end_upstream()
                    raise

    def _take_result(self, index: int, result: Any) -> None:
        self.module.take_result(self.source.own(index), result)

    def warn(self, text: str) -> None:
        """Tell the user what does not end the run, as the scheduler's sink."""
        debug.warning(f"{self.name}: {text}")

    def _job_monitor(self) -> Any:
        return self.module.moduleInfo.get("job_monitor")

    def _known_jobs(self) -> Jobs | None:
        monitor = self._job_monitor()
        if monitor is None or monitor.currentWorkflow() is None:
            return None
        return {name: job.to_dict() for name, job in monitor.jobs.items()}

    def _learn_jobs(self, jobs: Jobs) -> None:
        monitor = self._job_monitor()
        if monitor is not None:
            for name, job in jobs.items():
                monitor.addJob(name, job["parameters"], job["name"], job["finished"])

    # ------------------------------------------------------------ after

    def _end_upstream(self) -> None:
        for module in self.executed.values():
            if module not in self.functions:
                self.module.logging.end_update(module)

    def _raise_what_went_wrong(self) -> None:
        self._end_upstream()
        if self.failure is not None:
            raise self._error(self.failure)
        if self.suspended:
            children = [
                self._suspended(each, index) for index in sorted(self.suspended) for each in self.suspended[index]
            ]
            raise ModuleSuspended(
                self.module,
                tr(
                    "function module suspended in {some}/{all} iterations",
                    some=len(children),
                    all=len(self.elements),
                ),
                children=children,
            )
        self._end_functions()

    def _end_functions(self) -> None:
        for function in self.functions:
            self.module.logging.end_update(function)

    def _error(self, failure: Failure) -> ModuleError:
        culprit = self.reachable[failure.module_id] if failure.is_own else self._carrier(failure.module_id)  # type: ignore[index]
        element, (engine_id, host) = self.source.describe(failure.index), self.failed_on
        if engine_id is None:
            which = tr("This was {element}.", element=element)
        else:
            which = tr("This was {element} on engine {engine} on {host}.", element=element, engine=engine_id, host=host)
        return ModuleError(
            culprit,
            f"{failure.message}\n{_sentences(which, self.kept.sentence())}",
            abort=failure.abort,
            errorTrace=failure.trace or None,
        )

    def _carrier(self, module_id: int | None) -> Module:
        """The module that an error belongs to: a copy of the workflow's, as in the serial Map."""
        return self.module if module_id is None else copy.copy(self.reachable[module_id])

    def _suspended(self, suspension: Suspension, index: int | None = None) -> ModuleSuspended:
        if suspension.module_id is None:
            module = _stand_in(suspension)
        else:
            module = self._carrier(suspension.module_id)
            module.signature = suspension.signature
            if suspension.position is not None:
                self.log.assign(module, suspension.position if index is None else index)
        children = suspension.children
        error = ModuleSuspended(
            module,
            suspension.message,
            handle=suspension.handle,
            children=None if children is None else [self._suspended(child) for child in children],
        )
        if suspension.iteration is not None:
            error.loop_iteration = suspension.iteration
        error.name = suspension.name
        return error

    def _own_module(self, module_id: int, element: int | None) -> Module | None:
        """A copy of a module of the workflow that comes back as a value."""
        if module_id not in self.reachable:
            return None
        module = self._carrier(module_id)
        if element is not None:
            self.module.setInputValues(module, self.ports, self.elements[element], element)
        return module


def _stand_in(suspension: Suspension) -> Module:
    """A module inside a Group, which exists on an engine only: what VisTrails' job monitor asks of it."""
    try:
        module = stand_ins.make(suspension.kind)
    except ModuleRegistryException:
        module = Module()
    module.signature = suspension.signature
    module.id = None  # of no module in the workflow
    return module


def _with_upstream(modules: list[Module]) -> dict[int, Module]:
    """Return modules of the workflow and all that is upstream of them, by id."""
    found: dict[int, Module] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if getattr(module, "moduleInfo", {}).get("pipeline") is None or module.moduleInfo["moduleId"] in found:
            continue  # a preset's constant, or seen before
        found[module.moduleInfo["moduleId"]] = module
        waiting += [connector.obj for connectors in module.inputPorts.values() for connector in connectors]
    return found


# VisTrails' check asks no more of a value of these than which it is.
_PLAIN_TYPES = frozenset({bool, int, float, str, list})


def _one_of_each_kind(elements: Sequence[Any]) -> Sequence[Any]:
    """Leave out elements that VisTrails' check of types takes for the same as an earlier one.

    It takes 25 µs for each, so the whole list would block VisTrails' window for 2.5 s if it has 100,000.
    """
    if {list, tuple}.issuperset(map(type, elements)) and len(set(map(len, elements))) == 1:
        kinds = set(map(type, itertools.chain.from_iterable(elements)))
        if len(kinds) == 1 and _PLAIN_TYPES.issuperset(kinds):
            return elements[:1]  # nearly all lists; what follows blocks the window for 0.1 s if it has 100,000 elements
    seen, found = set(), []
    for element in elements:
        if type(element) in (tuple, list):
            kind = tuple(map(type, element))
            if kind in seen:
                continue
            if _PLAIN_TYPES.issuperset(kind):
                seen.add(kind)
        found.append(element)
    return found


def _sentences(*sentences: str) -> str:
    return " ".join(filter(None, sentences))
