"""How VTK's data objects and arrays are pickled: by VTK's own means, whatever class of theirs it is.

Where a filter's output is connected to something else, what travels is the data that it gives.

What VTK registers with Python's pickle knows classes one by one. Objects that it makes are of subclasses, by which it adds to
these classes in Python, and some have been forgotten (seen with VTK 9.7). Of the others some end the process when VTK writes
them, so that what is known here are those that it can write.
"""

from __future__ import annotations

from typing import Any

HOME = "vtkmodules."  # where VTK's classes are


def reduce(value: Any) -> Any:
    """Return what `object.__reduce_ex__` would for a data object, an array of numbers or a filter's output; NotImplemented for
    all else of VTK.

    :param value: an instance of a class of VTK
    :raises RuntimeError: if VTK cannot write it, or the filter gives nothing
    """
    from vtkmodules import vtkCommonDataModel as data
    from vtkmodules.vtkCommonCore import vtkBitArray, vtkDataArray
    from vtkmodules.vtkCommonExecutionModel import vtkAlgorithmOutput

    if isinstance(value, vtkAlgorithmOutput):
        return _output, (_data_of(value),)

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


def reduce_wrapper(value: Any, lenient: bool) -> Any:
    """Return what `object.__reduce_ex__` would for VisTrails' wrapper around a filter's output, which it refuses to pickle itself;
    NotImplemented for a wrapper around anything else.

    :param value: an instance of a class of this name
    :param lenient: makes no difference
    """
    wrapped = vars(value).get("vtkInstance")
    if type(wrapped).__name__ != "vtkAlgorithmOutput":
        return NotImplemented
    return type(value), (wrapped, value.module_id)


def _data_of(output: Any) -> Any:
    """What a filter gives on an output; it runs, and what is upstream of it, as far as it has not."""
    producer, number = output.GetProducer(), output.GetIndex()
    producer.Update(number)
    found = producer.GetOutputDataObject(number)
    if found is None or producer.GetErrorCode():
        raise RuntimeError(f"{producer.GetClassName()} of VTK gives nothing on its output {number}")
    return found


def _output(found: Any) -> Any:
    """The output of something that gives data which are there, for filters to be connected to."""
    from vtkmodules.vtkCommonExecutionModel import vtkAlgorithmOutput, vtkTrivialProducer

    producer = vtkTrivialProducer()
    producer.SetOutput(found)
    # One of its own: the producer's lives as long as the producer, so that neither would ever go if it held it.
    output = vtkAlgorithmOutput()
    output.SetProducer(producer)
    output.SetIndex(0)
    output._keeps = producer  # it does not by itself
    return output


def _array(class_name: str, numbers: Any, kind: int, name: str | None) -> Any:
    from vtkmodules import vtkCommonCore
    from vtkmodules.util.numpy_support import numpy_to_vtk

    array = getattr(vtkCommonCore, class_name)()
    array.DeepCopy(numpy_to_vtk(numbers, array_type=kind))
    array.SetName(name)
    return array
