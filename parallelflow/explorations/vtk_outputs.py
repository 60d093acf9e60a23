"""Outputs of VTK's filters: of what an engine has computed, the data go to VisTrails, for a mapper there to show.

Only for mappers: a filter would also go by what VTK says of data before they are there, such as the type of their numbers, which
need not be what they are then.

May import nothing; VTK where it is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# The type of the ports by which VTK's filters are connected.
PORT_TYPE = "(org.vistrails.vistrails.vtk:vtkAlgorithmOutput)"


@dataclass(frozen=True)
class _Data:
    """What travels.

    :ivar data: what the filter gives.
    :ivar wrapper: VisTrails' class around objects of VTK.
    """

    data: Any
    wrapper: Any


def is_shown(module: type) -> bool:
    """Return whether a module shows data of VTK, and computes none.

    :param module: its class.
    """
    return any(each.__name__ == "vtkAbstractMapper" for each in module.__mro__)


def taken(value: Any) -> Any:
    """Return what travels in a value's place: of a filter's output the data, which are computed now; any other value itself.

    :param value: the value on an output port.
    """
    if type(value).__name__ != "VTKInstanceWrapper" or type(value.vtkInstance).__name__ != "vtkAlgorithmOutput":
        return value
    producer, number = value.vtkInstance.GetProducer(), value.vtkInstance.GetIndex()
    producer.Update(number)
    data = producer.GetOutputDataObject(number)
    # One that gives nothing cannot travel, as anything else of VTK, so that VisTrails finds out why.
    return value if data is None or producer.GetErrorCode() else _Data(data, type(value))


def restored(value: Any) -> Any:
    """Return the value that `taken` has had something else travel for.

    :param value: what has travelled.
    """
    if not isinstance(value, _Data):
        return value
    from vtkmodules.vtkCommonExecutionModel import vtkAlgorithmOutput, vtkTrivialProducer

    producer = vtkTrivialProducer()
    producer.SetOutput(value.data)
    # One of its own: the producer's lives as long as the producer, so that neither would ever go if it held it.
    output = vtkAlgorithmOutput()
    output.SetProducer(producer)
    output.SetIndex(0)
    output._keeps = producer  # it does not by itself
    return value.wrapper(output)
