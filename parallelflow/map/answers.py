"""What an engine answers, read; and what is said of it where that cannot be done, or where the engine could not do its part.

Every sentence names the element or elements that it was about. May import `in_pieces`, `outcomes`, `unreadable`, `values` and
`work` of the map room.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import parallelflow
from parallelflow.map import in_pieces, unreadable, values
from parallelflow.map.outcomes import ChunkOutcome, Failure
from parallelflow.map.work import MapError, Source
from parallelflow.texts import tr


def name(source: Source, indices: Sequence[int]) -> str:
    """Return how a message calls some elements.

    :param source: where they are from.
    :param indices: their indices, at least one.
    """
    first = source.describe(indices[0])
    return first if len(indices) == 1 else tr("{count} elements from {first} on", count=len(indices), first=first)


def explain(error: Any, where: str, what: str | None) -> str:
    """Say what an engine could not do, and why.

    :param error: the `ipyparallel.RemoteError`.
    :param where: the engine, as a message calls it.
    :param what: the elements that it was to run; None for a plan.
    """
    why = without_colours(str(error.evalue))
    if error.ename in ("ModuleNotFoundError", "ImportError") and "parallelflow" in why:
        return tr(
            "{engine} has no Parallel Flow: install vistrails-parallelflow {version} into the Python that the engine"
            " runs in ({why}).",
            engine=where,
            version=parallelflow.__version__,
            why=why,
        )
    kind = f"{error.ename}: {why}" if why else error.ename
    said = tr("{engine} could not run {what}: {why}", engine=where, what=what or tr("the plan"), why=kind)
    trace = "\n".join(error.render_traceback())
    return f"{said}\n{without_colours(trace)}"


def without_colours(text: str) -> str:
    """Return a text without the colours that IPython gives to what it says of an error, for a terminal.

    :param text: any text.
    """
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def read(
    answer: Any,
    indices: Sequence[int],
    source: Source,
    where: str,
    version_there: Callable[[str], str],
    pause: Callable[[], None],
) -> ChunkOutcome:
    """Unpickle an outcome; a result that cannot be had in this process is its element's failure.

    :param answer: what the engine sent.
    :param indices: the chunk's elements.
    :param source: where they are from.
    :param where: the engine, as a message calls it.
    :param version_there: asks the engine which version of a package it has.
    :param pause: called every few milliseconds while large results are read; may raise.
    :raises MapError: when nothing can be read, or what is read does not say what became of each element.
    """
    with in_pieces.turns(pause) as turn:
        try:
            outcome: ChunkOutcome = values.unpack(answer, turn)
        except values.RAISED_BY_CLASSES as error:  # whatever the results' classes do
            outcome = _rest(answer, indices, source, where, version_there, error)
    untold = outcome.untold(indices)
    if untold is not None:
        raise MapError(
            tr(
                "{engine} sent back neither a result nor an error of {element}. Start that engine anew; if it happens again, its"
                " Parallel Flow is not the one that VisTrails has.",
                engine=where,
                element=source.describe(untold),
            )
        )
    return outcome


def _rest(
    answer: Any,
    indices: Sequence[int],
    source: Source,
    where: str,
    version_there: Callable[[str], str],
    error: BaseException,
) -> ChunkOutcome:
    """Return what can be read of an outcome, up to the element whose result cannot."""
    why, found = values.describe_error(error), unreadable.read(answer)
    if found.outcome is None or found.index is None:
        raise MapError(
            tr(
                "What {engine} sent back of {what} cannot be read in VisTrails: {why}.",
                engine=where,
                what=name(source, indices),
                why=why,
            )
        ) from error
    try:
        there = version_there(found.package)
    except Exception:  # it is busy, or gone
        there = tr("an unknown version")
    message = tr(
        "The result, of type {type}, cannot be read in VisTrails: {why}. Of {package}, the engine has {there}, and VisTrails has"
        " {here}. Make them the same, or have the module give back something else.",
        type=found.type_name,
        why=why,
        package=found.package,
        there=there,
        here=unreadable.version_of(found.package),
    )
    outcome = found.outcome
    outcome.values = {index: value for index, value in outcome.values.items() if index < found.index}
    outcome.failure = Failure(found.index, message, "", None, cannot_travel=True)
    return outcome
