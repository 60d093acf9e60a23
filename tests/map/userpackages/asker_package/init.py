"""A module that bears no other beside it."""

import os
import time

from vistrails.core import system
from vistrails.core.modules.config import IPort, OPort
from vistrails.core.modules.vistrails_module import Module


class Alone(Module):
    """Gives back a number, while it has a file that must not be there before."""

    _input_ports = [IPort("value", "basic:Integer")]
    _output_ports = [OPort("value", "basic:Integer")]

    def compute(self):
        place = os.path.join(system.current_dot_vistrails(), "alone")
        os.close(os.open(place, os.O_CREAT | os.O_EXCL))
        time.sleep(0.05)
        os.unlink(place)
        self.set_output("value", self.get_input("value"))


_modules = [Alone]
