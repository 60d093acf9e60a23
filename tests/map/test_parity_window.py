"""Modules that need VisTrails' window run in VisTrails, and all others on engines."""

from __future__ import annotations

import os
from typing import Any

import pytest
from parity import KEPT, assert_same
from workflows import Flow

from parallelflow.map import module, window

WINDOW = "org.vistrails.parallelflow.parity_window"
TIMES = 2 if KEPT else 1  # that ours runs

SAID = "needs VisTrails' window, so that the elements run in VisTrails, one after the other"


@pytest.fixture(autouse=True)
def _package(parity: Any) -> None:
    from vistrails.tests.utils import enable_package

    enable_package(WINDOW)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Maps say in VisTrails' messages."""
    texts: list[str] = []
    monkeypatch.setattr(module.debug, "warning", texts.append)
    return texts


def _run(said: list[str], flow: Flow, mapped: int, here: bool, name: str = "") -> None:
    """Run a workflow with both Maps; each element gives the process that it has run in."""
    but = [] if here else [f"outputs of module {mapped}"]
    serial, ours = assert_same(flow, but=but)
    pairs = ours.outputs[mapped]["Result"]
    assert [each[0] for each in pairs] == [each[0] for each in serial.outputs[mapped]["Result"]] == [1, 2, 3]
    assert ({each[1] for each in pairs} == {os.getpid()}) == here
    assert len([each for each in said if SAID in each]) == int(here) * TIMES
    if here and name:
        assert f"the module '{name}' {SAID}" in said[0]


HERE = ["Asks", "Wrapped", "AsksFurther", "AsksByHelper", "AsksLate", "Pumps", "Controls", "Says"]
ON_ENGINES = ["Tells", "Looks", "SaysNot", "Dates"]


@pytest.mark.parametrize("name", [*HERE, *ON_ENGINES])
def test_where_a_module_runs(name: str, said: list[str]) -> None:
    flow = Flow()
    mapped = flow.map(flow.add(name, package=WINDOW), "value", "value", "[1, 2, 3]")
    _run(said, flow, mapped, name in HERE, name)


def _inside(name: str) -> Flow:
    inner = Flow()
    first = inner.parity("Counts")
    last = inner.add(name, package=WINDOW)
    inner.connect(first, "value", last, "value")
    inner.inputs, inner.outputs = {"in": (first, "value")}, {"out": (last, "value")}
    return inner


@pytest.mark.parametrize("name", ["Asks", "Tells"])
@pytest.mark.parametrize("kind", ["group", "subworkflow", "group in subworkflow"])
def test_it_is_found_in_groups_and_subworkflows(kind: str, name: str, said: list[str]) -> None:
    flow = Flow()
    if kind == "group":
        function = flow.group(_inside(name))
    else:
        inner = _inside(name)
        if kind != "subworkflow":
            inner = Flow()
            group = inner.group(_inside(name))
            inner.inputs, inner.outputs = {"in": (group, "in")}, {"out": (group, "out")}
        function = flow.subworkflow(f"window{len(kind)}{name}", inner)
    _run(said, flow, flow.map(function, "in", "out", "[1, 2, 3]"), name == "Asks", name)


def test_a_loop_inside_of_another_that_runs_here_does_not_say_so_again(said: list[str]) -> None:
    inner = Flow()
    pair = inner.python("o = [i, i]", {"i": "Integer"}, {"o": "List"})
    each = inner.loop(inner.parity("Counts"), {"InputPort": "value", "OutputPort": "value", "HigherBound": "1"})
    mapped = inner.map(inner.add("Asks", package=WINDOW), "value", "value", (pair, "o"))
    inner.inputs, inner.outputs = {"in": (pair, "i")}, {"out": (mapped, "Result"), "more": (each, "Result")}
    flow = Flow()
    flow.map(flow.group(inner), "in", "out", "[1, 2, 3]")
    assert_same(flow)
    assert len([each for each in said if SAID in each]) == TIMES


def test_it_is_found_behind_an_if(said: list[str]) -> None:
    flow = Flow()
    asks, tells = (flow.add(name, package=WINDOW) for name in ("Asks", "Tells"))
    chooses = flow.add(
        "If",
        {"TrueOutputPorts": "['value']", "FalseOutputPorts": "['value']"},
        package="org.vistrails.vistrails.control_flow",
    )
    flow.connect(asks, "self", chooses, "TruePort")
    flow.connect(tells, "self", chooses, "FalsePort")
    for number, branch in enumerate((asks, tells)):
        flow.connect(flow.add("Integer", {"value": str(number)}), "value", branch, "value")
    flow.map(chooses, "Condition", "Result", "[True, True]")
    assert_same(flow)
    assert len([each for each in said if SAID in each]) == TIMES


@pytest.mark.parametrize(
    ("possible", "preset", "here"),
    [(False, None, False), (True, None, True), (True, "quiet", False), (False, "shown", True)],
)
def test_an_output_module_runs_where_the_mode_does_that_it_takes(
    possible: bool, preset: str | None, here: bool, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    from userpackages.parity_window import init

    monkeypatch.setattr(init.Shown, "possible", possible)
    flow = Flow()
    shows = flow.add("Shows", {"mode_type": preset} if preset else {}, package=WINDOW)
    _run(said, flow, flow.map(shows, "value", "value", "[1, 2, 3]"), here)


SOURCES = {
    "from PyQt5 import QtWidgets\nQtWidgets.QApplication.instance()": True,
    "import PyQt5.QtGui as g": True,
    "from vistrails.gui.vistrails_window import _app": True,
    "def f():\n    from PyQt5.QtWidgets import QInputDialog": True,
    "c = self.moduleInfo['controller']": True,
    "from PyQt5.QtCore import QCoreApplication": True,
    "from PyQt5 import QtCore\nd = QtCore.QDate(2020, 2, 29)": False,
    "controller = 'Qt'\nQ = 'from PyQt5 import QtWidgets'": False,
    "this is no code": False,
    "import PyQt5\nPyQt5.QtWidgets.QApplication.instance()": True,
    "import vistrails.api as a\na.get_current_controller()": True,
    "from vistrails import api\napi.undo()": True,
    "import vistrails\nvistrails.api.undo()": True,
    "from vistrails.core.application import get_vistrails_application as g\ng().builderWindow": True,
    "import vistrails.core.application as a\na.get_vistrails_application().get_current_controller()": True,
    "from vistrails.packages.spreadsheet.spreadsheet_controller import spreadsheetController": True,
    "__import__('PyQt5.QtWidgets')": True,
    "import importlib\nimportlib.import_module('vistrails.gui.application')": True,
    "import vistrails.core.system as s\ns.vistrails_version()": False,
    "from vistrails.core.application import get_vistrails_application as g\ng().temp_configuration": False,
    "from PyQt5 import QtGui\nclass Q:\n    controller = 5": True,
    "class Q:\n    controller = 'vistrails.gui'": False,
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_python_sources_code_is_looked_through(source: str) -> None:
    assert window.source_needs(source) == SOURCES[source]


def test_a_python_source_that_asks_runs_in_vistrails(said: list[str]) -> None:
    flow = Flow()
    source = flow.python(
        "import os\nfrom PyQt5 import QtWidgets\nQtWidgets.QApplication.instance()\no = [i, os.getpid()]",
        {"i": "Integer"},
        {"o": "List"},
    )
    _run(said, flow, flow.map(source, "i", "o", "[1, 2, 3]"), True, "PythonSource")


# Of what VisTrails brings, by the Python module that it is in.
BUNDLED = {
    "dialogs.init": ({"TextDialog", "PasswordDialog", "YesNoDialog"}, {"Dialog"}),
    "spreadsheet.basic_widgets": (set(), {"CellLocation", "SheetReference"}),
    "spreadsheet.widgets.richtext.richtext": ({"RichTextCell", "XSLCell", "RichTextToSpreadsheet"}, set()),
    "spreadsheet.widgets.imageviewer.imageviewer": ({"ImageViewerCell", "ImageFileToSpreadsheet"}, set()),
    "spreadsheet.widgets.svg.svg": ({"SVGCell"}, set()),
    "tabledata.viewer": ({"TableCell", "TableToSpreadsheetMode"}, set()),
    "tabledata.common": (set(), {"TableOutput", "TableToFileMode", "ExtractColumn", "BuildTable"}),
    "URL.init": ({"RepoSync"}, {"DownloadFile", "HTTPDirectory"}),
    "pythonCalc.init": (set(), {"PythonCalc"}),
    "matplotlib.bases": (set(), {"MplFigure", "MplSource", "MplFigureOutput", "MplFigureToFile"}),
}


@pytest.mark.parametrize("name", BUNDLED)
def test_what_vistrails_brings_is_known_by_what_it_does(name: str) -> None:
    import importlib

    if name.startswith("matplotlib"):
        pytest.importorskip("matplotlib")
    brings = importlib.import_module(f"vistrails.packages.{name}")
    needing, others = BUNDLED[name]
    found = {each for each in needing | others if window.class_needs(getattr(brings, each))}
    assert found == needing


def test_widgets_of_ports_do_not_count() -> None:
    from userpackages.parity_window import init

    assert not window.class_needs(init.Picked)


def test_vtks_way_around_on_macs_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def compute(self):\n    from PyQt5 import QtWidgets\n    QtWidgets.QWidget(None)\n"
    names: dict[str, Any] = {"__name__": "vistrails.packages.vtk.offscreen", "__package__": "vistrails.packages.vtk"}
    exec(code, names)
    for platform, needs in (("linux", False), ("darwin", True)):
        monkeypatch.setattr("sys.platform", platform)
        kind = type("Renders", (), {"compute": names["compute"], "__module__": names["__name__"]})
        assert window._Search(names["__name__"], kind).in_attribute("compute") == needs
