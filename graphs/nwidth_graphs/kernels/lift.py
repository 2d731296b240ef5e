"""Lift a basis to full space, and measure in the same visit how good it is.

    Phi = X T              modes of this block, T (m, r) = D V_r / s_r with D the snapshot scaling
    E   = X - Phi Q        what the basis misses, with Q (r, m) the coefficients that the small factor predicts

Summed over blocks: ``G = Phi^T W Phi`` (orthogonality), ``B = Phi^T W X`` (coefficients), ``diag(E^T W E)`` and
``diag(X^T W X)``. From these alone follows the *orthogonal* projection error of every snapshot, because E is measured as a
difference of fields and never as a difference of squares (see `projection_errors`): it has no ``sqrt(eps)`` floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from array_api_compat import array_namespace

from nwidth_graphs.kernels.panels import Array, prepared_panels


@dataclass(frozen=True)
class LiftSums:
    """What one lifted block adds to the certificate; sums of blocks are sums of fields."""

    overlap: Array
    """(r, r): Phi^T W Phi."""
    coefficients: Array
    """(r, m): Phi^T W X."""
    residual_squares: Array
    """(m,): squared norms of E, snapshot by snapshot."""
    norm_squares: Array
    """(m,): squared norms of X, snapshot by snapshot."""


def lift(
    block: Array, transform: Array, coefficients: Array, *, centre: bool = False, row_scale: Array | None = None
) -> tuple[Array, LiftSums]:
    """Return the modes ``Phi = X T`` (n, r) of one block and its `LiftSums`, with W diagonal.

    Parameters
    ----------
    block : (n, m) array
    transform : (m, r) float64 array
        ``T``; the block's rows are centred first where `centre` is set.
    coefficients : (r, m) float64 array
        ``Q``, the predicted coefficients.
    row_scale : (n,) array, optional
        ``sqrt(diag W)``.
    """
    xp = array_namespace(block)
    modes, sums, start = [], _no_sums(xp, transform.shape[1], block.shape[1]), 0
    for panel in prepared_panels(block, centre=centre):
        lifted = xp.matmul(panel, transform)
        residual = panel - xp.matmul(lifted, coefficients)
        weighted = lifted
        if row_scale is not None:
            scale = xp.asarray(row_scale[start : start + panel.shape[0]], dtype=xp.float64)[:, None]
            weighted, panel, residual = lifted * scale, panel * scale, residual * scale
        sums = merge_lift_sums([sums, _sums(weighted, panel, residual)])
        modes.append(lifted)
        start += panel.shape[0]
    return xp.concat(modes, axis=0), sums


def row_means(block: Array) -> Array:
    """Mean over the snapshots of every row, (n,) float64."""
    xp = array_namespace(block)
    return xp.concat([xp.mean(panel, axis=1) for panel in prepared_panels(block)], axis=0)


def _sums(modes: Array, fields: Array, residual: Array) -> LiftSums:
    xp = array_namespace(modes)
    transposed = xp.matrix_transpose(modes)
    return LiftSums(
        overlap=xp.matmul(transposed, modes),
        coefficients=xp.matmul(transposed, fields),
        residual_squares=xp.sum(residual**2, axis=0),
        norm_squares=xp.sum(fields**2, axis=0),
    )


def _no_sums(xp: Array, rank: int, columns: int) -> LiftSums:
    def zeros(*shape: int) -> Array:
        return xp.zeros(shape, dtype=xp.float64)

    return LiftSums(zeros(rank, rank), zeros(rank, columns), zeros(columns), zeros(columns))


def merge_lift_sums(parts: Sequence[LiftSums]) -> LiftSums:
    """Add the sums of disjoint blocks (every entry is a sum over rows)."""
    first, *others = parts
    for part in others:
        first = LiftSums(
            overlap=first.overlap + part.overlap,
            coefficients=first.coefficients + part.coefficients,
            residual_squares=first.residual_squares + part.residual_squares,
            norm_squares=first.norm_squares + part.norm_squares,
        )
    return first


def scale_lift_sums(sums: LiftSums, factor: float) -> LiftSums:
    """Multiply by the square of a field's scaling: sums are quadratic in the fields."""
    return LiftSums(sums.overlap * factor, sums.coefficients * factor, sums.residual_squares * factor, sums.norm_squares * factor)


def projection_errors(sums: LiftSums, predicted: Array) -> tuple[Array, Array]:
    """Squared orthogonal projection error of every snapshot, and its coefficients in the basis as lifted.

    With ``E = X - Phi Q`` and the exact coefficients ``A = G^-1 B``, Pythagoras gives

        ||X - Phi A||^2 = ||E||^2 - (A - Q)^T G (A - Q)      per snapshot

    where the correction is of the order of rounding in Q. Returns ``(squares (m,), A (r, m))``.
    """
    xp = array_namespace(sums.overlap)
    exact = xp.linalg.solve(sums.overlap, sums.coefficients)
    difference = exact - predicted
    correction = xp.sum(difference * xp.matmul(sums.overlap, difference), axis=0)
    squares = sums.residual_squares - correction
    return xp.where(squares > 0.0, squares, xp.zeros_like(squares)), exact


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
