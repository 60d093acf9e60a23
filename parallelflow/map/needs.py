"""What an engine's VisTrails needs for the modules of a plan: packages, subworkflows, paths.

Runs on the client; `parallelflow.map.engine_vistrails` is its counterpart. May import VisTrails.
"""

from __future__ import annotations

import copy
import logging
import os
import pickle
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from vistrails.core import debug
from vistrails.core.application import get_vistrails_application
from vistrails.core.packagemanager import get_package_manager
from vistrails.core.system import current_dot_vistrails, get_vistrails_directory
from vistrails.db.services.io import serialize as db_serialize

import parallelflow
from parallelflow.map.package_code import code_of
from parallelflow.map.surroundings import search_path

# It cannot be loaded where there is no window.
_SPREADSHEET = "org.vistrails.vistrails.spreadsheet"


@dataclass(frozen=True)
class Package:
    """A VisTrails package that the plan's modules come from.

    `prefix` is what stands before `codepath` in the name of its Python package, as VisTrails found it; None if it did not. `code`
    is what `package_code.code_of` says of it.
    """

    identifier: str
    codepath: str
    prefix: str | None
    version: str
    code: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Environment:
    """What an engine must know of the user's VisTrails to start one like it.

    `user_packages` is the folder of the user's own packages, if there is one; `path` is Python's search path; `to_console` is
    whether VisTrails' messages go to standard error, `message_level` the lowest of those that are shown, as `logging` has it.
    """

    startup: bytes  # VisTrails' startup.xml: its configuration and that of its packages
    packages: list[Package]  # those that are enabled, each after what it depends on
    dot_vistrails: str  # the folder where VisTrails keeps what belongs to the user
    user_packages: str | None
    path: list[str]
    to_console: bool
    message_level: int


@dataclass(frozen=True)
class Subworkflow:
    """A subworkflow (VisTrails' Abstraction) that an engine does not know by a package.

    `version` is its own, as VisTrails counts a subworkflow's versions.
    """

    package: str
    package_version: str
    name: str
    namespace: str
    version: str
    vistrail: bytes  # XML


class Needed:
    """The packages and subworkflows that stored modules come from, Groups and subworkflows searched through.

    :param modules: the modules, as VisTrails stores them.
    :param types: types of further ports, as text (`PortSpec.sigstring`).
    """

    def __init__(self, modules: Iterable[Any], types: Iterable[str]):
        self.identifiers: dict[str, None] = {parallelflow.IDENTIFIER: None}  # in order; ours brings `MapChunk`
        self.subworkflows: dict[tuple[str, str, str, str], Subworkflow] = {}
        self._search(modules)
        for sigstring in types:
            for item in sigstring.strip("()").split(","):
                self.identifiers[item.split(":")[0]] = None

    def _search(self, modules: Iterable[Any]) -> None:
        for module in modules:
            self.identifiers[module.package] = None
            for spec in module.port_spec_list if not module.is_group() else ():
                for item in spec.port_spec_items:
                    self.identifiers[item.package] = None
            if module.is_abstraction():
                self._search(module.pipeline.module_list)  # inner ones first: outer ones are made of them
                self._add_subworkflow(module)
            elif module.is_group():
                self._search(module.pipeline.module_list)

    def _add_subworkflow(self, module: Any) -> None:
        key = (module.package, module.name, module.namespace or "", str(module.internal_version))
        self.subworkflows[key] = Subworkflow(
            module.package,
            module.version,
            module.name,
            module.namespace or "",
            str(module.internal_version),
            db_serialize(copy.copy(module.vistrail)),
        )

    def packages(self) -> list[Package]:
        """Return the packages and all that they depend on, each after what it depends on."""
        manager = get_package_manager()
        needed: set[str] = set()
        for identifier in self.identifiers:
            if manager.has_package(identifier):
                needed.update(manager.all_dependencies(manager.get_package(identifier).identifier))
        # Packages that offer cells depend on it where it is enabled, and do without where it is not.
        needed -= {_SPREADSHEET} - self.identifiers.keys()
        return [
            replace(package, code=code_of(f"{package.prefix or ''}{package.codepath}"))
            for package in _enabled_packages()
            if package.identifier in needed
        ]


def _enabled_packages() -> list[Package]:
    """Return the packages that are enabled in this VisTrails, each after what it depends on."""
    manager = get_package_manager()
    in_order = manager.get_ordered_dependencies(manager.dependency_graph())
    packages = [manager.get_package(identifier) for identifier in in_order if manager.has_package(identifier)]
    return [Package(package.identifier, package.codepath, package.prefix, package.version) for package in packages]


def environment() -> bytes:
    """Describe this VisTrails to engines that have none yet.

    :returns: an `Environment`, pickled.
    """
    packages = get_vistrails_directory("userPackageDir")
    messages = debug.DebugPrint.getInstance()
    described = Environment(
        startup=db_serialize(get_vistrails_application().startup),
        packages=_enabled_packages(),
        dot_vistrails=os.path.abspath(current_dot_vistrails()),
        user_packages=os.path.abspath(packages) if packages else None,
        path=search_path(),
        to_console=messages.console in logging.getLogger().handlers,
        message_level=messages.visible_logger.level,
    )
    return pickle.dumps(described)
