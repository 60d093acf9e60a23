"""A Map's list, as the scheduler's source of elements.

May import the map room.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parallelflow.map import values
from parallelflow.map.complaints import megabytes
from parallelflow.map.plan import Plan
from parallelflow.map.work import MapError
from parallelflow.texts import tr


class Elements:
    """The elements of one Map; a `parallelflow.map.work.Source`.

    :param elements: by index, for each element the values that go to `ports`.
    :param ports: the names of the ports on which an element arrives.
    :param takes_apart: whether an element of the user's list is those values, rather than the only one of them.
    :ivar plan: the plan, once there is one.
    """

    def __init__(self, elements: Sequence[Any], ports: Sequence[str], takes_apart: bool):
        self._elements = elements
        self._ports = ports
        self._takes_apart = takes_apart
        self.plan: Plan | None = None

    def pack(self, indices: Sequence[int]) -> values.Packed:
        """Pack elements, as `Source.pack` does.

        :param indices: which ones.
        :raises MapError: for one that cannot travel; names its port and why.
        """
        try:
            return values.pack([self._own(index) for index in indices])
        except values.CannotTravel:
            for index in indices:
                for port, part in zip(self._ports, self._elements[index], strict=False):
                    try:
                        values.pack(part)
                    except values.CannotTravel as error:
                        raise MapError(
                            tr(
                                "Element {index} ({value}) cannot be sent to an engine: on port '{port}', {why}.",
                                index=index,
                                value=values.short(self._own(index)),
                                port=port,
                                why=error,
                            )
                        ) from error
            raise

    def describe(self, index: int) -> str:
        """Return an element's index and value for a message."""
        return tr("element {index} ({value})", index=index, value=values.short(self._own(index)))

    def describe_plan(self) -> str:
        """Say which value in the plan is the largest, and how large it is."""
        sizes = self.plan.sizes() if self.plan is not None else {}
        if not sizes:
            return tr("no value on a port is large")
        port = max(sizes, key=lambda each: sizes[each])
        return tr("{size} are the value on port '{port}'", size=megabytes(sizes[port]), port=port)

    def _own(self, index: int) -> Any:
        """The element as it is in the user's list."""
        element = self._elements[index]
        return element if self._takes_apart else element[0]
