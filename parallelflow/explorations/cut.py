"""Where a pipeline is cut: which of its modules run on engines, and which in VisTrails.

What must stay in VisTrails are output modules, cells of the spreadsheet, what needs the window, jobs, modules with a breakpoint,
those that keep versions of one file, and all that is downstream of those. What is the same for all cells and can be cached is
computed once, in VisTrails. The rest runs on engines.

May import VisTrails and the map room; never Qt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from vistrails.core.modules.basic_modules import CodeRunnerMixin
from vistrails.core.modules.output_modules import OutputModule
from vistrails.core.vistrail.job import JobMixin
from vistrails.core.vistrail.module_control_param import ModuleControlParam

from parallelflow.explorations import vtk_outputs
from parallelflow.explorations.cells import Cell, called
from parallelflow.map import versions, window

_SPREADSHEET = "org.vistrails.vistrails.spreadsheet"

# By which call a PythonSource has VisTrails cache it.
_CACHES = "cache_this("


@dataclass
class Cut:
    """Where the pipelines of an exploration are cut; modules are known by their ids.

    :ivar engines: what runs on engines.
    :ivar common: what is connected to those and the same for all cells, so that it runs in VisTrails, once.
    :ivar wanted: the modules of `engines` that VisTrails has to be given, with the ports that it asks for. Those that nothing is
        connected to are among them.
    :ivar in_the_way: the names of the modules that have to stay in VisTrails themselves, not for what is upstream of them; none if
        all cells are the same.
    """

    engines: set[int]
    common: set[int]
    wanted: dict[int, set[str]]
    in_the_way: list[str]


def cut(cells: Sequence[Cell]) -> Cut:
    """Say which modules run where.

    :param cells: all cells; their pipelines have the same modules and connections, VisTrails' variables in them are resolved.
    """
    pipeline = cells[0].pipeline
    own = {module.id for module in pipeline.module_list if stays(module, pipeline)}
    in_client = downstream(pipeline, own)
    while more := {
        each.sourceId
        for each in pipeline.connection_list
        if each.destinationId in in_client and each.sourceId not in in_client and _never_travels(each, pipeline)
    }:
        own |= more
        in_client = downstream(pipeline, in_client | more)
    differing = _differing(cells)
    changing = downstream(pipeline, differing | _not_cacheable(pipeline.module_list))
    engines = changing - in_client
    return Cut(
        engines,
        sources(pipeline, engines) - engines,
        wanted(pipeline, engines, engines),
        [called(pipeline.modules[each]) for each in sorted(own & changing) if differing],
    )


def stays(module: Any, pipeline: Any) -> bool:
    """Return whether a module has to run in VisTrails for its own sake.

    :param module: the module, as VisTrails stores it.
    :param pipeline: the pipeline that it is in.
    """
    if module.package == _SPREADSHEET or module.is_breakpoint:
        return True
    if module.is_group() or module.is_abstraction():
        return any(stays(inner, module.pipeline) for inner in module.pipeline.module_list)
    if issubclass(module.module_descriptor.module, (OutputModule, JobMixin)):
        return True
    return _is_job_cache(module) or window.module_needs(module, pipeline) or versions.stores_in_one(module, pipeline)


def _never_travels(connection: Any, pipeline: Any) -> bool:
    """Whether it is known beforehand that a value cannot be sent: a module itself, or what connects filters of VTK."""
    if connection.source.name in ("self", "Instance"):
        return True
    # What is stored with it: VisTrails looks a port's type up only before it executes a pipeline.
    return connection.source.db_signature == vtk_outputs.PORT_TYPE and not vtk_outputs.is_shown(
        pipeline.modules[connection.destinationId].module_descriptor.module
    )


def _is_job_cache(module: Any) -> bool:
    key = ModuleControlParam.JOB_CACHE_KEY
    if not module.has_control_parameter_with_name(key):
        return False
    return str(module.get_control_parameter_by_name(key).value).lower() == "true"


def downstream(pipeline: Any, modules: Iterable[int]) -> set[int]:
    """Return modules, and all that is downstream of them.

    :param pipeline: the pipeline.
    :param modules: their ids.
    """
    found, waiting = set[int](), list(modules)
    while waiting:
        module_id = waiting.pop()
        if module_id not in found:
            found.add(module_id)
            waiting += [target for target, _ in pipeline.graph.edges_from(module_id)]
    return found


def sources(pipeline: Any, modules: Iterable[int]) -> set[int]:
    """Return what is connected to input ports of modules.

    :param pipeline: the pipeline.
    :param modules: their ids.
    """
    return {source for module_id in modules for source, _ in pipeline.graph.edges_to(module_id)}


def wanted(pipeline: Any, modules: Iterable[int], engines: set[int]) -> dict[int, set[str]]:
    """Return which modules VisTrails has to be given, and which of their ports.

    :param pipeline: the pipeline.
    :param modules: those that may be given.
    :param engines: all that run on engines.
    """
    found: dict[int, set[str]] = {}
    for module_id in modules:
        edges = pipeline.graph.edges_from(module_id)
        ports = {pipeline.connections[number].source.name for target, number in edges if target not in engines}
        if ports or not edges:
            found[module_id] = ports
    return found


def _differing(cells: Sequence[Cell]) -> set[int]:
    """The modules that are not the same in all cells, by VisTrails' own signatures."""
    first: dict[int, bytes] | None = None
    differing: set[int] = set()
    for cell in cells:
        cell.pipeline.refresh_signatures()
        signatures = {each: cell.pipeline.subpipeline_signature(each) for each in cell.pipeline.modules}
        if first is None:
            first = signatures
        differing |= {each for each, signature in signatures.items() if first.get(each) != signature}
        differing |= first.keys() - signatures.keys()
    return differing


def _not_cacheable(modules: Iterable[Any]) -> set[int]:
    """The modules that VisTrails computes anew for each cell, though they are the same."""
    return {module.id for module in modules if not _is_cacheable(module)}


def _is_cacheable(module: Any) -> bool:
    if module.is_group() or module.is_abstraction():
        return all(map(_is_cacheable, module.pipeline.module_list))
    if issubclass(module.module_descriptor.module, CodeRunnerMixin):
        # Its code says so while it runs.
        texts = [
            each.strValue for function in module.functions for each in function.params if function.name == "source"
        ]
        if any(_CACHES in unquote(text) for text in texts):
            return True
    return bool(module.summon().is_cacheable())
