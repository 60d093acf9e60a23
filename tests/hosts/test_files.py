"""Machines that do not see the same files: what a Map says before any element runs, and where it runs all the same."""

from __future__ import annotations

import json
import sys

from machines import HERE, PROJECT, Machines, kill
from setups import run_map, ssh_profile


def test_a_map_says_which_machine_does_not_see_which_file_before_any_element_runs(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node1": 1, "node2": 1})
    for machine in (hosts.head, hosts.node1):
        machine.write("/tmp/measured.csv", "1\n", "me")
    source = "import pathlib; pathlib.Path('/tmp/ran').touch(); o = str(i)"
    files = "import pathlib; o = [pathlib.Path('/tmp/measured.csv')] * 4"
    outcome = run_map(hosts.head, "me", source, files)
    (error,) = outcome["errors"]
    assert error == (
        "node2 does not see '/tmp/measured.csv', which VisTrails' machine has: keep them in a folder that both share. No"
        " element was run."
    )
    for machine in hosts.all:
        assert machine.try_to(["test", "-e", "/tmp/ran"]).returncode == 1
    # A text may mean something else.
    outcome = run_map(hosts.head, "me", "o = i", ["/tmp/measured.csv"] * 4)
    assert outcome["results"] == ["/tmp/measured.csv"] * 4
    assert any("node2 does not see '/tmp/measured.csv'" in warning for warning in outcome["warnings"])


def test_a_working_folder_that_may_not_be_entered_over_there_does_no_harm(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node1": 1, "node2": 1})
    hosts.head.run(["mkdir", "/tmp/work"], "me")
    hosts.node1.run(["mkdir", "-m", "700", "/tmp/work"])
    try:
        job = json.dumps({"source": "import os, time; time.sleep(0.3); o = os.getcwd()", "elements": list(range(8))})
        command = ["sh", "-c", 'cd /tmp/work; exec "$@"', "sh", sys.executable, str(HERE / "run_map.py"), job]
        outcome = json.loads(hosts.head.run(command, "me").splitlines()[-1])
    finally:
        hosts.node1.run(["rmdir", "/tmp/work"])
    assert outcome["errors"] == []
    assert len(outcome["results"]) == 8
    assert "/tmp/work" not in outcome["results"]


def test_an_exploration_says_it_too_before_any_cell_runs(hosts: Machines) -> None:
    ssh_profile(hosts.head, "me", {"node1": 1, "node2": 1})
    for machine in hosts.all:
        machine.write("/tmp/one.csv", "1", "me")
    for machine in (hosts.head, hosts.node1):
        machine.write("/tmp/two.csv", "2", "me")
    program = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, "{PROJECT / "examples"}")
        from batch import PACKAGES, vistrails_in
        with vistrails_in(Path("making"), PACKAGES):
            from building import Vistrail
            vistrail = Vistrail()
            file = vistrail.add("File", (0, 2), "", value="/tmp/one.csv")
            code = "import pathlib; pathlib.Path('/tmp/ran').touch(); o = open(f.name).read()"
            reads = vistrail.add_source((0, 1), "", code, {{"f": "File"}}, {{"o": "String"}})
            vistrail.connect(file, "value", reads, "f")
            vistrail.connect(reads, "o", vistrail.add("StandardOutput", (0, 0)), "value")
            vistrail.explore("two files", {{(file, "value"): ["/tmp/one.csv", "/tmp/two.csv"]}})
            vistrail.save(Path("files.vt"))
    """
    hosts.head.python(program, "me")
    refused = hosts.head.flow("explore", "files.vt", "--json", user="me")
    assert refused.returncode == 1
    answer = json.loads(refused.stdout)
    assert answer["error"] == (
        "node2 does not see '/tmp/two.csv', which VisTrails' machine has: keep them in a folder that both share. No cell was run."
    )
    assert [cell["error"] for cell in answer["cells"]] == ["not run"] * 2
    for machine in hosts.all:
        assert machine.try_to(["test", "-e", "/tmp/ran"]).returncode == 1
    hosts.node2.write("/tmp/two.csv", "2", "me")
    done = hosts.head.flow("explore", "files.vt", "--json", user="me")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {cell["host"] for cell in json.loads(done.stdout)["cells"]} <= {"node1", "node2"}
    assert [line for line in done.stderr.splitlines() if line in ("1", "2")] == ["1", "2"]


def test_a_map_runs_and_its_cluster_is_stopped_where_the_home_is_full(hosts: Machines) -> None:
    head = hosts.head
    head.run(["mount", "-t", "tmpfs", "-o", "size=8m,uid=7001,gid=7001,mode=750", "tmpfs", "/home/me"])
    try:
        assert head.flow("enable", user="me").returncode == 0
        assert head.flow("start", "-n", "2", user="me").returncode == 0
        assert run_map(head, "me", "o = i + 1", [1])["results"] == [2]  # VisTrails makes its folder
        head.try_to(["sh", "-c", "head -c 100M /dev/zero >filler"], "me")
        assert "100%" in head.run(["df", "/home/me"])
        outcome = run_map(head, "me", "o = i + 1", [1, 2, 3])
        assert outcome["errors"] == []
        assert outcome["results"] == [2, 3, 4]
        stopped = head.flow("stop", user="me")
        assert stopped.returncode == 0, stopped.stderr
        assert head.processes() == []
    finally:
        head.run(["umount", "-l", "/home/me"])


# By then others have removed what they take for left behind. What is left is nobody's: it is not locked, as on a file system that
# several machines see without locks between them.
_FOLDER = """
import os, tempfile
from parallelflow.cluster import machine
print(tempfile.mkdtemp(prefix=machine.folder_prefix()))
"""


def test_a_folder_for_temporary_files_that_machines_share_is_removed_by_its_own_machine_only(hosts: Machines) -> None:
    shared = {"TMPDIR": "/home/us/tmp"}
    hosts.head.run(["mkdir", "/home/us/tmp"], "us")
    of_head = hosts.head.python(_FOLDER, "us", **shared).strip()
    hosts.node1.write(".bashrc", "export TMPDIR=/home/us/tmp\n", "us")
    ssh_profile(hosts.head, "us", {"node1": 1})

    def folders() -> list[str]:
        return hosts.head.run(["ls", "/home/us/tmp"], "us").split()

    # Engines of node1 begin and end there, and one is killed.
    of_node = hosts.node1.python(_FOLDER, "us", **shared).strip()
    assert hosts.head.flow("start", "-n1", user="us").returncode == 0
    hosts.head.python(
        """
        from parallelflow.cluster import Session, Settings
        session = Session(lambda: Settings(profile="office"))
        session.client(start=False)[:].execute("from parallelflow.map.own_folder import for_life; for_life()", block=True)
        session.let_go()
        """,
        "us",
    )
    assert len(folders()) == 2  # that of head and the engine's
    kill(hosts.node1.engines())
    assert hosts.head.flow("stop", user="us").returncode == 0
    assert [f"/home/us/tmp/{name}" for name in folders()] == [of_head], of_node
    # Whoever is on the same machine next removes it.
    make = "from parallelflow.map.own_folder import own_folder\nwith own_folder() as folder: print(folder)"
    hosts.head.python(make, "us", **shared)
    assert folders() == []
