"""One way to do something in a thread: named, with a future, known while it runs, and to be had even when Python ends."""

from __future__ import annotations

import ast
import gc
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers import until

import parallelflow
from parallelflow import threads

_AT_THE_END = """
import atexit
from concurrent import futures
from parallelflow import threads

threads.reserve(2)

@atexit.register
def end():
    inner = []
    outer = threads.start(lambda: futures.wait([threads.start(lambda: inner.append(1), "inner")]), "outer")
    assert futures.wait([outer], 200).done, "the reserved threads do nothing"
    print(inner, flush=True)
"""


def test_reserved_threads_work_when_python_ends() -> None:
    run = subprocess.run([sys.executable, "-c", _AT_THE_END], capture_output=True, text=True, timeout=240)
    assert (run.stdout, run.stderr) == ("[1]\n", "")


def test_the_outcome_tells_when_it_has_ended_and_what_was_raised() -> None:
    go = threading.Event()
    outcome = threads.start(lambda: (go.wait(), threading.current_thread().name), "waits")
    assert not outcome.done()
    assert "waits" in threads.running()
    go.set()
    assert outcome.result(60) == (True, "waits")
    assert "waits" not in threads.running()
    with pytest.raises(ZeroDivisionError):
        threads.start(lambda: 1 / 0, "fails").result(60)


def test_dismissed_threads_end() -> None:
    def reserved() -> int:
        return sum(thread.name == "parallelflow-reserve" for thread in threading.enumerate())

    before = reserved()
    threads.reserve(3)
    assert reserved() == before + 3
    threads.dismiss(3)
    until(lambda: reserved() == before)


def test_what_nobody_hears_of_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def heard() -> bool:
        gc.collect()
        return "The thread fails-alone has failed" in caplog.text

    threads.start(lambda: 1 / 0, "fails-alone")
    until(heard)
    assert "ZeroDivisionError" in caplog.text
    outcome = threads.start(lambda: 1 / 0, "fails-asked")
    assert isinstance(outcome.exception(60), ZeroDivisionError)
    del outcome
    gc.collect()
    assert "fails-asked" not in caplog.text


# These run alone: on another machine, where none of this is installed, and beside an engine, as a script that imports none of it.
_ALONE = {"threads.py", "cluster/there.py", "map/drain.py"}
_OTHER_WAYS = {
    "Thread",
    "Timer",
    "ThreadPoolExecutor",
    "QThread",
    "QThreadPool",
    "QRunnable",
    "start_new_thread",
    "to_thread",
}


def test_nothing_else_starts_threads() -> None:
    root = Path(parallelflow.__file__).parent
    calls = [
        (path, node.func)
        for path in sorted(root.rglob("*.py"))
        if str(path.relative_to(root)) not in _ALONE
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    named = [(path, getattr(called, "attr", getattr(called, "id", "")), called.lineno) for path, called in calls]
    assert [f"{path}:{line}" for path, name, line in named if name in _OTHER_WAYS] == []


def test_every_thread_says_whose_it_is() -> None:
    root = Path(parallelflow.__file__).parent
    names = [
        node.args[1]
        for path in sorted(root.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "threads.start"
    ]
    literal = [name.value for name in names if isinstance(name, ast.Constant)]
    assert len(literal) > 10
    assert [name for name in literal if not name.startswith("parallelflow-")] == []
