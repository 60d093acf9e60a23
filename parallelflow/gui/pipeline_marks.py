"""The mark on modules whose loops run in parallel, as the pipeline shows it: two arrows at the module's left edge.

VisTrails has no way to draw something on a module; so for as long as the package is enabled, its own painting is followed by ours.
"""

from __future__ import annotations

import functools
from typing import Any

from PyQt5.QtCore import QPointF
from PyQt5.QtGui import QBrush, QColor, QPainter, QPolygonF
from PyQt5.QtWidgets import QApplication
from vistrails.gui.pipeline_view import QGraphicsModuleItem

from parallelflow.map.marks import is_marked

COLOUR = QColor(30, 110, 200)

_SIZE = 6.0  # an arrow's width and height; they stand in the margin that VisTrails leaves beside a module's name
_MARGIN = 3.0

_paint = QGraphicsModuleItem.paint
_has_changed = QGraphicsModuleItem.moduleHasChanged


@functools.wraps(_paint)
def _paint_marked(self: Any, painter: QPainter, option: Any, widget: Any = None) -> None:
    _paint(self, painter, option, widget)
    if self.module is not None and is_marked(self.module):
        painter.save()
        painter.setPen(COLOUR)
        painter.setBrush(QBrush(COLOUR))
        left = self.paddedRect.left() + _MARGIN
        for top in (-_SIZE - 1.0, 1.0):
            corners = QPointF(left, top), QPointF(left + _SIZE, top + _SIZE / 2), QPointF(left, top + _SIZE)
            painter.drawPolygon(QPolygonF(corners))
        painter.restore()


@functools.wraps(_has_changed)
def _marked_or_changed(self: Any, core_module: Any) -> bool:
    return is_marked(self.module) != is_marked(core_module) or bool(_has_changed(self, core_module))


def show() -> None:
    """Have pipelines show the marks. Further calls change nothing."""
    QGraphicsModuleItem.paint = _paint_marked
    QGraphicsModuleItem.moduleHasChanged = _marked_or_changed
    _repaint()


def hide() -> None:
    """Have VisTrails draw modules as it does by itself."""
    if QGraphicsModuleItem.paint is _paint_marked:
        QGraphicsModuleItem.paint = _paint
    if QGraphicsModuleItem.moduleHasChanged is _marked_or_changed:
        QGraphicsModuleItem.moduleHasChanged = _has_changed
    _repaint()


def _repaint() -> None:
    for widget in QApplication.allWidgets():
        if hasattr(widget, "viewport"):
            widget.viewport().update()
