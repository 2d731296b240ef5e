"""Memory that begins where pages do."""

from __future__ import annotations

import numpy as np
import pytest

from nwidth.sources import reused_buffer
from nwidth_graphs.kernels.memory import LARGE_PAGE_BYTES, PAGE_BYTES, page_aligned


@pytest.mark.parametrize("page", [PAGE_BYTES, LARGE_PAGE_BYTES])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (700, 1001)])
def test_an_array_begins_with_a_page(shape: tuple[int, ...], page: int) -> None:
    """Shape and type are as asked for, in C order, and every value can be written."""
    array = page_aligned(shape, np.float64, page)
    array[...] = 1.0
    assert array.shape == shape
    assert array.dtype == np.float64
    assert array.flags.c_contiguous
    assert array.ctypes.data % page == 0


def test_blocks_are_read_into_large_pages() -> None:
    """A thread's buffer for blocks, the same memory as long as it is large enough."""
    large = reused_buffer((64, 2**16), np.dtype(np.float32))
    small = reused_buffer((3, 5), np.dtype(np.float64))
    assert large.ctypes.data % LARGE_PAGE_BYTES == 0
    assert small.ctypes.data == large.ctypes.data
