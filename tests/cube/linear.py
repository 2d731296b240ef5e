"""Linear solvers for Newton's iterations on the cube: whichever is the fastest at a size is the opponent of reduced models.

    plain        the stiffness of `CubeGrid`, SuperLU in a minimum degree order       written for reading, judges the others
    dissection   assembled in the order of nested dissection, SuperLU takes it as is  6 cells per side and less, and odd numbers
    multigrid    GMRES, one V-cycle for a preconditioner                              from 8 cells per side

Each takes ``(tangent (Q, 6, 6), right side (free,))``; multigrid stops at a relative residual, so that Newton's method is an
inexact one (R. Dembo, S. Eisenstat, T. Steihaug, SIAM J. Numer. Anal. 19 (1982) 400): what it converges to is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, gmres, splu

from tests.cube.assembly import Assembly
from tests.cube.grid import CubeGrid, Floats
from tests.cube.multigrid import Multigrid
from tests.cube.nested_dissection import nested_dissection

type LinearSolver = Callable[[Floats, Floats], Floats]
type Name = Literal["plain", "dissection", "multigrid"]

SYMMETRIC = {"diag_pivot_thresh": 0.01, "options": {"SymmetricMode": True}}
"""For SuperLU: the pattern is symmetric, and small pivots are refused."""
FORCING = 1e-3
"""Relative residual of a linear solution. At 12 cells, 1e-1, 1e-2 and 1e-3 cost the same within a tenth."""
RESTART, RESTARTS = 60, 3


@cache
def linear_solver(cells: int, name: Name | None = None) -> LinearSolver:
    """The solver of a mesh, the fastest by default; patterns, orders and interpolations are found once per process."""
    grid = CubeGrid(cells)
    if name is None:
        name = "multigrid" if cells >= 8 and cells % 2 == 0 else "dissection"
    return {"plain": _plain, "dissection": _dissection, "multigrid": _multigrid}[name](grid)


def free_dofs(nodes: Floats) -> NDArray[np.int64]:
    """Unknowns ``3 * node + component`` that are not held: x on the face x = 0, y on the edge x = y = 0, z at (0, 1, 1)."""
    x, y, z = nodes.T
    fixed = np.zeros((len(nodes), 3), bool)
    fixed[:, 0] = x == 0
    fixed[:, 1] = (x == 0) & (y == 0)
    fixed[:, 2] = (x == 0) & (y == 1) & (z == 1)
    return np.flatnonzero(~fixed.ravel())


def dissected(grid: CubeGrid) -> NDArray[np.int64]:
    """Free unknowns in the order of nested dissection."""
    unknowns = 3 * nested_dissection(grid.cells + 1)[:, None] + np.arange(3)
    return unknowns.ravel()[np.isin(unknowns.ravel(), free_dofs(grid.nodes))]


def _plain(grid: CubeGrid) -> LinearSolver:
    free = free_dofs(grid.nodes)

    def solve(tangent: Floats, rhs: Floats) -> Floats:
        matrix = grid.stiffness(tangent)[free][:, free].tocsc()
        return np.asarray(splu(matrix, permc_spec="MMD_AT_PLUS_A", **SYMMETRIC).solve(rhs))

    return solve


def _dissection(grid: CubeGrid) -> LinearSolver:
    order = dissected(grid)
    assembly, place = Assembly(grid, order), np.searchsorted(free_dofs(grid.nodes), order)

    def solve(tangent: Floats, rhs: Floats) -> Floats:
        solution = np.empty_like(rhs)
        solution[place] = splu(assembly(tangent).tocsc(), permc_spec="NATURAL", **SYMMETRIC).solve(rhs[place])
        return solution

    return solve


def _multigrid(grid: CubeGrid) -> LinearSolver:
    multigrid = Multigrid(grid, free_dofs)

    def solve(tangent: Floats, rhs: Floats) -> Floats:
        matrix, cycle = multigrid.matrix_and_cycle(tangent)
        about_inverse = LinearOperator(matrix.shape, matvec=cycle, dtype=np.float64)
        solution, failed = gmres(matrix, rhs, M=about_inverse, rtol=FORCING, restart=RESTART, maxiter=RESTARTS)
        if failed:
            raise ArithmeticError(
                f"GMRES did not reach {FORCING:g} in {RESTART * RESTARTS} iterations; reduce the loads of this run"
            )
        return np.asarray(solution)

    return solve
