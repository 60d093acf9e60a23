"""Digests of what is in files and folders. Without engines."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from parallelflow.map import file_contents
from parallelflow.map.file_contents import NOT_THERE, digest_of, is_still
from parallelflow.map.hashing import Unknown


def settle(path: Path) -> None:
    """Wait until a file has not just been written to any more, as its file system's times tell."""
    end = time.monotonic() + 240
    while file_contents._is_racy(os.stat(path)):
        assert time.monotonic() < end, "the file stayed as if it had just been written to"
        time.sleep(0.005)


def test_a_file_is_known_by_its_content_and_not_by_its_name_or_time(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("a")
    other.write_text("a")
    os.utime(other, (1, 1))
    assert digest_of(str(one)) == digest_of(str(other))
    other.write_text("b")
    assert digest_of(str(one)) != digest_of(str(other))
    assert digest_of(str(tmp_path / "none")) == digest_of(str(one / "none")) == NOT_THERE
    (tmp_path / "empty").touch()
    assert len({digest_of(str(tmp_path / "empty")), NOT_THERE, digest_of(str(one))}) == 3


def test_a_file_that_is_as_it_was_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("a")
    settle(file)
    before = digest_of(str(file))
    monkeypatch.setattr(file_contents, "open", None, raising=False)  # whoever reads it fails
    assert digest_of(str(file)) == before


def test_a_change_within_the_same_tick_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for turn in range(200):  # many times, because only some fall into one tick
        file.write_text("a" if turn % 2 else "b")
        before = digest_of(str(file))
        file.write_text("b" if turn % 2 else "a")
        assert digest_of(str(file)) != before
        assert not is_still(str(file), before)


def test_a_change_whose_time_was_set_back_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a")
    settle(file)
    found = os.stat(file)
    before = digest_of(str(file))
    file.write_text("b")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert digest_of(str(file)) != before


def test_a_file_that_takes_the_name_of_another_is_seen(tmp_path: Path) -> None:
    file, new = tmp_path / "file", tmp_path / "new"
    file.write_text("a")
    new.write_text("b")
    os.utime(new, ns=(os.stat(file).st_atime_ns, os.stat(file).st_mtime_ns))
    settle(new)
    before = digest_of(str(file))
    os.replace(new, file)
    assert digest_of(str(file)) != before


def test_a_link_is_known_by_what_it_leads_to(tmp_path: Path) -> None:
    one, other, link = tmp_path / "one", tmp_path / "other", tmp_path / "link"
    one.write_text("a")
    other.write_text("b")
    link.symlink_to(one)
    assert digest_of(str(link)) == digest_of(str(one))
    link.unlink()
    link.symlink_to(other)
    assert digest_of(str(link)) == digest_of(str(other))
    link.unlink()
    link.symlink_to(tmp_path / "none")
    assert digest_of(str(link)) == NOT_THERE


def test_a_folder_is_known_by_all_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text("a")
    found = [digest_of(str(folder))]

    def changed() -> None:
        found.append(digest_of(str(folder)))
        assert len(set(found)) == len(found)

    (folder / "inner" / "file").write_text("b")
    changed()
    (folder / "empty").mkdir()
    changed()
    (folder / "inner" / "other").touch()
    changed()
    (folder / "inner" / "other").rename(folder / "inner" / "renamed")
    changed()
    (folder / "link").symlink_to("none")
    changed()
    again = tmp_path / "again"
    (again / "empty").mkdir(parents=True)
    (again / "inner").mkdir()
    (again / "link").symlink_to("nothing")
    (again / "inner" / "renamed").touch()
    (again / "inner" / "file").write_text("b")
    assert digest_of(str(again)) == found[-1]


def test_what_is_no_file_cannot_be_read_or_has_no_end_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "round").mkdir()
    (tmp_path / "round" / "back").symlink_to(tmp_path / "round")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    for name in ("pipe", "round", "self", "nul\0l"):
        with pytest.raises(Unknown):
            digest_of(str(tmp_path / name))
    for number in range(5):
        (tmp_path / "many" / str(number)).mkdir(parents=True)
    monkeypatch.setattr(file_contents, "MOST_ENTRIES", 5)
    with pytest.raises(Unknown, match="more than 5"):
        digest_of(str(tmp_path / "many"))


def test_a_large_file_is_known_by_its_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_contents, "MOST_BYTES", 10)
    file = tmp_path / "file"
    file.write_text("a" * 11)
    monkeypatch.setattr(file_contents.time, "time_ns", lambda: os.stat(file).st_mtime_ns + 1)
    with pytest.raises(Unknown, match="just been written"):
        digest_of(str(file))
    monkeypatch.undo()
    monkeypatch.setattr(file_contents, "MOST_BYTES", 10)
    settle(file)
    before = digest_of(str(file))
    assert is_still(str(file), before)
    os.utime(file, (5, 5))
    settle(file)
    assert not is_still(str(file), before)
    os.utime(file, (6, 6))
    settle(file)
    by_time = digest_of(str(file))
    file.write_text("a" * 12)
    os.utime(file, (6, 6))
    settle(file)
    assert not is_still(str(file), by_time)
