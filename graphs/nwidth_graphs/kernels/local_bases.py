"""Local bases, and the error of every snapshot on every one of them, from coordinates alone.

    members X_k (N, m_k), normalised  =  U diag(s) V'        T_k = U[:, :r]  (N, r): modes as coordinates in the common frame

Bases of all clusters share the frame, so the error of any snapshot on any of them is a matter of small products, and one product
per cluster gives it for all numbers of modes at once: with ``c = T_k' x``,

    |x - T_k[:, :r] c[:r]|^2 = |x|^2 - sum_{i <= r} c_i^2

Where that cancels, below 1e-5 of |x|, the residual itself is formed. Members are normalised because the target is the relative
error: without, the largest snapshots take all modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from nwidth_graphs.kernels.angles import Floats, Matrix, unit_columns
from nwidth_graphs.kernels.lift import PYTHAGORAS_LIMIT
from nwidth_graphs.kernels.partition import Indices
from nwidth_graphs.kernels.svd import rank_for_tolerance

# Least ratio of the squares of two singular values that a Gram matrix is trusted with: the smaller is then right to 1e-4.
SQUARED_RATIO = 1e-12


@dataclass(frozen=True)
class LocalBasis:
    """Modes of one cluster."""

    modes: Floats
    """T (N, r), orthonormal, the most important first."""
    singular_values: Floats
    """All of them, (min(N, m_k),), of the members as normalised or not."""

    @property
    def rank(self) -> int:
        return int(self.modes.shape[1])


def local_basis(X: Matrix, *, rank: int | None = None, rtol: float | None = None, normalise: bool = True) -> LocalBasis:
    """POD of members given as coordinates X (N, m_k).

    Parameters
    ----------
    rank : int, optional
        At most so many modes. Never more than the members span: singular values below ``max(N, m_k) eps s_1`` are rounding.
    rtol : float, optional
        The fewest modes with ``sqrt(sum_{i>r} s_i^2) <= rtol sqrt(sum_i s_i^2)``.
    normalise : bool
        Divide members by their norms first; zero members stay zero and count for nothing.

    Raises
    ------
    ValueError
        A coordinate is not finite.
    """
    unit, norms = unit_columns(X)
    members = unit if normalise else unit * norms
    # Of many members only the triangular factor of the transpose counts, and right vectors are not wanted: X = R'Q'.
    if members.shape[1] > members.shape[0]:
        members = np.linalg.qr(members.T, mode="r").T
    modes, s, _ = np.linalg.svd(members, full_matrices=False)
    keep = int(np.count_nonzero(s > max(X.shape) * np.finfo(np.float64).eps * s[:1].sum()))
    if rtol is not None:
        keep = min(keep, rank_for_tolerance(s, rtol))
    return LocalBasis(modes[:, : keep if rank is None else min(keep, rank)], s)


def leading_modes(X: Matrix, rank: int, gram: Matrix | None = None) -> Floats:
    """The first modes T (N, r) of members X (N, m_k) as they are, for trials: a few modes of each of very many clusters.

    By eigenvectors of the smaller of ``X'X = W diag(s^2) W'`` and ``XX'``, ``T = X W / s``, which takes a tenth of the time of a
    singular value decomposition. Squares halve the digits: where a mode is wanted with ``s_r < 1e-6 s_1``, that is done after
    all. Modes are orthonormal to rounding either way.

    Parameters
    ----------
    rank : int
        At most so many; fewer where the members span fewer.
    gram : (m_k, m_k) array, optional
        ``X'X``, where it is known.
    """
    size = min(X.shape)
    wanted = min(rank, size)
    if wanted < 1:
        return np.zeros((X.shape[0], 0))
    by_rows = gram is None and X.shape[0] < X.shape[1]
    G = gram if gram is not None else X @ X.T if by_rows else X.T @ X
    squares, vectors = scipy.linalg.eigh(G, subset_by_index=(len(G) - wanted, len(G) - 1), check_finite=False)
    squares, vectors = squares[::-1], vectors[:, ::-1]
    if not squares[-1] > SQUARED_RATIO * squares[0]:
        return local_basis(X, rank=rank, normalise=False).modes
    modes = vectors if by_rows else X @ (vectors / np.sqrt(squares))
    # Rounding of the squares leaves a defect of up to eps / 1e-12: one step of Cholesky takes it away.
    lower = np.linalg.cholesky(modes.T @ modes)
    return np.ascontiguousarray(scipy.linalg.solve_triangular(lower, modes.T, lower=True, check_finite=False).T)


def relative_errors(X: Matrix, bases: Sequence[Matrix], ranks: Sequence[int]) -> Floats:
    """Relative projection error of every snapshot on every basis, ``(K, len(ranks), m)``.

    Parameters
    ----------
    X : (N, m) array
        All snapshots, also those that no basis was made of.
    bases : sequence of (N, r_k) arrays with orthonormal columns
    ranks : sequence of int
        Numbers of modes; a basis that has fewer is used whole. Zero modes have the error 1.

    A zero snapshot has the error 0: every basis holds it.

    Raises
    ------
    ValueError
        A coordinate is not finite.
    """
    unit, norms = unit_columns(X)
    errors = np.empty((len(bases), len(ranks), unit.shape[1]))
    for cluster, T in enumerate(bases):
        coefficients = T.T @ unit
        captured = np.vstack([np.zeros(unit.shape[1]), np.cumsum(coefficients**2, axis=0)])
        for place, rank in enumerate(ranks):
            used = min(rank, T.shape[1])
            missed = np.sqrt(np.maximum(1.0 - captured[used], 0.0))
            small = np.flatnonzero(missed < PYTHAGORAS_LIMIT)
            missed[small] = np.linalg.norm(unit[:, small] - T[:, :used] @ coefficients[:used, small], axis=0)
            errors[cluster, place] = missed
    errors[:, :, norms == 0.0] = 0.0
    return errors


def simulation_errors(errors: Floats, norms: Floats, simulations: Indices, weights: Matrix | None = None) -> Floats:
    """Relative errors of whole simulations from those of their snapshots: ``sqrt(sum_t w_t e_t^2 |u_t|^2 / sum_t w_t |u_t|^2)``.

    Parameters
    ----------
    errors : (..., m) array
        From `relative_errors`.
    norms : (m,) array
        Of the snapshots.
    simulations : (S, T) array of int
        Snapshots of each simulation.
    weights : (T,) array, optional
        Of the times.

    Returns
    -------
    (..., S) array; 0 for a simulation of zeros.
    """
    shares = norms[simulations] ** 2 * (1.0 if weights is None else np.asarray(weights))
    total = shares.sum(axis=1)
    missed = np.sum(errors[..., simulations] ** 2 * shares, axis=-1)
    return np.asarray(np.sqrt(missed / np.where(total > 0.0, total, 1.0)))
