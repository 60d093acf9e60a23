"""Parameter explorations on a cluster: the part of each cell that need not be in VisTrails runs on engines.

- `cells` makes of VisTrails' exploration its cells: pipelines, positions, values.
- `cut` says which modules run on engines and which in VisTrails; `cells_plan` gathers what engines need, `outcomes` is what
  travels.
- `engine_cells` runs cells on an engine, in the frame that `parallelflow.map.ready` gives.
- `cell_keys` says what the part of a cell is known by that engines have computed, so that it can be kept.
- `exploring` is one run: the scheduler's source and sink. `client` is how VisTrails executes a cell, `filling` how its modules are
  given what engines have computed.
- `vtk_outputs` is how what VTK's filters give comes to mappers in VisTrails.

This room may import `parallelflow.map`, `parallelflow.cluster`, `parallelflow.texts`, VisTrails and the standard library; never Qt.
"""
