"""k-medoids of very many snapshots: medoids of a sample, and everybody assigned to them in blocks.

    sample (s columns, seeded)  ->  D (s, s)  ->  FasterPAM  ->  all m columns to their nearest medoid, a block at a time

Several samples are drawn, each holding the best medoids so far; the medoids with the smallest loss over *all* snapshots are kept.
What that costs is measured, not hoped for: on a validation sample that no draw has seen, the loss of these medoids is
divided by that of a k-medoids run on the validation sample itself, whose medoids were free.

Memory  s^2 + K m + N m (the coordinates) numbers; D of all snapshots is never made
Source  CLARA, L. Kaufman, P. Rousseeuw, Finding groups in data (1990)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix, sine_between
from nwidth_graphs.kernels.kmedoids import k_medoids
from nwidth_graphs.kernels.partition import Indices, Partition, nearest

Between = Callable[[Matrix, Matrix], Floats]
"""Dissimilarities (m, k) of m columns to k others."""

COLUMNS = 4096


@dataclass(frozen=True)
class SampledMedoids:
    """Medoids of a sample with the assignment of all snapshots."""

    medoids: Indices
    """(K,) ascending, columns of all snapshots."""
    partition: Partition
    loss: float
    """Over all snapshots."""
    validation_ratio: float
    """Loss on the validation sample over that of medoids found on it; 1 is as good, NaN where no snapshots were left for it."""


def sampled_k_medoids(
    X: Matrix, count: int, *, sample: int = 2000, draws: int = 3, seed: int = 0, between: Between = sine_between
) -> SampledMedoids:
    """Partition the columns of X (N, m) around `count` medoids that were found on samples.

    Parameters
    ----------
    X : (N, m) array
    sample : int
        Columns of a sample, and of the validation sample where so many are left.
    draws : int
        Samples; the second and later ones contain the best medoids so far.
    seed : int
        Of the draws: equal seeds give equal results.
    between : callable
        Dissimilarity, `angles.sine_between` or `distances.euclidean_between`.

    Raises
    ------
    ValueError
        A sample has fewer columns than there are clusters, or a coordinate is not finite.
    """
    columns = X.shape[1]
    if not 1 <= count <= min(sample, columns):
        found = f"{count} clusters from samples of {min(sample, columns)} snapshots were asked for"
        raise ValueError(f"{found}; ask for at least 1 cluster and give samples at least as many snapshots")
    order = np.random.default_rng(seed).permutation(columns)
    validation, pool = _split(order, sample, count)
    best, best_loss = np.zeros(0, np.int64), np.inf
    for draw in range(draws):
        chosen = np.sort(_drawn(pool, best, sample, draw, seed))
        medoids = chosen[_medoids_of(X[:, chosen], count, between)]
        loss = float(_to_medoids(X, medoids, between).min(axis=0).sum())
        if loss < best_loss:
            best, best_loss = medoids, loss
    partition = nearest(_to_medoids(X, best, between), best)
    return SampledMedoids(best, partition, float(partition.distances.sum()), _ratio(X, best, validation, between))


def _split(order: Indices, sample: int, count: int) -> tuple[Indices, Indices]:
    """Validation sample and what is left to draw from; no validation where too few would be left."""
    spare = len(order) - sample
    held = min(sample, spare) if spare >= count else 0
    return order[:held], order[held:]


def _drawn(pool: Indices, best: Indices, sample: int, draw: int, seed: int) -> Indices:
    fresh = np.random.default_rng([seed, draw]).permutation(pool)[:sample]
    return np.union1d(best, fresh[: max(sample - len(best), 0)])


def _medoids_of(X: Matrix, count: int, between: Between) -> Indices:
    D = between(X, X)
    D = np.triu(D, 1)
    return k_medoids(D + D.T, count).medoids


def _to_medoids(X: Matrix, medoids: Indices, between: Between) -> Floats:
    """E (K, m), a block of columns at a time."""
    E = np.empty((len(medoids), X.shape[1]))
    for start in range(0, X.shape[1], COLUMNS):
        E[:, start : start + COLUMNS] = between(X[:, start : start + COLUMNS], X[:, medoids]).T
    return E


def _ratio(X: Matrix, medoids: Indices, validation: Indices, between: Between) -> float:
    if not len(validation):
        return float("nan")
    there = X[:, validation]
    own = _medoids_of(there, len(medoids), between)
    free = float(between(there, there[:, own]).min(axis=1).sum())
    held = float(between(there, X[:, medoids]).min(axis=1).sum())
    return held / free if free > 0.0 else 1.0 if held == 0.0 else float("inf")
