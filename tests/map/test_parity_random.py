"""Random numbers: reproducible where the workflow seeds the generators, and never the same by accident."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import pytest
from parity import Stage
from workflows import Flow

from parallelflow.map import chunks, seeds

pytestmark = pytest.mark.usefixtures("parity")

NUMBERS = (
    "import random, numpy.random\no = (i, random.random(), float(numpy.random.rand()), float(numpy.random.randn()))"
)
SEEDS = "import random, numpy.random\nrandom.seed({0})\nnumpy.random.seed({0})\n"


def _upstream(flow: Flow, seed: int | None, elements: int, source: str = NUMBERS) -> int:
    """A list whose maker seeds the generators, and a Map over it; returns the Map's number."""
    code = "" if seed is None else SEEDS.format(seed)
    maker = flow.python(f"{code}o = list(range({elements}))", {}, {"o": "List"}, cached=False)
    return flow.map(flow.python(source, {"i": "Integer"}, {"o": "Variant"}), "i", "o", (maker, "o"))


def _result(flow: Flow, mapped: int, stage: Stage | None = None) -> list[Any]:
    seen = (stage or Stage("ours", "plain")).run(flow)
    assert not seen.errors, seen.errors
    result: list[Any] = seen.outputs[mapped]["Result"]
    return result


def _one(seed: int | None, elements: int = 100, source: str = NUMBERS) -> list[Any]:
    flow = Flow()
    return _result(flow, _upstream(flow, seed, elements, source))


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has chunks hold so many elements."""

    usual = chunks.ChunkPolicy.next_size

    def fix(size: int) -> None:
        def next_size(self: Any, engines: int, most: int = size) -> int:
            monkeypatch.setattr(chunks, "FIRST_CHUNK", min(size, most))
            self._cost = None
            return usual(self, engines, most)

        monkeypatch.setattr(chunks.ChunkPolicy, "next_size", next_size)

    return fix


def test_a_seed_upstream_gives_the_same_numbers_whatever_the_chunks(sizes: Callable[[int], None]) -> None:
    expected = _one(1)
    assert _one(1) == expected
    assert _one(2) != expected
    sizes(7)
    assert _one(1) == expected
    for place in zip(*expected, strict=True):
        assert len(set(place)) == 100  # each element has numbers of its own


def test_one_engine_gives_the_same_numbers_as_two(on_shared_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _one(1, 20)
    client = on_shared_cluster.client()
    usual = client.load_balanced_view
    monkeypatch.setattr(client, "load_balanced_view", lambda: usual(client.ids[:1]))
    assert _one(1, 20) == expected


def test_without_a_seed_each_run_has_numbers_of_its_own() -> None:
    assert not set(_one(None)[0][1:]).intersection(_one(None)[0][1:])


def test_two_maps_after_one_seed_differ_and_the_workflow_is_reproducible() -> None:
    def both() -> list[list[Any]]:
        flow = Flow()
        first = _upstream(flow, 5, 10)
        again = flow.python("o = list(range(len(i)))", {"i": "List"}, {"o": "List"}, cached=False)
        flow.connect(first, "Result", again, "i")
        second = flow.map(flow.python(NUMBERS, {"i": "Integer"}, {"o": "Variant"}), "i", "o", (again, "o"))
        seen = Stage("ours", "plain").run(flow)
        return [seen.outputs[mapped]["Result"] for mapped in (first, second)]

    first, second = both()
    assert not {number for each in first for number in each[1:]} & {number for each in second for number in each[1:]}
    assert both() == [first, second]


def test_whether_numpy_has_been_loaded_changes_nothing_for_later_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    def later() -> int:
        random.seed(5)
        with seeds.drawn():
            pass
        with seeds.drawn() as drawn:
            return drawn.plain

    state = random.getstate()
    try:
        expected = later()
        monkeypatch.delitem(sys.modules, "numpy.random")
        assert later() == expected
    finally:
        random.setstate(state)


DRAWING = {
    "sklearn": "import numpy, sklearn.cluster, sklearn.model_selection as s\nx = numpy.arange(60.).reshape(30, 2) % 7\n"
    "a, b = s.train_test_split(x)\no = a.tolist(), sklearn.cluster.KMeans(3, n_init=1, init='random').fit(x).labels_.tolist()",
    "scipy": "import scipy.stats\no = float(scipy.stats.norm.rvs())",
    "thread": "import random, threading\nr = []\nt = threading.Thread(target=lambda: r.append(random.random()))\n"
    "t.start(); t.join(); o = r[0]",
    "child": "import multiprocessing, random\nwith multiprocessing.get_context('fork').Pool(1) as p:\n"
    "    o = p.apply(random.random)",
    "shuffle": "import random\no = list(range(20)); random.shuffle(o)",
}


def test_whatever_draws_in_an_element_is_reproducible_on_one_engine_and_three(
    on_shared_cluster: Any, sizes: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = f"codes = {list(DRAWING.values())!r}\n"
    source = f"{codes}n = {{}}\nexec(codes[i % len(codes)], n)\no = n['o']"
    expected = _one(1, 10, source)
    assert len({str(each) for each in expected}) == 10
    on_shared_cluster.start_engines(1)
    client = on_shared_cluster.client()
    try:
        usual = client.load_balanced_view
        for engines, size in ((client.ids[:1], 3), (client.ids, 1)):
            sizes(size)
            with monkeypatch.context() as meanwhile:
                meanwhile.setattr(client, "load_balanced_view", lambda ids=engines: usual(ids))
                assert _one(1, 10, source) == expected, (engines, size)
    finally:
        on_shared_cluster.stop_engines(client.ids[2:])


def test_what_comes_after_the_map_is_reproducible() -> None:
    flow = Flow()
    mapped = _upstream(flow, 5, 10)
    after = flow.python(NUMBERS.replace("(i", "(0"), {"i": "List"}, {"o": "Variant"}, cached=False)
    flow.connect(mapped, "Result", after, "i")
    numbers = [Stage("ours", "plain").run(flow).outputs[after]["o"] for _ in range(2)]
    assert numbers[0] == numbers[1]


def test_elements_that_seed_themselves_have_the_serial_maps_numbers_and_later_ones_do_not_repeat_them() -> None:
    source = SEEDS.format(1) + NUMBERS
    flow = Flow()
    mapped = _upstream(flow, None, 20, source)
    ours, serial = (_result(flow, mapped, Stage(side, "plain")) for side in ("ours", "serial"))
    assert ours == serial
    later = _one(None, 40)
    for place in zip(*later, strict=True):
        assert len(set(place)) == 40
    assert not set(later[0][1:]) & {number for each in ours for number in each[1:]}


def test_a_map_inside_a_mapped_map_is_reproducible() -> None:
    def nested() -> list[Any]:
        flow = Flow()
        maker = flow.python(f"{SEEDS.format(3)}o = [[1, 2], [3], [4, 5]]", {}, {"o": "List"}, cached=False)
        inner = flow.map(flow.python(NUMBERS, {"i": "Integer"}, {"o": "Variant"}), "i", "o")
        return _result(flow, flow.map(inner, "InputList", "Result", (maker, "o")))

    numbers = nested()
    assert nested() == numbers
    assert len({each[1] for part in numbers for each in part}) == 5


def test_several_modules_of_one_element_have_numbers_that_differ() -> None:
    inner = Flow()
    one, two = (inner.python(NUMBERS, {"i": "Integer"}, {"o": "Variant"}) for _ in range(2))
    both = inner.python("o = (a, b)", {"a": "Variant", "b": "Variant"}, {"o": "Variant"})
    inner.connect(one, "o", both, "a")
    inner.connect(two, "o", both, "b")
    inner.inputs, inner.outputs = {"in": (one, "i"), "other": (two, "i")}, {"out": (both, "o")}
    flow = Flow()
    maker = flow.python(f"{SEEDS.format(3)}o = [(1, 1), (2, 2)]", {}, {"o": "List"}, cached=False)
    mapped = flow.map(flow.group(inner), ["in", "other"], "out", (maker, "o"))
    numbers = _result(flow, mapped)
    assert len({number for pair in numbers for each in pair for number in each[1:]}) == 12


def test_seeds_spawned_upstream_give_the_serial_maps_numbers() -> None:
    flow = Flow()
    maker = flow.python(
        "import numpy\no = numpy.random.SeedSequence(5).spawn(20)\no = [*o, *map(numpy.random.default_rng, range(20))]",
        {},
        {"o": "List"},
    )
    source = flow.python("import numpy\no = numpy.random.default_rng(i).random()", {"i": "Variant"}, {"o": "Float"})
    mapped = flow.map(source, "i", "o", (maker, "o"))
    ours, serial = (_result(flow, mapped, Stage(side, "plain")) for side in ("ours", "serial"))
    assert ours == serial
    assert len(set(ours)) == 40
