"""Singular values and right vectors from the small factor, and the truncation of the spectrum.

    Gram route   C = V diag(s^2) V^T          TSQR route   R = U diag(s) V^T

Both give ``S = (S V / s) diag(s) V^T``, so ``Phi = S V / s`` lifts the basis without another factorization. Signs are fixed
(the entry of largest modulus of every right vector is positive), so that equal inputs give equal bits.

The truncation rule is a relative projection error, Frobenius over all snapshots in the chosen inner product:

    N = min { k : sqrt(sum_{i>k} s_i^2) <= rtol sqrt(sum_i s_i^2) }
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nwidth_graphs.kernels.namespace import array_namespace, is_numpy_array
from nwidth_graphs.kernels.panels import Array
from nwidth_graphs.kernels.tridiagonal import Tridiagonal

# From here on vectors are made when it is known how many are wanted. Below, all of them take a tenth of a second.
LARGE = 1024


@dataclass(frozen=True)
class SmallSvd:
    """Singular values of the snapshots, and as many right vectors as are asked for."""

    values: Array
    """s (m,), descending."""
    right: Callable[[int], Array]
    """k -> the first k right vectors (m, k)."""

    @classmethod
    def of(cls, values: Array, vectors: Array) -> SmallSvd:
        """Where all vectors are there already."""
        return cls(values, lambda count: vectors[:, :count])


def svd_of_gram(gram: Array) -> SmallSvd:
    """From a Gram matrix; negative eigenvalues are rounding and become zero."""
    if is_numpy_array(gram) and len(gram) >= LARGE:
        large = Tridiagonal(gram)
        return SmallSvd(_roots(large.values[::-1]), lambda count: _fix_signs(large.leading(count)[:, ::-1]))
    xp = array_namespace(gram)
    values, vectors = xp.linalg.eigh((gram + xp.matrix_transpose(gram)) / 2.0)
    return SmallSvd.of(_roots(xp.flip(values)), _fix_signs(xp.flip(vectors, axis=1)))


def svd_of_r(factor: Array) -> SmallSvd:
    """From a triangular factor."""
    xp = array_namespace(factor)
    _, values, transposed = xp.linalg.svd(factor, full_matrices=False)
    return SmallSvd.of(values, _fix_signs(xp.matrix_transpose(transposed)))


def spectrum_of_gram(gram: Array) -> tuple[Array, Array]:
    """(s, V) of a Gram matrix, all of it: s (m,) descending, V (m, m)."""
    found = svd_of_gram(gram)
    return found.values, found.right(found.values.shape[0])


def spectrum_of_r(factor: Array) -> tuple[Array, Array]:
    """(s, V) of a triangular factor, all of it: s (m,) descending, V (m, m)."""
    found = svd_of_r(factor)
    return found.values, found.right(found.values.shape[0])


def _roots(values: Array) -> Array:
    xp = array_namespace(values)
    return xp.sqrt(xp.where(values > 0.0, values, xp.zeros_like(values)))


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
