"""Sphinx configuration of the user's guide."""

import re
from pathlib import Path

project = "Parallel Flow for VisTrails"
author = "the Parallel Flow developers"
copyright = f"2026, {author}"
release = re.search(
    r'__version__ = "(.+?)"', Path(__file__).parent.parent.joinpath("parallelflow/__init__.py").read_text()
)[1]
version = release

extensions = ["sphinx.ext.autodoc"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Map on every core and machine", "page_width": "1000px"}
