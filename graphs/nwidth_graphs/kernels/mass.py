"""A consistent mass matrix at work on a block of rows, in element form: never assembled for the whole mesh, never factorized.

    block (nodes * components, m)     the rows of some nodes; `ElementPatch` holds the elements that lie within these nodes
      Gram      X^T (M_b X)           M_b sparse, assembled from the patch, applied to a few columns at a time
      TSQR      rows L_e^T X_e        with M_e = L_e L_e^T per element: the rows of W^1/2 P S, grouped by element

Elements that straddle blocks form a patch of their own, over the interface nodes; the sum over all patches is exactly M.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.elements import element_masses, quadrature_weights
from nwidth_graphs.kernels.lift import LiftSums
from nwidth_graphs.kernels.panels import Array

# Columns that a sparse product visits at once: the temporary is (rows, 64) float64.
COLUMNS = 64


class Patch(Protocol):
    """The part of an inner product's matrix that acts within one block."""

    @property
    def matrix(self) -> Any:
        """The sparse matrix over the rows of the block."""
        ...


@dataclass(frozen=True)
class ElementPatch:
    """Elements within one block of nodes, by cell type.

    `points` (n_nodes, 3) are the block's own nodes, and `cells[vtk_type]` (e, a) number them from zero. Element masses are
    computed from these where they are used: a patch that travels is as small as the mesh.
    """

    points: NDArray[np.float64]
    cells: Mapping[int, NDArray[np.int64]]
    components: int = 1

    @cached_property
    def groups(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.float64]], ...]:
        """For each cell type, local node numbers (e, a) and element masses (e, a, a)."""
        return tuple(
            (cells, element_masses(quadrature_weights(self.points, cells, kind), kind))
            for kind, cells in sorted(self.cells.items())
        )

    @property
    def n_nodes(self) -> int:
        """Nodes of the block."""
        return len(self.points)

    @cached_property
    def matrix(self) -> Any:
        """The assembled sparse matrix of the patch, (n_nodes * components) squared."""
        from scipy.sparse import coo_array, csr_array, kron

        total = csr_array((self.n_nodes, self.n_nodes))
        for cells, masses in self.groups:
            rows = np.broadcast_to(cells[:, :, None], masses.shape).ravel()
            columns = np.broadcast_to(cells[:, None, :], masses.shape).ravel()
            total = total + coo_array((masses.ravel(), (rows, columns)), shape=total.shape).tocsr()
        return total if self.components == 1 else kron(total, np.eye(self.components), format="csr")

    def whitened_panels(self, block: Array, rows: int, *, centre: bool) -> Iterator[Array]:
        """Yield the rows ``L_e^T X_e`` with ``M_e = L_e L_e^T``, about `rows` at a time: stacked, ``B^T B = X^T M_b X``."""
        for cells, masses in self.groups:
            size = cells.shape[1] * self.components
            step = max(1, rows // size)
            for start in range(0, len(cells), step):
                lower = np.linalg.cholesky(masses[start : start + step])
                yield _whiten(block, cells[start : start + step], lower, self.components, centre)

    @property
    def whitened_rows(self) -> int:
        """Rows that `whitened_panels` yields in all."""
        return sum(cells.size for cells in self.cells.values()) * self.components


def _whiten(block: Array, cells: NDArray[np.int64], lower: Array, components: int, centre: bool) -> Array:
    """(elements, a) nodes -> (elements * a * components, m) rows."""
    index = (cells[:, :, None] * components + np.arange(components)).ravel()
    rows = np.asarray(block[index, :], np.float64)
    if centre:
        rows = rows - rows.mean(axis=1, keepdims=True)
    columns = block.shape[1]
    grouped = rows.reshape(cells.shape[0], cells.shape[1], components * columns)
    return np.matmul(lower.transpose(0, 2, 1), grouped).reshape(-1, columns)


def mass_gram(block: Array, patch: Patch, *, centre: bool) -> Array:
    """``C = X^T M_b X`` of one block, (m, m) float64."""
    mean = _means(block, centre)
    columns = block.shape[1]
    total = np.zeros((columns, columns))
    for start in range(0, columns, COLUMNS):
        weighted = patch.matrix @ _columns(block, mean, start)
        for other in range(0, columns, COLUMNS):
            total[other : other + COLUMNS, start : start + COLUMNS] = _columns(block, mean, other).T @ weighted
    return (total + total.T) / 2


def mass_lift(block: Array, transform: Array, predicted: Array | None, patch: Patch, *, centre: bool) -> tuple[Array, LiftSums]:
    """Modes ``(X T)^T`` (r, rows) of one block and its `LiftSums` in the inner product of the patch."""
    mean, (snapshots, rank) = _means(block, centre), transform.shape
    modes = np.zeros((rank, block.shape[0]))
    for start in range(0, snapshots, COLUMNS):
        modes += transform[start : start + COLUMNS].T @ _columns(block, mean, start).T
    weighted = (patch.matrix @ modes.T).T
    inner, squares = np.zeros((rank, snapshots)), np.zeros(snapshots)
    for start in range(0, snapshots, COLUMNS):
        part = slice(start, start + COLUMNS)
        fields = _columns(block, mean, start)
        inner[:, part] = weighted @ fields
        if predicted is not None:
            missed = fields - modes.T @ predicted[:, part]
            squares[part] = np.einsum("ij,ij->j", missed, patch.matrix @ missed)
    return modes, LiftSums(weighted @ modes.T, inner, None if predicted is None else squares)


def _means(block: Array, centre: bool) -> Array:
    return block.mean(axis=1, dtype=np.float64, keepdims=True) if centre else np.zeros((block.shape[0], 1))


def _columns(block: Array, mean: Array, start: int) -> Array:
    return np.ascontiguousarray(block[:, start : start + COLUMNS], np.float64) - mean
