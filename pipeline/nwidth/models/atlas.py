"""An atlas: a partition of the snapshots, a local basis for each part, and what was measured to decide on it.

    snapshots ──labels──> cluster k ──> basis ``cluster-k``          bases/global, bases/cluster-0, bases/cluster-1, ...

What is partitioned are *items*: snapshots, or whole simulations. Every item belongs to the cluster of its nearest representative
(a medoid: an item itself). Numbers of snapshots: m, of items: I, of clusters: K, of numbers of modes tried: R, of candidates: C.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.models.basis import Basis
from nwidth.models.certificate import Certificate

if TYPE_CHECKING:
    from nwidth.projecting import Assignment, Projected

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

GLOBAL = "global"
"""Name of the basis of all snapshots."""


def reading_time(reading: str) -> float | None:
    """The one time at which a simulation is read: infinite for the last; None where it is read as a whole."""
    if reading == "last":
        return math.inf
    try:
        return float(reading)
    except ValueError:
        return None


def cluster_name(cluster: int) -> str:
    """Name of the basis of one cluster."""
    return f"cluster-{cluster}"


@dataclass(frozen=True)
class GainMap:
    """Partitions that were tried, and what a dictionary on each would gain over one basis of as many modes.

    Errors are relative, of held-out items, averaged; see `nwidth_graphs.kernels.gain` for the formulas.
    """

    dissimilarities: tuple[str, ...]
    """(C,): of each candidate."""
    clusters: Indices
    """(C,): K."""
    smallest: Indices
    """(C,): items of the smallest cluster."""
    loss: Floats
    """(C,): sum of the dissimilarities to the nearest medoid, over the number of items."""
    silhouette: Floats
    """(C,): mean over the items; NaN where it was not computed."""
    accuracy: Floats
    """(C,): of a classifier, as guessed before one is trained."""
    ranks: Indices
    """(R,): N."""
    global_error: Floats
    """(C, R): e1."""
    own_error: Floats
    """(C, R): on the basis of the nearest medoid."""
    wrong_error: Floats
    """(C, R): mean over the other bases."""
    oracle_gain: Floats
    """(C, R): gain of the 0.9-quantile, where the best basis is always known."""
    medoid_gain: Floats
    """(C, R): the same, with the basis of the nearest medoid."""
    mean_gain: Floats
    """(C, R): the same, with the basis of the smallest mean dissimilarity to the members."""
    break_even: Floats
    """(C, R): accuracy below which one global basis is better; infinite where even right labels do not pay."""
    expected_gain: Floats
    """(C, R): ``e1 / e(alpha)`` with the guessed accuracy."""
    greatest_gain: Floats
    """(C, R): ``e1 / e(1)``."""
    held_out: str = ""
    """On what the errors were measured, in words."""
    accuracy_of: str = ""
    """How the accuracy was guessed, in words."""
    floor: float = 0.0
    """Mean errors below are rounding of the factor that all of this was computed on."""

    def best(self) -> tuple[int, int] | None:
        """(candidate, place in `ranks`) of the largest expected gain; None where nothing was tried."""
        if self.expected_gain.size == 0:
            return None
        row, column = np.unravel_index(int(np.argmax(self.expected_gain)), self.expected_gain.shape)
        return int(row), int(column)

    def rows(self) -> list[dict[str, Any]]:
        """One record for each candidate and number of modes: for a table, for JSON."""
        return [
            {
                "dissimilarity": self.dissimilarities[place],
                "clusters": int(self.clusters[place]),
                "modes": int(rank),
                "smallest": int(self.smallest[place]),
                "loss": float(self.loss[place]),
                "silhouette": _number(self.silhouette[place]),
                "accuracy": float(self.accuracy[place]),
                "global_error": float(self.global_error[place, column]),
                "own_error": float(self.own_error[place, column]),
                "wrong_error": float(self.wrong_error[place, column]),
                "oracle_gain": _number(self.oracle_gain[place, column]),
                "medoid_gain": _number(self.medoid_gain[place, column]),
                "mean_gain": _number(self.mean_gain[place, column]),
                "break_even": _number(self.break_even[place, column]),
                "expected_gain": _number(self.expected_gain[place, column]),
                "below_floor": bool(min(self.global_error[place, column], self.own_error[place, column]) < self.floor),
            }
            for place in range(len(self.clusters))
            for column, rank in enumerate(self.ranks)
        ]


@dataclass(frozen=True)
class WidthCurves:
    """Brackets of the normalised Kolmogorov width, of the whole set and of every part; see `nwidth_graphs.kernels.widths`."""

    ranks: Indices
    """(R,): N."""
    pod: Floats
    """(R,): from above, by POD of the normalised snapshots."""
    greedy: Floats
    """(R,): from above, by the strong greedy."""
    lower: Floats
    """(R,): from below."""
    parts_upper: Floats
    """(K, R): the smaller of the two bounds from above, cluster by cluster."""
    parts_lower: Floats
    """(K, R)."""
    sample: int = 0
    """Snapshots that the curves of the whole set are of, where these are not all."""


@dataclass(frozen=True)
class Atlas:
    """A partition with its local bases; every number in it is measured."""

    of: str
    """``snapshots`` or ``simulations``: what an item is."""
    dissimilarity: str
    reading: str
    """How a simulation is read: ``space-time``, ``last``, ``subspaces``, or a time as a number; empty for snapshots."""
    method: str
    items: tuple[str, ...]
    """(I,): names for people."""
    item_of: Indices
    """(m,): item of every snapshot."""
    labels: Indices
    """(m,): cluster of every snapshot."""
    item_labels: Indices
    """(I,): cluster of every item."""
    second: Indices
    """(I,): cluster of the second nearest medoid; -1 where there is only one."""
    medoids: Indices
    """(K,): items that represent the clusters."""
    medoid_snapshots: Indices
    """(K,): a snapshot of each: itself, or that of the simulation at the time that is read, the last one by default."""
    dissimilarities: Floats
    """(K, I): of the representatives to the items."""
    silhouettes: Floats
    """(I,): NaN where they were not computed."""
    loss: float
    """Mean dissimilarity of the items to their representatives."""
    errors: Floats
    """(K, m): relative projection error of every snapshot on every local basis, measured in the lifting pass."""
    global_errors: Floats
    """(m,): on the global basis."""
    ranks: Indices
    """(K,): modes."""
    transitions: Floats
    """(sum r, sum r): ``Phi' W Phi`` of the modes of all clusters beside one another, measured."""
    switch_losses: Floats
    """(K, K): relative loss (root mean square over the members of l) of changing from basis l (column) to basis k (row)."""
    gain: GainMap
    widths: WidthCurves
    pays: bool
    """Whether local bases are expected to gain at least `nwidth.stages.atlas.choice.PAYS` over one of as many modes."""
    reason: str
    """Why so many clusters, in one sentence."""
    notes: tuple[str, ...] = ()
    """What else is to be known of it, in sentences."""
    bases: Mapping[str, Basis] = field(default_factory=dict, repr=False)
    """``global``, ``cluster-0``, ...; coefficients and certificates of a cluster are those of its members."""

    @property
    def count(self) -> int:
        """K."""
        return len(self.medoids)

    @property
    def sizes(self) -> Indices:
        """(K,): items of every cluster."""
        return np.bincount(self.item_labels, minlength=self.count)

    @property
    def local_bases(self) -> tuple[Basis, ...]:
        """The basis of every cluster, in order."""
        return tuple(self.bases[cluster_name(cluster)] for cluster in range(self.count))

    @property
    def certificates(self) -> Mapping[str, Certificate]:
        """Certificate of every basis: a cluster's is over its members."""
        return {name: basis.certificate for name, basis in self.bases.items()}

    @property
    def own_errors(self) -> Floats:
        """(m,): error of every snapshot on the basis of its cluster."""
        return np.asarray(self.errors[self.labels, np.arange(len(self.labels))])

    def members(self, cluster: int) -> Indices:
        """Snapshots of a cluster, ascending."""
        return np.flatnonzero(self.labels == cluster)

    def transition(self, to: int, start: int) -> Floats:
        """``T (r_to, r_start)`` with ``q_to = T q_start``: the measured ``Phi_to' W Phi_start``."""
        ends = np.cumsum([0, *self.ranks])
        return self.transitions[ends[to] : ends[to + 1], ends[start] : ends[start + 1]]

    def project(self, fields: Any, **options: Any) -> Projected:
        """New fields on the global and on all local bases; options as of `nwidth.projecting.project`."""
        # What reads fields knows executors and inner products, which a finished model does not: it is imported when it is used.
        from nwidth.projecting import local_and_global, project

        return project(local_and_global(self), fields, **options)

    def assign(self, fields: Any, *, tolerance: float | None = None, by: Any = None, **options: Any) -> Assignment:
        """The cluster of new fields, or of one simulation of an atlas of simulations; see `nwidth.projecting.assign`."""
        from nwidth.projecting import assign

        return assign(self, self.project(fields, **options), tolerance=tolerance, by=by)

    def reconstruct(self, coefficients: Any, cluster: int | None = None) -> Any:
        """``mean + Phi q`` on the basis of a cluster, or on the global one."""
        return self.bases[GLOBAL if cluster is None else cluster_name(cluster)].reconstruct(coefficients)

    def _repr_html_(self) -> str:
        """For a notebook."""
        from nwidth.showing import atlas_html

        return atlas_html(self)

    def summary(self) -> dict[str, Any]:
        """The scalars and words: what a manifest or a table says."""
        return {
            "of": self.of,
            "dissimilarity": self.dissimilarity,
            "reading": self.reading,
            "method": self.method,
            "clusters": self.count,
            "sizes": [int(size) for size in self.sizes],
            "ranks": [int(rank) for rank in self.ranks],
            "medoids": [self.items[item] for item in self.medoids],
            "loss": self.loss,
            "silhouette": _number(_mean(self.silhouettes)),
            "worst_error": float(self.own_errors.max(initial=0.0)),
            "pays": self.pays,
            "reason": self.reason,
            "notes": list(self.notes),
        }


def _mean(values: Floats) -> float:
    return float(np.mean(values)) if np.isfinite(values).all() and values.size else float("nan")


def _number(value: float) -> float | None:
    """A number as JSON knows it: neither NaN nor infinity."""
    return float(value) if np.isfinite(value) else None
