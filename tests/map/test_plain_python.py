"""An element finds the process that it finds in the serial Map: event loop, children, signals, environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_streams import run_cases

VARIABLES = (
    "TERM",
    "FORCE_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "PAGER",
    "GIT_PAGER",
    "MPLBACKEND",
    "PYDEVD_USE_FRAME_EVAL",
)

# What elements do; each prints what must be the same. Between them are those that once hung: children have the engine's handlers.
CASES = {
    "asyncio.run": "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 5\nprint(asyncio.run(f()))",
    "new loop": "import asyncio\nl = asyncio.new_event_loop()\nprint(l.run_until_complete(asyncio.sleep(0, 5))); l.close()",
    "the loop": "import asyncio, warnings\nwarnings.simplefilter('ignore')\ntry:\n    l = asyncio.get_event_loop()\n"
    "except RuntimeError:\n    l = asyncio.new_event_loop(); asyncio.set_event_loop(l)\n"
    "print(l.run_until_complete(asyncio.sleep(0, 5)), l.is_running())",
    "no loop runs": "import asyncio\ntry:\n    asyncio.get_running_loop()\nexcept RuntimeError as e:\n    print(e)",
    "loop in a thread": "import asyncio, threading\nr = []\n"
    "t = threading.Thread(target=lambda: r.append(asyncio.run(asyncio.sleep(0, 5)))); t.start(); t.join(); print(r)",
    "child of a loop": "import asyncio\nasync def f():\n    p = await asyncio.create_subprocess_exec('echo', 'x', stdout=-1)\n"
    "    return (await p.communicate())[0]\nprint(asyncio.run(f()))",
    "task group": "import asyncio\nasync def f():\n    return await asyncio.gather(*(asyncio.sleep(0, n) for n in range(3)))\n"
    "print(asyncio.run(f()))",
    "tornado": "import asyncio\nfrom tornado.ioloop import IOLoop\n"
    "l = IOLoop(make_current=False)\nprint(l.run_sync(lambda: asyncio.sleep(0, 5))); l.close()",
    "fork pool": "import math, multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as p:\n"
    "    print(p.map(math.sqrt, [1, 4]))",
    "spawn pool": "import math, multiprocessing\nwith multiprocessing.get_context('spawn').Pool(1) as p:\n"
    "    print(p.map(math.sqrt, [1, 4]))",
    "forkserver": "import math, multiprocessing\nwith multiprocessing.get_context('forkserver').Pool(1) as p:\n"
    "    print(p.map(math.sqrt, [1, 4]))",
    "terminate": "import multiprocessing, time\np = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))\n"
    "p.start(); p.terminate(); p.join(60); print(p.exitcode)",
    "executor": "import concurrent.futures, math\nwith concurrent.futures.ProcessPoolExecutor(2) as p:\n"
    "    print(list(p.map(math.sqrt, [1, 4])))",
    "threads": "import concurrent.futures, math\nwith concurrent.futures.ThreadPoolExecutor(2) as p:\n"
    "    print(list(p.map(math.sqrt, [1, 4])))",
    "joblib multiprocessing": "import joblib, math\n"
    "print(joblib.Parallel(2, backend='multiprocessing')(joblib.delayed(math.sqrt)(n) for n in [1, 4]))",
    "joblib loky": "import joblib, math\nfrom joblib.externals.loky import get_reusable_executor\n"
    "print(joblib.Parallel(2, backend='loky')(joblib.delayed(math.sqrt)(n) for n in [1, 4]))\n"
    "get_reusable_executor().shutdown(wait=True)",
    "forked by hand": "import os, signal, sys\nsys.stdout.flush()\np = os.fork()\nif not p:\n"
    "    print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, flush=True)\n"
    "    print(signal.getsignal(signal.SIGINT) == signal.default_int_handler, flush=True)\n    os._exit(3)\n"
    "print(os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]))",
    "killed child": "import os, signal, subprocess\np = subprocess.Popen(['sleep', '60']); p.terminate(); print(p.wait())",
    "handler": "import signal\nh = signal.signal(signal.SIGUSR1, lambda *_: print('usr1'))\nsignal.raise_signal(signal.SIGUSR1)\n"
    "signal.signal(signal.SIGUSR1, h)",
    "alarm": "import signal\nclass Late(Exception): pass\ndef late(*_): raise Late\nh = signal.signal(signal.SIGALRM, late)\n"
    "signal.setitimer(signal.ITIMER_REAL, 0.01)\ntry:\n    signal.pause()\nexcept Late:\n    print('late')\n"
    "signal.signal(signal.SIGALRM, h)",
    "no IPython": "import builtins\nprint([n for n in ('__IPYTHON__', 'display', 'get_ipython') if hasattr(builtins, n)])\n"
    "import IPython\nprint(IPython.get_ipython())",
    "tqdm": "import io\nfrom tqdm.auto import tqdm\nprint(list(tqdm([1, 2], file=io.StringIO())), tqdm.__mro__[1].__module__)",
    "environment": f"import os\nprint({{n: os.environ.get(n) for n in {(*VARIABLES, 'HOME', 'LANG', 'PATH')}}})",
    "child's environment": "import os\n" + "".join(f"os.system('echo {name}: ${name}')\n" for name in VARIABLES),
    "own variable": "import os\nos.environ['PAGER'] = 'less'; os.system('echo $PAGER'); del os.environ['PAGER']",
    "matplotlib": "import sys, subprocess\nimport matplotlib\nimport matplotlib.pyplot as p\np.figure(); p.close()\n"
    "print(matplotlib.get_backend().lower())\n"
    "subprocess.run([sys.executable, '-c', 'import os; print(os.environ.get(\"MPLBACKEND\"))'])",
    "locale": "import locale\nprint(locale.setlocale(locale.LC_ALL), f'{1234567:n}')",
    "hooks": "import sys\nprint(sys.breakpointhook is sys.__breakpointhook__, sys.displayhook is sys.__displayhook__)",
    "no prompt": "import sys\nprint([n for n in ('ps1', 'ps2', 'ps3') if hasattr(sys, n)])",
    "folder": "import sys\nprint('' in sys.path)",
    "a program, not a prompt": "import __main__, inspect, os\nprint(__main__.__name__, os.path.isfile(__main__.__file__),"
    " inspect.getsourcefile(__main__) == __main__.__file__, __main__.__spec__ is not None)",
    "pickled by main": "import __main__, pickle, sys\nclass C: pass\nC.__module__ = '__main__'; C.__qualname__ = 'C'\n"
    "__main__.C = C\nprint(type(pickle.loads(pickle.dumps(C()))) is C); del __main__.C",
    "spawned process": "import multiprocessing\np = multiprocessing.get_context('spawn').Process(target=print, args=('x',))\n"
    "p.start(); p.join(); print(p.exitcode)",
    "pipe": "import subprocess\na = subprocess.Popen(['seq', '5'], stdout=-1)\n"
    "b = subprocess.Popen(['wc', '-l'], stdin=a.stdout, stdout=-1); a.stdout.close(); print(b.communicate()[0], a.wait())",
    "reader that ends": "import subprocess\nprint(subprocess.run('yes | head -n 1; exit ${PIPESTATUS[0]}', shell=True,"
    " executable='bash').returncode)",
    "signals that children find": "import subprocess\nprint(subprocess.getoutput('grep -E \"Sig(Blk|Ign)\" /proc/self/status'))",
    "manager": "import multiprocessing as m\nwith m.get_context('fork').Manager() as g:\n    d = g.dict(a=1); print(dict(d))",
    "connection": "import multiprocessing as m\nc = m.get_context('fork'); a, b = c.Pipe()\n"
    "p = c.Process(target=b.send, args=({'x': 1},)); p.start(); print(a.recv()); p.join()",
    "shared memory": "from multiprocessing import shared_memory as s\na = s.SharedMemory(create=True, size=16); a.buf[0] = 7\n"
    "b = s.SharedMemory(a.name); print(b.buf[0]); b.close(); a.close(); a.unlink()",
    "signal in a loop": "import asyncio, os, signal\nasync def f():\n    l = asyncio.get_running_loop(); e = asyncio.Event()\n"
    "    l.add_signal_handler(signal.SIGUSR1, e.set); os.kill(os.getpid(), signal.SIGUSR1); await asyncio.wait_for(e.wait(), 60)\n"
    "    return l.remove_signal_handler(signal.SIGUSR1)\nprint(asyncio.run(f()))",
    "server": "import asyncio\nasync def answer(r, w):\n    w.write(await r.readline()); await w.drain(); w.close()\n"
    "async def f():\n    s = await asyncio.start_server(answer, '127.0.0.1', 0)\n"
    "    r, w = await asyncio.open_connection(*s.sockets[0].getsockname()); w.write(b'x\\n'); x = await r.readline()\n"
    "    w.close(); s.close(); return x\nprint(asyncio.run(f()))",
    "pager": "import pydoc\npydoc.pager('text')",
    "limits": "import resource\nlimits = [n for n in sorted(dir(resource)) if n.startswith('RLIMIT_')]\n"
    "print([resource.getrlimit(getattr(resource, n)) for n in limits])",
    "who looks": "import sys, gc\nprint(sys.gettrace(), sys.getprofile(), sys.getrecursionlimit(), gc.isenabled(), gc.callbacks,"
    " sys.excepthook is sys.__excepthook__, sys.warnoptions)",
    "main module": "import threading\nprint(threading.current_thread() is threading.main_thread())",
}


# In which it is set before VisTrails starts, so that engines have it, too; or not at all.
@pytest.mark.parametrize("kept", [False, True])
def test_an_element_finds_the_process_that_it_finds_in_the_serial_map(
    vistrails: Any, clean_home: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    variables = {"MPLBACKEND": "svg", "TERM": "vt100", "PAGER": "more", "PYTHONHASHSEED": "5"} if kept else {}
    cases = {name: code for name, code in CASES.items() if not kept or "environment" in name or name == "matplotlib"}
    if kept:
        cases["hashes"] = "print(hash('a'), {'a', 'b', 'c', 'd'})"
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    # Whoever is the first in a home to need matplotlib's list of fonts makes it, and says so if that takes five seconds.
    subprocess.run(
        [sys.executable, "-c", "import matplotlib.font_manager"], check=True, capture_output=True, timeout=300
    )
    serial = run_cases(cases, "serial", clean_home, variables=variables)
    ours = run_cases(cases, "ours", clean_home, variables=variables)
    if not kept:
        # On an engine it takes one without a window; its children are not told so.
        assert ours.pop("matplotlib") == ("agg\nNone\n", "")
    different = {name: (serial[name], text) for name, text in ours.items() if serial[name] != text}
    assert not different
