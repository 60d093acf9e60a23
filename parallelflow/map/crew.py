"""The engines of one Map, as the scheduler sees them, and what is on its way to each.

Messages go to one engine each, which runs them in their order. ipyparallel's load-balancing scheduler is not used: it would hand
chunks to engines that cannot run them, it cannot take one back that waits behind a long one, and an engine that has lost
one message gets nothing from it any more.

May import ipyparallel, `parallelflow.cluster.internals` and the map room.
"""

from __future__ import annotations

import enum
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipyparallel import error as ipp_error

from parallelflow.cluster import internals
from parallelflow.map import values
from parallelflow.map.experience import Experience, PlanExperience
from parallelflow.texts import tr

# From so many bytes on, what is sent is compared with what an engine has room for.
LARGE = 4 * 1024**2

# So many bytes an engine with a limit needs beside what it is sent.
SPARE = 16 * 1024**2


@dataclass(eq=False)
class Message:
    """Something that was sent to an engine.

    :ivar result: ipyparallel's `AsyncResult`.
    :ivar engine: the engine.
    :ivar nbytes: how large it is.
    :ivar sent: when, on the monotonic clock.
    :ivar is_elsewhere: whether it went another way than chunks and plans, so that it may overtake them.
    :ivar after: what its engine had begun with, and not answered, when it was sent.
    """

    result: Any
    engine: Engine
    nbytes: int
    sent: float
    is_elsewhere: bool = False
    after: list[Message] = field(default_factory=list)
    _has_begun: bool = False

    @property
    def name(self) -> str:
        """Its id."""
        return str(self.result.msg_ids[0])

    @property
    def has_begun(self) -> bool:
        """Whether the engine has announced that it begins with it. One that dies at once may not have had the time."""
        if not self._has_begun:
            self._has_begun = self.result.metadata["engine_id"] is not None
        return self._has_begun


@dataclass(eq=False)
class Chunk:
    """Some elements, on their way.

    :ivar indices: their indices.
    :ivar avoid: the uuids of engines that are not to have it, if there are others.
    :ivar alone: whether nothing else may run meanwhile.
    :ivar is_long: whether it is an element of which it is known that it takes long.
    :ivar parts: what was sent of them.
    :ivar message: once it has been sent.
    :ivar since: when that was, in seconds since the epoch.
    :ivar recall: the engine's answer, if it was asked to give the chunk back.
    """

    indices: Sequence[int]
    avoid: frozenset[str] = frozenset()
    alone: bool = False
    is_long: bool = False
    parts: values.Packed = field(default_factory=list)
    message: Message | None = None
    since: float = 0.0
    recall: Any = None

    def is_needed(self, limit: int | None) -> bool:
        """Whether it has an element with an index below the limit, if there is one."""
        return limit is None or min(self.indices) < limit

    @property
    def result(self) -> Any:
        """ipyparallel's `AsyncResult`."""
        return self.message.result if self.message is not None else None

    @property
    def name(self) -> str:
        """The id of its message."""
        return self.message.name if self.message is not None else ""

    @property
    def engine(self) -> int:
        """The number of the engine that it was sent to."""
        assert self.message is not None
        return self.message.engine.number

    @property
    def engine_now(self) -> int | None:
        """The number of the engine that it runs or ran on, None while it waits."""
        return self.message.engine.number if self.message is not None and self.message.has_begun else None


class Standing(enum.Enum):
    """What an engine can do for a Map."""

    UNKNOWN = "it has not said whether it holds the plan"
    LACKING = "it lacks the plan"
    PREPARING = "the plan is on its way, or it makes it ready"
    READY = "it holds the plan"
    OUT = "it is left out"


@dataclass(eq=False)
class Engine:
    """An engine.

    :ivar number: ipyparallel's number for it.
    :ivar uuid: the hub's name for it.
    :ivar standing: what it can do.
    :ivar host: the host that it runs on, once it is known.
    :ivar most_bytes: how much memory it may have, once it is known.
    :ivar free_bytes: how much of that it had not taken when it last said so; None if the system sets it no limit.
    :ivar has_told: whether it has said so since it was last sent what is large.
    :ivar chunks: what it has been sent and has not answered, in that order.
    :ivar errand: the plan, or the question whether it has it, while that has not been answered.
    :ivar began: when it was seen to make the plan ready, on the monotonic clock.
    :ivar has_spoken: whether anything has come from it in this Map: until then it may have been gone before.
    :ivar first: the id of the first chunk's message that it was sent in this Map; '' if there was none.
    :ivar has_answered: whether it has run a chunk of this plan.
    :ivar heard: when something came from it last, or was sent to it when it had nothing to do, on the monotonic clock.
    :ivar knock: a message that takes no time, by whose answer it is known that what was sent before is lost.
    :ivar patience: how long until it gets the next.
    :ivar why_out: why it is left out.
    """

    number: int
    uuid: str
    standing: Standing = Standing.UNKNOWN
    host: str = ""
    most_bytes: int | None = None
    free_bytes: int | None = None
    has_told: bool = False
    chunks: list[Chunk] = field(default_factory=list)
    errand: Message | None = None
    began: float | None = None
    has_spoken: bool = False
    first: str = ""
    has_answered: bool = False
    heard: float = 0.0
    knock: Message | None = None
    patience: float = 0.0
    why_out: str = ""

    @property
    def name(self) -> str:
        """What to call it in a message, as the beginning of a sentence."""
        if self.host:
            return tr("Engine {engine} on {host}", engine=self.number, host=self.host)
        return tr("Engine {engine}", engine=self.number)

    def fits(self, nbytes: int) -> bool:
        """Whether so many bytes fit into its memory, as far as it has told."""
        free = self.most_bytes if self.free_bytes is None else self.free_bytes - SPARE
        return free is None or nbytes <= free

    @property
    def is_idle(self) -> bool:
        """Whether it could run a chunk at once."""
        return self.standing is Standing.READY and not self.chunks


class Crew:
    """All engines of one Map.

    :param client: the ``ipyparallel.Client``.
    :param plan: what is known of the plan from earlier Maps.
    :param experience: what is known of engines.
    """

    def __init__(self, client: Any, plan: PlanExperience, experience: Experience):
        self._client = client
        self._plan = plan
        self._experience = experience
        self._views: dict[str, Any] = {}
        self.engines: dict[str, Engine] = {}
        self.left_out: dict[str, Engine] = {}
        self.were_left_out: list[Engine] = []  # and have gone since
        self.most = 0  # how many there have been at the same time
        self.arrived: queue.SimpleQueue[str] = queue.SimpleQueue()

    @property
    def size(self) -> int:
        """How many engines are not left out."""
        return len(self.engines) - len(self.left_out)

    @property
    def uuids(self) -> list[str]:
        """The uuids of the engines that are not left out."""
        return [uuid for uuid in self.engines if uuid not in self.left_out]

    @property
    def usable(self) -> list[Engine]:
        """The engines that are not left out."""
        return [engine for engine in self.engines.values() if engine.standing is not Standing.OUT]

    def look(self) -> tuple[list[Engine], list[Engine]]:
        """Look which engines there are now.

        :returns: those that have joined since, and those that have gone.
        """
        there = {uuid: number for number, uuid in internals.engines(self._client).items()}
        gone = [self.engines[uuid] for uuid in self.engines.keys() - there.keys()]
        for engine in gone:
            self.forget(engine)
        joined = []
        for uuid in there.keys() - self.engines.keys():
            engine = Engine(there[uuid], uuid)
            engine.why_out = self._experience.unfit.get(uuid) or self._plan.refused.get(uuid) or ""
            if engine.why_out:
                engine.standing = Standing.OUT
                self.left_out[uuid] = engine
            elif uuid in self._plan.holders:
                engine.standing = Standing.READY
            engine.began = self._experience.unfinished.get(uuid)
            joined.append(engine)
        joined.sort(key=lambda engine: engine.number)
        self.engines.update((engine.uuid, engine) for engine in joined)
        self.most = max(self.most, len(self.engines))
        return joined, gone

    def forget(self, engine: Engine) -> None:
        """Take note that an engine has gone."""
        if engine.uuid in self.left_out:
            self.were_left_out.append(engine)
        for known in (self.engines, self.left_out, self._views):
            known.pop(engine.uuid, None)

    def send(self, engine: Engine, function: Callable[..., Any], *arguments: Any, nbytes: int = 0) -> Message | None:
        """Send something to an engine.

        :param engine: the engine.
        :param function: what it is to call.
        :param arguments: with what.
        :param nbytes: how large they are.
        :returns: the message; None if the engine has gone in this very moment.
        """
        try:
            view = self._views.get(engine.uuid)
            if view is None:
                view = self._views[engine.uuid] = self._client.direct_view(engine.number)
            result = view.apply_async(function, *arguments)
        except (LookupError, ipp_error.NoEnginesRegistered, OSError, RuntimeError):
            return None  # or the connection is being closed
        now = time.monotonic()
        if not engine.chunks and engine.errand is None:
            engine.heard = now
        message = Message(result, engine, nbytes, now)
        name, arrived = message.name, self.arrived
        result.add_done_callback(lambda _: arrived.put(name))  # in ipyparallel's own thread
        return message

    def knock_elsewhere(self, engine: Engine, function: Callable[..., Any], *arguments: Any) -> Message | None:
        """Send what takes no time through ipyparallel's task scheduler: the way where a message was lost can be blocked."""
        try:
            result = self._client.load_balanced_view(targets=[engine.number]).apply_async(function, *arguments)
        except (LookupError, ipp_error.NoEnginesRegistered, OSError, RuntimeError):
            return None
        message = Message(result, engine, 0, time.monotonic(), is_elsewhere=True)
        name, arrived = message.name, self.arrived
        result.add_done_callback(lambda _: arrived.put(name))
        return message

    def take_back(self, chunk: Chunk, request: str) -> None:
        """Ask for a chunk back; the answer is in `Chunk.recall` then."""
        assert chunk.message is not None
        try:
            content = {"chunk": chunk.message.name}
            chunk.recall = internals.send(self._client, internals.NANNY, request, content, chunk.message.engine.uuid)
        except (OSError, RuntimeError):
            return  # the connection is being closed

    def has_given_back(self, chunk: Chunk) -> bool:
        """Whether an engine has said that it does not run a chunk that it was asked for."""
        done = chunk.recall is not None and chunk.recall.done()
        return done and bool(chunk.recall.result()["content"].get("dropped"))

    def leave_out(self, engine: Engine, reason: str, is_unfit: bool) -> None:
        """Send an engine nothing more, in this Map or in a later one of the same plan, until it is started anew.

        :param engine: the engine.
        :param reason: why, a sentence without the engine's name and full stop.
        :param is_unfit: whether it can run no other plan either.
        """
        engine.standing, engine.why_out = Standing.OUT, reason
        self.left_out[engine.uuid] = engine
        (self._experience.unfit if is_unfit else self._plan.refused)[engine.uuid] = reason
        self._plan.holders.discard(engine.uuid)
