"""Options that engines get from us, besides the profile's."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallelflow.cluster import options


@pytest.mark.parametrize(
    ("theirs", "both"),
    [
        ([], ["--IPEngine.timeout=20", "--IPEngine.url_file=x"]),
        (["--debug"], ["--IPEngine.timeout=20", "--IPEngine.url_file=x", "--debug"]),
        (["--timeout=7"], ["--IPEngine.url_file=x", "--timeout=7"]),
        (["--timeout", "7", "--file=y"], ["--timeout", "7", "--file=y"]),
        (["--IPEngine.timeout=7"], ["--IPEngine.url_file=x", "--IPEngine.timeout=7"]),
    ],
)
def test_what_the_profile_says_is_not_said_twice(theirs: list[str], both: list[str]) -> None:
    assert options.before(theirs, ["--IPEngine.timeout=20", "--IPEngine.url_file=x"]) == both


def test_how_long_an_engine_waits_to_be_let_in_is_what_the_profile_says_if_it_says_it(profile: Path) -> None:
    assert options.patience(profile, 20.4) == ["--IPEngine.timeout=20"]
    assert options.patience(profile, 1) == ["--IPEngine.timeout=5"]
    config = profile / "ipengine_config.py"
    # What is in it runs on engines only.
    config.write_text("# c.IPEngine.timeout = 5.0\nc.IPEngine.mpi = True\nc.Other.timeout = 3\nraise SystemExit\n")
    assert options.patience(profile, 20) == ["--IPEngine.timeout=20"]
    config.write_text("import a_module_of_theirs\nc.IPEngine.timeout = 50\n")
    assert options.patience(profile, 20) == []
    config.unlink()
    (profile / "ipengine_config.json").write_text('{"IPEngine": {"mpi": true,\n "timeout": 50}}')
    assert options.patience(profile, 20) == []
