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

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*(ROOT / "parallelflow" / "gui").glob("*.py"), *(ROOT / "parallelflow" / "ipyparallel_flow").glob("*.py")]


@pytest.fixture
def extracted(clean_home: Path) -> Path:
    """What translators get, made as `parallelflow.gui.texts` says."""
    path = clean_home / "parallelflow.ts"
    command = [sys.executable, "-m", "PyQt5.pylupdate_main", "-tr-function", "tr", "-tr-function", "tr_count"]
    subprocess.run([*command, *map(str, SOURCES), "-ts", str(path)], check=True, timeout=60)
    return path


def test_every_dialog_can_be_read_and_used_from_the_keyboard_in_any_language(
    play: Callable[..., Seen], extracted: Path
) -> None:
    seen = play("dialogs", TRANSLATION=str(extracted))
    assert seen["faults"] == []
    assert seen["cancelled by Escape"] == [True, True]
    assert "They share the cores" in seen["shown"]["start-full"]
    assert "2 engines" in seen["shown"]["shutdown-without-controller"]
    assert "no engines" not in seen["shown"]["shutdown-without-controller"]
    assert "left 1 process running. It can be used" in seen["shown"]["orphan"]
    assert seen["sorted"]["Memory"] == ["2", "1", "4", "0", "3"]
    assert seen["sorted"]["CPU"] == ["3", "0", "2", "4", "1"]
    assert seen["sorted"]["Process"] == ["4", "3", "2", "1", "0"]
    assert seen["not translated"] == []
    assert seen["numbers"] == ["«1 engines»", "«1,200 engines»"]


def test_every_dialog_fits_a_screen_at_twice_the_size(play: Callable[..., Seen], screen: dict[str, str]) -> None:
    seen = play("dialogs", QT_SCALE_FACTOR="2", **screen)
    assert seen["faults"] == []
    assert seen["menu"][0] == "Start new engine processes"


def test_translators_get_every_text(extracted: Path) -> None:
    messages = ElementTree.parse(extracted).getroot().findall("context[name='@default']/message")
    offered = {(each.findtext("source"), each.findtext("comment") or "") for each in messages}
    assert {text for path in SOURCES for text in _texts(path)} <= offered


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """The literal texts that are given to `tr` and `tr_count`; that something else is, this does not let pass."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("tr", "tr_count"):
            given = [ast.literal_eval(each) for each in node.args[: 1 if node.func.id == "tr" else 2]]
            yield given[0], "".join(given[1:])
