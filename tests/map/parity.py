"""Runs a workflow with the serial Map and with ours, and says where the two differ.

What is looked at is all that a user, another module or the log can see: values to the last bit, types included; errors
and who carries them; what became of each module of the workflow; how often modules ran; text printed; and the log.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import io
import math
import os
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import BuiltinMethodType, FunctionType, SimpleNamespace
from typing import Any

import numpy
from vistrails.core.db.locator import UntitledLocator, XMLFileLocator
from vistrails.core.interpreter.cached import CachedInterpreter
from vistrails.core.interpreter.noncached import Interpreter
from vistrails.core.log.controller import LogController
from vistrails.core.log.group_exec import GroupExec
from vistrails.core.log.log import Log
from vistrails.core.log.loop_exec import LoopExec, LoopIteration
from vistrails.core.log.module_exec import ModuleExec
from vistrails.core.log.workflow_exec import WorkflowExec
from vistrails.core.modules.basic_modules import PathObject
from vistrails.core.modules.vistrails_module import Module
from vistrails.core.utils import DummyView, InstanceObject
from vistrails.core.vistrail import controller as controller_module
from vistrails.core.vistrail.controller import VistrailController
from vistrails.core.vistrail.job import JobMonitor
from vistrails.core.vistrail.job import Workflow as JobWorkflow
from vistrails.core.vistrail.vistrail import Vistrail
from workflows import CONTROL, OURS, SUFFIXES, Flow

from parallelflow.map import kept
from parallelflow.map.provenance import COMPUTED_KEY

# Notes that only ours makes; see `parallelflow.map.provenance`.
OUR_NOTES = ("parallel_engine", "parallel_host", "parallel_computed")

# With this in the environment each workflow runs twice with our Map, which keeps every element that can be kept, however short:
# what is compared is the second run, whose elements are taken from the first.
KEPT = "PARITY_KEPT" in os.environ

PACKAGES = {"serial": CONTROL, "ours": OURS}

# Where modules note that they run; one file, because a subworkflow's parameters are made once.
TALLY = Path(tempfile.gettempdir()) / f"parity_tally_{os.getpid()}"
atexit.register(TALLY.unlink, missing_ok=True)


class View(DummyView):
    """Sees what VisTrails' window would be told."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[int, str] = {}
        self.progress: dict[int, list[float]] = {}

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("set_module_") and name != "set_module_progress":

            def told(number: int, *_: Any) -> None:
                self.last[number] = name.removeprefix("set_module_")

            return told
        return super().__getattribute__(name)

    def set_module_progress(self, number: int, fraction: float) -> None:
        self.progress.setdefault(number, []).append(fraction)


@dataclass
class Seen:
    """What there was to see of one run.

    :ivar errors: by module: who carries it, its type, its message.
    :ivar outputs: by module: the values on its output ports.
    :ivar log: the log's workflow execution, as nested `Executed`, or None without a log.
    :ivar tallies: how many lines modules have written into the tally file, by text.
    :ivar taken: how many elements were taken from kept results.
    """

    side: str
    stage: Stage  # alive, because its file pool is
    errors: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    raised: tuple[str, str] | None = None
    executed: dict[int, bool] = field(default_factory=dict)
    suspended: dict[int, Any] = field(default_factory=dict)
    outputs: dict[int, dict[str, Any]] = field(default_factory=dict)
    view: dict[int, str] = field(default_factory=dict)
    progress: dict[int, list[float]] = field(default_factory=dict)
    hooks: Counter[int] = field(default_factory=Counter)
    printed: str = ""
    complained: str = ""
    jobs: list[tuple[str, Any, bool]] = field(default_factory=list)
    log: Executed | None = None
    raw_log: Any = None
    tallies: Counter[str] = field(default_factory=Counter)
    started: datetime.datetime | None = None
    ended: datetime.datetime | None = None
    taken: int = 0


@dataclass
class Executed:
    """One node of a log: workflow, module, group, loop or iteration."""

    kind: str
    name: str
    number: int | None
    cached: int | None
    completed: int | None
    error: str | None
    ended: bool
    annotations: list[tuple[str, Any]]
    inner: list[Executed]
    raw: Any = None

    def find(self, kind: str) -> list[Executed]:
        """All nodes of a kind, depth first."""
        found = [self] if self.kind == kind else []
        return found + [each for child in self.inner for each in child.find(kind)]


# ---------------------------------------------------------------- running


class Stage:
    """A VisTrails that runs workflows with one Map or the other, again and again if a test likes.

    :param side: "serial" or "ours".
    :param how: "logged": the cached interpreter, with log, job monitor and view; "plain": the non-cached interpreter without
        a logger, as `vistrails.tests.utils.execute` does; "controller": through a `VistrailController`.
    """

    def __init__(self, side: str, how: str = "logged"):
        self.side = side
        self.how = how
        self.interpreter = CachedInterpreter()
        self.log = Log()
        self.monitor = JobMonitor()
        self.jobs = JobWorkflow(1)

    def run(self, flow: Flow, **more: Any) -> Seen:
        """Run a workflow; `more` goes to the interpreter."""
        TALLY.write_text("")
        seen = Seen(self.side, self)
        out, err = io.StringIO(), io.StringIO()
        before = os.getcwd()
        seen.started = datetime.datetime.now()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                result = getattr(self, f"_{self.how}")(flow, seen, **more)
            except BaseException as error:
                if not isinstance(error, (Exception, SystemExit, KeyboardInterrupt)):
                    raise
                seen.raised = (type(error).__name__, str(error))
                result = None
        seen.ended = datetime.datetime.now()
        assert os.getcwd() == before
        seen.printed, seen.complained = out.getvalue(), err.getvalue()
        seen.tallies = Counter(TALLY.read_text().splitlines())
        if seen.raw_log is not None:
            seen.log = log_of(seen.raw_log)
        if result is not None:
            self._look(result, seen)
        return seen

    def _pipeline(self, flow: Flow) -> Any:
        return flow.build(PACKAGES[self.side], TALLY)

    def _logged(self, flow: Flow, seen: Seen, **more: Any) -> Any:
        view = View()
        logger = LogController(self.log)
        self.monitor.startWorkflow(self.jobs)
        try:
            return self.interpreter.execute(
                self._pipeline(flow),
                **{
                    "locator": XMLFileLocator("foo.xml"),
                    "current_version": 1,
                    "view": view,
                    "logger": logger,
                    "job_monitor": self.monitor,
                    "reason": "parity",
                    "module_executed_hook": [lambda number: seen.hooks.update([number])],
                    **more,
                },
            )
        finally:
            self.monitor.finishWorkflow()
            seen.view, seen.progress = view.last, view.progress
            seen.jobs = _jobs(self.monitor)
            seen.raw_log = self.log.workflow_execs[-1]

    def _plain(self, flow: Flow, seen: Seen, **more: Any) -> Any:
        return Interpreter.get().execute(
            self._pipeline(flow), locator=XMLFileLocator("foo.xml"), current_version=1, view=DummyView(), **more
        )

    def _controller(self, flow: Flow, seen: Seen, **more: Any) -> Any:
        controller = open_controller(self._pipeline(flow))
        self.controller = controller
        jobs = JobWorkflow(controller.current_version)
        controller.jobMonitor.startWorkflow(jobs)
        usual = controller_module.get_default_interpreter
        controller_module.get_default_interpreter = lambda: self.interpreter
        try:
            (result,), _ = controller.execute_current_workflow(**more)
            return result
        finally:
            controller_module.get_default_interpreter = usual
            controller.jobMonitor.finishWorkflow()
            seen.jobs = _jobs(controller.jobMonitor)
            seen.raw_log = controller.log.workflow_execs[-1]

    def _look(self, result: Any, seen: Seen) -> None:
        names = {id(module): number for number, module in result.objects.items()}
        own_ids = {module.id: number for number, module in result.objects.items()}
        seen.hooks = Counter({own_ids.get(number, number): times for number, times in seen.hooks.items()})
        seen.executed = {number: bool(done) for number, done in result.executed.items()}
        seen.suspended = {number: _suspension(error) for number, error in result.suspended.items()}
        for number, error in result.errors.items():
            module = error.module
            own = "itself" if id(module) in names else "a copy"
            seen.errors[number] = (f"{own}, {type(module).__name__}", type(error).__name__, error.msg)
        for number, module in result.objects.items():
            seen.outputs[number] = {port: _shown(value) for port, value in module.outputPorts.items() if port != "self"}


def open_controller(pipeline: Any) -> VistrailController:
    """A controller with a new vistrail that holds a pipeline; modules keep their order, not their ids."""
    from vistrails.core.db.action import create_paste_action

    vistrail = Vistrail()
    vistrail.add_action(create_paste_action(pipeline, vistrail.idScope), 0, 0)
    controller = VistrailController(vistrail, UntitledLocator(), auto_save=False)
    controller.change_selected_version(vistrail.get_latest_version())
    return controller


def _jobs(monitor: JobMonitor) -> list[tuple[str, Any, bool]]:
    return sorted(((job.name, job.parameters, job.finished) for job in monitor.jobs.values()), key=repr)


def _suspension(error: Any) -> Any:
    children = None if error.children is None else [_suspension(child) for child in error.children]
    return (
        type(error).__name__,
        type(error.module).__name__.replace("parallelflow", ""),
        error.msg,
        error.handle,
        error.name,
        getattr(error, "loop_iteration", None),
        children,
    )


# What VisTrails' interpreter and Groups put on a module, and what an engine does.
_OF_VISTRAILS = {
    *vars(Module()),
    *("id", "interpreter", "registry", "pipeline", "input_remap", "output_remap", "is_cacheable", "persistent_modules"),
    *("job_monitor", "change_parameter"),
}
_OF_OURS = {"_short_way_ports", "_short_way", "_parallelflow_id", "_parallelflow_element"}


class ShownModule:
    """A module that is a value: what a receiver could see of it."""

    def __init__(self, module: Module, depth: int):
        self.type = f"{type(module).__module__}.{type(module).__qualname__}"
        self.number = module.moduleInfo.get("moduleId")
        self.outputs = {
            port: (_shown(value, depth - 1) if value is not module else "itself")
            for port, value in module.outputPorts.items()
        }
        self.inputs = sorted(module.inputPorts)
        self.state = (module.upToDate, module.had_error, module.was_suspended)
        self.notes = {
            name: (_shown(note, depth - 1) if note is not module else "itself")
            for name, note in sorted(vars(module).items())
            if name not in _OF_VISTRAILS | _OF_OURS
        }


def _shown(value: Any, depth: int = 4) -> Any:
    if isinstance(value, Module):
        return ShownModule(value, depth) if depth > 0 else type(value).__name__
    if type(value) is list and depth > 0:
        return [_shown(each, depth - 1) for each in value]
    if type(value) is tuple and depth > 0:
        return tuple(_shown(each, depth - 1) for each in value)
    if type(value) is dict and depth > 0 and any(isinstance(each, Module) for each in value.values()):
        return {key: _shown(each, depth - 1) for key, each in value.items()}
    return value


# ---------------------------------------------------------------- the log


def log_of(execution: Any) -> Executed:
    """Read a log's object into nodes."""
    kind = execution.vtType
    inner: list[Any]
    name, number, cached = "", None, None
    if kind == WorkflowExec.vtType:
        kind, inner = "workflow", execution.item_execs
    elif kind == ModuleExec.vtType:
        kind = "module"
        name, number, cached, inner = execution.module_name, execution.module_id, execution.cached, execution.loop_execs
    elif kind == GroupExec.vtType:
        kind = "group"
        name, number, cached, inner = execution.group_name, execution.module_id, execution.cached, execution.item_execs
        name = f"{execution.group_type} {_common_name(name)}"
    elif kind == LoopExec.vtType:
        kind, inner = "loop", execution.loop_iterations
    else:
        assert kind == LoopIteration.vtType
        kind, number, inner = "iteration", execution.iteration, execution.item_execs
    annotations = sorted(
        ((note.key, note.value) for note in getattr(execution, "annotations", ()) if note.key not in OUR_NOTES),
        key=repr,
    )
    return Executed(
        kind,
        name,
        number,
        cached,
        getattr(execution, "completed", None),
        getattr(execution, "error", None),
        execution.ts_end is not None,
        annotations,
        [log_of(each) for each in inner],
        execution,
    )


def _common_name(name: str) -> str:
    for suffix in SUFFIXES.values():
        name = name.removesuffix(suffix)
    return name


def all_of(execution: Any) -> Iterator[Any]:
    """A log's object and all below it."""
    yield execution
    for name in ("item_execs", "loop_execs", "loop_iterations"):
        for each in getattr(execution, name, ()):
            yield from all_of(each)


# ---------------------------------------------------------------- comparing

# Numbers of elements and traces depend on where they run.
_TRACE = "errorTrace"


def differences(serial: Seen, ours: Seen) -> list[str]:
    """Say in what ours differs from serial, one sentence each; an empty list means nothing."""
    found = [f"raised: {serial.raised} / {ours.raised}"] if not _same_raised(serial.raised, ours.raised) else []
    found += _mapping("error of module", serial.errors, ours.errors, _error_difference)
    executed = dict(ours.executed)
    if serial.errors:
        # An element after the one that failed may have run.
        executed |= {number: False for number, done in serial.executed.items() if not done and number in executed}
    if (
        ours.taken
    ):  # as what VisTrails has cached; where others are suspended, nothing is said of the function module then
        executed |= {
            number: True for number, done in serial.executed.items() if done and (number in executed or ours.suspended)
        }
    found += _mapping("executed of module", serial.executed, executed, value_difference)
    found += _mapping("suspended of module", serial.suspended, ours.suspended, value_difference)
    view = dict(ours.view)
    if ours.taken:
        view |= {
            number: "success"
            for number, shown in view.items()
            if (serial.view.get(number), shown) == ("success", "persistent")
        }
    found += _mapping("view of module", serial.view, view, value_difference)
    found += _mapping(
        "outputs of module",
        serial.outputs,
        ours.outputs,
        lambda a, b: "; ".join(_mapping("port", a, b, value_difference)) or None,
    )
    failed = bool(serial.errors or serial.raised)
    if ours.hooks - serial.hooks if ours.taken else serial.hooks != ours.hooks and not serial.errors:
        found.append(f"executions told: {dict(serial.hooks)} / {dict(ours.hooks)}")
    if not failed and not same_tallies(serial, ours):
        found.append(f"executions counted: {dict(serial.tallies)} / {dict(ours.tallies)}")
    if not failed and not same_text(serial.printed, ours.printed, ours.taken):
        found.append(f"printed: {serial.printed!r} / {ours.printed!r}")
    if _bare_jobs(serial.jobs) != _bare_jobs(ours.jobs) and not ours.taken:
        found.append(f"jobs: {serial.jobs} / {ours.jobs}")
    if (serial.log is None) != (ours.log is None):
        found.append("log: only one has it")
    elif serial.log is not None and ours.log is not None:
        if ours.taken:
            serial = replace(serial, log=_without_beside(serial.log, ours.log))
            assert serial.log is not None
        found += log_differences(serial.log, ours.log, failed)
    return found


def _without_beside(serial: Executed, ours: Executed) -> Executed:
    """A workflow's log without what ran for a loop's elements beside it, as far as it did not run again for those not taken."""
    left = Counter((each.name, each.number) for each in ours.inner)
    inner = []
    for each in serial.inner:
        key = each.name, each.number
        ran_beside = any(
            loop is not each
            and loop.find("loop")
            and loop.raw.ts_start <= each.raw.ts_start <= (loop.raw.ts_end or each.raw.ts_start)
            for loop in serial.inner
        )
        if left[key] or not ran_beside:
            left[key] -= 1
            inner.append(each)
    return replace(serial, inner=inner)


def same_tallies(serial: Seen, ours: Seen) -> bool:
    """Whether modules have run as often; what was taken from kept results has not run."""
    return not ours.tallies - serial.tallies if ours.taken else ours.tallies == serial.tallies


def same_text(serial: str, ours: str, taken: int) -> bool:
    """Whether the same was printed; what was taken from kept results has printed nothing."""
    return not Counter(ours.splitlines()) - Counter(serial.splitlines()) if taken else ours == serial


def _bare_jobs(jobs: list[Any]) -> str:
    return repr(jobs)


def _same_raised(serial: tuple[str, str] | None, ours: tuple[str, str] | None) -> bool:
    if serial is None or ours is None:
        return serial is ours
    return serial[0] == ours[0] and ours[1].startswith(serial[1])


def _mapping(
    what: str, serial: Mapping[Any, Any], ours: Mapping[Any, Any], compare: Callable[[Any, Any], str | None]
) -> list[str]:
    found = []
    for key in sorted(set(serial) | set(ours), key=repr):
        if key not in ours:
            found.append(f"{what} {key}: only serial has {serial[key]!r}")
        elif key not in serial:
            found.append(f"{what} {key}: only ours has {ours[key]!r}")
        else:
            difference = compare(serial[key], ours[key])
            if difference:
                found.append(f"{what} {key}: {difference}")
    return found


def _error_difference(serial: tuple[str, str, str], ours: tuple[str, str, str]) -> str | None:
    if serial[:2] != ours[:2]:
        return f"carried by {serial[:2]} / {ours[:2]}: {serial[2]!r} / {ours[2]!r}"
    if not ours[2].startswith(serial[2]):
        return f"message {serial[2]!r} / {ours[2]!r}"
    return None


def log_differences(serial: Executed, ours: Executed, failed: bool = False, path: str = "") -> list[str]:
    """Say in what two logs differ.

    :param failed: whether a run failed; ours then also has elements after the one that failed.
    """
    here = f"{path}/{serial.kind} {serial.name or serial.number}"
    found = []
    # VisTrails notes on a loop's object whether it was completed, but keeps it nowhere.
    names = ["kind", "name", "number", "cached", "ended", *(("completed",) if serial.kind != "loop" else ())]
    was_taken = _was_taken(ours)
    if was_taken:
        names.remove("cached")
    for name in names:
        a, b = getattr(serial, name), getattr(ours, name)
        if a != b:
            found.append(f"log, {here}: {name} {a!r} / {b!r}")
    if (
        serial.kind != "loop"
        and serial.error != ours.error
        and not (serial.error and (ours.error or "").startswith(serial.error))
    ):
        found.append(f"log, {here}: error {serial.error!r} / {ours.error!r}")
    if was_taken:
        return found
    notes = [[(key, "" if key == _TRACE else value) for key, value in each.annotations] for each in (serial, ours)]
    if notes[0] != notes[1]:
        found.append(f"log, {here}: annotations {notes[0]} / {notes[1]}")
    theirs = ours.inner
    if serial.kind == "loop" and failed:
        numbers = Counter(each.number for each in serial.inner)
        last = max(numbers, default=-1)  # type: ignore[type-var]
        theirs = [each for each in theirs if each.number <= last]  # type: ignore[operator]
    if len(serial.inner) != len(theirs):
        shown = [[f"{each.kind} {each.name or each.number}" for each in inner] for inner in (serial.inner, theirs)]
        found.append(f"log, {here}: inside are {shown[0]} / {shown[1]}")
    for a, b in zip(serial.inner, theirs, strict=False):
        found += log_differences(a, b, failed, here)
    return found


def _was_taken(execution: Executed) -> bool:
    """Whether it is of an element that was taken from kept results, so that nothing is known of what was in it."""
    notes = getattr(execution.raw, "annotations", ())
    return execution.cached == 1 and any(note.key == COMPUTED_KEY for note in notes)


def value_difference(serial: Any, ours: Any, path: str = "") -> str | None:
    """Say where two values differ, to the last bit and type; None means nowhere."""
    return _Comparison().difference(serial, ours, path)


class _Comparison:
    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    def difference(self, a: Any, b: Any, path: str) -> str | None:
        if a is b:
            return None
        if (id(a), id(b)) in self._seen:
            return None
        self._seen.add((id(a), id(b)))
        if type(a) is not type(b) and not _same_class(type(a), type(b)):
            return f"{path or 'value'} has the type {type(a)} / {type(b)}: {a!r} / {b!r}"
        compare = next((f for kind, f in self._COMPARISONS.items() if isinstance(a, kind)), type(self)._by_state)
        return compare(self, a, b, path)

    def _plain(self, a: Any, b: Any, path: str) -> str | None:
        return None if a == b else f"{path or 'value'} is {a!r} / {b!r}"

    def _float(self, a: float, b: float, path: str) -> str | None:
        same = struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
        return None if same else f"{path or 'value'} is {a!r} / {b!r}"

    def _complex(self, a: complex, b: complex, path: str) -> str | None:
        return self._float(a.real, b.real, path) or self._float(a.imag, b.imag, path)

    def _sequence(self, a: Any, b: Any, path: str) -> str | None:
        if len(a) != len(b):
            return f"{path or 'value'} has {len(a)} / {len(b)} items: {a!r} / {b!r}"
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            found = self.difference(x, y, f"{path}[{index}]")
            if found:
                return found
        return self._attributes(a, b, path)

    def _mapping(self, a: Any, b: Any, path: str) -> str | None:
        if list(map(repr, a)) != list(map(repr, b)):
            return f"{path or 'value'} has the keys {list(a)} / {list(b)}"
        for (key, x), y in zip(a.items(), b.values(), strict=True):
            found = self.difference(x, y, f"{path}[{key!r}]")
            if found:
                return found
        return self._attributes(a, b, path)

    def _masked(self, a: Any, b: Any, path: str) -> str | None:
        return (
            self._array(a.data, b.data, f"{path}.data")
            or self.difference(numpy.asarray(a.mask), numpy.asarray(b.mask), f"{path}.mask")
            or self.difference(a.fill_value, b.fill_value, f"{path}.fill_value")
            or self.difference(bool(a.hardmask), bool(b.hardmask), f"{path}.hardmask")
        )

    def _array(self, a: Any, b: Any, path: str) -> str | None:
        for name in ("dtype", "shape"):
            x, y = getattr(a, name), getattr(b, name)
            if x != y or repr(x) != repr(y):
                return f"{path or 'value'}.{name} is {x!r} / {y!r}"
        if a.flags.writeable != b.flags.writeable:
            return f"{path or 'value'}.flags.writeable is {a.flags.writeable} / {b.flags.writeable}"
        if a.flags.f_contiguous and not a.flags.c_contiguous and not b.flags.f_contiguous:
            return f"{path or 'value'} is not in Fortran's order any more"
        if a.dtype.hasobject:
            return self._sequence(a.ravel().tolist(), b.ravel().tolist(), path)
        if a.dtype.kind in "fc" and a.dtype.type in (numpy.longdouble, numpy.clongdouble):
            # What lies between two numbers is padding, and no part of either.
            parts = [(a.real, b.real), (a.imag, b.imag)]
            same = all(numpy.array_equal(x, y, equal_nan=True) for x, y in parts)
            same = same and all(numpy.array_equal(numpy.signbit(x), numpy.signbit(y)) for x, y in parts)
            return None if same else f"{path or 'value'} is {a!r} / {b!r}"
        if a.tobytes() != b.tobytes():
            return f"{path or 'value'} is {a!r} / {b!r}"
        return None

    def _path(self, a: PathObject, b: PathObject, path: str) -> str | None:
        # Names in a file pool are random.
        if a.name == b.name:
            return None
        pools = [os.path.basename(os.path.dirname(each.name)).startswith("vt_tmp") for each in (a, b)]
        if not all(pools):
            return f"{path or 'value'} is {a!r} / {b!r}"
        kinds = [(os.path.isdir(each.name), os.path.splitext(each.name)[1]) for each in (a, b)]
        if kinds[0] != kinds[1]:
            return f"{path or 'value'} is {kinds[0]} / {kinds[1]}"
        return self._plain(_content(a.name), _content(b.name), f"{path}, the content of a file,")

    def _shown(self, a: ShownModule, b: ShownModule, path: str) -> str | None:
        return self.difference(a.__dict__, b.__dict__, f"{path}.module")

    def _function(self, a: Any, b: Any, path: str) -> str | None:
        if a.__code__.co_code != b.__code__.co_code or a.__qualname__ != b.__qualname__:
            return f"{path} is {a!r} / {b!r}"
        cells = [[cell.cell_contents for cell in each.__closure__ or ()] for each in (a, b)]
        return self.difference(cells[0], cells[1], f"{path}.closure") or self.difference(
            a.__defaults__, b.__defaults__, f"{path}.defaults"
        )

    def _by_state(self, a: Any, b: Any, path: str) -> str | None:
        found = self._attributes(a, b, path)
        if found:
            return found
        if not hasattr(a, "__dict__") and not hasattr(type(a), "__slots__") and type(a).__eq__ is not object.__eq__:
            return None if a == b or repr(a) == repr(b) else f"{path or 'value'} is {a!r} / {b!r}"
        return None

    def _attributes(self, a: Any, b: Any, path: str) -> str | None:
        if getattr(a, "__dict__", None) or getattr(b, "__dict__", None):
            found = self._mapping(dict(a.__dict__), dict(b.__dict__), f"{path}.__dict__")
            if found:
                return found
        for name in getattr(type(a), "__slots__", ()):
            if isinstance(name, str) and hasattr(a, name):
                found = self.difference(getattr(a, name), getattr(b, name, None), f"{path}.{name}")
                if found:
                    return found
        return None

    _COMPARISONS: dict[Any, Callable[..., str | None]] = {
        float: _float,
        complex: _complex,
        bool: _plain,
        ShownModule: _shown,
        Module: lambda self, a, b, path: self._shown(ShownModule(a, 2), ShownModule(b, 2), path),
        PathObject: _path,
        numpy.ma.MaskedArray: _masked,
        numpy.ndarray: _array,
        numpy.generic: lambda self, a, b, path: self._array(numpy.asarray(a), numpy.asarray(b), path),
        dict: _mapping,
        (list, tuple): _sequence,
        (set, frozenset): lambda self, a, b, path: self._plain(sorted(map(repr, a)), sorted(map(repr, b)), path),
        FunctionType: _function,
        BuiltinMethodType: lambda self, a, b, path: self.difference(
            (a.__name__, a.__self__), (b.__name__, b.__self__), path
        ),
        InstanceObject: lambda self, a, b, path: self._mapping(a.__dict__, b.__dict__, path),
        (
            int,
            str,
            bytes,
            bytearray,
            range,
            slice,
            type(None),
            type(Ellipsis),
            datetime.date,
            datetime.timedelta,
            type,
        ): _plain,
    }


def _content(path: str) -> Any:
    if os.path.isdir(path):
        return {name: _content(os.path.join(path, name)) for name in sorted(os.listdir(path))}
    with open(path, "rb") as stream:
        return stream.read()


def _same_class(a: type, b: type) -> bool:
    # A class that a PythonSource defines is another one in each execution, in the serial Map too.
    return (
        a.__qualname__ == b.__qualname__ and a.__module__ == b.__module__ == "builtins" and a not in vars_of_builtins()
    )


def vars_of_builtins() -> set[Any]:
    """Python's own types."""
    import builtins

    return {value for value in vars(builtins).values() if isinstance(value, type)}


# ---------------------------------------------------------------- both


def both(flow: Flow | Callable[[str], Flow], how: str = "logged", **more: Any) -> tuple[Seen, Seen]:
    """Run a workflow with either Map, each in an interpreter of its own."""
    pair = []
    for side in PACKAGES:
        if KEPT and side == "ours":
            with all_kept() as taken:
                for _ in range(2):
                    taken.clear()
                    seen = Stage(side, how).run(flow(side) if callable(flow) else flow, **more)
            seen.taken = sum(each.taken for each in taken)
            pair.append(seen)
            continue
        made = flow(side) if callable(flow) else flow
        with nothing_kept():
            pair.append(Stage(side, how).run(made, **more))
    return pair[0], pair[1]


@contextlib.contextmanager
def nothing_kept() -> Iterator[None]:
    """Have nothing kept of earlier runs: where one failed, and an element took long enough, it would be taken from there."""
    plain = kept.folder
    with tempfile.TemporaryDirectory() as folder:
        kept.folder = lambda: Path(folder) / "results"
        try:
            yield
        finally:
            kept.folder = plain


@contextlib.contextmanager
def all_kept() -> Iterator[list[kept.Results]]:
    """Keep every element that can be kept, in a store of its own; gives what each Map has kept."""
    made: list[kept.Results] = []
    plain = kept.of_map, kept.get_session, kept.folder, kept.SHORTEST, kept.READING

    def of_map(*arguments: Any) -> kept.Results:
        made.append(plain[0](*arguments))
        return made[-1]

    with tempfile.TemporaryDirectory() as folder:
        settings = SimpleNamespace(keep_results=kept.ALL, results_limit=1)
        kept.of_map, kept.get_session = of_map, lambda: SimpleNamespace(settings=settings)  # type: ignore[assignment]
        kept.folder, kept.SHORTEST, kept.READING = lambda: Path(folder) / "results", 0.0, math.inf
        try:
            yield made
        finally:
            kept.of_map, kept.get_session, kept.folder, kept.SHORTEST, kept.READING = plain


def assert_same(
    flow: Flow | Callable[[str], Flow], *hows: str, fails: bool | None = False, but: Sequence[str] = (), **more: Any
) -> tuple[Seen, Seen]:
    """Assert that a workflow does the same with either Map.

    :param hows: the ways to run it; default: with the cached interpreter and a log.
    :param fails: whether the run must fail, so that a case does not pass for the wrong reason; None if it may.
    :param but: beginnings of differences that docs/differences.rst explains.
    :returns: what was seen of the first way.
    """
    first = None
    for how in hows or ("logged",):
        serial, ours = both(flow, how, **more)
        found = [each for each in differences(serial, ours) if not each.startswith(tuple(but))]
        assert not found, (
            f"{how}:\n" + "\n".join(found) + f"\n\nserial said:\n{serial.complained}\nours said:\n{ours.complained}"
        )
        if fails is not None:
            failed = bool(serial.errors or serial.raised)
            assert failed == fails, f"{how}: errors {serial.errors}, raised {serial.raised}\n{serial.complained}"
        first = first or (serial, ours)
    assert first is not None
    return first
