"""The frame in which chunks of elements run on an engine, whatever the elements are: streams, interrupts, a plain Python, the time.

`parallelflow.map.ready` has VisTrails in it, `parallelflow.map.engine_function` a function.

May import the map room; nothing of VisTrails.
"""

from __future__ import annotations

import itertools
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from parallelflow.map import values
from parallelflow.map.chunks import LONG
from parallelflow.map.left_running import known
from parallelflow.map.outcomes import ChunkOutcome, Failure, Host
from parallelflow.map.plain_python import plain_python
from parallelflow.map.streams import of_elements

if TYPE_CHECKING:
    from parallelflow.map.interrupts import Interrupts


class CannotRead(Exception):
    """Elements cannot be unpickled here; `str()` says why."""


class Frame(ABC):
    """A plan that can run in this process.

    :param content: what it says.
    :param kept: the same, packed, as `shared_memory.opened` keeps it.
    """

    def __init__(self, content: Any, kept: Sequence[Any]):
        self.content = content
        self._kept = kept

    @property
    def nbytes(self) -> int:
        """About how many bytes it occupies: its values, and what they are made of anew in each run."""
        return 2 * values.size(self._kept)

    @abstractmethod
    def host(self) -> Host:
        """Return the machine and process that this is."""

    @abstractmethod
    def is_spoilt(self) -> bool:
        """Whether it must be made ready anew before another chunk runs."""

    def run(self, indices: Sequence[int], run_info: bytes, packed: Any, interrupts: Interrupts) -> ChunkOutcome:
        """Run a chunk.

        :param indices: the indices of the chunk's elements.
        :param run_info: what there is to know of this run, as `work.Work` has it.
        :param packed: the elements, a list, as `values.pack` made it.
        :param interrupts: SIGINT, held back; elements are what it ends.
        :returns: what became of the elements; the failure of one is in it.
        :raises CannotRead: when the elements cannot be unpickled; none has run.
        """
        outcome = ChunkOutcome(self.host(), 0.0, indices)
        self._enter(run_info)
        try:
            elements = values.unpack(packed)
        except values.RAISED_BY_CLASSES as error:  # whatever the elements' classes do
            raise CannotRead(values.describe_error(error)) from error
        streams = of_elements()
        self._begun: list[tuple[int, float]] = []
        self._prepare(elements, indices)
        streams.warned.begin()
        with streams.leading_here(), plain_python().in_force():
            started = time.perf_counter()
            try:
                with interrupts.let_through():
                    self._run_elements(outcome, interrupts)
            except BaseException as error:  # SystemExit and the like, too
                outcome.failure = self._broke_off(error)
            ended = time.perf_counter()
            streams.warned.look()
            outcome.seconds = ended - started
        # Before the text: what a thread prints that ends meanwhile is in it then.
        outcome.goes_on = known().threads() or known().children()
        streams.ask()
        try:
            times = [*self._begun, (-1, ended)]
            took = [(index, end - begun) for (index, begun), (_, end) in itertools.pairwise(times)]
            outcome.longest = max((seconds for _, seconds in took), default=0.0)
            if outcome.longest >= LONG:
                outcome.slow = {index: seconds for index, seconds in took if seconds >= LONG}
            self._complete(outcome)
            self._leave(outcome)
        finally:
            outcome.printed = streams.take()
        return outcome

    def _begin_element(self, index: int) -> None:
        """Take note that an element begins."""
        of_elements().mark(index)
        self._begun.append((index, time.perf_counter()))

    def _enter(self, run_info: bytes) -> None:  # noqa: B027
        """Make this process what elements of this run expect."""

    def _leave(self, outcome: ChunkOutcome) -> None:  # noqa: B027
        """Note what this process is like after the chunk."""

    def let_go(self) -> None:  # noqa: B027
        """Let go of what was kept for the last chunk's outcome, which has been packed now."""

    @abstractmethod
    def _prepare(self, elements: Any, indices: Sequence[int]) -> None:
        """Take over the next chunk."""

    @abstractmethod
    def _run_elements(self, outcome: ChunkOutcome, interrupts: Interrupts) -> None:
        """Run the chunk's elements; whatever it raises ends the chunk."""

    @abstractmethod
    def _broke_off(self, error: BaseException) -> Failure:
        """Say which element it was that has ended the chunk."""

    @abstractmethod
    def _complete(self, outcome: ChunkOutcome) -> None:
        """Note what else has become of the chunk, and let go of its values."""


def trace_of(error: BaseException, begins_at: TracebackType | None = None) -> str:
    """Return an error's trace, as Python prints it; '' if there is no memory for that.

    :param error: any error.
    :param begins_at: where the trace is to begin; where it does, if there is none.
    """
    try:
        return "".join(traceback.format_exception(type(error), error, begins_at or error.__traceback__))
    except MemoryError:
        return ""
