"""A module that waits for another of its kind."""

import os
import time

from vistrails.core.modules.config import IPort, OPort
from vistrails.core.modules.vistrails_module import Module
from vistrails.core.system import current_dot_vistrails


def initialize():
    """Read what is there."""
    os.listdir(current_dot_vistrails())


class Meet(Module):
    """Whether another one, with the other number, computes at the same time."""

    _input_ports = [IPort("number", "basic:Integer"), IPort("place", "basic:String")]
    _output_ports = [OPort("met", "basic:Boolean")]

    def compute(self):
        number, place = self.get_input("number"), self.get_input("place")
        other = os.path.join(place, f"met{1 - number}")
        with open(os.path.join(place, f"met{number}"), "w"):
            end = time.monotonic() + 240
        while not os.path.exists(other) and time.monotonic() < end:
            time.sleep(0.01)
        self.set_output("met", os.path.exists(other))


_modules = [Meet]
