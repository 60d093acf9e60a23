"""One run of an exploration: has engines do their part of the cells, and VisTrails execute them in their order as they are ready.

May import VisTrails, the cluster room and the map room; never Qt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

from parallelflow.cluster.errors import ClusterError, ControllerLost
from parallelflow.cluster.session import get_session
from parallelflow.explorations.cell_keys import known_by
from parallelflow.explorations.cells import Cell, ExplorationError
from parallelflow.explorations.cells_plan import CellsPlan, make_plan, make_run
from parallelflow.explorations.client import Client
from parallelflow.explorations.cut import cut
from parallelflow.explorations.filling import Executed, Filling
from parallelflow.explorations.outcomes import CellError, Computed
from parallelflow.map import connected, figures, lacking, plan_names, printed, running, seeds, values
from parallelflow.map.complaints import megabytes
from parallelflow.map.engine_vistrails import host
from parallelflow.map.kept import NONE, Results
from parallelflow.map.needs import environment
from parallelflow.map.outcomes import NOTHING, ExecutionRecord, LoopRecord, Text
from parallelflow.map.recorder import Recorder
from parallelflow.map.scheduler import Scheduler
from parallelflow.map.work import MapError, Report, Work
from parallelflow.texts import tr


@dataclass(frozen=True)
class CellFailure:
    """A module of a cell that has failed.

    :ivar cell: the cell.
    :ivar error: VisTrails' error.
    """

    cell: Cell
    error: Any

    def __str__(self) -> str:
        return tr("{place} ({values}): {error}", place=self.cell.place, values=self.cell.values(), error=self.error.msg)


@dataclass(frozen=True)
class Where:
    """Where engines' part of a cell was done.

    :ivar engine: the engine's number, if it is known.
    :ivar host: its machine.
    :ivar seconds: how long it took there; None if it was done in an earlier run, and taken from kept results.
    """

    engine: int | None
    host: str
    seconds: float | None


class _NothingTravels(Exception):
    """No value of what engines compute can be sent back."""


@dataclass
class _Ready:
    """A cell of which engines have done their part."""

    computed: Computed
    executed: list[Executed]
    text: Text


class Exploring:
    """One run of an exploration; the scheduler's source and sink.

    :param client: VisTrails' own side.
    :ivar cells: in the order in which they are shown.
    :ivar failures: what has failed, in the order of the cells.
    :ivar shown: how many cells are done.
    :ivar where: by cell, where engines' part of it was done.
    """

    def __init__(self, client: Client):
        self.what = tr("this exploration")
        self._client = client
        self.cells = client.exploration.cells
        self.failures: list[CellFailure] = []
        self.shown = 0
        self.where: dict[int, Where] = {}
        self._ready: dict[int, _Ready] = {}
        self._arrived: set[int] = set()
        self._going_on: set[int] = set()
        self._plan: CellsPlan
        self._kept = Results(NONE, 0, (), self._tell_progress)
        self._is_showing = False

    def run(self) -> list[CellFailure]:
        """Execute all cells.

        :returns: what has failed, in the order of the cells.
        :raises ExplorationError: if it cannot go on; the cells up to there are done.
        :raises CalledOff: if the user has called it off; likewise.
        """
        client, variables = self._client, self._client.exploration.variables
        if variables is not None:
            for cell in self.cells:
                client.interpreter.resolve_variables(variables, cell.pipeline)
        self._where = cut(self.cells)
        if not self._where.engines:
            self._say_what_is_in_the_way()
            self._in_vistrails()
            return self.failures
        recording = _Recording([])
        result = client.execute(self.cells[0], logger=recording, sinks=sorted(self._where.common))
        if result.errors or result.suspended:  # and so will it be in each cell
            self._in_vistrails()
            return self.failures
        self._common = {each.module_id: each for each in recording.executions if isinstance(each, ExecutionRecord)}
        self._plan = make_plan(self.cells, self._where, result.objects, lambda: client.tell(tr("Preparing the cells")))
        try:
            with seeds.drawn() as drawn:
                self._look_for_kept(drawn)
                for report in self._kept.reports():
                    self.take(report)
                    self._tell_progress()
                if self._kept.left:
                    self._on_engines(drawn)
            while self.shown < len(self.cells):
                self._tell_progress()
                self._show_next()
            if not self.failures:
                self._kept.completed()
        except _NothingTravels:
            self.where.clear()
            self._say_what_stays()
            self._in_vistrails()
        finally:
            self._kept.close()
            figures.close(  # of cells that are not shown
                value
                for ready in self._ready.values()
                for output in ready.computed.outputs.values()
                for value in output.ports.values()
            )
        return self.failures

    def what_is_kept(self) -> str:
        """Say, in a sentence, what the next run goes on from; '' if from nothing."""
        kept, cells = self._kept.kept, len(self.cells)
        if not kept:
            return ""
        return tr(
            "What engines have computed for {kept} of {cells} cells is kept; execute again to go on from there.",
            kept=kept,
            cells=cells,
        )

    def _look_for_kept(self, drawn: seeds.Seeds) -> None:
        """Look for which cells an earlier run has left engines' part."""
        client, plan, engines = self._client, self._plan, self._where.engines
        mode = get_session().settings.keep_results
        self._kept = Results(mode, len(self.cells), sorted(engines), self._tell_progress)
        self._kept.name = tr("Parameter exploration")
        if mode != NONE:
            locator = client.controller.locator
            workflow = str(getattr(locator, "name", None) or client.controller.name or "")
            known, presets = known_by(self.cells, engines, plan.content, workflow, self._kept.name, self._kept.turn)
            self._kept.look(known, presets, drawn, client.interpreter.filePool)

    def _tell_progress(self) -> None:
        self._client.progress(len(self._arrived), self.shown, self._kept.taken)

    # ------------------------------------------------------------ on engines

    def _on_engines(self, drawn: seeds.Seeds) -> None:
        client, plan = self._client, self._plan
        run_info = make_run(client.arguments(self.cells[0]), drawn, len(self.cells), self._kept.asked)
        try:
            session = get_session()
            left: Sequence[int] = self._kept.left
            while left:
                # Again for those after a cell that has killed the engines.
                connected.wait_for_engines(session, lambda text, fraction: client.tell(text))
                connection = session.connection
                if connection is None:  # closed by somebody else in this very moment
                    raise ControllerLost(tr("The connection to the cluster was closed. Run the exploration again."))
                if left is self._kept.left:  # nothing has run yet
                    self._check_files(connection.client)
                with plan_names.of(connection.client).named(plan.packed, lambda: plan.digest) as name:
                    work = Work(plan.packed, name, cache(environment), run_info, left, self._kept.cost())
                    running.run(session, connection, work, self, self, self._tick, self._breaking_off, self._going_on)
                # One that fails ends the scheduler's run.
                left, before = [each for each in left if each not in self._arrived], left
                assert len(left) < len(before)
        except (MapError, ClusterError) as error:
            raise ExplorationError(str(error)) from error

    def _check_files(self, client: Any) -> None:
        """Say which engines' hosts do not see which files and folders, before any cell runs.

        :raises ExplorationError: if they are files for certain; a text that names one may mean something else.
        """
        told = tr("Asking engines whether they see the files")
        for sentence, is_certain in lacking.complaints(
            client, self._plan.content.files, self._plan.named(), lambda: self._client.tell(told)
        ):
            if is_certain:
                raise ExplorationError(tr("{sentence} No cell was run.", sentence=sentence))
            self.warn(sentence)

    def _breaking_off(self) -> None:
        """Nothing to do: it takes a second at most."""

    def _tick(self, scheduler: Scheduler) -> None:
        self._tell_progress()
        if scheduler.done == 0 and scheduler.prepares:
            self._client.tell(tr("Engines are starting VisTrails and loading packages"))
        if self.shown in self._ready and not self._is_showing:
            self._show_next()

    def pack(self, indices: Sequence[int]) -> values.Packed:
        """Pack cells, as the scheduler's source."""
        return values.pack([self._plan.texts(index) for index in indices])

    def describe(self, index: int) -> str:
        """Return a cell's place and values for a message."""
        cell = self.cells[index]
        return tr("the cell in {place} ({values})", place=cell.place, values=cell.values())

    def describe_plan(self) -> str:
        """Say how large the values are that the cells have in common."""
        return tr("{size} are what the cells have in common", size=megabytes(values.size(self._plan.packed)))

    def take(self, report: Report) -> None:
        """Take over what has become of some cells, as the scheduler's sink."""
        self._kept.add(report)
        if report.broken_off:
            return
        is_taken = report.engine is None
        outcome, texts = report.outcome, report.outcome.printed.elements
        records = {record.iteration: record.inner for record in outcome.records}
        for record in outcome.records:
            ended = record.started if record.ended is None else record.ended
            seconds = None if is_taken else (ended - record.started).total_seconds()
            self.where[record.iteration] = Where(report.engine, outcome.host.name, seconds)
        between = outcome.printed.between
        for index, computed in outcome.values.items():
            executed = [
                Executed(each, report.engine, outcome.host)
                for each in records.get(index, ())
                if isinstance(each, ExecutionRecord)
            ]
            text, between = printed.joined(between, texts.get(index, NOTHING)), NOTHING
            self._arrive(index, _Ready(computed, executed, text))
        if outcome.failure is not None:
            failure = outcome.failure
            error = CellError(None, failure.message, failure.trace, failure.abort)
            self._arrive(failure.index, _Ready(Computed(errors=[error]), [], texts.get(failure.index, NOTHING)))
        if report.engine is not None:
            (self._going_on.add if outcome.goes_on else self._going_on.discard)(report.engine)

    def _arrive(self, index: int, ready: _Ready) -> None:
        self._arrived.add(index)
        self._ready[index] = ready
        computed = ready.computed
        if computed.stays and not computed.outputs and not computed.errors:
            self._stays = computed.stays
            raise _NothingTravels

    def warn(self, text: str) -> None:
        """Tell the user what does not end the run, as the scheduler's sink."""
        self._client.warn(tr("Parameter exploration: {what}", what=text))

    # ------------------------------------------------------------ in VisTrails

    def _show_next(self) -> None:
        """Execute the next cell, of which engines have done their part."""
        cell, ready, where = self.cells[self.shown], self._ready.pop(self.shown), self._where
        common = [Executed(each, None, host(), False) for each in self._common.values()]
        if cell.index > 0:  # as VisTrails writes what it takes from its cache
            now = datetime.now()
            common = [
                replace(each, record=replace(each.record, cached=1, started=now, ended=now, annotations=[], inner=[]))
                for each in common
            ]
        filling = Filling(
            self._client.interpreter,
            cell.pipeline,
            where.engines,
            set(where.wanted),
            ready.computed,
            set(self._common),
            [*common, *ready.executed],
        )
        printed.show(ready.text)
        self._is_showing = True
        try:
            with filling.in_force() as hook:
                self._note(cell, self._client.execute(cell, hook))
        finally:
            self._is_showing = False
        self.shown += 1

    def _in_vistrails(self) -> None:
        """Execute the cells that are left as VisTrails does."""
        for cell in self.cells[self.shown :]:
            self._client.progress(self.shown, self.shown)
            self._note(cell, self._client.execute(cell))
            self.shown += 1

    def _note(self, cell: Cell, result: Any) -> None:
        self.failures += [CellFailure(cell, error) for error in result.errors.values()]

    def _say_what_is_in_the_way(self) -> None:
        if not self._where.in_the_way:
            return  # nothing differs
        self._client.warn(
            tr(
                "Parameter exploration: nothing of it can run on engines, because '{module}' has to run in VisTrails. The cells are"
                " executed there, one after the other.",
                module=self._where.in_the_way[0],
            )
        )

    def _say_what_stays(self) -> None:
        module_id, why = next(iter(self._stays.items()))
        module = self.cells[0].pipeline.modules[module_id]
        self._client.warn(
            tr(
                "Parameter exploration: nothing of it can run on engines, because what '{module}' computes cannot be sent to"
                " VisTrails: {why}. The cells are executed there, one after the other.",
                module=str(module.name),
                why=why,
            )
        )


class _Recording(Recorder):
    """VisTrails' log controller for what is computed for all cells together: it goes into the first one's log."""

    def __init__(self, executions: list[ExecutionRecord | LoopRecord]):
        super().__init__(executions)
        self.executions = executions

    def start_workflow_execution(self, *arguments: Any, **more: Any) -> _Recording:
        return self

    def finish_workflow_execution(self, *arguments: Any, **more: Any) -> None:
        """Nothing to do: it is no execution of a workflow."""
