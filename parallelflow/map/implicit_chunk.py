"""A module's own loop over lists as it runs over one chunk on an engine.

VisTrails' own code runs it (`Module.compute_all`): on a module of ours, of which a copy is a copy of the module that loops, and
which gives that code the chunk's elements in place of all. `parallelflow.map.implicit_execution` is its other half, in VisTrails.
May import VisTrails and `chunk_module` of the map room.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vistrails.core.modules.config import ModuleSettings
from vistrails.core.modules.vistrails_module import Module, ModuleSuspended

from parallelflow.map.chunk_module import MapChunk


class LoopChunk(MapChunk):
    """A loop over lists on an engine: runs over one chunk of its outermost lists. Not for workflows."""

    _settings = ModuleSettings(name="LoopChunk", hide_descriptor=True)

    def prepare(self, *arguments: Any) -> None:
        """Take over the next chunk, as for a Map."""
        super().prepare(*arguments)
        looping = self.inputPorts["FunctionPort"][0].obj
        self.list_depth = looping.list_depth + 1
        self.input_specs = looping.input_specs
        self._copies: list[Module] = []

    def forget(self) -> None:
        """Let go of the chunk's values."""
        super().forget()
        self._copies = []
        self.outputPorts: dict[str, Any] = {}

    def __copy__(self) -> Module:
        """Return a copy of the module that loops: the next element's."""
        copied: Module = self.inputPorts["FunctionPort"][0].obj.__copy__()
        self._copies.append(copied)
        return copied

    def set_iterated_ports(self) -> None:
        """Leave it out: the lists are not here."""
        self.iterated_ports: list[Any] = []

    def set_streamed_ports(self) -> None:
        """Leave it out: a loop over a stream runs in VisTrails."""
        self.streamed_ports: dict[str, Any] = {}

    def do_combine(
        self, combine_type: str, inputs: Any, port_name_order: Sequence[Any]
    ) -> tuple[Sequence[Any], list[str]]:
        """Give VisTrails' loop the chunk's elements, which are combined already."""
        if len(self.input_port_names) == 1:  # an element travels as its only value
            return [(element,) for element in self.elements], self.input_port_names
        return self.elements, self.input_port_names

    def compute_all(self) -> None:
        """Run the loop, and keep what each element has put out."""
        with self._noting():
            try:
                super().compute_all()
            finally:
                self._keep()

    def setInputValues(self, module: Module, inputPorts: list[str], elementList: Any, iteration: int) -> None:
        """Set an element's values; the ones before it have ended."""
        self._keep(all_but=module)
        super().setInputValues(module, inputPorts, elementList, iteration)

    def _keep(self, all_but: Module | None = None) -> None:
        for copied in self._copies:
            if copied is not all_but and copied.upToDate:  # neither failed nor suspended
                outputs = {port: copied.get_output(port) for port in copied.outputPorts if port != "self"}
                self.results[self.index] = outputs
        self._copies = [] if all_but is None else [all_but]

    def _index_of(self, suspension: ModuleSuspended) -> int:
        index: int = self.indices[suspension.loop_iteration]
        suspension.loop_iteration = index
        return index
