"""Interpolation points: rows P at which a basis U (n, r) determines a field of its span, and by how much they amplify errors.

    f ~ U c,   c = (P^T U)^+ P^T f        || f - U c || <= || (P^T U)^+ || || f - U U^T f ||,     U orthonormal

*DEIM* takes the pivots of Gaussian elimination of U, *Q-DEIM* those of a QR of ``U^T`` with column pivoting, which is the row
that is farthest from the span of the rows chosen before:

    d_i^2 = |u_i|^2 - |Q^T u_i|^2,   next row = argmax d_i,   Q <- [Q, (u - Q Q^T u) / d]        Q (r, k): directions

Textbook pivoting updates all n residuals after each choice: r visits of U, at the rate of memory. Here they are updated *lazily*.
Residuals only fall, so one that is out of date is an upper bound, and a row may be chosen as soon as no bound lies above it:

    bounds d_i^2 ──> pool: the largest of all, and of each stratum     a few hundred rows, up to date, exact
                     choose from the pool while its best is not below `relaxation` times the largest bound outside
              <───── one product U Q_new brings all bounds up to date                  few rounds, level-3 products

With `relaxation` 1 the choice is that of Q-DEIM. With 1/100 every row chosen has at least a tenth of the largest distance: enough
for rows that are only proposed (`merge_proposals`), and mostly the pool alone serves.

Sources  Chaturantabut, Sorensen, SIAM J. Sci. Comput. 32 (2010), algorithm 1; Sorensen, Embree, SIAM J. Sci. Comput. 38 (2016);
         Drmac, Gugercin, SIAM J. Sci. Comput. 38 (2016), theorem 2.1; lazy greedy: Minoux 1978; tournaments: Demmel, Grigori, Gu,
         Xiang, SIAM J. Matrix Anal. Appl. 36 (2015)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dgetrf

from nwidth_graphs.kernels.panels import PANEL_ROWS

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Matrix = NDArray[np.floating]

POOL = 4
"""Rows of the pool per column of U: so many of the largest bounds, and so many strata."""
PROPOSING = 0.01
"""`relaxation` of rows that are only proposed."""
# A difference of squares has lost half of its digits here; residuals below are formed as vectors.
CANCELLED = 1e-8
# A row whose residual is this small beside the row itself is a combination of those chosen, to rounding.
DEPENDENT = 64.0 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Proposal:
    """Rows that some block holds for the best, in the order in which they were chosen."""

    numbers: Indices
    """(k,): of the rows in the whole basis."""
    rows: Floats
    """(k, r)."""


def deim(U: Matrix) -> Indices:
    """DEIM points (r,) of a basis U (n, r), in the order of its columns.

    Row l is where the interpolation of column l by the columns before is worst: the pivot of Gaussian elimination.

    Raises
    ------
    ValueError
        Columns depend on each other, or there are fewer rows than columns.
    """
    _refuse_wide(U)
    factors, swaps, _ = dgetrf(np.array(U, np.float64, order="F"))
    pivots = np.abs(np.diagonal(factors))
    if not pivots.min(initial=np.inf) > DEPENDENT * pivots.max(initial=0.0):
        raise ValueError("the columns of the basis depend on each other, so no points determine them; use fewer modes")
    order = np.arange(len(U))
    for step, other in enumerate(swaps):
        order[[step, other]] = order[[other, step]]
    return order[: U.shape[1]]


def qdeim(U: Matrix, count: int | None = None) -> Indices:
    """Q-DEIM points (count,) of a basis U (n, r), in the order of pivoting; all r of them by default.

    Raises
    ------
    ValueError
        Columns depend on each other, or there are fewer rows than columns.
    """
    _refuse_wide(U)
    wanted = U.shape[1] if count is None else count
    rows = pivot_rows(U, wanted)
    if len(rows) < wanted:
        raise ValueError(
            f"the basis has {U.shape[1]} columns of rank {len(rows)}, so {wanted} points are not determined; use fewer modes"
        )
    return rows


def pivot_rows(U: Matrix, count: int, *, relaxation: float = 1.0, floor: float = 0.0, norms: Floats | None = None) -> Indices:
    """At most `count` rows of U (n, r), each far from the span of those before; fewer where no row is farther than rounding.

    Parameters
    ----------
    relaxation : float
        Least share of the largest squared distance that a chosen row has: 1 is Q-DEIM.
    floor : float
        Squared distance below which no row is chosen.
    norms : (n,), squares of the rows, where they are known

    Cost: one visit for the norms, and at most one product ``U Q`` of ``2 n r count`` flops, in a few visits.
    """
    r = U.shape[1]
    norms = row_squares(U) if norms is None else norms
    bounds, chosen, Q = norms.copy(), np.empty(0, np.int64), np.empty((r, 0))
    while len(chosen) < min(count, r):
        pool = _pool(bounds, POOL * r)
        outside = _largest_outside(bounds, pool)
        rows = np.asarray(U[pool], np.float64)
        places, Q_next = choose_from_pool(rows, Q, min(count, r), relaxation * outside, floor)
        if len(places) == 0:
            break
        chosen = np.concatenate([chosen, pool[places]])
        if len(chosen) < min(count, r):
            bounds = lowered(bounds, norms, U, Q_next, Q.shape[1])
            bounds[chosen] = 0.0
        Q = Q_next
    return chosen


def choose_from_pool(rows: Floats, Q: Floats, count: int, outside: float, floor: float = 0.0) -> tuple[Indices, Floats]:
    """Choose rows (p, r) greedily until there are `count` directions, or the farthest is nearer than a row outside may be.

    Parameters
    ----------
    Q : (r, k)
        Orthonormal directions of the rows chosen before.
    outside : float
        Squared distance at which the pool is left; its first row is always taken, as the bounds outside are no higher.
    floor : float
        Squared distance below which no row is chosen.

    Returns
    -------
    places : (c,) in the order of choice, and the directions (r, k + c).
    """
    squares = row_squares(rows)
    base = _away_from(rows, Q)
    base_squares = _independent(row_squares(base), squares)
    distances, places = base_squares.copy(), list[int]()
    directions = np.empty((rows.shape[1], max(count, Q.shape[1])))
    directions[:, : Q.shape[1]] = Q
    used = Q.shape[1]
    while used < count and len(rows):
        best = int(np.argmax(distances))
        if distances[best] <= CANCELLED * base_squares[best]:
            base = _away_from(base, directions[:, :used])
            base_squares = _independent(row_squares(base), squares)
            base_squares[places] = 0.0
            distances = base_squares.copy()
            best = int(np.argmax(distances))
        if distances[best] <= floor or (places and distances[best] < outside):
            break
        direction = _away_from(base[best : best + 1], directions[:, :used])[0]
        direction = direction / np.linalg.norm(direction)
        directions[:, used] = direction
        used += 1
        distances = np.maximum(distances - (base @ direction) ** 2, 0.0)
        distances[best] = 0.0
        places.append(best)
    return np.array(places, np.int64), directions[:, :used]


def lowered(bounds: Floats, norms: Floats, U: Matrix, Q: Floats, known: int) -> Floats:
    """Squared distances (n,) of the rows of U to the span of Q (r, k), from `bounds`, those to its first `known` columns.

    Parameters
    ----------
    norms : (n,), squares of the rows
    """
    after, directions = np.empty_like(bounds), np.ascontiguousarray(Q[:, known:].T)
    for start in range(0, len(U), PANEL_ROWS):
        part = slice(start, start + PANEL_ROWS)
        along = directions @ np.asarray(U[part], np.float64).T  # (k, rows): a third faster than its transpose
        after[part] = bounds[part] - np.einsum("ij,ij->j", along, along)
    cancelled = np.flatnonzero((after <= CANCELLED * norms) & (bounds > 0.0))
    for start in range(0, len(cancelled), PANEL_ROWS):
        rows = cancelled[start : start + PANEL_ROWS]
        after[rows] = _independent(row_squares(_away_from(np.asarray(U[rows], np.float64), Q)), norms[rows])
    return np.maximum(after, 0.0)


def propose(U: Matrix, numbers: Indices, count: int, floor: float = 0.0, norms: Floats | None = None) -> Proposal:
    """What one block U (b, r) proposes: at most `count` of its rows, whose numbers in the whole basis are `numbers` (b,)."""
    rows = pivot_rows(U, count, relaxation=PROPOSING, floor=floor, norms=norms)
    return Proposal(numbers[rows], np.asarray(U[rows], np.float64))


def merge_proposals(parts: Sequence[Proposal], count: int) -> Proposal:
    """The winners of a tournament: pivots among all rows proposed.

    The tree loses nothing that would be needed: a row that is not handed on lies in the span of the winners of its match where
    there are r of them, and within the floor of it otherwise.
    """
    numbers, rows = np.concatenate([part.numbers for part in parts]), np.concatenate([part.rows for part in parts])
    winners = pivot_rows(rows, count)
    return Proposal(numbers[winners], rows[winners])


def proposal_floor(n: int) -> float:
    """Squared distance below which no block of an orthonormal basis of n rows needs to propose: ``1 / (100 n)``.

    Let E hold what all rows miss of the span of their block's proposals; then ``||E||_F^2 <= n floor = 1/100``. For a unit x that
    is orthogonal to all rows proposed, ``1 = |U x| = |E x| <= 1/10``: there is none, so the proposals have full rank.
    """
    return 1.0 / (100.0 * n)


def amplification(U: Matrix, rows: Indices) -> float:
    """``||(P^T U)^+||_2`` of points chosen from an orthonormal basis: how much larger the error may be than the best one."""
    return amplification_of(np.asarray(U[rows], np.float64))


def amplification_of(B: Floats) -> float:
    """``||B^+||_2 = 1 / s_r`` of sampled rows B (k, r); infinite where they do not determine r coefficients."""
    if len(B) < B.shape[1]:
        return math.inf
    s = np.linalg.svd(B, compute_uv=False)
    return float(1.0 / s[-1]) if s[-1] > DEPENDENT * s[0] else math.inf


def qdeim_bound(n: int, r: int) -> float:
    """What no Q-DEIM choice exceeds: ``sqrt(n - r + 1) sqrt(4^r + 6 r - 1) / 3`` (Drmac and Gugercin 2016, theorem 2.1)."""
    return math.sqrt(n - r + 1) * math.sqrt(4.0**r + 6 * r - 1) / 3


def deim_bound(n: int, r: int) -> float:
    """What no DEIM choice exceeds: ``sqrt(n r / 3) 2^r`` (Sorensen and Embree 2016, lemma 4.4)."""
    return math.sqrt(n * r / 3) * 2.0**r


def row_squares(U: Matrix) -> Floats:
    """Squared norms (n,) of rows, panel by panel."""
    squares = np.empty(len(U))
    for start in range(0, len(U), PANEL_ROWS):
        panel = np.asarray(U[start : start + PANEL_ROWS], np.float64)
        squares[start : start + PANEL_ROWS] = np.einsum("ij,ij->i", panel, panel)
    return squares


def _away_from(rows: Floats, Q: Floats) -> Floats:
    """Rows minus their projections on orthonormal directions, twice: the second takes what rounding left of the first."""
    for _ in range(2 if Q.shape[1] else 0):
        rows = rows - (rows @ Q) @ Q.T
    return rows


def _independent(distances: Floats, squares: Floats) -> Floats:
    """Squared distances, zero where they are rounding beside the squares of the rows."""
    return np.where(distances > DEPENDENT**2 * squares, distances, 0.0)


def _pool(bounds: Floats, size: int) -> Indices:
    """Rows with the `size` largest bounds, and the largest of each of `size` strata: neighbours resemble each other."""
    n = len(bounds)
    if n <= 2 * size:
        return np.arange(n)
    largest = np.argpartition(bounds, n - size)[n - size :]
    width = n // size
    strata = bounds[: size * width].reshape(size, width)
    return np.unique(np.concatenate([largest, np.arange(size) * width + strata.argmax(axis=1)]))


def _largest_outside(bounds: Floats, pool: Indices) -> float:
    others = bounds.copy()
    others[pool] = 0.0
    return float(others.max(initial=0.0))


def _refuse_wide(U: Matrix) -> None:
    if U.shape[0] < U.shape[1]:
        raise ValueError(
            f"a basis of {U.shape[1]} columns has {U.shape[0]} rows, and needs as many points as columns; use fewer modes"
        )
