"""Integrands at some points, as a matrix or as what it is made of: a search for points asks for three products only.

    stored   G (R, Q) itself
    work     G[(i, j), k] = eps(phi_i)(x_k) : sigma_j(x_k),    row = i * states + j        from strains and stresses, never formed

    scores     r -> G^T r      (Q,)         strains (6 Q, N) times r (N, states), then along the stresses: two BLAS-sized steps
    integrals  w -> G w        (R,)
    columns    of some points  (R, c)

The work form keeps 6 (N + states) numbers per point where the matrix has N * states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix
from nwidth_graphs.kernels.nnls import Pool, Price, best_of_stretches
from nwidth_graphs.kernels.partition import Indices
from nwidth_graphs.kernels.rule import integrals

# Bytes of an intermediate (6 points, states): enough for BLAS, little beside a block.
SLICE_BYTES = 16 * 2**20


class Integrands(Protocol):
    """What a search needs to know of integrands at some points."""

    @property
    def rows(self) -> int:
        """R."""
        ...

    @property
    def points(self) -> int:
        """Q."""
        ...

    def scores(self, residual: Floats) -> Floats:
        """``G^T r`` (Q,), in the precision of the data."""
        ...

    def integrals(self, weights: Floats) -> Floats:
        """``G w`` (R,) in float64."""
        ...

    def columns(self, places: Indices) -> Floats:
        """``G[:, places]`` (R, c) in float64."""
        ...

    def norms(self) -> Floats:
        """``||G_k||`` (Q,)."""
        ...


@dataclass(frozen=True)
class StoredIntegrands:
    """Integrands as a matrix (R, Q)."""

    matrix: Matrix

    @property
    def rows(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def points(self) -> int:
        return int(self.matrix.shape[1])

    def scores(self, residual: Floats) -> Floats:
        return np.asarray(residual.astype(self.matrix.dtype) @ self.matrix)

    def integrals(self, weights: Floats) -> Floats:
        return integrals(self.matrix, weights)

    def columns(self, places: Indices) -> Floats:
        return np.asarray(self.matrix[:, places], np.float64)

    def norms(self) -> Floats:
        return np.asarray(np.sqrt(np.einsum("rq,rq->q", self.matrix, self.matrix, dtype=np.float64)))


@dataclass(frozen=True)
class WorkIntegrands:
    """Integrands as the work of modes against stress states.

    Raises ValueError where strains and stresses are not of the same points and components.
    """

    strains: Matrix
    """(Q, 6, N): strain of every mode, with engineering shear."""
    stress: Matrix
    """(Q, 6, states), with tensorial shear, so that the sum over six components is the double contraction."""

    def __post_init__(self) -> None:
        if self.strains.ndim != 3 or self.stress.ndim != 3 or self.strains.shape[:2] != self.stress.shape[:2]:
            found = f"strains of shape {self.strains.shape} and stresses of shape {self.stress.shape} were given"
            raise ValueError(f"{found}; give (points, components, modes) and (points, components, states)")

    @property
    def rows(self) -> int:
        return int(self.strains.shape[2] * self.stress.shape[2])

    @property
    def points(self) -> int:
        return int(self.strains.shape[0])

    def scores(self, residual: Floats) -> Floats:
        modes, states = self.strains.shape[2], self.stress.shape[2]
        r = residual.reshape(modes, states).astype(self.strains.dtype)
        found = np.empty(self.points, np.result_type(self.strains, self.stress))
        for part in self._slices():
            along = self.strains[part].reshape(-1, modes) @ r
            found[part] = np.einsum(
                "km,km->k", along.reshape(-1, self._per_point), self.stress[part].reshape(-1, self._per_point)
            )
        return found

    def integrals(self, weights: Floats) -> Floats:
        modes, states = self.strains.shape[2], self.stress.shape[2]
        total = np.zeros((modes, states))
        for part in self._slices():
            weighted = self.strains[part].astype(np.float64) * weights[part, None, None]
            total += weighted.reshape(-1, modes).T @ self.stress[part].reshape(-1, states).astype(np.float64)
        return total.ravel()

    def columns(self, places: Indices) -> Floats:
        strains, stress = self.strains[places].astype(np.float64), self.stress[places].astype(np.float64)
        return np.ascontiguousarray(np.matmul(strains.transpose(0, 2, 1), stress).reshape(len(places), self.rows).T)

    def norms(self) -> Floats:
        # ||E' S||^2 = sum of (E E') * (S S'), 6 x 6 matrices.
        strains, stress = (np.matmul(A, A.transpose(0, 2, 1), dtype=np.float64) for A in (self.strains, self.stress))
        return np.asarray(np.sqrt(np.maximum((strains * stress).sum(axis=(1, 2)), 0.0)))

    @property
    def _per_point(self) -> int:
        return int(self.stress.shape[1] * self.stress.shape[2])

    def _slices(self) -> list[slice]:
        step = max(1, SLICE_BYTES // (8 * max(self._per_point, 1)))
        return [slice(start, min(start + step, self.points)) for start in range(0, self.points, step)]


@dataclass(frozen=True)
class WithConstant:
    """Integrands with a constant as one more row, the last: the volume constraint."""

    inner: Integrands
    value: float

    @property
    def rows(self) -> int:
        return self.inner.rows + 1

    @property
    def points(self) -> int:
        return self.inner.points

    def scores(self, residual: Floats) -> Floats:
        return np.asarray(self.inner.scores(residual[:-1]) + self.value * residual[-1])

    def integrals(self, weights: Floats) -> Floats:
        return np.append(self.inner.integrals(weights), self.value * weights.sum())

    def columns(self, places: Indices) -> Floats:
        return np.concatenate([self.inner.columns(places), np.full((1, len(places)), self.value)])

    def norms(self) -> Floats:
        return np.asarray(np.hypot(self.inner.norms(), self.value))


def visiting(integrands: Integrands, *, pool: int = 1, normalised: bool = False) -> Price:
    """Visits for `nnls.search`: the best point of each of `pool` stretches, as `nnls.in_memory` does for a matrix."""
    norms = integrands.norms() if normalised else None

    def price(residual: Floats, taken: Sequence[int]) -> Pool:
        best, _ = best_points(integrands, residual, np.asarray(taken, np.int64), pool, norms)
        return Pool(best, integrands.columns(best))

    return price


def best_points(
    integrands: Integrands, residual: Floats, taken: Indices, pool: int, norms: Floats | None = None
) -> tuple[Indices, Floats]:
    """(points, scores) of the best of each of `pool` stretches, without those that are `taken`; scores over `norms` if given."""
    scores = np.asarray(integrands.scores(residual), np.float64)
    if norms is not None:
        scores = scores / np.where(norms > 0.0, norms, 1.0)
    scores[taken] = -np.inf
    best = best_of_stretches(scores, pool)
    return best, scores[best]
