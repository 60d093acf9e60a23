"""Modules with code in the workflow that keeps files in VisTrails' folder, under a Map: no value is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from helpers import LONG
from parity import Stage
from test_shared_files import WITHOUT_LOCKS, results
from vistrails.tests.utils import enable_package
from workflows import Flow

from parallelflow.map import shared_files, shared_sources

ASKER = "org.vistrails.parallelflow.asker"

# Reads a list, adds a number and writes it; another that does so meanwhile loses what this one has added.
KEEPS = """
import json, os, time
from vistrails.core import system
place = os.path.join(system.current_dot_vistrails(), "kept.json")
with open(place) as file:
    kept = json.load(file)
time.sleep(0.03)
with open(place, "w") as file:
    json.dump([*kept, i], file)
o = i
"""
USES_A_HELPER = "from userpackages.asker_package.helper import keep\nkeep(i)\no = i"
ELEMENTS = list(range(8))


def function(where: str, code: str = KEEPS) -> tuple[Flow, int]:
    """A workflow with a module that keeps numbers; the module's number."""
    flow, inner = Flow(), Flow()
    ports = {"i": "Integer"}, {"o": "Integer"}
    if where == "alone":
        return flow, flow.python(code, *ports)
    if where == "by a package's function":
        return flow, flow.python(USES_A_HELPER, *ports)
    if where == "in a module of another kind":
        return flow, flow.parity("Runs", {"source": quote(code)})
    if where == "code from upstream":
        module = flow.add("PythonSource", inputs=ports[0], outputs=ports[1])
        flow.connect(flow.add("String", {"value": quote(code)}), "value", module, "source")
        return flow, module
    module = inner.python(code, *ports)
    inner.inputs, inner.outputs = {"i": (module, "i")}, {"o": (module, "o")}
    if where == "in a Map in a Group":
        outer = Flow()
        numbers = outer.python("o = [i]", {"i": "Integer"}, {"o": "List"})
        each = outer.map(outer.group(inner), "i", "o", (numbers, "o"))
        first = outer.python("o = l[0]", {"l": "List"}, {"o": "Integer"})
        outer.connect(each, "Result", first, "l")
        outer.inputs, outer.outputs = {"i": (numbers, "i")}, {"o": (first, "o")}
        return flow, flow.group(outer)
    return flow, flow.group(inner) if where == "in a Group" else flow.subworkflow("keeps_numbers", inner)


@pytest.fixture
def kept(parity: Any, vistrails_folder: Path) -> Path:
    enable_package(ASKER)
    place = vistrails_folder / "kept.json"
    place.write_text("[]")
    return place


def test_code_can_say_that_it_bears_others(kept: Path) -> None:
    """Two that wait for each other both end, although their code asks for VisTrails' folder.

    The first test, so that in the others both engines have started VisTrails and take elements at the same time.
    """
    source = f"""
shares_files = False
import os, time
place = {str(kept.parent)!r} + "/meets"  # as current_dot_vistrails() says
open(place + str(i), "w").close()
end = time.monotonic() + {LONG}
while not os.path.exists(place + str(1 - i)) and time.monotonic() < end:
    time.sleep(0.01)
o = os.path.exists(place + str(1 - i))
"""
    flow = Flow()
    mapped = flow.map(flow.python(source, {"i": "Integer"}, {"o": "Boolean"}), "i", "o", "[0, 1]")
    assert results(flow, mapped, "ours") == [True, True]


@pytest.mark.parametrize(
    "where",
    [
        "alone",
        "in a Group",
        "in a Map in a Group",
        "in a subworkflow",
        "code from upstream",
        "in a module of another kind",
        "by a package's function",
    ],
)
def test_what_code_in_a_workflow_adds_to_a_file_for_all_is_not_lost(where: str, kept: Path) -> None:
    flow, module = function(where)
    mapped = flow.map(module, "i", "o", repr(ELEMENTS))
    for side in ("serial", "ours"):
        kept.write_text("[]")
        assert results(flow, mapped, side) == ELEMENTS
        assert sorted(json.loads(kept.read_text())) == ELEMENTS


def test_without_locks_it_is_said_before_any_element_runs(kept: Path, on_shared_cluster: Any) -> None:
    plain = Flow()
    mapped = plain.map(plain.python("o = i", {"i": "Integer"}, {"o": "Integer"}), "i", "o", "[1]")
    assert results(plain, mapped, "ours") == [1]
    engines = on_shared_cluster.client()[:]
    engines.execute(f"import fcntl\nhas_locks = fcntl.lockf\n{WITHOUT_LOCKS}", block=True)
    try:
        for where in ("in a Group", "code from upstream"):
            keeps, module = function(where, f"{KEEPS}# in a plan of its own")
            keeps.map(module, "i", "o", repr(ELEMENTS))
            (message,) = (message for _, _, message in Stage("ours", "plain").run(keeps).errors.values())
            assert "cannot lock files in" in message
            assert "--dot-vistrails" in message
            assert "PythonSource" in message
            assert kept.read_text() == "[]"
        assert results(plain, mapped, "ours") == [1]  # what keeps no files runs there all the same
    finally:
        engines.execute("fcntl.lockf = has_locks\nshared_files._locks = None", block=True)


def test_what_code_asks_for_decides_whom_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_files, "sharers", lambda: {"userpackages.mine": "org.mine", "userpackages.my": "org.my"})
    for code, names in {
        "core.system.default_dot_vistrails()": ("source",),
        quote("open('/home/me/.vistrails/list.txt', 'a')"): ("source",),
        "x <- read.csv('~/.vistrails/a.csv') # R": ("source",),
        "import userpackages.mine.init as m": ("org.mine", "source"),
        "def f():\n  from userpackages import mine": ("org.mine", "source"),
        "from userpackages.mine import keep\nget_vistrails_directory('abstractionsDir')": ("org.mine", "source"),
        "import os\nprint('userpackages.mine')": (),
        "shares_files = False\ncurrent_dot_vistrails()": (),
        "": (),
    }.items():
        assert shared_sources.locks_for(code) == names
