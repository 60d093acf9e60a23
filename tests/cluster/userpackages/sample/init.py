"""One module."""

import operator

from vistrails.core.modules.vistrails_module import Module

from parallelflow.api import parallel_map


class Squares(Module):
    """The squares of some numbers, and whether the cluster computed them."""

    _input_ports = [("numbers", "basic:List"), ("start", "basic:Boolean")]
    _output_ports = [("squares", "basic:List"), ("parallel", "basic:Boolean")]

    def compute(self):
        numbers = self.get_input("numbers")
        squares, parallel = parallel_map(operator.mul, numbers, numbers, ask=self.get_input("start"), ipython=True)
        self.set_output("squares", squares)
        self.set_output("parallel", parallel)


_modules = [Squares]
