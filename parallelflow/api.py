"""The cluster for other packages: a client, views, and a parallel ``map`` that also works where there is no cluster.

::

    from parallelflow.api import parallel_map

    results = parallel_map(function, values)

All of it uses the cluster that VisTrails is connected to, and starts one if there is none and ``ask`` is true: depending on
the preferences right away, or after asking the user. Nothing here needs VisTrails or Qt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, Literal, TypeVar, overload

from parallelflow.cluster import (
    ClusterError,
    Connection,
    ControllerLost,
    NoEngines,
    Session,
    get_session,
    inside_engine,
)
from parallelflow.map import calls
from parallelflow.texts import tr

__all__ = ["ClusterError", "direct_view", "get_client", "load_balanced_view", "parallel_imap", "parallel_map"]

log = logging.getLogger(__name__)

_T = TypeVar("_T")

# How often, in seconds, engines are looked after while results wait to be taken.
_LOOK_EVERY = 0.1


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


Progress = Callable[[int, int], object]
"""Is told how many elements are done, and how many there are."""


@overload
def parallel_map(
    function: Callable[..., _T],
    *iterables: Iterable[Any],
    ask: bool = False,
    ipython: Literal[False] = False,
    progress: Progress | None = None,
) -> list[_T]: ...


@overload
def parallel_map(
    function: Callable[..., _T],
    *iterables: Iterable[Any],
    ask: bool = False,
    ipython: Literal[True],
    progress: Progress | None = None,
) -> tuple[list[_T], bool]: ...


def parallel_map(
    function: Callable[..., _T],
    *iterables: Iterable[Any],
    ask: bool = False,
    ipython: bool = False,
    progress: Progress | None = None,
) -> list[_T] | tuple[list[_T], bool]:
    """``list(map(function, *iterables))``, on the cluster if there is one and in this process if not.

    Elements travel in chunks that adapt to what they cost. Those of an engine that dies run again elsewhere. The first that
    fails ends it at once, as does Ctrl-C, and what runs on engines then is broken off.

    :param function: called with one element of each iterable; on a cluster it and its arguments are pickled
    :param iterables: as for the built-in ``map``: the shortest one ends it
    :param ask: as for :func:`get_client`; without it a cluster is used only if it is running already
    :param ipython: whether to return as well where it ran
    :param progress: called in this thread with how many elements are done and how many there are, whenever that changes and ten
        times a second; what it raises ends everything
    :returns: the results in order; with ``ipython``, a pair of them and whether the cluster computed them
    :raises Exception: what ``function`` raises; from a cluster it is an ``ipyparallel.RemoteError`` that tells the
        exception's type, text and remote traceback
    :raises ClusterError: if there is a cluster that does not answer or has no engines, one that was to be started could not be,
        the controller or the last engine goes while it computes, or engines do not survive an element
    :raises TypeError: if there is no iterable, or the function or an element cannot be pickled
    """
    arguments = _arguments("parallel_map", iterables)
    cluster = _cluster(ask, progress, len(arguments))
    if cluster is None:
        results = list(_serially(function, arguments, progress))
    else:
        found: dict[int, _T] = {}
        with closing(calls.run(*cluster, calls.Calls(function, arguments), progress, ask)) as arriving:
            for arrived in arriving:
                found.update(arrived)
        results = [found.pop(index) for index in range(len(arguments))]
    return (results, cluster is not None) if ipython else results


def parallel_imap(
    function: Callable[..., _T],
    *iterables: Iterable[Any],
    ask: bool = False,
    ordered: bool = True,
    progress: Progress | None = None,
) -> Iterator[_T]:
    """The same as :func:`parallel_map`, but each result can be had as soon as it is there.

    Elements begin to run when the first result is asked for. While none is asked for, engines go on with what they have: one
    chunk or two each. If the iterator is closed or forgotten before its end, what runs on engines is broken off.

    :param function: as for :func:`parallel_map`
    :param iterables: as there; they are read to the end of the shortest before anything runs
    :param ask: as there
    :param ordered: whether results come in order; if not, they come as they are done
    :param progress: as there
    :returns: an iterator of the results
    :raises Exception: as there: when it is called if something is wrong with cluster or arguments, else from the iterator
    """
    arguments = _arguments("parallel_imap", iterables)
    cluster = _cluster(ask, progress, len(arguments))
    if cluster is None:
        return _serially(function, arguments, progress)
    return _as_they_come(calls.run(*cluster, calls.Calls(function, arguments), progress, ask), ordered)


def _arguments(name: str, iterables: tuple[Iterable[Any], ...]) -> list[tuple[Any, ...]]:
    if not iterables:
        raise TypeError(f"{name}() must have at least one iterable")
    return list(zip(*iterables, strict=False))


def _cluster(ask: bool, progress: Progress | None, count: int) -> tuple[Session, Connection] | None:
    """The cluster, None if there is none."""
    if inside_engine():
        return None  # it would wait for itself
    session = get_session()

    def tell(text: str, fraction: float) -> None:
        if progress is not None:
            progress(0, count)

    try:
        session.client(start=ask, progress=tell)
    except NoEngines as error:
        if session.connection is not None:
            raise
        log.warning("%s", error) if ask else log.debug("%s", error)
        return None
    connection = session.connection
    if connection is None:  # closed by somebody else in this very moment
        raise ControllerLost(tr("The connection to the cluster was closed."))
    return session, connection


def _serially(function: Callable[..., _T], arguments: list[tuple[Any, ...]], progress: Progress | None) -> Iterator[_T]:
    for done, each in enumerate(arguments):
        result = function(*each)
        if progress is not None:
            progress(done + 1, len(arguments))
        yield result


def _as_they_come(
    arriving: Generator[list[tuple[int, Any]], float | None, None], ordered: bool
) -> Generator[Any, None, None]:
    """Give results one by one; while whoever takes them has enough to do, engines are looked after now and then."""
    found: dict[int, Any] = {}  # in the order in which they have come
    given, due, is_over = 0, 0.0, False
    with closing(arriving):
        while found or not is_over:
            is_there = given in found if ordered else bool(found)
            if not is_over and (not is_there or time.monotonic() > due):
                try:
                    found.update(arriving.send(0.0 if is_there else None))
                except StopIteration:
                    is_over = True
                due = time.monotonic() + _LOOK_EVERY
            else:
                yield found.pop(given if ordered else next(iter(found)))
                given += 1
