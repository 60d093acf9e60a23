"""Folders for temporary files: of whom they are, and who removes them. Those of engines that are killed are in `test_streams`."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parallelflow.cluster import machine
from parallelflow.map.own_folder import own_folder


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Have this process take itself to be on another machine."""

    def as_(name: str, boot: str, called: str) -> None:
        monkeypatch.setattr(machine, "this_machine", lambda: f"{name}/{boot}/pid:[1]")
        monkeypatch.setattr("platform.node", lambda: called)

    return as_


def left_by(become: Any, place: Path, *identity: str) -> Path:
    """A folder that somebody has left there."""
    become(*identity)
    folder = place / f"{machine.folder_prefix()}x_y"
    folder.mkdir()
    (folder / "file").write_text("")
    return folder


@pytest.mark.parametrize(
    ("mine", "theirs", "goes"),
    [
        (("id", "boot", "name"), ("id", "boot", "name"), True),
        (("id", "boot", "by day"), ("id", "boot", "by night"), True),  # renamed meanwhile
        (("id", "today", "name"), ("id", "yesterday", "name"), True),  # from before this machine was started anew
        (("id", "one", "node1"), ("id", "two", "node2"), False),  # copies of one machine
        (("id", "one", "localhost"), ("id", "two", "localhost"), False),
        (("", "one", "name"), ("", "two", "name"), False),
        (("mine", "boot", "name"), ("yours", "boot", "name"), False),
    ],
)
def test_who_removes_what_was_left(
    become: Any, tmp_path: Path, mine: tuple[str, ...], theirs: tuple[str, ...], goes: bool
) -> None:
    folder = left_by(become, tmp_path, *theirs)
    become(*mine)
    machine.remove_folders(str(tmp_path))
    assert folder.exists() is not goes


def test_a_folder_of_a_process_that_lives_stays(tmp_path: Path) -> None:
    with own_folder(str(tmp_path)) as one, own_folder(str(tmp_path)) as two:
        machine.remove_folders(str(tmp_path))
        assert {path.name for path in tmp_path.iterdir()} == {os.path.basename(one), os.path.basename(two)}
    assert not any(tmp_path.iterdir())


def test_a_folder_that_somebody_takes_for_left_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, made = machine.locked, []

    def late(folder: str) -> Any:
        made.append(folder)
        if len(made) == 1:
            os.rmdir(folder)
        return plain(folder)

    monkeypatch.setattr(machine, "locked", late)
    with own_folder(str(tmp_path)) as folder:
        assert os.path.isdir(folder)
        assert len(made) == 2
    assert not any(tmp_path.iterdir())


def test_a_file_system_without_locks_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", flock)
    with own_folder(str(tmp_path)) as folder:
        machine.remove_folders(str(tmp_path))
        assert os.path.isdir(folder)  # it cannot be known whether it is in use
    assert not any(tmp_path.iterdir())
