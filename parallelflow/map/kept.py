"""A Map's kept results: those that are there are taken before anything runs, those that come are kept.

What lies in the store for an element is what `values` made of its result, and a note: where it was computed, what was executed,
and the files that the result names. An element is known by what `identity` says, and no result is taken without that.

May import VisTrails, the cluster room, `parallelflow.results` and the map room.
"""

from __future__ import annotations

import datetime
import logging
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vistrails.core import debug
from vistrails.core.interpreter.base import AbortExecution
from vistrails.core.modules.vistrails_module import Module, ModuleError
from vistrails.core.system import current_dot_vistrails

from parallelflow.cluster.session import get_session
from parallelflow.map import named_files, values
from parallelflow.map.experience import Cost, from_durations
from parallelflow.map.hashing import Unknown
from parallelflow.map.identity import PlanIdentity, of_plan
from parallelflow.map.keepable import Keepable
from parallelflow.map.loaded_code import Asked
from parallelflow.map.named_files import Kept
from parallelflow.map.outcomes import ChunkOutcome, ExecutionRecord, Host, IterationRecord
from parallelflow.map.plan import Plan
from parallelflow.map.provenance import COMPUTED_KEY
from parallelflow.map.seeds import Seeds
from parallelflow.map.work import Report
from parallelflow.results.file import Header
from parallelflow.results.store import PLACE, Found, Store
from parallelflow.results.writer import Writer
from parallelflow.texts import tr

_log = logging.getLogger(__name__)

FAILED, ALL, NONE = MODES = "failed", "all", "none"

# The optional port of Map and of its like that says which, in place of the preference.
PORT = "KeepResults"

# An element that takes less, in seconds, is cheaper to run than to keep.
SHORTEST = 0.05

# So many bytes are read again in a second, at least: an element that takes less than its result takes to be read is not kept.
READING = 200e6

# Until its Map has completed, a result is kept only while that has kept a core busy for no larger share of the Map's time than
# this, and `FREE` seconds. What one result takes up to `CHEAP`, in seconds, does not count: it is little, whatever elements take.
SHARE = 0.1
FREE = 0.1
CHEAP = 0.002

# So many are taken at once, between which the window gets its turn.
_PIECE = 200
_TURN = 0.04  # seconds


def folder() -> Path:
    """Return the folder in which results are kept, among what VisTrails has of the user's."""
    return Path(current_dot_vistrails()) / PLACE


def of_map(module: Any, plan: Plan, elements: Sequence[Any], seeds: Seeds, pause: Callable[[], None]) -> Results:
    """Return what is kept of a Map.

    :param module: the Map, or another loop, in the middle of its execution.
    :param plan: its plan.
    :param elements: for each element the values that go to the mapped ports.
    :param seeds: what the elements' random numbers follow from.
    :param pause: gives the window its turn; may raise.
    :raises ModuleError: if its port KeepResults has a value that is none of `MODES`.
    """
    mode = get_session().settings.keep_results
    if hasattr(module, "looping") and module.has_input(
        PORT
    ):  # a module that loops by itself may have a port of that name
        mode = module.get_input(PORT)
        if mode not in MODES:
            raise ModuleError(
                module, tr("KeepResults is {mode}; it must be 'failed', 'all' or 'none'.", mode=values.short(mode))
            )
    results = Results(mode, len(elements), [each.module_id for each in plan.content.modules], pause)
    results.name = type(module).__name__
    if mode != NONE:
        known = of_plan(module, plan.content, results.turn)
        results.look(known, elements, seeds, module.interpreter.filePool)
    return results


class Results:
    """What is kept of one run of a Map; before `look`, nothing.

    :param mode: one of `MODES`.
    :param count: how many elements there are.
    :param modules: the ids of the plan's modules, in the plan's order.
    :param pause: gives the window its turn; may raise.
    :ivar taken: how many results were taken.
    :ivar left: the indices of the elements that are to run, once `reports` has come to its end.
    :ivar asked: what engines are to say of their code; None if nothing is kept.
    :ivar name: what the user calls the module, Map for instance.
    """

    def __init__(self, mode: str, count: int, modules: Sequence[int], pause: Callable[[], None]):
        self.taken = 0
        self.left: Sequence[int] = range(count)
        self.asked: Asked | None = None
        self.name = "Map"
        self.turn = _Turn(pause)
        self._mode = mode
        self._count = count
        self._modules = modules
        self._warned = False
        # Elements whose results are there and cannot be used, and how long they took.
        self._not_taken: dict[int, float] = {}
        self._unpacker = values.Unpacker()
        self._store: Store | None = None
        self._found: Found
        self._writer: Writer | None = None  # until the first result is kept
        self._identity: PlanIdentity
        self._began = self._spent = 0.0
        self._keepable: Keepable
        self._pool: Any

    def look(self, known: PlanIdentity | str, elements: Sequence[Any], seeds: Seeds, pool: Any) -> None:
        """Look what is there in the user's store, and keep what comes, if it can be kept.

        :param known: what the plan is known by, or a sentence why nothing of it can be kept.
        :param elements: what each element is known by: any values.
        :param seeds: what the elements' random numbers follow from.
        :param pool: VisTrails' file pool.
        """
        if isinstance(known, str):
            self._cannot(known)
            return
        self._began = time.monotonic()
        limit = round(get_session().settings.results_limit * 1e9)
        try:
            self._use(Store(folder(), limit), known, Keepable(known, elements, seeds, pool.directory, self.turn), pool)
        except Unknown as error:
            self._cannot(str(error))

    def _cannot(self, why: str) -> None:
        # Only who has asked for all to be kept is told.
        if self._mode == ALL:
            self._warn(tr("Results are not kept: {why}", why=why))

    def _use(self, store: Store, identity: PlanIdentity, keepable: Keepable, pool: Any) -> None:
        self._identity, self._keepable, self._pool = identity, keepable, pool
        self._found = store.find(identity.begin, lambda: identity.name, self.turn)
        self._store, self.asked = store, Asked(list(identity.code.units), SHORTEST)
        if self._found.later:
            self._warn(
                tr(
                    "A later version of Parallel Flow has kept results in {folder}, which this one does not use.",
                    folder=store.folder,
                )
            )

    # ------------------------------------------------------------ out of the store

    def reports(self) -> Iterator[Report]:
        """Take what is kept.

        :returns: the results as outcomes, with what the log is to say.
        """
        if self._store is None:
            return
        try:
            if self._found:
                yield from self._take_all()
        finally:
            self._found.close()
        self._keepable.prepare()

    def _take_all(self) -> Iterator[Report]:
        outcomes: dict[str, ChunkOutcome] = {}
        left = []
        for index in range(self._count):
            if not self._take(index, outcomes):
                left.append(index)
            if index % _PIECE == _PIECE - 1:
                yield from (Report(None, outcome) for outcome in outcomes.values())
                outcomes = {}
            self.turn()
        self.left = left
        yield from (Report(None, outcome) for outcome in outcomes.values())

    def _take(self, index: int, outcomes: dict[str, ChunkOutcome]) -> bool:
        for key in self._keepable.keys(index):
            entry = self._found.entry(key)
            if entry is None:
                continue
            self._not_taken[index] = entry.seconds
            if (read := self._found.read(key, self.turn)) is None:
                continue
            try:
                host, iterations, pool_files, others = pickle.loads(read[0])
                contents = len(pool_files)
                kept = Kept(read[1][contents:], list(map(bytes, read[1][:contents])), pool_files, others)
                value = named_files.unpack(kept, self._pool, self._unpacker.unpack, self.turn)
            except AbortExecution:
                raise
            except values.RAISED_BY_CLASSES as error:
                _log.info("a kept result cannot be used, and its element runs: %s", error)
                continue
            outcome = outcomes.get(host[0])
            if outcome is None:
                outcome = outcomes[host[0]] = ChunkOutcome(replace(Host(*host), utc_offset=_utc_offset()), 0.0)
            outcome.values[index] = value
            outcome.records += self._records(index, iterations, entry.when)
            self.taken += 1
            del self._not_taken[index]
            return True
        return False

    def _records(self, index: int, iterations: list[list[_Execution]], when: float) -> list[IterationRecord]:
        now = datetime.datetime.now()
        computed = COMPUTED_KEY, str(datetime.datetime.fromtimestamp(round(when)))
        records = []
        for iteration in iterations:
            inner: list[Any] = []
            for kind, module, name, group_type, noted in iteration:
                module_id = self._modules[module] if module >= 0 else -1 - module
                notes = [*noted, computed]
                inner.append(ExecutionRecord(kind, module_id, name, group_type, 1, now, now, 1, None, notes, []))
            records.append(IterationRecord(index, now, now, 1, None, inner))
        return records

    def cost(self) -> Cost | None:
        """Return what is known of the elements that are left, once `reports` has come to its end.

        :returns: what those took that are kept, and what they took themselves where that cannot be used any more.
        """
        if self._store is None:
            return None
        entries = self._found.entries()
        return from_durations(
            [each.seconds for each in entries], max((each.size for each in entries), default=0), self._not_taken
        )

    # ------------------------------------------------------------ into the store

    def add(self, report: Report) -> None:
        """Keep what a chunk has brought, as far as it can be kept.

        :param report: what the scheduler reports.
        """
        if self._store is None or report.engine is None:
            return
        self._tell_trouble()
        if report.outcome.longest < SHORTEST:  # as in most chunks
            return
        self._keepable.hear(report)
        if self._keepable.why_not:
            self._warn(tr("Results are not kept: {why}", why=self._keepable.why_not))
        results = report.outcome.values
        seconds = dict.fromkeys(results, 0.0)
        for record in report.outcome.records:
            if record.ended is not None and record.iteration in seconds:
                seconds[record.iteration] += (record.ended - record.started).total_seconds()
        iterations: dict[int, list[IterationRecord]] = {}
        for record in report.outcome.records:
            iterations.setdefault(record.iteration, []).append(record)
        for index, value in results.items():
            if seconds[index] >= SHORTEST and self._may_be_kept():
                begun = time.thread_time()
                self._add(report, index, value, seconds[index], iterations.get(index, []))
                self._spent += max(0.0, time.thread_time() - begun - CHEAP)

    def _may_be_kept(self) -> bool:
        spent = self._spent
        if self._writer is not None:
            if self._writer.trouble is not None:
                return False
            spent += max(0.0, self._writer.seconds - CHEAP * self._writer.written)
        return self._mode == ALL or spent <= FREE + SHARE * (time.monotonic() - self._began)

    def _add(self, report: Report, index: int, value: Any, seconds: float, records: list[IterationRecord]) -> None:
        executions = [self._executions(record) for record in records]
        try:
            key, kept = self._keepable.kept(report, index, value, seconds * READING, without=(Module,))
            note = pickle.dumps((_plain(report.outcome.host), executions, kept.files, kept.others), protocol=5)
            writer = self._writer or self._begin()
        except AbortExecution:
            raise
        except Exception as error:  # it cannot be kept or travel, or a module has noted on its execution what cannot
            _log.debug("the result of element %d is not kept: %s", index, error)
            return
        parts = [*kept.contents, *kept.packed]
        if seconds >= values.size(parts) / READING:
            writer.add(key, seconds, time.time(), note, parts, self.turn, waits=self._mode == ALL)

    def _begin(self) -> Writer:
        assert self._store is not None
        identity = self._identity
        header = Header(identity.name, identity.workflow, identity.map_name, self._mode == FAILED)
        self._writer = self._store.writer(header)
        return self._writer

    def _executions(self, record: IterationRecord) -> list[_Execution]:
        return [
            (each.kind, self._place(each.module_id), each.name, each.group_type, each.annotations)
            for each in record.inner
            if isinstance(each, ExecutionRecord)
        ]

    def _place(self, module_id: int) -> int:
        """A module's place in the plan: its id may be another when the result is taken. Below 0 for one that is in none."""
        return self._modules.index(module_id) if module_id in self._modules else -1 - module_id

    # ------------------------------------------------------------ the end

    def completed(self) -> None:
        """Take note that all elements have completed."""
        if self._store is not None and self._mode == FAILED:
            self._store.completed(self._found, self._writer)
        self.close()

    def close(self) -> None:
        """Wait until everything has been written."""
        if self._store is None or self._writer is None:
            return
        try:
            self._writer.close(self.turn)
        finally:
            self._store.written(self._writer)
        self._tell_trouble()

    @property
    def kept(self) -> int:
        """How many results the next execution may take; some may still be being written before `close`."""
        return self.taken + (self._writer.written if self._writer is not None else 0)

    def sentence(self) -> str:
        """Say what the next execution goes on from, '' if from nothing."""
        if not self.kept:
            return ""
        return tr(
            "{kept} of {count} elements are kept; execute again to go on from there.",
            kept=self.kept,
            count=self._count,
        )

    def _tell_trouble(self) -> None:
        if self._writer is not None and self._writer.trouble is not None:
            self._warn(self._writer.trouble)

    def _warn(self, sentence: str) -> None:
        if not self._warned:
            self._warned = True
            debug.warning(f"{self.name}: {sentence}")


# Kind, module's place, name, group's type, annotations.
_Execution = tuple[str, int, str, str, list[tuple[str, Any]]]


def _plain(host: Host) -> tuple[Any, ...]:
    """A host without its class, which VisTrails would take long to find for each result."""
    return host.name, host.pid, host.utc_offset, host.machine


class _Turn:
    """Gives the window its turn, as often as that is due.

    :param pause: does it; may raise.
    """

    def __init__(self, pause: Callable[[], None]):
        self._pause = pause
        self._last = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now > self._last + _TURN:
            self._pause()
            self._last = time.monotonic()


def _utc_offset() -> float:
    here = datetime.datetime.now().astimezone().utcoffset()
    return here.total_seconds() if here is not None else 0.0
