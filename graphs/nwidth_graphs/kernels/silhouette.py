"""Silhouettes: how much closer a point is to its own cluster than to the next one.

    a_i = mean distance to the other members of its cluster,    b_i = smallest mean distance to another cluster
    s_i = (b_i - a_i) / max(a_i, b_i)  in [-1, 1];   0 for a point that is alone in its cluster, and where there is one cluster

The sums over clusters of a row of D are a product with the membership matrix, so rows can be done in blocks, anywhere.

Source  P. Rousseeuw, Silhouettes: a graphical aid to the interpretation and validation of cluster analysis, J. Comput. Appl.
        Math. 20 (1987)
"""

from __future__ import annotations

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix
from nwidth_graphs.kernels.partition import Indices

ROWS = 256


def silhouettes(D: Matrix, labels: Indices) -> Floats:
    """``s (m,)`` of all points; their mean is the silhouette of the partition."""
    parts = [silhouette_rows(D[start : start + ROWS], labels, start) for start in range(0, len(D), ROWS)]
    return np.concatenate(parts) if parts else np.zeros(0)


def silhouette_rows(rows: Matrix, labels: Indices, start: int) -> Floats:
    """``s`` of the points whose rows of D (c, m), from `start` on, are given."""
    sizes = np.bincount(labels)
    own = labels[start : start + len(rows)]
    everyone = np.arange(len(rows))
    sums = mean_dissimilarities(rows, labels) * sizes  # (c, K)
    alone = sizes[own] == 1
    inside = sums[everyone, own] / np.maximum(sizes[own] - 1, 1)  # D_ii is zero, so the sum is over the others
    means = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)
    means[everyone, own] = np.inf
    outside = means.min(axis=1)
    largest = np.maximum(inside, outside)
    defined = ~alone & np.isfinite(outside) & (largest > 0.0)
    return np.where(defined, (np.where(defined, outside, 0.0) - inside) / np.where(defined, largest, 1.0), 0.0)


def mean_dissimilarities(rows: Matrix, labels: Indices) -> Floats:
    """Mean dissimilarity (c, K) of each row's point to the members of every cluster; 0 for a label that nobody has."""
    sizes = np.bincount(labels)
    membership = np.zeros((len(labels), len(sizes)))
    membership[np.arange(len(labels)), labels] = 1.0
    return np.asarray(rows, np.float64) @ membership / np.maximum(sizes, 1)
