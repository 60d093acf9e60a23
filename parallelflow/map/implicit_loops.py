"""Modules that loop over lists by themselves, on the cluster where they are marked (see `parallelflow.map.marks`).

For as long as the package is enabled VisTrails' own loop, a method of all its modules, asks here first. Which module is marked the
workflow says that is being executed, so that nothing is put on modules, and the caches stay.

May import VisTrails and the map room.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from vistrails.core import debug
from vistrails.core.modules.sub_module import InputPort
from vistrails.core.modules.vistrails_module import Module

from parallelflow.map import engine, marks
from parallelflow.texts import tr

_serial_loop = Module.compute_all
_serial_stream = Module.build_stream

# On a module whose loop runs in VisTrails, and its copies, which run the loops within it: these need not be tried.
_TRIED = "_parallelflow_tried"

_takes_part = False


@functools.wraps(_serial_loop)
def _compute_all(self: Module) -> None:
    if not _is_for_us(self):
        _serial_loop(self)
        return
    from parallelflow.map.implicit_execution import Unfit  # the client's half, which engines have no use for

    try:
        _run(self)
    except Unfit as reason:
        _warn(self, str(reason))
        vars(self)[_TRIED] = True
        try:
            _serial_loop(self)
        finally:
            vars(self).pop(_TRIED, None)


@functools.wraps(_serial_stream)
def _build_stream(self: Module) -> None:
    if self.list_depth > 0 and _is_for_us(self):
        _warn(self, tr("a stream arrives there"))
    _serial_stream(self)


def take_part() -> None:
    """Have marked modules run their loops on the cluster. Further calls change nothing."""
    global _takes_part
    _takes_part = True
    Module.compute_all = _compute_all
    Module.build_stream = _build_stream


def leave() -> None:
    """Have VisTrails loop as it does by itself, and leave nothing behind."""
    global _takes_part
    _takes_part = False  # should somebody else have taken hold of the methods meanwhile
    if Module.compute_all is _compute_all:
        Module.compute_all = _serial_loop
    if Module.build_stream is _build_stream:
        Module.build_stream = _serial_stream


def _is_for_us(module: Module) -> bool:
    if not _takes_part or engine.inside() or isinstance(module, InputPort) or vars(module).get(_TRIED):
        return False
    return marks.is_loop_marked(module)


def _run(module: Any) -> None:
    from parallelflow.map import versions, window
    from parallelflow.map.implicit_execution import LoopExecution, Unfit

    if os.name != "posix":
        raise Unfit(tr("clusters need Linux or another Unix"))
    if window.has_breakpoint([module]):
        raise Unfit(tr("there is a breakpoint in it"))
    needs_window = window.needs([module])
    if needs_window is not None:
        raise Unfit(tr("the module '{module}' needs VisTrails' window", module=needs_window))
    keeps_versions = versions.of_one_file([module])
    if keeps_versions is not None:
        raise Unfit(tr("the module '{module}' keeps versions of one file", module=keeps_versions))
    try:
        execution = LoopExecution(module, _serial_loop)
    except Exception:  # whatever VisTrails raises; it does so again, and says it of the module
        execution = None
    if execution is None or not execution.elements:
        _serial_loop(module)
        return
    execution.prepare()
    execution.run()


def _warn(module: Module, reason: str) -> None:
    debug.warning(
        tr(
            "The loop of {module} runs in VisTrails, one element after the other: {reason}.",
            module=type(module).__name__,
            reason=reason.rstrip("."),
        )
    )
