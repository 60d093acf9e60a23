"""Output modules in file mode, under a Map: the files that the serial Map leaves, with the same names and content."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from parity import Stage
from vistrails.core.configuration import (
    ConfigurationObject,
    get_vistrails_persistent_configuration,
    get_vistrails_temp_configuration,
)
from vistrails.core.db.locator import XMLFileLocator
from vistrails.core.interpreter.noncached import Interpreter
from vistrails.core.modules.output_modules import FileMode
from vistrails.core.utils import DummyView
from workflows import OURS, Flow

from parallelflow.cluster import session as session_module

pytestmark = pytest.mark.usefixtures("parity")

ELEMENTS = 6


@pytest.fixture(autouse=True)
def _numbers_start_anew() -> Iterator[None]:
    before = FileMode.series_next
    yield
    FileMode.series_next = before


def output(flow: Flow, source: tuple[int, str], settings: Mapping[str, Any]) -> None:
    """Add a GenericOutput that writes files."""
    sink = flow.add("GenericOutput", {"mode_type": "file", "configuration": repr({"file": dict(settings)})})
    flow.connect(*source, sink, "value")


def mapped(*settings: Mapping[str, Any], depth: int = 1, source: str = "o = 10 * i") -> Flow:
    """A Map over a Group, or a Group in Groups, with an output module for each of `settings`."""
    inner = Flow()
    function = inner.python(source, {"i": "Integer"}, {"o": "Integer"})
    for each in settings:
        output(inner, (function, "o"), each)
    for _ in range(depth):
        inner.inputs, inner.outputs = {"i": (function, "i")}, {"o": (function, "o")}
        outer = Flow()
        function = outer.group(inner)
        inner = outer
    inner.map(function, "i", "o", repr(list(range(ELEMENTS))))
    return inner


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def both(make: Any, folder: Path, there: Mapping[str, str] | None = None, start: int = 0) -> dict[str, str]:
    """Run a workflow, or several, with either Map, each in a folder of its own, and return the files that both have left.

    :param make: makes the workflows, given the folder.
    :param there: files that are there already.
    """
    found = {}
    for side in ("serial", "ours"):
        place = folder / side
        place.mkdir()
        for name, text in (there or {}).items():
            (place / name).write_text(text)
        FileMode.series_next = start
        made = make(place)
        stage = Stage(side, "plain")
        for flow in made if isinstance(made, list) else [made]:
            seen = stage.run(flow)
            assert not seen.errors, seen.errors
        found[side] = (files(place), FileMode.series_next)
    assert found["ours"] == found["serial"]
    return found["ours"][0]


def test_a_series_has_the_elements_order(tmp_path: Path) -> None:
    left = both(lambda folder: mapped({"series": True, "dir": str(folder)}), tmp_path, start=3)
    assert left == {f"vt_out{3 + index:03d}": f"{10 * index}\n" for index in range(ELEMENTS)}


def test_two_series_a_pattern_and_groups_in_groups(tmp_path: Path) -> None:
    settings = (
        {"series": True, "basename": "a", "suffix": ".txt", "seriesPadding": 5},
        {"file": os.devnull},
        {"series": True, "basename": "b", "prefix": "p-"},
    )
    left = both(lambda folder: mapped(*({**each, "dir": str(folder)} for each in settings), depth=3), tmp_path)
    assert len(left) == 2 * ELEMENTS


def test_files_are_copied_as_they_are(tmp_path: Path) -> None:
    def make(folder: Path) -> Flow:
        inner = Flow()
        source = "f = self.interpreter.filePool.create_file(suffix='.tab')\nopen(f.name, 'w').write(str(i))\no = i"
        function = inner.python(source, {"i": "Integer"}, {"o": "Integer", "f": "File"})
        settings = {"file": {"series": True, "dir": str(folder), "prefix": "é "}}
        sink = inner.add("FileOutput", {"mode_type": "file", "configuration": repr(settings)})
        inner.connect(function, "f", sink, "value")
        inner.inputs, inner.outputs = {"i": (function, "i")}, {"o": (function, "o")}
        flow = Flow()
        flow.map(flow.group(inner), "i", "o", "[0, 1, 2, 3]")
        return flow

    assert both(make, tmp_path) == {f"é vt_out{number:03d}.tab": str(number) for number in range(4)}


def test_what_is_there_is_not_overwritten_and_free_numbers_are_taken_in_order(tmp_path: Path) -> None:
    there = {"vt_out000": "old", "vt_out002": "old", "vt_out005": "old", "other": "old"}
    left = both(lambda folder: mapped({"series": True, "overwrite": False, "dir": str(folder)}), tmp_path, there)
    assert [left[f"vt_out{number:03d}"].strip() for number in (1, 3, 4, 6, 7, 8)] == ["0", "10", "20", "30", "40", "50"]
    assert there.items() <= left.items()


def test_a_second_run_and_a_second_map_go_on_where_the_first_ended(tmp_path: Path) -> None:
    def flows(folder: Path) -> list[Flow]:
        first = mapped({"series": True, "dir": str(folder)})
        return [first, mapped({"series": True, "dir": str(folder), "suffix": ".x"}), first]

    assert sorted(both(flows, tmp_path))[-1] == "vt_out017"


def test_a_relative_folder_is_that_of_vistrails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(folder: Path) -> Flow:
        (folder / "out" / "sub").mkdir(parents=True)
        monkeypatch.chdir(folder)
        return mapped({"series": True, "dir": "sub"})

    # Without a folder for output, VisTrails itself fails.
    temporary = get_vistrails_temp_configuration()
    temporary.outputDirectory = "out"
    try:
        assert "out/sub/vt_out005" in both(make, tmp_path)
    finally:
        temporary.outputDirectory = None


def test_output_settings_travel_with_the_run(tmp_path: Path) -> None:
    """Those of this session, as the command line gives them, those of the preferences, and what permissions files get."""
    temporary, persistent = get_vistrails_temp_configuration(), get_vistrails_persistent_configuration()

    def run(settings: Mapping[str, str], defaults: Mapping[str, Any], umask: int) -> set[str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()

        def make(place: Path) -> Flow:
            temporary.outputDirectory = str(place)
            temporary.outputSettings = ConfigurationObject(file=ConfigurationObject(**settings))
            persistent.outputDefaultSettings = ConfigurationObject(file=ConfigurationObject(**defaults))
            # Without a series all write the same file.
            return mapped({}, source="o = 10 * i" if "series" in settings else "o = 7 + 0 * i")

        before = os.umask(umask)
        try:
            found = set(both(make, folder))
        finally:
            os.umask(before)
            temporary.outputDirectory = None
            temporary.outputSettings = ConfigurationObject()
            persistent.outputDefaultSettings = ConfigurationObject()
        modes = {path.stat().st_mode & 0o777 for path in folder.glob("*/*")}
        assert modes == {0o666 & ~umask}
        return found

    numbers = [f"{number:03d}" for number in range(ELEMENTS)]
    assert run({"series": "True", "basename": "one"}, {}, 0o022) == {f"one{number}" for number in numbers}
    assert run({"series": "True"}, {"basename": "two"}, 0o007) == {f"two{number}" for number in numbers}
    assert run({}, {}, 0o022) == {"vt_out"}


def test_an_element_that_writes_more_files_than_its_group_shows_overwrites_none(tmp_path: Path) -> None:
    """A Map in the mapped Group runs its own elements there, and each of them writes a file."""
    innermost = Flow()
    function = innermost.python("o = i", {"i": "Integer"}, {"o": "Integer"})
    output(innermost, (function, "o"), {"series": True, "dir": str(tmp_path)})
    innermost.inputs, innermost.outputs = {"i": (function, "i")}, {"o": (function, "o")}
    inner = Flow()
    numbers = inner.python("o = [i, i + 100, i + 200]", {"i": "Integer"}, {"o": "List"})
    result = inner.map(inner.group(innermost), "i", "o", (numbers, "o"))
    inner.inputs, inner.outputs = {"i": (numbers, "i")}, {"o": (result, "Result")}
    flow = Flow()
    flow.map(flow.group(inner), "i", "o", "[0, 1, 2, 3]")
    FileMode.series_next = 0
    assert not Stage("ours", "plain").run(flow).errors
    written = sorted(int(text) for text in files(tmp_path).values())
    assert written == sorted(hundred + i for hundred in (0, 100, 200) for i in range(4))


def test_folders_that_have_been_removed_harm_no_run(
    own_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that engines were started in, the one for their temporary files, and the one that VisTrails works in."""
    monkeypatch.setattr(session_module, "_session", own_session)
    home, start, temporary = os.getcwd(), tmp_path / "start", tmp_path / "temporary"
    start.mkdir()
    temporary.mkdir()
    with monkeypatch.context() as changed:
        changed.chdir(start)
        changed.setenv("TMPDIR", str(temporary))
        own_session.client()
    shutil.rmtree(start)
    shutil.rmtree(temporary)
    flow = Flow()
    source = "import os, tempfile\nwith tempfile.TemporaryFile():\n    o = os.path.isdir(os.getcwd())"
    flow.map(flow.python(source, {"i": "Integer"}, {"o": "Boolean"}), "i", "o", "[1, 2, 3]")
    gone = tmp_path / "gone"
    gone.mkdir()
    for here in (home, str(gone)):
        os.chdir(here)
        if here != home:
            gone.rmdir()
            own_session.start_engines(1)
        try:
            result = Interpreter.get().execute(
                flow.build(OURS), locator=XMLFileLocator(str(tmp_path / "foo.xml")), current_version=1, view=DummyView()
            )
            assert not result.errors, result.errors
            assert result.objects[1].get_output("Result") == [True] * 3
        finally:
            os.chdir(home)
