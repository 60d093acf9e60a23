"""Files that a result names: kept with it, or a condition of it. Without engines."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy
import pytest
from vistrails.core.modules.basic_modules import PathObject
from vistrails.core.modules.module_utils import FilePool

from parallelflow.map import named_files, values
from parallelflow.map.named_files import CannotBeKept, Kept


@pytest.fixture
def pools(vistrails: Any) -> Any:
    """Makes file pools, each as of another session."""
    made: list[FilePool] = []

    def pool() -> FilePool:
        made.append(FilePool())
        return made[-1]

    yield pool
    for each in made:
        each.cleanup()


def sent(kept: Kept) -> Kept:
    """The same in another session."""
    packed = [bytes(part) for part in kept.packed]
    return pickle.loads(pickle.dumps(Kept(packed, kept.contents, kept.files, kept.others)))


def test_files_of_the_pool_are_put_into_the_new_one(pools: Any) -> None:
    old, new = pools(), pools()
    file, folder = old.create_file(suffix=".txt"), old.create_directory()
    Path(file.name).write_text("content")
    Path(folder.name, "inner").mkdir()
    Path(folder.name, "inner", "file").write_text("inside")
    Path(folder.name, "link").symlink_to("inner/file")
    given = Path(folder.name, "inner", "given.csv")
    given.write_text("named")
    value = {
        "file": file,
        "twice": [file, Path(file.name)],
        "folder": folder,
        "number": 1,
        "given": given,
        "inner": given.parent,
    }
    kept = sent(named_files.pack(value, old.directory))
    old.cleanup()
    again = named_files.unpack(kept, new)
    assert again["number"] == 1
    assert type(again["file"]) is PathObject
    assert again["file"].name.startswith(new.directory)
    assert again["file"].name.endswith(".txt")
    assert Path(again["file"].name).read_text() == "content"
    assert again["twice"][0] is again["file"]
    assert again["twice"][1] == Path(again["file"].name)
    assert Path(again["folder"].name, "inner", "file").read_text() == "inside"
    assert Path(again["folder"].name, "link").is_symlink()
    assert (again["given"].name, again["given"].read_text()) == ("given.csv", "named")  # a consumer may go by the name
    assert (again["inner"].name, sorted(os.listdir(again["inner"]))) == ("inner", ["file", "given.csv"])
    assert not Path(again["file"].name).name.endswith(Path(file.name).name)
    other = named_files.unpack(kept, new)
    assert other["file"].name != again["file"].name  # whoever changes one does not change the other


def test_other_files_count_only_while_they_are_as_they_were(
    pools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, file = pools(), tmp_path / "file"
    file.write_text("one")
    monkeypatch.chdir(tmp_path)
    for named in (PathObject(str(file)), file, PathObject("file")):
        kept = sent(named_files.pack([named], pool.directory))
        assert kept.contents == []
        file.touch()
        (again,) = named_files.unpack(kept, pool)
        assert getattr(again, "name", again) == getattr(named, "name", named)
        file.write_text("two")
        with pytest.raises(CannotBeKept):
            named_files.unpack(kept, pool)
        file.unlink()
        with pytest.raises(CannotBeKept):
            named_files.unpack(kept, pool)
        file.write_text("one")
        assert named_files.unpack(kept, pool)
    monkeypatch.chdir("/")  # what has no full name is another file there
    with pytest.raises(CannotBeKept):
        named_files.unpack(kept, pool)


def test_a_file_that_is_not_there_or_named_as_text_is_not_kept(pools: Any, tmp_path: Path) -> None:
    pool = pools()
    file = pool.create_file()
    inside = os.path.join(pool.directory, "gone")
    values_with = [
        PathObject(str(tmp_path / "none")),
        PathObject(inside),
        Path(inside),
        file.name,
        [f"see {file.name}"],
    ]
    values_with += [
        {"name": file.name.encode()},
        numpy.array([file.name]),
        numpy.array([file.name], object),
        "x" * 100_000 + file.name,
    ]
    for value in values_with:
        with pytest.raises(CannotBeKept):
            named_files.pack(value, pool.directory)


def test_files_that_are_too_large_together_are_not_kept(pools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pools()
    monkeypatch.setattr(named_files, "MOST_BYTES", 10)
    files = [pool.create_file() for _ in range(2)]
    folder = pool.create_directory()
    for path in (*(each.name for each in files), os.path.join(folder.name, "file")):
        Path(path).write_text("six let")
    assert named_files.pack(files[0], pool.directory).contents == [b"six let"]
    for value in (files, [files[0], folder]):
        with pytest.raises(CannotBeKept, match="too large"):
            named_files.pack(value, pool.directory)


def test_a_name_between_two_pieces_is_found(pools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named_files, "_PIECE", 1000)
    pool = pools()
    name = pool.create_file().name
    for before in range(900, 1001, 7):
        for value in (" " * before + name, numpy.array([" " * (before // 4) + name, "x" * 2000])):
            with pytest.raises(CannotBeKept, match="names a file of the pool"):
                named_files.pack(value, pool.directory)
        assert named_files.pack(" " * before + name[1:], pool.directory).files == []


def test_what_is_too_large_to_be_worth_it_is_not_gone_through(pools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, value = pools().directory, numpy.zeros(1000, "u1")
    assert values.unpack(named_files.pack(value, directory, most=2000).packed).size == 1000
    monkeypatch.setattr(named_files, "_mentions", lambda *_: pytest.fail("it was gone through"))
    with pytest.raises(CannotBeKept, match="too large"):
        named_files.pack(value, directory, most=999)


def test_outside_of_keeping_files_travel_as_they_are(pools: Any) -> None:
    file = pools().create_file()
    assert values.unpack(values.pack(file)).name == file.name
    assert values.unpack(values.pack(Path(file.name))) == Path(file.name)
