"""SIGINT ends an element, and never what must not be left half done."""

from __future__ import annotations

import os
import signal
import time

import pytest
from helpers import LONG

from parallelflow.cluster import Session
from parallelflow.map.interrupts import held_back


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)  # Python looks for signals meanwhile


def test_an_interrupt_that_is_held_back_is_dropped_in_the_end() -> None:
    done = []
    with held_back():
        interrupt()
        done.append("all")
    assert done == ["all"]


def test_an_interrupt_comes_through_where_it_may() -> None:
    done = []
    with held_back() as interrupts:
        with pytest.raises(KeyboardInterrupt), interrupts.let_through():
            interrupt()
        interrupt()
        done.append("what follows")
    assert done == ["what follows"]


def test_an_interrupt_that_was_held_back_comes_through_at_once() -> None:
    done = []
    with held_back() as interrupts:
        interrupt()
        with pytest.raises(KeyboardInterrupt), interrupts.let_through():
            done.append("too much")
    assert done == []


def test_afterwards_everything_is_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with held_back() as interrupts, interrupts.let_through():
        pass
    assert signal.getsignal(signal.SIGINT) == before
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def interrupted_while_it_answers() -> str:
    """What runs on an engine and is interrupted in the moment after the last element."""
    import os
    import signal
    import time

    from parallelflow.map.interrupts import held_back

    with held_back():
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)
    return "the answer"


def test_an_engine_that_is_interrupted_while_it_answers_answers_and_can_be_interrupted_again(
    on_shared_cluster: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupted_while_it_answers, "__module__", "__main__")  # travels as it is, not by its name
    view = on_shared_cluster.client()[:]
    assert set(view.apply_async(interrupted_while_it_answers).get(LONG)) == {"the answer"}
    handlers = view.apply_async(signal.getsignal, signal.SIGINT).get(LONG)
    assert set(handlers) == {signal.default_int_handler}
