"""Where training inputs end: the distance beyond which the answer is "none of them".

The limit is a quantile of the distance that each training simulation has from the others, measured without itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from nwidth.errors import ConfigError
from nwidth.models.classifiers import scaling_of
from nwidth.models.inputs import Novelty

Floats = NDArray[np.float64]

QUANTILE = 0.99
"""One in a hundred training inputs may lie outside; with fewer than that, nearly the largest distance is the limit."""


def fit_novelty(
    Z: Floats, names: Sequence[str], *, method: str = "neighbour", quantile: float = QUANTILE
) -> tuple[Novelty, Floats]:
    """Fit on one row per simulation.

    Parameters
    ----------
    Z : (S, d) array
    names : sequence of str
        Simulations.
    method : {"neighbour", "mahalanobis"}
        Distance to the nearest training input, or from their mean in their covariance (S > d + 1).
    quantile : float

    Returns
    -------
    The record, and the distances (S,) without oneself. A single simulation gives no limit: nothing is new.
    """
    if method not in {"neighbour", "mahalanobis"}:
        raise ConfigError(f'novelty is {method!r}, expected "neighbour" or "mahalanobis"')
    if not 0.0 < quantile <= 1.0:
        raise ConfigError(f"the quantile of novelty is {quantile}, expected a number above 0 and at most 1")
    scaling = scaling_of(Z)
    varied = np.ptp(Z, axis=0) > 0.0 if len(Z) else np.zeros(Z.shape[1], np.bool_)
    x = scaling(Z)[:, varied]
    if method == "mahalanobis":
        if len(x) <= x.shape[1] + 1:
            raise ConfigError(
                f"the covariance of {x.shape[1]} features needs more than {x.shape[1] + 1} simulations, and there are {len(x)}; "
                f'use novelty = "neighbour"'
            )
        whitening, distances = _whitening(x), _without_itself(x)
        rows = scaling(Z).mean(axis=0, keepdims=True)
    else:
        whitening, distances, rows = np.eye(x.shape[1]), _nearest_other(x), scaling(Z)
    limit = float(np.quantile(distances, quantile)) if len(x) > 1 else np.inf
    return Novelty(method, scaling, rows, whitening, varied, tuple(names), limit, quantile), distances


def _nearest_other(x: Floats) -> Floats:
    D = cdist(x, x)
    np.fill_diagonal(D, np.inf)
    return np.asarray(D.min(axis=1)) if len(x) > 1 else np.zeros(len(x))


def _whitening(x: Floats) -> Floats:
    """G with ``G^T G = C^-1``, of the covariance C (divisor n - 1), on the directions that vary."""
    _, s, Vt = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    keep = s > len(x) * np.finfo(np.float64).eps * s[:1].sum()
    inverse = np.where(keep, np.sqrt(len(x) - 1.0) / np.where(keep, s, 1.0), 0.0)
    return np.asarray(inverse[:, None] * Vt)


def _without_itself(x: Floats) -> Floats:
    """Mahalanobis distance of every row from the others' mean in their covariance."""
    found = np.empty(len(x))
    for row in range(len(x)):
        others = np.delete(x, row, axis=0)
        found[row] = np.linalg.norm(_whitening(others) @ (x[row] - others.mean(axis=0)))
    return found
