"""``python -m parallelflow results``: what is kept of elements, listed and cleared."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from parallelflow.command_line import main
from parallelflow.results.file import Header
from parallelflow.results.store import PLACE, Store


@pytest.fixture
def store(clean_home: Path) -> Store:
    """Two results of one workflow and one of another, in VisTrails' own folder of this home."""
    made = Store(clean_home / ".vistrails" / PLACE, 10**9)
    for workflow, keys in (("one.vt", [b"a", b"b"]), ("", [b"c"])):
        writer = made.writer(Header("ab" * 32, workflow, "Map (Sum)"))
        for key in keys:
            writer.add(key, 1.0, 1.0, b"", [bytes(1_000_000)])
        writer.close()
        made.written(writer)
        os.utime(writer.path, (0.0, len(keys)))
    return made


def test_results_are_listed_and_cleared(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["WORKFLOW", "MAP", "RESULTS", "SIZE", "SINCE", "LAST", "USED"]
    assert lines[1].startswith("one.vt       Map (Sum)        2  2.0 MB  ")
    assert lines[2].startswith("(not saved)  Map (Sum)        1  1.0 MB  ")
    assert lines[-1] == f"3 results, 3.0 MB, in {store.folder}"
    assert main(["results", "list", "--workflow", "one.vt", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    (kept,) = said["kept"]
    assert said["folder"] == str(store.folder)
    assert [kept[key] for key in ("workflow", "map", "results", "used")] == ["one.vt", "Map (Sum)", 2, 2.0]
    assert 2_000_000 < kept["bytes"] < 2_002_000

    assert main(["results", "clear", "--workflow", "two.vt"]) == 1
    told = capsys.readouterr()
    assert told.err == "Nothing is kept of a workflow 'two.vt'. There are results of: 'one.vt'.\n"
    assert main(["results", "clear", "--workflow", "one.vt"]) == 0
    assert capsys.readouterr().out == "2 results cleared, 2.0 MB.\n"
    assert main(["results", "clear", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["cleared"], said["bytes"] > 1_000_000) == (1, True)
    assert list(store.folder.iterdir()) == []
    assert main(["results", "list"]) == 0
    assert capsys.readouterr().out == "No results are kept.\n"


def test_the_folder_is_that_of_the_vistrails_that_is_named(
    clean_home: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["results", "list", "--json", "--vistrails-dir", str(clean_home / "other")]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(clean_home / "other" / PLACE), "kept": []}
    with pytest.raises(SystemExit) as ended:
        main(["results", "forget"])
    assert ended.value.code == 2
