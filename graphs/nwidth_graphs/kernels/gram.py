"""The Gram matrix of a block: the small factor of the method of snapshots.

    C = X^T W X  (m, m) float64,  X (n, m)

What   one block's contribution to ``C = S^T M S``; contributions of row blocks add up
Cost   n m^2 flops (symmetric rank-k update), one read of the block
Floor  the eigenvalues of C carry an absolute error of order ``u s_1^2``, so singular values below ``3 sqrt(eps) s_1`` are noise
Source ``C = S^T M S`` of the method of snapshots (Sirovich 1987)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nwidth_graphs.kernels.blas import add_gram
from nwidth_graphs.kernels.namespace import array_namespace, is_numpy_array
from nwidth_graphs.kernels.panels import Array, panel_rows, prepared_panels

EPS = 2.0**-52
"""Spacing of float64 at 1 (twice the unit roundoff ``u``)."""

# Columns of a square that fits in the second-level cache twice, so that transposing it does not walk through memory.
_TILE = 256


def gram(block: Array, *, centre: bool = False, row_scale: Array | None = None) -> Array:
    """Return ``C = X^T W X`` of one block, summed panel by panel in float64.

    Parameters
    ----------
    block : (n, m) array of any real dtype
    centre : bool
        Subtract the row means first.
    row_scale : (n,) array, optional
        ``sqrt(diag W)``.

    Returns
    -------
    (m, m) float64 array. A column with a NaN or an infinity shows as a non-finite diagonal entry.
    """
    return whole_gram(grow_gram(None, block, centre=centre, row_scale=row_scale))


def grow_gram(total: Array | None, block: Array, *, centre: bool = False, row_scale: Array | None = None) -> Array:
    """``total + X^T W X``, of which the lower triangle is meant: `whole_gram` fills the other one, when all blocks are in it.

    A NumPy total is changed in place; None begins one.
    """
    xp, columns = array_namespace(block), block.shape[1]
    in_place = is_numpy_array(block)
    # Panels that are views of the block cost no memory: twice as long, they amortise BLAS's own copies better.
    views = in_place and block.dtype == np.float64 and not centre and row_scale is None
    panels = prepared_panels(block, centre=centre, row_scale=row_scale, rows=panel_rows(columns) * (2 if views else 1))
    if total is None:
        total = np.zeros((columns, columns), order="F") if in_place else xp.zeros((columns, columns), dtype=xp.float64)
    for panel in panels:
        # One triangle in place: what is not stored saves a tenth of the time.
        total = add_gram(panel, total) if in_place else total + xp.matmul(xp.matrix_transpose(panel), panel)
    return total


def whole_gram(total: Array) -> Array:
    """Fill the upper triangle of a NumPy matrix from the lower one, in place and tile by tile; others are whole already.

    NumPy's two triangles, their transpose and sum took a quarter of the whole leaf at 2048 columns.
    """
    if not is_numpy_array(total):
        return total
    columns = len(total)
    for start in range(0, columns, _TILE):
        tile = slice(start, min(start + _TILE, columns))
        square = total[tile, tile]
        square[...] = np.tril(square) + np.tril(square, -1).T
        for other in range(tile.stop, columns, _TILE):
            below = slice(other, min(other + _TILE, columns))
            total[tile, below] = total[below, tile].T
    return total


def merge_grams(grams: Sequence[Array]) -> Array:
    """Add the Gram matrices of disjoint row blocks.

    The tree is licensed by ``[X1; X2]^T [X1; X2] = X1^T X1 + X2^T X2``; the order of the sum is the order of the sequence.
    """
    if len(grams) == 1:
        return grams[0]
    total = grams[0] + grams[1]
    for other in grams[2:]:
        total += other
    return total


def add_to_gram(total: Array, other: Array) -> Array:
    """``merge_grams([total, other])``, bit by bit, in the memory of `total` where it is NumPy's."""
    total += other
    return total


def gram_floor(largest_singular_value: float) -> float:
    """Smallest singular value that a float64 Gram matrix can resolve: ``3 sqrt(eps) s_1 = 4.5e-8 s_1``, with eps = 2.2e-16.

    Three, because directions that are not in the data at all were seen at up to 2.3 ``sqrt(eps) s_1`` (1000 snapshots of rank
    5). Above, the error falls with the square of the distance (1e-9 at ``1e-4 s_1``).
    """
    return 3.0 * math.sqrt(EPS) * largest_singular_value
