"""From one local basis to another while marching: change of coordinates, what it loses, and which basis is nearest.

    u = u_0 + Phi_l q_l        q_k = T_kl q_l,   T_kl = Phi_k' M Phi_l = T_k' T_l   (r_k, r_l)

    loss of a switch     |q_l - T_kl' q_k| / |q_l| = sqrt(1 - |q_k|^2 / |q_l|^2)              (u_0 = 0)
    nearest centre       |u - c_k|^2 - |u - c_j|^2 = (|u_0 - c_k|^2 - |u_0 - c_j|^2) - 2 q . Phi_l' M (c_k - c_j)
    nearest line         cos^2(u, c_k) = (q . a_lk)^2 / (q . q),   a_lk = Phi_l' M c_k / |c_k|   (u_0 = 0)

Everything on the right is precomputed from coordinates in the common frame: online, a choice among K costs K r_l products and
no field.

Source  Amsallem, Zahr, Farhat, Int. J. Numer. Meth. Engng 92 (2012) for the Euclidean scalars
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix, unit_columns


def transitions(bases: Sequence[Matrix]) -> list[list[Floats]]:
    """``T_kl = T_k' T_l`` for all pairs, as ``result[k][l] (r_k, r_l)``: one product of all bases, cut into blocks."""
    ends = np.cumsum([0, *(basis.shape[1] for basis in bases)])
    beside = np.hstack(bases)
    products = beside.T @ beside
    ranges = [slice(start, stop) for start, stop in itertools.pairwise(ends)]
    return [[products[rows, columns] for columns in ranges] for rows in ranges]


def switch_loss(transition: Matrix, coordinates: Matrix) -> Floats:
    """Relative loss (...,) of changing to another basis with T_kl (r_k, r_l), for coordinates q_l (r_l, ...); 0 for q = 0.

    The residual ``q - T'Tq`` would be longer than what is lost where the bases are tilted; norms say it directly, down to 1e-8.
    """
    kept = np.sum((transition @ coordinates) ** 2, axis=0)
    total = np.sum(np.asarray(coordinates, np.float64) ** 2, axis=0)
    return np.asarray(np.sqrt(np.maximum(1.0 - kept / np.where(total > 0.0, total, 1.0), 0.0)) * (total > 0.0))


@dataclass(frozen=True)
class NearestCentre:
    """Euclidean choice among K centres from reduced coordinates."""

    constants: Floats
    """(K,): ``|u_0 - c_k|^2``."""
    vectors: tuple[Floats, ...]
    """One (r_l, K) for every basis: ``-2 Phi_l' M (c_k - u_0)``."""

    def scores(self, basis: int, q: Matrix) -> Floats:
        """``|u - c_k|^2 - |q|^2``, (K,), of ``u = u_0 + Phi_l q``: smallest for the nearest centre."""
        return np.asarray(self.constants + q @ self.vectors[basis])

    def choose(self, basis: int, q: Matrix) -> int:
        """Nearest centre, the lowest of several."""
        return int(np.argmin(self.scores(basis, q)))


def nearest_centre(bases: Sequence[Matrix], centres: Matrix, offset: Matrix | None = None) -> NearestCentre:
    """Precompute the Euclidean choice from bases (N, r_l), centres (N, K) and u_0 (N,), all coordinates in the common frame."""
    away = np.asarray(centres, np.float64) - (0.0 if offset is None else np.asarray(offset)[:, None])
    return NearestCentre(np.sum(away**2, axis=0), tuple(-2.0 * (basis.T @ away) for basis in bases))


@dataclass(frozen=True)
class NearestLine:
    """Choice among K lines by the sine dissimilarity from reduced coordinates."""

    vectors: tuple[Floats, ...]
    """One (r_l, K) for every basis: ``a_lk``."""

    def cosine_squares(self, basis: int, q: Matrix) -> Floats:
        """``cos^2(u, c_k)``, (K,), of ``u = Phi_l q``; zero for q = 0."""
        square = float(np.dot(q, q))
        return np.asarray((q @ self.vectors[basis]) ** 2 / (square if square > 0.0 else 1.0))

    def choose(self, basis: int, q: Matrix) -> int:
        """Nearest line, the lowest of several."""
        return int(np.argmax(self.cosine_squares(basis, q)))


def nearest_line(bases: Sequence[Matrix], centres: Matrix) -> NearestLine:
    """Precompute the choice by sines from bases (N, r_l) and representatives (N, K); a zero representative is never near."""
    lines, _ = unit_columns(centres)
    return NearestLine(tuple(basis.T @ lines for basis in bases))
