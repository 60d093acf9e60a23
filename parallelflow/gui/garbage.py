"""Has Python's garbage collected in the window's thread.

Python collects in whichever thread happens to allocate, and the cluster's client has threads of its own. VisTrails leaves
objects of Qt in reference cycles; one that dies in another thread than the window's can end the whole program.
"""

from __future__ import annotations

import gc
import time

from PyQt5.QtCore import QObject, QTimer

# By itself Python collects only after so many allocations: rarely more than a moment's.
_MANY = 50_000

_EVERY = 500  # milliseconds between two looks
_ALL_EVERY = 60.0  # seconds between two collections of everything


class GarbageCollection(QObject):
    """Collects what Python would have collected, as long as it exists. Its timer needs the window's thread."""

    def __init__(self) -> None:
        super().__init__()
        self._before = gc.get_threshold()
        self._all_at = time.monotonic() + _ALL_EVERY
        # A Map collects while it runs, see `parallelflow.map.garbage`.
        gc.set_threshold(_MANY, *self._before[1:])
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.collect)
        self._timer.start(_EVERY)

    def collect(self) -> None:
        """Collect the generations whose turn it is, as Python counts them."""
        if not gc.isenabled():
            return
        due = [count > threshold for count, threshold in zip(gc.get_count(), self._before, strict=True)]
        if due[2] and time.monotonic() > self._all_at:
            gc.collect()
            self._all_at = time.monotonic() + _ALL_EVERY
        elif due[0]:
            gc.collect(1 if due[1] else 0)

    def close(self) -> None:
        """Leave it to Python again."""
        self._timer.stop()
        gc.set_threshold(*self._before)
