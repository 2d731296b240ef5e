"""Two routines of BLAS, in place and with the interpreter's lock released.

    C <- C + X^T X      dsyrk, the lower triangle alone
    X <- X R^-1         dtrsm

`scipy.linalg.blas` holds the interpreter's lock for as long as a product takes, so that the threads of one worker would wait for
each other; NumPy releases it, and makes a new matrix of every product. So they are called by address (`native.py`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.native import call

Floats = NDArray[np.float64]

_WORD = np.dtype(np.float64).itemsize


def add_gram(panel: Floats, total: Floats) -> Floats:
    """Add ``X^T X`` of a panel (n, m) to the lower triangle of `total` (m, m), column-ordered, and return it.

    The panel may lie in either order, and be a part of a larger array, without a copy. (OpenBLAS takes 3 % less for the lower
    triangle than for the upper one.)
    """
    order, leading = _order(panel)
    if order is None:
        return add_gram(np.asfortranarray(panel), total)
    rows, columns = panel.shape
    trans = b"T" if order == "F" else b"N"
    call("dsyrk", b"L", trans, columns, rows, 1.0, panel, leading, 1.0, total, max(1, columns))
    return total


def solve_right(panel: Floats, factor: Floats) -> Floats:
    """``X R^-1`` for upper triangular R (m, m), in new memory, in the order of the panel (n, m)."""
    upper = np.asfortranarray(factor)
    rows, columns = panel.shape
    if panel.flags.c_contiguous:  # R^T Y = X^T
        solved = np.array(panel, order="C")
        call("dtrsm", b"L", b"U", b"T", b"N", columns, rows, 1.0, upper, max(1, columns), solved, max(1, columns))
        return solved
    solved = np.array(panel, order="F")
    call("dtrsm", b"R", b"U", b"N", b"N", rows, columns, 1.0, upper, max(1, columns), solved, max(1, rows))
    return solved


def _order(panel: Floats) -> tuple[str | None, int]:
    """How a matrix lies in memory, and its leading dimension: ``"F"`` column by column, ``"C"`` row by row, None neither."""
    (rows, columns), (down, across) = panel.shape, panel.strides
    if down == _WORD and ((across >= max(1, rows) * _WORD and across % _WORD == 0) or columns <= 1):
        return "F", max(1, rows, across // _WORD)
    if across == _WORD and ((down >= max(1, columns) * _WORD and down % _WORD == 0) or rows <= 1):
        return "C", max(1, columns, down // _WORD)
    return None, 0
