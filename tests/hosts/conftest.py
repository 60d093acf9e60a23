"""Machines with real daemons for the tests here, each of which must leave nothing running on them. See `machines.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import machines as made
import pytest
from helpers import until
from machines import Machines


@pytest.fixture(scope="session")
def _network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    reason = made.why_not()
    if reason:
        pytest.skip(reason)
    machines = Machines(tmp_path_factory.mktemp("net"), dict(os.environ))
    yield machines
    machines.close()


@pytest.fixture(scope="session")
def _slurm(_network: Machines) -> Machines:
    reason = made.why_no_slurm()
    if reason:
        pytest.skip(reason)
    _network.start_slurm()
    return _network


def _for_one_test(machines: Machines) -> Iterator[Machines]:
    yield machines
    try:
        until(lambda: not machines.left())
    except AssertionError:
        pytest.fail(f"The test left {'; '.join(machines.left())}")
    finally:
        machines.clean()


@pytest.fixture
def hosts(_network: Machines) -> Iterator[Machines]:
    """The machines, on which a test must leave nothing running; its files are removed."""
    yield from _for_one_test(_network)


@pytest.fixture
def slurm(_slurm: Machines) -> Iterator[Machines]:
    """The same, with Slurm."""
    yield from _for_one_test(_slurm)
