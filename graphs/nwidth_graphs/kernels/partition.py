"""A partition by representatives: who belongs to which, who is second, and the two rules that act on it.

Whatever the representatives are (medoids, anchors, centres), all of this needs only their dissimilarities to the points,
E (K, m): never more than K m numbers.

Source of the rules  D. Amsallem, M. Zahr, C. Farhat, Nonlinear model order reduction based on local reduced-order bases, Int. J.
                     Numer. Meth. Engng 92 (2012)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.angles import Floats, Matrix

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """Every point with its nearest representative and the second nearest."""

    labels: Indices
    """(m,): cluster of every point, 0 to K - 1; the first of several at the same distance."""
    second: Indices
    """(m,): cluster of the second nearest representative; -1 where there is only one."""
    distances: Floats
    """(m,): to the nearest representative."""
    second_distances: Floats
    """(m,): to the second nearest; infinite where there is only one."""
    count: int
    """K."""

    @property
    def sizes(self) -> Indices:
        """(K,): members of every cluster."""
        return np.bincount(self.labels, minlength=self.count)

    def members(self, cluster: int) -> Indices:
        """Points of one cluster, ascending."""
        return np.flatnonzero(self.labels == cluster)


def nearest(E: Matrix, own: Indices | None = None) -> Partition:
    """Assign every point to its nearest representative.

    Parameters
    ----------
    E : (K, m) array
        Dissimilarity of every representative to every point.
    own : (K,) array of int, optional
        The points that represent the clusters. Each stays in its own cluster even where another one coincides with it, so
        that no cluster is empty.
    """
    E = np.asarray(E)
    everyone = np.arange(E.shape[1])
    labels = np.argmin(E, axis=0)
    if own is not None:
        labels[own] = np.arange(len(own))
    distances = E[labels, everyone].astype(np.float64)
    if len(E) == 1:
        return Partition(labels, np.full_like(labels, -1), distances, np.full(len(labels), np.inf), 1)
    others = E.astype(np.float64)
    others[labels, everyone] = np.inf
    second = np.argmin(others, axis=0)
    return Partition(labels, second, distances, others[second, everyone], len(E))


def keep_large(E: Matrix, minimum: int, own: Indices | None = None) -> Indices:
    """Clusters that are left when those with fewer than `minimum` members are absorbed, smallest first: ascending indices.

    The members of an absorbed cluster go to the nearest representative that is left, so sizes only grow; at least one cluster is
    left. ``nearest(E[kept])`` is the partition.
    """
    kept = np.arange(len(E))
    while len(kept) > 1:
        sizes = nearest(E[kept], None if own is None else own[kept]).sizes
        smallest = int(np.argmin(sizes))
        if sizes[smallest] >= minimum:
            break
        kept = np.delete(kept, smallest)
    return kept


def neighbours(partition: Partition) -> NDArray[np.bool_]:
    """(K, K): whether a member of one cluster has the other as second nearest; symmetric, no cluster is its own."""
    touching = np.zeros((partition.count, partition.count), np.bool_)
    seen = partition.second >= 0
    touching[partition.labels[seen], partition.second[seen]] = True
    return touching | touching.T


def overlapping(E: Matrix, partition: Partition, fraction: float = 0.1) -> tuple[Indices, ...]:
    """Members of every cluster and those that it borrows from its neighbours, ascending.

    A cluster of m_k members and nu_k neighbours takes from each neighbour the ``ceil(fraction m_k / nu_k)`` members that are
    closest to its own representative; a neighbour that has fewer gives all.
    """
    touching, sizes = neighbours(partition), partition.sizes
    enlarged = []
    for cluster in range(partition.count):
        beside = np.flatnonzero(touching[cluster])
        members = [partition.members(cluster)]
        # Rounded first: 0.1 * 30 is a little more than 3, and must not become 4.
        share = math.ceil(round(fraction * int(sizes[cluster]) / max(len(beside), 1), 9))
        for other in beside:
            theirs = partition.members(int(other))
            members.append(theirs[np.argsort(E[cluster, theirs], kind="stable")[:share]])
        enlarged.append(np.sort(np.concatenate(members)))
    return tuple(enlarged)
