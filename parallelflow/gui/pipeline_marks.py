"""The mark on modules whose loops run in parallel, as the pipeline shows it: two arrows at the module's left edge.

VisTrails has no way to draw something on a module; so for as long as the package is enabled, its own painting is followed by ours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from PyQt5.QtCore import QPointF
from PyQt5.QtGui import QBrush, QColor, QPainter, QPolygonF
from PyQt5.QtWidgets import QAbstractScrollArea, QApplication

from parallelflow.gui.dialog import there
from parallelflow.map.marks import is_marked

COLOUR = QColor(30, 110, 200)

_SIZE = 9.0  # an arrow's width and height; they stand in the margin that VisTrails leaves beside a module's name
_MARGIN = 4.0


def _followed_by_mark(paint: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(paint)
    def paint_both(self: Any, painter: QPainter, option: Any, widget: Any = None) -> None:
        paint(self, painter, option, widget)
        if self.module is not None and is_marked(self.module):
            _draw(painter, self.paddedRect.left() + _MARGIN)

    return paint_both


def _draw(painter: QPainter, left: float) -> None:
    painter.save()
    painter.setPen(COLOUR)
    painter.setBrush(QBrush(COLOUR))
    for top in (-_SIZE - 1.0, 1.0):
        corners = QPointF(left, top), QPointF(left + _SIZE, top + _SIZE / 2), QPointF(left, top + _SIZE)
        painter.drawPolygon(QPolygonF(corners))
    painter.restore()


def _or_mark(has_changed: Callable[..., bool]) -> Callable[..., bool]:
    @functools.wraps(has_changed)
    def either_has_changed(self: Any, core_module: Any) -> bool:
        return is_marked(self.module) != is_marked(core_module) or has_changed(self, core_module)

    return either_has_changed


_OURS: dict[str, Callable[[Any], Any]] = {"paint": _followed_by_mark, "moduleHasChanged": _or_mark}

# By name: VisTrails' own method, and ours; empty where it draws by itself.
_methods: dict[str, tuple[Any, Any]] = {}


def show() -> None:
    """Have pipelines show the marks. Further calls change nothing. Needs Qt's application."""
    from vistrails.gui.pipeline_view import QGraphicsModuleItem  # makes pictures when it is loaded

    if not _methods:
        for name, made in _OURS.items():
            own = getattr(QGraphicsModuleItem, name)
            _methods[name] = own, made(own)
            setattr(QGraphicsModuleItem, name, _methods[name][1])
        _repaint()


def hide() -> None:
    """Have VisTrails draw modules as it does by itself."""
    from vistrails.gui.pipeline_view import QGraphicsModuleItem

    for name, (own, ours) in _methods.items():
        if getattr(QGraphicsModuleItem, name) is ours:
            setattr(QGraphicsModuleItem, name, own)
    _methods.clear()
    _repaint()


def _repaint() -> None:
    for widget in QApplication.allWidgets():
        if isinstance(widget, QAbstractScrollArea):
            there(widget.viewport()).update()
