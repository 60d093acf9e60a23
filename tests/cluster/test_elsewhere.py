"""Engines that the profile's configuration has started by ipyparallel's launchers; and what ipcluster sees of ours."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from helpers import LONG, Watch, ours, until, with_enough_time
from ipyparallel.cluster.launcher import HTCondorEngineSetLauncher, SGEEngineSetLauncher

from parallelflow import threads
from parallelflow.cluster import Cancelled, ProfileError, Session, StartError, StopError, connect
from parallelflow.cluster import profile as profiles
from parallelflow.cluster.elsewhere import adapted
from parallelflow.cluster.launchers import Job
from parallelflow.cluster.record import Entry, Record
from parallelflow.cluster.tree import lives
from parallelflow.command_line import main as command_line

Make = Callable[..., Session]

# Stand-ins for a batch system: the job runs on this machine, and its number is that of its process group.
_SUBMIT = """#!{python}
import os, re, subprocess, sys
text = open(sys.argv[-1]).read()
count = int(re.search(r"#SBATCH --ntasks=(\\d+)", text).group(1))
command = re.search(r"^srun (.*)$", text, re.MULTILINE).group(1)
with open({output!r}, "ab") as output:
    job = subprocess.Popen(
        ["sh", "-c", f"for i in $(seq {{count}}); do {{command}} & done; wait"],
        stdout=output, stderr=output, start_new_session=True, env=dict(os.environ, SUBMITTED="yes"),
    )
print(job.pid, file=open({output!r} + ".jobs", "a"))
print(job.pid if "--parsable" in sys.argv else f"Submitted batch job {{job.pid}}")
"""
# Lists, as Slurm's does, the jobs that are not over.
_LIST = """#!{python}
import os, pathlib, sys
path = pathlib.Path({output!r} + ".jobs")
for number in path.read_text().split() if path.exists() and not any("--name" in each for each in sys.argv) else ():
    try:
        os.killpg(int(number), 0)
        print(number)
    except ProcessLookupError:
        pass
"""
_CANCEL = """#!{python}
import os, signal, sys
open({log!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
try:
    os.killpg(int(sys.argv[1]), signal.SIGTERM)
except ProcessLookupError:
    sys.exit("scancel: error: Kill job error on job id " + sys.argv[1] + ": Invalid job id specified")
"""


@pytest.fixture
def slurm(profile: Path, tmp_path: Path) -> Path:
    """A profile whose engines are submitted to a batch system; returns the folder with its stand-ins."""
    for name, text in (("sbatch", _SUBMIT), ("scancel", _CANCEL), ("squeue", _LIST)):
        path = tmp_path / name
        values = {"python": sys.executable, "output": str(tmp_path / "output"), "log": str(tmp_path / "cancelled")}
        path.write_text(text.format(**values))
        path.chmod(0o700)
    (profile / "ipcluster_config.py").write_text(
        f"c.Cluster.engine_launcher_class = 'slurm'\n"
        f"c.SlurmLauncher.submit_command = [{str(tmp_path / 'sbatch')!r}]\n"
        f"c.SlurmLauncher.delete_command = [{str(tmp_path / 'scancel')!r}]\n"
    )
    return tmp_path


def test_engines_are_submitted_to_the_batch_system_that_the_profile_names(
    slurm: Path, profile: Path, make_session: Make
) -> None:
    session = make_session(profile="test")
    client = session.client()
    assert client[:].apply_sync(os.getenv, "SUBMITTED") == ["yes", "yes"]
    state = session.state()
    assert [process.kind for process in state.processes] == ["controller", "job"]
    assert [engine.ours for engine in state.engines] == [True, True]
    # More engines are another job.
    (number,) = session.start_engines(1)
    assert [process.kind for process in session.state().processes] == ["controller", "job", "job"]
    session.stop_engines([number])
    assert len(client.ids) == 2
    assert [process.kind for process in session.state().processes] == ["controller", "job"]
    client[:].execute("while True: sum(range(1000))", block=False)
    watch = Watch()
    session.close()
    assert watch.within(10)
    assert ours() == []
    assert Record(profile).read() == []
    assert len((slurm / "cancelled").read_text().splitlines()) == 2
    assert not list((profile / "log").glob("slurm_engine*.sbatch"))


def test_the_key_is_not_in_what_is_submitted(slurm: Path, profile: Path, make_session: Make) -> None:
    session = make_session(profile="test", engines=1)
    session.client()
    (script,) = (profile / "log").glob("slurm_engine*.sbatch")
    text = script.read_text()
    assert "ipyparallel.engine" in text
    assert not any(secret in text for secret in profiles.secrets(profile))


def test_a_job_that_was_let_go_is_known_to_the_next_session(slurm: Path, profile: Path, make_session: Make) -> None:
    first = make_session(profile="test", engines=1)
    first.client()
    first.let_go()
    session = make_session(profile="test")
    assert len(session.client().ids) == 1
    assert [engine.ours for engine in session.state().engines] == [True]
    assert {process.kind for process in session.state().processes} == {"controller", "job"}
    session.stop_started()
    assert ours() == []
    assert (slurm / "cancelled").read_text().count("\n") == 1


def end_job(profile: Path) -> None:
    """End the only job on record as its batch system does when its time is over."""
    (number,) = (entry.job["state"]["job_id"] for entry in Record(profile).read() if entry.job is not None)
    os.killpg(int(number), signal.SIGTERM)


def test_a_job_that_ends_by_itself_is_noticed_and_its_number_is_not_used_again(
    slurm: Path, profile: Path, make_session: Make
) -> None:
    session = make_session(profile="test")
    session.client()
    end_job(profile)
    until(lambda: [process.kind for process in session.state().processes] == ["controller"])
    assert [(process.kind, process.ending) for process in session.state().died] == [("job", "ended")]
    until(lambda: [entry.kind for entry in Record(profile).read()] == ["controller"])
    # An engine that the hub had lost could have gone on; it was cancelled right then, and is not later.
    assert len((slurm / "cancelled").read_text().splitlines()) == 1
    assert len(session.start_engines(1)) == 1
    session.close()
    assert len((slurm / "cancelled").read_text().splitlines()) == 2
    assert ours() == []


def test_a_job_that_ended_while_no_vistrails_was_there_is_forgotten(
    slurm: Path, profile: Path, make_session: Make
) -> None:
    first = make_session(profile="test", engines=1)
    first.client()
    first.let_go()
    connection = connect(profile, LONG)
    end_job(profile)
    until(lambda: not connection.client.ids)
    connection.close()
    session = make_session(profile="test")
    assert session.connect() is not None
    until(lambda: [entry.kind for entry in Record(profile).read()] == ["controller"])
    until(lambda: [process.kind for process in session.state().processes] == ["controller"])
    session.stop_started()
    assert not (slurm / "cancelled").exists()
    assert ours() == []


def test_a_submit_command_that_fails_is_reported(slurm: Path, make_session: Make) -> None:
    (slurm / "sbatch").write_text("#!/bin/sh\necho error: invalid partition specified >&2\nexit 3\n")
    with pytest.raises(
        StartError,
        match=r"(?s)SlurmEngineSetLauncher.* failed: .*exit status 3.*ipcluster_config\.py.*It said:\nerror: invalid p",
    ):
        make_session(profile="test").client()
    assert ours() == []


def test_a_job_whose_engines_do_not_come_in_time_is_cancelled_and_reported_with_its_output(
    slurm: Path, make_session: Make
) -> None:
    (slurm / "sbatch").write_text("#!/bin/sh\nsleep 600 > /dev/null 2>&1 &\necho $!\n")
    (slurm / "scancel").write_text(f"#!/bin/sh\necho $1 >> {slurm / 'cancelled'}\nkill $1\n")

    def begun_in(seconds: int) -> bool:
        with pytest.raises(StartError) as caught:
            make_session(profile="test", start_timeout=seconds).client()
        assert ours() == []
        said = r"2 of 2 engines did not start\. SlurmEngineSetLauncher \(job \d+\) had not registered.*preference start_time"
        return re.search(said, str(caught.value)) is not None

    with_enough_time(begun_in, 10, 60)  # it may be the controller that takes so long
    assert (slurm / "cancelled").exists()


def test_a_cancel_while_a_job_is_being_submitted_leaves_nothing(slurm: Path, profile: Path, make_session: Make) -> None:
    submitting = slurm / "submitting"
    (slurm / "sbatch").write_text(f"#!/bin/sh\ntouch {submitting}\nexec sleep 600\n")
    watch = Watch()
    with pytest.raises(Cancelled):
        make_session(profile="test").client(cancelled=submitting.exists)
    assert watch.within(30)
    assert ours() == []
    assert Record(profile).read() == []


_REFUSE = "#!/bin/sh\necho error: Access/permission denied >&2\nexit 1\n"


def test_a_job_that_its_engines_have_left_is_over_however_its_batch_system_puts_it(
    slurm: Path, profile: Path, make_session: Make
) -> None:
    session = make_session(profile="test", engines=1)
    session.client()
    (slurm / "scancel").write_text("#!/bin/sh\necho 'qdel: Job has finished 4711.server' >&2\nexit 35\n")
    (slurm / "squeue").write_text("#!/bin/sh\nexit 1\n")
    session.close()
    assert Record(profile).read() == []


def test_a_job_that_cannot_be_cancelled_stays_on_record_and_prevents_nothing(
    slurm: Path, profile: Path, make_session: Make
) -> None:
    session = make_session(profile="test", engines=1)
    session.client()

    def refused_in(seconds: int) -> bool:
        session._settings = make_session(profile="test", engines=1, stop_timeout=seconds)._settings
        with pytest.raises(StopError) as caught:
            session.stop_started()
        said = r"(?s)SlurmEngineSetLauncher \(job \d+\) could not stop.*denied.*parallelflow forget"
        return re.search(said, str(caught.value)) is not None

    answers = {name: (slurm / name).read_text() for name in ("scancel", "squeue")}
    for name in answers:
        (slurm / name).write_text(_REFUSE)
    (controller,) = [process.pid for process in session.state().processes if process.kind == "controller"]
    for process in [psutil.Process(controller), *psutil.Process(controller).children(recursive=True)]:
        process.kill()  # now nobody can say whether the engines have gone
    with_enough_time(refused_in, 4, 60)
    assert [entry.kind for entry in Record(profile).read()] == ["job"]
    assert [("denied" in process.stuck) for process in session.state().processes] == [True]
    # A new cluster starts all the same.
    session.client()
    assert len([process for process in session.state().processes if process.stuck]) == 1
    # The new hub has never known its engines, which says nothing about the old job.
    with_enough_time(refused_in, 4, 60)
    assert [entry.kind for entry in Record(profile).read()] == ["job"]
    # Nor does closing forget it, which leaves it to whoever comes next: this session, too.
    session.close()
    assert [entry.kind for entry in Record(profile).read()] == ["job"]
    # It is tried again, and gone when that works; meanwhile, other jobs are submitted.
    for name, answer in answers.items():
        (slurm / name).write_text(answer)
    session._settings = make_session(profile="test", engines=1, stop_timeout=60)._settings
    session.client()

    def gone() -> bool:
        session.processes.try_again()  # as each later start does: on a busy machine one may not do
        return not [process for process in session.state().processes if process.stuck]

    until(gone)
    session.close()
    assert Record(profile).read() == []


def test_two_threads_that_stop_a_job_do_it_once(slurm: Path, profile: Path) -> None:
    job = Job(profile, "token")
    begun, goes_on, calls = threading.Event(), threading.Event(), list[str]()

    async def stop() -> None:
        calls.append("stop")
        begun.set()
        while not goes_on.is_set():
            await asyncio.sleep(0.01)

    job._launcher.stop = stop
    first = threads.start(lambda: job.stop(60), "first")
    assert begun.wait(60)
    second = threads.start(lambda: job.stop(60), "second")
    goes_on.set()
    first.result(60)
    second.result(60)
    assert calls == ["stop"]
    job = Job(profile, "another")
    goes_on.clear()
    begun.clear()
    job._launcher.stop = stop
    first = threads.start(lambda: job.stop(60), "first")
    assert begun.wait(60)
    with pytest.raises(StopError, match="did not stop its engines within 0 seconds"):
        job.stop(0.1)
    goes_on.set()
    first.result(60)


def test_what_could_not_be_stopped_is_let_go_of(slurm: Path, profile: Path, make_session: Make) -> None:
    session = make_session(profile="test", engines=1, stop_timeout=4)
    job = {"launcher": "ipyparallel.cluster.launcher.SlurmEngineSetLauncher", "n": 1, "uuids": []}
    job["state"] = {"job_id": "4711", "profile_dir": str(profile)}
    Record(profile).put(
        Entry("token", "job", host=socket.gethostname(), job=job, stuck="It is on a machine that is gone.")
    )
    (slurm / "scancel").write_text(_REFUSE)
    (slurm / "squeue").write_text(_REFUSE)
    assert [process.stuck for process in session.forget()] == ["It is on a machine that is gone."]
    assert Record(profile).read() == []
    session.connect()
    assert session.state().processes == ()


def test_jobs_are_stopped_together_within_the_time_limit(slurm: Path, profile: Path, make_session: Make) -> None:
    cancel = (slurm / "scancel").read_text()

    def stopped_in(seconds: int) -> bool:
        session = make_session(profile="test", engines=1)
        session.client()
        session.start_engines(1)
        (slurm / "scancel").write_text("#!/bin/sh\nexec sleep 600\n")
        patient, session._settings = session._settings, make_session(profile="test", stop_timeout=seconds)._settings
        watch = Watch()
        try:
            session.stop_started()  # their engines have left
        except StopError:  # which they may take longer for
            return False
        finally:
            (slurm / "scancel").write_text(cancel)
            session._settings = patient
            session.close()
        assert watch.within(1.5 * seconds)
        return True

    with_enough_time(stopped_in, 8, 60)


_SUBMITS = """
from parallelflow.cluster import Session, Settings
Session(lambda: Settings(profile="test", engines=1, start_timeout=200)).client()
"""


def test_what_a_vistrails_was_submitting_when_it_was_killed_is_cancelled_by_the_next_one(
    slurm: Path, profile: Path, make_session: Make
) -> None:
    # The engines are in the queue for good.
    (slurm / "sbatch").write_text("#!/bin/sh\necho 4711\n")
    popen = subprocess.Popen([sys.executable, "-c", _SUBMITS])
    until(lambda: any("4711" in str(entry.job) for entry in Record(profile).read()))
    popen.kill()
    popen.wait()
    (slurm / "scancel").write_text(f"#!/bin/sh\necho $1 >> {slurm / 'cancelled'}\n")
    make_session(profile="test", after_crash="stop").connect()
    assert (slurm / "cancelled").read_text() == "4711\n"
    assert ours() == []
    assert Record(profile).read() == []


def test_a_job_whose_number_nobody_has_heard_is_found_by_its_name(
    slurm: Path, profile: Path, make_session: Make
) -> None:
    # It is in the queue by now, but the command has not said so.
    said = slurm / "submitted"
    (slurm / "sbatch").write_text(f"#!/bin/sh\necho $@ > {said}.new\nmv {said}.new {said}\nexec sleep 600\n")
    popen = subprocess.Popen([sys.executable, "-c", _SUBMITS])
    until(said.exists)
    popen.kill()
    popen.wait()
    (name,) = [each for each in said.read_text().split() if each.startswith("--job-name=")]
    (entry,) = [entry for entry in Record(profile).read() if entry.job is not None]
    assert name == f"--job-name=pf-{entry.token[:12]}"
    asked = name.replace("--job-name", "--name")
    (slurm / "squeue").write_text(f'#!/bin/sh\ncase "$*" in *{asked}*) echo 4712;; esac\n')
    (slurm / "scancel").write_text(f"#!/bin/sh\necho $1 >> {slurm / 'cancelled'}\n")
    make_session(profile="test", after_crash="stop").connect()
    assert (slurm / "cancelled").read_text() == "4712\n"
    assert Record(profile).read() == []
    assert ours() == []


_NAME = "pf-0123456789ab"
_QSTAT = f"""<?xml version='1.0'?><job_info><queue_info>
<job_list state="running"><JB_job_number>4711</JB_job_number><JAT_prio>0.5</JAT_prio><JB_name>another</JB_name></job_list>
</queue_info><job_info>
<job_list state="pending"><JB_job_number>4712</JB_job_number><JAT_prio>0.5</JAT_prio><JB_name>{_NAME}</JB_name></job_list>
</job_info></job_info>"""


@pytest.mark.parametrize(
    ("kind", "named", "delete", "ask", "answer"),
    [
        (SGEEngineSetLauncher, ["qsub", "-terse", "-N", _NAME], "qdel", "qstat", _QSTAT),
        (HTCondorEngineSetLauncher, ["condor_submit", "-batch-name", _NAME], "condor_rm", "condor_q", "4712\n4712"),
    ],
    ids=["SGE", "HTCondor"],
)
def test_other_batch_systems_know_a_job_by_its_name(
    tmp_path: Path, kind: type, named: list[str], delete: str, ask: str, answer: str
) -> None:
    deleted = tmp_path / "deleted"
    listed = f"test -e {deleted} || cat <<'EOF'\n{answer}\nEOF\n"
    (tmp_path / ask).write_text(f'#!/bin/sh\n{listed}echo "$@" >>{tmp_path / "asked"}\n')
    (tmp_path / delete).write_text(f"#!/bin/sh\necho $1 >>{deleted}\n")
    for name in (ask, delete):
        (tmp_path / name).chmod(0o700)

    async def stop() -> list[str]:
        launcher = adapted(kind, "0123456789abcdef")(work_dir=str(tmp_path), profile_dir=str(tmp_path))
        launcher.delete_command = [str(tmp_path / delete)]
        assert launcher.job_id == ""  # nobody has heard it
        await launcher.stop()
        return list(launcher.find_args()[:-1])

    assert asyncio.run(stop()) == named
    assert deleted.read_text() == "4712\n"
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 2  # which number it has, and whether it is over
    if kind is HTCondorEngineSetLauncher:
        assert asked == [f'-constraint JobBatchName == "{_NAME}" -autoformat ClusterId', "-autoformat ClusterId"]


def test_a_job_that_cannot_be_looked_after_stays_on_record(
    slurm: Path, profile: Path, make_session: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make_session(profile="test", engines=1)
    first.client()
    first.let_go()
    config = profile / "ipcluster_config.py"
    text = config.read_text()
    config.write_text("c.Cluster.engine_launcher_class = 'pigeon'\n")
    second = make_session(profile="test", at_exit="leave")
    second.connect()
    (entry,) = [entry for entry in Record(profile).read() if entry.job is not None]
    assert "may still run" in entry.stuck
    assert "pigeon" in entry.stuck
    assert entry.stuck.count("orrect ") == 1
    second.close()
    assert command_line(["stop", "--profile", "test"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("1 process stopped. A job that is on record")
    config.write_text(text)
    assert command_line(["stop", "--profile", "test"]) == 0
    assert len((slurm / "cancelled").read_text().splitlines()) == 1
    assert Record(profile).read() == []
    until(lambda: ours() == [])


def test_a_launcher_class_that_does_not_exist_gets_a_sentence(profile: Path, make_session: Make) -> None:
    (profile / "ipcluster_config.py").write_text("c.Cluster.engine_launcher_class = 'pigeon'\n")
    with pytest.raises(ProfileError, match=r"configuration of the IPython profile 'test' cannot be used.*pigeon"):
        make_session(profile="test").client()
    assert ours() == []


# What ipcluster sees


def ipcluster(*arguments: str) -> str:
    command = [sys.executable, "-m", "ipyparallel.cluster", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout


def test_ipcluster_lists_and_stops_what_we_started(profile: Path, make_session: Make) -> None:
    session = make_session(profile="test", engines=1)
    session.client()
    (line,) = [line for line in ipcluster("list").splitlines() if line.startswith("test")]
    assert line.split()[1:] == ["''", "True", "1", "Local"]
    session.start_engines(1)
    (line,) = [line for line in ipcluster("list").splitlines() if line.startswith("test")]
    assert line.split()[1:] == ["''", "True", "2", "Local"]
    ipcluster("stop", "--profile=test")
    assert session.connect() is None
    assert {process.kind for process in session.state().died} == {"controller", "engine"}
    assert not any(lives(process) for process in session.processes.remaining())
    session.close()
    assert ours() == []


def test_ipcluster_lists_and_stops_jobs_of_a_batch_system(slurm: Path, profile: Path, make_session: Make) -> None:
    session = make_session(profile="test", engines=1)
    session.client()
    session.start_engines(2)
    numbers = {entry.job["state"]["job_id"] for entry in Record(profile).read() if entry.job is not None}
    assert len(numbers) == 2
    (line,) = [line for line in ipcluster("list").splitlines() if line.startswith("test")]
    assert line.split()[1:] == ["''", "True", "3", "Slurm"]
    ipcluster("stop", "--profile=test")
    assert set((slurm / "cancelled").read_text().split()) == numbers
    until(lambda: ours() == [])
    assert session.connect() is None
    session.close()
    assert Record(profile).read() == []


def test_ipcluster_lists_and_stops_what_we_let_go(profile: Path, make_session: Make) -> None:
    session = make_session(profile="test", engines=1)
    session.client()
    session.let_go()
    (line,) = [line for line in ipcluster("list").splitlines() if line.startswith("test")]
    assert line.split()[1:] == ["''", "True", "1", "Local"]
    ipcluster("stop", "--profile=test")
    until(lambda: ours() == [])
    assert session.connect() is None
    assert Record(profile).read() == []
