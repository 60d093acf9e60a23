"""Modules that need VisTrails' window, or VisTrails itself: an engine has neither, and Qt ends a process that asks for one.

A class says so itself, by a class attribute `needs_window`. Where none does, the code that it runs when it computes is looked
through, without being run: its own methods and those of its bases outside of VisTrails' core, as far as `compute` leads to
them, and functions of its package. It needs the window if these use a Qt class for windows, something of `vistrails.gui`,
Qt's application, or the controller of the workflow. An output module does if the mode in which it would put out does, a
PythonSource if its code does. What a Python module merely imports for other purposes, such as the widgets of its ports, does
not count.

May import VisTrails; never Qt.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Set
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any
from urllib.parse import unquote

from vistrails.core.modules.basic_modules import CodeRunnerMixin
from vistrails.core.modules.output_modules import OutputModule
from vistrails.core.modules.vistrails_module import Module
from vistrails.core.vistrail.job import JobMixin

# The attribute by which a package's author says whether a class needs the window.
MARK = "needs_window"

_BINDINGS = ("PyQt4", "PyQt5", "PyQt6", "PySide", "PySide2", "PySide6", "qtpy")
_GUI = (
    "vistrails.gui",
    "vistrails.api",  # what scripts do with the open workflow
    "vistrails.packages.spreadsheet.spreadsheet_controller",
    "vistrails.packages.spreadsheet.spreadsheet_window",
)

# Of Qt's core, which works without a window, what is of use only with an application that runs.
_APPLICATION = frozenset({"QCoreApplication", "QEventLoop", "QTimer"})

# What VisTrails' application object has with a window only.
_OF_THE_WINDOW = frozenset({"builderWindow", "get_current_controller"})

# By which functions code imports what it names in a text.
_IMPORTERS = frozenset({"__import__", "import_module"})

# What the code of a PythonSource has in it at least that needs the window.
_HINT = re.compile("Q|gui|ontroller|builderWindow|vistrails")

# Where the code that is looked through lies, beside the class's own package.
_PACKAGES = ("vistrails.packages.", "userpackages.")

# VisTrails' own code is known: modules that need the window are in none of it, or say so by what is looked for here.
_CORE = "vistrails.core"

# What VTK's package imports in functions serves Macs, where rendering off the screen takes a widget.
_ONLY_ON_MACS = "vistrails.packages.vtk"

# By which methods a module is run. Others serve the pipeline's view and the dialogs of VisTrails.
_ENTRIES = ("__init__", *(name for kind in (Module, JobMixin) for name in vars(kind) if not name.startswith("__")))


def needs(functions: Iterable[Module]) -> str | None:
    """Return the name of the first module that needs VisTrails' window, or None if none does.

    :param functions: the modules on FunctionPort, in a workflow that is being executed.
    """
    return next((str(each.name) for each, pipeline in executed(functions) if module_needs(each, pipeline)), None)


def executed(functions: Iterable[Module]) -> Iterator[tuple[Any, Any]]:
    """Give the modules that run for each element, as VisTrails stores them, with the pipelines that they are in.

    :param functions: the modules on FunctionPort, in a workflow that is being executed. Groups and subworkflows are searched
        through, and what only they run, such as the branches of an If.
    """
    waiting, seen = list(functions), set()
    while waiting:
        module = waiting.pop(0)
        pipeline = getattr(module, "moduleInfo", {}).get("pipeline")
        if pipeline is None or module in seen:
            continue  # a preset's constant, or a module seen before
        seen.add(module)
        yield from _with_inner([pipeline.modules[module.moduleInfo["moduleId"]]], pipeline)
        upstream = [connector.obj for connectors in module.inputPorts.values() for connector in connectors]
        waiting += [each for each in upstream if not getattr(each, "computed", True)] if not module.computed else []


def has_breakpoint(modules: Iterable[Any]) -> bool:
    """Return whether there is a breakpoint on one of some modules, or inside a Group or subworkflow among them.

    :param modules: the modules, as VisTrails executes or stores them.
    """
    return any(
        module.is_breakpoint or has_breakpoint(getattr(getattr(module, "pipeline", None), "module_list", ()))
        for module in modules
    )


def _with_inner(modules: Iterable[Any], pipeline: Any) -> Iterator[tuple[Any, Any]]:
    for module in modules:
        if module.is_group() or module.is_abstraction():
            yield from _with_inner(module.pipeline.module_list, module.pipeline)
        else:
            yield module, pipeline


def module_needs(module: Any, pipeline: Any) -> bool:
    """Return whether a module, other than a Group or subworkflow, needs the window.

    :param module: the module, as VisTrails stores it.
    :param pipeline: the pipeline that it is in.
    """
    kind = module.module_descriptor.module
    if class_needs(kind):
        return True
    presets = {function.name: function.params[0].strValue for function in module.functions if function.params}
    if issubclass(kind, OutputModule):
        connected = {pipeline.connections[number].destination.name for _, number in pipeline.graph.edges_to(module.id)}
        return any(class_needs(mode) for mode in _modes(kind, presets.get("mode_type"), "mode_type" in connected))
    if issubclass(kind, CodeRunnerMixin) and "source" in presets:
        return source_needs(unquote(presets["source"]))
    return False


def _modes(kind: Any, chosen: str | None, is_connected: bool) -> Iterator[Any]:
    """The modes in which an output module may put out: the one that it would take, or all where that is not known yet."""
    if chosen is not None and not is_connected:
        mode = kind.get_mode_class(chosen)
        if mode is not None:
            yield mode
        return
    kind.ensure_mode_dict()
    for mode in kind.get_sorted_mode_list():
        if is_connected:
            yield mode
        elif mode.can_compute():
            yield mode
            return


def source_needs(source: str) -> bool:
    """Return whether the code of a PythonSource needs the window.

    :param source: the code.
    """
    if not _HINT.search(source):
        return False
    try:
        code = compile(source, "<source>", "exec")
    except (SyntaxError, ValueError):
        return False  # fails wherever it runs
    return _Search("", object).in_code(code, {})


@functools.cache
def class_needs(kind: type) -> bool:
    """Return whether a class of modules, or of modes of output modules, needs the window.

    :param kind: the class.
    """
    mark = getattr(kind, MARK, None)
    if isinstance(mark, bool):
        return mark
    if any(_is_gui(base) for base in kind.__mro__):
        return True
    search = _Search(kind.__module__, kind)
    entries = _ENTRIES if issubclass(kind, Module) else ("__init__", "compute_output")
    return any(search.in_attribute(name) for name in entries)


def _is_gui(value: Any) -> bool:
    """Whether something is of Qt's windows or of VisTrails'."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return isinstance(name, str) and _is_gui_name(name)


def _is_gui_name(name: str) -> bool:
    parts = name.split(".")
    if parts[0] in _BINDINGS:
        return len(parts) > 1 and parts[1].startswith("Qt") and parts[1] != "QtCore"
    return f"{name}.".startswith(tuple(f"{each}." for each in _GUI))


class _Search:
    """Looks through code that a class leads to.

    :param home: the name of the Python module that the class is in.
    :param kind: the class.
    """

    def __init__(self, home: str, kind: type):
        self._kind = kind
        self._roots = (
            (*_PACKAGES, f"{home.split('.')[0]}.") if home and not home.startswith("vistrails.") else _PACKAGES
        )
        self._seen: set[int] = set()

    def in_attribute(self, name: str) -> bool:
        """Look through a method of the class, if it has one of that name that is not VisTrails' own."""
        for base in self._kind.__mro__:
            if name in vars(base):
                return not base.__module__.startswith(_CORE) and self._in_value(vars(base)[name], own=True)
        return False

    def _in_value(self, value: Any, own: bool = False) -> bool:
        if id(value) in self._seen:
            return False
        self._seen.add(id(value))
        if isinstance(value, (staticmethod, classmethod, MethodType)):
            value = value.__func__
        if isinstance(value, property):
            return any(self._in_value(each, own) for each in (value.fget, value.fset) if each is not None)
        if isinstance(value, functools.partial):
            value = value.func
        if not isinstance(value, (FunctionType, ModuleType, type)):
            # Of an object its class says enough. Its attributes may be anything, and do anything when they are asked for.
            return any(map(_is_gui, type(value).__mro__))
        if _is_gui(value) or (isinstance(value, type) and any(map(_is_gui, value.__mro__))):
            return True
        if isinstance(value, ModuleType) or not (own or f"{value.__module__}.".startswith(self._roots)):
            return False
        if isinstance(value, FunctionType):
            return self.in_code(value.__code__, value.__globals__) or any(
                self._in_value(each, own) for each in _around(value)
            )
        return not issubclass(value, Module) and self._in_value(vars(value).get("__init__"), own=True)

    def in_code(self, code: CodeType, names: dict[str, Any]) -> bool:
        """Look through code, and through what it leads to.

        :param code: a function's code, or a PythonSource's.
        :param names: the global names that it knows.
        """
        if "moduleInfo" in code.co_names and "controller" in code.co_consts:
            return True
        used = set(code.co_names)
        if "get_vistrails_application" in used and used & _OF_THE_WINDOW:
            return True
        for value in (names[name] for name in code.co_names if name in names):
            if isinstance(value, ModuleType) and value.__name__.split(".")[0] in _BINDINGS:
                if _is_gui(value) or _uses_windows(used):
                    return True
            elif self._in_value(value):
                return True
        if self._imports_gui(code, names, used):
            return True
        if any(self.in_attribute(name) for name in code.co_names):
            return True
        return any(self.in_code(inner, names) for inner in code.co_consts if isinstance(inner, CodeType))

    def _imports_gui(self, code: CodeType, names: dict[str, Any], used: set[str]) -> bool:
        package = names.get("__package__") or ""
        if f"{package}.".startswith(f"{_ONLY_ON_MACS}.") and sys.platform != "darwin":
            return False
        return any(
            _is_gui_name(imported)
            or (imported.split(".")[0] in _BINDINGS and _uses_windows(used))
            or (imported == "vistrails" and "vistrails" in used and bool(used & {"api", "gui"}))
            or self._in_value(_found(imported))
            for imported in _imports(code, package)
        )


def _uses_windows(names: Set[str]) -> bool:
    """Whether code that has Qt, and uses these names, uses more of it than what works without an application."""
    return bool(names & _APPLICATION) or any(_is_gui_name(f"PyQt5.{name}") for name in names)


def _around(function: FunctionType) -> Iterator[Any]:
    """What a function knows of those that it is defined in: a decorator's, above all, the function that it decorates."""
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not filled yet
            yield cell.cell_contents


def _imports(code: CodeType, package: str) -> Iterator[str]:
    """The full names of what the import statements in some code import."""
    if _IMPORTERS.intersection(code.co_names):
        yield from (each for each in code.co_consts if isinstance(each, str))
    module, constants = "", [None, None]
    for each in dis.get_instructions(code):
        if each.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
            constants = [constants[-1], each.argval]
        elif each.opname == "IMPORT_NAME":
            module = each.argval
            level = constants[0]
            if isinstance(level, int) and level > 0:
                try:
                    module = importlib.util.resolve_name("." * level + module, package)
                except ImportError:
                    continue
            yield module
        elif each.opname == "IMPORT_FROM":
            yield f"{module}.{each.argval}"


def _found(name: str) -> Any:
    """What a full name stands for, if it has been imported."""
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules.get(module), attribute, None)
