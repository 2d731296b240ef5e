"""The in-process solver: against the tabulated cube, against its own definition on other cells, and where it gives up."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nwidth.errors import RunError
from nwidth.fullorder.small_strain import Conditions, FullState, SmallStrainSolver
from nwidth.mesh import Mesh, mesh_from_cells
from nwidth_graphs.kernels.materials.elastic import LinearElastic
from nwidth_graphs.kernels.materials.norton import NortonKinematic
from nwidth_graphs.kernels.materials.return_mapping import IsotropicHardening, KinematicHardening
from nwidth_graphs.kernels.strains import all_points, point_groups, values_at
from tests import cube
from tests.asserts import assert_printed
from tests.cube import solver as reference

Floats = NDArray[np.float64]


def cube_law() -> NortonKinematic:
    """The material of the tabulated cube."""
    elastic = LinearElastic(reference.YOUNG, reference.POISSON, reference.EXPANSION, 20.0)
    return NortonKinematic(
        elastic,
        reference.DRAG,
        reference.EXPONENT,
        IsotropicHardening(reference.YIELD),
        KinematicHardening(reference.HARDENING, reference.RECALL),
    )


@pytest.fixture(scope="module")
def run() -> cube.CubeRecords:
    return cube.reference_run()


@pytest.fixture(scope="module")
def solver(run: cube.CubeRecords) -> SmallStrainSolver:
    """The cube as this solver sees it: mesh, law, supports, and the tabulated loads by time."""

    def conditions(parameters: Mapping[str, float], time: float) -> Conditions:
        step = round(time / 0.2)
        return Conditions(run.force[step], run.temperature[step])

    fixed = np.ones(3 * run.mesh.n_points, bool)
    fixed[cube.free_dofs(run.mesh.points)] = False
    return SmallStrainSolver(run.mesh, cube_law(), fixed, conditions)


@pytest.fixture(scope="module")
def order(run: cube.CubeRecords, solver: SmallStrainSolver) -> NDArray[np.int64]:
    """For each of this solver's points the number of the reference's: the same eight places per cell, numbered otherwise."""
    places = values_at(point_groups(run.mesh, *all_points(run.mesh)), run.mesh.points)
    distance, number = cKDTree(run.points).query(places)
    assert distance.max() < 1e-14
    return np.asarray(number)


def test_the_cube_is_the_tabulated_one(run: cube.CubeRecords, solver: SmallStrainSolver, order: NDArray[np.int64]) -> None:
    """Displacement, stress and plastic strain of all ten steps agree with the reference solver, and have its printed digits."""
    state = solver.initial({})
    for step in range(1, 11):
        state = solver.step(state, {}, 0.2)
        # Both stop at a relative residual of 1e-8; what that leaves in u is below 1e-7 of it, the condition being harmless here.
        for found, expected in ((state.displacement.ravel(), run.u[step]), (state.flux, run.sigma[step][order])):
            assert np.linalg.norm(found - expected) <= 1e-7 * np.linalg.norm(expected)
        assert np.abs(state.internal["p"] - run.p[step][order]).max() <= 1e-7 * run.p[-1].max()
    assert_printed(float(np.linalg.norm(state.displacement)), "0.034594617")
    assert_printed(float(np.linalg.norm(state.flux)), "6713.326")
    assert_printed(float(state.internal["p"].max()), "4.0325075e-3")
    assert_printed(float(solver.weights @ state.internal["p"]), "6.222749e-4")


def test_a_single_step_from_a_given_state(run: cube.CubeRecords, solver: SmallStrainSolver, order: NDArray[np.int64]) -> None:
    """One step from the reference's state at t = 1 is the reference's state at t = 1.2: what enrichment asks for."""
    internal = {"p": run.p[5][order], "plastic_strain": run.plastic_strain[5][order], "alpha": run.alpha[5][order]}
    before = FullState(1.0, run.u[5].reshape(-1, 3), run.sigma[5][order], internal)
    after = solver.step(before, {}, 0.2)
    assert np.linalg.norm(after.displacement.ravel() - run.u[6]) <= 1e-7 * np.linalg.norm(run.u[6])
    assert np.array_equal(before.internal["p"], run.p[5][order])


CENTRE = 13


def mixed_mesh() -> Mesh:
    """A block of 2 x 2 x 2, half of it hexahedra and half wedges, distorted in the plane: the wedges' rule is exact then."""
    points = np.array([(x, y, z) for z in range(3) for y in range(3) for x in range(3)], float)
    points[:, :2] += np.tile(0.1 * np.random.default_rng(0).standard_normal((9, 2)), (3, 1))
    rings = [9 * z + 3 * y + x + np.array([0, 1, 4, 3, 9, 10, 13, 12]) for z in range(2) for y in range(2) for x in range(2)]
    wedges = [ring[order] for ring in rings[1::2] for order in ([0, 1, 2, 4, 5, 6], [0, 2, 3, 4, 6, 7])]
    return mesh_from_cells(points, [(12, np.array(rings[::2])), (13, np.array(wedges))])


def elastic_block(mesh: Mesh, gradient: Floats) -> SmallStrainSolver:
    """Displacement ``gradient x`` prescribed on the whole surface; the node in the middle is free."""
    fixed = np.ones(3 * mesh.n_points, bool)
    fixed[3 * CENTRE : 3 * CENTRE + 3] = False
    prescribed = (mesh.points @ gradient.T).ravel()
    nothing = np.zeros(3 * mesh.n_points)
    return SmallStrainSolver(
        mesh,
        LinearElastic(200.0, 0.3),
        fixed,
        lambda parameters, time: Conditions(nothing, np.zeros(mesh.n_points), time * parameters["size"] * prescribed),
    )


def test_the_patch_test() -> None:
    """On distorted cells of two kinds a linear displacement comes out exactly, with the stress of Hooke's law."""
    mesh, gradient = mixed_mesh(), 1e-3 * np.random.default_rng(1).standard_normal((3, 3))
    solver = elastic_block(mesh, gradient)
    state = solver.step(solver.initial({"size": 2.0}), {"size": 2.0}, 0.5)
    strain = (gradient + gradient.T) / 2
    stress = 200.0 / 1.3 * (strain + 0.3 / 0.4 * np.trace(strain) * np.eye(3))
    expected = stress[[0, 1, 2, 0, 1, 0], [0, 1, 2, 1, 2, 2]]
    # The residual is stopped at 1e-8 units of force, absolutely, where no force acts; the stiffness is of the order of 1e2.
    assert np.abs(state.displacement - mesh.points @ gradient.T).max() <= 1e-9
    assert np.abs(state.flux - expected).max() <= 1e-7


def test_the_stiffness_is_the_derivative_of_the_force(
    run: cube.CubeRecords, solver: SmallStrainSolver, order: NDArray[np.int64]
) -> None:
    """In a plastic state, K times a direction is the central difference of the internal force along it."""
    state = {"p": run.p[4][order], "plastic_strain": run.plastic_strain[4][order], "alpha": run.alpha[4][order]}
    temperature = np.full(len(run.weights), 100.0)
    direction = np.random.default_rng(2).standard_normal(run.u.shape[1])

    def force(u: Floats) -> Floats:
        return solver.internal_force(solver.law(solver.strain(u), state, temperature, 0.2).flux)

    exact = solver.stiffness(solver.law(solver.strain(run.u[5]), state, temperature, 0.2).tangent) @ direction
    step = 1e-8  # truncation falls with step^2, rounding is eps |force| / step: both below 1e-5 of the derivative here
    difference = (force(run.u[5] + step * direction) - force(run.u[5] - step * direction)) / (2 * step)
    assert np.linalg.norm(difference - exact) <= 1e-5 * np.linalg.norm(exact)


def test_a_step_that_cannot_be_found_is_refused(run: cube.CubeRecords, solver: SmallStrainSolver) -> None:
    """A limit of one update on a plastic step, and a load that is not finite, end with the time and a way out."""
    impatient = SmallStrainSolver(run.mesh, solver.law, solver.fixed, solver.conditions, iterations=1)
    state = solver.initial({})
    with pytest.raises(RunError, match=r"to t = 1 did not converge .* after 1 updates.*take a smaller step"):
        impatient.step(state, {}, 1.0)
    nan = SmallStrainSolver(
        run.mesh, solver.law, solver.fixed, lambda p, t: Conditions(np.full(run.u.shape[1], np.nan), run.temperature[0])
    )
    with pytest.raises(RunError, match="did not converge"):
        nan.step(nan.initial({}), {}, 0.2)


def test_a_body_that_floats_is_refused() -> None:
    """Without supports the tangent is singular, and the sentence says what is missing."""
    mesh = mixed_mesh()
    force = np.zeros(3 * mesh.n_points)
    force[0] = 1.0
    free = np.zeros(3 * mesh.n_points, bool)
    solver = SmallStrainSolver(mesh, LinearElastic(200.0, 0.3), free, lambda p, t: Conditions(force, np.zeros(mesh.n_points)))
    with pytest.raises(RunError, match=r"singular|did not converge"):
        solver.step(solver.initial({}), {}, 1.0)


def test_inputs_that_do_not_fit_are_refused() -> None:
    """A mask of another size is refused when the solver is made."""
    with pytest.raises(ValueError, match=r"expected a law of size 6 and \(81,\)"):
        SmallStrainSolver(
            mixed_mesh(), LinearElastic(1.0, 0.3), np.zeros(5, bool), lambda p, t: Conditions(np.zeros(81), np.zeros(27))
        )
