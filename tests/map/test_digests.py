"""Digests of values: the same for equal ones, in any process, and never for others."""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import itertools
import os
import pickle
import subprocess
import sys
import types
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelflow.map import digests
from parallelflow.map.digests import Digester
from parallelflow.map.hashing import PIECE, Unknown


def digest(value: Any) -> bytes:
    return Digester().digest(value)


class Point(NamedTuple):
    x: int
    y: int


class Other(NamedTuple):
    x: int
    y: int


class Whole(int):
    pass


class Text(str):
    pass


class Items(list):  # type: ignore[type-arg]
    pass


@dataclasses.dataclass
class Data:
    a: int
    b: object = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: int


class Slots:
    __slots__ = ("a",)

    def __init__(self, a: int):
        self.a = a


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Number(enum.IntEnum):
    RED = 1


NAN = float("nan")
OTHER_NAN = numpy.frombuffer(b"\x01\x00\x00\x00\x00\x00\xf8\x7f", "<f8")[0].item()


def of_each_kind() -> list[Any]:
    """Values that are all different from each other, though many compare as equal, or lie in memory as the same bytes."""
    a = numpy.arange(6, dtype="<i4")
    with_metadata = numpy.zeros(2, numpy.dtype("f8", metadata={"unit": "m"}))
    aligned = numpy.dtype([("a", "i1"), ("b", "i4")], align=True)
    read_only = numpy.arange(6, dtype="<i4")
    read_only.flags.writeable = False
    shared: list[int] = []
    recursive: list[Any] = []
    recursive.append(recursive)
    deeper: list[Any] = [[]]
    deeper[0].append(deeper)
    return [
        *(
            None,
            True,
            False,
            1,
            0,
            -1,
            2**64,
            -(2**64),
            1.0,
            0.0,
            -0.0,
            NAN,
            OTHER_NAN,
            float("inf"),
            1j,
            -0j,
            complex(0, -0.0),
        ),
        *("1", b"1", bytearray(b"1"), "", b"", bytearray(), (), [], {}, set(), frozenset(), ..., NotImplemented),
        *(
            (1, 2),
            [1, 2],
            {1, 2},
            frozenset({1, 2}),
            {1: 2},
            {2: 1},
            (1, (2,)),
            ((1, 2),),
            ((1,), 2),
            [[1], 2],
            [[1, 2]],
            [1, [2]],
        ),
        *(["a", "b"], ["ab"], ["a", "b", ""], ("a", b"b"), "\ud800", "é", "e\u0301"),
        *(
            Point(1, 2),
            Other(1, 2),
            Whole(1),
            Text("1"),
            Items([1, 2]),
            Data(1),
            Data(1, 2),
            Frozen(1),
            Slots(1),
            Slots(2),
        ),
        *(
            Color.RED,
            Color.BLUE,
            Number.RED,
            Color,
            Point,
            int,
            len,
            os.path.join,
            functools.partial(os.path.join, "a"),
        ),
        *(
            decimal.Decimal("1"),
            decimal.Decimal("1.0"),
            fractions.Fraction(1),
            uuid.UUID(int=1),
            range(2),
            range(0, 2, 3),
        ),
        *(
            datetime.date(2020, 1, 1),
            datetime.datetime(2020, 1, 1),
            datetime.datetime(2020, 1, 1, fold=1),
            datetime.timedelta(1),
        ),
        datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
        *(
            collections.OrderedDict(a=1, b=2),
            collections.OrderedDict(b=2, a=1),
            {"a": 1, "b": 2},
            collections.Counter("ab"),
        ),
        *(
            collections.deque([1, 2]),
            collections.deque([1, 2], 5),
            collections.defaultdict(list),
            collections.defaultdict(set),
        ),
        *(array.array("i", [1, 2]), array.array("l", [1, 2]), slice(1, 2), types.SimpleNamespace(a=1)),
        *([shared, shared], [[], []], recursive, deeper, [recursive]),
        *(
            a,
            a.astype("<i8"),
            a.astype(">i4"),
            a.astype("<u4"),
            a.view("<f4"),
            a.reshape(2, 3),
            a.reshape(3, 2),
            a.reshape(1, 6),
        ),
        *(
            read_only,
            numpy.matrix([[1]]),
            numpy.array([[1]]),
            numpy.array(1),
            numpy.array([1]),
            numpy.int64(1),
            numpy.float64(1),
        ),
        *(
            numpy.zeros(0),
            numpy.zeros((0, 3)),
            numpy.zeros((3, 0)),
            numpy.zeros(0, "i1"),
            numpy.zeros(2),
            -numpy.zeros(2),
        ),
        *(numpy.array([NAN]), numpy.array([OTHER_NAN]), numpy.zeros(2, bool), numpy.zeros(2, "i1"), with_metadata),
        *(
            numpy.array(["a"]),
            numpy.array(["a"], "U2"),
            numpy.array([b"a"]),
            numpy.array(["a"], object),
            numpy.array([b"a"], object),
        ),
        *(numpy.array([None, 1], object), numpy.array([[1], [2]], object), numpy.array([1, True, 1.0], object)),
        *(numpy.zeros(2, "M8[s]"), numpy.zeros(2, "M8[ms]"), numpy.zeros(2, "m8[s]"), numpy.datetime64(0, "s")),
        *(numpy.zeros(1, [("a", "i4")]), numpy.zeros(1, [("b", "i4")]), numpy.zeros(1, [("a", "i4", (1,))])),
        *(numpy.zeros(1, aligned), numpy.zeros(1, [("a", "i1"), ("b", "i4")]), numpy.zeros(1, [("a", "O")])),
        *(
            numpy.ma.array([1, 2]),
            numpy.ma.array([1, 2], mask=[0, 1]),
            numpy.ma.array([1, 2], mask=[0, 1], fill_value=5),
        ),
        *(
            numpy.rec.array([(1,)], dtype=[("a", "i4")]),
            numpy.dtype("f8"),
            numpy.dtype("f4"),
            numpy.random.RandomState(1),
        ),
    ]


def test_values_that_differ_have_different_digests() -> None:
    found: dict[bytes, int] = {}
    values = of_each_kind()
    for place, value in enumerate(values):
        own = digest(value)
        assert own not in found, f"{values[found[own]]!r} and {value!r}"
        found[own] = place


def test_a_digest_is_the_same_for_a_copy() -> None:
    for value in of_each_kind():
        again = pickle.loads(pickle.dumps(value, protocol=5))
        if not isinstance(value, numpy.ndarray) or value.flags.writeable:  # pickle forgets that
            assert digest(again) == digest(value), repr(value)
        assert digest(copy.deepcopy(value)) == digest(value) or isinstance(value, numpy.ndarray)


SETS = """
import sys
sys.path.insert(0, sys.argv[1])
from parallelflow.map.digests import Digester
names = [f"name{number}" for number in range(50)]
if sys.argv[2] == "1":
    names.reverse()
values = [set(names), frozenset(names), {name: {name, "a"} for name in names}]
values += [[{frozenset({"a", "b", name}): name} for name in sorted(names)]]
values += [{(name, frozenset(names)) for name in names}, {None: 1, "a": 2, 3: 4, (5, "b"): 6, 1.5: 7}]
values += [[sys.intern("a" * 3), "a" * 3]]
print(Digester().digest(values).hex())
"""


def test_a_digest_is_the_same_in_another_process_with_another_hash_seed() -> None:
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    said = set()
    for seed, turn in (("1", "0"), ("2", "1"), ("3", "0")):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", SETS, root, turn],
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said.add(done.stdout)
    assert len(said) == 1


def test_how_an_array_lies_in_memory_does_not_count() -> None:
    plain = numpy.arange(5 * 6 * 7, dtype="f4").reshape(5, 6, 7)
    wide = numpy.zeros((10, 6, 14), "f4")
    wide[::2, :, ::2] = plain
    unaligned = numpy.zeros(plain.nbytes + 1, "u1")[1:].view("f4").reshape(plain.shape)
    unaligned[:] = plain
    turned = plain[::-1, ::-1].copy()[::-1, ::-1]
    for other in (numpy.asfortranarray(plain), wide[::2, :, ::2], turned, unaligned, plain.T.copy().T):
        assert digest(other) == digest(plain)


def test_a_large_array_is_hashed_in_pieces_however_it_lies() -> None:
    plain = numpy.arange(3_000_000, dtype="f8").reshape(3, 1_000_000)
    pauses: list[int] = []
    own = Digester(lambda: pauses.append(1)).digest(plain)
    assert len(pauses) > 3
    assert digest(numpy.asfortranarray(plain)) == own
    plain[2, -1] += 1
    assert digest(plain) != own


@pytest.mark.parametrize("plain", [bytes(3 * PIECE), "x" * (3 * PIECE)], ids=["bytes", "text"])
def test_large_bytes_and_a_large_text_are_hashed_in_pieces(plain: Any) -> None:
    pauses: list[int] = []
    own = Digester(lambda: pauses.append(1)).digest(plain)
    assert len(pauses) >= 2
    assert len({own, digest(plain[1:]), digest((plain,)), digest([plain])}) == 4


def test_a_memmap_is_known_by_its_content(tmp_path: Any) -> None:
    first = numpy.memmap(tmp_path / "first", "i4", "w+", shape=(3,))
    second = numpy.memmap(tmp_path / "second", "i4", "w+", shape=(3,))
    assert digest(first) == digest(second)
    second[1] = 5
    assert digest(first) != digest(second)


def test_bytes_between_fields_do_not_count() -> None:
    kind = numpy.dtype([("a", "i1"), ("b", "i4")], align=True)
    first, second = numpy.frombuffer(bytearray(8), kind), numpy.frombuffer(bytearray(b"\0\1\1\1\0\0\0\0"), kind)
    assert digest(first) == digest(second)


def test_an_array_of_objects_is_known_by_these_and_not_by_where_they_are() -> None:
    held = [1]
    first = numpy.array([held, None], object)
    before = digest(first)
    held.append(2)
    assert digest(first) != before
    assert digest(numpy.array([[1, 2], None], object)) == digest(first)


def test_many_numbers_at_once_are_told_from_others() -> None:
    whole = list(range(200))
    variants = [
        whole,
        list(map(float, whole)),
        [*whole[:-1], True],
        [*whole[:-1], 199.0],
        [*whole[:-1], 2**70],
        whole[::-1],
    ]
    variants += [tuple(whole), numpy.arange(200), set(whole)]
    assert len({digest(each) for each in variants}) == len(variants)


def test_objects_that_come_and_go_are_not_taken_for_one_another() -> None:
    rows = numpy.arange(4000.0).reshape(1000, 4)
    in_pieces = [rows[number : number + 1] for number in range(1000)]
    assert digest(iter_of_views(rows)) == digest([each.copy() for each in in_pieces])


def iter_of_views(rows: Any) -> list[Any]:
    return [rows[number : number + 1] for number in range(len(rows))]


class Makes:
    """Gives new objects each time that it is pickled, which are gone at once."""

    def __init__(self, number: int):
        self.number = number

    def __reduce__(self) -> Any:
        return Makes, (self.number,), {"a": [self.number], "b": [self.number + 1]}


def test_what_is_made_for_pickle_is_not_taken_for_what_came_before() -> None:
    assert digest([Makes(each) for each in range(300)]) == digest([Makes(each) for each in range(300)])
    assert digest([Makes(each) for each in range(300)]) != digest([Makes(5) for _ in range(300)])


class Named:
    def method(self) -> None: ...


def test_what_can_only_be_found_in_this_process_is_unknown() -> None:
    def inner() -> None: ...

    class Local:
        pass

    module = types.ModuleType("__main__")
    exec("class InMain: pass\ndef in_main(): pass", vars(module))
    unknown = [
        inner,
        lambda: 1,
        Local,
        Local(),
        [Local()],
        {"a": inner},
        functools.partial(inner),
        vars(module)["InMain"],
    ]
    unknown += [
        vars(module)["InMain"](),
        vars(module)["in_main"],
        (x for x in []),
        sys.stderr,
        sys,
        object().__str__,
    ]
    unknown += [memoryview(b"a"), numpy.array([lambda: 1], object), Digester(), type("Named", (), {})]
    if hasattr(numpy.dtypes, "StringDType"):
        unknown.append(numpy.array(["a"], numpy.dtypes.StringDType()))
    for value in unknown:
        with pytest.raises(Unknown):
            digest(value)


class Stubborn:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("no")


class Odd:
    def __reduce_ex__(self, protocol: Any) -> Any:
        return 5


def test_what_cannot_be_pickled_and_what_is_too_deep_is_unknown() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for value in (Stubborn(), Odd(), deep, {Frozen(1): 1}, {Data}, {NAN: 1, float("nan"): 2}):
        if value == {Data}:
            assert digest(value) == digest({Data})
            continue
        with pytest.raises(Unknown):
            digest(value)


def test_a_value_of_few_objects_with_many_ways_through_it_takes_no_time() -> None:
    once: Any = ()
    changing: Any = ([],)
    as_sets: Any = frozenset()
    for _ in range(40):
        once, changing, as_sets = (once, once), (changing, changing), frozenset({as_sets, (as_sets,)})
    assert len({digest(once), digest(changing), digest(as_sets)}) == 3


def test_whether_it_is_twice_the_same_counts_only_for_what_can_be_changed() -> None:
    text, pair, row = "a" * 50, (1, (2,)), [1]
    assert digest([text, text, pair, pair]) == digest([text, "".join(text), (1, (2,)), (1, tuple([2]))])  # noqa: C409
    assert digest([datetime.date(2020, 1, 1)] * 2) == digest([datetime.date(2020, 1, 1), datetime.date(2020, 1, 1)])
    assert digest([numpy.dtype("f8")] * 2) == digest([numpy.dtype("f8"), pickle.loads(pickle.dumps(numpy.dtype("f8")))])
    assert digest([row, row]) != digest([row, [1]])
    assert digest({"a": row, "b": row}) != digest({"a": row, "b": [1]})
    assert digest({"b": row, "a": row}) == digest({"a": row, "b": row})


def test_a_key_makes_another_digest() -> None:
    assert len({Digester().digest(1), Digester().digest(1, b"a"), Digester().digest(1, b"b")}) == 3


def test_classes_tell_which_modules_they_are_from() -> None:
    digester = Digester()
    digester.digest([Data(1), fractions.Fraction(1)])
    assert digester.modules >= {Data.__module__, "fractions"}


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from([0, 0.0, False, "", b"", 1, 1.0, True])
)
KEYS = st.recursive(ATOMS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.sets(KEYS, max_size=3)
    ),
    max_leaves=12,
)


def exact(value: Any) -> Any:
    """A value with its types, so that those that compare as equal are the same only if they are."""
    kind = type(value)
    if kind in (list, tuple):
        return kind.__name__, tuple(map(exact, value))
    if kind in (set, frozenset):
        return kind.__name__, frozenset(map(exact, value))
    if kind is dict:
        return "dict", frozenset((exact(key), exact(each)) for key, each in value.items())
    return kind.__name__, repr(value)


def again(value: Any) -> Any:
    """The same of new objects, in the other order where order means nothing."""
    kind = type(value)
    if kind in (list, tuple):
        return kind(again(each) for each in value)
    if kind in (set, frozenset):
        return kind(again(each) for each in reversed(list(value)))
    if kind is dict:
        return {again(key): again(each) for key, each in reversed(list(value.items()))}
    return value


@settings(max_examples=400, deadline=None)
@given(st.lists(VALUES, min_size=2, max_size=4))
def test_digests_are_the_same_exactly_for_values_that_are(values: list[Any]) -> None:
    for value in values:
        assert digest(again(value)) == digest(value)
    for one, other in itertools.combinations(values, 2):
        assert (digest(one) == digest(other)) == (exact(one) == exact(other))


def _with_later(value: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, list[bytes]]:
    monkeypatch.setattr(digests, "LATER", 1000)
    digester = Digester()
    digester.later = []
    quick = digester.digest(value)
    return quick, [each.digest(lambda: None) for each in digester.later]


def test_what_is_long_is_hashed_later_and_counts_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[Callable[[int], Any]] = [
        lambda number: bytes([number]) * 2000,
        lambda number: bytearray([number]) * 2000,
        lambda number: numpy.full((20, 100), number, "u1"),
        lambda number: (bytes([number]) * 2000, numpy.full(2000, 3 - number, "u1"), "x"),
    ]
    for kind in kinds:
        one, other = _with_later(kind(1), monkeypatch), _with_later(kind(2), monkeypatch)
        assert one == _with_later(kind(1), monkeypatch)
        assert one[0] == other[0]  # it takes no time, and so it does not tell them from each other
        assert one[1]
        assert all(here != there for here, there in zip(one[1], other[1], strict=True))
    swapped = [_with_later([bytes([a]) * 2000, bytes([b]) * 2000], monkeypatch) for a, b in ((1, 2), (2, 1))]
    assert swapped[0][1] == swapped[1][1][::-1] != swapped[1][1]


def test_what_is_put_in_order_or_does_not_lie_in_order_is_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ({bytes([1]) * 2000}, {b"2" * 2000: 1}, numpy.arange(4000.0)[::2], "x" * 2000):
        quick, later = _with_later(value, monkeypatch)
        assert later == []
        assert quick == Digester().digest(value)


def test_what_has_been_changed_until_it_is_hashed_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "LATER", 1000)
    array, text = numpy.zeros(5000, "u1"), bytearray(5000)
    digester = Digester()
    digester.later = []
    digester.digest([array, text])
    array += 1
    text.append(1)  # nothing keeps it from that
    for each in digester.later:
        with pytest.raises(Unknown, match="changed meanwhile"):
            each.digest(lambda: None)
