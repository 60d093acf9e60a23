"""A Map's list, as the scheduler's source of elements.

May import the map room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from parallelflow.map import values
from parallelflow.map.complaints import megabytes
from parallelflow.map.looping import Looping
from parallelflow.map.plan import Plan
from parallelflow.map.work import MapError
from parallelflow.texts import tr


class Elements:
    """The elements of one Map; a `parallelflow.map.work.Source`.

    :param looping: what they are, and where they go.
    :param what: what runs, as messages call it.
    :param pause: called every few milliseconds while large elements are packed; may raise.
    :ivar plan: the plan, once there is one.
    """

    def __init__(self, looping: Looping, what: str, pause: Callable[[], None] = lambda: None):
        self.what = what
        self._pause = pause
        self._looping = looping
        self._elements = looping.elements
        self.plan: Plan | None = None

    def pack(self, indices: Sequence[int]) -> values.Packed:
        """Pack elements, as `Source.pack` does.

        :param indices: which ones.
        :raises MapError: for one that cannot travel; names its port and why.
        """
        try:
            return values.pack([self.own(index) for index in indices], pause=self._pause)
        except values.CannotTravel:
            for index in indices:
                for port, part in zip(self._looping.ports, self._elements[index], strict=False):
                    try:
                        values.pack(part)
                    except values.CannotTravel as error:
                        raise MapError(
                            tr(
                                "Element {index} ({value}) cannot be sent to an engine: on port '{port}', {why}.",
                                index=index,
                                value=values.short(self.own(index)),
                                port=port,
                                why=error,
                            )
                        ) from error
            raise

    def describe(self, index: int) -> str:
        """Return an element's index and value for a message."""
        if self._looping.is_range:
            return tr("iteration {number}", number=self._looping.first + index)
        return tr("element {index} ({value})", index=index, value=values.short(self.own(index)))

    def describe_plan(self) -> str:
        """Say which value in the plan is the largest, and how large it is."""
        sizes = self.plan.sizes() if self.plan is not None else {}
        if not sizes:
            return tr("no value on a port is large")
        port = max(sizes, key=lambda each: sizes[each])
        return tr("{size} are the value on port '{port}'", size=megabytes(sizes[port]), port=port)

    def own(self, index: int) -> Any:
        """Return an element as it is in the user's list."""
        element = self._elements[index]
        return element if self._looping.takes_apart else element[0]
