"""Bytes that cannot be turned back into values in this process: which value it is, and what is missing here.

A pickle is one stream; where it fails, nothing of it is left. So it is read once more, by Python's own slow unpickler, with a
stand-in for whatever cannot be had. The values that hold one are those that cannot be read.

May import the standard library, and `outcomes`, `parts` and `values` of the map room.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import pickle
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, ClassVar

from parallelflow.map import parts, values
from parallelflow.map.outcomes import ChunkOutcome

# How many objects of a value are looked at.
_MOST = 100_000

# What the standard library and its types are named by.
_PYTHON = "Python"


@dataclass(frozen=True)
class Unreadable:
    """What cannot be read of an outcome.

    :ivar outcome: the rest of it; None if there is none.
    :ivar index: the index of the first element whose result cannot be read; None if it is none of them.
    :ivar type_name: what that result is, as far as can be told.
    :ivar package: the Python package that is missing or another one here.
    """

    outcome: ChunkOutcome | None
    index: int | None
    type_name: str
    package: str


class _Missing:
    """Stands for a class that is not there, and for what could not be made."""

    def __init__(self, name: str, parts: Sequence[Any] = ()):
        self.name = name
        self.parts = list(parts)

    def __call__(self, *arguments: Any, **keywords: Any) -> _Missing:
        return _Missing(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        self.parts.append(state)

    def append(self, item: Any) -> None:
        """Do what an unpickler has lists do."""

    def extend(self, items: Any) -> None:
        """The same."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """The same, for dictionaries."""

    def __hash__(self) -> int:
        return id(self)


_InPython: Any = pickle._Unpickler


class _Unpickler(_InPython):
    dispatch: ClassVar[dict[int, Any]] = dict(_InPython.dispatch)
    stack: list[Any]

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except values.RAISED_BY_CLASSES:  # whatever importing it does
            return _Missing(f"{module}.{name}")

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = _made(self.stack[-1], arguments, {})

    def _newobj(self) -> None:
        arguments = self.stack.pop()
        self.stack.append(_new(self.stack.pop(), arguments, {}))

    def _newobj_ex(self) -> None:
        keywords, arguments = self.stack.pop(), self.stack.pop()
        self.stack.append(_new(self.stack.pop(), arguments, keywords))

    def _build(self) -> None:
        state, made = self.stack[-1], self.stack[-2]
        try:
            _InPython.load_build(self)
        except values.RAISED_BY_CLASSES:  # only the state has left the stack
            self.stack[-1] = _Missing(_name(type(made)), [state])

    dispatch[pickle.REDUCE[0]] = _reduce
    dispatch[pickle.NEWOBJ[0]] = _newobj
    dispatch[pickle.NEWOBJ_EX[0]] = _newobj_ex
    dispatch[pickle.BUILD[0]] = _build


def _made(function: Any, arguments: Any, keywords: Any) -> Any:
    try:
        return function(*arguments, **keywords)
    except values.RAISED_BY_CLASSES:
        return _Missing(_name(function), arguments)


def _new(kind: Any, arguments: Any, keywords: Any) -> Any:
    if isinstance(kind, _Missing):
        return kind(*arguments, **keywords)
    return _made(kind.__new__, (kind, *arguments), keywords)


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '?')}.{getattr(value, '__qualname__', '?')}"


def in_plan(packed: Sequence[Any]) -> str:
    """Return which value of a plan cannot be unpickled, for a message.

    :param packed: what the client sent.
    """
    with contextlib.suppress(*values.RAISED_BY_CLASSES):
        content = _load(packed)
        if hasattr(content, "function"):
            return "the function"
        for module in content.modules:
            ports = [(f"on port '{each.port}'", each.value) for each in module.connectors]
            outputs = {} if module.computed is None else module.computed.outputPorts
            ports += [(f"of output '{port}'", value) for port, value in outputs.items()]
            for place, value in ports:
                missing = _missing_in(value)
                if missing is not None:
                    return f"the value {place}, of type {_type_name(value, missing)},"
    return "what is on the modules' ports"


def _load(packed: Sequence[Any]) -> Any:
    stream, texts = parts.stream_of(packed)
    unpickler = _Unpickler(stream, buffers=parts.buffers_of(packed))
    unpickler.persistent_load = texts.text
    return unpickler.load()


def _type_name(value: Any, missing: _Missing) -> str:
    if missing is not value:
        return f"{type(value).__name__}, with a {missing.name} inside"
    kinds = [part for part in missing.parts if isinstance(part, type)]
    return _name(kinds[0]) if kinds else missing.name


def read(packed: Sequence[Any]) -> Unreadable:
    """Read what can be read of an outcome that cannot be unpickled.

    :param packed: what the engine sent.
    """
    try:
        outcome = _load(packed)
        for index, value in sorted(outcome.values.items()):
            missing = _missing_in(value)
            if missing is not None:
                return Unreadable(outcome, index, _type_name(value, missing), _package(missing.name))
    except values.RAISED_BY_CLASSES:  # it is no outcome at all
        return Unreadable(None, None, "", "")
    return Unreadable(None, None, "", "")


def _missing_in(value: Any) -> _Missing | None:
    waiting, seen = [value], {id(value)}
    while waiting and len(seen) < _MOST:
        each = waiting.pop()
        if isinstance(each, _Missing):
            return each
        if isinstance(each, (type, ModuleType, FunctionType, str, bytes, int, float)):
            continue
        for part in gc.get_referents(each):
            if id(part) not in seen:
                seen.add(id(part))
                waiting.append(part)
    return None


def _package(name: str) -> str:
    package = name.split(".")[0]
    return _PYTHON if package in sys.stdlib_module_names else package


def version_of(package: str) -> str:
    """Return which version of a Python package there is in this process; `engine` asks this of an engine, too.

    :param package: the name by which it is imported, or "Python" for Python itself.
    """
    if package == _PYTHON:
        return platform.python_version()
    try:
        module = importlib.import_module(package)
    except values.RAISED_BY_CLASSES:  # whatever importing it does
        return "none"
    version = getattr(module, "__version__", None)
    if version is None:
        names = importlib.metadata.packages_distributions().get(package, [])
        version = importlib.metadata.version(names[0]) if names else None
    return "one without a version" if version is None else str(version)
