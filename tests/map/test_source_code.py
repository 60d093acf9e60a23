"""What is known of the code that modules are made of, and what a process has loaded of it. Without engines."""

from __future__ import annotations

import importlib
import json
import os
import py_compile
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from parallelflow.map.hashing import Unknown
from parallelflow.map.package_code import code_of
from parallelflow.map.source_code import Code, imported_by, unit_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def code_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes modules into a folder that Python finds them in, and gives what is known of one."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def known(module: str, **files: str) -> dict[str, bytes]:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/', 1)}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        code = Code()
        code.add_module(module)
        assert code.digest() == code.digest()
        return {**code.units, "": code.digest()}

    return known


def test_what_code_imports_is_read_in_its_text() -> None:
    text = """
    import a, b.c as d; import e
    from f.g import (h,
        i)
    if True: import j  # k
    from . import l
    from .m import n
    importlib.import_module('o.p'); __import__("q")
    import r \\
    """
    assert imported_by(text) == {"a", "b.c", "e", "f.g", "j", "o.p", "q", "r"}
    assert unit_of("a.b.c") == "a"
    assert unit_of("userpackages.mine.init") == "userpackages.mine"


def test_own_code_is_known_by_its_content_with_all_that_it_imports(code_in: Any) -> None:
    before = code_in(
        "pf_one", pf_one="import pf_two, os\n", pf_two="from pf_three.inner import f\n", pf_three__inner="f = 1\n"
    )
    assert before.keys() == {"pf_one", "pf_two", "pf_three", ""}
    assert code_in("pf_one") == before
    for changed in (
        {"pf_one": "import pf_two\n"},
        {"pf_two": "import pf_three\n"},
        {"pf_three__inner": "f = 2\n"},
        {"pf_three__new": ""},
    ):
        after = code_in("pf_one", **changed)
        assert after[""] != before[""], changed
        before = after


def test_data_beside_code_counts_and_what_tools_leave_does_not(code_in: Any, tmp_path: Path) -> None:
    before = code_in("pf_four", pf_four__one="")
    folder = tmp_path / "pf_four"
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "one.pyc").write_text("")
    (folder / ".git").mkdir()
    (folder / ".git" / "index").write_text("")
    (folder / "one.py~").write_text("")
    assert code_in("pf_four") == before
    (folder / "table.csv").write_text("1")
    assert code_in("pf_four") != before


def test_what_is_installed_is_known_by_its_version(code_in: Any) -> None:
    import numpy

    found = code_in("pf_five", pf_five="import numpy, nowhere_to_be_found, json, vistrails.core, parallelflow.api\n")
    assert found["numpy"].decode() == f"version numpy {numpy.__version__}"
    assert found["nowhere_to_be_found"] == b"not there"
    assert found["vistrails"].startswith(b"version")
    assert found["parallelflow"].startswith(b"version")
    assert "json" not in found


def test_code_in_no_file_is_unknown() -> None:
    with pytest.raises(Unknown):
        Code().add_module("__main__")


LOADS = """
import json, os, sys, time
sys.path[:0] = sys.argv[1:3]
from parallelflow.map import loaded_code
loaded_code.look(at_start=True)
import pf_loaded
def tell(*units):
    told = loaded_code.tell(units)
    print(json.dumps([sorted(told.modules), [os.path.basename(each) for each in told.beside],
                      [os.path.basename(each) for each in told.changed], sorted(told.units)]), flush=True)
tell("pf_loaded", "numpy")
for line in sys.stdin:
    exec(line)
    tell("pf_loaded")
"""


@pytest.fixture
def process(tmp_path: Path) -> Any:
    """A process that loads a module and says what it has loaded; gives what it says after each line of code that it is sent."""
    (tmp_path / "pf_loaded.py").write_text("value = 1\n")
    (tmp_path / "pf_later.py").write_text("value = 1\n")
    for name in ("pf_loaded.py", "pf_later.py"):
        os.utime(tmp_path / name, (1e9, 1e9))
    running = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LOADS), str(ROOT), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdin is not None
    assert running.stdout is not None

    def said(line: str = "") -> Any:
        if line:
            running.stdin.write(f"{line}\n")
            running.stdin.flush()
        told = running.stdout.readline()
        assert told, "the process has ended"
        return json.loads(told)

    yield said
    running.stdin.close()
    running.wait(240)
    running.stdout.close()


def test_a_process_says_what_it_has_loaded_and_what_of_that_has_changed(process: Any, tmp_path: Path) -> None:
    assert process() == [["pf_loaded"], [], [], ["numpy", "pf_loaded"]]
    assert process("import pf_later") == [["pf_later", "pf_loaded"], ["pf_later.py"], [], ["pf_loaded"]]
    (tmp_path / "pf_later.py").write_text("value = 1\n")
    assert process("pass")[2] == []  # it holds what it held
    (tmp_path / "pf_loaded.py").write_text("value = 2\n")
    assert process("pass") == [["pf_later"], ["pf_later.py"], ["pf_loaded.py"], ["pf_loaded"]]
    (tmp_path / "pf_later.py").unlink()
    assert process("pass")[2] == ["pf_later.py", "pf_loaded.py"]


def test_a_file_that_was_written_to_while_it_was_loaded_is_said_to_have_changed(process: Any, tmp_path: Path) -> None:
    process()
    own = tmp_path / "pf_new.py"
    assert process(f"open({str(own)!r}, 'w').close(); import pf_new")[2] == ["pf_new.py"]


def test_compiled_code_of_what_a_file_held_before_is_noticed(process: Any, tmp_path: Path) -> None:
    """Python goes by the size and the whole second: of another content with both of these, it takes the old code."""
    later = tmp_path / "pf_later.py"
    py_compile.compile(str(later), doraise=True)
    process()
    later.write_text("value = 2\n")
    os.utime(later, (1e9, 1e9))
    # As if that had been long ago, too.
    assert process("loaded_code._notes.looked += 10**12; import pf_later; assert pf_later.value == 1")[2] == [
        "pf_later.py"
    ]


def test_a_package_that_is_loaded_anew_may_have_other_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "pf_anew"
    package.mkdir()
    (package / "__init__.py").touch()
    code_of("pf_anew")  # what it imports itself is there now
    for module in ("before", "after"):
        for each in ("before", "after"):
            (package / f"{each}.py").unlink(missing_ok=True)
        (package / f"{module}.py").touch()
        (package / "init.py").write_text(f"import pf_anew.{module}\n{'#' * len(module)}")
        for name in [name for name in sys.modules if name.partition(".")[0] == "pf_anew"]:
            monkeypatch.delitem(sys.modules, name)
        importlib.invalidate_caches()
        importlib.import_module("pf_anew.init")
        for _ in range(2):
            assert code_of("pf_anew").keys() == {"pf_anew", "pf_anew.init", f"pf_anew.{module}"}
