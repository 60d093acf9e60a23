"""What holds for every dialog, opened alone with made-up states."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from play import Seen

from parallelflow.cluster import errors

pytestmark = pytest.mark.window

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ["", "cluster", "results", "map", "explorations", "gui", "ipyparallel_flow"]  # command lines are in English
SOURCES = [path for room in ROOMS for path in (ROOT / "parallelflow" / room).glob("*.py")]


@pytest.fixture
def extracted(clean_home: Path) -> Path:
    """What translators get, made as `parallelflow.gui.texts` says."""
    path = clean_home / "parallelflow.ts"
    command = [sys.executable, "-m", "PyQt5.pylupdate_main", "-tr-function", "tr", "-tr-function", "tr_count"]
    subprocess.run([*command, *map(str, SOURCES), "-ts", str(path)], check=True, timeout=300)
    return path


def test_every_dialog_can_be_read_and_used_from_the_keyboard_in_any_language(
    play: Callable[..., Seen], extracted: Path
) -> None:
    seen = play("dialogs", TRANSLATION=str(extracted))
    assert seen["faults"] == []
    assert seen["cancelled by Escape"] == [True, True]
    assert "They share the cores" in seen["shown"]["start-full"]
    assert "This machine" not in seen["shown"]["start-elsewhere"]
    assert "They share the cores" not in seen["shown"]["start-elsewhere"]
    assert "They end when VisTrails does" in seen["shown"]["need"]
    assert "on this machine" not in seen["shown"]["need-elsewhere"]
    assert "They run on when VisTrails ends" in seen["shown"]["need-elsewhere"]
    assert "2 engines" in seen["shown"]["shutdown-without-controller"]
    assert "no engines" not in seen["shown"]["shutdown-without-controller"]
    assert "left 1 process running. It can be used" in seen["shown"]["orphan"]
    assert seen["sorted"]["Memory"] == ["2", "1", "4", "0", "3"]
    assert seen["sorted"]["CPU"] == ["3", "0", "2", "4", "1"]
    assert seen["sorted"]["Process"] == ["4", "3", "2", "1", "0"]
    assert seen["not translated"] == []
    assert seen["error"].startswith("«There is no IPython profile 'nowhere'")
    assert seen["numbers"] == ["«1 engines»", "«1,200 engines»"]


def test_every_dialog_fits_a_screen_at_twice_the_size(play: Callable[..., Seen], screen: dict[str, str]) -> None:
    seen = play("dialogs", QT_SCALE_FACTOR="2", **screen)
    assert seen["faults"] == []
    assert seen["menu"][0] == "Start new engine processes"


def test_translators_get_every_text(extracted: Path) -> None:
    messages = ElementTree.parse(extracted).getroot().findall("context[name='@default']/message")
    offered = {(each.findtext("source"), each.findtext("comment") or "") for each in messages}
    texts = {text for path in SOURCES for text in _texts(path)}
    assert texts <= offered
    rooms = {path.parent.name for path in SOURCES if list(_texts(path))}
    assert {"gui", "cluster", "ipyparallel_flow"} <= rooms


def _calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """The calls in a source file, with the names of what is called."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
            yield node.func.id if isinstance(node.func, ast.Name) else node.func.attr, node


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """The literal texts that are given to `tr` and `tr_count`; that something else is, this does not let pass."""
    for name, call in _calls(path):
        if name in ("tr", "tr_count"):
            given = [_literal(path, each) for each in call.args[: 1 if name == "tr" else 2]]
            yield given[0], "".join(given[1:])


def _literal(path: Path, given: ast.expr) -> str:
    assert isinstance(given, ast.Constant), f"{path}:{given.lineno}: no literal text, so translators do not find it"
    return str(given.value)


# What is called with something that the user reads, besides the errors.
_SAYS = ("report", "pause", "call", "locked", "failure", "_lose", "CommandFailed", "LauncherError")


def test_whatever_the_cluster_says_can_be_translated() -> None:
    error_names = [
        name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)
    ]
    assert "StartError" in error_names
    faults = [
        f"{path.name}:{call.lineno}"
        for path in (ROOT / "parallelflow" / "cluster").glob("*.py")
        for name, call in _calls(path)
        if name in (*error_names, *_SAYS)
        for given in (*call.args, *(keyword.value for keyword in call.keywords))
        if any(_is_text(each) for each in _parts(given))
    ]
    assert faults == []


def _parts(given: ast.expr) -> Iterator[ast.expr]:
    """An argument, or what it is put together from or chosen from."""
    if isinstance(given, ast.BinOp):
        yield from (*_parts(given.left), *_parts(given.right))
    elif isinstance(given, ast.IfExp):
        yield from (*_parts(given.body), *_parts(given.orelse))
    elif isinstance(given, ast.BoolOp):
        for each in given.values:
            yield from _parts(each)
    else:
        yield given


def _is_text(given: ast.expr) -> bool:
    return isinstance(given, ast.JoinedStr) or (isinstance(given, ast.Constant) and isinstance(given.value, str))
