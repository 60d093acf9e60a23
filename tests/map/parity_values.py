"""Values and classes that parity tests use; engines import it too."""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Callable
from typing import Any

# What the module Held of the tests' package gives, by key.
HELD: dict[str, Any] = {}


@dataclasses.dataclass
class Makes:
    """Has the module Held give a fresh value in each run."""

    make: Callable[[], Any]


@dataclasses.dataclass
class Point:
    x: float
    y: float


@dataclasses.dataclass(frozen=True)
class Frozen:
    name: str


class Plain:
    def __init__(self, **attributes: Any):
        self.__dict__.update(attributes)


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: Any, b: Any):
        self.a, self.b = a, b


class Shade(enum.Enum):
    LIGHT = 1
    DARK = "dark"


class Flags(enum.IntFlag):
    ONE = 1
    TWO = 2


class MyInt(int):
    pass


class MyStr(str):
    pass


class MyList(list):
    pass


class MyDict(dict):
    pass


class Outer:
    class Inner:
        def __init__(self, value: Any):
            self.value = value


def function(x: int) -> int:
    return x + 1


class Refuses:
    """Cannot be pickled, like a vtkObject."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("cannot pickle 'Refuses' object")


class Unreadable(Refuses):
    def __repr__(self) -> str:
        raise RuntimeError("no text")


def fail_outside(process: int) -> Any:
    import os

    if os.getpid() != process:
        raise ValueError("not in this process")
    return FailsIn(process)


class FailsIn:
    """Can be unpickled in one process only."""

    def __init__(self, process: int):
        self.process = process

    def __reduce__(self) -> Any:
        return fail_outside, (self.process,)


class TakesNoState:
    """Can be pickled, and made anew, but not have its state back."""

    def __init__(self) -> None:
        self.state = 1

    def __setstate__(self, state: Any) -> None:
        raise ValueError("no state")


class EndsWhenMade:
    """Ends the program that unpickles it."""

    def __reduce__(self) -> Any:
        return sys.exit, (3,)


class EndsWhenPickled:
    """Ends the program that pickles it."""

    def __reduce__(self) -> Any:
        sys.exit(4)


class NoMemory:
    """Does not fit into memory a second time."""

    def __reduce__(self) -> Any:
        raise MemoryError


def fill_memory() -> Any:
    raise MemoryError


class TooLarge:
    """Does not fit into the memory of who gets it."""

    def __reduce__(self) -> Any:
        return fill_memory, ()
