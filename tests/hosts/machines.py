"""Three machines on this one, for tests on real daemons: ``head``, ``node1`` and ``node2``.

Each has a network address, host name, machine id, processes, ``/etc``, ``/tmp``, ``/run`` and ``/root`` of its own, and an sshd.
The user ``me`` has another home on each machine, ``us`` has the same home on all, as by NFS. Both may ssh from ``head`` to
everywhere. The project and its environment are seen everywhere, read-only.

Two such networks at once do not see each other: all that they are made of is in namespaces of their own, which end with the
process that holds them, and that ends when nobody holds its standard input any more.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import psutil
from helpers import command_line, until

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
NAMES = ("head", "node1", "node2")
USERS = ("me", "us")
_NUMBERS = (7001, 7002)  # theirs, from machine.sh
_UP_WITHIN = 240
_SLURM_WITHIN = 240
_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid")


def why_not() -> str:
    """Why there can be no such machines here; '' if there can be."""
    if os.geteuid() != 0:
        return "only root can make machines with daemons of their own"
    missing = [name for name in ("sshd", "ip", "unshare", "nsenter", "setpriv", "useradd") if _which(name) is None]
    if missing:
        return f"machines with daemons of their own need {', '.join(missing)}; 'make setup' installs them as root"
    allowed = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"this machine allows no namespaces: {allowed.stderr.strip()}" if allowed.returncode else ""


def why_no_slurm() -> str:
    """Why there can be no Slurm on them; '' if there can be."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch", "srun") if _which(name) is None]
    return f"Slurm needs {', '.join(missing)}; 'make setup' installs them as root" if missing else ""


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Machine:
    """One of the machines.

    :param name: its host name
    :param init: its first process
    """

    def __init__(self, name: str, init: psutil.Process):
        self.name = name
        self.init = init

    def command(self, command: Sequence[str], user: str = "root", **environment: str) -> list[str]:
        """The command line that runs a command over there, in the user's home.

        :param command: the program and its arguments
        :param user: as whom
        :param environment: further variables
        """
        home = "/root" if user == "root" else f"/home/{user}"
        path = f"{PROJECT}/.venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        variables = {
            "HOME": home,
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{path}",
            "QT_QPA_PLATFORM": "offscreen",
            **environment,
        }
        return [
            *("nsenter", "--target", str(self.init.pid), *_NAMESPACES),
            *("env", "-i", *(f"{name}={value}" for name, value in variables.items())),
            *("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"),
            *("sh", "-c", 'cd; exec "$@"', "sh", *command),
        ]

    def run(self, command: Sequence[str], user: str = "root", timeout: float = 300, **environment: str) -> str:
        """Run a command over there, and return what it printed; it must not fail."""
        done = self.try_to(command, user, timeout, **environment)
        assert done.returncode == 0, (
            f"{command[:3]} on {self.name} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def try_to(
        self, command: Sequence[str], user: str = "root", timeout: float = 300, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command over there."""
        line = self.command(command, user, **environment)
        pipe = subprocess.PIPE
        with subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        ) as process:
            try:
                said, complained = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                    each.kill()
                said, complained = process.communicate()
                raise AssertionError(
                    f"{line[-len(command) :]} on {self.name} took longer than {timeout} s:\n{said}{complained}"
                ) from None
        return subprocess.CompletedProcess(line, process.returncode, said, complained)

    def python(self, program: str, user: str, timeout: float = 300, **environment: str) -> str:
        """Run a Python program over there, and return what it printed; it must not fail."""
        return self.run([sys.executable, "-c", textwrap.dedent(program)], user, timeout, **environment)

    def flow(self, *arguments: str, user: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run ``python -m parallelflow`` over there."""
        return self.try_to([sys.executable, "-m", "parallelflow", *arguments], user, timeout)

    def start(self, program: str, user: str, **environment: str) -> subprocess.Popen[str]:
        """Start a Python program over there. Its standard input and output are pipes."""
        return subprocess.Popen(
            self.command([sys.executable, "-uc", textwrap.dedent(program)], user, **environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, process: subprocess.Popen[str]) -> None:
        """End a program that :meth:`start` has started, unless it has ended, without its having a say."""
        if process.poll() is not None:
            return
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            with contextlib.suppress(psutil.Error):
                each.kill()
        process.communicate()

    def write(self, path: str, text: str, user: str, mode: int = 0o644) -> None:
        """Write a file over there; a path that is not absolute begins in the user's home."""
        program = (
            "import os, sys; path, mode, text = sys.argv[1:]; os.makedirs(os.path.dirname(path) or '.', exist_ok=True);"
            " open(path, 'w').write(text); os.chmod(path, int(mode))"
        )
        self.run([sys.executable, "-c", program, path, str(mode), text], user)

    def processes(self, contains: str = "") -> list[psutil.Process]:
        """What the two users have running over there.

        :param contains: only that in whose command line this is
        """
        namespace = os.readlink(f"/proc/{self.init.pid}/ns/pid")
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if (
                    process.uids().real in _NUMBERS
                    and os.readlink(f"/proc/{process.pid}/ns/pid") == namespace
                    and process.status() != psutil.STATUS_ZOMBIE
                    and contains in " ".join(process.cmdline())
                ):
                    found.append(process)
        return found

    def engines(self) -> list[psutil.Process]:
        """The engines over there, without their nannies."""
        found = []
        for process in self.processes("ipyparallel.engine"):
            with contextlib.suppress(psutil.Error):  # one may end meanwhile
                if "python" in process.name() and "ipyparallel.engine.nanny" not in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def network(self, *, up: bool) -> None:
        """Connect it to the others, or not."""
        self.run(["ip", "link", "set", "eth0", "up" if up else "down"])


class Machines:
    """The three machines, which come up when this is made.

    :param folder: an empty folder of theirs, which stays empty here
    :param environment: of the process that holds them
    """

    def __init__(self, folder: Path, environment: dict[str, str]):
        folder.chmod(0o755)
        self._folder = folder
        self._slurm = False
        python_home = sys.base_prefix
        self._world = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("bash", str(HERE / "world.sh"), str(folder), str(PROJECT), python_home, *NAMES),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        assert self._world.stdout is not None
        output = self._world.stdout.fileno()
        os.set_blocking(output, False)
        said = bytearray()

        def up() -> bool:
            with contextlib.suppress(BlockingIOError):
                said.extend(os.read(output, 65536))
            assert self._world.poll() is None, f"the machines did not come up: {said.decode()}"
            return b"up\n" in said

        try:
            until(up, _UP_WITHIN)
            inits: dict[str, psutil.Process] = {}
            for process in psutil.Process(self._world.pid).children(recursive=True):
                line = command_line(process)
                if len(line) == 3 and line[1] == str(HERE / "machine.sh"):
                    inits[line[2]] = process
            self.head, self.node1, self.node2 = (Machine(name, inits[name]) for name in NAMES)
            self._let_users_in()
            self._own = self._running()  # what belongs to the machines themselves
        except BaseException:
            self.close()
            raise

    @property
    def all(self) -> tuple[Machine, Machine, Machine]:
        """All of them."""
        return self.head, self.node1, self.node2

    def _let_users_in(self) -> None:
        for user in USERS:
            self.head.run(["sh", "-c", "mkdir -pm 700 .ssh; ssh-keygen -qN '' -t ed25519 -f .ssh/id_ed25519"], user)
            key = self.head.run(["cat", ".ssh/id_ed25519.pub"], user)
            for machine in self.all:
                machine.write(".ssh/authorized_keys", key, user, 0o600)
                machine.run(["chmod", "700", ".ssh"], user)
            # Its own patience is 5 seconds, and what it has not heard by then it leaves out.
            places = "head node1 node2 10.77.0.10 10.77.0.11 10.77.0.12"
            scan = f"ssh-keyscan -T {_UP_WITHIN} -t ed25519 {places} 2>/dev/null >.ssh/known_hosts; wc -l <.ssh/known_hosts"
            known = int(self.head.run(["sh", "-c", scan], user))
            assert known == len(places.split()), f"{known} of the machines' keys are known"

    def start_slurm(self) -> None:
        """Start Slurm, unless it runs: its controller on head, the nodes with two cores each, partitions short and closed."""
        if self._slurm:
            return
        self.head.run(["cp", str(HERE / "slurm.conf"), f"{self._folder}/slurm.conf"])
        self.head.run(["sh", "-c", f"umask 077; head -c 128 /dev/urandom >{self._folder}/munge.key"])
        for machine in self.all:
            node = "" if machine is self.head else machine.name
            # What a daemon leaves open must not be a pipe that somebody reads to its end.
            quiet = f"exec bash {HERE / 'slurm.sh'} head '{node}' >/run/slurm.sh.log 2>&1"
            machine.run(["sh", "-c", quiet], FOLDER=str(self._folder))
        idle = ["sinfo", "--noheader", "--partition=short", "--states=idle", "--format=%D"]
        until(lambda: self.head.try_to(idle).stdout.strip() == "2", _SLURM_WITHIN)
        self._slurm = True
        self._own = self._running()

    def jobs(self) -> list[str]:
        """The numbers of the jobs that Slurm has in its queue or runs."""
        return self.head.run(["squeue", "--noheader", "--format=%i"]).split() if self._slurm else []

    def _running(self) -> dict[psutil.Process, str]:
        """Every process on the machines, by the machine's name."""
        namespaces = {os.readlink(f"/proc/{machine.init.pid}/ns/pid"): machine.name for machine in self.all}
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                name = namespaces.get(os.readlink(f"/proc/{process.pid}/ns/pid"))
                if process.name() == "slurmscriptd":  # comes and goes with Slurm's controller
                    continue
                if name is not None and process.status() != psutil.STATUS_ZOMBIE:
                    found[process] = name
        return found

    def daemons(self, machine: Machine, name: str) -> list[psutil.Process]:
        """The machine's own processes of a program, such as sshd, without what they do for somebody who has logged in.

        :param name: the program's
        """
        return [
            process
            for process, place in self._running().items()
            if place == machine.name and _name(process) == name and (process in self._own or name != "sshd")
        ]

    def start_daemon(self, machine: Machine, command: Sequence[str]) -> None:
        """Start one of the machine's own daemons again, unless it runs, and wait until it does.

        :param command: the command line; it puts itself into the background
        """
        name = Path(command[0]).name
        before = self._running()
        if any(
            _name(process) == name and self._is_own(process) for process in before if before[process] == machine.name
        ):
            return
        machine.run(["sh", "-c", 'exec "$@" >/run/daemon.log 2>&1', "sh", *command])

        def runs() -> bool:
            new = {p: place for p, place in self._running().items() if p not in before and place == machine.name}
            found = {}
            for process, place in new.items():
                with contextlib.suppress(psutil.Error):  # one that has only put the daemon into the background
                    if process.name() == name and process.ppid() in (0, machine.init.pid):
                        found[process] = place
            self._own.update(found)
            return bool(found)

        until(runs)

    def _is_own(self, process: psutil.Process) -> bool:
        """Whether it belongs to the machines themselves."""
        # Slurm's daemons fork twice when they begin, so that it may have been the one between that was seen.
        return process in self._own or _name(process) in ("slurmctld", "slurmd")

    def left(self, but: Collection[int] = ()) -> list[str]:
        """What runs on the machines besides their own daemons: on which machine, and what.

        The ends of logins do not count, which a daemon keeps for long when the network broke.

        :param but: the process ids of what may run
        """
        return [
            f"{name}: {' '.join(command_line(process))[:120]}"
            for process, name in self._running().items()
            if not self._is_own(process)
            and process.pid not in but
            and not " ".join(command_line(process)).startswith("sshd: ")
        ] + [f"job {line}" for line in self._queue()]

    def _queue(self) -> list[str]:
        if not self._slurm:
            return []
        return self.head.run(["squeue", "--noheader", "--format=%i (%j, %T, %r, %M)"]).splitlines()

    def clean(self) -> None:
        """End what both users have running, and empty their homes but for their keys."""
        for machine in self.all:
            machine.network(up=True)
        for process in self._running():
            if not self._is_own(process):
                with contextlib.suppress(psutil.Error):
                    process.kill()
        for number in self.jobs():
            self.head.try_to(["scancel", number])
        empty = (
            "find /home/me /home/us -mindepth 1 -maxdepth 1 ! -name .ssh -exec rm -rf {} +;"
            " find /tmp /dev/shm -mindepth 1 -maxdepth 1 '(' -user me -o -user us ')' -exec rm -rf {} +"
        )
        for machine in self.all:
            machine.run(["sh", "-c", empty])
        until(lambda: not self.left())

    def close(self) -> None:
        """End them, with every process on them and every file."""
        assert self._world.stdin is not None
        self._world.stdin.close()
        try:
            self._world.wait(60)
        except subprocess.TimeoutExpired:
            self._world.kill()
            self._world.wait(60)
        assert self._world.stdout is not None
        self._world.stdout.close()


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes, of which one may end with another."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""  # it has ended meanwhile
