"""How good an answer is, from the exact factors of the data: no reference computation, and no data are read.

    W = Q^T U (m, k)     B = U^T X = W^T diag(s) V^T     ||X - U B||^2 = ||s||^2 - 2 ||B||^2 + trace(B^T (U^T U) B)

`excess` is ``||X - U U^T X||_F / sqrt(sum_{i>k} s_i^2) - 1``: how far the measured projection error is above the best possible
one. The squares cancel to about 1e-16 ||s||^2 / tail^2, which `excess` is told to be no better than.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.benchmarks.data import Matrix


@dataclass(frozen=True)
class Score:
    """Errors of one answer; small is good."""

    singular_values: float
    """Largest relative error of s_1 ... s_k."""
    all_values: float
    """Largest error of all values that were returned, relative to s_1."""
    excess: float | None
    defect: float | None
    """``max |U^T U - I|``; None, as `excess`, where no modes were made."""
    modes: int


def score(matrix: Matrix, rank: int, singular_values: Any, modes: Any) -> Score:
    """Compare k = `rank` values and modes with the exact ones."""
    exact = matrix.singular_values
    found = np.asarray(singular_values, np.float64)
    values_error = float(np.max(np.abs(found[:rank] / exact[:rank] - 1)))
    all_values_error = float(np.max(np.abs(found - exact[: len(found)])) / exact[0])
    if modes is None:
        return Score(values_error, all_values_error, None, None, 0)
    overlaps, gram = _products(matrix, rank, modes)
    coefficients = overlaps.T * exact
    square = np.sum(exact**2) - 2 * np.sum(coefficients**2) + np.sum((gram @ coefficients) * coefficients)
    tail = np.sum(exact[rank:] ** 2)
    return Score(
        singular_values=values_error,
        all_values=all_values_error,
        excess=float(np.sqrt(max(square, 0.0) / tail) - 1),
        defect=float(np.max(np.abs(gram - np.eye(rank)))),
        modes=rank,
    )


def _products(matrix: Matrix, rank: int, modes: Any) -> tuple[Any, Any]:
    overlaps = np.empty((matrix.snapshots, rank))
    held = np.empty((rank, matrix.unknowns), np.float32 if getattr(modes, "dtype", None) == np.float32 else np.float64)
    for index in range(rank):
        held[index] = modes[index]
        overlaps[:, index] = matrix.overlaps(held[index])
    gram = np.zeros((rank, rank))
    for start in range(0, matrix.unknowns, 2**16):
        part = held[:, start : start + 2**16].astype(np.float64)
        gram += part @ part.T
    return overlaps, gram
