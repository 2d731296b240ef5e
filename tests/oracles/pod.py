"""Dense POD on one machine, in any SPD inner product: what every distributed route is compared with.

``S (n, m)`` is mapped to ``A = L' S`` with ``M = L L'`` (Cholesky), so that Euclidean products of ``A`` are M-products of ``S``;
one LAPACK SVD ``A = U diag(s) V'`` then gives modes ``Phi = inverse(L') U``. Nothing is squared: singular values are trustworthy
down to about ``eps s[0]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DensePod:
    """A POD of ``(n, m)`` snapshots with N modes; singular values are given in full, modes are truncated."""

    modes: Floats  # (n, N), M-orthonormal
    singular_values: Floats  # (min(n, m),), all of them, descending
    coefficients: Floats  # (N, m), modes' M (S - mean)
    mean: Floats  # (n,), zeros unless centred
    error: float  # relative Frobenius projection error
    snapshot_errors: Floats  # (m,), relative projection error per snapshot; zero for a zero snapshot

    @property
    def rank(self) -> int:
        return int(self.modes.shape[1])


def dense_pod(
    S: Any,
    M: Any = None,
    weights: Any = None,
    *,
    centre: bool = False,
    rtol: float | None = None,
    rank: int | None = None,
) -> DensePod:
    """POD of the columns of `S` in the inner product ``x' M y`` (or ``x' diag(weights) y``).

    The number of modes is the smallest one whose measured tail ``sqrt(sum_{i>N} s_i^2) / sqrt(sum_i s_i^2)`` is at most `rtol`,
    cut at `rank`; without both, all singular values above ``eps * max(n, m) * s[0]`` are kept. Errors are measured by projecting,
    not computed from the spectrum. With `centre`, the mean over snapshots is taken off first and errors are of what is left.
    """
    S = np.asarray(S, np.float64)
    mean = S.mean(axis=1) if centre else np.zeros(len(S))
    fluctuation = S - mean[:, None]
    to_euclidean, from_euclidean = _inner_product(len(S), M, weights)
    A = to_euclidean(fluctuation)
    U, s, _ = scipy.linalg.svd(A, full_matrices=False, lapack_driver="gesvd")
    keep = _truncate(s, max(S.shape), rtol, rank)
    coefficients = U[:, :keep].T @ A
    residual = np.linalg.norm(A - U[:, :keep] @ coefficients, axis=0)
    norms = np.linalg.norm(A, axis=0)
    return DensePod(
        modes=from_euclidean(U[:, :keep]),
        singular_values=s,
        coefficients=coefficients,
        mean=mean,
        error=float(np.linalg.norm(residual) / np.linalg.norm(norms)) if norms.any() else 0.0,
        snapshot_errors=np.divide(residual, norms, out=np.zeros_like(norms), where=norms > 0),
    )


def projection_errors(S: Any, modes: Any, M: Any = None, weights: Any = None) -> tuple[float, Floats]:
    """Relative errors ``||S - Phi Phi' M S||_M``: (Frobenius over all snapshots, one per snapshot), for M-orthonormal `modes`."""
    S, modes = np.asarray(S, np.float64), np.asarray(modes, np.float64)
    to_euclidean, _ = _inner_product(len(S), M, weights)
    A, Q = to_euclidean(S), to_euclidean(modes)
    residual, norms = np.linalg.norm(A - Q @ (Q.T @ A), axis=0), np.linalg.norm(A, axis=0)
    relative = np.divide(residual, norms, out=np.zeros_like(norms), where=norms > 0)
    return float(np.linalg.norm(residual) / np.linalg.norm(norms)), relative


def smallest_rank(singular_values: Any, rtol: float) -> int:
    """The smallest N with ``sum_{i>N} s_i^2 <= rtol^2 sum_i s_i^2``."""
    energy = np.asarray(singular_values, np.float64) ** 2
    tails = np.append(np.cumsum(energy[::-1])[::-1], 0.0)  # smallest terms first: no cancellation
    return int(np.argmax(tails <= rtol**2 * tails[0]))


def matrix_with_spectrum(n: int, m: int, singular_values: Any, seed: int) -> Floats:
    """An ``(n, m)`` matrix ``U diag(s) V'`` with Haar-distributed orthonormal factors; at most ``min(n, m)`` singular values."""
    s = np.asarray(singular_values, np.float64)
    generator = np.random.default_rng(seed)
    U = _orthonormal(n, len(s), generator)
    V = _orthonormal(m, len(s), generator)
    return np.asarray((U * s) @ V.T)


def _orthonormal(n: int, k: int, generator: np.random.Generator) -> Floats:
    Q, R = np.linalg.qr(generator.standard_normal((n, k)))
    return np.asarray(Q * np.where(np.diag(R) < 0, -1.0, 1.0))


def _truncate(s: Floats, size: int, rtol: float | None, rank: int | None) -> int:
    keep = int((s > np.finfo(float).eps * size * s[0]).sum()) if s.size else 0
    if rtol is not None:
        keep = smallest_rank(s, rtol)
    return keep if rank is None else min(keep, rank)


def _inner_product(n: int, M: Any, weights: Any) -> tuple[Any, Any]:
    """The map ``x -> L' x`` to Euclidean coordinates and its inverse."""
    if M is not None and weights is not None:
        raise ValueError("give M or weights, not both")
    if M is not None:
        L = scipy.linalg.cholesky(M.toarray() if sp.issparse(M) else np.asarray(M, np.float64), lower=True)
        return (lambda x: L.T @ x), (lambda x: scipy.linalg.solve_triangular(L.T, x))
    root = np.sqrt(np.ones(n) if weights is None else np.asarray(weights, np.float64))[:, None]
    # Points of weight zero are invisible to the inner product; their modes' values are set to zero.
    return (lambda x: root * x), (lambda x: np.divide(x, root, out=np.zeros_like(x), where=root > 0))
