"""Sphinx configuration of the user's guide."""

import ast
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from PyQt5.QtCore import pyqtSignal
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # the reference imports the dialogs

ROOT = Path(__file__).resolve().parent.parent

project = "Parallel Flow for VisTrails"
author = "the Parallel Flow developers"
copyright = f"2026, {author}"
release = re.search(r'__version__ = "(.+?)"', (ROOT / "parallelflow/__init__.py").read_text())[1]
version = release

extensions = ["sphinx.ext.autodoc"]
# What a module hands on, in `__all__`, is described under the module that it comes from.
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "all"
exclude_patterns = ["_build", "figures"]
html_theme = "alabaster"
html_theme_options = {"description": "Map on every core and machine", "page_width": "1000px"}


def _constants(module: str, text: str) -> Iterator[str]:
    """Describe the constants and names of types in a module, that have no docstring: autodoc leaves them out."""
    lines = text.splitlines()
    described = {name for _, name in ModuleAnalyzer.for_module(module).find_attr_docs()}
    for node in ast.parse(text).body:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        above = list(itertools.takewhile(lambda line: line.startswith("# "), reversed(lines[: node.lineno - 1])))
        if isinstance(target, ast.Name) and not target.id.startswith("_") and target.id not in {"log", *described}:
            value = ast.unparse(node.value) if node.value else ""
            yield f".. py:data:: {target.id}"
            if 0 < len(value) < 60:
                yield f"   :value: {value}"
            yield from ("", *(f"   {line[2:]}" for line in reversed(above)), "")


def _reference(module: str) -> str:
    """Describe all public names of a module."""
    name = module.removeprefix("parallelflow.")
    file = ROOT.joinpath(*module.split("."))
    text = (file / "__init__.py" if file.is_dir() else file.with_suffix(".py")).read_text(encoding="utf-8")
    return "\n".join([name, "~" * len(name), "", f".. automodule:: {module}", "", *_constants(module, text)])


def _references(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put every module of a room in place of ``.. the modules of ROOM``, so that none is forgotten."""

    def modules(found: re.Match[str]) -> str:
        files = sorted(ROOT.joinpath(*found[1].split(".")).glob("[!_]*.py"))
        return "\n".join(_reference(f"{found[1]}.{file.stem}") for file in files)

    if docname == "reference":
        source[0] = re.sub(r"^\.\. the modules of (\S+)$", modules, source[0], flags=re.MULTILINE)
        source[0] = re.sub(
            r"^\.\. the module (\S+)$", lambda found: _reference(found[1]), source[0], flags=re.MULTILINE
        )


def _signals(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Leave out what Qt says of signals in general."""
    if isinstance(thing, pyqtSignal):
        lines[:] = ["A signal of Qt."]


def setup(app: Sphinx) -> None:
    app.connect("source-read", _references)
    app.connect("autodoc-process-docstring", _signals)
