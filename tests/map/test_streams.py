"""Standard output and error of elements are what they are in the serial Map: by VisTrails' command line, in a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import LONG, command_line, ours, until
from in_batch import Said, run_in_batch
from parity import Seen, Stage
from workflows import Flow

from parallelflow.cluster import Session
from parallelflow.cluster.tree import lives
from parallelflow.map import drain

# What elements do, one after the other; each begins by its name on both streams.
CASES = {
    "print": "print('x')",
    "stream to a child": "import subprocess, sys\nsubprocess.run(['echo', 'x'], stdout=sys.stdout)",
    "bytes": "import sys\nsys.stdout.buffer.write(b'x\\n'); sys.stdout.buffer.flush()",
    "what streams are": "import sys\nfor s in (sys.stdout, sys.stderr):\n"
    "    print(s.encoding.lower(), s.errors, s.fileno(), s.name, s.mode, s.closed, s.writable(), s.readable(), type(s))",
    "same objects": "import sys\nprint(sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__)",
    "shell": "import os\nos.system('echo x')",
    "shell to standard error": "import os\nos.system('echo x >&2')",
    "shell by name": "import os\nos.system('echo x > /dev/stdout; echo y > /dev/stderr; echo z | tee /dev/stderr')",
    "child": "import subprocess\nsubprocess.run(['echo', 'x'])",
    "child of a child": "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import os; os.system(\"echo x\")'])",
    "descriptor": "import os\nos.write(1, b'x\\n'); os.write(2, b'y\\n')",
    "C": "import ctypes\nc = ctypes.CDLL(None)\nc.puts(b'x'); c.fflush(None); c.dprintf(2, b'y\\n')",
    "original stream": "import sys\nsys.__stdout__.write('x\\n'); sys.__stderr__.write('y\\n')",
    "no text": "import os, sys\nos.write(1, b'\\xff\\xfe\\x00\\n'); sys.stdout.buffer.write(b'\\xe9\\n'); sys.stdout.flush()",
    "letters": "print('\\u00e9\\u4e2d\\U0001f600')",
    "order": "import os\nfor n in range(3):\n    print('python', n); os.system('echo shell %d' % n); os.write(1, b'c\\n')",
    "no end of line": "import os\nprint('a', end='', flush=True); os.system('printf b'); print('c')",
    "warning": "import warnings\nwarnings.warn('careful', stacklevel=1)",
    "logging": "import logging, sys\nl = logging.getLogger('m')\nl.handlers or l.addHandler(logging.StreamHandler(sys.stdout))"
    "\nl.warning('x')",
    "logging by default": "import logging\nlogging.getLogger('n').warning('x'); logging.warning('y')",
    "vistrails says": "from vistrails.core import debug\ndebug.warning('x'); debug.critical('y'); debug.log('not shown')",
    "redirect": "import contextlib, io, os\nf = io.StringIO()\nwith contextlib.redirect_stdout(f):\n    print('x')\n"
    "print(f.getvalue() == 'x\\n')",
    "descriptors moved": "import os\nk = os.dup(1); n = os.open(os.devnull, os.O_WRONLY); os.dup2(n, 1)\n"
    "os.system('echo hidden'); print('hidden', flush=True)\nos.dup2(k, 1); os.close(k); os.close(n); print('x')",
    "traceback": "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError as e:\n    traceback.print_exception(None, e, None)",
    "dump": "import faulthandler\nfaulthandler.dump_traceback(all_threads=False)",
    "fork": "import os, sys\nsys.stdout.flush()\np = os.fork()\nif not p:\n    print('child', flush=True); os._exit(0)\n"
    "os.waitpid(p, 0); print('parent')",
    "own group": "import subprocess\nsubprocess.run('echo x', shell=True, start_new_session=True)",
    "shell pipeline": "import subprocess\nsubprocess.run('seq 3 | tac', shell=True)",
    "writelines": "import sys\nsys.stdout.writelines(['a\\n', 'b\\n']); print('x', file=sys.stderr)",
    "nothing to read": "try:\n    input('name? ')\nexcept EOFError:\n    print('end')",
    "pdb": "def f():\n    breakpoint()\n    return 1\ntry:\n    f()\nexcept BaseException as e:\n    print(type(e).__name__)",
    "encoding": "import sys\nsys.stdout.reconfigure(encoding='latin-1'); print('\\u00e9')\n"
    "sys.stdout.reconfigure(encoding='utf-8')",
    "logging as configured": "import logging.config\nlogging.config.dictConfig({'version': 1, 'disable_existing_loggers': False,"
    " 'handlers': {'h': {'class': 'logging.StreamHandler', 'stream': 'ext://sys.stdout'}},"
    " 'loggers': {'configured': {'handlers': ['h'], 'propagate': False}}})\nlogging.getLogger('configured').warning('x')",
    "end of a child": "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import atexit; atexit.register(print, 1)'])",
    "multiprocessing": "import multiprocessing as m\np = m.get_context('fork').Process(target=print, args=('child',))\n"
    "p.start(); p.join(); print(p.exitcode)",
    "asyncio": "import asyncio\nasync def f():\n    p = await asyncio.create_subprocess_exec('echo', 'x'); return await p.wait()\n"
    "print(asyncio.run(f()))",
    "put in its place": "import sys\nclass Loud:\n    def __init__(self, to):\n        self.to = to\n    def write(self, text):\n"
    "        self.to.write(text.replace('x', 'X'))\n    def flush(self):\n        self.to.flush()\n"
    "sys.stdout = Loud(sys.stdout)\nprint('x')",
    "and left there": "import sys\nprint('x'); sys.stdout = sys.stdout.to; print('x')",
    "errors to output": "import contextlib, sys\nwith contextlib.redirect_stderr(sys.stdout):\n    print('x', file=sys.stderr)",
    "closed and opened": "import os\nk = os.dup(1); os.close(1)\ntry:\n    os.write(1, b'x')\nexcept OSError as e:\n"
    "    os.dup2(k, 1); os.close(k); print(e)",
    "fails in a thread": "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='T'); t.start(); t.join()",
    "fails in the end": "def f():\n    try:\n        yield\n    finally:\n        print('closed')\ng = f(); next(g); del g",
    "numpy": "import numpy\nprint(numpy.float64(1) / numpy.float64(0))",
    "in a terminal": "import os, pty\nprint(pty.spawn(['echo', 'x'], lambda f: os.read(f, 1024)))",
    "bar": "import sys\nfor n in range(3):\n    sys.stderr.write('\\r%d' % n)\n    sys.stderr.flush()\nprint(file=sys.stderr)",
    "taken apart": "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.detach(), 'utf-8', line_buffering=True)\nprint('x')",
}


def run_cases(cases: dict[str, str], side: str, home: Path, **more: Any) -> dict[str, Any]:
    """Run each case as an element; what each has said, as (output, errors)."""
    flow = Flow()
    source = (
        f"import sys\ncases = {cases!r}\nfor s in (sys.stdout, sys.stderr):\n    print('===', i, file=s, flush=True)\n"
        "exec(cases[i], {})\no = i"
    )
    function = flow.python(source, {"i": "String"}, {"o": "String"})
    flow.map(function, "i", "o", repr(list(cases)))
    said = run_in_batch(flow, side, home, **more)
    return {name: tuple(_part(text, name) for text in (said.output, said.errors)) for name in cases}


def _part(text: bytes, name: str) -> str:
    begin = f"=== {name}\n".encode()
    assert text.count(begin) == 1, (name, text)
    part = text.split(begin)[1].split(b"=== ")[0].decode("utf-8", "backslashreplace")
    # When VisTrails said it, and from which line of whose code.
    part = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+", "TIME", part)
    # Stacks have other ends, and so has VisTrails.
    return re.sub(r'  File ".*\n', "", part).partition("Exception ignored in: <function VistrailsApplication")[0]


@pytest.fixture
def one_core() -> Iterator[None]:
    """What is started has one core, and so one engine: an element finds the streams as the one before has left them."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


def test_elements_print_what_they_print_in_the_serial_map(vistrails: Any, clean_home: Path, one_core: None) -> None:
    # Newer Pythons write errors in colours into a terminal, which an element has none of.
    plain = {"PYTHON_COLORS": "0"}
    serial = run_cases(CASES, "serial", clean_home, variables=plain)
    ours = run_cases(CASES, "ours", clean_home, variables=plain)
    different = {name: (serial[name], ours[name]) for name in CASES if serial[name] != ours[name]}
    assert not different


# The same over many elements, and what comes when the element is over; each line must be there once, in whichever order.
LATER = {
    "a logger's stream": "import logging, sys\nl = logging.getLogger('m')\n"
    "l.handlers or l.addHandler(logging.StreamHandler(sys.stdout))\nl.warning('logged %d', i)",
    "logging by default": "logging.basicConfig(stream=sys.stdout)\nlogging.getLogger('n').warning('by default %d', i)",
    "a saved stream": "sys.saved = getattr(sys, 'saved', sys.stdout)\nsys.saved.write('saved %d\\n' % i)",
    "a thread": "import threading\ndef later(seconds, text):\n    threading.Timer(seconds, sys.stdout.write, [text]).start()\n"
    "if i % 50 == 0:\n    later(0.01, 'thread %d\\n' % i)",
    "a slow thread": "if i == 299:\n    later(1, 'slow thread\\n')",
    "a child": "if i % 100 == 0:\n    import subprocess\n"
    "    subprocess.Popen(f'echo child {i}; echo >> \\'{HAVE_PRINTED}\\'', shell=True)",
    "a grandchild": "if i == 0:\n    import os\n"
    "    os.system(f'(setsid sleep 0.01; echo grandchild; echo >> \\'{HAVE_PRINTED}\\') &')",
    "the element": "sys.stdout.write('element %d\\n' % i)",
}

# Python warns once of what a module's line says, until filters are changed; of a PythonSource's each time, for it is another
# module each time.
WARNS = """
import string, time, warnings
hasattr(string, "warn") or exec("import warnings\\ndef warn(text):\\n    warnings.warn(text)", vars(string))
string.warn("again")
time.sleep(0.001)
if i % 100 == 0:
    string.warn("at %d" % i)
    warnings.warn("each time")
if i == 150:
    with warnings.catch_warnings():
        pass
# Nobody waits for children that elements have left running: on a busy machine all might be over before these have begun.
end = time.monotonic() + 240
while i == 299 and open(HAVE_PRINTED).read().count("\\n") < 8 and time.monotonic() < end:
    time.sleep(0.02)
o = i
"""
WARNED = {"again": 2, "at 100": 1, "each time": 3}


def test_what_is_printed_by_what_elements_leave_behind_is_shown(
    vistrails: Any, clean_home: Path, tmp_path: Path
) -> None:
    def run(side: str) -> Said:
        flow, ports = Flow(), ({"i": "Integer"}, {"o": "Integer"})
        have_printed = f"HAVE_PRINTED = {str(tmp_path / side)!r}"
        later = "\n".join([have_printed, *LATER.values(), "o = i"])
        for source in (f"# 0\n{later}", f"# 1\n{later}", f"{have_printed}\n{WARNS}"):
            flow.map(flow.python(source, *ports), "i", "o", repr(list(range(300))))
        return run_in_batch(flow, side, clean_home)

    serial, ours = run("serial"), run("ours")
    # Not by a comparison of both, whose report would be as long as they are.
    lines, expected = Counter(ours.lines), Counter(serial.lines)
    assert list((lines - expected).items())[:10] == list((expected - lines).items())[:10] == []
    assert lines["logged 299"] == 2
    elements = [line for line in ours.lines if line.startswith("element")]
    in_order = elements == [f"element {i}" for i in range(300)] * 2
    assert in_order
    for said in (serial, ours):
        assert {text: said.errors.count(b"UserWarning: %s" % text.encode()) for text in WARNED} == WARNED
        assert b"\0" not in said.errors
        assert b"Could not identify" not in said.errors  # of a second plan
        assert b"cannot be written" not in said.errors  # of a profile that has no folder yet


def mapped(source: str, count: int, **more: Any) -> Seen:
    """Run a PythonSource over 0, 1, 2, ... with our Map, here."""
    flow = Flow()
    function = flow.python(f"{source}\no = i", {"i": "Integer", **more}, {"o": "Integer"})
    flow.map(function, "i", "o", repr(list(range(count))))
    return Stage("ours").run(flow)


def test_an_element_that_is_run_again_after_an_interrupt_prints_its_text_once(parity: Any, tmp_path: Path) -> None:
    mark = tmp_path / "interrupted"
    seen = mapped(
        f"import os, time\nprint('begin', i)\nif i == 5 and not os.path.exists({str(mark)!r}):\n"
        f"    open({str(mark)!r}, 'w').close()\n    os.system('echo once more'); os.kill(os.getpid(), 2); time.sleep(10)\n"
        "print('end', i)",
        12,
    )
    assert mark.exists()
    assert seen.errors == {}
    assert seen.printed == "".join(f"begin {i}\nend {i}\n" for i in range(12))


def test_what_other_tasks_print_on_an_engine_is_theirs(parity: Any, on_shared_cluster: Session) -> None:
    view = on_shared_cluster.client()[:]
    for _ in range(2):
        assert mapped("print('element', i)", 4).printed == "".join(f"element {i}\n" for i in range(4))
        task = view.apply_async(print, "a task")
        task.wait_for_output(LONG)
        task.get(LONG)
        assert task.stdout == ["a task\n"] * len(view)


def test_what_keeps_a_stream_prints_for_each_of_many_elements_in_every_run(parity: Any) -> None:
    """As in the serial Map, where there is one stream for ever: loggers and others take it once and keep it."""
    source = (
        "import logging, sys\nL = logging.getLogger('keeps')\nL.handlers or L.addHandler(logging.StreamHandler(sys.stdout))\n"
        "L.warning(i)\nsys.kept = getattr(sys, 'kept', sys.stdout)\nprint('kept', i, file=sys.kept)"
    )
    expected = "".join(f"{i}\nkept {i}\n" for i in range(2000))
    for _ in range(2):
        seen = mapped(source, 2000)
        errors, is_expected = seen.errors, seen.printed == expected
        assert (errors, is_expected) == ({}, True)


def test_very_much_text_is_cut_in_the_middle(parity: Any) -> None:
    seen = mapped("import sys\nfor n in range(80):\n    sys.stdout.write('%6d' % n + 'x' * 999_993 + '\\n')", 1)
    assert seen.errors == {}
    lines = seen.printed.splitlines()
    assert lines[0].startswith("     0x")
    assert lines[-1].startswith("    79x")
    (said,) = [line for line in lines if not line.endswith("xxx")]
    left_out = int(re.sub(r"\D", "", said))
    assert sum(len(line) + 1 for line in lines if line != said) + left_out == 80 * 10**6


def test_elements_go_on_when_the_process_that_reads_their_text_has_ended(
    parity: Any, on_shared_cluster: Session
) -> None:
    pids = on_shared_cluster.client()[:].apply_sync(os.getpid)
    drains: list[psutil.Process] = []

    def each_has_one() -> bool:
        assert mapped("print(i)", 2).errors == {}
        children = [process for pid in pids for process in psutil.Process(pid).children()]
        drains[:] = [process for process in children if drain.__file__ in command_line(process)]
        return len(drains) == len(pids)

    until(each_has_one)  # on a busy machine one engine may run all
    for process in drains:
        process.kill()
    until(lambda: not any(map(lives, drains)))  # engines have not asked for them yet
    seen = mapped("print(i)", 20)
    assert (seen.errors, seen.printed) == ({}, "".join(f"{i}\n" for i in range(20)))
    assert mapped("print(i)", 4).printed == "0\n1\n2\n3\n"


@pytest.mark.parametrize("ends", ["pass", "if not child:\n    raise SystemExit"], ids=["goes on", "ends the program"])
def test_a_forked_child_ends_with_its_element_also_where_that_is_the_last(
    parity: Any, on_shared_cluster: Session, ends: str
) -> None:
    waits = "if child:\n    print(os.waitpid(child, 0)[1])"
    seen = mapped(f"import os\nchild = os.fork()\n{ends}\n{waits}", 3)
    assert (seen.errors, seen.printed) == ({}, "0\n0\n0\n")


# A child that prints without end, until a file is gone, and in the end in any case.
FLOOD = """
import os, signal, sys
signal.alarm(100)
line = b"y" * 127 + b"\\n"
while os.path.exists(sys.argv[1]):
    for _ in range(64):
        os.write(1, line * 512)
"""


def test_a_child_that_never_stops_printing_keeps_nobody_waiting(parity: Any, tmp_path: Path) -> None:
    goes_on = tmp_path / "goes on"
    goes_on.touch()
    source = (
        f"import subprocess, sys\nif i == 0:\n    subprocess.Popen([sys.executable, '-c', {FLOOD!r}, {str(goes_on)!r}])"
    )
    shown = []
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):  # what comes between Maps is shown as well
        try:
            # Where the child gets no time in a moment that counts, it is taken to have stopped.
            while len(shown) < 2 or (shown[-1] > 2 * 2**20 and len(shown) < 40):
                seen = mapped("print('x')" if shown else source, 4)
                assert not seen.errors
                shown.append(len(seen.printed))
                del seen  # a failure must not write it all into a report
        finally:
            goes_on.unlink()
        # Of what there is too much each time, less and less is shown.
        assert max(shown) < 80 * 2**20
        assert shown[-1] < 2 * 2**20
        # What has come until then is with the next ones; after that all is as before.
        digits = "".join(f"{n}\n" for n in range(10)) * 10**4
        until(lambda: mapped("for n in range(10**5):\n    print(n % 10)", 2).printed == 2 * digits)


# An engine, as far as it is one for the process that reads what it prints.
_ENGINE = """\
import os, socket, subprocess, sys, tempfile, time
from parallelflow.map import drain, own_folder
asks, theirs = socket.socketpair()
numbers = [os.pipe()[0], os.pipe()[0], theirs.fileno()]
subprocess.Popen([sys.executable, "-I", "-S", drain.__file__, *map(str, numbers), tempfile.gettempdir()], pass_fds=numbers)
theirs.close()
with own_folder.own_folder() as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


# What stands for an engine begins so: with the process that reads what it prints.
_READ_BY_DRAIN = """\
import os, socket, subprocess, sys, tempfile, time
from parallelflow.map import drain
asks, theirs = socket.socketpair()
pipes = [os.pipe(), os.pipe()]
numbers = [*(read for read, _ in pipes), theirs.fileno()]
subprocess.Popen([sys.executable, "-I", "-S", drain.__file__, *map(str, numbers), tempfile.gettempdir()], pass_fds=numbers)
theirs.close()
"""

# It asks for much, and prints much before it takes the answer.
_ASKS_AND_PRINTS = """\
def printed(count):
    for _ in range(count):
        os.write(pipes[0][1], b"x" * 1000)

def taken():
    lengths = drain.LENGTHS.unpack(asks.recv(drain.LENGTHS.size, socket.MSG_WAITALL))
    assert len(asks.recv(sum(lengths), socket.MSG_WAITALL)) == sum(lengths)
    return sum(lengths)

printed(3000)
asks.sendall(b"?")
printed(3000)
first = taken()
asks.sendall(b"?")
print(first >= 3_000_000, first + taken() == 6_000_000)
"""


def test_an_engine_may_print_before_it_takes_what_it_has_asked_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _READ_BY_DRAIN + _ASKS_AND_PRINTS],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=True,
    )
    assert done.stdout == "True True\n"


# It ends a moment after an element has begun, and says why.
_SAYS_WHY = """\
asks.sendall(b"?")
asks.recv(drain.LENGTHS.size, socket.MSG_WAITALL)  # it reads now
os.write(pipes[1][1], b"\\0aabbccddeeff:5\\0")
time.sleep(0.01)
os.write(pipes[1][1], b"no memory\\n")
os.kill(os.getpid(), 9)
"""


def test_what_an_engine_says_last_is_in_its_log() -> None:
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", _READ_BY_DRAIN + _SAYS_WHY], capture_output=True, text=True, timeout=LONG
        )
        assert (done.returncode, done.stderr) == (-signal.SIGKILL, "no memory\n")


# How a process looks that leaves many children behind which have ended, and one that runs.
_LEAVES_CHILDREN = """\
import os, subprocess, sys
from parallelflow.map.left_running import known
before = known().children()
ended = [os.posix_spawn("/bin/true", ["true"], {}) for _ in range(1000)]
for each in ended:
    os.waitid(os.P_PID, each, os.WEXITED | os.WNOWAIT)
after = known().children()
with subprocess.Popen(["sleep", "600"]) as runs:
    print(before, after, known().children())
    runs.kill()
"""


def test_a_child_that_goes_on_is_seen_among_many_that_have_ended() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LEAVES_CHILDREN], capture_output=True, text=True, timeout=LONG, check=True
    )
    assert done.stdout == "False False True\n"


def _ignores(process: psutil.Process, number: signal.Signals) -> bool:
    """Whether a process ignores a signal."""
    (mask,) = re.findall(r"^SigIgn:\s*(\w+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) >> number - 1 & 1)


@pytest.mark.parametrize("how", ["killed alone", "ended with all of its job"])
def test_the_folder_of_an_engine_that_is_killed_goes_with_it(tmp_path: Path, how: str) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", _ENGINE]
    with (
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True) as killed,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as living,
    ):
        try:
            folders = [Path(each.stdout.readline().strip()) for each in (killed, living) if each.stdout]
            assert all(folder.is_dir() for folder in folders)
            if how == "killed alone":
                killed.kill()
            else:
                until(lambda: any(_ignores(child, signal.SIGTERM) for child in psutil.Process(killed.pid).children()))
                os.killpg(killed.pid, signal.SIGTERM)
            until(lambda: not folders[0].exists())
            assert folders[1].is_dir()
        finally:
            for each in (killed, living):
                each.kill()
    until(lambda: not any(tmp_path.iterdir()) and not ours())
