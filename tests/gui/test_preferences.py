"""The preferences, in VisTrails' own table and in our dialog."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from play import Seen

from parallelflow.cluster.settings import PREFERENCES

pytestmark = pytest.mark.window


def test_what_is_not_allowed_is_refused_when_it_is_set(play: Callable[..., Seen]) -> None:
    seen = play("enable_and_prefer", may_block=("enabling",))
    assert seen["keys"] == sorted(preference.key for preference in PREFERENCES)
    assert seen["engines"] == ["0", "0"]
    assert seen["if_no_engines"] == ["ask", "ask"]
    assert seen["profile"] == ["default", "default"]
    _, *sentences = [each["text"] for each in seen.said if each["kind"] == "Message"]
    for sentence in sentences:
        assert "It stays" not in sentence or any(sentence in message for message in seen["messages"])
    assert "'engines' of Parallel Flow has the value -3" in sentences[0]
    assert "'nowhere'" in sentences[2]
    refused, stays, changed, back = sentences[3:]
    assert "'perhaps'" in refused
    assert "It stays '0'." in stays
    assert seen["if_no_engines after restoring"] == "ask"
    assert seen["engines after restoring"] == 0
    assert "now uses the profile 'lab'" in changed
    assert seen["profile set"] == "lab"
    assert seen["said of the profile that has gone"] == []
    assert seen["profile kept"] == "lab"
    assert "now uses the profile 'default'" in back
    assert seen["profile restored"] == ["default", "default"]
    assert re.search(r'<key name="engines">\s*<int value="3"', seen["startup"])
    assert seen["restored"] == 0
    assert seen["changed"] == [5, True]
    assert re.search(r'<key name="engines">\s*<int value="5"', seen["startup_after"])
    assert seen["defaults"] == [0, False]
