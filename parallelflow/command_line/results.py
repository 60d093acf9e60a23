"""Lists and clears the results of elements that are kept."""

from __future__ import annotations

import time

from parallelflow.command_line.arguments import Arguments
from parallelflow.command_line.output import FAILED, FINE, Output, table
from parallelflow.results.store import PLACE, Listed, Store

_DAY = "%Y-%m-%d %H:%M"


def results(arguments: Arguments, output: Output) -> int:
    """List or clear results that are kept.

    :param arguments: what was typed
    :param output: where the answer goes
    :returns: the exit code: 1 if there is none of the workflow that was named
    :raises OSError: if one cannot be removed
    """
    store = Store(arguments.vistrails / PLACE, 0)
    listed = store.listing()
    if arguments.workflow is not None:
        there = sorted({each.workflow for each in listed if each.workflow})
        listed = [each for each in listed if each.workflow == arguments.workflow]
        if not listed:
            names = ", ".join(f"'{name}'" for name in there) or "no workflow at all"
            output.fail(f"Nothing is kept of a workflow '{arguments.workflow}'. There are results of: {names}.")
            return FAILED
    folder = {"folder": str(store.folder)}
    if arguments.action == "list":
        output.answer(_table(listed, store), {**folder, "kept": [_as_json(each) for each in listed]})
        return FINE
    # All means all: what cannot be read, of a later version for instance, as well.
    nbytes = store.clear(None if arguments.workflow is None else listed)
    count = sum(each.results for each in listed)
    output.answer(f"{_results(count)} cleared, {_size(nbytes)}.", {**folder, "cleared": count, "bytes": nbytes})
    return FINE


def _table(listed: list[Listed], store: Store) -> str:
    if not listed:
        return "No results are kept."
    head = ("WORKFLOW", "MAP", "RESULTS", "SIZE", "SINCE", "LAST USED")
    rows = [
        (
            each.workflow or "(not saved)",
            each.module,
            each.results,
            _size(each.nbytes),
            _time(each.oldest),
            _time(each.used),
        )
        for each in listed
    ]
    total = f"{_results(sum(each.results for each in listed))}, {_size(sum(each.nbytes for each in listed))}"
    return f"{table(head, rows)}\n\n{total}, in {store.folder}"


def _as_json(each: Listed) -> dict[str, object]:
    return {
        "workflow": each.workflow,
        "map": each.module,
        "results": each.results,
        "bytes": each.nbytes,
        "since": each.oldest,
        "used": each.used,
    }


def _results(count: int) -> str:
    return "1 result" if count == 1 else f"{count} results"


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e6:.1f} MB" if nbytes >= 1e5 else f"{nbytes / 1e3:.1f} kB"


def _time(epoch: float) -> str:
    return time.strftime(_DAY, time.localtime(epoch))
