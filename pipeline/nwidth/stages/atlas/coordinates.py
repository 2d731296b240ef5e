"""Coordinates of all snapshots in one orthonormal frame, from the small factor alone.

    factor of S diag(1 / |s_j|)  =  U diag(s) V'     ->     X = diag(s) V'  (N, m): unit columns, and the norms beside them

Snapshots are normalised *before* the spectrum is taken: a Gram matrix resolves each of its entries relative to the two snapshots
it belongs to, so small snapshots keep their angles however large the others are. Rows below the floor are rounding, and left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.cores import all_cores
from nwidth_graphs.kernels.svd import rank_above_floor
from nwidth_graphs.reduction import Reduction

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coordinates:
    """Snapshots as columns."""

    unit: Floats
    """(N, m): snapshots over their norms; a zero snapshot stays zero."""
    norms: Floats
    """(m,): in the inner product, with the fields' scaling, about the mean where that is removed."""
    floor: float = 0.0
    """Singular values of normalised snapshots below this share of the largest are rounding."""

    @property
    def error_floor(self) -> float:
        """Root mean square of the relative errors that a direction at the floor makes: ``floor s_1 / sqrt(m)``.

        Directions below the floor were left out, so that errors smaller than this may be all rounding.
        """
        largest = float(np.linalg.norm(self.unit[0])) if len(self.unit) else 0.0
        return self.floor * largest / max(1.0, float(np.sqrt(np.count_nonzero(self.norms))))

    @property
    def values(self) -> Floats:
        """(N, m): the snapshots themselves."""
        return self.unit * self.norms

    @property
    def inverse_norms(self) -> Floats:
        """(m,): 1 / norm; 0 for a zero snapshot."""
        return np.where(self.norms > 0.0, 1.0 / np.where(self.norms > 0.0, self.norms, 1.0), 0.0)


def coordinates_of(factors: Mapping[str, Floats], scaling: Mapping[str, float], reduction: Reduction, rows: int) -> Coordinates:
    """Coordinates of the stack ``[a_1 S_1; a_2 S_2; ...]`` with `rows` unknowns, from the factors (m, m) of its fields."""
    factor = reduction.merge([reduction.scale(factors[name], scaling[name]) for name in factors])
    norms = np.asarray(reduction.column_norms(factor))
    inverse = Coordinates(np.zeros((0, len(norms))), norms).inverse_norms
    with all_cores(len(norms)):
        found = reduction.finish(reduction.column_scale(factor, inverse))
        values = found.values
        floor = reduction.floor(float(values[0]), len(norms))
        kept = max(1, min(rank_above_floor(values, floor), rows))
        vectors = found.right(kept)
    return Coordinates(values[:kept, None] * vectors.T, norms, floor / float(values[0]) if values[0] > 0.0 else 0.0)
