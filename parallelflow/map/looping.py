"""What a loop module of VisTrails' runs its function modules over: values for their ports, by the element's index.

May import VisTrails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vistrails.core.modules.vistrails_module import ModuleError

from parallelflow.texts import tr


@dataclass(frozen=True)
class Looping:
    """The elements of a loop, and where they go.

    :ivar elements: by index, for each element the values that go to `ports`.
    :ivar ports: the names of the input ports of the function modules on which an element arrives.
    :ivar output: the name of the output port that results are taken from.
    :ivar takes_apart: whether an element is those values, rather than the only one of them.
    :ivar first: the number of the first iteration, in the log and in modules' signatures.
    :ivar is_range: whether they are a range of numbers, as For has it: of that nothing is checked before an element runs.
    """

    elements: Sequence[Sequence[Any]]
    ports: list[str]
    output: str
    takes_apart: bool
    first: int = 0
    is_range: bool = False


def nothing_connected(module: Any) -> ModuleError:
    """Return the error of a loop that has no function module.

    :param module: the loop.
    """
    return ModuleError(module, tr("Nothing is connected to FunctionPort: connect the module's 'self' output to it."))


class Loop(Protocol):
    """A loop module that can run its elements in parallel, beside what it is as a module of VisTrails."""

    def looping(self) -> Looping:
        """Return what it runs over, from its ports."""

    def take_result(self, element: Any, result: Any) -> None:
        """Do with an element's result what the loop does with it; called in the list's order.

        :param element: the element, as it is in the list.
        :param result: what was on the output port; may be changed.
        """


def over_list(module: Any) -> Looping:
    """Return what a fold runs over (`vistrails.packages.controlflow.fold.FoldWithModule`).

    :param module: the fold, called upon to compute.
    :raises ModuleError: when an input is missing.
    :raises Exception: whatever the serial fold raises for what is no list.
    """
    ports: list[str] = module.get_input("InputPort")
    output: str = module.get_input("OutputPort")
    given = module.get_input("InputList")
    takes_apart = len(ports) != 1
    # The serial fold's own way, so that what is no list fails as it does there.
    if takes_apart:
        len(given)  # a generator has none, and fails here as there
    return Looping(list(given) if takes_apart else [[element] for element in given], ports, output, takes_apart)
