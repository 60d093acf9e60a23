"""What digests hold of VisTrails' own values: files and folders by what is in them, modules by what arrives of them.

May import VisTrails and, of the map room, `digests`, `file_contents`, `hashing` and `stand_ins`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from vistrails.core.modules.basic_modules import PathObject
from vistrails.core.modules.module_registry import ModuleRegistryException
from vistrails.core.modules.sub_module import Group
from vistrails.core.modules.vistrails_module import Module

from parallelflow.map import file_contents, stand_ins
from parallelflow.map.digests import Digester
from parallelflow.map.hashing import Stream, Unknown

# How VisTrails' file pool begins the names that it makes up; what follows is the suffix that it was asked for.
made_up_name = re.compile(r"^(vt_tmp|tmp)[a-z0-9_]{8}")


@dataclass(frozen=True)
class FileName:
    """A preset that is the name of a file or folder."""

    name: str


@dataclass(frozen=True)
class Used:
    """A module of the workflow that has been computed, and whose `self` another one gets."""

    module: Module


class ValueDigester(Digester):
    """Writes values down, VisTrails' own among them.

    :param pool: VisTrails' file pool; what lies in it has another name in each session.
    :param pause: called every few milliseconds; may raise.
    :ivar files: the files and folders that the values name, with the digests of what is in them.
    """

    def __init__(self, pool: str, pause: Callable[[], None] = lambda: None):
        super().__init__(pause)
        self.pool = pool
        self.files: dict[str, bytes] = {}

    def fresh(self) -> ValueDigester:
        """Return one to which all objects are new; what it finds, this one has found."""
        new = ValueDigester(self.pool, self.pause)
        new.files, new.modules = self.files, self.modules
        return new

    def write_special(self, value: Any, stream: Stream) -> bool:
        """Write down a file, a folder or a module."""
        if isinstance(value, PathObject):
            # Its text on a screen is made when it is asked for.
            if type(value) is not PathObject or vars(value).keys() - {"name", "_ipython_repr"}:
                raise Unknown(f"a file of type {type(value).__name__}")
            stream.put(b"P")
            self._file(value.name, stream)
        elif isinstance(value, FileName):
            stream.put(b"P")
            self._file(value.name, stream)
        elif isinstance(value, PurePath):
            stream.put(b"p")
            self.name(type(value), stream)
            if isinstance(value, Path):
                self._file(str(value), stream)
            else:
                self.write(str(value), stream)
        elif isinstance(value, Module):
            if not self.was_met(value, stream):
                if isinstance(value, Group):
                    raise Unknown("a Group as a value")
                self._module(value, stream)
        elif isinstance(value, Used):
            if not self.was_met(value.module, stream):
                self._module(value.module, stream)
        else:
            return False
        return True

    def _file(self, name: Any, stream: Stream) -> None:
        if type(name) is not str:
            raise Unknown(f"a file whose name is of type {type(name).__name__}")
        self.write(self._name_of_file(name), stream)
        if not name:
            return
        path = os.path.abspath(name)
        if path not in self.files:
            self.files[path] = file_contents.digest_of(path, self.pause)
        self.write(self.files[path], stream)

    def _name_of_file(self, name: str) -> Any:
        if self.pool and os.path.abspath(name).startswith(os.path.join(self.pool, "")):
            inside = os.path.relpath(os.path.abspath(name), self.pool)
            return "pool", tuple(made_up_name.sub("", part) for part in inside.split(os.sep))
        return name

    def _module(self, module: Module, stream: Stream) -> None:
        try:
            kind = stand_ins.kind_of(module)
        except (KeyError, ModuleRegistryException) as error:
            raise Unknown(f"a module of the class {type(module).__name__}, which is in no palette") from error
        self.modules.add(type(module).__module__)
        stream.put(b"m")
        self.write(kind, stream)
        for part in stand_ins.parts_of(module):
            self.keep(part)
            self.write(part, stream)
