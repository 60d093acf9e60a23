"""Shows in VisTrails what elements have printed on engines.

Standard library and the map room only.
"""

from __future__ import annotations

import sys
from typing import Any

from parallelflow.map.outcomes import NOTHING, Text
from parallelflow.map.warned import shown_once


def joined(first: Text, second: Text) -> Text:
    """Return two texts as one.

    :param first: what was printed first.
    :param second: what was printed after that.
    """
    return first[0] + second[0], first[1] + second[1]


def show(text: Text) -> None:
    """Print on VisTrails' own streams what elements have printed on theirs.

    :param text: what they printed.
    """
    if text != NOTHING:
        _write(sys.stdout, text[0])
        _write(sys.stderr, shown_once(text[1]))


def _write(stream: Any, text: str) -> None:
    if not text or stream is None:  # a program without a terminal may have no streams
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        raw = text.encode(encoding, "surrogateescape")
    except UnicodeError:  # letters that VisTrails' stream lacks
        raw = text.encode(encoding, "backslashreplace")
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(raw.decode(encoding, "replace"))
    else:  # to the byte, as children and C have written it
        stream.flush()
        buffer.write(raw)
        buffer.flush()
