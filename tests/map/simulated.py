"""A cluster that exists in numbers only: stands for ipyparallel's client and everything behind it, with a clock moved by hand."""

from __future__ import annotations

import heapq
import itertools
import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ipyparallel import error as ipp_error

from parallelflow.map import engine as engine_module
from parallelflow.map import taking_back, values
from parallelflow.map.chunks import LONG, LONGEST_DURATION
from parallelflow.map.outcomes import (
    ChunkDropped,
    ChunkOutcome,
    Failure,
    Greeting,
    Host,
    PlanMissing,
    PlanReady,
    PlanRefused,
)
from parallelflow.map.shared_memory import Room

NEVER = 1e9  # seconds


class Result:
    """Stands for an `AsyncResult`."""

    def __init__(self, name: str):
        self.msg_ids = [name]
        self.metadata: dict[str, Any] = {"engine_id": None, "engine_uuid": None}
        self._future: Future[Any] = Future()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._future.add_done_callback(lambda _: callback(self))

    def done(self) -> bool:
        return self._future.done()

    def exception(self) -> BaseException | None:
        return self._future.exception(0)

    def result(self) -> Any:
        return self._future.result(0)

    def set(self, answer: Any) -> None:
        """Answer; what comes a second time is dropped, as the client drops it."""
        if self._future.done():
            return
        if isinstance(answer, BaseException):
            self._future.set_exception(answer)
        else:
            self._future.set_result(answer)


class SimulatedEngine:
    """An engine: runs what it is sent one after the other."""

    def __init__(self, world: World, number: int):
        self.world = world
        self.number = number
        self.uuid = f"engine-{number}"
        self.host = Host(f"host{number}", number, 0.0, {})
        self.plans: set[str] = set()
        self.queue: list[tuple[Result, Any, tuple[Any, ...]]] = []
        self.running: Result | None = None
        self.taken: set[str] = set()
        self.aborted: set[str] = set()
        self.alive = True
        self.prepares_for = 1.0  # seconds to make a plan ready
        self.refusal: str | None = None
        self.forgetful = False  # drops its plan with the next chunk
        self.loses = 0  # so many of the next messages are lost
        self.is_deaf = False  # hears only what goes through the task scheduler
        self.announces = True  # that it begins; one that dies at once may not have the time
        self.noted_in = ""  # the room in which it has left a note last
        self.received: list[str] = []  # the functions that it was to call
        self.loses_answers = 0  # so many of the next answers are lost
        self.gives_back = 0  # so many of the next chunks are given back after the first element
        self.garbles = 0  # so many of the next chunks are answered without one of their elements
        self.ran: list[int] = []

    def receive_directly(self, result: Result, function: Any, arguments: tuple[Any, ...]) -> None:
        """Take a message in that was sent to this engine, unless nothing of that arrives any more."""
        if not self.is_deaf:
            self.receive(result, function, arguments)

    def receive(self, result: Result, function: Any, arguments: tuple[Any, ...]) -> None:
        """Take a message in, unless it is lost."""
        if self.loses:
            self.loses -= 1
            return
        self.received.append(function.__name__)
        self.queue.append((result, function, arguments))
        self.world.after(0.001, self.begin)

    def begin(self) -> None:
        """Begin with the next message, if there is one and nothing runs."""
        if not self.alive or self.running is not None or not self.queue:
            return
        result, function, arguments = self.queue.pop(0)
        self.running = result
        if self.announces:
            result.metadata.update(engine_id=self.number, engine_uuid=self.uuid)
        seconds, answer = self.do(result, function, arguments)
        self.world.after(seconds, lambda: self.end(result, answer))

    def do(self, result: Result, function: Any, arguments: tuple[Any, ...]) -> tuple[float, Callable[[], Any]]:
        """How long a message takes, and what gives its answer."""
        if function is engine_module.greet:
            return 0.001, lambda: Greeting(self.host.name, arguments[0] in self.plans, 10**9)
        if function is engine_module.install:
            return self.prepares_for, lambda: self.install(arguments[0])
        digest, indices, _, room, *packed = arguments
        if self.world.is_here and room not in ("", self.noted_in):
            Room(room).note(result.msg_ids[0])
            self.noted_in = room
        if result.msg_ids[0] in self.aborted:
            return 0.001, lambda: ipp_error.TaskAborted(result.msg_ids[0])
        if result.msg_ids[0] in self.taken:
            return 0.001, ChunkDropped
        if digest not in self.plans or self.forgetful:
            self.forgetful = False
            self.plans.discard(digest)
            return 0.001, lambda: PlanMissing(self.host.name)
        return self.run(list(indices), values.unpack(packed))

    def install(self, digest: str) -> Any:
        if self.refusal is not None:
            return PlanRefused(self.host.name, self.refusal)
        self.plans.add(digest)
        return PlanReady(self.host)

    def run(self, indices: list[int], elements: list[Any]) -> tuple[float, Callable[[], Any]]:
        """Run elements in turn: each costs its time, and may fail or kill."""
        outcome = ChunkOutcome(self.host, 0.0, indices)
        seconds = 0.0
        for index, element in zip(indices, elements, strict=True):
            if outcome.values and (self.gives_back or seconds > LONGEST_DURATION):
                self.gives_back = max(0, self.gives_back - 1)
                outcome.gives_back = True
                break
            self.ran.append(index)
            cost = self.world.costs.get(index, self.world.cost)
            seconds += cost
            if cost >= LONG:
                outcome.slow[index] = cost
            if index in self.world.killers:
                return seconds, self.die
            if index in self.world.failing:
                outcome.failure = Failure(index, "it failed", "", None)
                break
            outcome.values[index] = element * element
        outcome.seconds = seconds
        if self.garbles and outcome.failure is None and outcome.values:
            self.garbles -= 1
            outcome.values.popitem()
            outcome.gives_back = False
        return seconds, lambda: values.pack(outcome)

    def die(self) -> None:
        self.world.kill(self)

    def end(self, result: Result, answer: Callable[[], Any]) -> None:
        """Answer what runs."""
        if not self.alive or self.running is not result:
            return
        content = answer()
        if not self.alive:
            return
        self.running = None
        if self.loses_answers:
            self.loses_answers -= 1
        else:
            self.world.after(self.world.latency, lambda: result.set(content))
        self.begin()

    def interrupt(self) -> None:
        """End the element that runs."""
        result = self.running
        if result is not None:
            outcome = ChunkOutcome(self.host, 0.0, (), failure=None, gives_back=True)
            self.end(result, lambda: values.pack(outcome))


class View:
    """Stands for a `DirectView` of one engine, or for a `LoadBalancedView` with one as its target."""

    def __init__(self, world: World, engine: SimulatedEngine, is_direct: bool):
        self.world, self.engine, self.is_direct = world, engine, is_direct

    def apply_async(self, function: Any, *arguments: Any) -> Result:
        return self.world.send(self.engine, function, arguments, self.is_direct)


class World:
    """Time, engines, and the client: has what the scheduler and what is around it ask of an ``ipyparallel.Client``."""

    _query_stream = "hub"
    _control_stream = "nanny"

    def __init__(self) -> None:
        self.now = 1000.0
        self.latency = 0.001
        self.is_here = False  # engines share memory with the client
        self.engines: dict[int, SimulatedEngine] = {}
        self.cost = 0.01
        self.costs: dict[int, float] = {}
        self.killers: set[int] = set()
        self.failing: set[int] = set()
        self._numbers = itertools.count()
        self._names = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._futures: dict[str, Any] = {}
        self._closed = False
        self._unanswered: dict[str, tuple[Result, SimulatedEngine]] = {}

    # what happens

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), action))

    def move(self, seconds: float) -> None:
        """Let time pass, and happen what happens in it."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = end

    def move_to_next(self, seconds: float) -> None:
        """Let time pass until something happens, at most so much."""
        due = self._events[0][0] - self.now if self._events else seconds
        self.move(min(max(due, 0.0), seconds))

    def join(self) -> SimulatedEngine:
        engine = SimulatedEngine(self, next(self._numbers))
        self.engines[engine.number] = engine
        return engine

    def kill(self, engine: SimulatedEngine) -> None:
        """An engine dies, and the hub hears of it a moment later."""
        engine.alive = False
        self.after(0.5, lambda: self.unregister(engine))

    def unregister(self, engine: SimulatedEngine) -> None:
        self.engines.pop(engine.number, None)
        for result, of in list(self._unanswered.values()):
            if of is engine and not result.done():
                result.set(ipp_error.RemoteError("EngineError", "died", "", {}))

    # the client

    @property
    def ids(self) -> list[int]:
        return sorted(self.engines)

    @property
    def _engines(self) -> dict[int, str]:
        return {number: engine.uuid for number, engine in self.engines.items()}

    def direct_view(self, number: int) -> View:
        if number not in self.engines:
            raise IndexError(number)
        return View(self, self.engines[number], is_direct=True)

    def load_balanced_view(self, targets: list[int]) -> View:
        return View(self, self.engines[targets[0]], is_direct=False)

    def send(self, engine: SimulatedEngine, function: Any, arguments: tuple[Any, ...], is_direct: bool) -> Result:
        result = Result(f"message-{next(self._names)}")
        self._unanswered[result.msg_ids[0]] = result, engine
        if self.engines.get(engine.number) is not engine:
            raise IndexError(engine.number)
        receive = engine.receive_directly if is_direct else engine.receive
        self.after(self.latency, lambda: receive(result, function, arguments))
        return result

    def abort(self, names: list[str], targets: list[int], block: bool) -> Future[Any]:
        for number in targets:
            self.engines[number].aborted.update(names)
        return self._answered()

    def send_signal(self, number: int, targets: int, block: bool) -> Future[Any]:
        self.engines[targets].interrupt()
        return self._answered()

    def _answered(self, content: object = None) -> Future[Any]:
        future: Future[Any] = Future()
        self.after(self.latency, lambda: future.set_result(content))
        return future

    def _send(self, stream: str, kind: str, content: dict[str, Any], ident: bytes | None) -> Future[Any]:
        if kind == taking_back.REQUEST:
            assert ident is not None
            (engine,) = [each for each in self.engines.values() if each.uuid == ident.decode()] or [None]
            name = content["chunk"]
            waits = engine is not None and any(result.msg_ids[0] == name for result, _, _ in engine.queue)
            if engine is not None and waits:
                engine.taken.add(name)
            return self._answered({"content": {"status": "ok", "dropped": waits}})
        return self._answered({"content": {"status": "ok"}})

    def purge_local_results(self, names: list[str]) -> None:
        pass


class Clock:
    """Stands for the module `time`."""

    def __init__(self, world: World):
        self._world = world

    def monotonic(self) -> float:
        return self._world.now

    def time(self) -> float:
        return self._world.now

    def sleep(self, seconds: float) -> None:
        self._world.move(seconds)


class Queues:
    """Stands for the module `queue`: who waits lets time pass."""

    Empty = queue.Empty

    def __init__(self, world: World):
        self._world = world

    def SimpleQueue(self) -> Any:
        return _Queue(self._world)


class _Queue(queue.SimpleQueue):  # type: ignore[type-arg]
    def __init__(self, world: World):
        super().__init__()
        self._world = world

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        end = self._world.now + (timeout or 0.0)
        while self.empty() and self._world.now < end:
            self._world.move_to_next(end - self._world.now)
        return self.get_nowait()


class Watched:
    """Stands for a connection."""

    def __init__(self, world: World):
        self.client = world
        self.lost: str | None = None
