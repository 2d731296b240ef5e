"""Cut a block of snapshots into panels of rows that stay in cache, widened to float64, centred and weighted on the way.

    block (rows, m), any dtype, any strides
      └── panel (<= PANEL_ROWS, m) float64   -> minus its row means -> times sqrt(weight) of its rows

Every reduction visits a block through this one generator, so a block is never copied whole: float32 data are widened
panel by panel (products of float32 numbers are exact in float64, which is why float32 stores lose nothing here). All panels of a
block lie in the same memory, one after the other, where the block is NumPy's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nwidth_graphs.kernels.namespace import array_namespace, is_numpy_array

Array = Any
"""An array of any namespace of the array API standard (NumPy, CuPy, array_api_strict, ...)."""

# 2048 rows x 256 float64 columns are 4 MiB: the panel and its product stay in the second- and third-level cache. Panels of
# 1024 to 4096 rows ran within 10 % of each other, and panels of 8192 rows were 20 % slower.
PANEL_ROWS = 2048
# Wider blocks have shorter panels of as many bytes, so that scratch memory does not grow with the snapshots; shorter ones yet
# would starve the products.
PANEL_BYTES = 8 * 2**20
MIN_PANEL_ROWS = 256
# Numbers between the columns of a panel: columns a power of two apart share few places in a cache, which costs BLAS 2 %.
PADDING = 24


def panel_rows(columns: int) -> int:
    """Rows of a panel with that many columns: 2048 up to 512 columns, then fewer."""
    return max(MIN_PANEL_ROWS, min(PANEL_ROWS, PANEL_BYTES // (8 * max(1, columns))))


def prepared_panels(
    block: Array, *, centre: bool = False, row_scale: Array | None = None, rows: int | None = None
) -> Iterator[Array]:
    """Yield ``diag(row_scale) (X - mean over columns)`` in float64, `rows` rows at a time (`panel_rows` by default).

    A panel is valid until the next one is asked for.

    Parameters
    ----------
    block : (n, m) array
        Rows are degrees of freedom, columns are snapshots. It is not changed.
    centre : bool
        Subtract each row's own mean over the snapshots. It is done here, where all snapshots of a row are at hand, and not
        on the small factor: with a mean 1e5 times larger than the fluctuation the factor would lose 5 digits to cancellation.
    row_scale : (n,) array, optional
        Square roots of the inner-product weights.
    """
    xp = array_namespace(block)
    rows = panel_rows(block.shape[1]) if rows is None else rows
    as_it_is = block.dtype == xp.float64 and not centre and row_scale is None
    memory = None if as_it_is else memory_for(block, rows)
    for start in range(0, block.shape[0], rows):
        part = slice(start, min(start + rows, block.shape[0]))  # the array API leaves slices beyond the end undefined
        scale = None if row_scale is None else xp.asarray(row_scale[part], dtype=xp.float64)[:, None]
        panel = widened(block[part, :], memory)
        if memory is not None:
            if centre:
                panel -= np.mean(panel, axis=1, keepdims=True)
            if scale is not None:
                panel *= scale
        else:
            panel = panel - xp.mean(panel, axis=1, keepdims=True) if centre else panel
            panel = panel if scale is None else panel * scale
        yield panel


def memory_for(block: Array, rows: int, columns: int | None = None) -> Array | None:
    """Memory for a float64 copy of so many rows and columns of a NumPy block, in its order; None for other arrays.

    Made once for a block: new memory for every panel costs a twentieth of a Gram product.
    """
    if not is_numpy_array(block):
        return None
    rows, columns = block[:rows, :columns].shape
    if abs(block.strides[0]) >= abs(block.strides[1]):
        return np.empty((rows, columns))
    return np.empty((columns, rows + PADDING))[:, :rows].T


def widened(values: Array, memory: Array | None) -> Array:
    """`values` (k, c) in float64: copied into the first corner of `memory`; where there is none, as they are, or new."""
    if memory is None:
        xp = array_namespace(values)
        return xp.astype(values, xp.float64, copy=False)
    copied = memory[: values.shape[0], : values.shape[1]]
    np.copyto(copied, values)
    return copied
