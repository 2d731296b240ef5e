"""The unit cube in equal trilinear hexahedra: mesh, 2x2x2 Gauss points, and the operators between nodes and points.

Numbers as in `solver`: node ``ix + (cells + 1) iy + (cells + 1)^2 iz``, unknown ``3 * node + component``, integration
points cell by cell, six components 11, 22, 33, 12, 23, 13 (strain with engineering shear).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CubeGrid:
    """Mesh and operators of the cube; all cells are equal, so one cell's shape functions serve all of them."""

    cells: int = 6
    spacing: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spacing", 1.0 / self.cells)

    @cached_property
    def nodes(self) -> Floats:
        axis = np.arange(self.cells + 1) / self.cells
        z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
        return np.column_stack([x.ravel(), y.ravel(), z.ravel()])

    @cached_property
    def hexahedra(self) -> NDArray[np.int64]:
        side = self.cells + 1
        z, y, x = (axis.ravel() for axis in np.meshgrid(*[np.arange(self.cells)] * 3, indexing="ij"))
        corner = x + side * y + side**2 * z
        face = np.array([0, 1, 1 + side, side])
        return np.asarray(corner[:, None] + np.concatenate([face, face + side**2]))

    @cached_property
    def shape(self) -> Floats:
        """(8 points, 8 nodes) shape functions at the Gauss points of a cell."""
        return np.asarray(np.prod(1 + CORNERS * _GAUSS[:, None, :], axis=2) / 8)

    @cached_property
    def strain(self) -> Floats:
        """(8 points, 6, 24): nodal displacements of a cell -> strain with engineering shear."""
        factors = 1 + CORNERS * _GAUSS[:, None, :]
        gradient = np.stack([CORNERS[:, i] * np.delete(factors, i, axis=2).prod(axis=2) for i in range(3)], axis=1) / 8
        gradient *= 2 / self.spacing
        operator = np.zeros((8, 6, 8, 3))
        for i in range(3):
            operator[:, i, :, i] = gradient[:, i]
        for row, (i, j) in enumerate([(0, 1), (1, 2), (0, 2)], start=3):
            operator[:, row, :, i], operator[:, row, :, j] = gradient[:, j], gradient[:, i]
        return operator.reshape(8, 6, 24)

    @property
    def weight(self) -> float:
        """The weight of every integration point."""
        return self.spacing**3 / 8

    @cached_property
    def dofs(self) -> NDArray[np.int64]:
        return np.asarray((3 * self.hexahedra[:, :, None] + np.arange(3)).reshape(-1, 24))

    def at_points(self, nodal: Floats) -> Floats:
        """Interpolate nodal values (nodes, ...) to the integration points (Q, ...)."""
        values = np.einsum("gn,en...->eg...", self.shape, nodal[self.hexahedra])
        return np.asarray(values.reshape(-1, *nodal.shape[1:]))

    def strains(self, u: Floats) -> Floats:
        return np.asarray(np.einsum("gij,ej->egi", self.strain, u[self.dofs]).reshape(-1, 6))

    def mode_strains(self, modes: Floats) -> Floats:
        """Strains (Q, 6, N) of displacement modes (n, N)."""
        return np.asarray(np.einsum("gij,ejn->egin", self.strain, modes[self.dofs], optimize=True).reshape(-1, 6, modes.shape[1]))

    def forces(self, sigma: Floats) -> Floats:
        """Internal nodal forces of a stress field (Q, 6)."""
        local = np.einsum("gij,egi->ej", self.strain, sigma.reshape(-1, 8, 6)) * self.weight
        return np.bincount(self.dofs.ravel(), local.ravel(), minlength=3 * len(self.nodes))

    def stiffness(self, tangent: Floats) -> sp.csc_array:
        moduli = tangent.reshape(-1, 8, 6, 6) * self.weight
        local = np.einsum("gij,egik,gkl->ejl", self.strain, moduli, self.strain, optimize=True)
        return _assemble(local, self.dofs, 3 * len(self.nodes)).tocsc()

    def mass(self) -> sp.csr_array:
        """Consistent mass matrix of unit density; the 2x2x2 rule is exact for it."""
        local = np.tile(self.shape.T @ self.shape * self.weight, (len(self.hexahedra), 1, 1))
        return sp.csr_array(sp.kron(_assemble(local, self.hexahedra, len(self.nodes)), sp.eye_array(3)))


CORNERS = np.array([[-1, -1, -1], [1, -1, -1], [1, 1, -1], [-1, 1, -1], [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], float)
_GAUSS = CORNERS / np.sqrt(3.0)


def _assemble(local: Floats, numbers: NDArray[np.int64], size: int) -> sp.coo_array:
    rows = np.broadcast_to(numbers[:, :, None], local.shape).ravel()
    columns = np.broadcast_to(numbers[:, None, :], local.shape).ravel()
    return sp.coo_array((local.ravel(), (rows, columns)), shape=(size, size))
