"""k-means on states, as the school of local bases has it: for comparison with k-medoids.

    euclidean   centre = mean of the members                               cost  sum |u_i - c|^2
    angle       centre = the line that fits the normalised members best    cost  sum sin^2(u_i, c)      ("K lines")

The angle form is k-means of the lines: for fixed members the best line is their leading singular vector, which is a POD
with one mode, and the cost of a cluster is ``sum_{j >= 2} lambda_j`` of the Gram matrix of its normalised members. Rounds of
assignment and centring lower the cost until it stays; a cluster that loses all members restarts at the worst-fitted snapshot.

Source  D. Arthur, S. Vassilvitskii, k-means++: the advantages of careful seeding, SODA (2007) for the start; Amsallem, Zahr,
        Farhat, Int. J. Numer. Meth. Engng 92 (2012) for the use
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix, sine_between, unit_columns
from nwidth_graphs.kernels.distances import euclidean_between
from nwidth_graphs.kernels.partition import Partition, nearest


@dataclass(frozen=True)
class Means:
    """A finished k-means partition; its distances are those of the kind that was asked for."""

    centres: Floats
    """(N, K) coordinates; unit lines with "angle"."""
    partition: Partition
    cost: float
    """Sum of squared distances to the centres."""
    rounds: int
    converged: bool


def k_means(
    X: Matrix,
    count: int,
    *,
    kind: Literal["euclidean", "angle"] = "euclidean",
    seed: int = 0,
    rounds: int = 150,
    rtol: float = 1e-6,
) -> Means:
    """Partition the columns of X (N, m) around `count` centres.

    Parameters
    ----------
    seed : int
        Of the k-means++ start: equal seeds give equal results.
    rounds, rtol
        At most so many rounds, or until the cost falls by less than ``rtol`` of itself.

    Raises
    ------
    ValueError
        There are more clusters than snapshots or none, or a coordinate is not finite.
    """
    if not 1 <= count <= X.shape[1]:
        raise ValueError(f"{count} clusters of {X.shape[1]} snapshots were asked for; ask for 1 to {X.shape[1]}")
    angle = kind == "angle"
    points = unit_columns(X)[0] if angle else np.asarray(X, np.float64)
    centres = _start(points, count, seed, angle)
    partition, cost = _assigned(points, centres, angle)
    for done in range(1, rounds + 1):
        centres = _centres(points, partition, angle)
        before, (partition, cost) = cost, _assigned(points, centres, angle)
        if before - cost <= rtol * before:
            return Means(centres, partition, cost, done, True)
    return Means(centres, partition, cost, rounds, False)


def _start(points: Floats, count: int, seed: int, angle: bool) -> Floats:
    """k-means++: every further centre is drawn with a probability in proportion to the squared distance to those before."""
    random = np.random.default_rng(seed)
    chosen = [int(random.integers(points.shape[1]))]
    squares = _distances(points, points[:, chosen], angle)[:, 0] ** 2
    while len(chosen) < count:
        total = squares.sum()
        free = np.setdiff1d(np.arange(points.shape[1]), chosen)
        # With nothing but copies of the centres left, the lowest free snapshot is as good as any.
        chosen.append(int(random.choice(len(squares), p=squares / total)) if total > 0.0 else int(free[0]))
        squares = np.minimum(squares, _distances(points, points[:, chosen[-1:]], angle)[:, 0] ** 2)
        squares[chosen] = 0.0
    return points[:, chosen]


def _centres(points: Floats, partition: Partition, angle: bool) -> Floats:
    centres = np.empty((points.shape[0], partition.count))
    worst = iter(np.argsort(-partition.distances, kind="stable"))
    for cluster in range(partition.count):
        members = partition.members(cluster)
        if not len(members):
            centres[:, cluster] = points[:, next(worst)]
        elif angle:
            centres[:, cluster] = np.linalg.svd(points[:, members], full_matrices=False)[0][:, 0]
        else:
            centres[:, cluster] = points[:, members].mean(axis=1)
    return centres


def _assigned(points: Floats, centres: Floats, angle: bool) -> tuple[Partition, float]:
    partition = nearest(_distances(points, centres, angle).T)
    return partition, float(np.sum(partition.distances**2))


def _distances(points: Floats, centres: Floats, angle: bool) -> Floats:
    return sine_between(points, centres) if angle else euclidean_between(points, centres)
