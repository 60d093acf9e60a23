"""The fixture by which tests use the real window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from play import Seen, player


@pytest.fixture
def play(clean_home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Seen]:
    """Runs a scenario by name in a VisTrails window of its own; see `scenarios`."""
    return player(clean_home, capsys)
