"""The numbers of files that output modules write in series, ``out000``, ``out001`` and so on.

VisTrails counts them in the order in which they are written. An engine sees only some of the elements, and gives each the
number that it gets there: the run's first number, plus the element's index times the files that an element writes. Where
existing files are not to be overwritten, numbers that are taken when the run begins are left out; which these are, the
first engine to write into a folder notes down for all.

May import VisTrails.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace
from typing import Any

from vistrails.core.modules.basic_modules import Dictionary
from vistrails.core.modules.output_modules import FileMode, OutputModule

with contextlib.suppress(ImportError):  # there is none on Windows
    import fcntl

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Where a run's numbers begin.

    :ivar name: the run's.
    :ivar number: the first number.
    :ivar elements: how many elements there are.
    """

    name: str
    number: int
    elements: int


def start(name: str, elements: int) -> Start:
    """Return where a run's numbers begin in this VisTrails.

    :param name: the run's.
    :param elements: how many elements there are.
    """
    return Start(name, FileMode.series_next, elements)


def go_on_after(number: int) -> None:
    """Have this VisTrails go on with later numbers than engines have given.

    :param number: what `Series.after` was there.
    """
    FileMode.series_next = max(FileMode.series_next, number)


class Series:
    """The numbers that elements on this engine get in one run.

    :param begin: where they begin.
    :param each: how many an element takes.
    :param shared: a folder that all engines see which see the same files.
    """

    def __init__(self, begin: Start, each: int, shared: str):
        self._start = begin
        self._each = max(1, each)
        self._shared = shared
        self._index = self._taken = 0
        self._free: dict[str, tuple[list[int], Iterator[int]]] = {}
        self._listings: dict[str, frozenset[str]] = {}
        self.after = begin.number

    def begin(self, index: int) -> None:
        """Begin an element.

        :param index: its index in the user's list.
        """
        self._index, self._taken = index, 0

    def number(self, path: Callable[[int], str], overwrites: bool) -> int:
        """Return the next number for the present element.

        :param path: what the file with a number is called.
        :param overwrites: whether a file that is there already may be overwritten.
        """
        place = self._place()
        found = self._start.number + place if overwrites else self._free_number(place, path)
        self._taken += 1
        self.after = max(self.after, found + 1)
        return found

    def _place(self) -> int:
        """How many numbers come before; no two calls in a run, on whichever engine, get the same."""
        more = self._taken - self._each
        if more < 0:
            return self._index * self._each + self._taken
        if more == 0:
            _log.warning(
                "An element writes more files in series than its modules show: numbers are not in the list's order."
            )
        return self._start.elements * (self._each + more) + self._index

    def _free_number(self, place: int, path: Callable[[int], str]) -> int:
        pattern = path(0)
        if pattern not in self._free:
            self._free[pattern] = ([], count(self._start.number))
        free, candidates = self._free[pattern]
        while len(free) <= place:
            number = next(candidates)
            folder, name = os.path.split(path(number))
            if name not in self._listing(folder):
                free.append(number)
        return free[place]

    def _listing(self, folder: str) -> frozenset[str]:
        """What was in a folder before any element of this run has written into it."""
        folder = os.path.abspath(folder)
        if folder not in self._listings:
            mark = hashlib.sha256(folder.encode(errors="surrogateescape")).hexdigest()[:16]
            note = os.path.join(self._shared, f"parallelflow_series_{self._start.name}_{mark}")
            with open(note, "a+", encoding="ascii") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                text = file.read()
                if not text:
                    text = json.dumps(os.listdir(folder) if os.path.isdir(folder) else [])
                    file.write(text)
            self._listings[folder] = frozenset(json.loads(text))
        return self._listings[folder]


_current: Series | None = None
_number: int | None = None


def use(series: Series) -> None:
    """Have output modules of this process take their numbers from `series`.

    :param series: the present run's.
    """
    global _current
    _current = series
    FileMode.get_series_num = _get_series_num
    FileMode.get_filename = _get_filename


_get_any_filename = FileMode.get_filename


class _Overwriting:
    """A file's settings, but for one: what is there may be overwritten."""

    def __init__(self, settings: Any):
        self._settings = settings

    def __getitem__(self, name: str) -> Any:
        return True if name == "overwrite" else self._settings[name]

    def __contains__(self, name: str) -> bool:
        return name in self._settings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._settings, name)


def _get_series_num(self: Any) -> int:
    assert _current is not None
    return _current.number(str, True) if _number is None else _number


def _get_filename(self: Any, configuration: Any, *args: Any, **kwargs: Any) -> Any:
    assert _current is not None
    path = _paths(self, configuration, *args, **kwargs)
    if path(0) == path(1):
        return _get_any_filename(self, configuration, *args, **kwargs)
    return path(_current.number(path, configuration["overwrite"]))


def _paths(mode: Any, configuration: Any, *args: Any, **kwargs: Any) -> Callable[[int], str]:
    """Return what names the file by its number in a series; where there is none, it gives the same for each."""
    overwriting = _Overwriting(configuration)

    def path(number: int) -> str:
        global _number
        _number = number
        try:
            return str(_get_any_filename(mode, overwriting, *args, **kwargs))
        finally:
            _number = None

    return path


def files_in_series(modules: Iterable[Any]) -> int:
    """Count the output modules that write a file of a series each time they run, Groups searched through.

    :param modules: the modules, as VisTrails stores them.
    """
    number = 0
    for module in modules:
        if module.is_group() or module.is_abstraction():
            number += files_in_series(module.pipeline.module_list)
        elif issubclass(module.module_descriptor.module, OutputModule):
            number += _writes_series(module)
    return number


def _writes_series(module: Any) -> bool:
    presets = {function.name: function.params[0].strValue for function in module.functions if function.params}
    kind = module.module_descriptor.module
    if "mode_type" in presets:
        mode = kind.get_mode_class(presets["mode_type"])
    else:
        mode = next((each for each in kind.get_sorted_mode_list() if each.can_compute()), None)
    if mode is None or not issubclass(mode, FileMode):
        return False
    text = presets.get("configuration")
    settings = None if text is None else Dictionary.translate_to_python(text)
    asked = SimpleNamespace(force_get_input=lambda port: settings)
    path = _paths(mode(), kind.get_mode_config(asked, mode()))
    try:
        return path(0) != path(1)
    except Exception:  # it will be the element's error
        return False


def shared_folder(file_pool: str) -> str:
    """Return a folder that engines share which see the same files.

    :param file_pool: VisTrails' file pool, which may be out of reach.
    """
    return file_pool if os.path.isdir(file_pool) and os.access(file_pool, os.W_OK) else tempfile.gettempdir()
