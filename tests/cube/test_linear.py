"""Linear solvers of the cube: the fast ones find what the plain one finds, and the order of elimination fills less."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.sparse.linalg import splu

from tests.cube import CubeGrid, CubeParameters, CubeRecords, solve_cube
from tests.cube.assembly import Assembly
from tests.cube.grid import Floats
from tests.cube.linear import SYMMETRIC, Name, dissected, free_dofs
from tests.cube.multigrid import Multigrid, coarsen, prolongation
from tests.cube.nested_dissection import nested_dissection
from tests.cube.solver import (
    ELASTIC,
    INCREMENT_TOLERANCE,
    NEWTON_TOLERANCE,
    Material,
    constitutive_update,
)


def plastic_tangent(cells: int) -> Floats:
    """(Q, 6, 6) unsymmetric tangents of a loaded material whose kinematic variable is not zero."""
    strains = 1e-3 * np.random.default_rng(3).standard_normal((8 * cells**3, 6))
    _, _, state = constitutive_update(strains, Material.virgin(len(strains)), 0.2)
    return constitutive_update(1.5 * strains, state, 0.2)[1]


@cache
def plain_run(cells: int) -> CubeRecords:
    return solve_cube(CubeParameters(), cells, "plain")


@pytest.mark.parametrize("cells", [3, 6])
@pytest.mark.parametrize("linear", ["dissection", "multigrid"])
def test_every_linear_solver_ends_in_the_same_run(cells: int, linear: Name) -> None:
    """All fields of a run are those of the plain solver, within what Newton's tolerance leaves open."""
    plain, run = plain_run(cells), solve_cube(CubeParameters(), cells, linear)
    # Forces balance to 1e-8 of the load in the worst step; thermal stress, ten times the load's, makes up for the condition.
    for name in ("u", "sigma", "p"):
        truth: Any = getattr(plain, name)
        assert np.linalg.norm(getattr(run, name) - truth) <= NEWTON_TOLERANCE * np.linalg.norm(truth)


def test_multigrid_of_two_levels_ends_in_the_same_run() -> None:
    """At 8 cells, where the default takes multigrid with a coarser mesh, the run is that of nested dissection."""
    default, direct = solve_cube(CubeParameters(), 8), solve_cube(CubeParameters(), 8, "dissection")
    assert not np.array_equal(default.u, direct.u)  # it is another solver
    assert np.linalg.norm(default.u - direct.u) <= NEWTON_TOLERANCE * np.linalg.norm(direct.u)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 13])
def test_nested_dissection_is_a_permutation(side: int) -> None:
    """Every node is eliminated once, on sides that halve evenly and on those that do not."""
    assert np.array_equal(np.sort(nested_dissection(side)), np.arange(side**3))


def test_nested_dissection_keeps_halves_apart() -> None:
    """The middle plane comes last, and what comes before it is one half and then the other."""
    order, x = nested_dissection(7), np.arange(7**3) % 7
    assert np.array_equal(x[order[-49:]], np.full(49, 3))
    assert (x[order[:147]] < 3).all()
    assert (x[order[147:294]] > 3).all()


def test_nested_dissection_fills_less() -> None:
    """At 8 cells the factors have fewer entries than in a minimum degree order, and than in SuperLU's own default."""
    grid = CubeGrid(8)
    free, tangent = free_dofs(grid.nodes), plastic_tangent(8)
    matrix = Assembly(grid, free)(tangent).tocsc()
    ordered = Assembly(grid, dissected(grid))(tangent).tocsc()

    def fill(of: Any, **options: Any) -> int:
        return int(splu(of, **options).nnz)

    found = fill(ordered, permc_spec="NATURAL", **SYMMETRIC)
    assert found < 0.95 * fill(matrix, permc_spec="MMD_AT_PLUS_A", **SYMMETRIC)
    assert found < 0.8 * fill(matrix)


def test_assembly_is_the_stiffness() -> None:
    """Assembled in any order of some unknowns, the matrix is the plain one with these rows and columns."""
    grid, tangent = CubeGrid(3), plastic_tangent(3)
    whole = grid.stiffness(tangent).toarray()
    some = np.random.default_rng(0).permutation(len(whole))[:150]
    assembled = Assembly(grid, some)(tangent).toarray()
    np.testing.assert_allclose(assembled, whole[np.ix_(some, some)], rtol=0, atol=1e-14 * np.abs(whole).max())


def test_prolongation_takes_linear_fields_to_themselves() -> None:
    """A displacement that is linear in space is the same field on the finer mesh."""
    gradient = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    coarse, fine = (CubeGrid(cells).nodes @ gradient.T for cells in (3, 6))
    np.testing.assert_allclose(prolongation(3) @ coarse.ravel(), fine.ravel(), atol=1e-13)


def test_coarse_tangents_are_means_where_they_lie() -> None:
    """A field of tangents that is linear in space is taken at the centres of the child cells, each by its octant's point."""
    fine, coarse = CubeGrid(6), CubeGrid(3)
    places = fine.at_points(fine.nodes) @ np.array([1.0, 10.0, 100.0])
    found = coarsen(places[:, None, None] * np.ones((6, 6)), 6)[:, 0, 0]
    # A parent's point of an octant takes the centre of the child there.
    shape = np.sign(coarse.at_points(coarse.nodes) - np.repeat(coarse.nodes[coarse.hexahedra].mean(axis=1), 8, axis=0))
    children = np.repeat(coarse.nodes[coarse.hexahedra].mean(axis=1), 8, axis=0) + shape / 12
    np.testing.assert_allclose(found, children @ np.array([1.0, 10.0, 100.0]), atol=1e-12)


def test_a_cycle_is_about_the_inverse() -> None:
    """On elastic material a cycle leaves three quarters of any error, in energy, or less; on the coarsest mesh it leaves none."""
    grid = CubeGrid(8)
    elastic = np.broadcast_to(ELASTIC, (8 * 8**3, 6, 6))
    matrix, cycle = Multigrid(grid, free_dofs).matrix_and_cycle(elastic)
    # A quarter is what meshes leave of most errors; translations are held at a node and along an edge, twice as stiffly on a
    # mesh twice as coarse, so that half of these remains and what smoothing leaves beside it. GMRES takes out such a handful.
    error = np.random.default_rng(0).standard_normal(matrix.shape[0])
    for _ in range(12):  # the worst error is what is left of any
        before = error @ (matrix @ error)
        error = error - cycle(matrix @ error)
        assert error @ (matrix @ error) <= 0.75**2 * before
    _, exact = Multigrid(grid, free_dofs, coarsest=8).matrix_and_cycle(elastic)
    rhs = matrix @ np.ones(matrix.shape[0])
    np.testing.assert_allclose(exact(rhs), 1.0, rtol=1e-9)


def test_plastic_increments_solve_their_equation() -> None:
    """From 1e-6 to 1e3 MPa of excess, the scalar equation changes its sign within the tolerance about the increment."""
    from tests.cube import solver

    generator = np.random.default_rng(5)
    direction = generator.standard_normal((400, 6)) @ (np.eye(6) - np.outer(solver.IDENTITY, solver.IDENTITY) / 3)
    alpha = 1e-3 * np.roll(direction, 1, axis=0) * generator.uniform(0, 1, 400)[:, None]
    excess = np.logspace(-6, 3, 400)
    back = solver.HARDENING / 1.5 * alpha
    trial = back + direction * ((solver.YIELD + excess) / solver._equivalent(direction))[:, None]
    x = np.log(solver._plastic_increment(trial, alpha, 0.2))

    def equation(at: Floats) -> Floats:
        dp = np.exp(at)
        h = 1 / (1 + solver.RECALL * dp)
        viscous = solver.DRAG * np.exp((at - np.log(0.2)) / solver.EXPONENT)
        stress = solver._equivalent(trial - back * h[:, None])
        return np.asarray(stress - dp * (3 * solver.SHEAR + solver.HARDENING * h) - solver.YIELD - viscous)

    # J^2 is a difference of squares: rounding moves J by eps max(tt, aa) / J, and x by that over the slope, which is at least a
    # thirtieth of the viscous stress; the viscous stress is most of a small excess, and all slopes are steeper in a large one.
    squares = np.maximum(solver._equivalent(trial), solver._equivalent(back)) ** 2
    noise = 4 * np.finfo(float).eps * squares / solver.YIELD * solver.EXPONENT / excess
    width = INCREMENT_TOLERANCE + noise
    assert (equation(x - width) > 0).all()
    assert (equation(x + width) < 0).all()
