"""The cluster for other packages: a client, views, and a parallel ``map`` that also works without a cluster.

::

    from parallelflow.api import parallel_map

    results = parallel_map(function, values)

All of it uses the cluster that VisTrails is connected to, and starts one if there is none and ``ask`` is true: depending on
the preferences right away, or after asking the user. Nothing here needs VisTrails or Qt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar, overload

from parallelflow.cluster import ClusterError, ControllerLost, NoEngines, get_session
from parallelflow.texts import tr

__all__ = ["ClusterError", "direct_view", "get_client", "load_balanced_view", "parallel_map"]

log = logging.getLogger(__name__)

_T = TypeVar("_T")

# Few enough messages that their cost does not show, enough that engines finish together even if elements differ.
_CHUNKS_PER_ENGINE = 8

_LOOK_EVERY = 0.2  # seconds between two looks at the cluster's health
_WITHOUT_ENGINES = 5.0  # seconds that a cluster may be without engines before a map on it fails


def get_client(ask: bool = True) -> Any | None:
    """The ``ipyparallel.Client`` of the cluster, with at least one engine.

    :param ask: whether a cluster may be started if none is running, after asking the user if the preferences say so
    :returns: the client, or None if there is no cluster: none is running and none was to be started, the user cancelled,
        or it could not be started (why is in the log)
    """
    try:
        return get_session().client(start=ask)
    except ClusterError as error:
        log.warning("%s", error) if ask else log.debug("%s", error)
        return None


def direct_view(ask: bool = True) -> Any | None:
    """A ``DirectView`` of all engines that there are now, the same as ``get_client()[:]``.

    :param ask: as for :func:`get_client`
    :returns: the view, or None if there is no cluster
    """
    client = get_client(ask)
    return None if client is None else client[:]


def load_balanced_view(ask: bool = True) -> Any | None:
    """A ``LoadBalancedView`` of the cluster, the same as ``get_client().load_balanced_view()``.

    :param ask: as for :func:`get_client`
    :returns: the view, or None if there is no cluster
    """
    client = get_client(ask)
    return None if client is None else client.load_balanced_view()


@overload
def parallel_map(
    function: Callable[..., _T], *iterables: Iterable[Any], ask: bool = False, ipython: Literal[False] = False
) -> list[_T]: ...


@overload
def parallel_map(
    function: Callable[..., _T], *iterables: Iterable[Any], ask: bool = False, ipython: Literal[True]
) -> tuple[list[_T], bool]: ...


def parallel_map(
    function: Callable[..., _T], *iterables: Iterable[Any], ask: bool = False, ipython: bool = False
) -> list[_T] | tuple[list[_T], bool]:
    """``list(map(function, *iterables))``, on the cluster if there is one and in this process if not.

    :param function: called with one element of each iterable; on a cluster it and its arguments are pickled
    :param iterables: as for the built-in ``map``: the shortest one ends it
    :param ask: as for :func:`get_client`; without it a cluster is used only if it is running already
    :param ipython: whether to return as well where it ran
    :returns: the results in order; with ``ipython``, a pair of them and whether the cluster computed them
    :raises Exception: what ``function`` raises; from a cluster it is an ``ipyparallel.RemoteError`` that tells the
        exception's type, text and remote traceback
    :raises ClusterError: if the controller or the last engine goes while it computes
    :raises TypeError: if there is no iterable
    """
    if not iterables:
        raise TypeError("parallel_map() must have at least one iterable")
    client = get_client(ask)
    if client is None:
        results = list(map(function, *iterables))
        return (results, False) if ipython else results
    view = client.load_balanced_view()
    # Like the built-in map, and unlike ipyparallel's, end with the shortest.
    columns = [list(column) for column in zip(*zip(*iterables, strict=False), strict=True)]
    if not columns:
        return ([], True) if ipython else []
    size = max(1, len(columns[0]) // (_CHUNKS_PER_ENGINE * max(1, len(client.ids))))
    results = list(_result(view.map_async(function, *columns, chunksize=size)))
    return (results, True) if ipython else results


def _result(pending: Any) -> Any:
    """The result of a parallel map, or an error as soon as there is nobody any more to compute it."""
    connection = get_session().connection
    if connection is None:
        raise ControllerLost(tr("The connection to the cluster was closed."))
    idle = 0
    with connection.watched():
        while not pending.done():
            pending.wait(_LOOK_EVERY)
            if connection.lost:
                raise ControllerLost(connection.lost)
            # A new engine may just be on its way.
            idle = 0 if connection.client.ids else idle + 1
            if idle * _LOOK_EVERY > _WITHOUT_ENGINES:
                raise NoEngines(tr("The last engine of the cluster is gone; start engines and try again."))
    return pending.get()
