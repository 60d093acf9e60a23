"""Runs workflows by VisTrails' command line, in a process of its own with its own streams, signals and environment."""

from __future__ import annotations

import os
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity import PACKAGES
from vistrails.core.db.action import create_paste_action
from vistrails.core.db.io import save_vistrail_to_xml
from vistrails.core.vistrail.vistrail import Vistrail
from workflows import Flow

from host import vistrails_window

# What pytest has in its environment, which ipykernel takes to mean that streams are to be left alone, and a notebook's.
_NOT_FOR_VISTRAILS = ("PYTEST_CURRENT_TEST",)


@dataclass
class Said:
    """What VisTrails has said.

    :ivar output: standard output, as bytes.
    :ivar errors: standard error, as bytes.
    """

    output: bytes
    errors: bytes

    @property
    def lines(self) -> list[str]:
        """The lines of standard output."""
        return self.output.decode("utf-8", "replace").splitlines()


def run_in_batch(
    flow: Flow, side: str, home: Path, variables: Mapping[str, str] | None = None, terminal: bool = True
) -> Said:
    """Run a workflow with the serial Map or with ours; none of its modules may fail.

    :param side: "serial" or "ours".
    :param home: VisTrails' home, with its settings.
    :param variables: more for its environment.
    :param terminal: whether its streams are terminals; else they are pipes.
    """
    settings = home / "dot-vistrails"
    vistrails_window.prepare(settings)
    vistrail = Vistrail()
    vistrail.add_action(create_paste_action(flow.build(PACKAGES[side]), vistrail.idScope), 0, 0)
    vistrail.addTag("run", vistrail.get_latest_version())
    file = home / f"{side}.xml"
    save_vistrail_to_xml(vistrail, str(file))
    temporary = home / "t"
    temporary.mkdir(exist_ok=True)
    environment: dict[str, Any] = {
        **os.environ,
        "HOME": str(home),
        "IPYTHONDIR": str(home / ".ipython"),
        "QT_QPA_PLATFORM": "offscreen",
        "TMPDIR": str(temporary),
        "XDG_RUNTIME_DIR": str(temporary),
        **(variables or {}),
    }
    for name in _NOT_FOR_VISTRAILS:
        environment.pop(name, None)
    command = [sys.executable, "-m", "vistrails.run", "--dot-vistrails", str(settings), "--batch", f"{file}:run"]
    return _run(command, home, environment, terminal)


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str], terminal: bool) -> Said:
    ends = [os.openpty() if terminal else os.pipe() for _ in range(2)]
    if terminal:
        for _, theirs in ends:
            settings = termios.tcgetattr(theirs)
            settings[1] &= ~termios.OPOST  # bytes arrive as they are written
            termios.tcsetattr(theirs, termios.TCSANOW, settings)
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=ends[0][1], stderr=ends[1][1]
    )
    texts = [bytearray(), bytearray()]

    def read(place: int) -> None:
        try:
            while data := os.read(ends[place][0], 2**16):
                texts[place].extend(data)
        except OSError:  # how a terminal says that nobody writes any more
            pass

    readers = [threading.Thread(target=read, args=(place,)) for place in range(2)]
    for reader, (_, theirs) in zip(readers, ends, strict=True):
        os.close(theirs)
        reader.start()
    try:
        process.wait(400)
    finally:
        process.kill()
        for reader, (ours, _) in zip(readers, ends, strict=True):
            reader.join(240)
            os.close(ours)
    errors = texts[1].decode("utf-8", "backslashreplace")
    # The end: whatever the workflow prints may be long.
    assert process.returncode == 0, f"VisTrails ended with {process.returncode}: {errors[-5000:]}"
    return Said(bytes(texts[0]), bytes(texts[1]))
