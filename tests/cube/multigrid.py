"""One V-cycle of geometric multigrid for the tangent stiffness of the cube: a preconditioner whose cost is linear in its size.

    24 cells per side --smooth--> 12 --smooth--> 6, factored      K_l from the tangents of the level above, averaged
                      <--smooth--    <--smooth--                  P_l trilinear interpolation of displacement

Coarse matrices are integrated on the coarse mesh: the parent's Gauss point of an octant takes the mean tangent of the child cell
there. That costs an eighth of the finer assembly; a triple product ``P^T K P`` would cost more than all the rest. The smoother is
Chebyshev's iteration of degree 3 on ``D^-1 K`` over the upper seven eighths of its spectrum (M. Adams et al., J. Comput. Phys.
188 (2003) 593): it needs products with the matrix only. Degrees 2 to 5 and other intervals are no faster at 24 cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from tests.cube.assembly import Assembly
from tests.cube.grid import CORNERS, CubeGrid, Floats

COARSEST = 6
DEGREE, SHARE, MARGIN = 3, 1 / 8, 1.1
FIRST_POWERS, POWERS = 25, 4
"""Power iterations for the largest eigenvalue: at first, and later, when they start from the last vector."""


class Multigrid:
    """V-cycles on a mesh whose number of cells per side can be halved.

    Parameters
    ----------
    grid : the finest mesh
    free_of : nodes (n, 3) of any mesh -> its unknowns, in the order of rows
    coarsest : cells per side that are not halved any more
    """

    def __init__(self, grid: CubeGrid, free_of: Callable[[Floats], NDArray[np.int64]], coarsest: int = COARSEST) -> None:
        self.assembly = Assembly(grid, free_of(grid.nodes))
        self._coarser: list[Path] = []
        while grid.cells % 2 == 0 and grid.cells > coarsest:
            coarse = CubeGrid(grid.cells // 2)
            free, coarse_free = free_of(grid.nodes), free_of(coarse.nodes)
            up = sp.csr_array(prolongation(coarse.cells)[free][:, coarse_free])
            self._coarser.append(Path(grid.cells, up, sp.csr_array(up.T), Assembly(coarse, coarse_free), _start(len(free))))
            grid = coarse

    def matrix_and_cycle(self, tangent: Floats) -> tuple[sp.csr_array, Cycle]:
        """Tangents (Q, 6, 6) of the finest mesh -> its matrix, and a cycle that is about its inverse."""
        finest = matrix = self.assembly(tangent)
        smoothers = []
        for path in self._coarser:
            smoothers.append(path.smoother(matrix))
            tangent = coarsen(tangent, path.cells)
            matrix = path.assembly(tangent)
        factors = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.01, options={"SymmetricMode": True})
        return finest, Cycle(smoothers, factors)


@dataclass
class Path:
    """From one mesh to the next coarser one."""

    cells: int
    """Of the finer mesh."""
    up: sp.csr_array
    down: sp.csr_array
    assembly: Assembly
    """Of the coarser mesh."""
    vector: Floats
    """About the eigenvector of the largest eigenvalue on the finer mesh."""
    powers: int = FIRST_POWERS

    def smoother(self, matrix: sp.csr_array) -> Smoother:
        """For a matrix of the finer mesh; the power iteration goes on from where it ended last time."""
        inverse = 1 / matrix.diagonal()
        largest = 0.0
        for _ in range(self.powers):
            product = inverse * (matrix @ self.vector)
            largest = float(np.linalg.norm(product))
            self.vector = product / largest
        self.powers = POWERS
        return Smoother(matrix, inverse, MARGIN * largest, self.down, self.up)


@dataclass(frozen=True)
class Smoother:
    """Chebyshev's iteration on one level."""

    matrix: sp.csr_array
    inverse_diagonal: Floats
    largest: float
    """Eigenvalue of ``D^-1 K``, with a margin."""
    down: sp.csr_array
    """Residual -> the coarser mesh."""
    up: sp.csr_array

    def correction(self, residual: Floats) -> Floats:
        """Polynomial of `DEGREE` - 1 in ``D^-1 K`` times ``D^-1 residual`` (Y. Saad, Iterative Methods, algorithm 12.1)."""
        middle, radius = self.largest * (1 + SHARE) / 2, self.largest * (1 - SHARE) / 2
        rho = radius / middle
        step = self.inverse_diagonal * residual / middle
        total = step.copy()
        for _ in range(DEGREE - 1):
            residual = residual - self.matrix @ step
            previous, rho = rho, 1 / (2 * middle / radius - rho)
            step = rho * previous * step + 2 * rho / radius * (self.inverse_diagonal * residual)
            total += step
        return total


@dataclass(frozen=True)
class Cycle:
    """A linear map that is about the inverse of the finest matrix."""

    smoothers: list[Smoother]
    factors: Any

    def __call__(self, residual: Floats, level: int = 0) -> Floats:
        if level == len(self.smoothers):
            return np.asarray(self.factors.solve(residual))
        smoother = self.smoothers[level]
        x = smoother.correction(residual)
        x += smoother.up @ self(smoother.down @ (residual - smoother.matrix @ x), level + 1)
        return x + smoother.correction(residual - smoother.matrix @ x)


def coarsen(tangent: Floats, cells: int) -> Floats:
    """Tangents at the points of `cells` per side -> at those of half as many: means of the child cell of each octant."""
    half = cells // 2
    means = tangent.reshape(half, 2, half, 2, half, 2, 8, 6, 6).mean(axis=6)  # z, y, x of the parent, each with its half
    octants = ((CORNERS + 1) / 2).astype(int)
    return np.stack([means[:, z, :, y, :, x] for x, y, z in octants], axis=3).reshape(-1, 6, 6)


def prolongation(cells: int) -> sp.csr_array:
    """Displacement on `cells` per side -> on twice as many, trilinear, all unknowns."""
    coarse = np.arange(cells + 1)
    rows = np.concatenate([2 * coarse, 2 * coarse[:-1] + 1, 2 * coarse[:-1] + 1])
    columns = np.concatenate([coarse, coarse[:-1], coarse[1:]])
    line = sp.csr_array((np.repeat([1.0, 0.5], [cells + 1, 2 * cells]), (rows, columns)), shape=(2 * cells + 1, cells + 1))
    return sp.csr_array(sp.kron(sp.kron(sp.kron(line, line), line), sp.eye_array(3)))


def _start(size: int) -> Floats:
    vector = np.random.default_rng(0).standard_normal(size)
    return np.asarray(vector / np.linalg.norm(vector))
