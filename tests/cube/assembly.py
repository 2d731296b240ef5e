"""Stiffness matrices of one grid, again and again: the pattern is found once, and every assembly fills in its values.

Rows and columns are the given unknowns in the given order, so that nothing is cut out of a matrix or permuted afterwards.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tests.cube.grid import CubeGrid, Floats


class Assembly:
    """``K(unknowns, unknowns)`` of a `grid` from tangents at its integration points.

    Parameters
    ----------
    grid : the cube
    unknowns : (m,) numbers ``3 * node + component``, in the order of the rows; others are held at zero
    """

    def __init__(self, grid: CubeGrid, unknowns: NDArray[np.int64]) -> None:
        row_of = np.full(3 * len(grid.nodes), -1)
        row_of[unknowns] = np.arange(len(unknowns))
        local = row_of[grid.dofs]
        rows, columns = np.broadcast_arrays(local[:, :, None], local[:, None, :])
        kept = ((rows >= 0) & (columns >= 0)).ravel()
        entries, slots = np.unique((rows * len(unknowns) + columns).ravel()[kept], return_inverse=True)
        self.grid, self.size = grid, len(unknowns)
        # What belongs to a held unknown goes to one slot past the end.
        self._slots = np.full(kept.shape, len(entries))
        self._slots[kept] = slots
        self._columns = (entries % self.size).astype(np.int32)
        self._starts = np.searchsorted(entries, self.size * np.arange(self.size + 1)).astype(np.int32)

    def __call__(self, tangent: Floats) -> sp.csr_array:
        """Tangents (Q, 6, 6) -> the matrix ``sum_k w_k B_k^T C_k B_k``; the points of a cell are summed as one product."""
        B = self.grid.strain
        moduli = np.matmul(tangent.reshape(-1, 8, 6, 6), B * self.grid.weight)
        local = np.matmul(B.reshape(48, 24).T, moduli.reshape(-1, 48, 24))
        values = np.bincount(self._slots, local.ravel(), minlength=len(self._columns) + 1)[:-1]
        return sp.csr_array((values, self._columns, self._starts), shape=(self.size, self.size))
