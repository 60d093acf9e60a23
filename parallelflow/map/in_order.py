"""What elements leave in the log and print, in the list's order, in whichever order outcomes arrive.

May import the map room.
"""

from __future__ import annotations

from parallelflow.map import printed
from parallelflow.map.outcomes import NOTHING, ChunkOutcome, Host, IterationRecord, Text
from parallelflow.map.provenance import LoopLog
from parallelflow.map.work import Report


class InOrder:
    """Writes elements into the log and shows what they print, in the list's order, as soon as all earlier ones are there.

    :param log: the Map's loop in the log.
    """

    def __init__(self, log: LoopLog):
        self._log = log
        self._texts: dict[int, Text] = {}
        self._ended: set[int] = set()  # elements, apart from those before `_next_text`
        self._next_text = 0
        self._waiting: dict[int, list[tuple[IterationRecord, int | None, Host]]] = {}
        self._next = 0

    def add(self, report: Report) -> None:
        """Take over a chunk's outcome."""
        self._add_text(report.outcome)
        if not self._log.kept:
            return
        for beside in report.outcome.beside:
            self._log.write_beside(beside, report.engine, report.outcome.host)
        for record in report.outcome.records:
            # Several modules on FunctionPort give an element several iterations of the same number.
            self._waiting.setdefault(record.iteration, []).append((record, report.engine, report.outcome.host))
        while self._next in self._waiting:
            self._write(self._next)
            self._next += 1

    def flush(self) -> None:
        """Write what is left: elements after one that failed."""
        for index in sorted(self._texts):
            printed.show(self._texts.pop(index))
        for index in sorted(self._waiting):
            self._write(index)

    def _add_text(self, outcome: ChunkOutcome) -> None:
        texts, between = outcome.printed.elements, outcome.printed.between
        ended = {*outcome.values, *outcome.suspended, *texts}
        if between != NOTHING and ended:  # by what came before these: children, threads
            first = min(ended)
            texts[first] = printed.joined(between, texts.get(first, NOTHING))
        else:
            printed.show(between)
        self._texts.update(texts)
        self._ended |= ended
        while self._next_text in self._ended:
            self._ended.remove(self._next_text)
            if self._next_text in self._texts:
                printed.show(self._texts.pop(self._next_text))
            self._next_text += 1

    def _write(self, index: int) -> None:
        for record, engine_id, host in self._waiting.pop(index):
            self._log.write(record, engine_id, host)
