"""Commands of ssh and of batch systems, as stand-ins that do the same on this machine.

A batch job's number is that of its process group. ``ssh`` gives every machine a home of its own, knows none that is called
``nowhere``, never reaches one that is called ``silent``, and forwards ports.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_SSH = """
import os, socket, sys, threading, time
arguments, options, forwards = sys.argv[1:], [], []
while arguments[0].startswith("-"):
    options += arguments[:2]
    if arguments[0] == "-L":
        forwards.append(arguments[1])
    del arguments[:2]
machine = arguments.pop(0)
print(machine, *options, file=open({folder!r} + "/ssh.log", "a"))
if "nowhere" in machine:
    sys.exit("ssh: Could not resolve hostname nowhere: Name or service not known")
if "silent" in machine:
    time.sleep(600)

def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

def forward(server, address):
    while True:
        near, _ = server.accept()
        try:
            far = socket.create_connection(address)
        except OSError:
            near.close()
            continue
        for ends in ((near, far), (far, near)):
            threading.Thread(target=pump, args=ends, daemon=True).start()

for text in forwards:
    here, port, there, other = text.split(":")
    server = socket.create_server((here, int(port)))
    threading.Thread(target=forward, args=(server, (there, int(other))), daemon=True).start()
if forwards:
    sys.stdin.read()
    sys.exit()
home = os.path.join({folder!r}, machine)
os.makedirs(home, exist_ok=True)
os.chdir(home)
os.environ["HOME"] = home
os.environ.pop("IPYTHONDIR", None)
os.execv("/bin/sh", ["sh", "-c", " ".join(arguments)])
"""
_SUBMIT = """
import os, re, subprocess, sys
text = open(sys.argv[-1]).read()
def option(pattern):
    return re.search("^#(?:SBATCH|PBS) " + pattern, text, re.MULTILINE).group(1)
count = option(r"(?:--ntasks=|-l select=1:ncpus=)(\\d+)")
if option(r"(?:--partition=|-q )(\\S+)") != "short":
    sys.exit("error: invalid partition specified")
with open(option(r"(?:--output=|-o )(\\S+)"), "ab") as output:
    job = subprocess.Popen(
        ["sh", sys.argv[-1]], stdout=output, stderr=output, start_new_session=True, env=dict(os.environ, TASKS=count)
    )
print({answer!r}.format(job.pid))
"""
_DELETE = """
import os, signal, sys
print(sys.argv[1], file=open({folder!r} + "/deleted", "a"))
os.killpg(int(sys.argv[1]), signal.SIGTERM)
"""
_SRUN = """
import os, subprocess, sys
tasks = [subprocess.Popen(sys.argv[1:]) for _ in range(int(os.environ["TASKS"]))]
sys.exit(max(task.wait() for task in tasks))
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put ssh, sbatch, scancel, srun, qsub and qdel on the path.

    :param folder: where they lie, the machines' homes, and the lists of what was done
    """
    texts = {
        "ssh": _SSH.format(folder=str(folder)),
        "sbatch": _SUBMIT.format(answer="{}"),
        "scancel": _DELETE.format(folder=str(folder)),
        "srun": _SRUN,
        "qsub": _SUBMIT.format(answer="{}.server"),
        "qdel": _DELETE.format(folder=str(folder)),
    }
    commands = folder / "bin"
    commands.mkdir()
    for name, text in texts.items():
        (commands / name).write_text(f"#!{sys.executable}\n{text}")
        (commands / name).chmod(0o700)
    monkeypatch.setenv("PATH", str(commands), prepend=":")
