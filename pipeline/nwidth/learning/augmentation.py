"""More training inputs inside the classes, as convex combinations of members of one class.

Seeds are drawn among the members x of a class together with members of the same class that are closer to x than the nearest
input of any other class. Their combination with Dirichlet weights gets the class's label. Where a check is at hand, such as the
nearest medoid of the same combination of solutions, what it labels otherwise is dropped.

Source  the aim of T. Daniel et al., Data augmentation and feature selection for automatic model recommendation in computational
        physics, Math. Comput. Appl. 26(1):17 (2021); the rule is ours
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from nwidth.models.classifiers import scaling_of

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

Check = Callable[[Indices, Floats], Indices]
"""``(parents (c, k), weights (c, k)) -> labels (c,)``."""


@dataclass(frozen=True)
class Augmented:
    """New inputs and where they come from."""

    features: Floats
    """(c, d)."""
    labels: Indices
    """(c,)."""
    parents: Indices
    """(c, k): rows that were combined; the first is the seed. Padded with it where fewer were."""
    weights: Floats
    """(c, k): not negative, each row of sum 1."""
    rejected: int
    """Combinations that the check gave another label."""


def augment(
    X: Floats, labels: Indices, count: int, *, seed: int = 0, neighbours: int = 3, check: Check | None = None
) -> Augmented:
    """Draw `count` new inputs, fewer where the check rejects some or no class has two members that are close enough.

    Parameters
    ----------
    X : (m, d) array
        Training features only: what is held out for validation must not be mixed in.
    labels : (m,) array of int
    count : int
    seed : int
    neighbours : int
        At most so many members are combined with the seed.
    check : callable, optional
        Labels of combinations; see `Check`.
    """
    near = _close_members(X, labels, neighbours)
    seeds = np.array([row for row, found in enumerate(near) if found.size], np.int64)
    if not seeds.size or count <= 0:
        empty = np.empty((0, neighbours + 1))
        return Augmented(np.empty((0, X.shape[1])), np.empty(0, np.int64), empty.astype(np.int64), empty, 0)
    rng = np.random.default_rng(seed)
    parents, weights = np.empty((count, neighbours + 1), np.int64), np.zeros((count, neighbours + 1))
    for number, row in enumerate(rng.choice(seeds, count)):
        mates = rng.permutation(near[row])[: rng.integers(1, len(near[row]) + 1)]
        parents[number] = row
        parents[number, 1 : 1 + len(mates)] = mates
        weights[number, : 1 + len(mates)] = rng.dirichlet(np.ones(1 + len(mates)))
    given = labels[parents[:, 0]]
    kept = np.ones(count, np.bool_) if check is None else check(parents, weights) == given
    parents, weights = parents[kept], weights[kept]
    mixed = np.einsum("ck,ckd->cd", weights, X[parents])
    return Augmented(mixed, given[kept], parents, weights, int(count - kept.sum()))


def _close_members(X: Floats, labels: Indices, neighbours: int) -> list[Indices]:
    """For every row the nearest members of its class that are nearer than any input of another class."""
    z = scaling_of(X)(X)
    D = cdist(z, z)
    same = labels[:, None] == labels[None, :]
    nearest_other = np.where(same, np.inf, D).min(axis=1)
    found = []
    for row in range(len(X)):
        mates = np.flatnonzero(same[row] & (D[row] < nearest_other[row]))
        mates = mates[mates != row]
        found.append(mates[np.argsort(D[row, mates], kind="stable")][:neighbours])
    return found
