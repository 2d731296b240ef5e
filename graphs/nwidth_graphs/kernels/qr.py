"""The triangular factor of a tall block: the small factor of the TSQR route.

    X = Q R,   X (n, m),   R (m, m) with R^T R = X^T X, without ever forming X^T X

Householder QR of a tall block runs 7 to 14 times below the rate of the symmetric product of the same block, because it works
column by column. So the block is first *preconditioned*:

    X (n, m) ──sketch──> Y = S X (2m, m) ──Householder──> R0            columns of A1 = X R0^-1 are nearly orthonormal
    X (n, m) ──solve───> A1 = X R0^-1 ──symmetric product──> G1 = A1^T A1, well conditioned
    G1 = R1^T R1,   R = R1 R0

The solve is row-wise backward stable and G1 has eigenvalues of order one, so R is as accurate as Householder's: the square
root of eps never appears. The sketch may miss a direction (adversarial rows); that shows as an eigenvalue of G1 far above
one, is *measured*, and the block then falls back to Householder by panels. Directions below ``eps s_1`` are kept from
dividing by zero by the rows ``delta I`` under Y; what they carry is below rounding.

Sources: TSQR, Demmel, Grigori, Hoemmen and Langou 2012; sketch-preconditioned Cholesky QR, Fan, Guo and Lin 2021 and
Balabanov 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from array_api_compat import is_cupy_namespace, is_numpy_namespace

from nwidth_graphs.kernels import blas
from nwidth_graphs.kernels.gram import EPS
from nwidth_graphs.kernels.namespace import array_namespace
from nwidth_graphs.kernels.panels import PANEL_ROWS, Array, prepared_panels

Panels = Callable[[int], Iterator[Array]]
"""Given a number of rows, yield the block as prepared float64 panels of that many rows (the last may be shorter)."""

# Rows of the sketch per column. Two give eigenvalues of G1 between about 0.3 and 12 for a Gaussian sketch.
SKETCH_FACTOR = 2
# Blocks with fewer rows per column than this gain nothing from the sketch, which itself costs a QR of 2m rows.
MIN_ASPECT = 8
# A sound sketch gives at most about 12; one that missed a direction gives the squared amplification, 1e4 and more. At 100
# the loss of accuracy is still one digit only.
MAX_EIGENVALUE = 100.0
_SEED = 0x5EED


def r_factor(block: Array, *, centre: bool = False, row_scale: Array | None = None) -> Array:
    """Return the upper triangular R (m, m) with ``R^T R = X^T W X``, accurate to ``eps s_1`` in every singular value.

    Parameters are those of `nwidth_graphs.kernels.gram.gram`. The diagonal of R is not negative.
    """

    def panels(rows: int) -> Iterator[Array]:
        return prepared_panels(block, centre=centre, row_scale=row_scale, rows=rows)

    return r_factor_of_panels(panels, block.shape[0], block.shape[1])


def r_factor_of_panels(panels: Panels, rows: int, columns: int) -> Array:
    """The same for rows that are made on the fly (element-form mass matrices); `panels` is called up to three times."""
    if rows < MIN_ASPECT * columns:
        return householder_r(panels, columns)
    preconditioner = _sketched_r(panels, columns)
    if preconditioner is None:
        return householder_r(panels, columns)
    preconditioned_gram = _preconditioned_gram(panels, preconditioner)
    if not _well_conditioned(preconditioned_gram):
        return householder_r(panels, columns)
    return positive_diagonal(_root(preconditioned_gram, preconditioner))


def merge_r(factors: Sequence[Array]) -> Array:
    """Return R of the stacked factors.

    The tree is licensed by ``[R1; R2]^T [R1; R2] = X1^T X1 + X2^T X2``: stacking factors is stacking rows.
    """
    xp = array_namespace(factors[0])
    return positive_diagonal(_r_only(xp.concat(list(factors), axis=0)))


def householder_r(panels: Panels, columns: int) -> Array:
    """Householder QR in a chain, ``R <- qr([R; panel])``: slow, unconditionally stable, and no larger than one panel."""
    factor = None
    for panel in panels(max(PANEL_ROWS, 2 * columns)):
        xp = array_namespace(panel)
        factor = _r_only(panel if factor is None else xp.concat([factor, panel], axis=0))
    if factor is None:
        raise ValueError("a block without rows has no QR factor")
    return positive_diagonal(_square(factor, columns))


def _sketched_r(panels: Panels, columns: int) -> Array | None:
    """R0 of the sketch ``Y = S X``; None where X holds a NaN or an infinity (the caller's check names it).

    S folds the rows onto ``2m`` buckets with random signs and a random rotation per panel (a count sketch without gathers),
    so the sketch costs one visit and no product.
    """
    height = SKETCH_FACTOR * columns
    random = np.random.default_rng(_SEED)
    sketch: Any = 0.0
    for panel in panels(height * math.ceil(PANEL_ROWS / height)):
        xp = array_namespace(panel)
        signs = xp.asarray(random.choice([-1.0, 1.0], size=panel.shape[0]))
        sketch = sketch + xp.roll(_fold(xp, panel, signs, height), int(random.integers(height)), axis=0)
    xp = array_namespace(sketch)
    norm = float(xp.linalg.vector_norm(sketch))
    if not math.isfinite(norm):
        return None
    shift = max(norm * EPS, float(np.finfo(np.float64).tiny) / EPS)
    return _r_only(xp.concat([sketch, shift * xp.eye(columns, dtype=xp.float64)], axis=0))


def _fold(xp: Any, panel: Array, signs: Array, height: int) -> Array:
    """Sum the rows of `panel` that are `height` apart, each with its sign: (k * height + rest, m) -> (height, m)."""
    rows, columns = panel.shape
    head = slice(0, min(height, rows))
    signed = panel[head, :] * signs[head, None]
    if rows < height:
        return xp.concat([signed, xp.zeros((height - rows, columns), dtype=xp.float64)], axis=0)
    # Slice by slice, in whatever order the panel lies in memory: a reshape would turn a column-major panel around.
    for start in range(height, rows, height):
        part = slice(start, min(start + height, rows))
        count = part.stop - start
        signed[:count, :] += panel[part, :] * signs[part, None]
    return signed


def _preconditioned_gram(panels: Panels, factor: Array) -> Array:
    total: Any = 0.0
    for panel in panels(PANEL_ROWS):
        xp = array_namespace(panel)
        solved = solve_right(panel, factor)
        total = total + xp.matmul(xp.matrix_transpose(solved), solved)
    return total


def _well_conditioned(gram: Array) -> bool:
    xp = array_namespace(gram)
    # The trace bounds the largest eigenvalue from above at no cost; the eigenvalues are computed only where it does not decide.
    trace = float(xp.linalg.trace(gram))
    if not math.isfinite(trace):
        return False
    return trace <= MAX_EIGENVALUE or float(xp.linalg.eigvalsh(gram)[-1]) <= MAX_EIGENVALUE


def _root(gram: Array, factor: Array) -> Array:
    """R with ``R^T R = R0^T G1 R0``; an eigenvalue root where G1 is numerically semidefinite (rank-deficient blocks)."""
    xp = array_namespace(gram)
    try:
        lower = xp.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        lower = None
    # CuPy reports failure as NaN instead of an exception.
    if lower is not None and math.isfinite(float(xp.sum(lower))):
        return xp.matmul(xp.matrix_transpose(lower), factor)
    values, vectors = xp.linalg.eigh(gram)
    scale = xp.sqrt(xp.where(values > 0.0, values, xp.zeros_like(values)))
    return _r_only(xp.matmul(scale[:, None] * xp.matrix_transpose(vectors), factor))


def solve_right(panel: Array, factor: Array) -> Array:
    """Return ``X R^-1`` for upper triangular R by substitution (an explicit inverse loses orthogonality of small directions)."""
    xp = array_namespace(panel)
    if is_numpy_namespace(xp):
        return blas.solve_right(panel, factor)
    if is_cupy_namespace(xp):
        from cupyx.scipy.linalg import solve_triangular  # type: ignore[import-not-found, unused-ignore]

        return solve_triangular(factor, panel.T, trans=1).T
    return xp.matrix_transpose(xp.linalg.solve(xp.matrix_transpose(factor), xp.matrix_transpose(panel)))


def _r_only(stack: Array) -> Array:
    xp = array_namespace(stack)
    if is_numpy_namespace(xp):
        return np.linalg.qr(stack, mode="r")  # Q would double the work, and nobody asks for it
    return xp.linalg.qr(stack, mode="reduced")[1]


def _square(factor: Array, columns: int) -> Array:
    """Pad R of a wide block (fewer rows than snapshots) with zero rows to (m, m), so that every partial has one shape."""
    missing = columns - factor.shape[0]
    if missing <= 0:
        return factor
    xp = array_namespace(factor)
    return xp.concat([factor, xp.zeros((missing, columns), dtype=xp.float64)], axis=0)


def positive_diagonal(factor: Array) -> Array:
    """Flip the signs of rows so that the diagonal is not negative: one R for one X, whatever computed it."""
    xp = array_namespace(factor)
    diagonal = xp.linalg.diagonal(factor)
    return xp.where(diagonal < 0.0, -xp.ones_like(diagonal), xp.ones_like(diagonal))[:, None] * factor


def qr_floor(largest_singular_value: float, columns: int) -> float:
    """Smallest singular value that the QR route resolves: ``max(2 sqrt(m), 64) eps s_1``, from 1.4e-14 s_1 on.

    Rounding of the factor stays below ``sqrt(m) eps s_1`` (0.8 was seen). LAPACK's divide-and-conquer SVD of it deflates at
    ``32 eps s_1`` and reports that value for directions that are not there. Both are doubled.
    """
    return EPS * max(2.0 * math.sqrt(columns), 64.0) * largest_singular_value
