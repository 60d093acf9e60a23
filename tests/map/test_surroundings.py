"""What goes with a run of the process that VisTrails is, and what an engine makes of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from parallelflow.map import surroundings
from parallelflow.map.surroundings import Surroundings


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """This process as an engine that has followed nothing yet."""
    for name in ("_followed", "_own"):
        monkeypatch.setattr(surroundings, name, {})
    monkeypatch.setattr(surroundings, "_added", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    umask = os.umask(0o22)
    yield monkeypatch
    surroundings.take_over(Surroundings(umask, {}, []))


def test_only_what_has_changed_since_the_start_travels_and_not_whose_process_it_is(engine: pytest.MonkeyPatch) -> None:
    before = surroundings.current().variables
    assert not {"PATH", "PARALLELFLOW_TOKENS"} & before.keys()
    engine.setenv("SET_LATER", "x")
    engine.setenv("PARALLELFLOW_ANYTHING", "x")
    engine.setenv("PAGER", "x")  # the kernel's
    engine.delenv("PATH")
    after = surroundings.current().variables
    assert {name: after[name] for name in after.keys() - before.keys()} == {
        "SET_LATER": (None, "x"),
        "PATH": (surroundings._at_start()["PATH"], None),
    }


def test_the_time_zone_that_is_in_force_in_vistrails_is_in_force_on_engines(engine: pytest.MonkeyPatch) -> None:
    before = surroundings.current()
    with engine.context() as vistrails:
        vistrails.setenv("TZ", "JST-9")
        assert surroundings.current().zone == before.zone  # nobody has said that it is to be looked at
        time.tzset()
        changed = surroundings.current()
    time.tzset()
    assert surroundings.current() == before
    surroundings.take_over(changed)
    assert time.tzname == ("JST", "JST")
    surroundings.take_over(before)
    assert surroundings.current() == before


@pytest.mark.parametrize(
    ("own", "change", "wanted"),
    [
        (None, (None, "x"), "x"),
        ("own", (None, "x"), "x"),
        ("own", ("before", "x"), "x"),
        ("own", ("before", None), None),
        ("/there", ("/bin", "/mine:/bin"), "/mine:/there"),
        ("/there:/bin", ("/bin:/usr/bin", "/bin:/usr/bin:/mine"), "/there:/bin:/mine"),
        ("/there", ("/bin", "/bin2:/other"), "/bin2:/other"),
        ("/home/them", ("/home/me", "/home/me/x"), "/home/me/x"),
    ],
)
def test_to_a_list_is_added_what_was_added_in_vistrails(
    engine: pytest.MonkeyPatch, own: str | None, change: surroundings.Change, wanted: str | None
) -> None:
    engine.delenv("FOLLOWS", raising=False)
    if own is not None:
        engine.setenv("FOLLOWS", own)
    surroundings.take_over(Surroundings(0o22, {"FOLLOWS": change}, []))
    assert os.environ.get("FOLLOWS") == wanted
    os.environ["FOLLOWS"] = "an element's"
    surroundings.take_over(Surroundings(0o22, {"FOLLOWS": change}, []))
    assert os.environ["FOLLOWS"] == "an element's"
    surroundings.take_over(Surroundings(0o22, {}, []))
    assert os.environ.get("FOLLOWS") == own


def test_modules_are_found_in_the_order_in_which_vistrails_finds_them(
    engine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    theirs = ["/work", "/first", f"/elsewhere/lib/{version}", "/elsewhere/site-packages", "/last"]
    own = list(sys.path)
    surroundings.take_over(Surroundings(0o22, {}, theirs))
    assert sys.path == ["/work", "/first", *own, *theirs[2:]]
    surroundings.take_over(Surroundings(0o22, {}, theirs[1:4]))
    assert sys.path == ["/first", *own, *theirs[2:4]]
    surroundings.take_over(Surroundings(0o22, {}, own))
    assert sys.path == own
