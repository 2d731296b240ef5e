"""The reduced Newton method: the cube's table, exact problems, draws that fail alone, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nwidth.mesh import Mesh, mesh_from_cells
from nwidth_graphs.kernels.cubature import nnomp
from nwidth_graphs.kernels.gappy_reconstruction import field_values, mask_of, masked_basis
from nwidth_graphs.kernels.interpolation import qdeim
from nwidth_graphs.kernels.materials import (
    Curve,
    HeatConduction,
    IsotropicHardening,
    J2Plasticity,
    KinematicHardening,
    LinearElastic,
    NortonKinematic,
)
from nwidth_graphs.kernels.reduced_newton import project_loads, solve_reduced
from nwidth_graphs.kernels.reduced_problem import FLUX, NewtonSettings, PointSet, ReducedHistory, history_bytes
from nwidth_graphs.kernels.strains import all_points, conduction_operator, point_groups, point_weights, strain_operator
from tests import cube
from tests.asserts import half_unit
from tests.oracles.pod import dense_pod

Floats = NDArray[np.float64]

CUBE = NortonKinematic(
    LinearElastic(2e5, 0.3, 2e-5, 20.0), 300.0, 30.0, IsotropicHardening(10.0), KinematicHardening(1e5, 1000.0)
)


@dataclass(frozen=True)
class Problem:
    """A reduced cube: modes, points and everything that drives the tabulated run."""

    modes: Floats
    points: PointSet
    forces: Floats
    temperatures: Floats
    rule: NDArray[np.int64]

    def solve(self, **options: Any) -> ReducedHistory:
        return solve_reduced([self.points], cube.TIMES, self.forces, temperatures=[self.temperatures], **options)


@cache
def reduced_cube(rank: int, tolerance: float | None = None, dual_rank: int = 0) -> Problem:
    """The cube with `rank` modes, at all points or at those of a rule and of the dual basis."""
    run, grid = cube.reference_run(), cube.CubeGrid()
    modes = dense_pod(run.u.T, run.mass, rank=rank).modes
    strains, temperature = grid.mode_strains(modes), grid.at_points(run.temperature.T).T
    chosen, weights = np.arange(len(run.weights)), run.weights
    if tolerance is not None:
        integrands = np.einsum("qsi,jqs->ijq", strains, run.sigma[1:]).reshape(-1, len(weights))
        rule = nnomp(integrands, run.weights, tolerance)
        chosen = mask_of(rule.points, qdeim(dual_basis(dual_rank)))
        weights = np.concatenate([rule.weights, np.zeros(len(chosen) - len(rule.points))])
    points = PointSet(strains[chosen], weights, CUBE)
    return Problem(modes, points, project_loads(modes, run.force)[None], temperature[None][:, :, chosen], chosen)


@cache
def dual_basis(rank: int) -> Floats:
    return dense_pod(cube.reference_run().p.T, rank=rank).modes


def worst(found: Floats, truth: Floats, negligible: float = 0.0) -> float:
    """Largest relative error over times, where the truth is not negligible."""
    norms = np.linalg.norm(truth, axis=1)
    there = norms > negligible
    return float((np.linalg.norm(found - truth, axis=1)[there] / norms[there]).max())


# --- the cube -----------------------------------------------------------------------------------------------------------------


def test_full_quadrature_reproduces_the_run() -> None:
    """With ten modes and all points, displacement, stress and plastic strain are those of the high-fidelity run.

    Ten modes hold the eleven snapshots to 1e-10; what is left is the Newton tolerance 1e-8 of both solvers.
    """
    run, problem = cube.reference_run(), reduced_cube(10)
    history = problem.solve()
    assert not history.failures
    assert worst(history.q[0] @ problem.modes.T, run.u) < 1e-8
    assert worst(history.duals[0][FLUX][0].reshape(11, -1), run.sigma.reshape(11, -1)) < 1e-7
    assert worst(history.duals[0]["p"][0], run.p, 1e-3) < 1e-7
    assert worst(history.duals[0]["alpha"][0].reshape(11, -1), run.alpha.reshape(11, -1), 1e-6) < 1e-6
    assert history.iterations[0].tolist() == run.iterations.tolist()
    assert history.stable.all()
    assert not history.halvings.any()


TABLE = [  # rtol of cubature, modes, modes of p, points, with the interpolation points, error of u, error of p, sum of weights
    (1e-5, 10, 9, 93, 97, "2.1e-5", "4.0e-6", "0.804"),
    (1e-4, 7, 9, 57, 62, "5.2e-4", "1.3e-3", "0.787"),
    (1e-3, 7, 7, 46, 49, "1.4e-3", "2.4e-3", "0.804"),
    (1e-3, 5, 7, 35, 39, "1.2e-2", "3.1e-2", "0.819"),
    (1e-2, 3, 4, 12, 16, "4.0e-2", "1.0e-1", "0.696"),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[1]} modes, {row[0]:.0e}")
def test_the_table_of_reduced_cubes(row: tuple[float, int, int, int, int, str, str, str]) -> None:
    """Points, errors of displacement and of reconstructed plastic strain are those of the table.

    The greedy choice hangs on last bits: counts may differ by a tenth. Where they are the table's, so are the errors, to their
    printed digits; where not, they are of its size.
    """
    tolerance, rank, dual_rank, count, all_count, u_error, p_error, volume = row
    run, problem = cube.reference_run(), reduced_cube(rank, tolerance, dual_rank)
    weighted = int((problem.points.weights > 0).sum())
    assert abs(weighted - count) <= 0.1 * count
    assert abs(problem.points.count - all_count) <= 0.1 * all_count + 1
    history = problem.solve()
    assert not history.failures
    masked = masked_basis(dual_basis(dual_rank)[problem.rule], problem.rule)
    p = field_values(dual_basis(dual_rank), masked.reconstruct(history.duals[0]["p"][0].T).coefficients).T
    found = (worst(history.q[0] @ problem.modes.T, run.u), worst(p, run.p, 1e-3), float(problem.points.weights.sum()))
    for value, text in zip(found, (u_error, p_error, volume), strict=True):
        margin = half_unit(text) if weighted == count else 0.5 * float(text)
        assert abs(value - float(text)) <= margin, f"{value} instead of {text}"


def test_draws_do_not_know_of_each_other() -> None:
    """Draws of different loads and temperatures, in one batch, get what each gets alone, iterations included."""
    problem = reduced_cube(5, 1e-3, 7)
    scales = np.array([1.0, 0.7, 1.2, 0.0])
    forces = scales[:, None, None] * problem.forces
    temperatures = 20.0 + scales[::-1, None, None] * (problem.temperatures - 20.0)
    together = solve_reduced([problem.points], cube.TIMES, forces, temperatures=[temperatures])
    assert together.finished.all()
    for draw in range(4):
        one = slice(draw, draw + 1)
        alone = solve_reduced([problem.points], cube.TIMES, forces[one], temperatures=[temperatures[one]])
        np.testing.assert_array_equal(alone.iterations, together.iterations[one])
        # Both end within the Newton tolerance of the same solution; products of other sizes round otherwise.
        scale = np.abs(together.q[draw]).max()
        np.testing.assert_allclose(alone.q[0], together.q[draw], rtol=0, atol=1e-7 * scale)


def test_a_march_is_taken_up_where_it_ended() -> None:
    """From coordinates and internal variables at t = 1 the second half is, bit for bit, that of the whole march."""
    problem = reduced_cube(5, 1e-3, 7)
    whole = problem.solve()
    states = {name: whole.duals[0][name][:, 5] for name in CUBE.state_shapes}
    before = {name: values.copy() for name, values in states.items()}
    half = solve_reduced(
        [problem.points],
        cube.TIMES[5:],
        problem.forces[:, 5:],
        temperatures=[problem.temperatures[:, 5:]],
        initial=whole.q[:, 5],
        initial_states=[states],
    )
    np.testing.assert_array_equal(half.q, whole.q[:, 5:])
    np.testing.assert_array_equal(half.duals[0]["alpha"], whole.duals[0]["alpha"][:, 5:])
    for name, values in states.items():
        np.testing.assert_array_equal(values, before[name])
    with pytest.raises(ValueError, match="give one for each"):
        problem.solve(initial_states=[])
    with pytest.raises(ValueError, match="give those of the law"):
        problem.solve(initial_states=[{"p": states["p"]}])


def test_a_step_is_cut_in_two_where_newton_needs_it() -> None:
    """With four updates allowed, a step that needs more is halved, and gives what marching through its middle gives."""
    problem = reduced_cube(5, 1e-3, 7)
    history = problem.solve(settings=NewtonSettings(iterations=4))
    assert history.finished.all()
    cut = np.flatnonzero(history.halvings[0])
    assert set(history.halvings[0]) == {0, 1}
    fine = np.unique(np.concatenate([cube.TIMES, (cube.TIMES[cut] + cube.TIMES[cut - 1]) / 2]))
    forces = np.stack([np.interp(fine, cube.TIMES, column) for column in problem.forces[0].T], axis=1)
    temperature = np.stack([np.interp(fine, cube.TIMES, column) for column in problem.temperatures[0].T], axis=1)
    marched = solve_reduced([problem.points], fine, forces[None], temperatures=[temperature[None]])
    same = np.isin(fine, cube.TIMES)
    scale = np.abs(marched.q).max()
    np.testing.assert_allclose(history.q[0], marched.q[0, same], rtol=0, atol=1e-7 * scale)
    np.testing.assert_allclose(history.duals[0]["p"][0], marched.duals[0]["p"][0, same], rtol=0, atol=1e-7)


# --- draws that fail ----------------------------------------------------------------------------------------------------------


def test_bad_draws_end_alone_and_say_why() -> None:
    """A load that is not finite and a temperature outside of the curves end their draws; the others finish as if alone."""
    problem = reduced_cube(5, 1e-3, 7)
    elastic = LinearElastic(Curve((0, 450), (2e5, 1.9e5)), 0.3, 2e-5, 20.0)
    points = PointSet(problem.points.operator, problem.points.weights, J2Plasticity(elastic, IsotropicHardening(150.0)))
    forces, temperatures = np.repeat(problem.forces, 3, axis=0), np.repeat(problem.temperatures, 3, axis=0)
    forces[1, 3, 0] = np.nan
    temperatures[2, 4:] += 500.0
    history = solve_reduced([points], cube.TIMES, forces, temperatures=[temperatures])
    found = {failure.draw: failure for failure in history.failures}
    assert history.finished.tolist() == [True, False, False]
    assert (found[1].step, found[1].reason) == (3, "inputs")
    assert (found[2].step, found[2].reason) == (4, "temperature")
    assert str(found[2]).startswith("draw 2 ended before t = 0.8: a temperature lies outside of the law's range")
    assert np.isfinite(history.q[1, :3]).all()
    assert np.isnan(history.q[1, 3:]).all()
    assert np.isnan(history.duals[0]["p"][2, 4:]).all()
    alone = solve_reduced([points], cube.TIMES, forces[:1], temperatures=[temperatures[:1]])
    np.testing.assert_allclose(history.q[0], alone.q[0], rtol=0, atol=1e-6 * np.abs(alone.q).max())


def test_a_collapse_ends_its_draw() -> None:
    """In pure shear without hardening, a draw below the limit load ``R0 / sqrt(3)`` finishes, and one above it cannot."""
    shear = np.zeros((1, 6, 1))
    shear[0, 3] = 1.0
    points = PointSet(shear, np.ones(1), J2Plasticity(LinearElastic(2e5, 0.3), IsotropicHardening(100.0)))
    force = np.array([0.999, 1.001])[:, None, None] * np.linspace(0.0, 100.0 / np.sqrt(3), 6)[:, None]
    history = solve_reduced([points], np.arange(6.0), force, settings=NewtonSettings(halvings=2))
    assert history.finished.tolist() == [True, False]
    np.testing.assert_allclose(history.duals[0][FLUX][0, :, 0, 3], force[0, :, 0], rtol=1e-8)
    (failure,) = history.failures
    assert failure.step == 5
    assert failure.reason in ("not converged", "singular", "not finite")
    assert history.halvings[1, 5] == 2


def test_a_singular_tangent_ends_its_draw() -> None:
    """Two equal modes make the tangent singular, exactly: the draw ends with that word, at the first step."""
    problem = reduced_cube(3, 1e-2, 4)
    operator = np.concatenate([problem.points.operator[:, :, :1]] * 2, axis=2)
    points = PointSet(operator, problem.points.weights, LinearElastic(2e5, 0.3))
    history = solve_reduced([points], np.array([0.0, 1.0]), np.array([[[0.0, 0.0], [1.0, 0.0]]]))
    assert history.failures[0].reason in ("singular", "not converged", "not finite")
    nothing = PointSet(operator, 0.0 * problem.points.weights, LinearElastic(2e5, 0.3))
    history = solve_reduced([nothing], np.array([0.0, 1.0]), np.array([[[0.0, 0.0], [1.0, 0.0]]]))
    assert history.failures[0].reason == "singular"


def test_a_softening_law_is_seen() -> None:
    """Where the tangent is not positive definite the step may converge, and the history says that it is not stable."""

    class Softening(LinearElastic):
        def __call__(self, strain: Floats, state: Any, temperature: Floats, dt: Any) -> Any:
            answer = super().__call__(strain, state, temperature, dt)
            return answer._replace(flux=-answer.flux, tangent=-answer.tangent)

    points = PointSet(np.eye(6)[None], np.ones(1), Softening(1.0, 0.3))
    history = solve_reduced([points], np.array([0.0, 1.0]), np.ones((1, 2, 6)))
    assert history.finished.all()
    assert history.stable.tolist() == [[True, False]]


def test_without_external_force_the_tolerance_is_absolute() -> None:
    """Heated without any load, the body expands until its internal force is below the absolute tolerance."""
    problem, loose = reduced_cube(10), NewtonSettings(absolute_tolerance=1e-6)
    history = solve_reduced(
        [problem.points], cube.TIMES, 0.0 * problem.forces, temperatures=[problem.temperatures], settings=loose
    )
    assert history.finished.all()
    assert np.abs(history.q[0, 5]).max() > 0
    assert 0 < history.residuals[0, 1:].max() <= 1e-6
    still = solve_reduced([problem.points], cube.TIMES, 0.0 * problem.forces, temperatures=[np.full(1, 20.0)])
    assert not still.q.any()
    assert not still.iterations.any()


# --- exact problems: unit vectors as modes make it a finite-element solver --------------------------------------------------


def column(cells: int, length: float = 1.0) -> Mesh:
    """Hexahedra in a row along x, of section 1."""
    x = np.linspace(0.0, length, cells + 1)
    nodes = np.array([(a, b, c) for a in x for b, c in ((0, 0), (1, 0), (1, 1), (0, 1))])
    return mesh_from_cells(nodes, [(12, [[*(4 * k + np.arange(4)), *(4 * k + 4 + np.arange(4))] for k in range(cells)])])


def section_modes(cells: int) -> Floats:
    """(nodes, cells + 1): the hat functions of the sections."""
    return np.repeat(np.eye(cells + 1), 4, axis=0)


def test_a_bar_of_two_materials() -> None:
    """Point sets with laws of their own add up: in series, each half stretches by its own modulus."""
    mesh = column(4, length=2.0)
    cell, local = all_points(mesh)
    modes = np.zeros((mesh.n_points, 3, 4))
    modes[:, 0] = section_modes(4)[:, 1:]  # the first section is held
    sets = []
    for half, young in ((cell < 2, 100.0), (cell >= 2, 400.0)):
        groups = point_groups(mesh, cell[half], local[half])
        sets.append(PointSet(strain_operator(groups, modes), point_weights(groups), LinearElastic(young, 0.0)))
    force = np.zeros((1, 2, 4))
    force[0, 1, -1] = 8.0
    history = solve_reduced(sets, np.array([0.0, 1.0]), force)
    np.testing.assert_allclose(history.q[0, 1], [0.04, 0.08, 0.09, 0.10], rtol=1e-12)
    np.testing.assert_allclose(history.duals[1][FLUX][0, 1, :, 0], 8.0, rtol=1e-12)


def heat_column(cells: int, law: HeatConduction, *, held: tuple[int, ...]) -> PointSet:
    """The column with unknown temperatures at its sections, and prescribed ones at those that are `held`."""
    mesh = column(cells)
    groups = point_groups(mesh, *all_points(mesh))
    operator = conduction_operator(groups, section_modes(cells))
    free = [section for section in range(cells + 1) if section not in held]
    return PointSet(operator[:, :, free], point_weights(groups), law, operator[:, :, list(held)] if held else None)


def test_nonlinear_conduction_is_exact_at_nodes() -> None:
    """With k linear in T, Kirchhoff's transform of the temperature is linear along the bar, exactly so for linear elements.

    From far away, the first update leaves the curve, where the law says nothing: the step is cut in two, and gets there.
    """
    law = HeatConduction(Curve((0, 1000), (10, 60)))  # k = 10 (1 + T / 200)
    points = heat_column(5, law, held=(0, 5))
    prescribed = np.array([[[100.0, 100.0], [100.0, 700.0]]])
    history = solve_reduced(
        [points], np.array([0.0, 1.0]), np.zeros((1, 2, 4)), prescribed=prescribed, initial=np.full((1, 4), 100.0)
    )
    T = np.array([100.0, *history.q[0, 1], 700.0])
    transform = T + T**2 / 400.0
    np.testing.assert_allclose(np.diff(transform), (transform[-1] - transform[0]) / 5, rtol=1e-9)
    assert history.halvings[0, 1] == 1


def test_a_temperature_decays_as_its_discrete_mode() -> None:
    """An eigenvector of the discrete problem is divided by ``1 + lambda dt`` in every step of backward Euler."""
    cells, k, c, dt = 8, 3.0, 5.0, 0.01
    points = heat_column(cells, HeatConduction(k, c), held=())
    mode = np.cos(np.pi * np.arange(cells + 1) / cells)
    h = 1 / cells
    cosine = np.cos(np.pi * h)
    rate = k / c * 6 / h**2 * (1 - cosine) / (2 + cosine)  # of the hat functions with their consistent mass
    times = dt * np.arange(6.0)
    history = solve_reduced([points], times, np.zeros((1, 6, cells + 1)), initial=mode[None])
    np.testing.assert_allclose(history.q[0], mode / (1 + rate * dt) ** np.arange(6)[:, None], rtol=0, atol=1e-9)
    np.testing.assert_allclose(history.duals[0]["temperature"][0, 0], points.strain(mode[None], np.zeros((1, 0)))[0, :, 3])


def test_prescribed_displacements_are_lifted() -> None:
    """A bar pulled by a prescribed displacement follows it through plasticity: stress by hand."""
    mesh = column(3)
    groups = point_groups(mesh, *all_points(mesh))
    modes = np.zeros((mesh.n_points, 3, 4))
    modes[:, 0] = section_modes(3)
    operator = strain_operator(groups, modes)
    law = J2Plasticity(LinearElastic(1000.0, 0.0), IsotropicHardening(1.0, linear=100.0))
    points = PointSet(operator[:, :, 1:3], point_weights(groups), law, operator[:, :, [3]])
    pulled = np.linspace(0.0, 0.004, 5)
    history = solve_reduced([points], np.arange(5.0), np.zeros((1, 5, 2)), prescribed=pulled[None, :, None])
    np.testing.assert_allclose(history.q[0, -1], [0.004 / 3, 0.008 / 3], rtol=1e-9)
    # Uniaxial strain with nu = 0: eps_p11 = -2 eps_p22, and J = sigma_11 - sigma_22 = 1 + 100 p with p = eps_p11.
    p = (1000.0 * 0.004 - 1.0) / (1000.0 * 1.5 + 100.0)
    np.testing.assert_allclose(history.duals[0]["p"][0, -1], p, rtol=1e-9)
    np.testing.assert_allclose(history.duals[0][FLUX][0, -1, :, 0], 1000.0 * (0.004 - p), rtol=1e-9)


# --- sizes and refusals -------------------------------------------------------------------------------------------------------


def test_the_size_of_a_history_is_known_before() -> None:
    """`history_bytes` is what all arrays of the history take, to a few bytes of flags, whichever dual values are kept."""
    problem = reduced_cube(3, 1e-2, 4)
    for keep in (None, (), ("p",), (FLUX, "p")):
        history = problem.solve(keep=keep)
        assert set(history.duals[0]) == set(("flux", "plastic_strain", "alpha", "p") if keep is None else keep)
        arrays = [history.q, history.iterations, history.halvings, history.residuals, history.stable, *history.duals[0].values()]
        promised = history_bytes([problem.points], 1, 11, keep)
        assert 0 <= promised - sum(array.nbytes for array in arrays) <= 7 * 11


def test_wrong_shapes_are_refused() -> None:
    """Whatever does not fit together is refused before the first step, with both shapes."""
    elastic, times = LinearElastic(1.0, 0.3), np.array([0.0, 1.0])
    points = PointSet(np.zeros((4, 6, 2)), np.ones(4), elastic)
    forces = np.zeros((1, 2, 2))
    cases: list[tuple[str, dict[str, Any]]] = [
        (r"forces have the shape \(2, 2\); give \(draws, 2, 2\)", {"forces": forces[0]}),
        (r"times of shape \(2,\) do not increase", {"times": times[::-1]}),
        (r"temperatures have the shape \(3,\); give what broadcasts to \(1, 2, 4\)", {"temperatures": [np.zeros(3)]}),
        (r"2 temperature fields were given for 1 point sets", {"temperatures": [times, times]}),
        (r"the initial coordinates have the shape \(2,\); give \(1, 2\)", {"initial": times}),
        (r"prescribed coordinates have the shape \(1, 3, 0\)", {"prescribed": np.zeros((1, 3, 0))}),
        (r"dual values q are to be kept; the laws have flux", {"keep": ["q"]}),
        (r"point sets have \[2, 3\] modes", {"sets": [points, PointSet(np.zeros((4, 6, 3)), np.ones(4), elastic)]}),
        (r"point sets have \[\] modes; give at least one", {"sets": []}),
    ]
    for words, change in cases:
        inputs: dict[str, Any] = {"sets": [points], "times": times, "forces": forces} | change
        with pytest.raises(ValueError, match=words):
            solve_reduced(**inputs)


def test_wrong_points_and_settings_are_refused() -> None:
    """An operator of another law, a negative weight, a lift of other points and a tolerance of zero are refused."""
    elastic = LinearElastic(1.0, 0.3)
    with pytest.raises(ValueError, match=r"operator of shape \(4, 4, 2\) and weights \(4,\); give \(Q, 6, N\) and \(Q,\)"):
        PointSet(np.zeros((4, 4, 2)), np.ones(4), elastic)
    with pytest.raises(ValueError, match="a weight is negative"):
        PointSet(np.zeros((4, 6, 2)), -np.ones(4), elastic)
    with pytest.raises(ValueError, match=r"the lift has the shape \(3, 6, 1\); give \(4, 6, G\)"):
        PointSet(np.zeros((4, 6, 2)), np.ones(4), elastic, np.zeros((3, 6, 1)))
    with pytest.raises(ValueError, match=r"tolerance=0.*; expected positive tolerances"):
        NewtonSettings(tolerance=0)
