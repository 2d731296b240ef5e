"""References for partitions and subspaces, as slow as they are plain: loops over pairs, and every exchange tried."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def moving_bump() -> Floats:
    """(401, 200): Gaussian bumps of width 0.05 at 200 places of [0.1, 0.9], with amplitudes over two decades without order.

    ``cos(u_i, u_j) = exp(-(mu_i - mu_j)^2 / (2 0.05^2))`` up to the quadrature.
    """
    i = np.arange(200)
    centres = 0.1 + 0.8 * (i + 0.5) / 200
    amplitudes = 10.0 ** (2.0 * np.modf((i + 1) * (np.sqrt(5.0) - 1.0) / 2.0)[0] - 1.0)
    x = np.arange(401) / 400
    return np.asarray(amplitudes * np.exp(-(((x[:, None] - centres) / 0.05) ** 2)))


def sine_of_pair(u: Floats, v: Floats) -> float:
    """``|u - <u,v> v / |v|^2| / |u|``, in extended precision."""
    a, b = u.astype(np.longdouble), v.astype(np.longdouble)
    return float(np.sqrt(np.sum((a - (a @ b) / (b @ b) * b) ** 2) / (a @ a)))


def loss(D: Floats, medoids: list[int]) -> float:
    """Sum of the distances to the nearest medoid."""
    return float(D[medoids].min(axis=0).sum())


def textbook_pam(D: Floats, medoids: list[int]) -> tuple[list[int], int]:
    """PAM as first written: the loss of every exchange from scratch, the best one made, until none helps."""
    swaps = 0
    while True:
        tried = {
            (j, slot): loss(D, [*medoids[:slot], j, *medoids[slot + 1 :]])
            for j in range(len(D))
            for slot in range(len(medoids))
            if j not in medoids
        }
        best = min(tried, key=lambda key: tried[key])
        if tried[best] >= loss(D, medoids) * (1 - 1e-12):
            return sorted(medoids), swaps
        medoids = [*medoids[: best[1]], best[0], *medoids[best[1] + 1 :]]
        swaps += 1


def silhouette_of(D: Floats, labels: NDArray[np.int64], i: int) -> float:
    """The definition for one point."""
    own = [j for j in range(len(D)) if labels[j] == labels[i] and j != i]
    if not own:
        return 0.0
    inside = np.mean(D[i, own])
    outside = min(np.mean(D[i, labels == other]) for other in set(labels.tolist()) - {labels[i]})
    return float((outside - inside) / max(inside, outside))
