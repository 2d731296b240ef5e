"""Empirical normalised Kolmogorov widths: how small the worst relative error of N modes can be, bracketed.

    dbar_N(X) = min over subspaces W of dimension N of  max_j |x_j - P_W x_j| / |x_j|

The minimum itself is not computed; it lies between curves that are:

    above   POD of the normalised snapshots, its worst error                               a subspace, so an upper bound
    above   strong greedy: always add the snapshot that is worst approximated so far       |R_NN| of a pivoted QR
    below   sqrt(sum_{i>N} s_i^2 / m)  >=  s_{N+1} / sqrt(m)                               no mean exceeds a maximum

The last holds for every part of the set too, because a part is easier to approximate: it is taken over all snapshots and over the
first n that the greedy picked, for all n, and the largest counts. Near duplicates, which dilute the mean over all, are not among
those.

For one part of a partition, `widths` of its members. Facts that tie the parts to the whole: the span of the K representatives is
a subspace, so ``dbar_K(all) <= max_k dbar_1(part k)``; and on a basis that holds the representative r, errors are at most the
sine to r.

Source  T. Daniel, F. Casenave et al., Optimal piecewise linear data compression (2021), arXiv:2108.12291, for the normalised
        width; P. Binev et al., Convergence rates for greedy algorithms, SIAM J. Math. Anal. 43 (2011)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from nwidth_graphs.kernels.angles import Floats, Matrix, unit_columns
from nwidth_graphs.kernels.local_bases import local_basis, relative_errors
from nwidth_graphs.kernels.partition import Indices
from nwidth_graphs.kernels.svd import tail_norms


@dataclass(frozen=True)
class Widths:
    """Curves over numbers of modes; all (R,)."""

    ranks: Indices
    pod: Floats
    """Worst relative error of the POD of the normalised snapshots: from above."""
    greedy: Floats
    """Worst relative error of the strong greedy: from above."""
    lower: Floats
    """No subspace does better than this."""

    @property
    def upper(self) -> Floats:
        """The smaller of the two bounds from above."""
        return np.minimum(self.pod, self.greedy)


def widths(X: Matrix, ranks: Sequence[int]) -> Widths:
    """Bracket ``dbar_N`` of the columns of X (N, m) for several N. Zero snapshots are left out.

    Cost: one SVD and one pivoted QR of X, and an SVD of every leading square of R up to twice the largest rank.

    Raises
    ------
    ValueError
        A coordinate is not finite.
    """
    unit, norms = unit_columns(X)
    unit = unit[:, norms > 0.0]
    asked = np.asarray(ranks, np.int64)
    if not unit.shape[1]:
        nothing = np.zeros(len(asked))
        return Widths(asked, nothing, nothing, nothing)
    whole = local_basis(unit, rank=int(asked.max()))
    pod = relative_errors(unit, [whole.modes], [int(rank) for rank in asked])[0].max(axis=1)
    R, _ = greedy_factor(unit)
    greedy = _padded(_residuals(R), asked)
    return Widths(asked, pod, greedy, _lower(R, whole.singular_values, unit.shape[1], asked))


def greedy_factor(unit: Floats) -> tuple[Floats, Indices]:
    """R (min(N, m), m) of the column-pivoted QR, and the picks (m,): the strong greedy in one call of LAPACK.

    Pivoting takes the column of largest residual, which on normalised columns is the worst relative error, so ``|R_nn|`` is that
    error on the span of the n picks before.
    """
    R, picks = scipy.linalg.qr(unit, mode="r", pivoting=True)
    return R[: min(unit.shape)], picks.astype(np.int64)


def _residuals(R: Floats) -> Floats:
    """Worst error after every number of picks: the longest column below that row of R.

    It is ``|R_nn|`` up to the square root of rounding, by which LAPACK's running norms may miss the longest.
    """
    return np.asarray(np.sqrt(np.cumsum(R[::-1] ** 2, axis=0)[::-1].max(axis=1)))


def _padded(values: Floats, places: Indices) -> Floats:
    """``values[places]``, zero behind the end: as many modes as dimensions leave nothing."""
    inside = np.minimum(places, len(values) - 1)
    return np.where(places < len(values), values[inside], 0.0)


def _lower(R: Floats, singular_values: Floats, columns: int, ranks: Indices) -> Floats:
    bound = _padded(tail_norms(singular_values), ranks) / np.sqrt(columns)
    for picked in range(1, min(len(R), 2 * int(ranks.max()) + 1) + 1):
        tails = tail_norms(np.linalg.svd(R[:picked, :picked], compute_uv=False))
        bound = np.maximum(bound, _padded(tails, ranks) / np.sqrt(picked))
    return np.asarray(bound)
