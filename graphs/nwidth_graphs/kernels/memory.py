"""Memory that begins with a page: files are read into it, and written from it, past the system's cache (`nwidth.disks`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# What direct transfers are aligned to, in memory and on disk.
PAGE_BYTES = 4096
# The large pages of x86 and of most ARM systems, which NumPy asks the system for where an array is long enough to have some.
LARGE_PAGE_BYTES = 2**21


def page_aligned(shape: tuple[int, ...], dtype: DTypeLike = np.float64, page: int = PAGE_BYTES) -> NDArray[Any]:
    """An uninitialised array in C order whose first byte is that of a page."""
    kind = np.dtype(dtype)
    nbytes = math.prod(shape) * kind.itemsize
    room = np.empty(nbytes + page, np.uint8)
    start = -room.ctypes.data % page
    return room[start : start + nbytes].view(kind).reshape(shape)
