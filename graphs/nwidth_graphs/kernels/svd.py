"""Singular values and right vectors from the small factor, and the truncation of the spectrum.

    Gram route   C = V diag(s^2) V^T          TSQR route   R = U diag(s) V^T

Both give ``S = (S V / s) diag(s) V^T``, so ``Phi = S V / s`` lifts the basis without another factorization. Signs are fixed
(the entry of largest modulus of every right vector is positive), so that equal inputs give equal bits.

The truncation rule is a relative projection error, Frobenius over all snapshots in the chosen inner product:

    N = min { k : sqrt(sum_{i>k} s_i^2) <= rtol sqrt(sum_i s_i^2) }
"""

from __future__ import annotations

from nwidth_graphs.kernels.namespace import array_namespace
from nwidth_graphs.kernels.panels import Array


def spectrum_of_gram(gram: Array) -> tuple[Array, Array]:
    """(s, V) of a Gram matrix: s (m,) descending, V (m, m); negative eigenvalues are rounding and become zero."""
    xp = array_namespace(gram)
    values, vectors = xp.linalg.eigh((gram + xp.matrix_transpose(gram)) / 2.0)
    values, vectors = xp.flip(values), xp.flip(vectors, axis=1)
    return xp.sqrt(xp.where(values > 0.0, values, xp.zeros_like(values))), _fix_signs(vectors)


def spectrum_of_r(factor: Array) -> tuple[Array, Array]:
    """(s, V) of a triangular factor: s (m,) descending, V (m, m)."""
    xp = array_namespace(factor)
    _, values, transposed = xp.linalg.svd(factor, full_matrices=False)
    return values, _fix_signs(xp.matrix_transpose(transposed))


def _fix_signs(vectors: Array) -> Array:
    xp = array_namespace(vectors)
    pivot = xp.argmax(xp.abs(vectors), axis=0)
    signs = xp.stack([vectors[int(pivot[j]), j] for j in range(vectors.shape[1])])
    return vectors * xp.where(signs < 0.0, -xp.ones_like(signs), xp.ones_like(signs))[None, :]


def tail_norms(singular_values: Array) -> Array:
    """``t_k = sqrt(sum_{i>k} s_i^2)`` for k = 0..m: the projection error of the first k modes; t_0 is the norm of S."""
    xp = array_namespace(singular_values)
    # Summed from the smallest upwards, so that a small tail is not drowned by the leading values.
    squares = xp.flip(xp.cumulative_sum(xp.flip(singular_values**2)))
    return xp.sqrt(xp.concat([squares, xp.zeros(1, dtype=squares.dtype)]))


def rank_for_tolerance(singular_values: Array, rtol: float) -> int:
    """Smallest N with ``sqrt(sum_{i>N} s_i^2) <= rtol sqrt(sum_i s_i^2)``; 0 for a zero matrix."""
    xp = array_namespace(singular_values)
    tails = tail_norms(singular_values)
    if float(tails[0]) == 0.0:
        return 0
    return int(xp.argmax(xp.astype(tails <= rtol * float(tails[0]), xp.int8)))


def rank_above_floor(singular_values: Array, floor: float) -> int:
    """Number of singular values that lie above the trustworthy floor."""
    xp = array_namespace(singular_values)
    return int(xp.sum(xp.astype(singular_values > floor, xp.int64)))
