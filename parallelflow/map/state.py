"""All that is known of one Map while it runs; the scheduler, and what looks after engines, go by it.

May import ipyparallel and the map room; nothing of VisTrails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import parallelflow
from parallelflow.map import engine, experience, plan_names, values
from parallelflow.map.chunks import ChunkPolicy
from parallelflow.map.crew import Chunk, Crew, Engine, Message, Standing
from parallelflow.map.deaths import Deaths
from parallelflow.map.forgetting import Forgetting
from parallelflow.map.sharing import Sharing
from parallelflow.map.supply import Supply
from parallelflow.map.work import Limits, Sink, Source, Work
from parallelflow.texts import tr

Autopsy = Callable[[Sequence[str]], tuple[dict[str, str], str]]
"""Says how engines ended, given their uuids: by uuid the end of a sentence, where it is known; and the end of the log of one."""


class Watched(Protocol):
    """A connection whose health can be asked; see `parallelflow.cluster.connection.Connection`."""

    @property
    def client(self) -> Any:
        """The ``ipyparallel.Client``."""

    @property
    def lost(self) -> str | None:
        """Why the cluster is lost, as a sentence; None while it is well."""


class MapState:
    """What is known of one Map.

    :param connection: the cluster.
    :param work: the plan, and which elements are to be run.
    :param source: where elements come from.
    :param sink: where outcomes go.
    :param limits: how long is waited for what.
    :param autopsy: says how engines ended; must not raise.
    :param pause: called every few milliseconds while something large is copied; may raise.
    :ivar pending: chunks that have been sent and not answered, by the ids of their messages; `errands` and `knocks` likewise.
    :ivar overdue: knocks that are answered, and when what was sent before them counts as lost.
    :ivar hungry: engines that may have room for a chunk, by their uuids, in order.
    :ivar slow: elements that took long, and how many seconds.
    :ivar finished: elements whose outcome the sink has, or that have failed.
    :ivar done: how many elements have run, or were suspended.
    :ivar setbacks: by element, how often it was lost or could not be run while it was alone in its chunk.
    :ivar undecided: elements whose engines have died, of which it is not yet clear whether they are to blame, and since when.
    :ivar warnings: what the user is to hear as soon as it is known that the Map goes on.
    :ivar has_met_one: whether an engine has shown in this Map that it lives.
    :ivar moved: when something was last seen to run or to have run, on the monotonic clock.
    """

    def __init__(
        self,
        connection: Watched,
        work: Work,
        source: Source,
        sink: Sink,
        limits: Limits,
        autopsy: Autopsy,
        pause: Callable[[], None],
    ):
        self.connection = connection
        self.client = connection.client
        self.work, self.source, self.sink, self.limits, self.autopsy = work, source, sink, limits, autopsy
        self.experience = experience.of(self.client)
        self.plan = self.experience.plan(work.digest)
        self.crew = Crew(self.client, self.plan, self.experience)
        cost = self.plan.cost or work.cost
        known = (cost.seconds, cost.spread, cost.nbytes) if cost is not None else ()
        self.policy = ChunkPolicy(len(work.indices), *known)
        self.supply = Supply(work.indices, self.policy, cost.long if cost is not None else {})
        self.pending: dict[str, Chunk] = {}
        self.errands: dict[str, Message] = {}
        self.knocks: dict[str, Message] = {}
        self.overdue: list[tuple[float, Message]] = []
        self.hungry: dict[str, Engine] = {}
        self.slow: dict[int, float] = {}
        self.finished: set[int] = set()
        self.done = 0
        self.deaths = Deaths(limits.deaths)
        self.setbacks: dict[int, int] = {}
        self.undecided: list[tuple[int, float]] = []
        self.warnings: list[str] = []
        self.done_with = Forgetting(self.client)
        copies = plan_names.of(self.client)
        self.sharing = Sharing(self.client, pause, lambda uuid: copies.parts(work.digest, uuid))
        self.has_met_one = False
        self.is_wary = False
        self.moved = time.monotonic()

    @property
    def progress(self) -> str:
        """How far the Map has come, a sentence."""
        return tr("{done} of {all} elements were done.", done=self.done, all=len(self.work.indices))

    def fail(self, index: int) -> None:
        """Take note of an element that has failed: none after it is needed."""
        self.finished.add(index)
        self.supply.fail(index)

    def send_errand(self, each: Engine) -> None:
        """Ask an engine whether it holds the plan or, if it is known to lack it, send it."""
        if each.standing is Standing.UNKNOWN:
            message = self.crew.send(each, engine.greet, self.work.digest)
        else:
            arguments = (self.work.digest, parallelflow.__version__, self.work.environment())
            parts = self.sharing.plan(self.work.plan, each.uuid)
            message = self.crew.send(each, engine.install, *arguments, *parts, nbytes=values.size(self.work.plan))
            each.standing = Standing.PREPARING
        if message is not None:
            each.errand, self.errands[message.name] = message, message

    def _long(self) -> dict[int, float]:
        return {index: seconds for index, seconds in self.slow.items() if self.policy.is_long(seconds)}

    def remember(self) -> None:
        """Keep what the next run of the same plan may go by; engines drop a plan of which a module has failed."""
        policy, plan = self.policy, self.plan
        if self.done == len(self.work.indices) and policy.cost is not None:
            plan.cost = experience.Cost(policy.cost, policy.spread, policy.nbytes, self._long())
            plan.holders = {uuid for uuid, each in self.crew.engines.items() if each.standing is Standing.READY}
        else:
            plan.cost, plan.holders = None, set()
        self.experience.unlimited.intersection_update(self.crew.engines)
        noted, before = self.sharing.begun(), self.experience.noting
        self.experience.noting = {
            uuid for uuid, each in self.crew.engines.items() if (each.first in noted if each.first else uuid in before)
        }
        unfinished = self.experience.unfinished
        for message in self.errands.values():
            if message.engine.began is not None:
                unfinished[message.engine.uuid] = message.engine.began
                # Without a reference to the client, in ipyparallel's own thread.
                message.result.add_done_callback(lambda _, uuid=message.engine.uuid: unfinished.pop(uuid, None))
