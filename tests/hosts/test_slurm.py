"""Jobs of a real Slurm that wait, fail at once, or end at their time limit."""

from __future__ import annotations

import json
import sys

from helpers import until, with_enough_time
from machines import HERE, Machines
from setups import prefer, run_map, slurm_profile


def test_why_a_job_waits_is_told_before_it_is_cancelled(slurm: Machines) -> None:
    slurm_profile(slurm.head, "us", 'c.SlurmEngineSetLauncher.queue = "closed"\n')
    said = []

    def submitted_in(seconds: int) -> bool:
        prefer(slurm.head, "us", start_timeout=seconds)
        started = slurm.head.flow("start", "-n1", user="us")
        assert started.returncode == 1
        until(lambda: slurm.jobs() == [])  # that it is cancelled is asked for
        said[:] = [started.stderr]
        return "PENDING" in started.stderr

    with_enough_time(submitted_in, 8, 60)  # it may be the controller that takes so long
    assert "The batch system says of the job, which is cancelled now: PENDING (PartitionDown)." in said[0]
    assert "log" not in said[0]  # it never began


def test_a_job_that_fails_at_once_is_not_waited_for(slurm: Machines) -> None:
    slurm_profile(slurm.head, "us", 'c.SlurmEngineSetLauncher.engine_cmd = ["/nowhere/python"]\n')
    prefer(slurm.head, "us", start_timeout=600)  # longer than this test may take
    started = slurm.head.flow("start", "-n1", user="us")
    assert started.returncode == 1
    assert "ended; the batch system says: FAILED (NonZeroExitCode)." in started.stderr
    assert "/nowhere/python" in started.stderr


def test_a_map_goes_on_in_another_job_when_one_ends_at_its_time_limit(slurm: Machines) -> None:
    slurm_profile(slurm.head, "us", 'c.SlurmEngineSetLauncher.timelimit = "0:01:00"\n')
    # If the job's end counted, the first element that it takes along would be the culprit.
    prefer(slurm.head, "us", engines=1, keep_engines=True, deaths=1)
    # An element stays in the first job until Slurm, which looks at limits twice a minute at most, ends it.
    source = """import os, time
first = os.path.expanduser('~/first-job')
job = os.environ['SLURM_JOB_ID']
if not os.path.exists(first):
    with open(first, 'w') as file:
        file.write(job)
with open(first) as file:
    first = file.read()
deadline = time.monotonic() + 250
while i == 3 and job == first and time.monotonic() < deadline:
    time.sleep(0.1)
o = [first, job]"""
    outcome = run_map(slurm.head, "us", source, list(range(5)), timeout=500)
    assert outcome["errors"] == []
    assert len(outcome["results"]) == 5
    first, job = outcome["results"][3]
    assert job != first


def test_a_folder_for_temporary_files_that_nodes_do_not_have_does_no_harm(slurm: Machines) -> None:
    slurm_profile(slurm.head, "us")
    slurm.head.run(["mkdir", "/tmp/only-here"], "us")
    job = {
        "source": "import tempfile\nwith tempfile.TemporaryFile():\n    o = tempfile.gettempdir()",
        "elements": [1, 2],
    }
    command = [sys.executable, str(HERE / "run_map.py"), json.dumps(job)]
    outcome = json.loads(slurm.head.run(command, "us", TMPDIR="/tmp/only-here").splitlines()[-1])
    assert outcome["errors"] == []
    assert outcome["results"] == ["/tmp/only-here", "/tmp/only-here"]  # Slurm makes it there


def test_a_job_that_begins_when_its_controller_is_gone_joins_no_other(slurm: Machines) -> None:
    def flow(*words: str) -> str:
        done = slurm.head.flow(*words, user="us")
        return f"{done.stdout}{done.stderr}"

    # The queue is full, and the batch system refuses to cancel.
    slurm_profile(slurm.head, "us", 'c.SlurmLauncher.delete_command = ["false"]\n')
    slurm.head.run(["sbatch", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 600"], "us")
    (others,) = slurm.jobs()
    running = ["squeue", "--noheader", "--states=RUNNING", "--format=%i"]
    until(lambda: slurm.head.run(running).split() == [others])

    def submitted_in(seconds: int) -> bool:
        # What was submitted, and not asked about in time.
        slurm.head.run(["scancel", "--state=PENDING", "--user=us"], "us")
        flow("forget")
        prefer(slurm.head, "us", start_timeout=seconds, stop_timeout=4)
        return "PENDING" in flow("start", "-n1")

    with_enough_time(submitted_in, 8, 60)  # it may be the controller that takes so long
    assert "Could not be stopped" in flow("status")
    (waiting,) = {*slurm.jobs()} - {others}
    controller = slurm.head.start("import os; os.execlp('ipcontroller', 'ipcontroller', '--profile=office')", "us")
    try:
        until(lambda: "Engines:         0" in flow("status"))
        slurm.head.run(["scancel", others], "us")
        # It begins, does not find its own controller, and ends by itself.
        until(lambda: waiting not in slurm.jobs())
        state = slurm.head.run(["squeue", "--states=all", "--noheader", f"--jobs={waiting}", "--format=%T"], "us")
        assert state.strip() in ("FAILED", "COMPLETED")
        assert "Engines:         0" in flow("status")
    finally:
        slurm.head.end(controller)
        slurm.head.try_to(["scancel", "--user=us"], "us")
    slurm_profile(slurm.head, "us")
    # It is over, so that there is nothing to stop, or to let go of.
    assert "Nothing that was left running" in flow("stop")
    assert "nothing" in flow("forget")
    assert "parallelflow-job" not in slurm.head.run(["ls", "/home/us/.ipython/profile_office/security"], "us")


def test_a_job_that_ipcluster_has_cancelled_is_not_said_to_run(slurm: Machines) -> None:
    slurm_profile(slurm.head, "us")
    assert slurm.head.flow("start", "-n1", user="us").returncode == 0
    slurm.head.run(["ipcluster", "stop", "--profile=office"], "us")
    until(lambda: not slurm.jobs())
    status = slurm.head.flow("status", user="us")
    assert (status.returncode, status.stdout) == (1, "No cluster is running for the IPython profile 'office'.\n")
    stopped = slurm.head.flow("stop", user="us")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert "Nothing that was left running" in stopped.stdout


def test_a_job_that_was_cancelled_by_hand_is_not_said_to_run_when_its_controller_does(slurm: Machines) -> None:
    slurm_profile(slurm.head, "us")
    assert slurm.head.flow("start", "-n1", user="us").returncode == 0
    assert "1 controller and 1 job." in slurm.head.flow("status", user="us").stdout
    slurm.head.run(["scancel", *slurm.jobs()], "us")
    until(lambda: not slurm.jobs(), 120)
    until(lambda: "Engines:         0" in slurm.head.flow("status", user="us").stdout)
    assert "stopped by 'stop': 1 controller.\n" in slurm.head.flow("status", user="us").stdout
    assert slurm.head.flow("stop", user="us").stdout == "1 process stopped.\n"


def test_as_many_cores_as_the_job_has_been_granted(slurm: Machines) -> None:
    # Slurm does not bind its jobs to cores here.
    count = "from parallelflow.cluster.cores import usable_cores; print(usable_cores())"
    in_job = ["srun", "--ntasks=1", "--cpus-per-task=1", sys.executable, "-c", count]
    assert slurm.head.run(in_job, "us") == "1\n"
    start = [sys.executable, "-m", "parallelflow", "start", "--json"]
    script = f"{' '.join(start)} && {sys.executable} -m parallelflow stop --json"
    said = slurm.head.run(["srun", "--ntasks=1", "--cpus-per-task=1", "sh", "-c", script], "us")
    started, stopped = (json.loads(answer) for answer in said.replace("}\n{", "}\0{").split("\0"))
    assert (started["running"], stopped["stopped"]) == (1, 2)
