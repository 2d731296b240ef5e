"""Dissimilarities of subspaces: simulations, each represented by a basis of its snapshots.

    A (N, p), B (N, q) orthonormal;  cos theta_a = singular values of A'B,  0 <= theta_1 <= theta_2 <= ...

Small angles are taken from the sines, the singular values of ``B - A A'B``, where the cosines are too close to 1 to tell them.
All pairs are made together: one product of all bases, and stacks of small SVDs.

    geodesic      sqrt(sum theta^2)              Procrustes   2 sqrt(sum sin^2(theta / 2))
    chordal       sqrt(sum sin^2 theta)          Martin       sqrt(log prod 1 / cos^2 theta)
    Binet-Cauchy  sqrt(1 - prod cos^2 theta)     projection   sin of the largest angle
    Fubini-Study  arccos prod cos theta          spectral     2 sin of half the largest angle

Subspaces of different dimensions share ``min(p, q)`` angles. With `missing` the ``|p - q|`` others count as pi/2: the
distances on the union of all Grassmannians, which are metrics; without, subspaces that contain one another are at 0.

Source  K. Ye, L.-H. Lim, Schubert varieties and distances between subspaces of different dimensions, SIAM J. Matrix Anal. Appl.
        37 (2016); A. Bjorck, G. Golub, Numerical methods for computing angles between linear subspaces, Math. Comp. 27 (1973)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.angles import Floats, Matrix

# From here down angles are taken from sines: an arc cosine is off by u / theta, 2e-13 at this angle.
SMALL_ANGLE = 1e-3
# A stack of pairs whose residuals are held at once.
STACK_ENTRIES = 2**22


def principal_angles(bases: Sequence[Matrix], *, missing: bool = False) -> Floats:
    """Angles (S, S, p) between all pairs of S subspaces, ascending, p the largest dimension; what is not an angle is 0.

    Parameters
    ----------
    bases : sequence of (N, p_i) arrays with orthonormal columns
    missing : bool
        Put the ``|p_i - p_j|`` angles that two dimensions do not share at pi/2.

    Raises
    ------
    ValueError
        There is no basis, or they have different numbers of rows.
    """
    stack, sizes = _stacked(bases)
    angles = np.zeros((len(sizes), len(sizes), stack.shape[2]))
    for i in range(len(sizes)):
        found = _angles_to(stack[i], stack[i:], np.minimum(sizes[i], sizes[i:]))
        if missing:
            places = np.arange(stack.shape[2])
            low, high = np.minimum(sizes[i], sizes[i:]), np.maximum(sizes[i], sizes[i:])
            found[(places >= low[:, None]) & (places < high[:, None])] = np.pi / 2
        angles[i, i:] = angles[i:, i] = found
        angles[i, i] = 0.0
    return angles


def _stacked(bases: Sequence[Matrix]) -> tuple[Floats, NDArray[np.int64]]:
    """Bases beside one another, (S, N, p), filled up with zero columns; their dimensions (S,)."""
    if not bases or len({basis.shape[0] for basis in bases}) > 1:
        rows = sorted({basis.shape[0] for basis in bases})
        raise ValueError(f"the bases have {rows or 'no'} rows; give at least one basis, all in the same frame")
    sizes = np.array([basis.shape[1] for basis in bases])
    stack = np.zeros((len(bases), bases[0].shape[0], int(sizes.max())))
    for place, basis in zip(stack, bases, strict=True):
        place[:, : basis.shape[1]] = basis
    return stack, sizes


def _angles_to(A: Floats, others: Floats, shared: Matrix) -> Floats:
    """Angles (s, p) of one basis (N, p) to a stack of them (s, N, p); only the first `shared` of each are angles."""
    places = np.arange(A.shape[1])
    angle = places < np.asarray(shared)[:, None]
    products = A.T @ others
    cosines = np.clip(np.linalg.svd(products, compute_uv=False), 0.0, 1.0)
    angles = np.where(angle, np.arccos(cosines), 0.0)
    near = np.flatnonzero((angle & (angles < SMALL_ANGLE)).any(axis=1))
    step = max(1, STACK_ENTRIES // A.size)
    for part in (near[start : start + step] for start in range(0, len(near), step)):
        sines = _sines(A, others[part], products[part])
        angles[part] = np.where(cosines[part] ** 2 > 0.5, np.where(angle[part], np.arcsin(sines), 0.0), angles[part])
    return np.asarray(angles)


def _sines(A: Floats, others: Floats, products: Floats) -> Floats:
    """Sines (s, p) ascending, of the smaller subspace to the larger one (the other way round, the missing angles would show)."""
    smaller = np.count_nonzero(A.any(axis=0)) < others.any(axis=1).sum(axis=1)
    residuals = np.where(
        smaller[:, None, None], A - others @ products.transpose(0, 2, 1), others - A @ products
    )  # (s, N, p), a column for every column of the smaller basis, zero for columns that only fill up
    values = np.linalg.svd(residuals, compute_uv=False)[:, ::-1]
    filled = values.shape[1] - np.minimum(np.count_nonzero(A.any(axis=0)), others.any(axis=1).sum(axis=1))
    # Columns that fill up give zeros, which come first in ascending order: they go behind the angles.
    order = (np.arange(values.shape[1]) + filled[:, None]) % values.shape[1]
    padded = np.zeros((len(values), A.shape[1]))
    padded[:, : values.shape[1]] = np.take_along_axis(values, order, axis=1)
    return np.clip(padded, 0.0, 1.0)


def geodesic(angles: Floats) -> Floats:
    """``sqrt(sum theta^2)``: the length of the shortest path on the Grassmannian; all these take angles (..., p) to (...)."""
    return np.asarray(np.sqrt(np.sum(angles**2, axis=-1)))


def chordal(angles: Floats) -> Floats:
    """``sqrt(sum sin^2 theta)``: over sqrt(2), the Frobenius distance of the projectors."""
    return np.asarray(np.sqrt(np.sum(np.sin(angles) ** 2, axis=-1)))


def binet_cauchy(angles: Floats) -> Floats:
    """``sqrt(1 - prod cos^2 theta)``, without cancellation: ``1 - prod cos^2 = -expm1(sum log1p(-sin^2))``."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.sqrt(-np.expm1(np.sum(np.log1p(-(np.sin(angles) ** 2)), axis=-1))))


def fubini_study(angles: Floats) -> Floats:
    """``arccos prod cos theta``, as the arcsine of `binet_cauchy`, which small angles do not cancel in."""
    return np.asarray(np.arcsin(np.minimum(binet_cauchy(angles), 1.0)))


def procrustes(angles: Floats) -> Floats:
    """``2 sqrt(sum sin^2(theta / 2))``: the smallest Frobenius distance of two orthonormal bases of the subspaces."""
    return np.asarray(2.0 * np.sqrt(np.sum(np.sin(angles / 2.0) ** 2, axis=-1)))


def martin(angles: Floats) -> Floats:
    """``sqrt(log prod 1 / cos^2 theta)``; huge where an angle is pi/2."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.sqrt(np.maximum(-np.sum(np.log1p(-(np.sin(angles) ** 2)), axis=-1), 0.0)))


def projection(angles: Floats) -> Floats:
    """Sine of the largest angle: the spectral distance of the projectors."""
    return np.asarray(np.sin(np.max(angles, axis=-1)))


def spectral(angles: Floats) -> Floats:
    """Twice the sine of half the largest angle."""
    return np.asarray(2.0 * np.sin(np.max(angles, axis=-1) / 2.0))


FAMILY: dict[str, Callable[[Floats], Floats]] = {
    "geodesic": geodesic,
    "chordal": chordal,
    "binet-cauchy": binet_cauchy,
    "fubini-study": fubini_study,
    "procrustes": procrustes,
    "martin": martin,
    "projection": projection,
    "spectral": spectral,
}
"""Name -> dissimilarity of subspaces from their principal angles."""


def bi_projection(snapshots: Sequence[Matrix], bases: Sequence[Matrix]) -> Floats:
    """``min(|Q_a - P_b Q_a|, |Q_b - P_a Q_b|) / ((|Q_a| + |Q_b|) / 2)``, Frobenius: (S, S), symmetric, zero diagonal.

    Parameters
    ----------
    snapshots : sequence of (N, m_i) arrays
        Q: coordinates of the snapshots of every simulation.
    bases : sequence of (N, p_i) arrays with orthonormal columns
        ``P_i = T_i T_i'``.

    Two zero simulations are at 0; of a truncated basis, the diagonal is put to 0 as well. The residuals are formed, not their
    squares subtracted: twice the work, and no floor.
    """
    missed = np.array([[np.linalg.norm(Q - T @ (T.T @ Q)) for T in bases] for Q in snapshots])
    norms = np.array([np.linalg.norm(Q) for Q in snapshots])
    mean = (norms[:, None] + norms) / 2.0
    D = np.minimum(missed, missed.T) / np.where(mean > 0.0, mean, 1.0)
    np.fill_diagonal(D, 0.0)
    return np.asarray(D)
