"""The Map as it runs over one chunk on an engine; other loops, too.

It is VisTrails' own `controlflow.Map` and runs the inherited loop, which is that of all folds; what VisTrails' For does for each
number is the same. `parallelflow.map.module` is its other half, in VisTrails. May
import VisTrails, `chunks`, `recorder`, `shared_files`, `short_way` and `stand_ins` of the map room.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from base64 import b16decode
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vistrails.core.modules.config import ModuleSettings
from vistrails.core.modules.sub_module import Abstraction
from vistrails.core.modules.vistrails_module import Module, ModuleError, ModuleSuspended
from vistrails.core.vistrail.module import Module as StoredModule
from vistrails.packages.controlflow.utils import Map as SerialMap

import parallelflow
from parallelflow.map import shared_files, short_way
from parallelflow.map.chunks import LONGEST_DURATION
from parallelflow.map.short_way import PLAIN_TYPES
from parallelflow.map.stand_ins import note_element


class _Enough(Exception):
    """The chunk has lasted long enough: the elements that are left are given back."""


class MapChunk(SerialMap):
    """The Map on an engine: runs over one chunk of the list. Not for workflows.

    :ivar input_port_names: the ports of the function modules that elements go to.
    :ivar output_port_name: the one that results come from.
    :ivar knows_own_ports: whether a port that is called as one of the loop's own has that one's type, as in VisTrails' folds.
    """

    _settings = ModuleSettings(name="MapChunk", hide_descriptor=True)

    input_port_names: list[str]
    output_port_name: str
    knows_own_ports: bool = True
    logging: Any

    def prepare(
        self,
        elements: Sequence[Any],
        indices: Sequence[int],
        signature: Any,
        begin: Callable[[int], None],
        first: int = 0,
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take over the next chunk.

        :param elements: the chunk's elements.
        :param indices: the indices that they have in the user's list.
        :param signature: the Map's in the user's pipeline.
        :param begin: called with each element's index in the user's list before anything of it runs.
        :param first: the number of the user's first iteration.
        :param is_full: asked before each further element; whether the rest is to be given back.
        """
        self.signature = signature
        self._signatures: dict[str, int] = {}
        self.indices, self._first = indices, first
        self.index = indices[0]
        self._begin, self._begun = begin, -1
        self.elements: Sequence[Any] = elements
        self.results: dict[int, Any] = {}
        self.suspensions: dict[int, list[ModuleSuspended]] = {}
        self.gives_back, self._is_full = False, is_full
        self.culprit: int | None = None
        self.ended_by: Exception | None = None
        self._end = time.perf_counter() + LONGEST_DURATION
        self.upToDate = self.computed = self.had_error = self.was_suspended = False

    def forget(self) -> None:
        """Let go of the chunk's values."""
        self.elements, self.results, self.suspensions = (), {}, {}
        self.partialResult = self.elementResult = self.element = self.ended_by = None

    def get_input(self, port_name: str, allow_default: bool = True) -> Any:
        """Give the inherited loop this chunk's input."""
        inputs = {"InputPort": self.input_port_names, "OutputPort": self.output_port_name, "InputList": self.elements}
        return inputs[port_name]

    def typeChecking(self, module: Module, inputPorts: list[str], inputList: Sequence[Any]) -> None:
        """Leave the check out: VisTrails has checked the whole list once."""

    def setInputValues(self, module: Module, inputPorts: list[str], elementList: Any, iteration: int) -> None:
        """Set an element's values, with the index that it has in the user's list."""
        index = self.indices[iteration]
        is_next = index != self.index and len(self.results) == iteration
        if is_next and (time.perf_counter() > self._end or self._is_full()):
            raise _Enough
        self.index = index
        if index != self._begun:  # once, where several modules are on FunctionPort
            self._begun = index
            self._begin(index)
        note_element(module, index)
        number = self._first + index
        has_no_type = not self.knows_own_ports or self.input_specs.keys().isdisjoint(inputPorts)
        if has_no_type and PLAIN_TYPES.issuperset(map(type, elementList)):
            short_way.set_plain_values(module, inputPorts, elementList)
            for _, port in zip(elementList, inputPorts, strict=False):
                signature = (self._signature_for(port) ^ number).to_bytes(20, "little").hex().upper()
                # As text in VisTrails 2, and where jobs work; as bytes in VisTrails 3 as it was left.
                module.signature = signature if isinstance(self.signature, str) else signature.encode()
        else:
            super().setInputValues(module, inputPorts, elementList, number)
        kind: Any = type(module)
        if issubclass(kind, Abstraction) and shared_files.finds_by_signature(kind):
            return  # VisTrails draws new ones each time, so that in no run something is found that an earlier one has stored
        for port in set(inputPorts).intersection(getattr(module, "input_remap", ())):
            # Modules inside a Group get their signatures from its ports. VisTrails gives those the same one for all
            # elements, which would all share the first one's job.
            signature = module.signature
            own = (signature.encode() if isinstance(signature, str) else signature) + port.encode()
            module.input_remap[port]._input_port_signature = hashlib.sha1(own).digest()

    def _signature_for(self, port: str) -> int:
        """Return the part of an element's signature that all elements have in common."""
        if port not in self._signatures:
            own, hashed = b16decode(self.signature.upper()), hashlib.sha1(port.encode()).digest()
            self._signatures[port] = int.from_bytes(own, "little") ^ int.from_bytes(hashed, "little")
        return self._signatures[port]

    def operation(self) -> None:
        """Keep an element's result."""
        self.results[self.index] = self.elementResult

    def compute(self) -> None:
        """Run the loop, and keep what was suspended."""
        with self._noting():
            super().compute()

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """Note what becomes of the chunk while the loop runs."""
        from parallelflow.map.recorder import ElementLogging  # the engine's half

        self.logging = ElementLogging(self.logging)
        for connector in self.inputPorts["FunctionPort"]:
            connector.obj.logging = self.logging
        try:
            yield
        except _Enough:
            self.gives_back = True
        except ModuleSuspended as error:
            for child in error.children or ():
                self.suspensions.setdefault(self._index_of(child), []).append(child)
            raise
        except Exception as error:
            self.ended_by = error
            # VisTrails blames a value of the wrong kind on the module that it came from, which is not here.
            if not isinstance(error, ModuleError) or not isinstance(error.module, short_way.GivenValue):
                raise
            self.culprit = error.module.origin
            raise ModuleError(self, error.msg, error.abort, error.errorTrace) from error

    def _index_of(self, suspension: ModuleSuspended) -> int:
        # An element that is suspended further up, by a module that all share, has no iteration of its own.
        return self.indices[self.logging.log.get_iteration_from_module(suspension.module) or 0]


def chunk_module(module_id: int, name: str = "MapChunk") -> StoredModule:
    """Return a module that runs chunks, for a pipeline.

    :param module_id: the id that it has there; the Map's in the user's pipeline.
    :param name: what it is called in the registry: `MapChunk`, or a class made from it.
    """
    return StoredModule(id=module_id, name=name, package=parallelflow.IDENTIFIER, version=parallelflow.__version__)
