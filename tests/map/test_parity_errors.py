"""What fails or waits does so as in the serial Map: which module carries it, its message, what else runs, what is logged."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import until
from parity import Seen, Stage, assert_same, both, differences, same_tallies
from workflows import CONTROL, Flow

pytestmark = pytest.mark.usefixtures("parity")


def _failing(elements: list[str], output: str = "value", tally: bool = False) -> Flow:
    flow = Flow()
    fails = flow.parity("Fails", {"tally": "?"} if tally else {})
    mapped = flow.map(fails, "value", output, repr(elements))
    flow.connect(mapped, "Result", flow.parity("Holds"), "list")
    return flow


def _message(seen: Seen) -> str:
    ((_, _, message),) = seen.errors.values()
    return message


# ---------------------------------------------------------------- elements that fail

HOWS = [
    "module error",
    "module errors",
    "abort",
    "trace",
    "exception",
    "empty",
    "awkward",
    "lock in message",
    "assert",
    "deep",
    "interrupt",
    "stop iteration",
]


@pytest.mark.parametrize("how", HOWS)
def test_an_element_that_fails(how: str) -> None:
    serial, ours = assert_same(_failing(["fine", how, "fine", "also"]), "logged", "plain", fails=True)
    lines = _message(ours).removeprefix(_message(serial)).split("\n")
    if how != "module errors":
        assert lines[0] == ""
        assert f"element 1 ('{how}')" in lines[1]
        assert "engine " in lines[1]
        assert socket.gethostname() in lines[1]


@pytest.mark.parametrize("how", ["module error", "exception"])
def test_the_trace_leads_to_the_line_that_failed(how: str) -> None:
    for seen in both(_failing([how])):
        assert seen.log is not None
        (failed,) = [each for each in seen.log.find("module") if each.name == "Fails"]
        (trace,) = [value for key, value in failed.annotations if key == "errorTrace"]
        assert "userpackages/parity_package/init.py" in trace
        assert "in compute" in trace


def test_exit_ends_the_map_with_an_error_not_vistrails() -> None:
    """With the serial Map it ends VisTrails; see docs/differences.rst."""
    serial, ours = both(_failing(["fine", "exit", "fine"]))
    assert serial.raised == ("SystemExit", "3")
    assert ours.raised is None
    ((carrier, kind, message),) = ours.errors.values()
    assert (carrier, kind) == ("a copy, Fails", "ModuleError")
    assert message.startswith("SystemExit: 3\n")
    assert "element 1 ('exit')" in message
    # The engine that it happened on goes on.
    again, ours = both(_failing(["fine"] * 20))
    assert not differences(again, ours)


@pytest.mark.parametrize("elements", [["exception"], ["fine", "exception"], ["exception", "exception"]])
def test_the_first_element_that_fails_is_the_one_reported(elements: list[str]) -> None:
    assert_same(_failing(elements), fails=True)


def test_of_many_that_fail_the_first_is_reported_however_they_are_shared_out() -> None:
    elements = ["slow" if i % 3 else "fine" for i in range(30)] + ["exception", "module error"] * 10
    _, ours = assert_same(_failing(elements), "logged", fails=True)
    assert "element 30 ('exception')" in _message(ours)


def test_elements_before_the_one_that_failed_are_all_in_the_log() -> None:
    _, ours = assert_same(_failing(["slow"] * 12 + ["exception"] + ["fine"] * 12), "logged", fails=True)
    assert ours.log is not None
    iterations = ours.log.find("iteration")
    assert [each.number for each in iterations][:13] == list(range(13))
    assert [each.completed for each in iterations[:13]] == [1] * 12 + [None]


def test_an_element_that_fails_does_not_take_those_beside_it_out_of_the_log() -> None:
    elements = ["fine"] * 200 + ["exception"]
    _, ours = assert_same(_failing(elements), "logged", fails=True)
    assert ours.log is not None
    assert [each.number for each in ours.log.find("iteration")] == list(range(201))


@pytest.mark.parametrize("how", ["exception", "module error", "awkward"])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", ["group", "subworkflow"])
def test_an_element_that_fails_inside_a_group(how: str, depth: int, kind: str) -> None:
    inner = Flow()
    fails = inner.parity("Fails")
    inner.inputs, inner.outputs = {"in": (fails, "value")}, {"out": (fails, "value")}
    for level in range(1, depth):
        outer = Flow()
        made = outer.group(inner) if kind == "group" else outer.subworkflow(f"fails{level}", inner)
        outer.inputs, outer.outputs = {"in": (made, "in")}, {"out": (made, "out")}
        inner = outer
    flow = Flow()
    made = flow.group(inner) if kind == "group" else flow.subworkflow(f"failing{depth}", inner)
    flow.map(made, "in", "out", f"['fine', '{how}', 'fine']")
    assert_same(flow, "logged", "plain", fails=True)


def test_two_modules_in_a_group_fail() -> None:
    inner = Flow()
    first, second = inner.parity("Fails"), inner.parity("Fails")
    inner.inputs = {"a": (first, "value"), "b": (second, "value")}
    inner.outputs = {"out": (first, "value"), "out2": (second, "value")}
    flow = Flow()
    flow.map(flow.group(inner), ["a", "b"], "out", "[('fine', 'fine'), ('module error', 'exception')]")
    assert_same(flow, fails=True)


def test_the_second_of_two_functions_fails() -> None:
    flow = Flow()
    first, second = flow.parity("Counts", {"tally": "?"}), flow.parity("Fails")
    flow.map([first, second], "value", "value", "['fine', 'exception', 'fine']")
    assert_same(flow, fails=True)


def test_the_first_of_two_functions_fails() -> None:
    flow = Flow()
    first, second = flow.parity("Fails"), flow.parity("Counts", {"tally": "?"})
    flow.map([first, second], "value", "value", "['fine', 'exception', 'fine']")
    assert_same(flow, fails=True)


def test_fail_in_python_source() -> None:
    flow = Flow()
    source = flow.python("if i > 1:\n    fail('too large: %d' % i)\no = i", {"i": "Integer"}, {"o": "Integer"})
    flow.map(source, "i", "o", "[1, 2, 3]")
    assert_same(flow, fails=True)


@pytest.mark.parametrize(
    "code",
    ["o = 1 / 0", "o = undefined", "import no_such_module", "o = (", "raise SystemError('x')", "assert i > 5, 'small'"],
)
def test_python_source_that_fails(code: str) -> None:
    flow = Flow()
    flow.map(flow.python(code, {"i": "Integer"}, {"o": "Variant"}), "i", "o", "[1, 2]")
    assert_same(flow, fails=True)


def test_an_element_of_an_inner_map_that_fails() -> None:
    flow = Flow()
    inner = flow.map(flow.parity("Fails"), "value", "value")
    flow.map(inner, "InputList", "Result", "[['fine'], ['fine', 'exception'], ['fine']]")
    assert_same(flow, fails=True)


# ---------------------------------------------------------------- ports that do not fit


def test_an_output_port_that_is_not_there() -> None:
    assert_same(_failing(["fine", "fine"], "nowhere"), "logged", "plain", fails=True)


def test_an_output_that_is_declared_but_not_set() -> None:
    assert_same(_failing(["fine", "fine"], "unset"), fails=True)


@pytest.fixture(params=[False, True], ids=["lenient", "strict"])
def strict(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether VisTrails checks the types of values on ports, which it does not by itself."""
    from vistrails.core.configuration import get_vistrails_configuration

    settings = get_vistrails_configuration()
    settings.showConnectionErrors = request.param
    yield request.param
    settings.showConnectionErrors = False


@pytest.mark.parametrize("elements", ["['a']", "[1.5, 'a']", "[None]", "[[1]]", "[(1, 2)]", "[True]", str([2**70])])
@pytest.mark.parametrize("kind", ["Integer", "Float", "String", "Boolean", "List", "String,Integer"])
def test_elements_of_another_type_than_the_port(elements: str, kind: str, strict: bool) -> None:
    flow = Flow()
    flow.map(flow.python("o = i", {"i": kind}, {"o": "Variant"}), "i", "o", elements)
    assert_same(flow, "plain", fails=None)


def test_the_first_element_of_a_wrong_type_is_named(strict: bool) -> None:
    flow = Flow()
    flow.map(flow.python("o = i", {"i": "Integer"}, {"o": "Variant"}), "i", "o", "[1, 2, 'x', 'y']")
    _, ours = assert_same(flow, fails=strict)
    if strict:
        assert "element 2 ('x')" in _message(ours)


@pytest.mark.parametrize(
    ("output", "code", "port"),
    [("[[Variant]]", "o = 5", "table"), ("Float", "o = 'abc'", "number"), ("Variant", "o = 'abc'", "number")],
)
def test_a_value_of_another_type_from_upstream_is_the_upstream_modules_error(
    output: str, code: str, port: str, strict: bool
) -> None:
    flow = Flow()
    source, echo = flow.python(code, {}, {"o": output}), flow.parity("Echo")
    flow.connect(source, "o", echo, port)
    flow.map(echo, "value", "all", "[1, 2]")
    serial, _ = assert_same(flow, fails=None)
    assert (source in serial.errors) == (output == "[[Variant]]" or (strict and output == "Float"))


@pytest.mark.parametrize("elements", ["[(1,)]", "[(1, 2), (1, 2, 3)]", "[[]]"])
def test_elements_of_another_length_than_the_ports(elements: str) -> None:
    flow = Flow()
    source = flow.python("o = i", {"i": "Integer", "j": "Integer"}, {"o": "Variant"})
    flow.map(source, ["i", "j"], "o", elements)
    assert_same(flow, "logged", "plain", fails=True)


def _without(flow: Flow, number: int, port: str) -> Flow:
    flow.specs[number].presets = [each for each in flow.specs[number].presets if each[0] != port]
    return flow


@pytest.mark.parametrize("port", ["InputPort", "OutputPort", "InputList"])
def test_an_input_of_the_map_that_is_not_set(port: str) -> None:
    flow = Flow()
    mapped = flow.map(flow.parity("Echo"), "value", "value", "[1]")
    assert_same(_without(flow, mapped, port), fails=True)


def _sentences(flow: Flow) -> tuple[Seen, Seen]:
    """Run what fails with a bare Python exception in the serial Map; ours says what to do, and the rest is the same."""
    serial, ours = both(flow)
    (number,) = serial.errors
    assert serial.errors[number][2].startswith("Uncaught exception")
    assert ours.errors[number][:2] == serial.errors[number][:2]
    found = differences(serial, ours)
    assert all("message" in each or "error " in each for each in found), found
    return serial, ours


def test_nothing_on_function_port() -> None:
    flow = Flow()
    flow.map([], "value", "value", "[1]")
    _, ours = _sentences(flow)
    assert "connect the module's 'self' output" in _message(ours)


def test_an_input_port_that_is_not_there() -> None:
    flow = Flow()
    flow.map(flow.parity("Echo"), "nowhere", "value", "[1]")
    _, ours = _sentences(flow)
    assert "'nowhere'" in _message(ours)


@pytest.mark.parametrize("elements", ["[(), ()]", "[]"])
def test_no_input_ports_at_all(elements: str) -> None:
    flow = Flow()
    flow.map(flow.parity("Counts", {"text": "x", "tally": "?"}), [], "value", elements)
    assert_same(flow)


def test_no_input_ports_for_elements_that_have_values() -> None:
    flow = Flow()
    flow.map(flow.parity("Counts", {"text": "x", "tally": "?"}), [], "value", "[1]")
    _, ours = _sentences(flow)
    assert "InputPort names no port" in _message(ours)


# ---------------------------------------------------------------- around it


def test_something_upstream_of_the_list_fails() -> None:
    flow = Flow()
    fails = flow.python("fail('upstream')", {}, {"o": "List"})
    flow.map(flow.parity("Echo"), "value", "value", (fails, "o"))
    assert_same(flow, fails=True)


def test_something_upstream_of_another_port_fails() -> None:
    flow = Flow()
    fails = flow.python("fail('upstream')", {}, {"o": "Variant"})
    echo = flow.parity("Echo")
    flow.connect(fails, "o", echo, "other")
    flow.map(echo, "value", "value", "[1]")
    assert_same(flow, "logged", "plain", fails=True)


@pytest.mark.parametrize("stop_on_error", [True, False])
def test_other_sinks_when_an_element_fails(stop_on_error: bool) -> None:
    flow = Flow()
    flow.parity("Counts", {"text": "before", "tally": "?"})
    flow.map(flow.parity("Fails"), "value", "value", "['exception']")
    flow.parity("Counts", {"text": "after", "tally": "?"})
    flow.map(flow.parity("Fails"), "value", "value", "['module error']")
    assert_same(flow, fails=True, stop_on_error=stop_on_error)


def test_other_sinks_when_an_element_aborts() -> None:
    flow = Flow()
    flow.parity("Counts", {"text": "before", "tally": "?"})
    flow.map(flow.parity("Fails"), "value", "value", "['abort']")
    flow.parity("Counts", {"text": "after", "tally": "?"})
    assert_same(flow, fails=True, stop_on_error=False)


def test_the_mapped_module_fails_elsewhere_too() -> None:
    flow = Flow()
    fails = flow.parity("Fails", {"value": "exception"})
    flow.connect(fails, "value", flow.parity("Holds"), "value")
    flow.map(fails, "value", "value", "['fine']")
    assert_same(flow, fails=True, stop_on_error=False)


def test_two_maps_of_one_module_that_fails() -> None:
    flow = Flow()
    fails = flow.parity("Fails")
    flow.map(fails, "value", "value", "['exception']")
    flow.map(fails, "value", "value", "['fine']")
    assert_same(flow, fails=True, stop_on_error=False)


def test_a_constant_in_a_group_that_cannot_be_read() -> None:
    inner = Flow()
    echo = inner.parity("Echo", {"whole": "not a number"})
    inner.inputs, inner.outputs = {"in": (echo, "value")}, {"out": (echo, "value")}
    flow = Flow()
    flow.map(flow.group(inner), "in", "out", "[1, 2]")
    assert_same(flow, "logged", "plain", fails=True)


def test_a_module_missing_an_input() -> None:
    flow = Flow()
    flow.map(flow.parity("Changes"), "other", "value", "[1, 2]")
    assert_same(flow, fails=True)


@pytest.mark.parametrize("inside", [False, True])
def test_a_breakpoint_stops_at_the_mapped_module(inside: bool) -> None:
    flow, inner = Flow(), Flow()
    target = inner if inside else flow
    echo = target.parity("Echo")
    inner.inputs, inner.outputs = {"in": (0, "value")}, {"out": (0, "value")}
    mapped = (
        flow.map(flow.group(inner), "in", "out", "[1, 2]") if inside else flow.map(echo, "value", "value", "[1, 2]")
    )

    def run(side: str) -> Seen:
        stage = Stage(side)
        pipeline = stage._pipeline(flow)
        where = pipeline.modules[flow.connections[0][0]].pipeline if inside else pipeline
        where.modules[0].toggle_breakpoint()
        stage._pipeline = lambda _: pipeline  # type: ignore[method-assign]
        return stage.run(flow)

    serial, ours = run("serial"), run("ours")
    del mapped
    found = differences(serial, ours)
    assert not found, found


# ---------------------------------------------------------------- suspended modules


def _suspending(elements: str, *, grouped: int = 0) -> Flow:
    flow = Flow()
    suspends = Flow()
    inside = suspends.parity("Suspends", {"tally": "?"})
    suspends.inputs, suspends.outputs = {"value": (inside, "value")}, {"value": (inside, "value")}
    for _ in range(1, grouped):
        outer = Flow()
        number = outer.group(suspends)
        outer.inputs, outer.outputs = {"value": (number, "value")}, {"value": (number, "value")}
        suspends = outer
    function = flow.group(suspends) if grouped else flow.parity("Suspends", {"tally": "?"})
    mapped = flow.map(function, "value", "value", elements)
    flow.connect(mapped, "Result", flow.parity("Holds"), "list")
    flow.parity("Counts", {"text": "aside", "tally": "?"})
    return flow


@pytest.mark.parametrize("grouped", [0, 1, 2])
@pytest.mark.parametrize("elements", ["[1]", "[2, 1, 4, 3, 6]", "[2, 4]"])
def test_elements_that_are_suspended(elements: str, grouped: int) -> None:
    # In a Group the serial Map gives all elements the same job; see docs/differences.rst.
    but = ["jobs"] if grouped == 1 else []
    serial, ours = assert_same(_suspending(elements, grouped=grouped), "logged", "controller", but=but)
    assert bool(serial.suspended) == bool(ours.suspended) == ("1" in elements)
    assert same_tallies(serial, ours)


def test_suspended_elements_without_a_job_monitor() -> None:
    assert_same(_suspending("[2, 1, 4]"), "plain", fails=None)


def test_a_suspended_element_and_one_that_fails() -> None:
    flow = Flow()
    source = flow.python(
        "from userpackages.parity_package.init import Handle\n"
        "from vistrails.core.modules.vistrails_module import ModuleSuspended\n"
        "if i == 1:\n    raise ModuleSuspended(self, 'waits', handle=Handle(i))\n"
        "if i == 3:\n    fail('three')\n"
        "o = i",
        {"i": "Integer"},
        {"o": "Integer"},
    )
    flow.map(source, "i", "o", "[0, 1, 2, 3, 4]")
    # The serial Map leaves the suspended element's execution without an end.
    assert_same(flow, "logged", fails=True, but=["log, /workflow None/module Map/loop None/iteration 1/"])


def test_one_of_two_functions_is_suspended() -> None:
    flow = Flow()
    first, second = flow.parity("Suspends", {"tally": "?"}), flow.parity("Counts", {"tally": "?"})
    flow.map([first, second], "value", "value", "[1, 2, 3]")
    flow.map([second, first], "value", "value", "[2, 3]")
    assert_same(flow, "logged")


def test_something_upstream_of_another_port_is_suspended() -> None:
    flow = Flow()
    suspends = flow.parity("Suspends", {"value": "1"})
    echo = flow.parity("Echo")
    flow.connect(suspends, "value", echo, "other")
    flow.map(echo, "value", "value", "[1]")
    assert_same(flow, "logged")


def test_an_inner_map_is_suspended() -> None:
    flow = Flow()
    inner = flow.map(flow.parity("Suspends"), "value", "value")
    flow.map(inner, "InputList", "Result", "[[2], [1, 2], [4]]")
    assert_same(flow, "logged")


def test_a_suspended_branch() -> None:
    flow = Flow()
    choice = flow.add("If", {"TrueOutputPorts": "['value']", "FalseOutputPorts": "['value']"}, package=CONTROL)
    flow.connect(flow.parity("Suspends", {"value": "1"}), "self", choice, "TruePort")
    flow.connect(flow.parity("Suspends", {"value": "2"}), "self", choice, "FalsePort")
    flow.map(choice, "Condition", "Result", "[True]")
    assert_same(flow, "logged", but=["outputs of module"])


# ---------------------------------------------------------------- jobs


@pytest.fixture
def jobs_suspend() -> Iterator[None]:
    """VisTrails suspends modules whose jobs run, rather than waiting for them, as it does in batch mode if not told otherwise."""
    from vistrails.core.configuration import get_vistrails_configuration

    settings = get_vistrails_configuration()
    settings.jobAutorun = True
    yield
    settings.jobAutorun = False


def _submitting(folder: Path, elements: str, grouped: bool) -> Flow:
    flow, inner = Flow(), Flow()
    (inner if grouped else flow).parity("Job", {"folder": str(folder), "tally": "?"})
    inner.inputs, inner.outputs = {"value": (0, "value")}, {"value": (0, "value")}
    function = flow.group(inner) if grouped else 0
    mapped = flow.map(function, "value", "value", elements)
    flow.connect(mapped, "Result", flow.parity("Holds"), "list")
    return flow


@pytest.mark.usefixtures("jobs_suspend")
@pytest.mark.parametrize("grouped", [False, True])
def test_jobs_are_submitted_once_looked_after_and_fetched(grouped: bool, tmp_path: Path) -> None:
    flow = _submitting(tmp_path, "[1, 2, 3]", grouped)
    stages = [Stage("ours")] if grouped else [Stage("serial"), Stage("ours")]
    finished = [[], [2], [1, 3], []]
    notes = [Counter(read=3, start=3), Counter(finish=1), Counter(finish=2), Counter()]
    for done in (tmp_path / f"done{i}" for i in (1, 2, 3)):
        assert not done.exists()
    for step, (numbers, expected) in enumerate(zip(finished, notes, strict=True)):
        for number in numbers:
            (tmp_path / f"done{number}").write_text("")
        *serial, ours = [stage.run(flow) for stage in stages]
        # Inside a Group the serial Map gives all elements the same job; see docs/differences.rst.
        found = [] if grouped else differences(serial[0], ours)
        assert not found, f"step {step}: {found}"
        assert ours.tallies == expected
        assert bool(ours.suspended) == (step < 2)
    assert ours.outputs[0 if grouped else 1] is not None
    assert [job[2] for job in ours.jobs] == [True] * 3
    assert sorted(job[1]["result"] for job in ours.jobs) == [10, 20, 30]


def _finish_when_asked(path: Path) -> None:
    until(Path(f"{path}.asked").exists)  # so that the first look has found it running
    path.write_text("")


def test_without_a_window_vistrails_waits_for_jobs(tmp_path: Path) -> None:
    from vistrails.core.configuration import get_vistrails_configuration

    settings = get_vistrails_configuration()
    before, settings.jobCheckInterval = settings.jobCheckInterval, 2
    try:
        for side in ("serial", "ours"):
            (tmp_path / side).mkdir()
            finisher = threading.Thread(target=_finish_when_asked, args=[tmp_path / side / "done5"])
            finisher.start()
            seen = Stage(side).run(_submitting(tmp_path / side, "[5]", False))
            finisher.join()
            assert seen.outputs[1] == {"Result": [50]}
            assert {*seen.printed.splitlines()} == {"Waiting for job: job,press Ctrl+C to suspend"}
    finally:
        settings.jobCheckInterval = before


def test_outputs_kept_by_job_cache() -> None:
    def flow(elements: str) -> Flow:
        made = Flow()
        source = made.python("o = i * 10", {"i": "Integer"}, {"o": "Integer"}, control={"job_cache": "true"})
        made.map(source, "i", "o", elements)
        return made

    stages = Stage("serial"), Stage("ours")
    for elements in ("[1, 2]", "[1, 2]"):
        serial, ours = (stage.run(flow(elements)) for stage in stages)
        # Whether a module was taken from the job monitor's cache is not told to VisTrails' window.
        found = [each for each in differences(serial, ours) if not each.startswith(("executed of", "view of"))]
        assert not found, found


def test_a_job_that_is_watched_from_a_window() -> None:
    """VisTrails' window polls the handles, so they must be the engine's, whole."""
    flow = _suspending("[1, 3]")
    stage = Stage("ours")
    seen = stage.run(flow)
    children: Any = seen.suspended[1][-1]
    assert [child[3].number for child in children] == [1, 3]
    assert not any(child[3].finished() for child in children)


def test_a_handle_that_cannot_leave_its_engine_asks_for_another_run() -> None:
    flow = Flow()
    source = flow.python(
        "import threading\nfrom vistrails.core.modules.vistrails_module import ModuleSuspended\n"
        "raise ModuleSuspended(self, 'waits', handle=threading.Lock())",
        {"i": "Integer"},
        {"o": "Integer"},
    )
    mapped = flow.map(source, "i", "o", "[1]")
    seen = Stage("ours").run(flow)
    assert seen.errors == {}
    (child,) = seen.suspended[mapped][-1]
    assert child[3].finished() is True
