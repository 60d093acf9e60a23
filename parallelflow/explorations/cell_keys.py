"""What the kept part of a cell is known by: what would run on engines, and the cell's own presets.

Presets are those of the cell, all of them: so it is known again in another exploration of the same workflow, whatever is explored
there. Modules are known by their numbers in the workflow, by which VisTrails is given what has been computed.

May import VisTrails and the map room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from parallelflow.explorations.cells import Cell
from parallelflow.explorations.cells_plan import CellsContent
from parallelflow.map.hashing import Unknown
from parallelflow.map.identity import Description, PlanIdentity


def known_by(
    cells: Sequence[Cell], engines: set[int], content: CellsContent, workflow: str, name: str, pause: Callable[[], None]
) -> tuple[PlanIdentity | str, list[Any]]:
    """Return what the parts of cells are known by that run on engines.

    :param cells: all cells.
    :param engines: the modules that run there, by their ids.
    :param content: what the plan says.
    :param workflow: what the workflow is called.
    :param name: what the exploration is called.
    :param pause: called every few milliseconds while large values and files are looked at; may raise.
    :returns: that, or a sentence why nothing of it can be kept; and what each cell is to it.
    """
    description = _CellsDescription(cells[0].pipeline, sorted(engines), content, pause)
    try:
        presets = [description.presets_of(cell) for cell in cells]
    except Unknown as error:
        return str(error), []
    return description.identity(workflow, name), presets


class _CellsDescription(Description):
    """Describes what cells have in common."""

    def __init__(self, pipeline: Any, engines: Sequence[int], content: CellsContent, pause: Callable[[], None]):
        super().__init__(pipeline, content, pause)
        self._pipeline_of_all = pipeline
        self._engines = engines

    def plan(self) -> tuple[Any, ...]:
        content: CellsContent = self._content
        modules = [
            (
                module_id,
                self.module(self._stored[module_id], with_presets=False),
                [self.value(connector) for connector in content.given.get(module_id, ())],
            )
            for module_id in self._engines
        ]
        ends = [
            (each.sourceId, each.source.name, each.destinationId, each.destination.name)
            for each in sorted(self._pipeline_of_all.connection_list, key=lambda each: each.id)
            if {each.sourceId, each.destinationId} <= {*self._engines}
        ]
        return "cells", modules, ends, sorted((module_id, sorted(ports)) for module_id, ports in content.wanted.items())

    def presets_of(self, cell: Cell) -> list[Any]:
        """Describe a cell's presets."""
        self._pause()
        return [self.presets(cell.pipeline.modules[module_id]) for module_id in self._engines]
