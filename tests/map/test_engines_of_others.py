"""Engines that VisTrails has not started, by ``ipcluster`` with a configuration of its own, are as good as ours for elements."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import command_line, until
from helpers import ours as running
from test_plain_python import CASES as PROCESS
from test_plain_python import VARIABLES
from test_streams import CASES as STREAMS
from test_streams import run_cases

from parallelflow.cluster import profile

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

# What people write there: engines log to files, and begin with something.
ENGINE_CONFIG = """
c.IPEngine.log_to_file = True
c.IPKernelApp.exec_lines = [
    "import logging, sys; logging.basicConfig(); logging.getLogger('of an engine').addHandler(logging.StreamHandler(sys.stdout))",
    "import random; random.seed(1)",
    "print('begins')",
    "import asyncio; asyncio.get_event_loop()",
    "there_is_no_such_name",
]
"""
CLUSTER_CONFIG = "c.LocalEngineSetLauncher.environment = {'OMP_NUM_THREADS': '1'}\n"

# Their children would join the cluster by these.
FOR_ENGINES = (
    "import os\nprint([name for name in os.environ if name.startswith('IPP_')])\nos.system('env | grep -c ^IPP_')"
)

# Of what elements find in the serial Map, see `test_streams` and `test_plain_python`, what an engine could be in the way of.
NAMES = (
    "print",
    "what streams are",
    "stream to a child",
    "descriptor",
    "original stream",
    "logging",
    "logging by default",
    "vistrails says",
    "warning",
    "nothing to read",
    "no IPython",
    "asyncio.run",
    "fork pool",
    "killed child",
    "environment",
    "child's environment",
)

# Engines that begin with one seed must not repeat each other.
DRAWS = {f"draws {number}": "import random\nprint(random.random())" for number in range(4)}


def _ipcluster(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "ipyparallel.cluster", *arguments], check=True, capture_output=True)


def _engines() -> set[int]:
    """Engines have a nanny each, which runs the same program as their child."""
    found = {each.pid: each.ppid() for each in running() if "ipyparallel.engine" in command_line(each)}
    return {number for number, parent in found.items() if parent not in found}


def test_elements_find_there_what_they_find_in_the_serial_map(
    vistrails: Any, clean_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = profile.create("default")
    (folder / "ipengine_config.py").write_text(ENGINE_CONFIG)
    (folder / "ipcluster_config.py").write_text(CLUSTER_CONFIG)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    cases = {name: {**STREAMS, **PROCESS}[name] for name in NAMES} | {"for engines": FOR_ENGINES, **DRAWS}
    serial = run_cases(cases, "serial", clean_home)
    _ipcluster("start", "-n", "2", "--daemonize")
    try:
        # At once, before an engine has registered: it waits for them, and starts no more.
        cases["threads"] = "import os\nprint(os.environ['OMP_NUM_THREADS'])"
        ours = run_cases(cases, "ours", clean_home)
        assert len(_engines()) == 2
    finally:
        _ipcluster("stop")
        until(lambda: running() == [])
    assert ours.pop("threads") == ("1\n", "")
    assert len({ours.pop(name) for name in DRAWS}) == len(DRAWS)
    different = {name: (serial[name], text) for name, text in ours.items() if serial[name] != text}
    assert not different
