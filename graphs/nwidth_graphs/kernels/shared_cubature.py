"""One set of points for a dictionary of local models, and a column of weights for each of them.

    cluster 1   all points are candidates                      -> P_1
    cluster 2   P_1 first; all others only where it fails      -> P_1 u P_2            weights (points, K), zero where unused
    ...

Internal variables live at the points. With one set of points a simulation that changes its local model takes its history along,
without any interpolation. The price is a few points more per cluster than each would need alone, and far fewer than all together.

Source     rule of the local empirical cubature method (J. Hernandez and co-workers): the union so far is the first candidate set
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix
from nwidth_graphs.kernels.cubature import nnomp
from nwidth_graphs.kernels.partition import Indices
from nwidth_graphs.kernels.rule import Rule


@dataclass(frozen=True)
class SharedRule:
    """Points of all clusters, and the weights of each."""

    points: Indices
    """(n,) in the order in which they were chosen."""
    weights: Floats
    """(n, K) non-negative."""
    rules: tuple[Rule, ...]
    """Of every cluster, with its own error and the reason why its search ended."""

    @property
    def errors(self) -> Floats:
        """(K,) relative errors on the integrands that they were made of."""
        return np.array([rule.error for rule in self.rules])


def shared_rules(
    systems: Iterable[Matrix], weights: Floats, tolerance: float, *, normalised: bool = False, volume: bool = False
) -> SharedRule:
    """A rule for every cluster, on points that they share as far as they can.

    Parameters
    ----------
    systems : integrands (R_k, Q) of cluster after cluster
        On the same points; they are looked at one by one, in this order. Put the richest first: others then find its points.
    weights, tolerance, normalised, volume
        As for `nnomp`.

    Raises
    ------
    ValueError
        There is no cluster, or `nnomp` refuses one.
    """
    union: dict[int, None] = {}
    rules: list[Rule] = []
    for G in systems:
        known = np.array(list(union), np.int64)
        rule = nnomp(G, weights, tolerance, normalised=normalised, volume=volume, candidates=known if len(known) else None)
        if rule.ended != "tolerance":
            rule = nnomp(G, weights, tolerance, normalised=normalised, volume=volume, initial=rule.points)
        rules.append(rule)
        union |= dict.fromkeys(map(int, rule.points))
    if not rules:
        raise ValueError("no cluster was given; give the integrands of at least one")
    table = np.zeros((len(union), len(rules)))
    place = {point: row for row, point in enumerate(union)}
    for cluster, rule in enumerate(rules):
        table[[place[int(point)] for point in rule.points], cluster] = rule.weights
    return SharedRule(np.array(list(union), np.int64), table, tuple(rules))
