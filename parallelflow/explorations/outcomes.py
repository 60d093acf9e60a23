"""What travels to engines of a cell, and what comes back. Plain data; standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# What an element is: the texts of the parameters in which a cell differs from the first one, by their places in the plan.
Texts = dict[int, str]


@dataclass(frozen=True)
class Output:
    """What a module has computed, as far as VisTrails asks for it.

    :ivar ports: the values on its output ports.
    :ivar list_depth: how many loops over lists they come from.
    """

    ports: dict[str, Any]
    list_depth: int = 0


@dataclass(frozen=True)
class CellError:
    """A module that has failed.

    :ivar module_id: its id in the pipeline; None if it is not known which it was.
    :ivar message: what VisTrails says.
    :ivar trace: where it happened.
    :ivar abort: whether VisTrails shall run nothing else.
    """

    module_id: int | None
    message: str
    trace: str
    abort: bool = False


@dataclass
class Computed:
    """What became of a cell on an engine.

    :ivar outputs: by module, what VisTrails is given.
    :ivar errors: in the order in which modules failed.
    :ivar stays: modules that have to run in VisTrails because of their values, and why.
    :ivar is_whole: whether nothing has failed or waits, and there is something for VisTrails.
    """

    outputs: dict[int, Output] = field(default_factory=dict)
    errors: list[CellError] = field(default_factory=list)
    stays: dict[int, str] = field(default_factory=dict)
    is_whole: bool = False
