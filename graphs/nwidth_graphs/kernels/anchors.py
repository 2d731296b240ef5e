"""Projection-error tree: anchors such that every snapshot is within a given angle of its own; the number of clusters follows.

    root: all snapshots, anchor = the one of largest norm
    while the worst leaf has a member farther than the tolerance from its anchor:
        new anchor = that member;  the leaf splits by the smaller projection error to the old and the new anchor

                 anchor 0
                ┌────┴────┐           a new snapshot goes down from the root, at every split to the anchor that is nearer
             anchor 0  anchor 7
             ┌───┴──┐
          anchor 0  anchor 3

Guarantee  every member of a leaf is within the tolerance (sine) of the leaf's anchor, hence so is its projection error on every
           local basis that holds the anchor
Cost       N times the members of the leaf for every split: one product with one column
Source     D. Amsallem, B. Haasdonk, PEBL-ROM: projection-error based local reduced-order models, Adv. Model. Simul. Eng.
           Sci. 3 (2016)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix, sine_between, unit_columns
from nwidth_graphs.kernels.partition import Indices


@dataclass(frozen=True)
class AnchorTree:
    """Leaves with their anchors, and the splits that lead there. Leaf k is cluster k."""

    anchors: Indices
    """(K,): the snapshot that is the anchor of each leaf, in the order of making."""
    labels: Indices
    """(m,): leaf of every snapshot."""
    distances: Floats
    """(m,): sine to the anchor of the leaf."""
    radii: Floats
    """(K,): the largest of each leaf."""
    splits: Indices
    """(K - 1, 2): split i divides leaf ``splits[i, 0]`` by its anchor and that of the new leaf ``splits[i, 1] = i + 1``."""

    @property
    def radius(self) -> float:
        """The largest sine of a snapshot to its anchor: at most the tolerance, unless the number of leaves was limited."""
        return float(self.radii.max())


def projection_error_tree(X: Matrix, tolerance: float, *, most: int | None = None) -> AnchorTree:
    """Split the columns of X (N, m) until all are within `tolerance` (a sine) of the anchor of their leaf.

    Parameters
    ----------
    X : (N, m) array
    tolerance : float
        Between 0 and 1.
    most : int, optional
        At most so many leaves; then `AnchorTree.radius` says what was reached.

    Raises
    ------
    ValueError
        There is no snapshot, a coordinate is not finite, or the tolerance is not between 0 and 1.
    """
    if X.shape[1] == 0 or not 0.0 <= tolerance <= 1.0:
        raise ValueError(
            f"{X.shape[1]} snapshots and the tolerance {tolerance} were given; give snapshots and a sine from 0 to 1"
        )
    unit, norms = unit_columns(X)
    limit = X.shape[1] if most is None else most
    anchors, splits = [int(np.argmax(norms))], []
    labels, distances = np.zeros(X.shape[1], np.int64), _to_anchor(unit, np.arange(X.shape[1]), anchors[0])
    while len(anchors) < limit:
        worst = int(np.argmax(distances))
        if distances[worst] <= tolerance:
            break
        leaf, new = int(labels[worst]), len(anchors)
        members = np.flatnonzero(labels == leaf)
        to_new = _to_anchor(unit, members, worst)
        nearer = to_new < distances[members]
        labels[members[nearer]], distances[members[nearer]] = new, to_new[nearer]
        anchors.append(worst)
        splits.append((leaf, new))
    radii = np.zeros(len(anchors))
    np.maximum.at(radii, labels, distances)
    return AnchorTree(np.array(anchors), labels, distances, radii, np.array(splits, np.int64).reshape(-1, 2))


def descend(tree: AnchorTree, to_anchors: Matrix) -> Indices:
    """Leaf (c,) of new snapshots, given their sines (K, c) to all anchors; at a tie the older leaf.

    Of the snapshots of the tree it gives their own labels.
    """
    leaves = np.zeros(to_anchors.shape[1], np.int64)
    everyone = np.arange(to_anchors.shape[1])
    for old, new in tree.splits:
        there = leaves == old
        leaves[there & (to_anchors[new] < to_anchors[old, everyone])] = new
    return leaves


def _to_anchor(unit: Floats, members: Indices, anchor: int) -> Floats:
    distances = sine_between(unit[:, members], unit[:, [anchor]])[:, 0]
    distances[members == anchor] = 0.0
    return distances
