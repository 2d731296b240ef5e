"""The cube as a full-order plug-in: the package's own solver, with the loads and temperatures of the cube's inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nwidth.fullorder.small_strain import Conditions, SmallStrainSolver
from nwidth.mesh import mesh_from_cells
from tests.cube import solver
from tests.cube.case import cube_law, parameters_of
from tests.cube.grid import CubeGrid
from tests.cube.linear import free_dofs


def cube_stepper(cells: int) -> SmallStrainSolver:
    """One step at a time, its integration points cell by cell along x, y, z: not in the order of the cube's stores."""
    grid = CubeGrid(cells)
    mesh = mesh_from_cells(grid.nodes, [(12, grid.hexahedra)], length_unit="mm")
    fixed = np.ones(3 * mesh.n_points, bool)
    fixed[free_dofs(grid.nodes)] = False

    def conditions(inputs: Mapping[str, float], time: float) -> Conditions:
        parameters = parameters_of(inputs)
        return Conditions(solver._external_force(grid, parameters, time), solver._temperature(grid.nodes, parameters, time))

    return SmallStrainSolver(mesh, cube_law(), fixed, conditions)
