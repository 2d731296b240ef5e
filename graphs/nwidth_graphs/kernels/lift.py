"""Lift a basis to full space, and measure in the same visit how good it is.

    Phi = X T              modes of this block, T (m, r) = D V_r / s_r with D the snapshot scaling
    G   = Phi^T W Phi      (r, r), summed over blocks: orthogonality
    B   = Phi^T W X        (r, m), summed over blocks: coefficients

The orthogonal projection of the snapshots has the coefficients ``A = G^-1 B``, and its error is, snapshot by snapshot,

    Pythagoras      ||x - Phi A||^2 = ||x||^2 - A . B                        two products per block, floor 1e-8 ||x||
    residual        ||x - Phi A||^2 = ||E||^2 - (A - Q) . G (A - Q)          three products, no floor

with ``E = X - Phi Q`` for the coefficients Q that the small factor predicts. The second is measured where the first would
cancel: whoever calls knows from the small factor, before the pass, how small the errors will be (`needs_residual`).

Modes are held transposed, (r, n): that is how they are stored, and the products run twice as fast as with (n, r).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nwidth_graphs.kernels.memory import page_aligned
from nwidth_graphs.kernels.namespace import array_namespace, is_numpy_array
from nwidth_graphs.kernels.panels import Array, panel_rows, prepared_panels

# Where every relative error is above this, ``||x||^2 - A . B`` keeps five digits of its square, and E need not be formed.
PYTHAGORAS_LIMIT = 1e-5


@dataclass(frozen=True)
class LiftSums:
    """What one lifted block adds to the certificate; sums of blocks are sums of fields."""

    overlap: Array
    """G (r, r)."""
    coefficients: Array
    """B (r, m)."""
    residual_squares: Array | None
    """(m,): squared norms of E, snapshot by snapshot; None where Pythagoras does."""


def lift(
    block: Array,
    transform: Array,
    predicted: Array | None = None,
    *,
    centre: bool = False,
    row_scale: Array | None = None,
    out: Array | None = None,
) -> tuple[Array, LiftSums]:
    """Return the modes ``(X T)^T`` (r, n) of one block and its `LiftSums`, with W diagonal.

    Parameters
    ----------
    block : (n, m) array
    transform : (m, r) float64 array
        T; the block's rows are centred first where `centre` is set.
    predicted : (r, m) float64 array, optional
        Q, where the residual is to be formed.
    row_scale : (n,) array, optional
        ``sqrt(diag W)``.
    out : (r, n) NumPy array of float64, optional
        Memory for the modes of a NumPy block, of any stride between modes.
    """
    xp = array_namespace(block)
    rank, columns = transform.shape[1], block.shape[1]
    transposed = xp.asarray(xp.matrix_transpose(transform), copy=True)
    in_place = is_numpy_array(block)
    if in_place:
        modes = page_aligned((rank, block.shape[0])) if out is None else out
    else:
        modes = xp.empty((rank, block.shape[0]), dtype=xp.float64)
    parts = []
    height = panel_rows(columns)
    for index, panel in enumerate(prepared_panels(block, centre=centre, rows=height)):
        rows = slice(index * height, index * height + panel.shape[0])
        if in_place:
            lifted = np.matmul(transposed, panel.T, out=modes[:, rows])
        else:
            lifted = xp.matmul(transposed, xp.matrix_transpose(panel))
            modes[:, rows] = lifted
        residual = None if predicted is None else panel - xp.matmul(xp.matrix_transpose(lifted), predicted)
        if row_scale is not None:
            scale = xp.asarray(row_scale[rows], dtype=xp.float64)
            lifted, panel = lifted * scale[None, :], panel * scale[:, None]
            residual = None if residual is None else residual * scale[:, None]
        parts.append(
            LiftSums(
                overlap=xp.matmul(lifted, xp.matrix_transpose(lifted)),
                coefficients=xp.matmul(lifted, panel),
                residual_squares=None if residual is None else xp.sum(residual**2, axis=0),
            )
        )
        parts = [merge_lift_sums(parts)]
    return modes, parts[0] if parts else _no_sums(xp, rank, columns, predicted)


def _no_sums(xp: Array, rank: int, columns: int, predicted: Array | None) -> LiftSums:
    def zeros(*shape: int) -> Array:
        return xp.zeros(shape, dtype=xp.float64)

    return LiftSums(zeros(rank, rank), zeros(rank, columns), None if predicted is None else zeros(columns))


def row_means(block: Array) -> Array:
    """Mean over the snapshots of every row, (n,) float64."""
    xp = array_namespace(block)
    return xp.concat([xp.mean(panel, axis=1) for panel in prepared_panels(block)], axis=0)


def merge_lift_sums(parts: Sequence[LiftSums]) -> LiftSums:
    """Add the sums of disjoint blocks (every entry is a sum over rows), in the order given."""
    first, *others = parts
    for part in others:
        squares: Array = first.residual_squares
        first = LiftSums(
            overlap=first.overlap + part.overlap,
            coefficients=first.coefficients + part.coefficients,
            residual_squares=None if squares is None else squares + part.residual_squares,
        )
    return first


def scale_lift_sums(sums: LiftSums, factor: float) -> LiftSums:
    """Multiply by the square of a field's scaling: sums are quadratic in the fields."""
    squares = sums.residual_squares
    return LiftSums(sums.overlap * factor, sums.coefficients * factor, None if squares is None else squares * factor)


def needs_residual(norms: Array, predicted: Array) -> bool:
    """Whether a snapshot's relative error is predicted to be so small that Pythagoras would cancel.

    `norms` (m,) are the norms of the snapshots and `predicted` (r, m) their coefficients in an orthonormal basis.
    """
    xp = array_namespace(norms)
    missed = norms**2 - xp.sum(predicted**2, axis=0)
    small = (missed < PYTHAGORAS_LIMIT**2 * norms**2) & (norms > 0.0)
    return bool(xp.any(small))


def projection_errors(sums: LiftSums, predicted: Array, norms: Array) -> tuple[Array, Array]:
    """Squared projection error of every snapshot, and its coefficients A in the basis as lifted: ``(squares (m,), A (r, m))``.

    Both formulas of the module; which one applies follows from whether the residual was formed.
    """
    xp = array_namespace(sums.overlap)
    exact = xp.linalg.solve(sums.overlap, sums.coefficients)
    if sums.residual_squares is None:
        squares = norms**2 - xp.sum(exact * sums.coefficients, axis=0)
    else:
        difference = exact - predicted
        squares = sums.residual_squares - xp.sum(difference * xp.matmul(sums.overlap, difference), axis=0)
    return xp.where(squares > 0.0, squares, xp.zeros_like(squares)), exact


def field_error_square(sums: LiftSums, predicted: Array, exact: Array, norms: Array) -> float:
    """``sum_j ||x_j - Phi A_j||^2`` of one field of a joint basis, whose A does not minimise the error of that field alone."""
    xp = array_namespace(sums.overlap)
    if sums.residual_squares is None:
        inner = xp.matmul(sums.overlap, exact) - 2.0 * sums.coefficients
        return max(float(xp.sum(norms**2) + xp.sum(exact * inner)), 0.0)
    difference = exact - predicted
    cross = sums.coefficients - xp.matmul(sums.overlap, predicted)
    square = xp.sum(sums.residual_squares) + xp.sum(difference * (xp.matmul(sums.overlap, difference) - 2.0 * cross))
    return max(float(square), 0.0)


def orthogonality_defect(overlap: Array) -> float:
    """``max |G - I|`` of the modes."""
    xp = array_namespace(overlap)
    if overlap.shape[0] == 0:
        return 0.0
    return float(xp.max(xp.abs(overlap - xp.eye(overlap.shape[0], dtype=overlap.dtype))))


def repair_transform(overlap: Array) -> Array:
    """T (r, r) such that the columns of ``Phi T`` are orthonormal: Cholesky QR with the measured overlap.

    ``G = L L^T``, ``T = L^-T``; the span of the first k modes is unchanged for every k.
    """
    xp = array_namespace(overlap)
    lower = xp.linalg.cholesky(overlap)
    return xp.matrix_transpose(xp.linalg.solve(lower, xp.eye(overlap.shape[0], dtype=overlap.dtype)))
