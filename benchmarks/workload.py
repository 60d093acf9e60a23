"""The same work three ways: as a workflow with either Map, and as a plain Python function."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from vistrails.core.interpreter.noncached import Interpreter
from vistrails.core.log.controller import LogController
from vistrails.core.log.log import Log
from vistrails.core.modules.module_registry import get_module_registry
from vistrails.core.vistrail.controller import VistrailController
from vistrails.core.vistrail.pipeline import Pipeline
from vistrails.db.domain import IdScope

BASIC = "org.vistrails.vistrails.basic"
SERIAL = "org.vistrails.vistrails.control_flow"
OURS = "org.vistrails.parallelflow"

WORK = "org.vistrails.parallelflow.bench_work"

# What one element does: a module of the package in `userpackages`, and the body of a function that does the same.
MODULES = {
    "trivial": "Trivial",
    "sleep": "Sleep",
    "cpu": "Spin",
    "blas": "Decompose",
    "uneven": "Uneven",
    "scale": "Scale",
    "look": "Look",
}
BODIES = {
    "trivial": "o = i",
    "sleep": "import time\ntime.sleep({seconds})\no = i",
    "cpu": "import time\nend = time.thread_time() + {seconds}\nwhile time.thread_time() < end:\n    pass\no = i",
}


def plain_function(kind: str, seconds: float) -> Callable[[Any], Any]:
    """Return the work as a function that any engine or worker process can be sent.

    :param kind: 'trivial', 'sleep' or 'cpu'.
    :param seconds: the work per element.
    """
    body = BODIES[kind].format(seconds=seconds).replace("\n", "\n    ")
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(f"def work(i):\n    {body}\n    return o", names)
    return names["work"]  # type: ignore[no-any-return]


class Workflow:
    """A list, a module that works and a Map over it.

    :param map_package: which Map.
    :param kind: 'trivial', 'sleep' or 'cpu'.
    :param seconds: the work per element.
    :param constant: the size in bytes of a value on another port of the module; 0 for none.
    :ivar gap: for how long VisTrails' window had no turn in the last run, at most, in seconds.
    :ivar first: after how many seconds its first element began.
    """

    gap = first = 0.0

    def __init__(self, map_package: str, kind: str, seconds: float = 0.0, constant: int = 0):
        self._scope = IdScope()
        self._pipeline = Pipeline()
        self._elements = self._add("PythonSource", {"source": "o = elements"}, outputs={"o": "List"})
        self._function = self._add(MODULES[kind], {"seconds": str(seconds)}, package=WORK)
        self._map = self._add("Map", {"InputPort": "['i']", "OutputPort": "o"}, package=map_package)
        self._connect(self._function, "self", self._map, "FunctionPort")
        self._connect(self._elements, "o", self._map, "InputList")
        if constant:
            code = f"import numpy\no = numpy.random.default_rng(0).integers(0, 255, {constant}, dtype='u1')"
            large = self._add("PythonSource", {"source": code}, outputs={"o": "Variant"})
            self._connect(large, "o", self._function, "c")

    def _add(
        self,
        name: str,
        presets: dict[str, str],
        inputs: dict[str, str] | None = None,
        outputs: dict[str, str] | None = None,
        package: str = BASIC,
    ) -> Any:
        module = VistrailController.create_module_static(self._scope, package, name)
        registry = get_module_registry()
        for ports, kind in ((inputs, "input"), (outputs, "output")):
            for port, port_type in (ports or {}).items():
                spec = registry.create_port_spec(port, kind, None, f"({BASIC}:{port_type})")
                spec.id = self._scope.getNewId(spec.vtType)
                module.add_port_spec(spec)
        values = [(port, [quote(text) if port == "source" else text]) for port, text in presets.items()]
        for function in VistrailController.create_functions_static(self._scope, module, values):
            module.add_function(function)
        self._pipeline.add_module(module)
        return module

    def _connect(self, source: Any, output: str, target: Any, port: str) -> None:
        connection = VistrailController.create_connection_static(self._scope, source, output, target, port)
        self._pipeline.add_connection(connection)

    def run(self, elements: int) -> float:
        """Run it over so many elements.

        :returns: seconds that the Map took, its checks and its log included, without the rest of the workflow.
        :raises RuntimeError: when it did not give the right results.
        """
        code = quote(f"o = list(range({elements}))")
        return self.run_over(code, lambda results: results == list(range(elements)), elements)

    def run_over(self, code: str, is_right: Callable[[Any], bool], elements: int) -> float:
        """Do the same over other elements.

        :param code: what makes the list `o` of them, quoted as VisTrails does.
        :param is_right: says whether results are right.
        :param elements: how many there are.
        """
        source = self._pipeline.modules[self._elements.id].functions[0]
        source.params[0].strValue = code
        clock = _Clock(self._map.id)
        log = Log()
        logger = LogController(log, LogController.get_local_machine())
        done = Interpreter.get().execute(self._pipeline, view=clock, logger=logger)
        if done.errors:
            raise RuntimeError(str(next(iter(done.errors.values())).msg))
        (execution,) = [each for each in log.workflow_execs[0].item_execs if each.module_id == self._map.id]
        if len(execution.loop_execs[0].loop_iterations) != elements:
            raise RuntimeError("the log is not complete")
        if not is_right(done.objects[self._map.id].get_output("Result")):
            raise RuntimeError("the Map gave wrong results")
        self.gap = clock.gap
        begun = min(each.ts_start for each in execution.loop_execs[0].loop_iterations)
        self.first = begun.timestamp() - clock.at
        return clock.seconds


class _Clock:
    """A VisTrails view that takes the time from when a module begins to compute until it has succeeded, and the longest one between
    two turns of VisTrails' window meanwhile."""

    def __init__(self, module_id: int):
        self._module_id = module_id
        self._started = self._turn = self.at = 0.0
        self.seconds = self.gap = 0.0

    def set_module_computing(self, module_id: int) -> None:
        if module_id == self._module_id:
            self._started = self._turn = time.perf_counter()
            self.at = time.time()

    def set_module_progress(self, module_id: int, fraction: float) -> None:
        now = time.perf_counter()
        self.gap, self._turn = max(self.gap, now - self._turn), now

    def set_module_success(self, module_id: int) -> None:
        if module_id == self._module_id and not self.seconds:
            self.set_module_progress(module_id, 1.0)
            self.seconds = time.perf_counter() - self._started

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **more: None
