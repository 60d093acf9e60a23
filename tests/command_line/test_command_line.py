"""``python -m parallelflow`` on a real cluster: what it says, what it does, and how it ends."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import PATIENT, ours, prefer, until

import parallelflow
from parallelflow.cluster import Session
from parallelflow.cluster import profile as profiles
from parallelflow.cluster.record import Record
from parallelflow.cluster.settings import MOST_ENGINES
from parallelflow.command_line import checks, main
from parallelflow.command_line.arguments import parse
from parallelflow.command_line.cluster_checks import differences

pytestmark = pytest.mark.cluster

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
    assert two_engines == {"profile": "test", "engines": [0, 1], "running": 2, "lacking": []}
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
    code, out, _ = say("doctor --profile test")
    assert code == 0
    assert "connected to the controller" in out
    assert "Engines: 0, 1: as here, Python " in out
    assert "All is well." in out
    listed = answer("profiles")[1]["profiles"]
    assert [(each["name"], each["running"], each["used"]) for each in listed] == [
        ("default", False, True),
        ("test", True, False),
    ]
    (only,) = answer("profiles --profile test")[1]["profiles"]
    assert (only["name"], only["running"], only["used"]) == ("test", True, False)
    assert answer("start -n 1 --profile test")[1] == {"profile": "test", "engines": [2], "running": 3, "lacking": []}
    assert answer("stop --profile test") == (0, {"profile": "test", "stopped": 4})
    assert not ours()


def everything_in(folder: Path) -> dict[Path, tuple[int, int]]:
    """What lies below a folder, with the mode and the time of the last change; but a cluster's logs grow by themselves."""
    found = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    return {path: (s.st_mode, s.st_mtime_ns) for path, s in found.items() if path.parent.name != "log"}


def test_status_and_doctor_change_nothing_where_there_is_nothing(clean_home: Path, say: Run) -> None:
    before = everything_in(clean_home)
    assert say("status")[0] == 1
    assert say("doctor")[0] == 0
    assert everything_in(clean_home) == before


def test_status_and_doctor_change_nothing_of_a_profile_and_its_cluster(
    clean_home: Path, profile: Path, say: Run
) -> None:
    # A profile as others make it: readable by all, and without folders that it may have.
    (profile / "startup" / "README").unlink(missing_ok=True)
    profiles.security_dir(profile).chmod(0o755)
    profiles.log_dir(profile).rmdir()
    before = everything_in(clean_home)
    assert say("status --profile test")[0] == 1
    assert "others can read" in say("doctor --profile test")[1]
    assert everything_in(clean_home) == before
    assert say("start -n 1 --profile test")[0] == 0
    profiles.security_dir(profile).chmod(0o755)
    before = everything_in(clean_home)
    assert say("status --profile test")[0] == 0
    assert "others can read" in say("doctor --profile test")[1]
    assert everything_in(clean_home) == before
    assert say("stop --profile test")[0] == 0


def test_what_others_started_is_stopped_only_on_demand(
    make_session: Callable[..., Session], profile: Path, say: Run
) -> None:
    session = make_session(profile="test", engines=1)
    session.client()
    assert "started by a VisTrails that is running" in say("status --profile test")[1]
    code, out, _ = say("stop --profile test")
    assert code == 0
    assert "--all stops it" in out
    assert session.connection is not None
    assert session.connection.check() is None
    code, out, _ = say("stop --all --profile test")
    assert code == 0
    assert "has been shut down" in out
    assert session.connection.check() is not None


_CRASH = f"""
import os, signal
from parallelflow.cluster import Session, Settings
Session(lambda: Settings(profile="test", engines=1, **{PATIENT})).client()
os.kill(os.getpid(), signal.SIGKILL)
"""


def suspend_controller(profile: Path) -> None:
    """Have the controller not answer, and whoever asks it not wait for longer than a second."""
    prefer(Path.home() / ".vistrails", connect_timeout=1)
    (controller,) = [entry for entry in Record(profile).read() if entry.kind == "controller"]
    psutil.Process(controller.pid).suspend()


def test_what_a_crash_left_is_shown_as_it_is_and_stopped_even_if_it_hangs(profile: Path, say: Run, answer: Run) -> None:
    subprocess.run([sys.executable, "-c", _CRASH], check=False, timeout=300)
    before = Record(profile).path.read_text()
    code, out, _ = say("status --profile test")
    assert code == 0
    assert "started by a VisTrails that is gone" in out
    assert "1 controller and 1 engine" in out
    assert say("doctor --profile test")[0] == 0
    assert [each["fate"] for each in answer("status --profile test")[1]["processes"]] == [
        "of a VisTrails that is gone"
    ] * 2
    assert Record(profile).path.read_text() == before  # so that VisTrails asks about them
    suspend_controller(profile)
    assert answer("stop --profile test") == (0, {"profile": "test", "stopped": 2})
    assert not ours()


def test_a_controller_that_does_not_answer_is_stopped(profile: Path, answer: Run) -> None:
    assert answer("start -n 1 --profile test")[0] == 0
    suspend_controller(profile)
    assert "has not answered" in answer("status --profile test")[1]["error"]
    assert answer("stop --all --profile test")[0] == 0
    assert not ours()


def test_doctor_says_what_an_engine_lacks() -> None:
    here = {"Python": "3.11", "Parallel Flow": "1.0.0", "VisTrails": "3.0", "ipyparallel": "9.2.0"}
    there = {**here, "executable": "/opt/python", "host": "far"}
    assert list(differences(there, here)) == []
    assert list(differences({**there, "VisTrails": ""}, here)) == []
    said = " ".join(
        finding
        for change in (
            {"Python": "3.9"},
            {"Parallel Flow": None},
            {"VisTrails": None},
            {"VisTrails": "2.2"},
            {"ipyparallel": "8.8.0"},
        )
        for finding, _ in differences({**there, **change}, here)
    )
    for part in ("Python 3.9", "no Parallel Flow", "no VisTrails", "VisTrails 2.2", "ipyparallel 8.8.0"):
        assert part in said
    ((_, advice),) = differences({**there, "Parallel Flow": "0.9"}, here)
    assert "/opt/python" in advice


def test_doctor_finds_the_engine_that_differs(
    make_session: Callable[..., Session], clean_home: Path, profile: Path, answer: Run
) -> None:
    other = clean_home / "other" / "parallelflow"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text('__version__ = "0.0.1"\n')
    session = make_session(profile="test", engines=1)
    client = session.client()
    engine = subprocess.Popen(
        [sys.executable, "-m", "ipyparallel.engine", f"--profile-dir={profile}"],
        env={**os.environ, "PYTHONPATH": str(other.parent)},
        cwd=clean_home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: len(client.ids) >= 2)
    code, content = answer("doctor --profile test")
    assert code == 1
    (wrong,) = [check for check in content["checks"] if check["result"] == "wrong"]
    assert wrong["what"] == f"Engine 1 on {platform.node()}"
    assert wrong["finding"] == f"it has Parallel Flow 0.0.1, and here is {parallelflow.__version__}."
    assert wrong["advice"] == f"Install the same version for {sys.executable} there."
    (right,) = [check for check in content["checks"] if check["what"] == "Engines"]
    assert right["finding"].startswith("0: as here, ")
    session.shutdown_cluster()
    engine.wait(240)
    until(lambda: not ours())  # its nanny


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
    assert "is damaged" in wrong_settings["finding"]
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


@pytest.mark.parametrize("command", ["status", "start", "stop", "profiles", "doctor", "enable", "convert"])
def test_each_command_shows_examples_and_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main([command, "--help"])
    assert error.value.code == 0
    out = capsys.readouterr().out
    assert f"python -m parallelflow {command}" in out.split("examples:")[1]
    assert "exit codes:" in out


@pytest.mark.parametrize("command", ["start", "status", "stop", "profiles", "enable"])
def test_an_unknown_profile_is_a_sentence(command: str, say: Run) -> None:
    code, out, err = say(f"{command} --profile nowhere")
    assert (code, out) == (1, "")
    assert "There is no IPython profile 'nowhere'" in err
    assert "Traceback" not in err


def test_ctrl_c_while_starting_leaves_nothing(clean_home: Path, profile: Path) -> None:
    prefer(clean_home / ".vistrails", **PATIENT)
    (profile / "ipengine_config.py").write_text("import time; time.sleep(600)\n")  # it starts until then
    process = subprocess.Popen(
        [sys.executable, "-m", "parallelflow", "start", "-n", "2", "--profile", "test"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: len(ours()) >= 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 130
    assert out == ""
    assert err.strip().splitlines()[-1] == "Interrupted."
    assert "Traceback" not in err
    assert not ours()


# Runs the command where some modules cannot be imported.
_WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Missing())
from parallelflow.command_line import main
sys.exit(max([main(words.split()) for words in sys.argv[1:]]))
"""


def without(missing: list[str], *commands: str) -> subprocess.CompletedProcess[str]:
    """Runs commands, one after the other; the exit code is the largest of theirs."""
    script = _WITHOUT.replace("{missing}", repr(missing))
    return subprocess.run(
        [sys.executable, "-c", script, *commands], capture_output=True, text=True, timeout=400, check=False
    )


def test_doctor_works_where_nothing_is_installed() -> None:
    missing = ["ipyparallel", "psutil", "zmq", "IPython", "traitlets", "packaging"]
    doctor = without(missing, "doctor --json")
    assert doctor.returncode == 1
    (loading,) = [check for check in json.loads(doctor.stdout)["checks"] if check["what"] == "Loading"]
    assert loading["result"] == "wrong"
    status = without(missing, "status")
    assert (status.returncode, status.stdout) == (1, "")
    assert "python -m parallelflow doctor" in status.stderr
    assert "Traceback" not in doctor.stderr + status.stderr


def test_versions_are_compared_by_their_numbers() -> None:
    for version, least in (
        ("9.10", "9.2"),
        ("9.0", "9"),
        ("9", "9.0.0"),
        ("28.0.0b1", "25"),
        ("1.2.3.dev4+local", "1.2.3"),
    ):
        assert not checks._numbers(version) < checks._numbers(least)
    assert checks._numbers("9.0.1") < checks._numbers("9.0.2")


def test_clusters_need_no_vistrails_and_nothing_needs_qt(clean_home: Path) -> None:
    prefer(clean_home / ".vistrails", **PATIENT)
    done = without(["vistrails", "PyQt5"], "start -n 1", "status", "profiles", "stop")
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("1 engine started", "started by Parallel Flow", "running", "2 processes stopped."):
        assert part in done.stdout


def test_as_many_engines_can_be_typed_as_may_be_started(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["start", "-n", str(MOST_ENGINES)]).engines == MOST_ENGINES
    with pytest.raises(SystemExit):
        parse(["start", "-n", str(MOST_ENGINES + 1)])


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_whatever_the_encoding_everything_can_be_said(encoding: str, clean_home: Path) -> None:
    # A name with a letter that ASCII lacks, and a byte that is no UTF-8.
    home = clean_home / os.fsdecode("hö".encode() + b"\xf6")
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "IPYTHONDIR": str(home / ".ipython"), "PYTHONIOENCODING": encoding}
    for command in ("doctor", "enable", "enable --json"):
        done = subprocess.run(
            [sys.executable, "-m", "parallelflow", *command.split()],
            env=environment,
            capture_output=True,
            timeout=300,
            check=False,
        )
        said = (done.stdout + done.stderr).decode(encoding)
        assert "Encode" not in said, f"{command}: {said}"
        assert done.returncode == 0, f"{command}: {said}"
        assert "\\udcf6" in said, f"{command}: {said}"


def test_names_are_in_letters_where_python_takes_them_for_ascii(clean_home: Path) -> None:
    home = clean_home / "hö"
    (home / ".ipython" / "profile_größe").mkdir(parents=True)
    (home / "ä.vt").write_text("")
    environment = {**os.environ, "HOME": str(home), "IPYTHONDIR": str(home / ".ipython"), "LC_ALL": "C"}
    environment |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment.pop("PYTHONIOENCODING", None)
    cannot = "VisTrails cannot use {}: there are bytes in its name"
    for words, code, expected in (
        ("enable", 0, f"Made VisTrails' settings, as its first start would: {home}/.vistrails/startup.xml."),
        ("doctor", 0, cannot.format(f"{home}/.vistrails")),
        ("profiles", 0, "größe"),
        ("profiles --json", 0, "größe"),
        ("convert ä.vt ö.vt", 1, cannot.format(f"{home}/ä.vt")),
        ("explore ä.vt --json", 1, cannot.format(f"{home}/ä.vt")),
    ):
        command = [sys.executable, "-m", "parallelflow", *words.split()]
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, timeout=300, check=False)
        text = (done.stdout + done.stderr).decode("ascii")
        assert done.returncode == code, f"{words}: {text}"
        if "--json" in words:
            assert expected in json.dumps(json.loads(done.stdout), ensure_ascii=False), f"{words}: {text}"
        else:
            assert expected.encode("ascii", "backslashreplace").decode() in text, f"{words}: {text}"


def test_a_fault_is_a_sentence(say: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("so be it")

    monkeypatch.setattr("parallelflow.command_line.clusters.survey", fail)
    code, out, err = say("profiles")
    assert (code, out) == (1, "")
    assert "so be it" in err
    monkeypatch.setenv("IPYTHONDIR", "/proc/nowhere")
    code, out, err = say("start")
    assert (code, out) == (1, "")
    assert "could not be made in /proc/nowhere/profile_default" in err


def test_as_many_engines_are_started_as_cores_may_be_used(clean_home: Path, profile: Path) -> None:
    prefer(clean_home / ".vistrails", **PATIENT)
    core = min(os.sched_getaffinity(0))
    command = ["taskset", "-c", str(core), sys.executable, "-m", "parallelflow", "start", "--json", "--profile", "test"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert json.loads(done.stdout)["engines"] == [0]
    assert main(["stop", "--profile", "test"]) == 0


def test_doctor_tries_this_machine_and_leaves_nothing(profile: Path, clean_home: Path, answer: Run) -> None:
    code, content = answer("doctor --try --profile test")
    assert code == 0
    found = [check["finding"] for check in content["checks"] if check["what"] == f"Machine {platform.node()}"]
    assert found[0].startswith("an engine starts there")
    assert found[1] == "it shares with this machine: home folder, working folder, folder for temporary files."
    assert ours() == []
    assert not list(clean_home.rglob(".parallelflow-*"))
