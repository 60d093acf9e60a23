"""The profiles in ``examples/profiles``, each in use by a session, with stand-ins for ssh and batch systems."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import stand_ins
from helpers import free_ports, ours

from parallelflow.cluster import Session
from parallelflow.cluster.record import Record

EXAMPLES = Path(__file__).parents[2] / "examples" / "profiles"
PORTS = "range(10101, 10201)"


def copy(kind: str, profile: Path) -> range:
    """Copy an example into a profile, and adapt what a user adapts; returns the ports."""
    for path in (EXAMPLES / kind).iterdir():
        shutil.copy(path, profile)
    python = profile / "ipcluster_config.py"
    python.write_text(python.read_text().replace("/opt/vistrails/bin/python", sys.executable))
    ports = free_ports(100)
    controller = profile / "ipcontroller_config.py"
    assert PORTS in controller.read_text()
    controller.write_text(controller.read_text().replace(PORTS, str(ports)))
    return ports


@pytest.mark.parametrize("kind", ["ssh", "slurm", "pbs"])
def test_an_example_profile_starts_engines_and_leaves_nothing(
    kind: str,
    profile: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_session: Callable[..., Session],
) -> None:
    stand_ins.install(tmp_path, monkeypatch)
    ports = copy(kind, profile)
    session = make_session(profile="test")
    client = session.client()
    homes = client[:].apply_sync(os.path.expanduser, "~")
    wanted = [str(tmp_path / machine) for machine in ("alpha", "beta")] if kind == "ssh" else [os.environ["HOME"]] * 2
    assert sorted(homes) == wanted
    state = session.state()
    assert [engine.ours for engine in state.engines] == [True, True]
    assert [process.kind for process in state.processes] == ["controller", "job"]
    # Every port that a firewall would have to let in is in the range.
    assert session.connection is not None
    assert all(int(url.rpartition(":")[2]) in ports for url in session.connection._urls.values())
    session.close()
    assert ours() == []
    assert Record(profile).read() == []
    assert list((profile / "log").iterdir()) == []


def test_every_profile_in_the_examples_is_tested() -> None:
    assert sorted(path.name for path in EXAMPLES.iterdir()) == ["pbs", "slurm", "ssh"]
