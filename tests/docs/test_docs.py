"""The guide builds without a warning, and what its pages and the README point to is there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parent.parent.parent
DOCS = CLONE / "docs"
PAGES = [CLONE / "README.rst", *sorted(DOCS.glob("*.rst")), *sorted((CLONE / "examples").rglob("*.rst"))]


@pytest.mark.slow
def test_the_guide_builds_without_a_warning(tmp_path: Path) -> None:
    # As `make docs` does it.
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", DOCS, tmp_path / "html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "html" / "reference.html").read_text(encoding="utf-8")
    names = _public_names()
    assert len(names) > 200
    assert [name for name in names if f'id="{name}"' not in reference] == []
    for name in ("cluster.session.Session.client", "map.chunks.ChunkPolicy.next_size"):  # methods, too
        assert f'id="parallelflow.{name}"' in reference, name


def _public_names() -> list[str]:
    """Every class and function that our modules define, but for what begins with an underscore."""
    names = []
    for path in sorted((CLONE / "parallelflow").rglob("*.py")):
        parts = path.relative_to(CLONE).with_suffix("").parts
        if path.name == "__main__.py":
            continue
        module = ".".join(part for part in parts if part != "__init__")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                names.append(f"{module}.{node.name}")
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CLONE)))
def test_the_pictures_and_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    directives = re.findall(r"^ *\.\. (?:image|figure|literalinclude|include):: +(\S+)$", text, re.MULTILINE)
    links = re.findall(r"`[^`<]+<([^`>:]+)>`__", text)
    assert [name for name in (*directives, *links) if not (page.parent / name).is_file()] == []


def test_every_picture_is_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    pictures = [
        path for path in DOCS.rglob("*.*") if path.suffix in (".png", ".jpg", ".svg") and "_build" not in path.parts
    ]
    assert len(pictures) > 20
    assert [path.name for path in pictures if f"{path.parent.name}/{path.name}\n" not in text] == []
