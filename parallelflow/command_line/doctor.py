"""Checks everything that must be right for a Map to run, and says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from parallelflow.command_line import checks
from parallelflow.command_line.arguments import Arguments
from parallelflow.command_line.checks import Check
from parallelflow.command_line.output import FAILED, FINE, Output

_MARKS = {checks.FINE: "ok", checks.NOTE: "--", checks.WRONG: "!!"}


def doctor(arguments: Arguments, output: Output) -> int:
    """Check everything.

    :param arguments: what was typed
    :param output: where the answer goes
    :returns: the exit code, which also says whether all is well
    """
    results = list(_checks(arguments))
    healthy = all(check.result != checks.WRONG for check in results)
    lines = []
    for check in results:
        lines.append(f"[{_MARKS[check.result]}] {check.what}: {check.finding}")
        if check.advice:
            lines.append(f"     {check.advice}")
    wrong = sum(check.result == checks.WRONG for check in results)
    found = f"{wrong} of {len(results)} checks found something wrong."
    lines += ["", "All is well." if healthy else found]
    output.answer("\n".join(lines), {"healthy": healthy, "checks": [asdict(check) for check in results]})
    return FINE if healthy else FAILED


def _checks(arguments: Arguments) -> Iterator[Check]:
    yield from checks.installed()
    try:
        from parallelflow.command_line import cluster_checks, vistrails_checks
    except Exception as error:  # whatever an incomplete installation raises
        yield Check(
            "Loading",
            checks.WRONG,
            f"Parallel Flow cannot be loaded: {type(error).__name__}: {error}.",
            "Install it again with what it needs, as in: pip install --force-reinstall .",
        )
        return
    yield from vistrails_checks.vistrails(arguments.vistrails)
    yield from cluster_checks.cluster(arguments.vistrails, arguments.profile, arguments.tries)
