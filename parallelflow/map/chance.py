"""Notes when the system is asked for random numbers, or a child gets a copy of the generators: no key of a kept result holds that.

What Python's and numpy's global generators give follows from VisTrails' seed (`seeds`). Whoever asks the system does not get the
same again: `os.urandom`, `secrets`, `random.SystemRandom`, and generators without a seed, numpy's included. A `RandomState` of
numpy's asks the system even where it has a seed, so it always counts: nobody can tell.

Runs in engines. Standard library only.
"""

from __future__ import annotations

import functools
import os
import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

# Those who need no number but a name that is nobody else's, or a password between processes, or, as numpy when it is imported,
# a generator that gets its seed later; and who passes on what others ask.
_NAMES = ("uuid", "tempfile", "multiprocessing", "numpy")
_PASS_ON = ("random", "secrets")


class Chance:
    """What has happened since it was looked at last.

    :ivar was_asked: whether the system was asked for random numbers.
    :ivar has_forked: whether this process has forked.
    """

    def __init__(self) -> None:
        self.was_asked = self.has_forked = False
        self._watches = False

    def watch(self) -> None:
        """Look out from now on. Further calls change nothing."""
        if self._watches:
            return
        self._watches = True
        os.register_at_fork(before=self._note_fork)
        plain: Any = random
        os.urandom = plain._urandom = self._noting(os.urandom, lambda given, more: True, "os")
        plain.Random.seed = self._noting(plain.Random.seed, lambda given, more: _has_no_seed(given[1:], more))
        plain.seed = self._noting(plain.seed, _has_no_seed, "random")

    def begin(self) -> None:
        """Forget what has happened."""
        self.was_asked = self.has_forked = False

    def _note_fork(self) -> None:
        self.has_forked = True

    def _noting(self, ask: Any, counts: Callable[[Any, Any], bool], module: str = "") -> Any:
        @functools.wraps(ask)
        def noting(*given: Any, **more: Any) -> Any:
            if not self.was_asked and counts(given, more) and not _is_for_a_name():
                self.was_asked = True
            return ask(*given, **more)

        if module:  # whoever pickles it finds it there
            noting.__module__, noting.__qualname__ = module, ask.__name__
        return noting


def _has_no_seed(given: tuple[Any, ...], more: dict[str, Any]) -> bool:
    return all(each is None for each in (*given[:1], *(more[name] for name in ("a", "seed") if name in more)))


def _is_for_a_name() -> bool:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") in _PASS_ON:
        frame = frame.f_back
    name = "" if frame is None else str(frame.f_globals.get("__name__", ""))
    return name.split(".")[0] in _NAMES


chance = Chance()
