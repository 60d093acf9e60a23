"""What earlier runs of a plan on a cluster tell about the next one.

Knows nothing of elements; standard library only.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

# Of so many plans: engines keep no more ready (`parallelflow.map.engine.MOST_PLANS`).
MOST = 8


@dataclass(frozen=True)
class Experience:
    """What the last run of a plan has shown.

    :ivar cost: seconds that an element took on an engine.
    :ivar spread: by which share of that costs differed from chunk to chunk.
    :ivar nbytes: the most bytes that an element or its result had on the wire.
    :ivar engines: the ids of the engines that took part, which hold the plan.
    """

    cost: float
    spread: float
    nbytes: float
    engines: frozenset[int]


_known: WeakKeyDictionary[Any, OrderedDict[str, Experience]] = WeakKeyDictionary()


def remember(client: Any, digest: str, experience: Experience | None) -> None:
    """Keep what a run has shown, in place of what was known.

    :param client: the cluster's client; what it knows goes with it.
    :param digest: the plan digest.
    :param experience: what the run has shown; None if nothing is to be relied upon.
    """
    plans = _known.setdefault(client, OrderedDict())
    plans.pop(digest, None)
    if experience is not None:
        plans[digest] = experience
    while len(plans) > MOST:
        plans.popitem(last=False)


def recall(client: Any, digest: str) -> Experience | None:
    """Return what is known of a plan, if all of the cluster's engines hold it.

    :param client: the cluster's client.
    :param digest: the plan digest.
    """
    plans = _known.get(client)
    experience = plans.get(digest) if plans else None
    if experience is None or not client.ids or not experience.engines.issuperset(client.ids):
        return None
    return experience
