"""Runs many things in VisTrails' real window, in processes of their own: one that ends the process, or hangs, fails alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil

from host import environment

Thing = TypeVar("Thing", bound=tuple[str, Any])  # a file, and what of it

# A thing of which nothing was heard for so long, in seconds, hangs if it has done nothing meanwhile, or has computed all the time;
# on a busy machine it may have had little of a core, and gets so many times as long.
PATIENCE = 240
NOTHING = 5
BUSY = 3


def results_of(folder: Path, *arguments: str, **variables: str) -> Any:
    """Run Python in a folder of its own, and return what it wrote to the file `results` there."""
    place = {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(environment.ROOT)}
    process = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", **place, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=800,
        check=False,
    )
    assert (folder / "results").exists(), process.stdout[-5000:]
    return json.loads((folder / "results").read_text())


def run_each(
    things: Sequence[Thing],
    files: Path,
    folder: Path,
    script: Path,
    packages: Sequence[str],
    variables: dict[str, str],
    there: Mapping[str, bytes] = {},
) -> dict[Thing, dict[str, Any] | str]:
    """Run things one after the other.

    :param files: the folder of their files
    :param folder: for what the processes leave
    :param script: what runs them; see `run_examples.in_window`
    :param packages: what is enabled
    :param variables: of the processes' environment
    :param there: what files are there, by path from the folder that a process runs in
    :returns: by thing, what the script's line says, or how the process ended
    """
    left, found, starts = list(things), dict[Thing, dict[str, Any] | str](), 0
    while left:
        starts += 1
        place = folder / str(starts)
        place.mkdir()
        for name, content in there.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        job = place / "job.json"
        told = {"settings": str(place / "settings"), "pictures": str(place / "pictures"), "packages": packages}
        job.write_text(json.dumps({**told, "runs": [[str(files / file), which] for file, which in left]}))
        how, said = _run(script, job, {**places(place), "QT_QPA_PLATFORM": "xcb", **variables})
        lines = [json.loads(line) for line in _read(job).splitlines()]
        ended = [line for line in lines if "ended" in line]
        found.update(zip(left, ended, strict=False))
        begun = len([line for line in lines if "begun" in line])
        assert begun, f"VisTrails did not start: {how}\n{said[-5000:]}\n{lines}"
        if begun > len(ended):
            found[left[len(ended)]] = how
        left = left[begun:]
    return found


def places(folder: Path) -> dict[str, str]:
    """Return the environment for a process that finds its home in a folder."""
    return {**os.environ, "HOME": str(folder), "TMPDIR": str(folder), "IPYTHONDIR": str(folder / "ipython")}


def _run(script: Path, job: Path, variables: dict[str, str]) -> tuple[str, str]:
    """Run a job to its end, however that comes; how it ended, and what was printed."""
    log = job.with_name("log")
    with open(log, "w", encoding="utf-8") as printed:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script), str(job)],
            cwd=job.parent,
            env=variables,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        size, heard, used = 0, time.monotonic(), 0.0
        while True:
            try:
                how = f"it ended with {process.wait(timeout=1)}"
                break
            except subprocess.TimeoutExpired:
                if (now := len(_read(job))) != size:
                    size, heard, used = now, time.monotonic(), _computed(process)
                silent, computed = time.monotonic() - heard, _computed(process) - used
                if silent > PATIENCE * (BUSY if NOTHING < computed < PATIENCE else 1):
                    process.kill()
                    process.wait()
                    how = f"nothing was heard for {silent:.0f} s, in which it computed for {computed:.0f} s"
                    break
    return how, log.read_text(encoding="utf-8", errors="replace")


def _computed(process: subprocess.Popen[bytes]) -> float:
    """How long a process has had a core, in seconds."""
    try:
        times = psutil.Process(process.pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _read(job: Path) -> str:
    outcomes = job.with_name("outcomes")
    return outcomes.read_text(encoding="utf-8") if outcomes.exists() else ""
