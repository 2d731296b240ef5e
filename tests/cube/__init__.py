"""The closed-form elastoviscoplastic cube: the system test of reduced mechanics, whose fields are known to many digits.

    solve_cube(CubeParameters(...), cells)     one run: displacement, stress, plastic strains, loads, mesh, weights, mass
    cube_run(parameters, cells)                the same, solved once per process
    reference_run()                            the tabulated one: 6 x 6 x 6 trilinear hexahedra, 1029 unknowns, 1728 points
    CubeGrid(cells)                            operators between nodes and integration points
    draw_parameters(count, seed)               a family of runs about the tabulated one

- `solver`: Newton's method and the material, written for reading, sharing no code with what they judge
- `linear`: solvers of Newton's linear systems, the fastest of each size, with `assembly`, `nested_dissection` and `multigrid`
- `grid`: mesh, integration points, strains of displacements and of modes, forces, stiffness, mass
- `family`: parameters of many runs
- `stepper`: the same cube as a full-order plug-in of the package
"""

from tests.cube import solver
from tests.cube.family import draw_parameters
from tests.cube.grid import CubeGrid
from tests.cube.linear import free_dofs
from tests.cube.solver import (
    TIMES,
    CubeParameters,
    CubeRecords,
    cube_run,
    reference_run,
    solve_cube,
    von_mises,
)

__all__ = [
    "TIMES",
    "CubeGrid",
    "CubeParameters",
    "CubeRecords",
    "cube_run",
    "draw_parameters",
    "free_dofs",
    "reference_run",
    "solve_cube",
    "solver",
    "von_mises",
]
