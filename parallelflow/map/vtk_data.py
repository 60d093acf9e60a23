"""How VTK's data objects and arrays are pickled: by VTK's own means, whatever class of theirs it is.

What VTK registers with Python's pickle knows classes one by one. Objects that it makes are of subclasses, by which it adds to
these classes in Python, and some have been forgotten (seen with VTK 9.7). Of the others some end the process when VTK writes
them, so that what is known here are those that it can write.
"""

from __future__ import annotations

from typing import Any

HOME = "vtkmodules."  # where VTK's classes are


def reduce(value: Any) -> Any:
    """Return what `object.__reduce_ex__` would for a data object or an array of numbers; NotImplemented for all else of VTK.

    :param value: an instance of a class of VTK
    :raises RuntimeError: if VTK cannot write it
    """
    from vtkmodules import vtkCommonDataModel as data
    from vtkmodules.vtkCommonCore import vtkBitArray, vtkDataArray

    if isinstance(value, vtkDataArray) and not isinstance(value, vtkBitArray):
        from vtkmodules.util.numpy_support import vtk_to_numpy

        return _array, (value.GetClassName(), vtk_to_numpy(value), value.GetDataType(), value.GetName())
    written = (
        *(
            data.vtkPolyData,
            data.vtkUnstructuredGrid,
            data.vtkStructuredGrid,
            data.vtkImageData,
            data.vtkRectilinearGrid,
        ),
        *(data.vtkTable, data.vtkGraph, data.vtkDataObjectTree),
    )
    if isinstance(value, written):
        from vtkmodules.util.pickle_support import serialize_VTK_data_object

        return serialize_VTK_data_object(value)
    return NotImplemented


def _array(class_name: str, numbers: Any, kind: int, name: str | None) -> Any:
    from vtkmodules import vtkCommonCore
    from vtkmodules.util.numpy_support import numpy_to_vtk

    array = getattr(vtkCommonCore, class_name)()
    array.DeepCopy(numpy_to_vtk(numbers, array_type=kind))
    array.SetName(name)
    return array
