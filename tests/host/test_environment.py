"""``make setup``: nothing to do when nothing changed, a sentence when something is missing, nothing half-made."""

from __future__ import annotations

import ast
import fcntl
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import until

from host import SetupError, debian, environment

pytestmark = pytest.mark.host

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(clone: Path) -> Run:
    """Runs a command in the clone, by default the setup, and returns what it said."""

    def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        # What was said to the `make` that runs the tests is not for those that they run.
        told = {"MAKEFLAGS", *re.findall(r"^(\w+) \?=", (clone / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)}
        inherited = {name: value for name, value in os.environ.items() if name not in told}
        return subprocess.run(
            command or (sys.executable, "-m", "host"),
            cwd=clone,
            env={**inherited, **variables},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


def assert_fails_with_a_sentence(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode != 0
    assert "make setup: " in result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


# ---- something is missing ----


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_an_old_python_can_read_what_tells_it_that_it_is_too_old(name: str) -> None:
    ast.parse((environment.ROOT / "host" / name).read_text(encoding="utf-8"), feature_version=(3, 4))


def test_a_python_that_is_too_old_is_told(run: Run) -> None:
    code = "import runpy, sys; sys.version_info = (3, 6, 15); runpy.run_module('host', run_name='__main__')"
    assert_fails_with_a_sentence(run(sys.executable, "-c", code), "is Python 3.6", "3.10 or later")


def test_a_python_that_is_not_there_is_missed(run: Run) -> None:
    assert_fails_with_a_sentence(run("make", "setup", "PYTHON=no-such-python"), "no 'no-such-python'", "3.10 or later")


def test_a_python_without_ensurepip_is_told_what_to_install(run: Run, clone: Path) -> None:
    code = "import runpy, sys; sys.modules['ensurepip'] = None; runpy.run_module('host', run_name='__main__')"
    assert_fails_with_a_sentence(run(sys.executable, "-c", code), "python3-venv")
    assert not (clone / ".venv").exists()


def test_a_machine_without_apt_get_is_told_what_it_takes(run: Run, clone: Path) -> None:
    assert_fails_with_a_sentence(run(PATH=str(clone)), "no 'apt-get'", "Debian 12")
    assert not (clone / ".venv").exists()


# ---- the file of Debian's package, as the user has it ----


def test_a_machine_without_apt_and_dpkg_takes_the_file_that_the_user_has(
    run: Run, clone: Path, debian_package: Path
) -> None:
    programs = clone / "programs"
    programs.mkdir()
    code = (
        "import sys; from concurrent.futures import ThreadPoolExecutor; from pathlib import Path; from host import environment;"
        "wheel = environment._vistrails_wheel; environment.CACHE.mkdir(parents=True);"
        "print(wheel(ThreadPoolExecutor(1), Path(sys.argv[1])).result())"
    )
    said = run(sys.executable, "-c", code, str(debian_package), PATH=str(programs))
    made = Path(said.stdout.splitlines()[-1])
    assert made.is_file(), said.stderr
    assert made.is_relative_to(clone)
    with zipfile.ZipFile(made) as archive:
        assert "vistrails/core/application.py" in archive.namelist()


def test_make_setup_hands_the_users_file_over(run: Run) -> None:
    said = run("make", "--dry-run", "setup", "VISTRAILS=a file.deb").stdout
    assert '-m host   --vistrails "a file.deb" ".venv"' in said


@pytest.mark.parametrize(
    ("content", "complaint"), [(None, "there is no such file"), (b"!<arch>\nnot it", "its SHA-256 is not")]
)
def test_a_file_that_is_not_the_package_is_not_taken(
    run: Run, clone: Path, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (clone / "a.deb").write_bytes(content)
    assert_fails_with_a_sentence(run(sys.executable, "-m", "host", "--vistrails", "a.deb"), complaint)
    assert not (clone / ".venv").exists()


def archive_of(*members: tuple[str, bytes]) -> bytes:
    """An `ar` archive."""
    parts = [b"!<arch>\n"]
    for name, data in members:
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n"
        parts += [header.encode(), data, b"\n" * (len(data) % 2)]
    return b"".join(parts)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"<html>", "no Debian package"),
        (archive_of(("debian-binary", b"2.0\n")), "has no data.tar"),
        (
            archive_of(("debian-binary", b"2.0"), ("data.tar.xz", b"odd size before, and no archive")),
            "cannot be unpacked",
        ),
        (archive_of(("debian-binary", b"2.0\n"))[:-20], "damaged"),
    ],
)
def test_a_damaged_package_is_said(tmp_path: Path, data: bytes, complaint: str) -> None:
    (tmp_path / "a.deb").write_bytes(data)
    with pytest.raises(SetupError, match=complaint):
        debian.unpack(tmp_path / "a.deb", tmp_path / "to")


@pytest.mark.parametrize(
    ("codename", "complaint", "advice"),
    [
        ("trixie", "E: Version '3.0' for 'vistrails' was not found", "Only Debian 12"),
        ("bookworm", "W: Failed to fetch a list  Could not connect", "Is there a network"),
    ],
)
def test_a_debian_that_has_no_vistrails_to_offer_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codename: str, complaint: str, advice: str
) -> None:
    apt_get = tmp_path / "bin" / "apt-get"
    apt_get.parent.mkdir()
    apt_get.write_text(f'#!/bin/sh\necho "{complaint}" >&2\nexit 100\n')
    apt_get.chmod(0o755)
    monkeypatch.setenv("PATH", str(apt_get.parent), prepend=os.pathsep)
    monkeypatch.setattr(debian, "_os_release", lambda: {"VERSION_CODENAME": codename})
    with pytest.raises(SetupError, match=advice) as failure:
        debian.fetch(tmp_path)
    assert complaint in str(failure.value)


def test_a_downloaded_package_that_is_not_the_expected_one_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt_get = tmp_path / "bin" / "apt-get"
    apt_get.parent.mkdir()
    apt_get.write_text("#!/bin/sh\necho other > vistrails_3_all.deb\n")
    apt_get.chmod(0o755)
    monkeypatch.setenv("PATH", str(apt_get.parent), prepend=os.pathsep)
    with pytest.raises(SetupError, match="SHA-256"):
        debian.fetch(tmp_path)
    assert not list(tmp_path.glob("*.deb"))


def test_missing_libraries_are_named_with_the_one_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = (
        debian.Need("libc.so.6", "libc6", debian._library),
        debian.Need("libnone.so.1", "libnone1", debian._library),
        debian.Need("no-such-program", "nothing", debian._program),
    )
    monkeypatch.setattr(debian, "NEEDS", needs)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    note = environment._system_libraries()
    assert "lack libnone.so.1, no-such-program; as root, run: apt-get install" in note
    assert note.endswith("libnone1 nothing")


@pytest.fixture
def apt_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Puts an apt-get on the path that does what is given in shell, and returns what it was asked, a line for each call.

    A library is missing until somebody makes the file `installed`, and whoever asks is root.
    """
    called, installed = tmp_path / "called", tmp_path / "installed"

    def do(what: str) -> list[str]:
        program = tmp_path / "bin" / "apt-get"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\ncd "{tmp_path}"\necho "$*" >> called\n{what}\n')
        program.chmod(0o755)
        called.write_text("")
        note = environment._system_libraries()
        return [note, *called.read_text().splitlines()]

    monkeypatch.setattr(debian, "NEEDS", (debian.Need("libnone.so.1", "libnone1", lambda _: installed.exists()),))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return do


def test_root_gets_what_is_missing(apt_get: Callable[[str], list[str]]) -> None:
    note, *calls = apt_get("touch installed")
    assert note == ""
    (call,) = calls
    assert call.endswith("install --yes --no-install-recommends libnone1")


def test_root_gets_new_lists_of_packages_where_they_are_missing(apt_get: Callable[[str], list[str]]) -> None:
    note, *calls = apt_get(
        "case $* in *update) touch lists; exit;; esac\n"
        "test -e lists || { echo 'E: no such package' >&2; exit 100; }\n"
        "touch installed"
    )
    assert note == ""
    assert [call.split("--quiet=2 ")[1].split()[0] for call in calls] == ["install", "update", "install"]


def test_root_is_told_why_it_cannot_be_installed(apt_get: Callable[[str], list[str]]) -> None:
    note, *calls = apt_get('echo "E: no network" >&2; exit 100')
    assert len(calls) == 3
    failure, advice = note.splitlines()
    assert "libnone1' failed: E: no network" in failure
    assert advice.endswith("lack libnone.so.1; as root, run: apt-get install --yes --no-install-recommends libnone1")


def test_daemons_for_tests_are_installed_as_root_or_it_is_said_that_these_tests_are_skipped(
    apt_get: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    apt_get("touch installed")
    monkeypatch.setattr(debian, "DAEMONS", (debian.Need("somed", "some-server", debian._daemon),))
    called = tmp_path / "called"
    environment._daemons()
    assert called.read_text().splitlines()[-1].endswith("install --yes --no-install-recommends some-server")
    (tmp_path / "bin" / "apt-get").write_text('#!/bin/sh\necho "E: no network" >&2\nexit 100\n')
    environment._daemons()
    assert "some-server' failed: E: no network The tests on machines" in capsys.readouterr().out
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    environment._daemons()
    assert capsys.readouterr().out == ""


def test_nothing_is_asked_of_apt_get_when_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "NEEDS", (debian.Need("libc.so.6", "libc6", debian._library),))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was run"))
    assert environment._system_libraries() == ""


def test_without_a_package_registry_there_is_a_sentence_and_no_environment_that_passes_for_whole(
    run: Run, clone: Path, keep_wheels: Callable[[], None], tmp_path: Path
) -> None:
    keep_wheels()
    # Port 9 is 'discard': nothing answers.
    offline = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    offline |= {"PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_CACHE_DIR": str(tmp_path / "pip")}
    result = run(**offline)
    assert_fails_with_a_sentence(result, "pip could not install", "is there a network")
    assert (clone / ".venv" / environment._STAMP).read_text() == environment._UNFINISHED


# ---- repeating and interrupting: the steps without what takes minutes ----


class Steps:
    """Stands in for venv, pip and the check, and notes which ran; `stop` is the one that fails."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.stop = ""

    def __call__(self, command: Sequence[str], _failure: str, _environment: object = None) -> None:
        step = "venv" if "venv" in command else "pip"
        if "-c" in command:
            step = "ports" if environment._PORTS in command else "check"
        if "vistrails[visual]==3.0" in command:
            step = "visual pip"
        if any(argument.endswith("[demo]") for argument in command):
            step = "pip to run"
        if "compileall" in command:
            step = "compile"
        self.ran.append(step)
        if step == self.stop:
            raise KeyboardInterrupt
        if step == "venv":
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir()
            python.touch()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Steps:
    steps = Steps()
    monkeypatch.setattr(environment, "_run", steps)
    monkeypatch.setattr(environment, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(environment, "_vistrails_wheel", lambda thread, _package: thread.submit(Path, "a.whl"))
    monkeypatch.setattr(environment, "_system_libraries", lambda _visual: "")
    monkeypatch.setattr(environment, "_daemons", lambda: None)
    return steps


def test_nothing_is_done_when_nothing_changed(steps: Steps, tmp_path: Path) -> None:
    environment.setup(tmp_path / "venv")
    assert steps.ran == ["venv", "pip", "pip", "pip", "compile", "check"]
    steps.ran.clear()
    environment.setup(tmp_path / "venv")
    assert steps.ran == []


def test_what_is_missing_is_said_and_the_environment_is_made_all_the_same(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "_system_libraries", lambda _visual: "there is no libnone; as root, run: apt-get")
    for ran in (["venv", "pip", "pip", "pip", "compile", "check"], []):  # also where there is nothing else to do
        assert environment.main([str(tmp_path / "venv")]) == 0
        assert capsys.readouterr().err == "make setup: there is no libnone; as root, run: apt-get\n"
        assert steps.ran == ran
        steps.ran.clear()
    assert environment._reads(tmp_path / "venv" / environment._STAMP) == environment._fingerprint(tmp_path / "venv")


def test_an_environment_that_does_not_work_is_said_with_what_is_missing(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_directory: Path) -> None:
        raise SetupError("it does not work")

    monkeypatch.setattr(environment, "_system_libraries", lambda _visual: "there is no libnone")
    monkeypatch.setattr(environment, "_check", fail)
    with pytest.raises(SetupError, match="it does not work\nthere is no libnone"):
        environment.setup(tmp_path / "venv")
    assert environment._reads(tmp_path / "venv" / environment._STAMP) == environment._UNFINISHED


def test_what_is_large_is_installed_if_asked_for_and_stays(steps: Steps, tmp_path: Path) -> None:
    environment.setup(tmp_path / "venv")
    large = ["pip", "pip", "visual pip", "compile", "ports", "check"]
    for visual, ran in ((True, large), (False, []), (True, [])):
        steps.ran.clear()
        environment.setup(tmp_path / "venv", visual=visual)
        assert steps.ran == ran
    stamp = tmp_path / "venv" / environment._STAMP
    first, _, *rest = stamp.read_text().splitlines(keepends=True)
    stamp.write_text("".join([first, "another hash\n", *rest]))
    environment.setup(tmp_path / "venv")
    assert steps.ran == large


def test_tools_are_left_out_where_the_project_is_only_run_and_stay_where_they_are(steps: Steps, tmp_path: Path) -> None:
    alone, all_there = ["pip", "pip", "pip to run", "compile", "check"], ["pip", "pip", "pip", "compile", "check"]
    for tools, ran in ((False, ["venv", *alone]), (False, []), (True, all_there), (False, []), (True, [])):
        steps.ran.clear()
        environment.setup(tmp_path / "venv", tools=tools)
        assert steps.ran == ran


@pytest.mark.parametrize("target", ["setup", "demo", "vistrails", "test", "check", "docs", "bench"])
def test_only_what_runs_the_project_goes_without_tools(run: Run, target: str) -> None:
    said = run("make", "--dry-run", target).stdout
    assert ("--without-tools" in said) == (target in ("demo", "vistrails"))


@pytest.mark.parametrize(
    ("target", "variables", "large"),
    [
        ("setup", {}, False),
        ("setup", {"VISUAL": "1"}, True),
        ("setup", {"VISUAL": "vim"}, False),  # an editor, as the same variable usually says
        ("demo", {}, False),
        ("check", {}, False),
        ("test", {}, True),
        ("vistrails", {}, True),
    ],
)
def test_what_is_large_is_not_forced_on_those_who_run_headless(
    run: Run, target: str, variables: dict[str, str], large: bool
) -> None:
    said = run("make", "--dry-run", target, **variables).stdout
    assert "-m host" in said
    assert ("--visual" in said) == large


@pytest.mark.parametrize("step", ["venv", "pip", "compile", "check"])
def test_an_environment_whose_making_was_interrupted_is_made_anew(steps: Steps, tmp_path: Path, step: str) -> None:
    steps.stop = step
    assert environment.main([str(tmp_path / "venv")]) == 130
    (tmp_path / "venv" / "left over").touch()
    steps.stop = ""
    steps.ran.clear()
    environment.setup(tmp_path / "venv")
    assert steps.ran[0] == "venv"
    assert not (tmp_path / "venv" / "left over").exists()


def test_an_environment_that_was_made_from_something_else_is_updated(steps: Steps, tmp_path: Path) -> None:
    environment.setup(tmp_path / "venv")
    stamp = tmp_path / "venv" / environment._STAMP
    stamp.write_text(stamp.read_text().partition("\n")[0] + "\nanother hash\n")
    steps.ran.clear()
    environment.setup(tmp_path / "venv")
    assert steps.ran == ["pip", "pip", "pip", "compile", "check"]


def test_an_environment_whose_update_was_interrupted_is_made_anew(steps: Steps, tmp_path: Path) -> None:
    test_an_environment_that_was_made_from_something_else_is_updated(steps, tmp_path)
    stamp = tmp_path / "venv" / environment._STAMP
    stamp.write_text(stamp.read_text().partition("\n")[0] + "\nanother hash\n")
    steps.stop = "pip"
    assert environment.main([str(tmp_path / "venv")]) == 130
    steps.stop = ""
    steps.ran.clear()
    environment.setup(tmp_path / "venv")
    assert steps.ran[0] == "venv"


def test_an_environment_with_other_constraints_is_updated(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.setup(tmp_path / "venv")
    (tmp_path / "oldest.txt").write_text("psutil==6.0.0\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "oldest.txt"))
    for ran in (["pip", "pip", "pip", "compile", "check"], []):
        steps.ran.clear()
        environment.setup(tmp_path / "venv")
        assert steps.ran == ran


def test_an_environment_of_another_python_is_made_anew(steps: Steps, tmp_path: Path) -> None:
    environment.setup(tmp_path / "venv")
    stamp = tmp_path / "venv" / environment._STAMP
    stamp.write_text(stamp.read_text().replace("Python 3.", "Python 2."))
    steps.ran.clear()
    environment.setup(tmp_path / "venv")
    assert steps.ran[0] == "venv"


def test_a_folder_of_somebody_else_is_left_alone(steps: Steps, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").touch()
    with pytest.raises(SetupError, match="was not made by 'make setup'"):
        environment.setup(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter1.tex").exists()
    assert steps.ran == []


def test_two_setups_at_once_take_turns(clone: Path) -> None:
    lock = clone / "build" / "host" / "lock"
    lock.parent.mkdir(parents=True)
    # Without apt-get it ends with a sentence as soon as it has its turn.
    command = [sys.executable, "-m", "host"]
    variables = {**os.environ, "PATH": str(clone)}
    with open(lock, "w", encoding="utf-8") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = subprocess.Popen(
            command, cwd=clone, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert second.stdout is not None
        assert "waiting for another 'make setup'" in second.stdout.readline()
        assert second.poll() is None
    _, said = second.communicate(timeout=240)
    assert "no 'apt-get'" in said


def test_what_a_killed_setup_has_left_running_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "CACHE", tmp_path)
    running, go = tmp_path / "running", tmp_path / "go"
    script = f"touch {running}; while [ ! -e {go} ]; do sleep 0.02; done"
    with ThreadPoolExecutor() as threads, open(tmp_path / "lock", "w", encoding="utf-8") as another:
        with environment._lock():
            pip = threads.submit(environment._run, ["sh", "-c", script], "it failed")
            until(running.exists)
        # The setup has let go of the lock, as when it is killed; its pip has not.
        with pytest.raises(BlockingIOError):
            fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
        go.touch()
        pip.result(timeout=240)
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
