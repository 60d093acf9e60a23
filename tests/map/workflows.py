"""Workflows in code, in which the serial Map and ours can stand in the same place.

A `Flow` is written once; `Flow.build` makes VisTrails' pipeline of it with either Map. Everything goes through
the calls that VisTrails' own editor uses, so that what is built is what a user could have drawn.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vistrails.core.db.io import save_vistrail_to_xml
from vistrails.core.modules.module_registry import get_module_registry
from vistrails.core.modules.sub_module import get_cur_abs_namespace, new_abstraction
from vistrails.core.system import get_vistrails_directory
from vistrails.core.vistrail.abstraction import Abstraction
from vistrails.core.vistrail.annotation import Annotation
from vistrails.core.vistrail.controller import VistrailController
from vistrails.core.vistrail.module_control_param import ModuleControlParam
from vistrails.core.vistrail.pipeline import Pipeline
from vistrails.core.vistrail.vistrail import Vistrail
from vistrails.db.domain import IdScope

BASIC = "org.vistrails.vistrails.basic"
CONTROL = "org.vistrails.vistrails.control_flow"
OURS = "org.vistrails.parallelflow"
PARITY = "org.vistrails.parallelflow.parity"

# What the names of subworkflows with a Map inside end in.
SUFFIXES = {CONTROL: "_serial", OURS: "_ours"}

Port = tuple[int, str]  # a module's number in its flow, and a port of it
Preset = str | Sequence[str]


@dataclass
class _Spec:
    """One module of a flow."""

    name: str
    package: str
    namespace: str
    presets: list[tuple[str, Preset]]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    control: Mapping[str, str]
    annotations: Mapping[str, str]
    cached: bool
    alias: str = ""  # of the first preset
    inner: Flow | None = None
    is_map: bool = False
    subworkflow: str | None = None


def sigstring(types: str) -> tuple[str, int]:
    """Turn 'Float', 'String,Integer' or '[List]' (depth 1) into a signature and a depth."""
    depth = 0
    while types.startswith("["):
        types, depth = types[1:-1], depth + 1
    names = [name if ":" in name else f"{BASIC}:{name}" for name in types.split(",")]
    return f"({','.join(names)})", depth


@dataclass
class Flow:
    """A workflow whose Maps can be either package's.

    `inputs` and `outputs` are what a Group or subworkflow made of it shows: a name, and a module's port inside.
    """

    specs: list[_Spec] = field(default_factory=list)
    connections: list[tuple[int, str, int, str]] = field(default_factory=list)
    inputs: dict[str, Port] = field(default_factory=dict)
    outputs: dict[str, Port] = field(default_factory=dict)
    optional: set[str] = field(default_factory=set)

    def add(
        self,
        name: str,
        presets: Mapping[str, Preset] | Sequence[tuple[str, Preset]] = (),
        *,
        package: str = BASIC,
        namespace: str = "",
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        control: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        cached: bool = True,
    ) -> int:
        """Add a module; presets are the texts of its parameters, `inputs` and `outputs` ports of its own."""
        pairs = list(presets.items()) if isinstance(presets, Mapping) else list(presets)
        self.specs.append(
            _Spec(
                name, package, namespace, pairs, inputs or {}, outputs or {}, control or {}, annotations or {}, cached
            )
        )
        return len(self.specs) - 1

    def python(self, source: str, inputs: Mapping[str, str], outputs: Mapping[str, str], **more: Any) -> int:
        """Add a PythonSource; `presets` in `more` sets its own ports."""
        presets = [("source", quote(source)), *dict(more.pop("presets", {})).items()]
        return self.add("PythonSource", presets, inputs=inputs, outputs=outputs, **more)

    def parity(self, name: str, presets: Mapping[str, Preset] | Sequence[tuple[str, Preset]] = (), **more: Any) -> int:
        """Add a module of the tests' own package."""
        return self.add(name, presets, package=PARITY, **more)

    def held(self, key: str, **more: Any) -> int:
        """Add a module that gives the value which a test holds under this key."""
        return self.parity("Held", {"key": key}, **more)

    def map(
        self,
        functions: int | Sequence[int],
        ports: str | Sequence[str],
        output: str,
        elements: str | Port | Sequence[Port] | None = None,
        kind: str = "Map",
        **more: Any,
    ) -> int:
        """Add a Map or another fold, the serial one or ours.

        :param functions: the modules on its FunctionPort.
        :param ports: the names of the input ports.
        :param output: the name of the output port.
        :param elements: the list, as text for a preset, or where it comes from.
        :param kind: which fold.
        """
        names = [ports] if isinstance(ports, str) else list(ports)
        presets: list[tuple[str, Preset]] = [("InputPort", repr(names)), ("OutputPort", output)]
        if isinstance(elements, str):
            presets.append(("InputList", elements))
        number = self._loop(kind, functions, presets, **more)
        if elements is not None and not isinstance(elements, str):
            for source in [elements] if isinstance(elements[0], int) else elements:
                self.connect(*source, number, "InputList")  # type: ignore[misc]
        return number

    def loop(self, functions: int | Sequence[int], presets: Mapping[str, Preset], **more: Any) -> int:
        """Add a For, the serial one or ours, with presets for its ports."""
        return self._loop("For", functions, list(presets.items()), **more)

    def _loop(self, kind: str, functions: int | Sequence[int], presets: list[tuple[str, Preset]], **more: Any) -> int:
        number = self.add(kind, presets, package=CONTROL, **more)
        self.specs[number].is_map = True
        for function in [functions] if isinstance(functions, int) else functions:
            self.connect(function, "self", number, "FunctionPort")
        return number

    def group(self, inner: Flow, presets: Mapping[str, Preset] | None = None, **more: Any) -> int:
        """Add a Group."""
        number = self.add("Group", presets or {}, **more)
        self.specs[number].inner = inner
        return number

    def subworkflow(self, name: str, inner: Flow, presets: Mapping[str, Preset] | None = None, **more: Any) -> int:
        """Add a subworkflow."""
        number = self.add(name, presets or {}, **more)
        self.specs[number].inner = inner
        self.specs[number].subworkflow = name
        return number

    def connect(self, source: int, output: str, target: int, port: str) -> None:
        """Connect an output port to an input port."""
        self.connections.append((source, output, target, port))

    def build(self, map_package: str, tally: Path | str = "") -> Pipeline:
        """Return the pipeline; module number n of the flow has the id n. Ports named "tally" get the text `tally`."""
        return _Builder(map_package, tally).pipeline(self)

    def has_map(self) -> bool:
        """Whether there is a Map in it, or in a Group or subworkflow of it."""
        return any(spec.is_map or (spec.inner is not None and spec.inner.has_map()) for spec in self.specs)


class _Builder:
    def __init__(self, map_package: str, tally: Path | str):
        self._map_package = map_package
        self._tally = tally

    def pipeline(self, flow: Flow) -> Pipeline:
        scope = IdScope(remap={"abstraction": "module", "group": "module"})
        pipeline = Pipeline()
        modules = []
        for number, spec in enumerate(flow.specs):
            module = self._module(scope, spec)
            module.id = number
            modules.append(module)
        scope.ids["module"] = len(modules)
        for spec, module in zip(flow.specs, modules, strict=True):
            self._fit_out(scope, spec, module)
            pipeline.add_module(module)
        for source, output, target, port in flow.connections:
            pipeline.add_connection(
                VistrailController.create_connection_static(scope, modules[source], output, modules[target], port)
            )
        for kind, ports in (("Input", flow.inputs), ("Output", flow.outputs)):
            for name, (number, port) in ports.items():
                outer = VistrailController.create_module_static(scope, BASIC, f"{kind}Port")
                functions = [("name", [name])] + ([("optional", ["True"])] if name in flow.optional else [])
                for function in VistrailController.create_functions_static(scope, outer, functions):
                    outer.add_function(function)
                pipeline.add_module(outer)
                ends = (outer, "InternalPipe", modules[number], port)
                if kind == "Output":
                    ends = (modules[number], port, outer, "InternalPipe")
                pipeline.add_connection(VistrailController.create_connection_static(scope, *ends))
        return pipeline

    def _module(self, scope: Any, spec: _Spec) -> Any:
        if spec.subworkflow is not None:
            return self._subworkflow(scope, spec)
        package = self._map_package if spec.is_map else spec.package
        return VistrailController.create_module_static(scope, package, spec.name, spec.namespace)

    def _subworkflow(self, scope: Any, spec: _Spec) -> Any:
        assert spec.inner is not None
        from vistrails.core.db.action import create_paste_action
        from vistrails.core.vistrail.controller import abstraction_pkg, abstraction_ver

        # One with a Map inside exists twice; the name of the other is its own, however often a workflow uses it.
        suffix = SUFFIXES[self._map_package] if spec.inner.has_map() else ""
        name = f"{spec.subworkflow}{suffix}"
        registry = get_module_registry()
        namespace = f"00000000-{name}"
        if not registry.has_descriptor_with_name(abstraction_pkg, name, namespace):
            vistrail = Vistrail()
            vistrail.name = name
            vistrail.add_action(create_paste_action(self.pipeline(spec.inner), vistrail.idScope), 0, 0)
            vistrail.set_annotation("__abstraction_uuid__", namespace)
            assert get_cur_abs_namespace(vistrail) == namespace
            path = os.path.join(get_vistrails_directory("subworkflowsDir"), f"{name}.xml")
            save_vistrail_to_xml(vistrail, path)
            module = new_abstraction(name, vistrail, path, 1)
            registry.auto_add_module(
                (
                    module,
                    {
                        "package": abstraction_pkg,
                        "package_version": abstraction_ver,
                        "namespace": namespace,
                        "version": "1",
                    },
                )
            )
            registry.auto_add_ports(module)
        return VistrailController.create_module_static(scope, abstraction_pkg, name, namespace, 0.0, 0.0, 1)

    def _fit_out(self, scope: Any, spec: _Spec, module: Any) -> None:
        if spec.inner is not None and not isinstance(module, Abstraction):
            module.pipeline = self.pipeline(spec.inner)
        for kind, ports in (("input", spec.inputs), ("output", spec.outputs)):
            for order, (name, types) in enumerate(ports.items()):
                signature, depth = sigstring(types)
                module.add_port_spec(
                    VistrailController.create_port_spec_static(scope, module, kind, name, signature, order, depth)
                )
        functions = [(port, [value] if isinstance(value, str) else list(value)) for port, value in spec.presets]
        for port, values in functions:
            # One by one: a function's position is the number of those before it.
            texts = [str(self._tally)] if port == "tally" else values
            aliases = [spec.alias] if spec.alias and not module.functions else []
            module.add_function(VistrailController.create_function_static(scope, module, port, texts, aliases))
        for name, value in spec.control.items():
            module.add_control_parameter(
                ModuleControlParam(id=scope.getNewId(ModuleControlParam.vtType), name=name, value=value)
            )
        for name, value in spec.annotations.items():
            module.add_annotation(Annotation(id=scope.getNewId(Annotation.vtType), key=name, value=value))
        if not spec.cached:
            module.cache = 0
