"""What the scheduler says when something is wrong: sentences that name the engine or the element, and what to do.

May import `parallelflow.map.answers` and `parallelflow.map.deaths`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import parallelflow
from parallelflow.map.answers import without_colours
from parallelflow.map.deaths import Death
from parallelflow.texts import tr


def megabytes(nbytes: int) -> str:
    """Return a size for a message."""
    return tr("{size:.0f} MB", size=nbytes / 1e6) if nbytes >= 1e6 else tr("{size} bytes", size=nbytes)


def _kind_and_message(error: Any) -> str:
    kind = getattr(error, "ename", type(error).__name__)
    text = without_colours(str(getattr(error, "evalue", error))).strip()
    return f"{kind}: {text}" if text else kind


def unfit(error: Any) -> str:
    """Say why an engine cannot run a plan, from the error that it answered with."""
    kind, text = getattr(error, "ename", ""), str(getattr(error, "evalue", error))
    if "parallelflow" in text and kind in ("ModuleNotFoundError", "ImportError", "AttributeError"):
        return tr(
            "it has no Parallel Flow {version}: install vistrails-parallelflow {version} into the Python that the engine runs in"
            " ({why})",
            version=parallelflow.__version__,
            why=_kind_and_message(error),
        )
    return _kind_and_message(error)


def lacks_memory(answer: Any) -> bool:
    """Whether it is for lack of memory that an engine could not do what it was to.

    :param answer: the error that it answered with, or what says that it cannot read something.
    """
    return getattr(answer, "ename", "") == "MemoryError" or getattr(answer, "most_bytes", None) is not None


def cannot_run(engine: str, what: str, reason: str) -> str:
    """Say that an engine cannot run something, this Map for instance; for an error."""
    return tr("{engine} cannot run {what}: {why}.", engine=engine, what=what, why=reason.rstrip("."))


def left_out(engine: str, what: str, reason: str) -> str:
    """Say that an engine is left out of something, this Map for instance; for a warning."""
    return tr(
        "{engine} is left out of {what}, and others run its elements: {why}. It is tried again when it has been started anew.",
        engine=engine,
        what=what,
        why=reason.rstrip("."),
    )


def hangs(limit: float) -> str:
    """Say that an engine hangs while it gets ready, as a reason to leave it out."""
    return tr(
        "it did not get ready within {limit:.0f} seconds, in which it was to start VisTrails and load packages. Look into its log,"
        " or stop that engine and start another",
        limit=limit,
    )


def _may_hold(most: int | None) -> str:
    return (
        tr("the engine may hold {most}", most=megabytes(most)) if most else tr("what the engine may hold is not known")
    )


def _told(most: int | None, free: int | None) -> str:
    """What an engine may hold, and what of that it has left."""
    if free is None or most is None:
        return _may_hold(most)
    return tr(
        "the engine may hold {most}, of which it has {free} left", most=megabytes(most), free=megabytes(max(0, free))
    )


def plan_too_large(nbytes: int, what: str, most: int | None, free: int | None) -> str:
    """Say that the plan does not fit into an engine's memory, as a reason to leave it out.

    :param nbytes: how large the plan is.
    :param what: what in it is large.
    :param most: how many bytes the engine may hold, if that is known.
    :param free: how many of these it has left, if it has a limit.
    """
    return tr(
        "the modules to run do not fit into its memory: they are {size}, of which {what}; {limit}. Give it a higher limit, or the"
        " modules the name of a file instead",
        size=megabytes(nbytes),
        what=what,
        limit=_told(most, free),
    )


def element_too_large(element: str, nbytes: int, engine: str, most: int | None, free: int | None) -> str:
    """Say that an element does not fit into the memory of an engine, or what is made of it there.

    :param element: its index and value.
    :param nbytes: how large it is.
    :param engine: the engine.
    :param most: how many bytes the engine may hold, if that is known.
    :param free: how many of these it has left, if it has a limit.
    """
    return tr(
        "{element}, {size}, does not fit into the memory of an engine, or what is made of it there does not: {engine} is the last"
        " that was tried; {limit}. Give engines a higher limit, or the module the name of a file instead.",
        element=element[:1].upper() + element[1:],
        size=megabytes(nbytes),
        engine=engine,
        limit=_told(most, free),
    )


def deaf() -> str:
    """Say that what is sent to an engine does not arrive any more, as a reason to leave it out."""
    return tr(
        "nothing that is sent to it arrives any more, since a message did not fit into its memory. Stop that engine and start"
        " another, with a higher limit"
    )


def lost_plan(nbytes: int, what: str, most: int | None) -> str:
    """Say that the plan has not arrived, as a reason to leave an engine out.

    :param nbytes: how large the plan is.
    :param what: what in it is large.
    :param most: how many bytes the engine may hold, if that is known.
    """
    return tr(
        "what it was sent got lost on the way there or back: {size} for the modules to run, of which {what}; {limit}. Give it a"
        " higher limit, or the modules the name of a file instead",
        size=megabytes(nbytes),
        what=what,
        limit=_may_hold(most),
    )


def lost_element(element: str, nbytes: int, engine: str, most: int | None) -> str:
    """Say that an element, or what came of it, has not arrived.

    :param element: its index and value.
    :param nbytes: how large it is.
    :param engine: the engine.
    :param most: how many bytes the engine may hold, if that is known.
    """
    return tr(
        "{engine} was sent {element}, {size}, and neither runs it nor has answered: the element or its result got lost on the way,"
        " as happens to what does not fit into a process's memory; {limit}. Give engines a higher limit, or the module the name of"
        " a file instead.",
        engine=engine,
        element=element,
        size=megabytes(nbytes),
        limit=_may_hold(most),
    )


def of_other_elements(engine: str, indices: Sequence[int]) -> str:
    """Say that an engine's answer is about elements that it was not sent."""
    return tr(
        "{engine} was sent elements {first} to {last} and answered for others, so nothing of its answer is believed. Restart that"
        " engine, and report this.",
        engine=engine,
        first=min(indices),
        last=max(indices),
    )


def no_engine(limit: float, progress: str) -> str:
    """Say that all engines have gone."""
    return tr(
        "No engine is left in the cluster: all have died or were stopped, and none has joined for {limit:.0f} seconds. {progress}"
        " Start engines and run it again.",
        limit=limit,
        progress=progress,
    )


def _ended(death: Death, how: str | None) -> str:
    return f"{death.engine} {how}" if how else tr("{engine} is gone", engine=death.engine)


def _with_log(text: str, tail: str) -> str:
    if not tail.strip():
        return text
    end = tr("The end of the log of one of them:")
    return f"{text}\n{end}\n{without_colours(tail).rstrip()}"


def element_kills(element: str, deaths: Sequence[Death], how: Mapping[str, str], tail: str) -> str:
    """Say that an element has killed its engines.

    :param element: its index and value.
    :param deaths: those of its engines.
    :param how: by uuid, how an engine ended, where that is known, as the end of a sentence.
    :param tail: what is last in the log of one.
    """
    times = tr("twice") if len(deaths) == 2 else tr("{count} times", count=len(deaths))
    text = tr(
        "The engine that ran {element} died {times}: {engines}. The element was not tried again. Look for what ends a process"
        " there: too little memory, a crash in compiled code, an exit.",
        element=element,
        times=times,
        engines=tr(" and ").join(_ended(death, how.get(death.uuid)) for death in deaths),
    )
    return _with_log(text, tail)


def plan_kills(deaths: Sequence[tuple[Death, str, str | None]], what: str, tail: str) -> str:
    """Say that engines die of the plan, whatever the element.

    :param deaths: each with what the engine ran, and how it ended if that is known.
    :param what: what they ran, this Map for instance.
    :param tail: what is last in the log of one.
    """
    told = [
        tr("{ended} while it ran {what}.", ended=_ended(death, how), what=elements)
        if elements
        else tr("{ended} while it got ready.", ended=_ended(death, how))
        for death, elements, how in deaths
    ]
    text = tr(
        "{count} engines died one after the other while they ran {what}, so it seems to be that which ends them, whatever the"
        " element, unless somebody else did. {told} Look for what ends a process there: too little memory, a crash in compiled"
        " code, an exit.",
        count=len(deaths),
        what=what,
        told=" ".join(told),
    )
    if len(deaths) == 1:
        text = tr(
            "The only engine died. {told} Look for what ends a process there: too little memory, a crash in compiled code, an"
            " exit.",
            told=told[0],
        )
    return _with_log(text, tail)
