"""On three machines with real SSH and real Slurm: start a cluster, map, break something, mend it, map, stop; 200 times.

The machines are those of the tests (see tests/hosts/machines.py); what maps is the real VisTrails on the first of them, by its Map
or by `parallelflow.api.parallel_map`, on engines on the other two. What breaks is an engine, a controller, an sshd, a batch
job, a daemon of Slurm, a network or VisTrails itself; while the cluster starts, while it maps or while it stops.

A step in which something breaks may fail, with an error that says so, within the limit; when it is mended, the next map must give
the right results, and after each round nothing may be left on any machine: no process, job, shared memory or file. Ends with
status 1 otherwise.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import queue
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

sys.path[:0] = [str(Path(__file__).parents[1] / "tests"), str(Path(__file__).parents[1] / "tests" / "hosts")]

from helpers import until  # noqa: E402, they are the tests'
from machines import Machine, Machines, why_no_slurm, why_not  # noqa: E402
from setups import prefer, slurm_profile, ssh_profile  # noqa: E402

from parallelflow.cluster.machine import FOLDERS  # noqa: E402
from parallelflow.cluster.tree import lives  # noqa: E402

STEP_LIMIT = 180  # seconds that one step may take before it counts as hung; the machine may be busy with other things
LEFT_LIMIT = 60  # seconds until nothing is left; engines that have lost their controller give up after 12 s
ELEMENTS, SECONDS = 120, 0.05
ENGINES = 3
USERS = {"me": "SSH", "us": "Slurm"}
IN_TURN = 5
WHEN = ("map", "map", "map", "start", "stop")
ENDED = "VisTrails ended"

# What may stay in the folder of connection files: locks, and where nodes have homes of their own, what was copied there.
STAYS = {"parallelflow.lock", "parallelflow-start.lock"}
COPIED = {"ipcontroller-engine.json"}


class Problem(Exception):
    """What must not happen."""


class VisTrails:
    """VisTrails on one of the machines, which does what it is told.

    :param machine: where
    :param user: as whom
    """

    def __init__(self, machine: Machine, user: str) -> None:
        self._greeting = 0
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, it is open as long as VisTrails runs
        self.process = subprocess.Popen(
            machine.command([sys.executable, str(Path(__file__).with_name("soak_worker.py"))], user),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._answer()
        self._greeting = len(self.said())

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _answer(self) -> dict[str, str]:
        try:
            line = self._answers.get(timeout=STEP_LIMIT)
        except queue.Empty:
            raise Problem(f"not done after {STEP_LIMIT} seconds\n{self._traces()}") from None
        answer: dict[str, str] = json.loads(line) if line else {"error": ENDED, "text": ""}
        return answer

    def _traces(self) -> str:
        for process in self.inside():
            process.send_signal(signal.SIGUSR1)
        time.sleep(2)
        return self.said()[-6000:]

    def said(self) -> str:
        """What it has written to standard error since it has started."""
        self.errors.seek(0)
        return self.errors.read()[self._greeting :]

    def inside(self) -> list[psutil.Process]:
        """VisTrails itself, a child of what brought it to that machine; nothing if it has ended."""
        with contextlib.suppress(psutil.Error):
            return list(psutil.Process(self.process.pid).children())
        return []

    def tell(self, **command: object) -> dict[str, str]:
        """Have it do something, and return what came of it."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """Have it exit, if it has not yet."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(STEP_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Problem(f"VisTrails does not exit\n{self._traces()}") from None


class Field:
    """The machines, and what breaks on them.

    :param machines: the machines
    """

    def __init__(self, machines: Machines) -> None:
        self.machines = machines
        self.vistrails: VisTrails | None = None
        self._mend: list[Callable[[], None]] = []

    def breaks(self, user: str) -> dict[str, Callable[[random.Random], None]]:
        """What can break for a user, by name."""
        nodes = self.machines.node1, self.machines.node2
        everywhere = {
            "nothing": lambda chance: None,
            "an engine": lambda chance: self._kill(chance.sample(self._engines(), 1)),
            "the engines of a machine": lambda chance: self._kill(chance.choice(nodes).engines()),
            "all engines": lambda chance: self._kill(self._engines()),
            "a nanny": lambda chance: self._kill(chance.sample(self._on("engine.nanny", *nodes), 1)),
            "everything on a machine": lambda chance: self._kill(chance.choice(nodes).processes()),
            "the hub": lambda chance: self._kill(self._hub()),
            "a part of the controller": lambda chance: self._kill(chance.sample(self._controller(), 1)),
            "the controller": lambda chance: self._kill(self._controller()),
            "the network of a machine": lambda chance: self._cut(chance.choice(nodes)),
            "all networks": lambda chance: [self._cut(node) for node in nodes],
            "the network of VisTrails' machine": lambda chance: self._cut(self.machines.head),
            "a network for a moment": self._cut_briefly,
            "VisTrails, killed": lambda chance: self._end_vistrails(signal.SIGKILL),
            "VisTrails, told to end": lambda chance: self._end_vistrails(signal.SIGTERM),
        }
        by_ssh = {
            "a machine's sshd": lambda chance: self._sshd(chance.choice(nodes)),
            "a login": lambda chance: self._kill(chance.sample(self._on("ssh ", self.machines.head), 1)),
            "what watches over there": lambda chance: self._kill(chance.sample(self._on("there", *nodes), 1)),
        }
        by_slurm = {
            "a batch job": lambda chance: self._cancel(chance),
            "a step of a job": lambda chance: self._kill(self.machines.daemons(chance.choice(nodes), "slurmstepd")),
            "Slurm on a machine": lambda chance: self._slurmd(chance.choice(nodes)),
            "Slurm's controller": lambda chance: self._slurmctld(),
        }
        found: dict[str, Any] = {**everywhere, **(by_slurm if USERS[user] == "Slurm" else by_ssh)}
        return found

    def mend(self) -> None:
        """Mend what is broken, and wait until Slurm has seen that."""
        if not self._mend:
            return
        while self._mend:
            self._mend.pop()()
        until(self._slurm_is_back, STEP_LIMIT)

    def _slurm_is_back(self) -> bool:
        command = ["sinfo", "--noheader", "--Node", "--partition=short", "--format=%t"]
        states = self.machines.head.try_to(command).stdout.split()
        # A job that was ending when Slurm's controller was killed may be on its nodes for minutes after that, without a process.
        return len(states) == 2 and {*states} <= {"idle", "mix", "alloc"}

    def _on(self, contains: str, *machines: Machine) -> list[psutil.Process]:
        return [process for machine in machines for process in machine.processes(contains)]

    def _engines(self) -> list[psutil.Process]:
        return self.machines.node1.engines() + self.machines.node2.engines()

    def _controller(self) -> list[psutil.Process]:
        return self._on("ipyparallel_controller", self.machines.head)

    def _hub(self) -> list[psutil.Process]:
        parts = self._controller()
        return [part for part in parts if part.ppid() not in {other.pid for other in parts}]

    @staticmethod
    def _kill(processes: list[psutil.Process]) -> None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        # It has broken when they are gone.
        until(lambda: not any(lives(process) for process in processes), STEP_LIMIT)

    def _cut(self, machine: Machine) -> None:
        self._mend.append(lambda: machine.network(up=True))
        machine.network(up=False)

    def _cut_briefly(self, chance: random.Random) -> None:
        machine = chance.choice(self.machines.all)
        self._cut(machine)
        time.sleep(chance.uniform(0.5, 6))
        machine.network(up=True)

    def _end_vistrails(self, number: signal.Signals) -> None:
        if self.vistrails is not None:
            for process in self.vistrails.inside():
                process.send_signal(number)

    def _daemon(self, machine: Machine, name: str, command: list[str]) -> None:
        self._mend.append(lambda: self.machines.start_daemon(machine, command))
        self._kill(self.machines.daemons(machine, name))

    def _sshd(self, machine: Machine) -> None:
        self._daemon(machine, "sshd", ["/usr/sbin/sshd", "-E", "/run/sshd.log", "-o", "UseDNS=no"])

    def _slurmd(self, machine: Machine) -> None:
        self._daemon(machine, "slurmd", ["slurmd", "-N", machine.name])

    def _slurmctld(self) -> None:
        self._daemon(self.machines.head, "slurmctld", ["slurmctld"])

    def _cancel(self, chance: random.Random) -> None:
        jobs = self.machines.jobs()
        if jobs:
            self.machines.head.try_to(["scancel", chance.choice(jobs)])


class Breaker(threading.Thread):
    """Breaks something after some time.

    :param break_it: breaks it
    :param chance: where its randomness is from
    :param delay: seconds
    """

    def __init__(self, break_it: Callable[[random.Random], None], chance: random.Random, delay: float) -> None:
        super().__init__(daemon=True)
        self._break_it, self._chance, self._delay = break_it, chance, delay
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        time.sleep(self._delay)
        try:
            self._break_it(self._chance)
        except (psutil.NoSuchProcess, ValueError):
            pass  # there was none at that moment
        except Exception as error:
            self.error = error


def _is_locked(machine: Machine, path: str) -> bool:
    """Whether it is the folder of a process that lives."""
    if not Path(path).name.startswith(FOLDERS):
        return False
    return machine.try_to(["flock", "--nonblock", "--conflict-exit-code=9", path, "true"]).returncode == 9


class Soak:
    """The rounds, and what came of them.

    :param field: the machines
    :param seed: what the rounds follow from
    """

    def __init__(self, field: Field, seed: int) -> None:
        self._field, self._seed = field, seed
        self._usual: dict[str, float] = collections.defaultdict(lambda: 3.0)
        self._durations: dict[str, list[float]] = {}
        self._outcomes: collections.Counter[str] = collections.Counter()
        self._user = ""
        self.problems: list[str] = []

    def round(self, number: int) -> None:
        """One round, all of which follows from the seed and its number."""
        chance = random.Random(f"{self._seed}/{number}")
        # In turns, for VisTrails starts anew with each; and most rounds without VisTrails on the engines, which starts there, too.
        user = sorted(USERS)[number // IN_TURN % len(USERS)]
        how = chance.choice(("Map", "parallel_map", "parallel_map"))
        broken = chance.choice(sorted(self._field.breaks(user)))
        when = chance.choice(WHEN)
        self._where = f"round {number}: {USERS[user]}, {how}, {broken} breaks in {when}"
        print(time.strftime("%H:%M:%S"), self._where, flush=True)
        begin = time.monotonic()
        try:
            self._round(chance, user, how, broken, when)
            self._look_for_leftovers(user)
            print(f"    {time.monotonic() - begin:.0f} s", flush=True)
        except Exception as error:
            self._problem(f"{type(error).__name__}: {error}")
            self._start_anew()
        finally:
            self._field.mend()

    def _round(self, chance: random.Random, user: str, how: str, broken: str, when: str) -> None:
        if user != self._user or self._field.vistrails is None:
            self._exit()
            self._user = user
            self._field.vistrails = VisTrails(self._field.machines.head, user)
        work = {"do": "map", "how": how, "elements": ELEMENTS, "seconds": SECONDS}
        breaks = self._field.breaks(user)[broken]
        steps: list[tuple[str, dict[str, Any]]] = [("start", {"do": "start"}), ("map", work), ("stop", {"do": "close"})]
        for step, command in steps:
            if step != when:
                self._good(step, command)
                continue
            breaker = Breaker(breaks, chance, chance.uniform(0, self._usual[f"{user} {step}"]))
            answer = self._timed(f"{step} while it breaks", command)
            breaker.join(STEP_LIMIT)
            if breaker.error is not None:
                raise breaker.error
            self._judge(answer, broken)
            self._field.mend()
            if answer.get("error") == ENDED or broken.startswith("VisTrails"):  # it may have answered just before
                self._exit()
                self._field.vistrails = VisTrails(self._field.machines.head, user)
            # What is mended works, without anybody's help.
            if step == "stop":
                self._good("start", steps[0][1])
            self._good("map", work, may_meet_the_dead=how == "parallel_map")
            if step == "stop":
                self._good("stop", command)

    def _good(self, step: str, command: dict[str, Any], *, may_meet_the_dead: bool = False) -> None:
        """Take a step that must end well.

        :param may_meet_the_dead: whether it does not run again elsewhere what an engine does that has died, of which nobody has
            heard yet
        """
        begin = time.monotonic()
        answer = self._timed(step, command)
        while may_meet_the_dead and (
            "died while running task" in answer.get("text", "") or answer.get("error") == "NoEngines"
        ):
            if time.monotonic() > begin + STEP_LIMIT:
                break
            answer = self._timed(step, command)
        self._usual[f"{self._user} {step}"] = time.monotonic() - begin
        if "error" in answer or answer["done"] == "wrong":
            raise Problem(f"{step}: {answer}")

    def _timed(self, step: str, command: dict[str, Any]) -> dict[str, str]:
        assert self._field.vistrails is not None
        begin = time.monotonic()
        try:
            return self._field.vistrails.tell(**command)
        finally:
            self._durations.setdefault(step, []).append(time.monotonic() - begin)

    def _judge(self, answer: dict[str, str], broken: str) -> None:
        """Whether a step in which something broke ended well, or with an error that says so."""
        if "done" in answer:
            if answer["done"] == "wrong":
                raise Problem("wrong results")
            self._outcomes["ended well"] += 1
            return
        self._outcomes[f"failed: {answer['error']}"] += 1
        text = answer["text"]
        print("    ", answer["error"], text[:600].replace("\n", "\n      "), flush=True)
        if broken == "nothing":
            raise Problem(f"failed although nothing broke: {answer}")
        if answer["error"] == ENDED:
            if not broken.startswith("VisTrails"):
                assert self._field.vistrails is not None
                raise Problem(f"VisTrails ended\n{self._field.vistrails.said()[-3000:]}")
        elif "Traceback" in re.split(r"[Tt]he (?:end of the )?log .*:\n", text)[0] or not text.strip():
            raise Problem(f"an error that says nothing to a user: {answer}")

    def _look_for_leftovers(self, user: str) -> None:
        own = set()
        if self._field.vistrails is not None:
            own = {process.pid for process in self._field.vistrails.inside()}
        deadline = time.monotonic() + LEFT_LIMIT
        begin = time.monotonic()
        while True:
            left = [*self._field.machines.left(but=own), *self._files(user)]
            if not left:
                break
            if time.monotonic() > deadline:
                raise Problem(
                    "left over: " + "; ".join(f"{n} x {what}" for what, n in collections.Counter(left).items())
                )
            time.sleep(0.5)
        self._durations.setdefault("nothing left", []).append(time.monotonic() - begin)

    def _files(self, user: str) -> Iterator[str]:
        security = f"/home/{user}/.ipython/profile_office/security"
        for machine in self._field.machines.all:
            names = set(machine.try_to(["ls", security]).stdout.split()) - STAYS
            if user == "me" and machine is not self._field.machines.head:
                names -= COPIED
            found = [f"{security}/{name}" for name in sorted(names)]
            shared = machine.run(["find", "/dev/shm", "-type", "f"]).split()
            if machine is self._field.machines.head and self._field.vistrails is not None:
                # The lock of its folder there shows that it lives.
                locks = [path for path in shared if path.endswith("/lock")]
                shared = [path for path in shared if path not in locks[:1]]
            found += shared
            look = ["find", "/tmp", "-mindepth", "1", "-maxdepth", "1", "-user", user]
            found += [path for path in machine.run(look).split() if not _is_locked(machine, path)]
            yield from (f"{machine.name}: {name}" for name in found)

    def _problem(self, text: str) -> None:
        self.problems.append(f"{self._where}: {text}")
        print("  PROBLEM", text, flush=True)
        if self._field.vistrails is not None:
            print("   ", self._field.vistrails.said()[-3000:].replace("\n", "\n    "), flush=True)

    def _start_anew(self) -> None:
        """After a problem, so that the next round does not suffer from it."""
        self._field.mend()
        if self._field.vistrails is not None:
            self._field.vistrails.process.kill()
            self._field.vistrails.process.wait()
            self._field.vistrails = None
        self._field.machines.clean()
        set_up(self._field.machines)

    def _exit(self) -> None:
        vistrails, self._field.vistrails = self._field.vistrails, None
        if vistrails is not None:
            vistrails.end()

    def close(self) -> None:
        """Have VisTrails exit, and look what is left then."""
        self._where = "at the end"
        try:
            self._exit()
            for user in USERS:
                self._look_for_leftovers(user)
        except Problem as error:
            self._problem(str(error))

    def report(self) -> None:
        """Print how long each step took, how those ended in which something broke, and what went wrong."""
        for step, seconds in sorted(self._durations.items()):
            middle, longest = statistics.median(seconds), max(seconds)
            print(f"{step:24} {len(seconds):4} times   median {middle:6.2f} s   longest {longest:6.2f} s")
        print("where something broke:", ", ".join(f"{what}: {n}" for what, n in self._outcomes.most_common()))
        print("\n".join(self.problems) or "no wrong result, nothing hung, nothing left over")


def set_up(machines: Machines) -> None:
    """What each user has: a profile, and preferences."""
    ssh_profile(machines.head, "me", {"node1": 2, "node2": 1})
    slurm_profile(machines.head, "us")
    for user in USERS:
        prefer(
            machines.head, user, engines=ENGINES, start_timeout=100, stop_timeout=30
        )  # together less than STEP_LIMIT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="that an earlier run printed")
    parser.add_argument("--first", type=int, default=0, help="the number of the first round")
    arguments = parser.parse_args()
    reason = why_not() or why_no_slurm()
    if reason:
        print(f"soak on machines: {reason}")
        return 1
    seed = arguments.seed if arguments.seed is not None else random.randrange(1_000_000)
    print(f"SEED={seed} ROUNDS={arguments.rounds}", flush=True)
    with tempfile.TemporaryDirectory(prefix="pfs") as folder:
        machines = Machines(Path(folder), dict(os.environ))
        try:
            machines.start_slurm()
            set_up(machines)
            soak = Soak(Field(machines), seed)
            for number in range(arguments.first, arguments.first + arguments.rounds):
                soak.round(number)
                if len(soak.problems) > 20:
                    break
            soak.close()
        finally:
            machines.close()
    soak.report()
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
