"""Jobs of a real Slurm that wait, fail at once, or end at their time limit."""

from __future__ import annotations

import json
import sys

from machines import HERE, Machines
from setups import prefer, run_map, slurm_profile


def test_why_a_job_waits_is_told_before_it_is_cancelled(slurm: Machines) -> None:
    slurm_profile(slurm.head, "us", 'c.SlurmEngineSetLauncher.queue = "closed"\n')
    prefer(slurm.head, "us", start_timeout=8)
    started = slurm.head.flow("start", "-n1", user="us")
    assert started.returncode == 1
    assert "The batch system says of the job, which is cancelled now: PENDING (PartitionDown)." in started.stderr
    assert slurm.jobs() == []


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
    source = "import os, time\ntime.sleep(15)\no = os.environ['SLURM_JOB_ID']"
    outcome = run_map(slurm.head, "us", source, list(range(8)), timeout=280)
    assert outcome["errors"] == []
    assert len(set(outcome["results"])) >= 2


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
