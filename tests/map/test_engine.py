"""What an engine says of a plan that it cannot run, and when plans and elements are sent. On real engines."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from meeting import together
from vistrails.core.interpreter.noncached import Interpreter
from workflows import OURS, Flow

import parallelflow
from parallelflow.cluster import Session
from parallelflow.map import configuration, crew, engine, execution, needs, plan, values
from parallelflow.map.outcomes import PlanMissing, PlanReady, PlanRefused


def flow_over(elements: int, source: str = "o = i", **ports: str) -> tuple[Flow, int]:
    flow = Flow()
    function = flow.python(source, {"i": "Variant", **ports}, {"o": "Variant"})
    flow.map(function, "i", "o", repr(list(range(elements))))
    return flow, function


def execute(flow: Flow) -> Any:
    done = Interpreter.get().execute(flow.build(OURS))
    (map_id,) = [module.id for module in flow.build(OURS).module_list if module.name == "Map"]
    if done.errors:
        raise done.errors[next(iter(done.errors))]
    return done.objects[map_id].get_output("Result")


@pytest.fixture
def client(vistrails: Any, on_shared_cluster: Session) -> Any:
    return on_shared_cluster.client()


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[plan.Plan]]:
    """The plans that Maps make."""
    made: list[plan.Plan] = []

    def keep(*arguments: Any) -> plan.Plan:
        made.append(plan.make_plan(*arguments))
        return made[-1]

    monkeypatch.setattr(execution, "make_plan", keep)
    return made


def install(client: Any, content: Any, version: str = parallelflow.__version__) -> Any:
    packed = values.pack(content)
    view = client[client.ids[0]]
    return view.apply_sync(engine.install, values.digest(packed), version, needs.environment(), *packed)


@pytest.fixture
def content(client: Any, plans: list[plan.Plan]) -> plan.Content:
    """A plan's content that engines can run."""
    execute(flow_over(2)[0])
    return plans[0].content


def test_an_engine_that_can_run_a_plan_says_where_it_is(client: Any, content: plan.Content) -> None:
    answer = install(client, content)
    assert isinstance(answer, PlanReady)
    assert answer.host.pid == client[client.ids[0]].apply_sync(os.getpid)


def test_an_engine_with_another_version_of_ours_says_so(client: Any, content: plan.Content) -> None:
    answer = install(client, dataclasses.replace(content, output_port="new"), version="0.0.9")
    assert isinstance(answer, PlanRefused)
    assert parallelflow.__version__ in answer.reason
    assert "0.0.9" in answer.reason


def test_an_engine_that_lacks_a_package_says_which(client: Any, content: plan.Content) -> None:
    missing = needs.Package("org.example.nowhere", "nowhere", "nowhere_at_all.", "3.1")
    answer = install(client, dataclasses.replace(content, packages=[*content.packages, missing]))
    assert isinstance(answer, PlanRefused)
    assert "lacks the VisTrails package 'nowhere' (org.example.nowhere, version 3.1)" in answer.reason
    assert answer.host


def test_an_engine_with_another_version_of_a_package_says_which(client: Any, content: plan.Content) -> None:
    first, *rest = content.packages
    other = dataclasses.replace(first, version="99.0")
    answer = install(client, dataclasses.replace(content, packages=[other, *rest]))
    assert isinstance(answer, PlanRefused)
    assert "99.0" in answer.reason
    assert first.codepath in answer.reason


_LOOK = """
from pathlib import Path
from vistrails.core.packagemanager import get_package_manager
from vistrails.core.system import current_dot_vistrails
folder = Path(current_dot_vistrails())
seen = {"folder": str(folder), "made": (folder / "CLTools").is_dir(), "on": sorted(get_package_manager()._package_list)}
"""


def vistrails_packages_that_end_the_process(folder: Path) -> list[needs.Package]:
    """VisTrails packages that call sys.exit when they are imported or loaded, and one that just fails."""
    made = []
    for name, where, code in (
        ("ends_at_import", "__init__.py", "raise SystemExit(1)"),
        ("ends_at_start", "init.py", "import sys\ndef initialize():\n    sys.exit('no folder')"),
        ("raises_at_start", "init.py", "def initialize():\n    raise OSError('no folder')"),
    ):
        (folder / name).mkdir()
        for file in ("__init__.py", "init.py"):
            text = f"identifier = 'org.example.{name}'\nname = '{name}'\nversion = '1.0'\n"
            (folder / name / file).write_text(text + (code if file == where else ""))
        made.append(needs.Package(f"org.example.{name}", name, "", "1.0"))
    return made


def test_packages_that_cannot_be_enabled_do_no_harm_unless_they_are_needed(
    content: plan.Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_session: Callable[..., Session]
) -> None:
    users: needs.Environment = pickle.loads(needs.environment())
    assert "CLTools" in [package.codepath for package in users.packages]  # VisTrails' own settings have it on
    failing = vistrails_packages_that_end_the_process(tmp_path)
    environment = dataclasses.replace(
        users,
        packages=[*failing, *users.packages],
        path=[*users.path, str(tmp_path)],
        dot_vistrails="/nowhere/at/all",
    )
    monkeypatch.setattr(needs, "environment", lambda: pickle.dumps(environment))
    session = make_session(engines=1)
    client = session.client()
    assert isinstance(install(client, content), PlanReady)
    client[:].execute(_LOOK, block=True)
    (seen,) = client[:]["seen"]
    # The engine has a folder of its own, in which CLTools could make its own.
    assert Path(seen["folder"]).parent == Path(os.environ["TMPDIR"])
    assert seen["made"]
    assert set(seen["on"]) & {package.codepath for package in failing} == set()
    assert {package.codepath for package in users.packages} <= set(seen["on"])
    for package, said in zip(failing, ("SystemExit(1)", "SystemExit('no folder')", "OSError: no folder"), strict=True):
        answer = install(client, dataclasses.replace(content, packages=[*content.packages, package]))
        assert isinstance(answer, PlanRefused)
        assert f"cannot load the VisTrails package '{package.codepath}'" in answer.reason
        assert said in answer.reason
    assert isinstance(install(client, content), PlanReady)
    session.stop_started()
    assert not Path(seen["folder"]).exists()


def test_an_engine_that_does_not_see_a_file_says_which(client: Any, content: plan.Content) -> None:
    answer = install(client, dataclasses.replace(content, files=[os.getcwd(), "/nowhere/at/all.csv"]))
    assert isinstance(answer, PlanRefused)
    assert "does not see '/nowhere/at/all.csv'" in answer.reason
    assert answer.host


def test_a_plan_names_the_files_on_ports_that_are_there(client: Any, plans: list[plan.Plan], tmp_path: Path) -> None:
    preset, upstream, absent = (tmp_path / name for name in ("preset.txt", "upstream.txt", "absent.txt"))
    preset.touch()
    upstream.touch()
    ports = {"a": "File", "b": "File", "c": "File"}
    flow = Flow()
    function = flow.python(
        "o = [a.name, b.name, c.name]",
        {"i": "Variant", **ports},
        {"o": "List"},
        presets={"a": str(preset), "c": str(absent)},
    )
    flow.connect(flow.add("File", {"value": str(upstream)}), "value", function, "b")
    flow.map(function, "i", "o", "[1]")
    assert execute(flow) == [[str(preset), str(upstream), str(absent)]]
    assert sorted(plans[0].content.files) == sorted([str(preset), str(upstream)])


def test_a_refusal_fails_the_map_with_the_engine_and_its_host(
    client: Any, monkeypatch: pytest.MonkeyPatch, vistrails: Any
) -> None:
    missing = needs.Package("org.example.nowhere", "nowhere", "nowhere_at_all.", "3.1")
    monkeypatch.setattr(needs.Needed, "packages", lambda self: [missing])
    monkeypatch.setattr(configuration, "of_package", lambda codepath: {})  # there is no such package here either
    with pytest.raises(
        Exception, match=r"Engine \d+ on \S+ cannot run this Map: it lacks the VisTrails package 'nowhere'"
    ):
        execute(flow_over(3, "o = i  # refused")[0])


def test_a_chunk_of_an_unknown_plan_is_answered_by_asking_for_it(client: Any) -> None:
    answer = client[client.ids[0]].apply_sync(engine.run, "no such plan", [0], b"", "", *values.pack([1]))
    assert isinstance(answer, PlanMissing)


class Sent:
    """Counts what the client sends."""

    def __init__(self, client: Any, monkeypatch: pytest.MonkeyPatch):
        self.bytes = 0
        self.plans = 0
        send = client.session.send

        def counting(stream: Any, msg_or_type: Any, *arguments: Any, **more: Any) -> Any:
            buffers = more.get("buffers") or ()
            self.bytes += sum(memoryview(buffer).nbytes for buffer in buffers)
            return send(stream, msg_or_type, *arguments, **more)

        monkeypatch.setattr(client.session, "send", counting)
        send_message = crew.Crew.send

        def counting_plans(self_: Any, each: Any, function: Any, *arguments: Any, **more: Any) -> Any:
            self.plans += function is engine.install
            return send_message(self_, each, function, *arguments, **more)

        monkeypatch.setattr(crew.Crew, "send", counting_plans)


def test_a_large_value_on_another_port_is_sent_once_per_engine(
    client: Any, monkeypatch: pytest.MonkeyPatch, marks: Path
) -> None:
    sent = Sent(client, monkeypatch)
    flow, function = flow_over(200, together(marks, "time.sleep(0.005)\no = i + int(c[0])"), c="Variant")
    size = 10_000_000
    large = flow.python(f"import numpy\no = numpy.ones({size}, 'u1')", {}, {"o": "Variant"})
    flow.connect(large, "o", function, "c")
    assert execute(flow) == [i + 1 for i in range(200)]
    assert sent.plans == 2
    assert sent.bytes <= 1.05 * size * 2


def test_a_second_run_sends_nothing_but_elements(client: Any, monkeypatch: pytest.MonkeyPatch, marks: Path) -> None:
    source = (
        f"import os, time\nopen(os.path.join({str(marks)!r}, str(os.getpid())), 'w').close()\ntime.sleep(0.05)\no = i"
    )
    flow, _ = flow_over(8, source)
    while len(list(marks.iterdir())) < 2:  # until both engines have had some of it
        assert execute(flow) == list(range(8))
    sent = Sent(client, monkeypatch)
    assert execute(flow) == list(range(8))
    assert sent.plans == 0
    assert sent.bytes < 60_000  # on a busy machine chunks are taken back, and sent again


def test_changed_elements_do_not_change_the_plan(client: Any, plans: list[plan.Plan]) -> None:
    execute(flow_over(3)[0])
    execute(flow_over(5)[0])
    execute(flow_over(5, "o = -i")[0])
    first, second, third = (each.digest for each in plans)
    assert first == second != third


def test_arrays_in_elements_and_results_keep_their_bits(client: Any) -> None:
    flow, function = flow_over(2, "o = c * 2 if i else c")
    inner = flow.python("import numpy\no = numpy.arange(50000.) / 3", {}, {"o": "Variant"})
    flow.specs[function].inputs = {"i": "Variant", "c": "Variant"}
    flow.connect(inner, "o", function, "c")
    one, two = execute(flow)
    assert np.array_equal(one, np.arange(50000.0) / 3)
    assert np.array_equal(two, np.arange(50000.0) / 3 * 2)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder
