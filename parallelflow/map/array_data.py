"""How arrays of numpy are pickled whose bytes do not lie one after the other, such as every second column of a matrix.

numpy would put their bytes into the pickle, one number after the other, and have nobody else get a turn meanwhile. Copied first,
they are out-of-band buffers, as those of all other arrays.

May import `parallelflow.map.shared_memory`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from parallelflow.map.shared_memory import PIECE, SMALLEST

NAME = "ndarray"


def reduce(value: Any, turn: Callable[[], None]) -> Any:
    """Return what `object.__reduce_ex__` would for a large array with gaps; NotImplemented for all else.

    :param value: any value.
    :param turn: called now and then while it is copied.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray or value.flags.forc or value.nbytes < SMALLEST:
        return NotImplemented
    if value.dtype.hasobject or value.dtype.names is not None:  # between fields there may be bytes that mean nothing
        return NotImplemented
    copy = numpy.empty(value.shape, value.dtype)
    axis = value.shape.index(max(value.shape))
    length, step = value.shape[axis], max(1, PIECE * value.shape[axis] // value.nbytes)
    for start in range(0, length, step):
        turn()
        piece = (*[slice(None)] * axis, slice(start, start + step))
        copy[piece] = value[piece]
    return copy.__reduce_ex__(5)
