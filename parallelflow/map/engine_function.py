"""A function that engines call for each element, without VisTrails: its plan, and how chunks of it run.

`parallelflow.map.calls` is its other half, on the client. May import the map room; nothing of VisTrails.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parallelflow.map import values
from parallelflow.map.chunks import LONGEST_DURATION
from parallelflow.map.frame import Frame, trace_of
from parallelflow.map.outcomes import ChunkOutcome, Failure, Host

if TYPE_CHECKING:
    from parallelflow.map.interrupts import Interrupts


@dataclass
class FunctionContent:
    """The plan of a function.

    :ivar function: called with an element's arguments.
    :ivar made_ready_by: the class that it becomes on an engine; `files` and `output_port`, of which it has none, are what an
        engine asks of a plan.
    """

    function: Callable[..., Any]
    made_ready_by: str = f"{__name__}:ReadyFunction"
    files: list[str] = field(default_factory=list)
    output_port: str | None = None


@dataclass(frozen=True)
class Raised(Failure):
    """What the function has raised.

    :ivar kind: the name of the error's class.
    :ivar text: its text.
    """

    kind: str = ""
    text: str = ""


class ReadyFunction(Frame):
    """A function in an engine."""

    content: FunctionContent

    def host(self) -> Host:
        """Return the machine and process that this is."""
        return Host(platform.node(), os.getpid(), 0.0, {})

    def is_spoilt(self) -> bool:
        """Say that it is as good as before: what becomes of it from call to call is the function's own affair."""
        return False

    def _prepare(self, elements: Any, indices: Sequence[int]) -> None:
        self._calls = list(zip(indices, elements, strict=True))
        self._index = indices[0]

    def _run_elements(self, outcome: ChunkOutcome, interrupts: Interrupts) -> None:
        function = self.content.function
        end = time.perf_counter() + LONGEST_DURATION
        for index, arguments in self._calls:
            if outcome.values and time.perf_counter() > end:
                outcome.gives_back = True
                return
            self._index = index
            self._begin_element(index)
            outcome.values[index] = function(*arguments)

    def _broke_off(self, error: BaseException) -> Failure:
        trace = trace_of(error, _below_here(error))
        return Raised(
            self._index, values.describe_error(error), trace, None, kind=type(error).__name__, text=_text_of(error)
        )

    def _complete(self, outcome: ChunkOutcome) -> None:
        self._calls = []


def _below_here(error: BaseException) -> Any:
    """The trace from the function on."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code is not ReadyFunction._run_elements.__code__:
        frame = frame.tb_next
    return frame.tb_next if frame is not None else error.__traceback__


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a message about an error must not break
        return ""
