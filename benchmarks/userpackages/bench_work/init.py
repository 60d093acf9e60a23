"""One module for each kind of work; each gives back what it gets."""

from __future__ import annotations

import time
from typing import ClassVar

from vistrails.core.modules.config import IPort, OPort
from vistrails.core.modules.vistrails_module import Module


class Trivial(Module):
    """Does nothing else."""

    _input_ports: ClassVar = [
        IPort("i", "basic:Variant"),
        IPort("c", "basic:Variant"),
        IPort("seconds", "basic:Float"),
    ]
    _output_ports: ClassVar = [OPort("o", "basic:Variant")]

    def compute(self) -> None:
        self.set_output("o", self.get_input("i"))


class Sleep(Trivial):
    """Sleeps for so many seconds."""

    _output_ports: ClassVar = [OPort("slept", "basic:Float", optional=True)]

    def compute(self) -> None:
        time.sleep(self.get_input("seconds"))
        self.set_output("slept", self.get_input("seconds"))
        if not self.has_input("i"):
            return
        self.set_output("o", self.get_input("i"))


class Spin(Trivial):
    """Uses so many seconds of a processor's time, which is the same work on a busy machine."""

    def compute(self) -> None:
        end = time.thread_time() + self.get_input("seconds")
        while time.thread_time() < end:
            pass
        self.set_output("o", self.get_input("i"))


class Decompose(Trivial):
    """Calls BLAS."""

    def compute(self) -> None:
        import numpy

        matrix = numpy.random.default_rng(self.get_input("i")).random((400, 400))
        for _ in range(6):
            numpy.linalg.svd(matrix, compute_uv=False)
        self.set_output("o", self.get_input("i"))


class Uneven(Trivial):
    """Sleeps for so many seconds, and for the last element of 401 a thousand times as long."""

    def compute(self) -> None:
        time.sleep(self.get_input("seconds") * (1000 if self.get_input("i") == 400 else 1))
        self.set_output("o", self.get_input("i"))


class Scale(Trivial):
    """Makes another array of an array."""

    def compute(self) -> None:
        self.set_output("o", self.get_input("i") * 2.0 + 1.0)


class Look(Trivial):
    """Looks at all of the value on its other port."""

    def compute(self) -> None:
        self.get_input("c").max()
        self.set_output("o", self.get_input("i"))


_modules = [Trivial, Sleep, Spin, Decompose, Uneven, Scale, Look]
