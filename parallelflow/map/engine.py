"""What the client calls in an engine: `greet`, `install`, which makes a plan ready, and `run`, which runs a chunk of elements.

`parallelflow.map.engine_vistrails` starts VisTrails there, on the first plan that needs it; `parallelflow.map.frame` runs chunks.

May import the map room; nothing of VisTrails is imported before a plan arrives.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import pickle
import pkgutil
import platform
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import psutil
from IPython import get_ipython

import parallelflow
from parallelflow.map import engine_vistrails, heap, shared_memory, taking_back, unreadable, values
from parallelflow.map.engine_vistrails import Refused, Unfit
from parallelflow.map.frame import CannotRead, Frame, trace_of
from parallelflow.map.interrupts import held_back
from parallelflow.map.left_running import Left, known
from parallelflow.map.outcomes import (
    ChunkDropped,
    ChunkOutcome,
    ElementsUnread,
    Failure,
    Greeting,
    MemoryOutOfReach,
    PlanMissing,
    PlanReady,
    PlanRefused,
)
from parallelflow.map.plain_python import plain_python
from parallelflow.map.printed import joined
from parallelflow.map.streams import of_elements

with contextlib.suppress(ImportError):  # there is none on Windows
    import resource

if TYPE_CHECKING:
    from parallelflow.map.plan import Content

# Plans that an engine keeps ready, and their bytes all together; the one unused for longest makes room.
MOST_PLANS = 8
MOST_BYTES = 1024**3

# Plans of so many bytes that make room do so at once.
_LARGE = 1024**2

# With less room than so many bytes, what is not needed is let go before it is said how much there is.
_SHORT = 256 * 1024**2

_plans: OrderedDict[str, Frame] = OrderedDict()
_noted_in = ""  # the room of the Map whose first chunk here was noted last


def inside() -> bool:
    """Whether this process is an engine that runs elements of a Map."""
    return engine_vistrails.started()


def greet(digest: str) -> Greeting:
    """Say whether a plan is here, and how much memory there may be.

    It takes no time: what was sent before and has not been answered when this is, is lost.

    :param digest: the plan digest.
    """
    taking_back.allow()
    return Greeting(platform.node(), digest in _plans, *_memory())


def _memory() -> tuple[int, int | None]:
    """How many bytes this process may have, and how many of these it has not taken yet.

    :returns: what its limits say, else what the machine has, and None.
    """
    limits = [(resource.RLIMIT_AS, "vms"), (resource.RLIMIT_DATA, "data")]
    limited = [(resource.getrlimit(kind)[0], name) for kind, name in limits]
    limited = [(limit, name) for limit, name in limited if limit != resource.RLIM_INFINITY]
    most = int(min([*(limit for limit, _ in limited), _of_machine()]))
    if not limited:
        return most, None
    free = _free(limited)
    if free < _SHORT:
        _let_go()
        free = _free(limited)
    return most, free


@functools.cache
def _of_machine() -> int:
    return int(psutil.virtual_memory().total)


def _free(limits: list[tuple[int, str]]) -> int:
    taken = psutil.Process().memory_info()
    return max(0, min(limit - getattr(taken, name, 0) for limit, name in limits))


def _let_go() -> None:
    """Let go of what the last error holds, the message that it was about among it, and of garbage."""
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        vars(sys).pop(name, None)
    shell = get_ipython()
    if shell is not None:
        shell.InteractiveTB.tb = None
    gc.collect()


def install(digest: str, version: str, environment: bytes, *packed: Any) -> PlanReady | PlanRefused | MemoryOutOfReach:
    """Make a plan ready, starting VisTrails if this is the first that needs it.

    :param digest: the plan digest.
    :param version: the client's version of Parallel Flow.
    :param environment: the user's VisTrails, as `needs.environment` described it; empty for a plan that needs none.
    :param packed: the plan, as `values.pack` made it.
    :returns: that it is ready, or why it cannot run here, or that this engine does not share the client's memory.
    """
    streams = of_elements()
    # Later, what is printed meanwhile is what elements have left running.
    preparing = streams.leading_here() if engine_vistrails.started() else streams.for_the_log()
    with held_back(), preparing as said, plain_python().in_force():
        try:
            _make_ready(digest, version, environment, packed, said or str)
        except shared_memory.OutOfReach:
            return MemoryOutOfReach(platform.node())
        except Refused as refusal:
            lacks = isinstance(refusal.__cause__, MemoryError)
            return PlanRefused(
                platform.node(), str(refusal), isinstance(refusal, Unfit), _memory()[0] if lacks else None
            )
        except MemoryError as error:
            return PlanRefused(platform.node(), values.describe_error(error), most_bytes=_memory()[0])
        except (Exception, SystemExit) as error:  # whatever a package does when it is loaded
            return PlanRefused(platform.node(), f"it could not prepare the modules:\n{trace_of(error)}")
        return PlanReady(_plans[digest].host())


def _make_ready(digest: str, version: str, environment: bytes, packed: Sequence[Any], said: Callable[[], str]) -> None:
    if version != parallelflow.__version__:
        raise Unfit(f"it has Parallel Flow {parallelflow.__version__}, and VisTrails has {version}: make them the same")
    if digest in _plans:
        return
    kept = shared_memory.opened(packed)
    if not _plans:
        heap.keep()
    # First VisTrails with the user's packages, for values in the plan may be of their classes.
    if environment:
        engine_vistrails.start(pickle.loads(environment), said)
    else:
        engine_vistrails.have_a_folder()
    try:
        content: Content = values.unpack(shared_memory.mapped(kept))
    except values.RAISED_BY_CLASSES as error:  # whatever the values' classes do
        why = values.describe_error(error)
        raise Refused(f"{unreadable.in_plan(shared_memory.mapped(kept))} cannot be read there: {why}") from error
    missing = [name for name in content.files if not os.path.exists(name)]
    if missing:
        raise Refused(
            f"it does not see {missing[0]!r}, which is on one of the modules' ports: keep it in a folder that this host shares"
            " with VisTrails, or give the modules its content instead"
        )
    _plans[digest] = pkgutil.resolve_name(content.made_ready_by)(content, kept)
    known()
    dropped = 0
    while len(_plans) > 1 and (len(_plans) > MOST_PLANS or sum(plan.nbytes for plan in _plans.values()) > MOST_BYTES):
        dropped += _plans.popitem(last=False)[1].nbytes
    if dropped >= _LARGE:
        gc.collect()  # modules hold each other, and their values


def run(
    digest: str, indices: Sequence[int], run_info: bytes, room: str, *packed: Any
) -> list[Any] | PlanMissing | ElementsUnread | ChunkDropped | MemoryOutOfReach:
    """Run a chunk.

    :param digest: the plan digest.
    :param indices: the indices of the chunk's elements.
    :param run_info: what there is to know of this run of the Map, as `plan.make_run` made it.
    :param room: the client's room in the memory that it shares with engines on its host, or ''; see `shared_memory`.
    :param packed: the elements, a list, as `values.pack` made it.
    :returns: a `ChunkOutcome`, packed; or that this engine does not hold the plan, does not share the client's memory, or cannot
        read the elements, or that the chunk was taken back.
    :raises CannotTravel: when something of the outcome that is no result cannot be pickled.
    """
    with held_back() as interrupts:
        if interrupts.task and not taking_back.begin(interrupts.task):
            return ChunkDropped()
        shared = shared_memory.visible(room)
        _note_first(shared, interrupts.task)
        plan = _plans.get(digest)
        if plan is None:
            return PlanMissing(platform.node())
        _plans.move_to_end(digest)
        try:
            taken = shared_memory.taken(packed)
        except shared_memory.OutOfReach:
            return MemoryOutOfReach(platform.node())
        except MemoryError as error:
            return ElementsUnread(platform.node(), values.describe_error(error), _memory()[0])
        try:
            outcome = plan.run(indices, run_info, taken, interrupts)
        except CannotRead as error:
            lacks = isinstance(error.__cause__, MemoryError)
            return ElementsUnread(platform.node(), str(error), _memory()[0] if lacks else None)
        if plan.is_spoilt():
            del _plans[digest]
        if interrupts.interrupted_by_mistake and outcome.failure is not None:
            if interrupts.ending:
                outcome.give_back_failed()  # it runs elsewhere
            else:
                outcome.interrupted = True
        try:
            answer = _packed_outcome(outcome, plan.content.output_port)
        finally:
            plan.let_go()
        return answer if shared is None else shared.put(answer)


def _note_first(room: shared_memory.Room | None, chunk: str) -> None:
    """Note in a Map's room the first chunk that is begun here: should it end this process at once, nothing else says so."""
    global _noted_in
    if room is not None and chunk and room.path != _noted_in:
        room.note(chunk)
        _noted_in = room.path


def left_running() -> Left:
    """Return what elements have left running here, and what it has printed since a chunk ended."""
    with held_back():
        streams = of_elements()
        # Who goes on first: what one prints that ends meanwhile is in the text then.
        threads, children = known().threads(), known().children()
        with streams.leading_here():
            pass  # what threads have printed goes out with it
        text = streams.take()
        return Left(functools.reduce(joined, text.elements.values(), text.between), threads, children)


def _packed_outcome(outcome: ChunkOutcome, port: str | None) -> list[Any]:
    """Pack an outcome; a result that cannot travel becomes its element's failure.

    :param port: the output port that results are from; '' where each is those of all ports, by their names; None for a function's.
    """
    try:
        return values.pack(outcome)
    except values.CannotTravel as whole:
        for index, result in sorted(outcome.values.items()):
            for name, value in (result if port == "" else {port: result}).items():
                try:
                    values.pack(value)
                except values.CannotTravel as error:
                    outcome.values = {i: v for i, v in outcome.values.items() if i < index}
                    on_output = f" on output '{name}'" if name is not None else ""
                    outcome.failure = Failure(
                        index,
                        f"The result{on_output}, of type {type(value).__name__}, cannot be sent back from an engine: {error}",
                        trace_of(error),
                        None,
                        cannot_travel=True,
                    )
                    return values.pack(outcome)
        if not isinstance(whole.__cause__, MemoryError):
            raise
        if outcome.failure is not None and outcome.failure.is_long:  # the log has the same texts
            outcome.records = [each for each in outcome.records if each.iteration != outcome.failure.index]
            outcome.failure, outcome.beside = outcome.failure.shortened(), []
            return _packed_outcome(outcome, port)
        if not outcome.values:
            raise
        index = min(outcome.values)
        outcome.failure = Failure(
            index,
            f"The results of {len(outcome.values)} elements from this one on cannot be sent back from an engine together: {whole}",
            "",
            None,
            cannot_travel=True,
        )
        outcome.values = {}
        return values.pack(outcome)
