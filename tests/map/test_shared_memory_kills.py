"""What a killed engine leaves in shared memory: nothing, while the Map still runs on others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_faults import session as session
from test_faults import start_vistrails
from test_shared_memory import MEGABYTE, files, run_map
from test_shared_memory import root as root

from parallelflow.cluster import Session
from parallelflow.map import crew, shared_memory, sharing

pytestmark = pytest.mark.kills

# The first element to run kills its engine, once another chunk waits behind it; the rest give what they got.
_KILLS = """
import os, pathlib, signal, time
mark = pathlib.Path(%r)
try:
    mark.touch(exist_ok=False)
    end = time.monotonic() + 240
    while not mark.with_name("sent").exists() and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
except FileExistsError:
    pass
o = i + c[0]
"""


def test_what_was_sent_to_an_engine_that_is_killed_is_gone_before_the_map_ends(
    session: Session, held: dict[str, Any], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parallelflow.map.chunks.MOST_BYTES", MEGABYTE)  # an element is a chunk
    start_vistrails(session)
    sent, at_the_end = 0, list[Path]()
    send, close = crew.Crew.send, sharing.Sharing.close

    def counting(self: crew.Crew, each: crew.Engine, function: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal sent
        sent += function.__name__ == "run"
        message = send(self, each, function, *arguments, **more)
        if sent == 4:  # two chunks for each engine: the second waits behind the first
            (tmp_path / "sent").touch()
        return message

    def closing(self: sharing.Sharing) -> None:
        at_the_end.extend(path for path in files(root) if shared_memory.SMALLEST <= path.stat().st_size < 2 * MEGABYTE)
        close(self)

    monkeypatch.setattr(crew.Crew, "send", counting)
    monkeypatch.setattr(sharing.Sharing, "close", closing)
    elements = [np.full(MEGABYTE, index, dtype="u1") for index in range(8)]
    results = run_map(held, _KILLS % str(tmp_path / "mark"), elements, np.full(3 * MEGABYTE, 5, dtype="u1"))
    assert [(result.min(), result.max()) for result in results] == [(5 + index,) * 2 for index in range(8)]
    assert (tmp_path / "mark").exists()
    assert at_the_end == []
