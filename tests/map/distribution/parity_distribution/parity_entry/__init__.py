"""A VisTrails package that is found by entry point."""

from vistrails.core.modules.config import IPort, OPort
from vistrails.core.modules.vistrails_module import Module

identifier = "org.vistrails.parallelflow.parity_entry"
name = "Parity by entry point"
version = "0.1"


class Twice(Module):
    """Doubles a number."""

    _input_ports = [IPort("value", "basic:Float")]
    _output_ports = [OPort("value", "basic:Float")]

    def compute(self):
        self.set_output("value", 2 * self.get_input("value"))


_modules = [Twice]
