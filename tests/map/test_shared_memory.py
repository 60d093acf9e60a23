"""Large values through shared memory: nothing is copied twice, nobody sees what another one writes, and nothing is left."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from vistrails.core.interpreter.noncached import Interpreter
from vistrails.tests.utils import intercept_result
from workflows import OURS, Flow

from parallelflow.cluster.session import get_session
from parallelflow.map import parts, scheduler, shared_memory, sharing, state, values
from parallelflow.map.module import Map

LARGE = 4 * shared_memory.SMALLEST


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder in shared memory for this test alone, which must be empty in the end."""
    folder = Path("/dev/shm") / f"pytest-{os.getpid()}-{tmp_path.name}"
    folder.mkdir()
    monkeypatch.setattr(shared_memory, "_ROOT", str(folder))
    monkeypatch.setattr(shared_memory, "_own", None)
    yield folder
    if shared_memory._own is not None:
        shared_memory._remove_own(*shared_memory._own)
    left = files(folder)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    assert left == []


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]


@pytest.fixture
def room() -> Iterator[shared_memory.Room]:
    made = shared_memory.new_room()
    assert made is not None
    yield made
    made.close()


def arrays() -> list[Any]:
    writeable, read_only = np.arange(LARGE, dtype="u1"), np.arange(LARGE, dtype="u1") + 1
    read_only.flags.writeable = False
    return [writeable, read_only, np.arange(3), "text", b"x" * LARGE]


def test_what_is_large_arrives_as_it_was_and_the_rest_beside_it(room: shared_memory.Room) -> None:
    packed = values.pack(arrays())
    sent = room.put(packed)
    assert [type(part).__name__ for part in sent].count(
        "Reference"
    ) == 3  # the pickle holds the bytes, and is large itself
    assert values.size(sent) == values.size(packed)
    back = values.unpack(shared_memory.taken(sent))
    for there, here in zip(back, arrays(), strict=True):
        assert type(there) is type(here)
        assert np.array_equal(there, here)
    assert [each.flags.writeable for each in back[:3]] == [True, False, True]


def test_what_a_receiver_writes_nobody_else_sees(room: shared_memory.Room) -> None:
    kept = shared_memory.opened(room.put(values.pack(np.zeros(LARGE))))
    first, second = (values.unpack(shared_memory.mapped(kept)) for _ in range(2))
    first += 1
    assert second.max() == 0
    assert values.unpack(shared_memory.mapped(kept)).max() == 0


def test_over_the_network_arrays_are_writeable_or_read_only_as_they_were() -> None:
    writeable, read_only, *_ = values.unpack([bytes(part) for part in values.pack(arrays())])
    writeable[0] = 7
    assert not read_only.flags.writeable
    assert np.array_equal(read_only, arrays()[1])


def test_what_came_over_the_network_is_not_copied_to_be_written_to() -> None:
    arrived = [memoryview(bytes(part)) for part in values.pack(arrays()[:2])]
    writeable, read_only = values.unpack(shared_memory.taken(arrived))
    assert np.shares_memory(writeable, np.frombuffer(arrived[1], dtype="u1"))
    writeable[:] = 7
    del arrived
    assert (writeable == 7).all()
    assert not read_only.flags.writeable
    assert np.array_equal(read_only, arrays()[1])


def test_what_came_in_a_message_of_its_own_is_not_copied_to_be_written_to() -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as receiver, context.socket(zmq.PUSH) as sender:
        sender.connect(f"tcp://127.0.0.1:{receiver.bind_to_random_port('tcp://127.0.0.1')}")
        sender.send_multipart([bytes(part) for part in values.pack([*arrays()[:2], np.arange(3)])])
        arrived = [memoryview(frame) for frame in receiver.recv_multipart(copy=False)]
    writeable, read_only, small = values.unpack(shared_memory.taken(arrived))
    assert np.shares_memory(writeable, np.frombuffer(arrived[1], dtype="u1"))
    assert not any(np.shares_memory(small, np.frombuffer(part, dtype="u1")) for part in arrived)
    writeable[:] = 7
    small[:] = 7
    del arrived
    assert (writeable == 7).all()
    assert not read_only.flags.writeable
    assert np.array_equal(read_only, arrays()[1])


def test_the_memory_goes_with_the_value(room: shared_memory.Room, root: Path) -> None:
    (back,) = values.unpack(shared_memory.taken(room.put(values.pack([np.zeros(LARGE)]))))
    assert files(root) == []  # its name is gone already, and so is its memory when nobody has it any more
    assert str(root) in Path("/proc/self/maps").read_text()
    del back
    assert str(root) not in Path("/proc/self/maps").read_text()


def test_many_values_do_not_keep_files_open(room: shared_memory.Room) -> None:
    held = [values.unpack(shared_memory.taken(room.put(values.pack(np.zeros(LARGE))))) for _ in range(50)]
    assert len(held) == 50
    opened = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # another thread's
            opened.add(os.readlink(f"/proc/self/fd/{name}"))
    assert [name for name in opened if room.path in name and not name.endswith("/lock")] == []


def test_where_no_more_can_be_mapped_it_is_read(room: shared_memory.Room, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def mmap(self, *arguments: Any) -> Any:
            return shared_memory._FAILED

    monkeypatch.setattr(shared_memory, "_libc", Full())
    back = values.unpack(shared_memory.taken(room.put(values.pack(np.arange(LARGE)))))
    assert np.array_equal(back, np.arange(LARGE))


def test_no_more_than_a_share_of_what_is_free_is_taken(
    room: shared_memory.Room, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    packed = values.pack(np.zeros(LARGE))
    monkeypatch.setattr(os, "statvfs", lambda path: namedtuple("Found", "f_bavail f_frsize")(1.9 * LARGE * 8, 1))
    assert room.put(packed) == packed
    assert files(root) == []
    monkeypatch.setattr(os, "statvfs", lambda path: namedtuple("Found", "f_bavail f_frsize")(2.1 * LARGE * 8, 1))
    assert isinstance(room.put(packed)[1], shared_memory.Reference)
    room.close()


def test_where_it_becomes_full_meanwhile_the_network_takes_it_and_nothing_is_left(
    room: shared_memory.Room, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    packed = values.pack([np.zeros(LARGE), np.zeros(LARGE)])
    write, calls = os.write, iter((True, False))

    def full(number: int, content: Any) -> int:
        if next(calls):
            return write(number, content)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert room.put(packed) == packed
    assert files(root) == []


def test_what_others_note_in_a_room_is_found_there_and_goes_with_it(room: shared_memory.Room, root: Path) -> None:
    assert room.notes() == set()
    for name in ("one_1", "other_2"):
        pid = os.fork()
        if not pid:
            shared_memory.Room(room.path).note(name)
            os.kill(os.getpid(), signal.SIGKILL)  # whatever becomes of it
        os.waitpid(pid, 0)
    assert room.notes() == {"one_1", "other_2"}
    shared_memory.forget(room.put(values.pack(np.zeros(LARGE))))
    room.put(values.pack(np.zeros(LARGE)))  # which nobody takes
    room.close()
    assert files(root) == []
    assert not Path(room.path).exists()
    room.note("late")  # a Map that has ended in the meantime
    assert room.notes() == set()
    assert not Path(room.path).exists()


def test_where_nothing_can_be_noted_all_goes_on(room: shared_memory.Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int, content: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    room.note("one")
    assert room.notes() == set()


def test_copying_can_be_broken_off_and_lets_others_have_their_turn(room: shared_memory.Room, root: Path) -> None:
    turns = []
    large = values.pack(np.zeros(3 * shared_memory.PIECE, dtype="u1"))
    shared_memory.forget(room.put(large, lambda: turns.append(1)))
    assert len(turns) == 2

    def break_off() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        room.put(large, break_off)
    assert files(root) == []


def test_what_is_not_there_or_not_ours_is_out_of_reach(room: shared_memory.Room) -> None:
    reference = room.put(values.pack(np.zeros(LARGE)))[1]
    with pytest.raises(shared_memory.OutOfReach):
        shared_memory.Reference(reference.path, reference.nbytes + 1).open()
    reference.remove()
    with pytest.raises(shared_memory.OutOfReach):
        shared_memory.taken([reference])


def test_a_room_is_private_and_one_that_is_not_is_not_used(room: shared_memory.Room, root: Path) -> None:
    assert shared_memory.visible(room.path) is not None
    assert shared_memory.visible("") is None
    assert shared_memory.visible(f"{room.path}x") is None
    os.chmod(room.path, 0o755)
    assert shared_memory.visible(room.path) is None
    shared_memory._remove_own(*shared_memory._own)  # type: ignore[misc]
    (root / f"parallelflow-{os.geteuid()}").chmod(0o777)
    assert shared_memory.new_room() is None  # somebody else may have made it


_KILLED = """
import os, sys
from parallelflow.map import shared_memory, values
shared_memory._ROOT = sys.argv[1]
room = shared_memory.new_room()
room.put([b"", bytes(1000000)])
print("ready", flush=True)
sys.stdin.readline()
"""


def test_what_a_killed_process_left_is_removed_at_the_next_start_and_what_a_living_one_has_is_not(root: Path) -> None:
    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _KILLED, str(root)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    killed, living = start(), start()
    assert len(files(root)) == 2
    killed.send_signal(signal.SIGKILL)
    killed.wait(240)
    assert shared_memory.new_room() is not None
    assert len(files(root)) == 1
    living.communicate("\n", timeout=240)
    assert files(root) == []  # a process that ends removes its own


def test_a_folder_that_is_just_being_made_is_left_alone_for_a_while(root: Path) -> None:
    fresh = root / f"parallelflow-{os.geteuid()}" / "fresh"
    fresh.mkdir(parents=True, mode=0o700)
    os.utime(fresh, (time.time() + 100, time.time() + 100))  # however long a busy machine takes
    shared_memory.remove_left()
    assert fresh.is_dir()
    os.utime(fresh, (time.time() - 100, time.time() - 100))
    shared_memory.remove_left()
    assert not fresh.exists()


# Lengths of 32 bits do not suffice for so many bytes. Nothing here touches more than a few megabytes of them: the rest is holes.
HUGE = 2**32 + 2 * shared_memory.PIECE + 5


def test_lengths_and_places_beyond_32_bits_are_exact(
    room: shared_memory.Room, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    def sparse(number: int, content: Any) -> int:
        place = os.lseek(number, 0, os.SEEK_CUR)
        if 0 < place < 2**32:
            os.lseek(number, len(content), os.SEEK_CUR)
            return len(content)
        return write(number, content)

    monkeypatch.setattr(room, "_free", lambda: float("inf"))
    write = os.write
    monkeypatch.setattr(os, "write", sparse)
    array = np.zeros(HUGE, dtype="u1")
    marks = {0: 1, 7: 2, 2**32: 3, 2**32 + 1: 4, HUGE - 1: 5}
    for place, mark in marks.items():
        array[place] = mark
    packed = values.pack(array)
    assert values.size(packed) == HUGE + len(packed[0])
    sent = room.put(packed)
    assert values.size(sent) == values.size(packed)
    del packed
    assert files(root)[0].stat().st_size == HUGE
    assert files(root)[0].stat().st_blocks * 512 < 8 * shared_memory.PIECE
    back = values.unpack(shared_memory.taken(sent))
    assert back.shape == (HUGE,)
    assert back.flags.writeable
    assert {place: back[place] for place in marks} == marks
    assert back[2**31] == back[2**32 - 1] == back[HUGE - 2] == 0
    assert files(root) == []


def test_bytes_beyond_32_bits_stay_beside_the_pickle_and_are_read_in_their_place() -> None:
    packed = values.pack([b"before", bytes(HUGE), "after"])
    head, beside = (memoryview(part) for part in packed)
    assert beside.nbytes == HUGE
    assert values.size(packed) == HUGE + head.nbytes
    stream, _ = parts.stream_of(packed)
    *segments, last = reversed(stream.raw._left)  # type: ignore[attr-defined]
    assert [each.nbytes for each in segments[-1:]] == [HUGE]
    before = bytes(segments[0])
    assert before.endswith(pickle.BINBYTES8 + HUGE.to_bytes(8, "little"))
    short = before[:-9] + pickle.BINBYTES8 + (3).to_bytes(8, "little") + b"abc" + bytes(last)
    assert pickle.loads(short) == [b"before", b"abc", "after"]


# ---- with engines ----

MEGABYTE = 1_000_000

_FUNCTION = """
import numpy
o = c[:i.size] + i
i[:] = 0
c[-1] = 0
"""


def run_map(held: dict[str, Any], source: str, elements: list[Any], constant: Any) -> list[Any]:
    """Run a Map of ours over arrays, with another one on another port."""
    held["elements"], held["constant"] = elements, constant
    flow = Flow()
    function = flow.python(source, {"i": "Variant", "c": "Variant"}, {"o": "Variant"})
    flow.connect(flow.held("constant"), "value", function, "c")
    flow.map(function, "i", "o", (flow.held("elements"), "value"))
    with intercept_result(Map, "Result") as results:
        done = Interpreter.get().execute(flow.build(OURS))
    assert not done.errors, [error.msg for error in done.errors.values()]
    return results[0]  # type: ignore[no-any-return]


@pytest.fixture
def sent(parity: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many bytes each message to engines has."""
    session = parity_session(monkeypatch)
    sizes: list[int] = []
    send = session.send

    def counting(*arguments: Any, **more: Any) -> Any:
        sizes.append(sum(memoryview(buffer).nbytes for buffer in more.get("buffers") or ()))
        return send(*arguments, **more)

    monkeypatch.setattr(session, "send", counting)
    return sizes


def parity_session(monkeypatch: pytest.MonkeyPatch) -> Any:
    client = get_session().client()
    monkeypatch.setitem(sharing._apart, client, set())
    return client.session


def expect(results: list[Any], elements: int) -> None:
    assert len(results) == elements
    for index, result in enumerate(results):
        assert result.shape == (MEGABYTE,)
        assert (result == 5 + index).all()
        assert result.flags.writeable


def test_on_one_host_neither_elements_nor_plan_nor_results_go_over_the_network(
    held: dict[str, Any], sent: list[int], root: Path
) -> None:
    elements = [np.full(MEGABYTE, index, dtype="u1") for index in range(6)]
    constant = np.full(5 * MEGABYTE, 5, dtype="u1")
    expect(run_map(held, _FUNCTION, elements, constant), 6)
    assert max(sent) < 100_000
    assert files(root) == []
    # What modules have written to their inputs is seen neither here nor by a second run.
    assert elements[3].min() == 3
    assert constant.min() == 5
    expect(run_map(held, _FUNCTION, elements, constant), 6)


def test_an_engine_whose_memory_nobody_limits_is_asked_for_it_once(
    held: dict[str, Any], sent: list[int], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    send_errand = state.MapState.send_errand
    monkeypatch.setattr(
        state.MapState, "send_errand", lambda self, each: (asked.append(each.standing), send_errand(self, each))
    )
    size = scheduler.LARGE // 2
    elements = [np.full(size, index, dtype="u1") for index in range(8)]
    for number in range(3):
        asked.clear()
        constant = np.full(100, 5, dtype="u1")
        assert [each.max() for each in run_map(held, "o = i + c[0]", elements, constant)] == list(range(5, 13))
        if number:  # what an earlier test has run on these engines was perhaps not large
            assert asked == []


def test_a_plan_that_makes_room_gives_its_memory_back_at_once(held: dict[str, Any], parity: Any, root: Path) -> None:
    view = get_session().client()[:]
    most = view.apply_sync(_keep_plans_of, 8 * MEGABYTE)[0]
    try:
        elements = [np.full(MEGABYTE, index, dtype="u1") for index in range(6)]
        for size in (5, 6, 7):
            expect(run_map(held, _FUNCTION, elements, np.full(size * MEGABYTE, 5, dtype="u1")), 6)
            assert {each for sizes in view.apply_sync(_mapped, str(root)) for each in sizes} <= {size}
    finally:
        view.apply_sync(_keep_plans_of, most)


def _keep_plans_of(most: int) -> int:
    """Have an engine keep so many bytes of plans, and say how many it was before."""
    from parallelflow.map import engine

    engine.MOST_BYTES, before = most, engine.MOST_BYTES
    return before


def _mapped(root: str) -> list[int]:
    """How many megabytes an engine has mapped of what lay in a folder, each time, where it is more than elements are."""
    from pathlib import Path

    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if root in line]
    ends = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]
    return [(end - start) // 1_000_000 for start, end in ends if end - start > 2_000_000]


def test_engines_that_do_not_share_the_memory_get_all_over_the_network(
    held: dict[str, Any], sent: list[int], root: Path
) -> None:
    view = get_session().client()[:]
    view.apply_sync(_hide, True)
    try:
        elements = [np.full(MEGABYTE, index, dtype="u1") for index in range(6)]
        expect(run_map(held, _FUNCTION, elements, np.full(5 * MEGABYTE, 5, dtype="u1")), 6)
        assert sum(sent) >= 6 * MEGABYTE
        assert files(root) == []
    finally:
        view.apply_sync(_hide, False)


def _hide(hidden: bool) -> None:
    """Have an engine see no shared memory, as on another host."""
    import os

    from parallelflow.map import shared_memory

    if hidden:

        class Elsewhere:
            def __getattr__(self, name: str) -> Any:
                return getattr(os, name)

            def open(self, path: Any, *more: Any) -> int:
                return os.open(f"/none{path}", *more)

            def lstat(self, path: Any) -> Any:
                return os.lstat(f"/none{path}")

        shared_memory.os = Elsewhere()  # type: ignore[assignment]
    else:
        shared_memory.os = os  # type: ignore[assignment]
