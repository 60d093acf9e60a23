"""A screen of a test's own: VTK's cells draw with OpenGL, which Qt's platform `offscreen` lacks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def screen(size: str = "1280x1024") -> Iterator[str]:
    """Start an X server without a screen, and end it; its name, for DISPLAY."""
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{size}x24", "-nolisten", "tcp", "-noreset"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        with open(read, encoding="ascii") as answer:
            number = answer.readline().strip()  # as soon as it is ready; nothing, if it has ended
        assert number, "Xvfb did not start"
        yield f":{number}"
    finally:
        server.terminate()
        server.wait(timeout=240)
