"""Runs a scenario in a VisTrails window of its own, and says what was seen there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DRIVER = Path(__file__).with_name("driver.py")

# An event loop on a machine that is shared can be late by itself; what blocks it is longer, in seconds.
LONGEST_GAP = 1.0


def longest_gap() -> float:
    """How late an event loop may be, in seconds, with as much going on as there is now."""
    return LONGEST_GAP * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class Seen:
    """What a scenario saw.

    :ivar said: the windows that came, in order: their kind, title, text and buttons
    :ivar gaps: the longest time in seconds that the event loop was blocked, by what was being done
    """

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.said: list[dict[str, Any]] = content["said"]
        self.gaps: dict[str, float] = content["gaps"]

    def __getitem__(self, name: str) -> Any:
        return self.content[name]

    def text(self, kind: str) -> str:
        """What the last window of a class said."""
        return [each["text"] for each in self.said if each["kind"] == kind][-1]


def without_display(home: Path) -> dict[str, str]:
    """The environment for a window that nobody sees."""
    return {**os.environ, "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(home)}


def player(clean_home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Seen]:
    """Return what runs a scenario by name, with VisTrails' settings in the test's home, and returns what it saw."""

    def run(name: str, *, may_block: tuple[str, ...] = (), **environment: str) -> Seen:
        process = subprocess.run(
            [sys.executable, str(DRIVER), name, str(clean_home)],
            cwd=clean_home,
            env={**without_display(clean_home), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=800,
            check=False,
        )
        result = clean_home / "seen.json"
        assert result.exists(), process.stdout[-5000:]
        seen = Seen(json.loads(result.read_text(encoding="utf-8")))
        result.unlink()
        if "failure" in seen.content:
            said = "\n".join(f"{each['title']}: {each['text']}" for each in seen.said)
            pytest.fail(f"{seen['failure']}\nWhat was said:\n{said}\nOutput:\n{process.stdout[-3000:]}", pytrace=False)
        assert not seen["raised"], seen["raised"]
        with capsys.disabled():
            longest = ", ".join(f"{doing} {1000 * gap:.0f} ms" for doing, gap in seen.gaps.items())
            sys.stdout.write(f"\n{name} ({seen['took']} s), longest gap in the event loop: {longest}\n")
        for doing, gap in seen.gaps.items():
            # Otherwise, it is VisTrails itself that works: it draws a workflow, or opens a window.
            assert doing in ("otherwise", *may_block) or gap < longest_gap(), (
                f"the event loop was blocked for {gap} s: {doing}"
            )
        return seen

    return run
