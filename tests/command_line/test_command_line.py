"""``python -m parallelflow`` on a real cluster: what it says, what it does, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parallelflow.cluster import Session
from parallelflow.cluster import profile as profiles
from parallelflow.cluster.tree import TOKENS, carriers
from parallelflow.command_line import main

Run = Callable[..., Any]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command, and returns its exit code and what it said."""

    def run(words: str) -> tuple[int, str, str]:
        code = main(words.split())
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def answer(say: Run) -> Run:
    """Runs a command with --json, and returns its exit code and its answer."""

    def run(words: str) -> tuple[int, Any]:
        code, out, _ = say(f"{words} --json")
        return code, json.loads(out)

    return run


@pytest.fixture
def two_engines(profile: Path, answer: Run) -> Iterator[Any]:
    """What ``start -n 2`` answered; stopped in the end."""
    code, content = answer("start -n 2 --profile test")
    assert code == 0
    yield content
    assert main(["stop", "--all", "--profile", "test"]) == 0


def test_without_a_cluster_status_says_so(say: Run, answer: Run) -> None:
    code, out, _ = say("status")
    assert code == 1
    assert "No cluster is running for the IPython profile 'default'" in out
    code, content = answer("status")
    assert code == 1
    assert (content["profile"], content["connected"], content["engines"]) == ("default", False, [])
    assert say("stop")[0] == 0
    assert "there to stop" in say("stop")[1]
    assert "No cluster is running" in say("stop --all")[1]


def test_a_cluster_runs_on_is_looked_at_and_stopped(two_engines: Any, say: Run, answer: Run) -> None:
    assert two_engines == {"profile": "test", "engines": [0, 1], "running": 2}
    code, content = answer("status --profile test")
    assert code == 0
    assert content["connected"]
    assert [engine["id"] for engine in content["engines"]] == [0, 1]
    assert all(psutil.pid_exists(engine["pid"]) for engine in content["engines"])
    assert sorted(process["kind"] for process in content["processes"]) == ["controller", "engine", "engine"]
    code, out, _ = say("status --profile test")
    assert code == 0
    assert "1 controller and 2 engines" in out
    assert len([line for line in out.splitlines() if " idle " in line]) == 2
    listed = answer("profiles")[1]["profiles"]
    assert [(each["name"], each["running"], each["used"]) for each in listed] == [
        ("default", False, True),
        ("test", True, False),
    ]
    assert answer("start -n 1 --profile test")[1] == {"profile": "test", "engines": [2], "running": 3}
    assert answer("stop --profile test") == (0, {"profile": "test", "stopped": 4})
    assert not carriers([os.environ[TOKENS]])


def test_what_others_started_is_stopped_only_on_demand(
    make_session: Callable[..., Session], profile: Path, say: Run
) -> None:
    session = make_session(profile="test", engines=1)
    session.client()
    code, out, _ = say("stop --profile test")
    assert code == 0
    assert "--all stops it" in out
    assert session.connection is not None
    assert session.connection.check() is None
    code, out, _ = say("stop --all --profile test")
    assert code == 0
    assert "has been shut down" in out
    assert session.connection.check() is not None


def test_doctor_compares_every_engine_with_here(two_engines: Any, say: Run) -> None:
    code, out, _ = say("doctor --profile test")
    assert "Engines: 0, 1: the same Python, Parallel Flow, VisTrails and ipyparallel as here." in out
    assert "connected to the controller" in out
    assert code == 0
    assert "All is well." in out


def test_doctor_says_what_an_engine_lacks() -> None:
    from parallelflow.command_line.doctor import _differences

    here = {"Python": "3.11", "vistrails-parallelflow": "1.0.0", "vistrails": "3.0", "ipyparallel": "9.2.0"}
    there = {**here, "executable": "/opt/python", "host": "far"}
    assert list(_differences(there, here)) == []
    said = " ".join(
        finding
        for change in (
            {"Python": "3.9"},
            {"vistrails-parallelflow": None},
            {"vistrails": None},
            {"vistrails": "2.2"},
            {"ipyparallel": "8.8.0"},
        )
        for finding, _ in _differences({**there, **change}, here)
    )
    for part in ("Python 3.9", "no Parallel Flow", "no VisTrails", "VisTrails 2.2", "ipyparallel 8.8.0"):
        assert part in said
    ((_, advice),) = _differences({**there, "vistrails-parallelflow": "0.9"}, here)
    assert "/opt/python" in advice


def test_doctor_finds_what_is_wrong(clean_home: Path, profile: Path, answer: Run) -> None:
    settings = clean_home / ".vistrails"
    settings.mkdir()
    startup = settings / "startup.xml"
    startup.write_text('<startup version="0.1"><packages><package name="parallelflow"/></packages></startup>')
    key = profiles.security_dir(profile) / "ipcontroller-client.json"
    key.write_text("{}")
    key.chmod(0o644)
    (profile / "ipengine_config.py").write_text("c.IPEngine.log_level = ")
    code, content = answer("doctor --profile test")
    assert code == 1
    assert not content["healthy"]
    wrong = {(check["what"], check["finding"][:30]) for check in content["checks"] if check["result"] == "wrong"}
    assert {what for what, _ in wrong} >= {"Settings", "Configuration", "Privacy"}
    assert len([what for what, _ in wrong if what == "Settings"]) == 2
    assert all(check["finding"].endswith(".") or check["result"] == "fine" for check in content["checks"])
    key.unlink()
    startup.write_text("<startup")
    (wrong_settings,) = [c for c in answer("doctor")[1]["checks"] if c["what"] == "Settings"]
    assert wrong_settings["result"] == "wrong"
    assert "cannot be read" in wrong_settings["finding"]
    code, content = answer("doctor --profile nowhere")
    assert code == 1
    assert "ipython profile create" in content["checks"][-1]["advice"]


def test_preferences_of_vistrails_count(clean_home: Path, say: Run, answer: Run) -> None:
    settings = clean_home / ".vistrails"
    settings.mkdir()
    startup = (
        '<startup version="0.1"><packages><package name="ipyparallel_flow"><configuration>'
        '<key name="profile"><str value="mine"/></key><key name="start_timeout"><int value="{seconds}"/></key>'
        "</configuration></package></packages></startup>"
    )
    (settings / "startup.xml").write_text(startup.format(seconds=20))
    profiles.create("mine")
    assert answer("status")[1]["profile"] == "mine"
    (settings / "startup.xml").write_text(startup.format(seconds=-1))
    code, out, err = say("status")
    assert (code, out) == (1, "")
    assert "'start_timeout'" in err
    code, content = answer("status")
    assert code == 1
    assert "'start_timeout'" in content["error"]


@pytest.mark.parametrize("words", ["", "start -n 0", "start -n many", "bogus", "status --bogus"])
def test_what_cannot_be_understood_ends_with_2(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(words.split())
    assert error.value.code == 2
    assert "usage: python -m parallelflow" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "start", "stop", "profiles", "doctor", "enable"])
def test_each_command_shows_examples_and_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main([command, "--help"])
    assert error.value.code == 0
    out = capsys.readouterr().out
    assert f"python -m parallelflow {command}" in out.split("examples:")[1]
    assert "exit codes:" in out


def test_an_unknown_profile_is_a_sentence(say: Run) -> None:
    code, out, err = say("start --profile nowhere")
    assert (code, out) == (1, "")
    assert "There is no IPython profile 'nowhere'" in err
    assert "Traceback" not in err


def test_ctrl_c_while_starting_leaves_nothing(profile: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "parallelflow", "start", "-n", "2", "--profile", "test"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 20
    while len(carriers([os.environ[TOKENS]])) < 3:
        assert time.monotonic() < end, "nothing was started"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert err.strip().splitlines()[-1] == "Interrupted."
    assert "Traceback" not in err
    assert not carriers([os.environ[TOKENS]])
