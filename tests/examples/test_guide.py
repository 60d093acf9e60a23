"""The pages "Ten minutes" and "Examples" say what is there: the code that is tried for the pictures, the files, the aliases."""

from __future__ import annotations

import importlib.util
import re
import textwrap
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from example_runs import EXAMPLES, ROOT

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    """The script that does what "Ten minutes" says, and photographs it."""
    spec = importlib.util.spec_from_file_location("follow_ten_minutes", DOCS / "follow_ten_minutes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ten_minutes_has_the_code_the_list_and_the_result_that_were_tried(reader: ModuleType) -> None:
    page = (DOCS / "ten_minutes.rst").read_text(encoding="utf-8")
    assert textwrap.indent(reader.CODE, "    ") in page
    blocks = re.search(r"``(\[0, 1,[^`]*)``", re.sub(r"\s{4,}[a-z].*\n\s+", " ", page))
    assert blocks is not None
    numbers = re.findall(r"\d+", blocks[1])
    assert numbers == re.findall(r"\d+", reader.BLOCKS)
    assert reader.RESULT in page


def test_each_example_has_its_section() -> None:
    page = (DOCS / "examples.rst").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.vt"):
        assert f"\n{path.name}\n{'-' * len(path.name)}\n" in page


def test_the_aliases_that_are_named_are_those_that_there_are() -> None:
    sections = re.split(r"\n(\w+\.vt)\n-+\n", (DOCS / "examples.rst").read_text(encoding="utf-8"))
    for name, text in zip(sections[1::2], sections[2::2], strict=True):
        named = set(re.findall(r"``(\w+)``", (re.search(r"Aliases:(.*?)(\n\n|\Z)", text, re.DOTALL) or ["", ""])[1]))
        with zipfile.ZipFile(EXAMPLES / name) as archive:
            saved = archive.read("vistrail").decode()
        assert named == set(re.findall(r' alias="([a-z]\w*)"', saved)), name  # explorations have numbers there


@pytest.mark.parametrize("picture", sorted(DOCS.glob("pictures/*")), ids=lambda path: path.name)
def test_a_picture_is_not_too_large(picture: Path) -> None:
    assert picture.stat().st_size < 150_000
