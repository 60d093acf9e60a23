"""Results of elements that have drawn random numbers: taken with the seed that they follow from, or not at all."""

from __future__ import annotations

import random
from pathlib import Path

import numpy
import pytest
from test_kept_truly import LONG, folder, result, run
from workflows import Flow

__all__ = ["folder"]  # a fixture

pytestmark = pytest.mark.usefixtures("parity")

# An element is some code, which notes down what it is called.
RUNS = LONG + "import os\n_t = os.open(tally, os.O_WRONLY | os.O_APPEND)\nresult = eval(value)\n"
NOTES = "os.write(_t, f'{value}\\n'.encode())\nos.close(_t)\n"

PLAIN = ["__import__('random').random()", "__import__('random').gauss(0, 1)", "__import__('random').choice('abcdefgh')"]
NUMPY = ["__import__('numpy').random.rand()", "__import__('numpy').random.standard_normal(3).tolist()"]
BOTH = [f"({PLAIN[0]}, {NUMPY[0]})"]
# A child has a copy of numpy's generator, and what it draws nobody sees.
IN_CHILDREN = [
    "__import__('multiprocessing').get_context('fork').Pool(1).map(__import__('numpy').random.standard_normal, [2])[0].tolist()",
]
OF_THE_SYSTEM = [
    "os.urandom(8)",
    "int.from_bytes(os.urandom(4), 'little')",
    "__import__('secrets').token_hex()",
    "__import__('random').SystemRandom().random()",
    "__import__('random').Random().random()",
    "__import__('random').Random(None).random()",
    "(__import__('random').seed(), __import__('random').random())",
    "(__import__('numpy').random.seed(), __import__('numpy').random.rand())",
    "__import__('numpy').random.default_rng().random()",
    "__import__('numpy').random.default_rng(seed=None).random()",
    "__import__('numpy').random.Generator(__import__('numpy').random.PCG64()).random()",
    "__import__('numpy').random.RandomState().rand()",
    "__import__('numpy').random.RandomState(5).rand()",  # it asks the system, and then does not use that
]
NOT_RANDOM = [
    "__import__('random').Random(5).random()",
    "__import__('random').Random(x=5).random()",
    "__import__('numpy').random.default_rng(5).random()",
    "__import__('numpy').random.default_rng(seed=5).random()",
    "len(str(__import__('uuid').uuid4()))",
    "__import__('pickle').loads(__import__('pickle').dumps(os.urandom)) is os.urandom",
    "bool(__import__('tempfile').mkdtemp())",
    "bool(__import__('multiprocessing').get_context('spawn').Lock())",
]


def flow(elements: list[str], depth: int) -> Flow:
    """A Map over a PythonSource in so many Groups."""
    inner = Flow()
    ports = {"value": "Variant", "tally": "String"}
    number = inner.python(RUNS + NOTES, ports, {"result": "Variant"}, presets={"tally": ""} if not depth else {})
    for level in range(depth):
        inner.inputs.update(value=(number, "value"), tally=(number, "tally"))
        inner.outputs["result"] = (number, "result")
        outer = Flow()
        number = outer.group(inner, {"tally": ""} if level == depth - 1 else {})
        inner = outer
    inner.map(number, "value", "result", repr(elements))
    inner.specs[-1].presets.append(("KeepResults", "all"))
    return inner


def seed(plain: int, own: int) -> None:
    random.seed(plain)
    numpy.random.seed(own)


@pytest.mark.parametrize("depth", [0, 2])
def test_what_is_drawn_is_taken_with_the_same_seed_of_the_generator_that_it_is_from(depth: int) -> None:
    elements = [*PLAIN, *NUMPY, *BOTH, *IN_CHILDREN, *OF_THE_SYSTEM, *NOT_RANDOM]
    made = flow(elements, depth)
    seed(1, 1)
    first = run(made)
    given = dict(zip(elements, result(first), strict=True))
    assert set(first.tallies) == set(elements)

    def then_run(plain: int, own: int) -> set[str]:
        seed(plain, own)
        seen = run(made)
        taken = {each: value for each, value in zip(elements, result(seen), strict=True) if each not in seen.tallies}
        assert taken == {each: given[each] for each in taken}
        return set(seen.tallies)

    assert then_run(1, 1) == set(OF_THE_SYSTEM)
    assert then_run(2, 1) == {*PLAIN, *BOTH, *IN_CHILDREN, *OF_THE_SYSTEM}
    assert then_run(1, 3) == {*NUMPY, *BOTH, *IN_CHILDREN, *OF_THE_SYSTEM}


def test_what_an_element_in_a_group_has_drawn_that_was_suspended_is_not_taken_for_anothers(tmp_path: Path) -> None:
    (waits := tmp_path / "waits").touch()
    inner = Flow()
    first = inner.python("cache_this()\nimport random\nresult = random.random()", {}, {"result": "Variant"})
    code = (
        f"{LONG}import os\nfrom vistrails.core.modules.vistrails_module import ModuleSuspended\n"
        f"if value < 3 and os.path.exists({str(waits)!r}): raise ModuleSuspended(self, 'waits', handle=object)\n"
        "result = drawn"
    )
    second = inner.python(code, {"value": "Variant", "drawn": "Variant"}, {"result": "Variant"})
    inner.connect(first, "result", second, "drawn")
    inner.inputs["value"], inner.outputs["result"] = (second, "value"), (second, "result")
    made = Flow()
    made.map(made.group(inner), "value", "result", repr(list(range(9))))
    made.specs[-1].presets.append(("KeepResults", "all"))
    seed(1, 1)
    assert run(made).suspended
    waits.unlink()
    seed(2, 2)
    drawn = result(run(made))
    assert len(set(drawn)) == 9
    seed(1, 1)
    numbers = result(run(made))
    assert not set(drawn) & set(numbers)
    seed(2, 2)
    assert result(run(made)) == drawn
