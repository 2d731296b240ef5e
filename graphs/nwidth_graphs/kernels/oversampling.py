"""More interpolation points than modes: rows that are added to given ones (GappyPOD+E), and rows that are chosen for S (S-OPT).

    GappyPOD+E   the row that lifts the lower bound of the smallest singular value of P^T U most
    S-OPT        the row with the largest S(B) = ( sqrt(det B^T B) / prod_j |B_j| )^(1/r)     of the sampled rows B (k, r)

S is 1 for orthogonal columns and 0 for dependent ones: it weighs independence against norms. Every step of either visits all rows
once, ``O(n r)``: determinants change by rank-one updates.

Sources  Peherstorfer, Drmac, Gugercin, SIAM J. Sci. Comput. 42 (2020), section 3.3 (GappyPOD+E); Lauzon, Cheung, Shin, Choi,
         Copeland, Huynh, SIAM J. Sci. Comput. 46 (2024) (S-OPT); determinants: matrix determinant lemma
"""

from __future__ import annotations

import math

import numpy as np

from nwidth_graphs.kernels.interpolation import Floats, Indices, Matrix, amplification_of, row_squares


def oversampled(U: Matrix, points: Indices, count: int) -> Indices:
    """`points` and as many more rows of U (n, r) as make `count`, by GappyPOD+E; those added follow in the order of choice.

    With ``P^T U = . diag(s) W^T`` and ``g = s_{r-1}^2 - s_r^2``, a row u has the score ``b - sqrt(b^2 - 4 g (w_r . u)^2)``,
    ``b = g + |u|^2``: twice a lower bound of what it adds to ``s_r^2``.

    Raises
    ------
    ValueError
        There are fewer rows than `count`, or fewer points than columns.
    """
    n, r = U.shape
    if len(points) < r or count > n:
        raise ValueError(
            f"{len(points)} points and {n} rows cannot become {count} points of {r} modes; start from at least {r}, and ask for "
            f"{n} at most"
        )
    chosen, squares = list(map(int, points)), row_squares(U)
    while len(chosen) < count:
        _, s, W = np.linalg.svd(np.asarray(U[chosen], np.float64))
        gap = float(s[-2] ** 2 - s[-1] ** 2) if r > 1 else 0.0
        b = gap + squares
        # One mode has no gap to close: its score is the limit, the square of the row.
        lifted = 4.0 * gap * (U @ W[-1]) ** 2 if r > 1 else np.zeros(n)
        # b - sqrt(b^2 - c) = c / (b + sqrt(b^2 - c)), which does not cancel where c is small.
        root = np.sqrt(np.maximum(b**2 - lifted, 0.0))
        score = squares.copy() if r == 1 else lifted / np.maximum(b + root, np.finfo(float).tiny)
        score[chosen] = -math.inf
        chosen.append(int(np.argmax(score)))
    return np.array(chosen, np.int64)


def s_optimal(U: Matrix, count: int) -> Indices:
    """`count` rows of U (n, r) by the greedy S-OPT, in the order of choice.

    The first is the largest entry of column 1. While k < r rows are chosen, S is that of the first k + 1 columns: a square B,
    whose determinant is linear in the row that is added. Later ``det(B^T B + u u^T) = det(B^T B) (1 + u^T (B^T B)^-1 u)``.

    Raises
    ------
    ValueError
        `count` is below r or above n, or columns depend on each other.
    """
    n, r = U.shape
    if not r <= count <= n:
        raise ValueError(f"S-OPT was asked for {count} points of {r} modes among {n} rows; ask for at least {r} and at most {n}")
    basis: Floats = np.asarray(U, np.float64)
    if not np.abs(basis).max(axis=0).min() > 0.0:
        raise ValueError("a column of the basis is zero, so no points determine its coefficient; use fewer modes")
    chosen = [int(np.argmax(np.abs(basis[:, 0])))]
    while len(chosen) < count:
        score = _square_scores(basis, chosen) if len(chosen) < r else _tall_scores(basis, chosen)
        score[chosen] = -math.inf
        chosen.append(int(np.argmax(score)))
        if len(chosen) == r and amplification_of(basis[chosen]) == math.inf:
            raise ValueError("the columns of the basis depend on each other, so no points determine them; use fewer modes")
    return np.array(chosen, np.int64)


def s_value(B: Matrix) -> float:
    """``S(B)`` of sampled rows (k, r), k >= r, between 0 and 1 (Hadamard)."""
    s = np.linalg.svd(B, compute_uv=False)
    norms = np.linalg.norm(B, axis=0)
    if not (s.min() > 0.0 and norms.min() > 0.0):
        return 0.0
    return float(np.exp((np.log(s).sum() - np.log(norms).sum()) / B.shape[1]))


def _square_scores(U: Floats, chosen: list[int]) -> Floats:
    """``log S`` (n,), up to a constant, of k rows and one more in k + 1 columns: ``|det| ~ |u . z|``, z the null vector."""
    used = len(chosen) + 1
    B = U[chosen, :used]
    z = np.linalg.svd(B)[2][-1]
    columns = np.einsum("ij,ij->j", B, B)
    with np.errstate(divide="ignore"):  # a determinant of zero has the score minus infinity, which never wins
        return np.asarray(np.log(np.abs(U[:, :used] @ z)) - _log_norms(columns, U[:, :used]))


def _tall_scores(U: Floats, chosen: list[int]) -> Floats:
    """``log S`` (n,), up to a constant, of k >= r chosen rows and one more."""
    B = U[chosen]
    triangle = np.linalg.qr(B, mode="r")
    solved = np.linalg.solve(triangle.T, U.T)
    columns = np.einsum("ij,ij->j", B, B)
    return np.asarray(0.5 * np.log1p(np.einsum("ij,ij->j", solved, solved)) - _log_norms(columns, U))


def _log_norms(columns: Floats, U: Floats) -> Floats:
    """``sum_j log sqrt(|B_j|^2 + u_j^2)`` (n,)."""
    with np.errstate(divide="ignore"):
        return np.asarray(0.5 * np.log(columns + U**2).sum(axis=1))
