"""``python -m parallelflow convert``: the Maps of a vistrail's file become parallel, and serial again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


# Ctrl-C is pressed when half of the new file is written.
INTERRUPTED = """
import os, shutil, signal, sys
from parallelflow.command_line import main

def half(source, target):
    if not target.endswith(".vt"):
        return copyfile(source, target)
    with open(source, "rb") as whole, open(target, "wb") as part:
        part.write(whole.read(1000))
    os.kill(os.getpid(), signal.SIGINT)

copyfile, shutil.copyfile = shutil.copyfile, half
sys.exit(main(["convert", "--serial", *sys.argv[1:]]))
"""


def run(folder: Path, *words: str) -> tuple[int, str, str]:
    """The exit code and what was said on both streams."""
    command = [sys.executable, "-m", "parallelflow", "convert", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=800)
    return done.returncode, done.stdout, done.stderr


def converted(folder: Path, *words: str) -> list[dict[str, Any]]:
    code, out, err = run(folder, "--json", *words)
    assert code == 0, err
    versions: list[dict[str, Any]] = json.loads(out)["versions"]
    return versions


def test_a_vistrail_becomes_serial_and_parallel_again_with_its_tags(tmp_path: Path) -> None:
    sweep = str(ROOT / "examples" / "sweep.vt")
    (serial,) = converted(tmp_path, "--serial", sweep, "serial.vt")
    assert (serial["tag"], [each["name"] for each in serial["changed"]]) == ("Parallel", ["Map"])
    # The version that was parallel has none left; both have a new one now.
    both = converted(tmp_path, "serial.vt", "parallel.vt")
    assert [each["tag"] for each in both] == ["Serial", "Parallel"]
    assert both[1]["version"] == serial["new"]
    code, said, _ = run(tmp_path, "--serial", "--each", "--only", "Serial", "parallel.vt", "again.vt")
    assert code == 0
    new = both[0]["new"]
    assert said.splitlines()[:2] == [
        "again.vt: 1 version was converted, 1 Map in all.",
        f"Version {new}, 'Serial', is version {both[1]['new'] + 1} now: 1 Map",
    ]
    assert said.splitlines()[2].startswith("  Map, module ")
    code, _, error = run(tmp_path, "--only", "Serial", "parallel.vt", "none.vt")
    assert code == 1
    assert "there is no Map, Filter or For of Control Flow to convert, so that nothing was written" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.vt", "parallel.vt", "serial.vt"]


def test_what_cannot_be_converted_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.vt").write_text("no vistrail")
    (tmp_path / "there.vt").write_text("something")
    sweep = str(ROOT / "examples" / "sweep.vt")
    for words, sentence in {
        ("nowhere.vt", "new.vt"): "There is no file nowhere.vt.",
        (sweep, "there.vt"): "there.vt exists already",
        (sweep, "new.txt"): "must end in .vt or .xml",
        (sweep, "nowhere/new.vt"): "There is no folder nowhere to write new.vt into.",
        ("broken.vt", "new.vt"): "broken.vt cannot be read as a vistrail",
        ("--only", "final", sweep, "new.vt"): "There is no version 'final'. Tags are: 'Parallel', 'Serial'.",
    }.items():
        code, out, error = run(tmp_path, *words)
        assert (code, out) == (1, ""), words
        assert sentence in error
        assert "Traceback" not in error
    assert (tmp_path / "there.vt").read_text() == "something"
    assert not (tmp_path / "new.vt").exists()


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(ROOT / "examples" / "sweep.vt"), "new.vt"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=240)
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")
    assert list(tmp_path.iterdir()) == []
