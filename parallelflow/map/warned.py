"""Warnings of Python that are shown once for each place in the code: once for all engines, as for all elements of the serial Map.

Python notes in a Python module what it has warned of there, and forgets all notes when somebody changes its filters for warnings.
Each process has notes of its own: every engine would show such a warning, and one that has served another VisTrails before
would not show it at all. An engine therefore begins each chunk with nothing noted, and puts marks into the text: around what
is shown, and where filters were changed. VisTrails goes through the text in the list's order, and shows what Python would.

The first half runs on engines, the second on the client. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

# What marks say: the place of the warning that begins here; that it ends; that all notes are forgotten from here on. A place
# that Python never forgets (the filters' action "once") begins with a letter that no other one begins with.
_END, _FORGOTTEN, _FOR_GOOD = "", "!", "x"

# ------------------------------------------------------------ on engines


# Which functions Python has forget, in one version or another; what changes filters calls them.
_FORGET = ("_filters_mutated", "_filters_mutated_lock_held")


class Warned:
    """What this process warns of.

    :param mark: writes bytes between what is printed on standard error.
    :param key: what marks begin with; twelve hexadecimal digits.
    """

    def __init__(self, mark: Callable[[bytes], None], key: bytes):
        self._mark, self._key = mark, key
        self._pid = os.getpid()
        self._forgotten = False
        self._modules = 0
        self._show = getattr(warnings, "_showwarnmsg", None)
        if self._show is not None:
            warnings._showwarnmsg = self._marked  # type: ignore[attr-defined]
            for name in _FORGET:
                if hasattr(warnings, name):
                    setattr(warnings, name, self._noting(getattr(warnings, name)))

    def begin(self) -> None:
        """Begin a chunk, with nothing noted."""
        with warnings.catch_warnings():  # which has Python forget
            getattr(warnings, "onceregistry", {}).clear()
        self._forgotten, self._modules = False, len(sys.modules)

    def look(self) -> None:
        """Mark that notes have been forgotten, if they have been since this was last called."""
        modules, self._modules = self._modules, len(sys.modules)
        forgotten, self._forgotten = self._forgotten, False
        # What changes filters when it is imported is imported by each engine, and by the serial Map once.
        if forgotten and modules == self._modules:
            self._write(_FORGOTTEN)

    def _noting(self, forget: Callable[[], None]) -> Callable[[], None]:
        def note_and_forget() -> None:
            self._forgotten = True
            forget()

        return note_and_forget

    def _marked(self, message: Any) -> None:
        """Show a warning in the way that is usual at the time."""
        assert self._show is not None
        place = _place(message) if os.getpid() == self._pid else None
        if place is None:
            self._show(message)
            return
        self.look()
        self._write(place)
        try:
            self._show(message)
        finally:
            self._write(_END)

    def _write(self, what: str) -> None:
        self._mark(b"\0%s:w%s\0" % (self._key, what.encode()))


def _place(message: Any) -> str | None:
    """Where Python will not warn of the same again, in short; None if it will for the next element."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and (frame.f_lineno != message.lineno or frame.f_code.co_filename != message.filename):
        frame = frame.f_back
    if frame is None:
        return None
    name = str(frame.f_globals.get("__name__"))
    if getattr(sys.modules.get(name), "__dict__", None) is not frame.f_globals:
        return None  # code that is run anew for each element, with nothing noted
    text, kind = str(message.message), message.category
    noted = frame.f_globals.get("__warningregistry__", {})
    begin, parts = "", tuple[object, ...]()
    if (text, kind) in getattr(warnings, "onceregistry", {}):
        begin = _FOR_GOOD
    elif (text, kind, 0) in noted:
        parts = (name,)
    elif (text, kind, message.lineno) in noted:
        parts = (name, message.lineno)
    else:
        return None
    what = repr((text, kind.__module__, kind.__qualname__, *parts))
    return begin + hashlib.sha256(what.encode(errors="surrogatepass")).hexdigest()[:16]


# ------------------------------------------------------------ on the client

_MARK = re.compile(rf"\0[0-9a-f]{{12}}:w([0-9a-f]*|{_FORGOTTEN}|{_FOR_GOOD}[0-9a-f]*)\0")

_shown: set[str] = set()


def shown_once(text: str) -> str:
    """Return a text without its marks, and without the warnings that Python would not show again.

    :param text: what elements have printed on standard error, to be shown now.
    """
    first, *rest = _MARK.split(text)
    kept, skips = [first], False
    for mark, part in zip(rest[::2], rest[1::2], strict=True):
        if mark == _FORGOTTEN:
            _shown.difference_update([each for each in _shown if not each.startswith(_FOR_GOOD)])
        else:
            skips = mark in _shown
            if mark != _END:
                _shown.add(mark)
        if not skips:
            kept.append(part)
    return "".join(kept)


def without_marks(text: str) -> str:
    """Return a text without its marks.

    :param text: what was printed on standard error.
    """
    return _MARK.sub("", text)
