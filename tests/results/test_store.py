"""The folder of kept results: what is written is found again, by the user only, and nothing that is torn or damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from parallelflow.results import file as files
from parallelflow.results import writer as writers
from parallelflow.results.file import Header, ResultFile, Unreadable
from parallelflow.results.store import BEGIN, PLACE, Store
from parallelflow.results.writer import Writer

PLAN = "ab" * 32
MUCH = 10**9


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "kept", MUCH)


def write(store: Store, *keys: bytes, plan: str = PLAN, parts: list[bytes] | None = None, **header: object) -> Writer:
    """Keep a result for each key: by default its key in capitals."""
    writer = store.writer(Header(plan, **header))  # type: ignore[arg-type]
    for number, key in enumerate(keys):
        writer.add(key, 0.5 + number, 1000.0, b"note of " + key, parts or [key.upper(), b""])
    writer.close()
    store.written(writer)
    return writer


def read(store: Store, *keys: bytes, plan: str = PLAN) -> list[list[bytes] | None]:
    found = store.find(plan[:BEGIN], lambda: plan)
    try:
        results = [found.read(key) for key in keys]
        return [None if result is None else [bytes(part) for part in result[1]] for result in results]
    finally:
        found.close()


def test_the_folder_does_not_hide_this_project_from_a_vistrails_with_packages_of_the_users(tmp_path: Path) -> None:
    write(Store(tmp_path / PLACE, MUCH), b"a")
    program = "import sys; sys.path.insert(0, sys.argv[1]); import parallelflow; print(parallelflow.IDENTIFIER)"
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=240,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("org.vistrails.parallelflow\n", "")


def kept(store: Store) -> list[Path]:
    return sorted(store.folder.iterdir())


def test_what_is_written_is_found_again(store: Store) -> None:
    assert read(store, b"a") == [None]
    assert not store.folder.exists()  # nothing is made before something is kept
    writer = write(store, b"a", b"b")
    assert (writer.written, writer.trouble) == (2, None)
    large = os.urandom(9 * 1024**2)
    write(store, b"c", parts=[b"head", memoryview(large), memoryview(bytearray(b"x" * 40)).cast("I")])
    write(store, b"a", plan="cd" * 32, parts=[b"of another plan"])
    assert read(store, b"a", b"b", b"none") == [[b"A", b""], [b"B", b""], None]
    assert read(store, b"c") == [[b"head", large, b"x" * 40]]
    found = store.find(PLAN[:BEGIN], lambda: PLAN)
    entry, result = found.entry(b"b"), found.read(b"b")
    found.close()
    assert entry is not None
    assert result is not None
    assert (entry.seconds, entry.when, result[0]) == (1.5, 1000.0, b"note of b")


def test_only_the_user_can_read_and_only_what_is_his_own_is_read(store: Store) -> None:
    os.umask(mask := os.umask(0))
    try:
        write(store, b"a")
    finally:
        os.umask(mask)
    (path,) = kept(store)
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o620)  # somebody else may write there
    assert read(store, b"a") == [None]
    path.chmod(0o600)
    assert read(store, b"a") == [[b"A", b""]]
    elsewhere = store.folder.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert read(store, b"a") == [None]
    path.unlink()
    elsewhere.rename(path)
    if os.getuid() == 0:
        os.chown(path, 12345, -1)
        assert read(store, b"a") == [None]
        os.chown(path, 0, -1)
    store.folder.chmod(0o777)
    writer = write(store, b"b")
    assert writer.trouble is not None
    assert "others may write there" in writer.trouble
    assert kept(store) == [path]


def test_a_torn_end_is_left_out_wherever_it_is_torn(store: Store) -> None:
    write(store, b"a", b"b")
    (path,) = kept(store)
    whole = path.read_bytes()
    with ResultFile(path) as file:
        ends = [entry.offset + entry.size for entry in file.entries()]
    assert ends[-1] == len(whole)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        expected = [[b"A", b""] if length >= ends[0] else None, None]
        assert read(store, b"a", b"b") == expected, length


def test_no_damaged_byte_is_taken_for_a_result(store: Store) -> None:
    write(store, b"a", b"b")
    (path,) = kept(store)
    whole = path.read_bytes()
    right = [[b"A", b""], [b"B", b""]]
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        found = read(store, b"a", b"b")
        assert None in found, place
        assert all(each in (None, good) for each, good in zip(found, right, strict=True)), place


def test_what_is_no_file_of_results_is_passed_over(store: Store) -> None:
    write(store, b"a")
    (path,) = kept(store)
    name = path.name[:32]
    (store.folder / f"{name}-1.kept").write_bytes(b"")
    (store.folder / f"{name}-2.kept").write_bytes(b"something else altogether, and rather long")
    (store.folder / f"{name}-3.kept").mkdir()
    (store.folder / f"{name}-4.kept").symlink_to("nowhere")
    assert read(store, b"a") == [[b"A", b""]]
    with pytest.raises(Unreadable, match="does not hold results"):
        ResultFile(store.folder / f"{name}-2.kept")
    assert [each.results for each in store.listing()] == [1]


def test_a_file_of_a_later_version_is_not_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, b"a")
    monkeypatch.setattr(files, "VERSION", files.VERSION + 1)
    write(store, b"b")
    monkeypatch.undo()
    found = store.find(PLAN[:BEGIN], lambda: PLAN)
    assert found.later
    assert found.entry(b"a") is not None
    assert found.entry(b"b") is None
    found.close()
    assert len(kept(store)) == 2


def test_whole_files_go_that_were_not_used_for_longest(tmp_path: Path) -> None:
    store = Store(tmp_path / "kept", 500_000)
    paths = []
    for number in range(4):
        paths.append(write(store, b"%d" % number, parts=[bytes(100_000)]).path)
        os.utime(paths[-1], (number, number))
    assert read(store, b"0") == [[bytes(100_000)]]  # used: it is the youngest now
    assert os.stat(paths[0]).st_mtime > 4
    writer = write(store, b"4", b"5", parts=[bytes(100_000)])
    assert writer.written == 2
    assert [path.exists() for path in paths] == [True, False, False, True]
    assert sum(path.stat().st_size for path in kept(store)) <= 500_000
    more = write(store, *(b"x%d" % number for number in range(20)), parts=[bytes(100_000)])
    assert more.trouble is not None
    assert "'results_limit'" in more.trouble
    assert 3 <= more.written < 5
    assert kept(store) == [more.path]
    assert read(store, b"x0", b"x19") == [[bytes(100_000)], None]


def test_a_folder_that_cannot_be_made(store: Store) -> None:
    store.folder.write_text("a file stands in its place")
    writer = write(store, b"a", b"b")
    assert (writer.written, store.folder.read_text()) == (0, "a file stands in its place")
    assert writer.trouble is not None
    assert writer.trouble.startswith("Results of elements are not kept from now on: ")
    assert str(store.folder) in writer.trouble


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a file system of its own takes root: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_costs_what_has_no_room_and_nothing_else(disk: Path) -> None:
    store = Store(disk / "kept", MUCH)
    parts = [os.urandom(300_000)]
    writer = write(store, *(b"%d" % number for number in range(10)), parts=parts)
    assert writer.written == 3
    assert writer.trouble is not None
    assert "No space left on device" in writer.trouble
    assert read(store, b"0", b"2", b"3") == [parts, parts, None]
    with open(disk / "filler", "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    again = write(store, b"x", parts=parts)
    assert again.written == 0
    assert again.trouble is not None
    assert len(kept(store)) == 1  # no file is left without a result


_WRITES = """
import sys, time
from pathlib import Path
from parallelflow.results.file import Header
from parallelflow.results.store import BEGIN, PLACE, Store
store = Store(Path(sys.argv[1]), 10**9)
writer = store.writer(Header("ab" * 32, until_completed=True))
for number in range(int(sys.argv[2])):
    writer.add(b"%s-%d" % (sys.argv[3].encode(), number), 1.0, time.time(), b"", [b"value %d" % number * 1000])
    if number % 10 == 9:
        print(writer.written, flush=True)
writer.close()
print("done", writer.written, flush=True)
sys.stdin.read()
"""


def start(store: Store, count: int, name: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", _WRITES, str(store.folder), str(count), name]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.kills
def test_what_was_written_outlives_sigkill(store: Store) -> None:
    with start(store, 1_000_000, "a") as process:
        assert process.stdout is not None
        written = 0
        while written < 200:
            written = int(process.stdout.readline())
        process.kill()
    found = store.find(PLAN[:BEGIN], lambda: PLAN)
    assert len(found) >= written
    for number in range(len(found)):
        result = found.read(b"a-%d" % number)
        assert result is not None
        assert bytes(result[1][0]) == b"value %d" % number * 1000
    found.close()


def test_several_write_at_once_and_completing_one_leaves_what_another_writes(store: Store) -> None:
    with start(store, 300, "a") as first, start(store, 300, "b") as second:
        for process in (first, second):
            assert process.stdout is not None
            while not process.stdout.readline().startswith("done 300"):
                assert process.poll() is None
        write(store, b"of an earlier run", until_completed=True)
        write(store, b"to stay", until_completed=False)
        found = store.find(PLAN[:BEGIN], lambda: PLAN)
        assert len(found) == 602
        found.close()
        writer = store.writer(Header(PLAN, until_completed=True))
        writer.add(b"own", 1.0, 1.0, b"", [b"own"])
        store.completed(found, writer)
        assert len(kept(store)) == 3  # the two that are still being written, and what is kept for good
        for process in (first, second):
            process.communicate("", timeout=240)
    found = store.find(PLAN[:BEGIN], lambda: PLAN)
    found.close()
    store.completed(found, store.writer(Header(PLAN)))
    assert read(store, b"a-0", b"b-0", b"to stay") == [None, None, [b"TO STAY", b""]]


def test_it_is_listed_and_cleared_by_workflow_and_map(store: Store) -> None:
    write(store, b"a", b"b", workflow="one.vt", module="Map (Sum)")
    path = write(store, b"c", workflow="one.vt", module="Map (Sum)", plan="cd" * 32).path
    write(store, b"d", workflow="two.vt", module="Map (Sum)")
    os.utime(path, (5e9, 5e9))
    first, second = store.listing()
    assert (first.workflow, first.module, first.results, first.used) == ("one.vt", "Map (Sum)", 3, 5e9)
    assert (second.workflow, second.results) == ("two.vt", 1)
    assert first.nbytes == sum(each.stat().st_size for each in first.files)
    assert len(first.files) == 2
    assert store.clear([first]) == first.nbytes
    assert [each.workflow for each in store.listing()] == ["two.vt"]
    assert store.clear() == second.nbytes
    assert store.listing() == []
    assert store.clear() == 0


def test_a_slow_disk_slows_nothing_down_that_does_not_wait_for_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "MOST_WAITING", 1000)
    writer = store.writer(Header(PLAN))
    monkeypatch.setattr(writer, "_run", lambda: None)  # a disk that takes nothing
    writer.add(b"a", 1.0, 1.0, b"", [bytes(900)], waits=False)
    writer.add(b"b", 1.0, 1.0, b"", [bytes(900)], waits=False)
    assert writer._queue.qsize() == 1

    class Cancel(Exception):
        pass

    def pause() -> None:
        raise Cancel

    with pytest.raises(Cancel):
        writer.add(b"b", 1.0, 1.0, b"", [bytes(900)], pause)
