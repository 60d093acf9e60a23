"""Files that VisTrails' packages keep in the user's folder, which all engines of the user share: caches, stores, databases.

A package whose code asks VisTrails for that folder keeps files there, as far as anyone can tell. Its modules run one at a time:
each holds a lock while it computes, but not while what is upstream of it does. A file that such a module writes anew appears as a
whole, when it is closed, so that nobody who has its name already reads half of it.

The queues that ``tej`` has on servers are installed by one process at a time, too.

May import VisTrails and the map room.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import hashlib
import io
import itertools
import os
import re
import stat
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from parallelflow.map import remote_queues

with contextlib.suppress(ImportError):  # there is none on Windows
    import fcntl

# What is known of VisTrails' own packages. These read the files that the user has put there, and make none.
_ONLY_READ = frozenset({"org.vistrails.vistrails.cltools", "org.vistrails.vistrails.vtk"})
# These may keep their store elsewhere, if their preferences say so.
_KEEP_ELSEWHERE = frozenset({"org.vistrails.vistrails.persistence", "org.vistrails.vistrails.persistent_archive"})
# These have files of their own for each value on a port: two modules with different values do not meet.
_APART_BY_PORT = {"org.vistrails.vistrails.url": "url"}

# How code asks for the folder.
_ASKS = re.compile(rb"""dot_?vistrails|get_vistrails_directory|["'/~]\.vistrails["'/]""", re.IGNORECASE)

# A package's own word, beside its identifier: False says that its modules may run at the same time.
OWN_WORD = "shares_files"

_LOCKS = ".parallelflow_locks"
_PART = ".parallelflow_part_"


class CannotLock(Exception):
    """The user's folder is on a file system without locks; `str()` is a sentence."""


class _Locks:
    """Locks that a process holds: of one file, a byte for each, so that they go with the process, but not to its children."""

    def __init__(self, folder: str):
        self._file = os.open(os.path.join(folder, _LOCKS), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._held: dict[int, int] = {}
        self._turn = threading.RLock()

    def acquire(self, name: str) -> int:
        """Wait for a lock, which this process may hold already."""
        place = int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:7], "little")
        self._turn.acquire()
        try:
            if not self._held.get(place):
                fcntl.lockf(self._file, fcntl.LOCK_EX, 1, place)
            self._held[place] = self._held.get(place, 0) + 1
        except BaseException:  # an interrupt, for instance
            self._turn.release()
            raise
        return place

    def release(self, place: int) -> None:
        """Give a lock back, as often as it was acquired."""
        self._held[place] -= 1
        if not self._held[place]:
            del self._held[place]
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
        self._turn.release()

    @contextlib.contextmanager
    def let_go(self) -> Iterator[None]:
        """Give all back for a while."""
        held, self._held = self._held, {}
        for place in held:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
        try:
            yield
        finally:
            self._held = held  # first, because an interrupt may end the waiting
            for place in sorted(held):  # in an order that is the same everywhere
                fcntl.lockf(self._file, fcntl.LOCK_EX, 1, place)

    def any_held(self) -> bool:
        """Whether this process holds one."""
        return bool(self._held)


_locks: _Locks | None = None
_enabling: str | None = None  # the package that is being loaded
_asked = False
_sharers: set[str] = set()


def open_in_this_process() -> None:
    """Have VisTrails tell which packages ask for the user's folder. To be called before any package is loaded, once."""
    import vistrails.core.system

    folder_of_user = vistrails.core.system.current_dot_vistrails

    @functools.wraps(folder_of_user)
    def current_dot_vistrails(conf: Any = None) -> Any:
        global _asked
        if _enabling is not None and conf is None and not _asked:
            _asked = True
            # Until it is loaded: two that make what they keep there would be in each other's way. Not the lock that modules
            # hold, who may take their time.
            _loading.enter_context(_locked(f"loading {_enabling}"))
        return folder_of_user(conf)

    vistrails.core.system.current_dot_vistrails = current_dot_vistrails


def let_upstream_run() -> None:
    """Have modules hold no lock while what is upstream of them runs. To be called once, when `Module` is as it will be."""
    from vistrails.core.modules.vistrails_module import Module

    update_all_upstream = Module.update_upstream

    @functools.wraps(update_all_upstream)
    def update_upstream(self: Module) -> None:
        if _locks is None or not _locks.any_held():
            update_all_upstream(self)
            return
        with _locks.let_go():
            update_all_upstream(self)

    Module.update_upstream = update_upstream


_loading = contextlib.ExitStack()


@contextlib.contextmanager
def loading(identifier: str) -> Iterator[None]:
    """While a package is loaded: find out whether it keeps files, and if so, see to its modules.

    :param identifier: the package's.
    """
    global _enabling, _asked
    before, _enabling, _asked = (_enabling, _asked), identifier, False
    try:
        yield
        asked = _asked
    finally:
        _loading.close()
        _enabling, _asked = before
    if identifier == remote_queues.IDENTIFIER:
        _sharers.add(identifier)
        remote_queues.let_one_set_up(_name(identifier), _locked)
    elif identifier not in _ONLY_READ and (identifier in _KEEP_ELSEWHERE or asked or _asks(identifier)):
        _share(identifier)


def check(identifier: str) -> None:
    """Refuse a package that keeps files where they cannot be locked.

    :param identifier: the package's.
    :raises CannotLock: if it does.
    """
    if identifier in _sharers:
        _all_locks()


def is_shared(identifier: str) -> bool:
    """Whether a package keeps files that modules in all engines use.

    :param identifier: the package's.
    """
    return identifier in _sharers


def sharers() -> dict[str, str]:
    """Return the packages that keep files which modules in all engines use: their names in Python, and their identifiers."""
    return _names_of(frozenset(_sharers))


@functools.lru_cache(maxsize=8)
def _names_of(identifiers: frozenset[str]) -> dict[str, str]:
    return {_name(identifier): identifier for identifier in identifiers}


def asks(code: bytes) -> bool:
    """Whether code asks for the user's folder.

    :param code: its text.
    """
    return _ASKS.search(code) is not None


@functools.cache
def finds_by_signature(subworkflow: type) -> bool:
    """Whether a subworkflow has modules that find what they have stored earlier by their signature.

    :param subworkflow: its class.
    """

    def in_pipeline(pipeline: Any) -> bool:
        return any(
            module.package in _KEEP_ELSEWHERE
            or ((module.is_group() or module.is_abstraction()) and in_pipeline(module.pipeline))
            for module in pipeline.module_list
        )

    return in_pipeline(getattr(subworkflow, "pipeline"))  # noqa: B009  a class that VisTrails makes


def check_locks() -> None:
    """Find out whether files in the user's folder can be locked.

    :raises CannotLock: if they cannot.
    """
    _all_locks()


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Compute when no other process does under the same name; files in the user's folder appear as a whole meanwhile.

    :param name: what computes, such as a package's identifier.
    :raises CannotLock: if files cannot be locked there.
    """
    with _locked(name), _whole_files():
        yield


def _asks(identifier: str) -> bool:
    """Whether a package's code asks for the user's folder, when it computes perhaps."""
    name = _name(identifier)
    for imported, module in list(sys.modules.items()):
        if imported == name or imported.startswith(f"{name}."):
            with contextlib.suppress(OSError):
                if asks(Path(str(getattr(module, "__file__", None))).read_bytes()):
                    return True
    return False


def _name(identifier: str) -> str:
    """The name of a VisTrails package's Python package."""
    from vistrails.core.packagemanager import get_package_manager

    package = get_package_manager().get_package(identifier)
    return f"{package.prefix}{package.codepath}"


def _share(identifier: str) -> None:
    from vistrails.core.modules.module_registry import get_module_registry
    from vistrails.core.modules.sub_module import Group
    from vistrails.core.modules.vistrails_module import Module

    if getattr(sys.modules.get(_name(identifier)), OWN_WORD, True) is False:
        return
    _sharers.add(identifier)
    for descriptor in get_module_registry().packages[identifier].descriptor_list:
        kind = descriptor.module
        if issubclass(kind, Group):
            continue  # what is in it has locks of its own
        for name in ("compute", "update_upstream"):
            step = getattr(kind, name)
            if step is not getattr(Module, name):
                setattr(kind, name, _one_at_a_time(step, identifier))


def _one_at_a_time(step: Callable[..., Any], identifier: str) -> Callable[..., Any]:
    port = _APART_BY_PORT.get(identifier)

    @functools.wraps(step)
    def run(self: Any, *arguments: Any, **more: Any) -> Any:
        name = identifier
        if port is not None and step.__name__ == "compute":
            with contextlib.suppress(Exception):  # it has no such port, or nothing there: `step` will say so
                name = f"{identifier} {self.get_input(port)}"
        with alone(name):
            return step(self, *arguments, **more)

    return run


def _all_locks() -> _Locks:
    global _locks
    if _locks is None:
        from vistrails.core.configuration import get_vistrails_configuration

        folder = get_vistrails_configuration().dotVistrails
        try:
            locks = _Locks(folder)
            locks.release(locks.acquire(""))
        except OSError as error:
            raise CannotLock(
                f"it cannot lock files in {folder!r} ({error.strerror}), as it must for a package that keeps files there which"
                " engines share: have VisTrails keep its folder on another file system (--dot-vistrails), or use the Map of"
                " the Control Flow package"
            ) from error
        _locks = locks
    return _locks


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    locks = _all_locks()
    place = locks.acquire(name)
    try:
        yield
    finally:
        locks.release(place)


# ---------------------------------------------------------------- files that appear as a whole

_plain_open: Any = io.open
_users = 0
_numbers = itertools.count()


@contextlib.contextmanager
def _whole_files() -> Iterator[None]:
    """Have files in the user's folder that are written anew replace the old ones when they are closed."""
    global _users
    _users += 1
    builtins.open = io.open = _open
    try:
        yield
    finally:
        _users -= 1
        if not _users:
            builtins.open = io.open = _plain_open


def _open(file: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
    if "w" not in mode or isinstance(file, int) or len(arguments) > 5 or more.get("opener") is not None:
        return _plain_open(file, mode, *arguments, **more)
    from vistrails.core.configuration import get_vistrails_configuration

    folder = os.path.realpath(get_vistrails_configuration().dotVistrails)
    path = os.path.realpath(os.fsdecode(file))
    # One that is not there yet nobody else has the name of.
    if not path.startswith(folder + os.sep) or not os.path.isfile(path):
        return _plain_open(file, mode, *arguments, **more)
    there = os.stat(path)
    same = os.stat(folder).st_dev == there.st_dev
    part = os.path.join(folder if same else os.path.dirname(path), f"{_PART}{os.getpid()}_{next(_numbers)}")

    def opener(name: str, flags: int) -> int:
        if not os.access(path, os.W_OK):
            return os.open(path, flags)  # which says why not
        return os.open(part, flags, stat.S_IMODE(there.st_mode))

    opened = _plain_open(file, mode, *arguments, opener=opener, **more)
    _put_in_place_when_closed(opened, part, path)
    return opened


def _put_in_place_when_closed(opened: Any, part: str, path: str) -> None:
    known = weakref.ref(opened)

    def close() -> None:
        file = known()
        if file is None or file.closed:
            return
        try:
            type(file).close(file)
        except BaseException:
            os.unlink(part)
            raise
        # Where the old one has been removed meanwhile, the new one would have been removed in its place.
        if os.path.exists(path):
            os.replace(part, path)
        else:
            os.unlink(part)

    opened.close = close
