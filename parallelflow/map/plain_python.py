"""Lets elements find Python as it is in a program of its own, not in an IPython kernel.

An engine is a kernel: it runs in an event loop, says that it is IPython, and has set environment variables for what people call
from a notebook. VisTrails is none, so while elements run, an engine looks like none.

May import IPython, psutil and the standard library.
"""

from __future__ import annotations

import asyncio
import builtins
import importlib.util
import locale
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import psutil
from IPython.core.interactiveshell import InteractiveShell

# What IPython and ipykernel set in their environment, which children inherit.
KERNELS_VARIABLES = (
    "TERM",
    "CLICOLOR",
    "FORCE_COLOR",
    "CLICOLOR_FORCE",
    "PAGER",
    "GIT_PAGER",
    "MPLBACKEND",
    "PYDEVD_DISABLE_FILE_VALIDATION",
    "PYDEVD_USE_FRAME_EVAL",
)

# What starts an engine tells it by these, its cluster's key among it. Elements' children would join that cluster.
_FOR_ENGINES = ("IPP_CONNECTION_INFO", "IPP_CLUSTER_ID", "IPP_PROFILE_DIR")

# What IPython adds to Python's built-in names.
_BUILTINS = ("__IPYTHON__", "display", "get_ipython")

# matplotlib's backends that need no window.
_WITHOUT_WINDOW = frozenset({"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"})

# What IPython puts in the place of Python's own functions.
_HOOKS = ("breakpointhook", "displayhook")

# By which programs tell that somebody types at a prompt.
_PROMPTS = ("ps1", "ps2", "ps3")

_Values = dict[str, str | None]


class PlainPython:
    """What elements find in this process instead of what the kernel does; what they change of it stays for those after them."""

    def __init__(self) -> None:
        self._variables = _at_start()
        self._policy: Any = None
        self._hooks = {name: getattr(sys, f"__{name}__") for name in _HOOKS}
        with suppress(locale.Error):  # VisTrails does so; a host may lack the user's language
            locale.setlocale(locale.LC_ALL, "")
        if "matplotlib" in sys.modules:
            _take_no_window(sys.modules["matplotlib"])
        else:
            sys.meta_path.insert(0, _Matplotlib())

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """While in this context, this process is no kernel."""
        variables = {name: os.environ.get(name) for name in self._variables}
        shells = {kind: kind.__dict__["_instance"] for kind in _shell_classes() if kind.__dict__.get("_instance")}
        names = {name: builtins.__dict__[name] for name in _BUILTINS if name in builtins.__dict__}
        hooks = {name: getattr(sys, name) for name in _HOOKS}
        prompts = {name: vars(sys).pop(name) for name in _PROMPTS if hasattr(sys, name)}
        loop = asyncio._get_running_loop()
        task = _swap_task(loop, None)
        policy = _policy()
        main = sys.modules["__main__"]
        finds_in_folder = (
            "" in sys.path
        )  # what lies in the working folder is no module; VisTrails' own path may have that folder
        try:
            sys.path[:] = [entry for entry in sys.path if entry]
            asyncio._set_running_loop(None)
            _set_policy(self._policy or type(policy)())
            _set(self._variables)
            vars(sys).update(self._hooks)
            for kind in shells:
                kind._instance = None
            for name in names:
                delattr(builtins, name)
            sys.modules["__main__"] = _program(shells, main)
            yield
        finally:
            if finds_in_folder:
                sys.path.insert(0, "")
            self._variables = {name: os.environ.get(name) for name in self._variables}
            self._policy = _policy()
            self._hooks = {name: getattr(sys, name) for name in _HOOKS}
            vars(sys).update({**hooks, **prompts})
            for name, value in names.items():
                setattr(builtins, name, value)
            for kind, shell in shells.items():
                kind._instance = shell
            sys.modules["__main__"] = main
            _set(variables)
            _set_policy(policy)
            asyncio._set_running_loop(loop)
            _swap_task(loop, task)


@cache
def plain_python() -> PlainPython:
    """Return what this process's elements find, which begins to exist when it is first asked for."""
    return PlainPython()


def _at_start() -> _Values:
    """What the kernel's variables were when this process was started."""
    try:
        before = psutil.Process().environ()
    except (psutil.Error, OSError):
        before = {}
    return {**{name: before.get(name) for name in KERNELS_VARIABLES}, **dict.fromkeys(_FOR_ENGINES)}


def _set(variables: _Values) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        elif os.environ.get(name) != value:
            os.environ[name] = value


def _shell_classes() -> list[Any]:
    """The classes by which IPython's one shell is found: its own and all that that is made from."""
    shell = InteractiveShell._instance
    return [] if shell is None else [kind for kind in type(shell).__mro__ if "_instance" in kind.__dict__]


def _program(shells: dict[Any, Any], main: ModuleType) -> ModuleType:
    """The module that this process runs. IPython has put one without a file in its place, as only a prompt's has none."""
    for shell in shells.values():
        program = getattr(shell, "_orig_sys_modules_main_mod", None)
        if isinstance(program, ModuleType):
            return program
    return main


def _policy() -> Any:
    # By names of its own where the public ones warn, since Python 3.14.
    return getattr(asyncio.events, "_get_event_loop_policy", asyncio.get_event_loop_policy)()


def _set_policy(policy: Any) -> None:
    getattr(asyncio.events, "_set_event_loop_policy", asyncio.set_event_loop_policy)(policy)


def _swap_task(loop: Any, task: Any) -> Any:
    """Let no task be under way, which would be in the way of another loop's in Python 3.14; return the one that was."""
    swap = getattr(asyncio.tasks, "_swap_current_task", None)
    return None if swap is None or loop is None else swap(loop, task)


class _Matplotlib(MetaPathFinder):
    """Waits until matplotlib is imported, and has it take a backend that needs no window.

    The environment variable that would do so is one that children would see.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find matplotlib as Python does; anything else is somebody else's."""
        if fullname != "matplotlib":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _take_no_window(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _take_no_window(matplotlib: ModuleType) -> None:
    with suppress(Exception):  # half imported by somebody who failed to
        backend = dict.__getitem__(matplotlib.rcParams, "backend")  # what is asked in its own way chooses one
        name = backend.lower() if isinstance(backend, str) else ""
        if name not in _WITHOUT_WINDOW and (not name.startswith("module://") or "matplotlib_inline" in name):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                matplotlib.use("agg")
