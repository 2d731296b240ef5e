"""How good the choice of the cluster is: confusion, accuracy with its standard error, and what wrong labels cost.

    accuracy = sum_s right_s / sum_s n_s                over experiments s with n_s held-out samples
    standard error = sqrt( S / (S - 1) sum_s (right_s - accuracy n_s)^2 ) / sum_s n_s

the linearised error of a ratio: samples of one experiment are right or wrong together. With no wrong label among S experiments it
is 0, and the error rate is below 3 / S with 95 % confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwidth.models.learned import Evaluation
from nwidth_graphs.kernels.gain import criterion

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class ErrorsOfSamples:
    """Relative projection errors of the samples that a classifier labels."""

    local: Floats
    """(K, m): on every local basis."""
    whole: Floats
    """(m,): on the global basis."""


def evaluate(
    labels: Indices,
    rows: Indices,
    predicted: Indices,
    groups: Indices,
    count: int,
    *,
    folds: int,
    errors: ErrorsOfSamples | None = None,
    rejected: float | None = None,
) -> Evaluation:
    """Compare predicted (v,) with true labels (m,) at the held-out rows (v,).

    Parameters
    ----------
    labels, groups : (m,) arrays of int
        Clusters and experiments of all samples.
    rows, predicted : (v,) arrays of int
    count : int
        K.
    errors : ErrorsOfSamples, optional
        For the errors conditional on right and wrong labels, and the break-even accuracy.
    """
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (labels[rows], predicted), 1)
    right = labels[rows] == predicted
    accuracy = float(right.mean()) if len(rows) else None
    chosen = errors.local[predicted, rows] if errors is not None and len(rows) else None
    return Evaluation(
        confusion=confusion,
        accuracy=accuracy,
        standard_error=_standard_error(right, groups[rows]),
        error_right=_mean(chosen, right),
        error_wrong=_mean(chosen, ~right),
        error_global=None if errors is None else float(errors.whole.mean()),
        break_even=None if errors is None or count < 2 else _break_even(errors, labels),
        folds=folds,
        rejected=rejected,
    )


def _standard_error(right: NDArray[np.bool_], groups: Indices) -> float | None:
    codes = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(codes)
    if len(sizes) < 2:
        return None
    deviation = np.bincount(codes, weights=right) - right.mean() * sizes
    return float(np.sqrt(len(sizes) / (len(sizes) - 1) * (deviation**2).sum()) / sizes.sum())


def _mean(errors: Floats | None, where: NDArray[np.bool_]) -> float | None:
    return None if errors is None or not where.any() else float(errors[where].mean())


def _break_even(errors: ErrorsOfSamples, labels: Indices) -> float:
    return float(criterion(errors.whole[None], errors.local[:, None, :], labels).break_even[0])
