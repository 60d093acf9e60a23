"""What holds for every dialog, opened alone with made-up states."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from play import Seen


@pytest.mark.parametrize("scale", ["1", "2"])
def test_every_dialog_can_be_read_and_used_from_the_keyboard(play: Callable[..., Seen], scale: str) -> None:
    assert play("dialogs", QT_SCALE_FACTOR=scale)["faults"] == []
