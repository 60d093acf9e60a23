"""The package's modules."""

from __future__ import annotations

import functools

import numpy as np
from vistrails.core.modules.config import IPort, OPort
from vistrails.core.modules.vistrails_module import Module, ModuleError

from parallelflow.api import ClusterError, parallel_map

from .resampling import resampled_means

# Samples in one call on an engine: many enough that sending it does not show, few enough that engines finish together.
_PER_CALL = 250


class MeanWithInterval(Module):
    """The mean of a list of numbers, and an interval that holds the true mean with a probability of 95 percent.

    The interval is found by the bootstrap: from the means of many samples that are drawn from the list itself.
    """

    _input_ports = [
        IPort("values", "basic:List", docstring="The numbers."),
        IPort("samples", "basic:Integer", default=10000, docstring="How many samples are drawn."),
    ]
    _output_ports = [
        OPort("mean", "basic:Float", docstring="The mean."),
        OPort("low", "basic:Float", docstring="The interval's lower end."),
        OPort("high", "basic:Float", docstring="The interval's upper end."),
        OPort("on_cluster", "basic:Boolean", docstring="Whether engines computed it, or VisTrails itself."),
    ]

    def compute(self) -> None:
        """Run the module."""
        values = self.get_input("values")
        if not values:
            raise ModuleError(self, "The list of values is empty.")
        calls = -(-self.get_input("samples") // _PER_CALL)
        draw = functools.partial(resampled_means, values, _PER_CALL)
        try:
            # Starts a cluster if none is running, as the preferences of Parallel Flow say; without one it runs right here.
            means, on_cluster = parallel_map(draw, range(calls), ask=True, ipython=True)
        except ClusterError as error:
            raise ModuleError(self, str(error)) from error
        low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
        self.set_output("mean", float(np.mean(values)))
        self.set_output("low", float(low))
        self.set_output("high", float(high))
        self.set_output("on_cluster", on_cluster)


_modules = [MeanWithInterval]
