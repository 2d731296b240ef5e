"""Does a dictionary of local bases pay? Gain, break-even accuracy and the choice of (K, N), before anything is trained.

From the errors of test snapshots or simulations, on the global basis and on every local one, with equal numbers of modes:

    e1       mean error on the global basis
    e_own    mean error on the basis of the assigned cluster;    e_wrong: mean over the other clusters
    e(alpha) = alpha e_own + (1 - alpha) e_wrong                 with a classifier of accuracy alpha
    alpha*   = (e_wrong - e1) / (e_wrong - e_own)                break-even: below it, the global basis is better
    G(alpha) = e1 / e(alpha)                                     expected gain; G(1) is the most there is to gain
    g        = Q_0.9(errors, global) / Q_0.9(errors, local)      gain of the quantile, without a classifier

Arrays come from `local_bases.relative_errors`: (K, R, m) for K clusters, R numbers of modes, m test snapshots; (R, m) globally.

Source  the criterion of T. Daniel et al. (2021), arXiv:2103.13683, in its intent; the formulas are ours (docs/decisions)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix
from nwidth_graphs.kernels.partition import Indices
from nwidth_graphs.kernels.silhouette import mean_dissimilarities


def oracle_labels(errors: Floats) -> Indices:
    """Cluster with the smallest error, (R, m): what no classifier can beat. The lowest of several."""
    return np.asarray(np.argmin(errors, axis=0))


def mean_labels(D: Matrix, labels: Indices) -> Indices:
    """Cluster (c,) of the smallest mean dissimilarity to its members, from D (c, m) of test points to the m labelled ones."""
    empty = np.bincount(labels) == 0
    return np.asarray(np.argmin(np.where(empty, np.inf, mean_dissimilarities(D, labels)), axis=1))


def own_errors(errors: Floats, labels: Indices) -> Floats:
    """Errors (R, m) on the basis that the labels, (m,) or (R, m), choose."""
    chosen = np.broadcast_to(labels, errors.shape[1:])
    return np.asarray(np.take_along_axis(errors, chosen[None], axis=0)[0])


def quantile_gain(global_errors: Floats, local_errors: Floats, quantile: float = 0.9) -> Floats:
    """``g (R,)``: quantile of the global errors (R, m) over that of the local ones (R, m). Infinite where those are zero."""
    worse, better = (np.quantile(values, quantile, axis=-1) for values in (global_errors, local_errors))
    return _ratio(worse, better)


@dataclass(frozen=True)
class Criterion:
    """The efficiency criterion of one partition; all (R,), over numbers of modes."""

    global_error: Floats
    """e1."""
    own: Floats
    wrong: Floats
    """Equal to `own` where there is one cluster and so no wrong one."""

    def expected_error(self, accuracy: float) -> Floats:
        """``e(alpha)``."""
        return accuracy * self.own + (1.0 - accuracy) * self.wrong

    def expected_gain(self, accuracy: float) -> Floats:
        """``G(alpha)``."""
        return _ratio(self.global_error, self.expected_error(accuracy))

    @property
    def greatest_gain(self) -> Floats:
        """``G(1)``."""
        return self.expected_gain(1.0)

    @property
    def break_even(self) -> Floats:
        """``alpha*``: 0 where even wrong labels do better than the global basis, above 1 or infinite where right ones do not."""
        spread = self.wrong - self.own
        formula = (self.wrong - self.global_error) / np.where(spread > 0.0, spread, 1.0)
        flat = np.where(self.own <= self.global_error, 0.0, np.inf)
        return np.where(spread > 0.0, np.maximum(formula, 0.0), flat)


def criterion(
    global_errors: Floats, errors: Floats, labels: Indices, *, statistic: Callable[[Floats], float] | None = None
) -> Criterion:
    """Evaluate the criterion.

    Parameters
    ----------
    global_errors : (R, m) array
    errors : (K, R, m) array
    labels : (m,) or (R, m) array of int
        Assigned clusters.
    statistic : callable, optional
        What is taken of errors (m,), e.g. a quantile; the mean by default. The errors of a wrong label are first averaged over
        the other clusters, snapshot by snapshot.
    """
    reduce = _mean if statistic is None else statistic
    own = own_errors(errors, labels)
    others = len(errors) - 1
    wrong = (errors.sum(axis=0) - own) / others if others else own
    return Criterion(*(np.array([reduce(row) for row in values]) for values in (global_errors, own, wrong)))


def neighbour_accuracy(D: Matrix, labels: Indices) -> float:
    """Share of points whose nearest other point has their label: a pessimistic guess of what a classifier reaches.

    D (m, m) is the dissimilarity of what the classifier will see: of inputs or parameters, not of the solutions.
    """
    others = np.array(D, np.float64)
    np.fill_diagonal(others, np.inf)
    return float(np.mean(labels[np.argmin(others, axis=1)] == labels)) if len(D) > 1 else 1.0


@dataclass(frozen=True)
class Candidate:
    """One partition of the map."""

    count: int
    """K."""
    smallest: int
    """Size of the smallest cluster."""
    accuracy: float
    """Of a classifier, as guessed before it is trained."""
    criterion: Criterion


def gain_map(candidates: Sequence[Candidate]) -> Floats:
    """Expected gains ``G(alpha_K)``, (candidates, R)."""
    return np.array([candidate.criterion.expected_gain(candidate.accuracy) for candidate in candidates])


def choose(
    candidates: Sequence[Candidate], ranks: Sequence[int], *, most_modes: int | None = None, smallest: int = 10
) -> tuple[int, int] | None:
    """(candidate, place in `ranks`) of the largest expected gain under limits of modes and of cluster size; None where none pays.

    A dictionary pays where its expected gain exceeds 1. Of equal gains, fewer clusters and fewer modes.
    """
    if not candidates:
        return None
    gains = gain_map(candidates)
    allowed = np.array([rank <= (most_modes or rank) for rank in ranks])
    gains[:, ~allowed] = 0.0
    gains[[candidate.smallest < smallest for candidate in candidates]] = 0.0
    best = max(np.ndindex(gains.shape), key=lambda at: (gains[at], -candidates[at[0]].count, -ranks[at[1]]))
    return None if not gains[best] > 1.0 else (best[0], best[1])


def _mean(values: Floats) -> float:
    return float(np.mean(values))


def _ratio(worse: Floats, better: Floats) -> Floats:
    """``worse / better``; 1 where both are zero, infinite where only the second is."""
    exact = better == 0.0
    return np.where(exact, np.where(worse == 0.0, 1.0, np.inf), worse / np.where(exact, 1.0, better))
