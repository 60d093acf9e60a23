"""Memory that an engine has given back is kept by its C library for what it needs next, some of it.

The GNU C library hands memory above a few megabytes back to the system at once, which clears each page before it is used again. An
engine makes and drops arrays all the time; that took more than half of the time that elements with arrays of 1 MB needed.

May import the standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Mapping
from typing import Any

with contextlib.suppress(ImportError):  # there is none on Windows
    import resource

# So many bytes are kept at most: what a chunk's elements and results have, twice.
KEPT = 64 * 1024**2

# The largest blocks, in bytes, that are taken from what is kept; the C library allows no more.
_LARGEST = 32 * 1024**2

# Of the GNU C library's mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

# What the user may have set for it.
_ITS_VARIABLES = ("MALLOC_", "GLIBC_TUNABLES")


def keep(environment: Mapping[str, str] = os.environ, library: Any = None) -> bool:
    """Have memory kept, unless the user has said how, or this process may not have as much as it likes.

    :param environment: the process's environment variables.
    :param library: the C library.
    :returns: whether it is kept now.
    """
    if any(name.startswith(_ITS_VARIABLES) for name in environment):
        return False
    try:
        if any(
            resource.getrlimit(kind)[0] != resource.RLIM_INFINITY for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)
        ):
            return False
        set_option = (library or ctypes.CDLL(None)).mallopt
    except (NameError, AttributeError, TypeError, OSError):  # another C library, or another system
        return False
    return bool(set_option(_TRIM_THRESHOLD, KEPT) and set_option(_MMAP_THRESHOLD, _LARGEST))
