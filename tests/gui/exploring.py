"""What users do in the window with parameter explorations; see `driver`."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import time
import zipfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from driver import Scenario, User

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))
from building import MATPLOTLIB, VTK, Vistrail

EXPLORE = "Run parameter exploration on the cluster"
SPREADSHEET = "org.vistrails.vistrails.spreadsheet"

Steps = Generator[None, None, Any]

# Says in a file, for the spreadsheet to show, what it was given, and notes in another one that it ran, and where.
_CODE = """
import os, time
with open({tally!r}, "a") as file:
    file.write(f"{{a}} {{b}} {{os.getpid()}}\\n")
time.sleep({seconds})
end = time.monotonic() + 240
while {goes_on!r} and (a, b) != (1, 10) and not os.path.exists({goes_on!r}) and time.monotonic() < end:
    time.sleep(0.05)
if (a, b) == (2, 20):
    fail("two and twenty are too much")
print("cell", a, b)
o = self.interpreter.filePool.create_file(suffix=".html")
with open(o.name, "w") as file:
    file.write(f"<p>a is {{a}}, b is {{b}}</p>")
"""


def _code(user: User, seconds: float = 0.0, goes_on: Path | None = None) -> str:
    tally = str(user.folder / "tally")
    return _CODE.format(tally=tally, seconds=seconds, goes_on=str(goes_on or ""))


def open_exploration(
    user: User, make: Callable[[Vistrail], None], name: str = "explored", change: Callable[[str], str] | None = None
) -> Any:
    """Make a vistrail with an exploration, open it and its exploration in the window, and return VisTrails' view.

    :param change: changes the vistrail's XML before it is opened.
    """
    from vistrails.core.db.locator import FileLocator

    vistrail = Vistrail()
    make(vistrail)
    path = user.folder / f"{name}.vt"
    vistrail.save(path)
    if change is not None:
        with zipfile.ZipFile(path) as archive:
            changed = change(archive.read("vistrail").decode())
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("vistrail", changed)
    user.builder.open_vistrail_without_prompt(FileLocator(str(path)))
    view = user.builder.get_current_view()
    (exploration,) = view.controller.vistrail.parameter_explorations
    view.open_parameter_exploration(exploration.id)
    return view


def sheets() -> dict[str, dict[str, Any]]:
    """What the spreadsheet shows: by sheet, the text of each cell by its row and column."""
    from vistrails.packages.spreadsheet.spreadsheet_controller import spreadsheetController

    tabs = spreadsheetController.findSpreadsheetWindow().tabController
    found = {}
    for number in range(tabs.count()):
        sheet = tabs.widget(number)
        rows, columns = sheet.getDimension()
        cells = {f"{row} {column}": sheet.getCell(row, column) for row in range(rows) for column in range(columns)}
        shown = {place: _content(cell) for place, cell in cells.items() if cell is not None}
        if shown:
            found[tabs.tabText(number)] = {"size": [rows, columns], **shown}
    return found


def _content(cell: Any) -> str:
    if hasattr(cell, "browser"):
        return str(cell.browser.toPlainText())
    if hasattr(cell, "figure"):
        lines = [line for axes in cell.figure.axes for line in axes.lines]
        return f"{type(cell).__name__}: {[[line.get_marker(), line.get_xydata().tolist()] for line in lines]}"
    return type(cell).__name__


def execute_in_vistrails(user: User, view: Any) -> Steps:
    """VisTrails' own Execute."""
    done: list[bool] = []

    def execute() -> None:
        view.pe_view.execute()
        done.append(True)

    user.later(execute)
    yield from user.until(lambda: done, "the end of VisTrails' own exploration")


def never_ask() -> None:
    """Have two engines started where none are running."""
    from parallelflow.gui.controller import controller

    controller().preferences.write({"if_no_engines": "auto", "engines": 2})


def execute_on_cluster(user: User) -> Steps:
    """Our entry of the menu."""
    done: list[bool] = []

    def execute() -> None:
        user.choose(EXPLORE)
        done.append(True)

    user.later(execute)
    yield from user.until(lambda: done, "the end of the exploration")


def cells_in_log(view: Any) -> list[dict[str, Any]]:
    """What the log says of each cell that has been executed since it was last asked."""
    execs = view.controller.log.workflow_execs
    seen = getattr(view, "_seen_execs", 0)
    view._seen_execs = len(execs)
    found = []
    for each in execs[seen:]:
        modules = {}
        for module in each.item_execs:
            notes = {note.key: note.value for note in module.annotations}
            name = getattr(module, "module_name", "Group")
            modules[name] = [module.completed, module.cached, notes.get("parallel_engine", "")]
        notes = {note.key: note.value for note in each.annotations}
        found.append(
            {"parameters": notes.get("exploration_parameters", ""), "modules": modules, "completed": each.completed}
        )
    return found


def tally(user: User) -> list[list[str]]:
    """What has run since it was last asked, and in which process."""
    path = user.folder / "tally"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line.split() for line in sorted(lines)]


def states_in_view(view: Any) -> dict[str, int]:
    """How the modules are drawn that VisTrails' view of the exploration shows."""
    scene = view.pe_view.get_param_view().pipeline_view.scene()
    return {
        item.module.name: item.statusBrush.color().rgb() if item.statusBrush else 0 for item in scene.modules.values()
    }


def two_dimensions(user: User, seconds: float = 0.0, goes_on: Path | None = None) -> Callable[[Vistrail], None]:
    """Three columns and two rows, of which the cell in the second column and row fails.

    :param goes_on: a file without which all cells wait but for the first.
    """

    def make(vistrail: Vistrail) -> None:
        code = _code(user, seconds, goes_on)
        source = vistrail.add_source((0, 1), "", code, {"a": "Integer", "b": "Integer"}, {"o": "File"}, a=0, b=0)
        cell = vistrail.add("RichTextCell", (0, 0), "", SPREADSHEET)
        vistrail.connect(source, "o", cell, "File")
        vistrail.explore(
            "two dimensions", {(source, "a"): [1, 2, 3], (source, "b"): [10, 20]}, layout={("RichTextCell", -1): (0, 0)}
        )

    return make


def all_kinds(vistrail: Vistrail) -> None:
    """A figure of matplotlib, of what a Group makes of a vistrail variable, beside a cell of VTK; three columns and two rows."""
    code = "y = [offset + f, offset - f, offset * f]"
    source = vistrail.add_source((0, 2), "", code, {"f": "Float", "offset": "Float"}, {"y": "List"})
    ends = [vistrail.add("InputPort", (column, 3), name=name) for column, name in enumerate(("f", "offset"))]
    for end, name in zip(ends, ("f", "offset"), strict=True):
        vistrail.connect(end, "InternalPipe", source, name)
    ends.append(vistrail.add("OutputPort", (0, 1), name="y"))
    vistrail.connect(source, "y", ends[-1], "InternalPipe")
    group = vistrail.group([source, *ends], "Computes")
    vistrail.set(group, f=1.0)
    vistrail.connect_variable("offset", "Float", 2.0, group, "offset", (1, 3))
    plot = vistrail.add("MplLinePlot", (0, 2), "", MATPLOTLIB)
    figure = vistrail.add("MplFigure", (0, 1), "", MATPLOTLIB)
    figure_cell = vistrail.add("MplFigureCell", (0, 0), "", MATPLOTLIB)
    sphere = vistrail.add("vtkSphereSource", (3, 5), "", VTK, ThetaResolution=4)
    height = vistrail.add("vtkElevationFilter", (3, 4), "", VTK)
    mapper = vistrail.add("vtkPolyDataMapper", (3, 3), "", VTK)
    actor = vistrail.add("vtkActor", (3, 2), "", VTK)
    renderer = vistrail.add("vtkRenderer", (3, 1), "", VTK, Background="0.1,0.1,0.2")
    vtk_cell = vistrail.add("VTKCell", (3, 0), "", VTK)
    for start, output, end, port in (
        (group, "y", plot, "y"),
        (plot, "value", figure, "addPlot"),
        (figure, "figure", figure_cell, "figure"),
        (sphere, "GetOutputPort0", height, "SetInputConnection0"),
        (height, "GetOutputPort0", mapper, "SetInputConnection0"),
        (mapper, "Instance", actor, "Mapper"),
        (actor, "Instance", renderer, "AddActor"),
        (renderer, "Instance", vtk_cell, "AddRenderer"),
    ):
        vistrail.connect(start, output, end, port)
    vistrail.explore(
        "all kinds",
        {(group, "f"): [1, 2, 3], (sphere, "ThetaResolution"): [5, 12]},
        layout={("MplFigureCell", -1): (0, 0), ("VTKCell", -1): (0, 1)},
    )


def explore_both_ways(user: User) -> Scenario:
    never_ask()
    view = open_exploration(user, two_dimensions(user))
    yield
    for turn, execute in (
        ("own", execute_in_vistrails(user, view)),
        ("first", execute_on_cluster(user)),
        ("second", execute_on_cluster(user)),
    ):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            yield from execute
        user.seen[turn] = {
            "printed": [line for line in printed.getvalue().splitlines() if line.startswith("cell")],
            "ran": tally(user),
            "log": cells_in_log(view),
            "said": user.messages()[-1],
            "view": states_in_view(view),
        }
    user.seen["needed by a table"] = _needed("org.vistrails.vistrails.tabledata", "BuildTable")
    user.seen["sheets"] = sheets()
    user.seen["pid"] = str(os.getpid())
    results: list[Any] = []
    user.later(lambda: results.extend(view.controller.execute_current_workflow()[0]))
    yield from user.until(lambda: results, "a normal execution")
    user.seen["normal"] = {"errors": [str(each) for each in results[0].errors.values()], "ran": tally(user)}


def _needed(package: str, name: str) -> list[str]:
    """The packages that an engine has to load for a module."""
    from vistrails.core.vistrail.controller import VistrailController
    from vistrails.db.domain import IdScope

    from parallelflow.map.needs import Needed

    module = VistrailController.create_module_static(IdScope(), package, name)
    return [each.identifier for each in Needed([module], []).packages()]


vars(explore_both_ways)["packages"] = ("spreadsheet", "tabledata", "controlflow", "ipyparallel_flow")


def explore_and_cancel(user: User) -> Scenario:
    """Nothing to explore; then cells that wait, of which one is shown when Cancel is pressed; then all of them, in quick."""
    from parallelflow.map import running
    from parallelflow.map.work import Limits

    # All that has begun is heard out: on a busy machine it could note itself in the next run.
    running._limits = lambda settings: Limits(cancel=30.0)
    never_ask()
    user.choose(EXPLORE)
    message = yield from user.dialog("Message")
    user.click(message.defaultButton())
    yield from user.gone(message)
    goes_on = user.folder / "goes on"
    view = open_exploration(user, two_dimensions(user, goes_on=goes_on))
    yield
    done: list[bool] = []

    def execute() -> None:
        user.choose(EXPLORE)
        done.append(True)

    user.later(execute)
    dialog = yield from user.dialog("PEProgressDialog")
    yield from user.until(lambda: sheets(), "the first cell")
    (button,) = dialog.findChildren(_button())
    user.click(button)
    begin = time.monotonic()
    yield from user.until(lambda: done, "the end after Cancel")
    user.seen["seconds to cancel"] = time.monotonic() - begin
    user.seen["cells after cancel"] = len(cells_in_log(view))
    tally(user)
    goes_on.touch()
    yield from execute_on_cluster(user)
    user.seen["sheets"] = sheets()
    user.seen["ran"] = [each[:2] for each in tally(user)]


def explore_figures(user: User) -> Scenario:
    """Figures of matplotlib, three columns and two rows."""

    def make(vistrail: Vistrail) -> None:
        source = vistrail.add_source((0, 3), "", "y = [f, 2 * f, f * f]", {"f": "Float"}, {"y": "List"}, f=1)
        plot = vistrail.add("MplLinePlot", (0, 2), "", MATPLOTLIB)
        figure = vistrail.add("MplFigure", (0, 1), "", MATPLOTLIB)
        cell = vistrail.add("MplFigureCell", (0, 0), "", MATPLOTLIB)
        vistrail.connect(source, "y", plot, "y")
        vistrail.connect(plot, "value", figure, "addPlot")
        vistrail.connect(figure, "figure", cell, "figure")
        explored = {(source, "f"): [1, 2, 3], (plot, "marker"): ["circle marker", "x marker"]}
        vistrail.explore("figures", explored, layout={("MplFigureCell", -1): (0, 0)})

    never_ask()
    view = open_exploration(user, make, "figures")
    yield
    for turn, execute in (("own", execute_in_vistrails(user, view)), ("ours", execute_on_cluster(user))):
        yield from execute
        user.seen[turn] = cells_in_log(view)
    user.seen["sheets"] = sheets()
    user.seen["messages"] = user.messages()


vars(explore_figures)["packages"] = ("spreadsheet", "matplotlib", "controlflow", "ipyparallel_flow")


def explore_without_spreadsheet(user: User) -> Scenario:
    """Cells that are shown nowhere."""

    def make(vistrail: Vistrail) -> None:
        code = _code(user)
        source = vistrail.add_source((0, 1), "", code, {"a": "Integer", "b": "Integer"}, {"o": "File"}, a=0, b=0)
        vistrail.connect(source, "o", vistrail.add("StandardOutput", (0, 0)), "value")
        vistrail.explore("nowhere", {(source, "a"): [1, 2, 3], (source, "b"): [10, 20]})

    never_ask()
    view = open_exploration(user, make, "nowhere")
    yield
    for turn, execute in (("own", execute_in_vistrails(user, view)), ("ours", execute_on_cluster(user))):
        yield from execute
        user.seen[turn] = {"ran": tally(user), "log": cells_in_log(view), "said": user.messages()[-1]}
    user.seen["pid"] = str(os.getpid())
    view.controller.set_changed(False)
    # Of another VisTrails, so that this one upgrades it; its window shows nothing of the exploration then.
    older = re.compile(r'(<module [^>]*name="PythonSource"[^>]*version=")[^"]*')
    view = open_exploration(user, make, "older", lambda text: older.sub(r"\g<1>1.0", text))
    yield
    user.seen["shown of an older one"] = len(view.pe_view.getParameterExploration().functions)
    yield from execute_on_cluster(user)
    user.seen["older"] = {"ran": tally(user), "said": user.messages()[-1]}
    view.controller.set_changed(False)


def _button() -> Any:
    from PyQt5.QtWidgets import QPushButton

    return QPushButton


vars(explore_and_cancel)["packages"] = ("spreadsheet", "controlflow", "ipyparallel_flow")
