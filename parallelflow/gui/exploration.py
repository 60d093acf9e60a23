"""`Run parameter exploration on the cluster`: the exploration of the current view, as VisTrails' own Execute takes it.

VisTrails' view keeps the exploration in the vistrail and says what is explored; only what executes the cells is another one
while it does so. What is VisTrails' own of the window is imported where it is used: it needs a running Qt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from PyQt5.QtCore import QCoreApplication
from vistrails.core import debug
from vistrails.core.modules.module_registry import get_module_registry

from parallelflow.explorations.cells import Cell, Exploration, ExplorationError, explore, upgraded
from parallelflow.explorations.client import CalledOff, Client
from parallelflow.explorations.exploring import Exploring
from parallelflow.gui.texts import tr

_SPREADSHEET = "org.vistrails.vistrails.spreadsheet"


def run(view: Any, refuse: Callable[[str], None]) -> None:
    """Run the exploration of a vistrail's view. Returns when it is over.

    :param view: VisTrails' view of the vistrail; None if there is none.
    :param refuse: says why nothing, or no more, is run.
    """
    try:
        is_there = view is not None and _has_exploration(view)
    except ExplorationError as error:
        refuse(str(error))
        return
    if not is_there:
        refuse(
            tr(
                "There is no parameter exploration here: in the Explore view, drag a parameter into the exploration and give it"
                " values."
            )
        )
        return
    controller = view.get_controller()

    def execute(exploration: Any, scene: Any = None, extra_info: Any = None, showProgress: bool = True) -> None:
        try:
            _execute(controller, view, exploration, scene)
        except ExplorationError as error:
            refuse(str(error))

    controller.executeParameterExploration = execute
    try:
        view.pe_view.execute()
    finally:
        del controller.executeParameterExploration


def _has_exploration(view: Any) -> bool:
    """Whether something is explored in the current version; one that is stored there is opened.

    :raises ExplorationError: if the version was upgraded, and VisTrails could not translate it.
    """
    controller, explore_view = view.get_controller(), view.pe_view
    if explore_view.controller is not None and explore_view.getParameterExploration().functions:
        return True
    opened = controller.current_parameter_exploration
    controller.flush_delayed_actions()  # an upgrade of the version, with its explorations
    stored = controller.vistrail.get_paramexp(controller.current_version)
    if opened is not None and opened.functions:  # and VisTrails shows nothing of it
        stored = upgraded(controller, opened)
    if stored is None:
        return False
    view.open_parameter_exploration(stored.id)
    return bool(explore_view.getParameterExploration().functions)


def _execute(controller: Any, view: Any, exploration: Any, scene: Any) -> None:
    found = explore(controller, exploration, place_for(controller))
    with _job_view_at_rest(), _WindowClient(controller, found, view, scene) as client:
        exploring = Exploring(client)
        try:
            exploring.run()
        except CalledOff:
            pass
        finally:
            _tell_failures(exploring)
            _notify()


def place_for(controller: Any) -> Callable[[Sequence[Any], tuple[int, int, int], Any], Any] | None:
    """Return what gives cells their places in the spreadsheet; None if it is not enabled.

    :param controller: the vistrail's controller.
    """
    registry = get_module_registry()
    if not all(registry.has_module(_SPREADSHEET, name) for name in ("CellLocation", "SheetReference")):
        return None

    def place(pipelines: Sequence[Any], counts: tuple[int, int, int], exploration: Any) -> Any:
        from vistrails.gui.paramexplore.pe_view import QParamExploreView
        from vistrails.gui.paramexplore.virtual_cell import positionPipelines

        columns, rows, sheets = counts
        name = f"PE#{QParamExploreView.explorationId} {controller.name}"
        QParamExploreView.explorationId += 1
        layout = _complete(exploration.layout, pipelines[0])
        return positionPipelines(name, sheets, rows, columns, pipelines, layout, controller)

    return place


Layout = dict[tuple[str, int], tuple[int, int]]
"""Which row and column each of a workflow's cells has in its part of the sheet, by its module's name and number."""


def _complete(layout: Layout, pipeline: Any) -> Layout:
    """Give each cell of a pipeline a place: one of another name may have had it before VisTrails upgraded the workflow."""
    from vistrails.core.inspector import PipelineInspector

    inspector = PipelineInspector()
    inspector.inspect_spreadsheet_cells(pipeline)
    inspector.inspect_ambiguous_modules(pipeline)
    cells = []
    for path in inspector.spreadsheet_cells:
        inside = pipeline
        for module_id in path[:-1]:
            inside = inside.modules[module_id].pipeline
        key = path[0] if len(path) == 1 else tuple(path)
        cells.append((inside.modules[path[-1]].name, inspector.annotated_modules.get(key, -1)))
    left = sorted(place for cell, place in layout.items() if cell not in cells)
    complete = {cell: layout[cell] for cell in cells if cell in layout}
    for cell in cells:
        if cell not in complete:
            beside = (0, max((column for _, column in complete.values()), default=-1) + 1)
            complete[cell] = left.pop(0) if left else beside
    return complete


@contextmanager
def _job_view_at_rest() -> Iterator[None]:
    """Keep VisTrails' job monitor from looking at jobs meanwhile, as VisTrails does when it executes something."""
    from vistrails.gui.job_monitor import QJobView

    jobs = QJobView.instance()
    if jobs.updating_now:
        raise ExplorationError(tr("VisTrails' job monitor is looking at its jobs. Try again in a few seconds."))
    jobs.updating_now = True
    try:
        yield
    finally:
        jobs.updating_now = False


def _tell_failures(exploring: Exploring) -> None:
    if exploring.failures:
        cells = {failure.cell.index for failure in exploring.failures}
        failed = tr(
            "{failed} of {all} cells of the parameter exploration failed.",
            failed=len(cells),
            all=len(exploring.cells),
        )
        debug.critical(
            f"{failed} {exploring.what_is_kept()}".rstrip(),
            "\n".join(map(str, exploring.failures)),
        )


def _notify() -> None:
    from vistrails.gui.vistrails_window import _app

    if _app is not None:
        _app.notify("execution_updated")


class _WindowClient(Client):
    """VisTrails' side of an exploration, with its progress dialog. To be entered."""

    def __init__(self, controller: Any, exploration: Exploration, view: Any, scene: Any):
        from vistrails.gui.vistrail_controller import PEProgressDialog

        super().__init__(controller, exploration, scene)
        # Twice for each cell: engines do their part, and VisTrails does.
        self._dialog = PEProgressDialog(view, 2 * len(exploration.cells))

    def __enter__(self) -> _WindowClient:
        self.controller.progress = self._dialog
        self._dialog.show()
        return self

    def __exit__(self, *error: object) -> None:
        self._dialog.setValue(self._dialog.maximum())
        self._dialog.hide()
        self._dialog.deleteLater()
        self.controller.progress = None

    def tell(self, text: str) -> None:
        if self._dialog.labelText() != text:
            self._dialog.setLabelText(text)
        self._let_window_live()

    def progress(self, computed: int, shown: int, taken: int = 0) -> None:
        self._dialog.setValue(min(computed + shown, self._dialog.maximum() - 1))
        text = tr("{computed} of {all} cells computed, {shown} shown", computed=computed, all=self._cells, shown=shown)
        if taken:
            kept = tr("{taken} of {elements} taken from kept results", taken=taken, elements=self._cells)
            text = f"{text}\n{kept}"
        self.tell(text)

    @property
    def _cells(self) -> int:
        return len(self.exploration.cells)

    def arguments(self, cell: Cell) -> dict[str, Any]:
        return {**super().arguments(cell), "module_executed_hook": [lambda module_id: QCoreApplication.processEvents()]}

    def _let_window_live(self) -> None:
        QCoreApplication.processEvents()
        if self._dialog.wasCanceled():
            raise CalledOff
