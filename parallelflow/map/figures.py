"""Figures that elements open in matplotlib's pyplot on an engine: they are closed as soon as nobody there has them.

pyplot keeps a figure until it is closed. In VisTrails a cell of the spreadsheet closes its figure when the cell goes; on an engine
there are no cells, and thousands of elements.

Imports nothing: matplotlib is asked where an element has loaded it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

# A chunk that has opened so many figures gives the rest of its elements back, for none is closed before it is sent. From the 21st
# on pyplot warns.
_MANY = 15


class Figures:
    """The figures that have been opened in pyplot while something was watched, and are still open."""

    def __init__(self) -> None:
        self._before: list[Any] = []
        self._opened: list[Any] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take note of figures that are opened meanwhile."""
        self._before = _managers()
        try:
            yield
        finally:
            self._opened += [each for each in _managers() if each not in self._before]

    def are_many(self) -> bool:
        """Whether so many have been opened since they are watched that it is time to close them."""
        return _count() - len(self._before) >= _MANY

    def close(self, used: Iterable[Any]) -> None:
        """Close those that nobody uses.

        :param used: values that are used; a figure is kept that is one of them, or that a part of it is.
        """
        if not self._opened:
            return
        kept = {id(figure) for figure in figures_of(used)}
        still_open, self._opened = [each for each in _managers() if each in self._opened], []
        for manager in still_open:
            if id(manager.canvas.figure) in kept:
                self._opened.append(manager)
            else:
                _destroy(manager)


def close(values: Iterable[Any]) -> None:
    """Close the figures that values are, or are a part of.

    :param values: any values.
    """
    unused = {id(figure) for figure in figures_of(values)}
    for manager in _managers():
        if id(manager.canvas.figure) in unused:
            _destroy(manager)


def figures_of(values: Iterable[Any]) -> list[Any]:
    """Return the figures that values are or are drawn in, those in lists and the like included.

    :param values: any values.
    """
    artist = sys.modules.get("matplotlib.artist")
    if artist is None:
        return []
    found = []
    for value in values:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
        for part in parts:
            if isinstance(part, artist.Artist):
                figure = part.figure
                while figure is not None and figure.figure not in (None, figure):  # a part of a figure
                    figure = figure.figure
                found.append(figure)
    return found


def _managers() -> list[Any]:
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    return [] if helpers is None else list(helpers.Gcf.figs.values())


def _count() -> int:
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    return 0 if helpers is None else len(helpers.Gcf.figs)


def _destroy(manager: Any) -> None:
    sys.modules["matplotlib._pylab_helpers"].Gcf.destroy(manager)
