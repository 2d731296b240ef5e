"""The cube, held to its tabulated values before anything is judged by it: fields, history, loads, equilibrium, POD tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import cube
from tests.asserts import assert_orthonormal, assert_printed
from tests.cube import CubeGrid
from tests.oracles.pod import dense_pod, smallest_rank


@pytest.fixture(scope="module")
def run() -> cube.CubeRecords:
    return cube.reference_run()


HIGH_FIDELITY = [  # step, norm of u, max |u|, norm of sigma, max von Mises, max p, integral of p
    (1, "0.010787967", "7.763502e-4", "4807.808", "137.1344", "1.3e-12", "0.000000e-4"),
    (5, "0.069498293", "4.975655e-3", "20005.530", "349.8849", "2.9116745e-3", "5.808989e-4"),
    (10, "0.034594617", "2.341063e-3", "6713.326", "350.2580", "4.0325075e-3", "6.222749e-4"),
]


@pytest.mark.parametrize("row", HIGH_FIDELITY, ids=lambda row: f"step{row[0]}")
def test_cube_reproduces_the_table(run: cube.CubeRecords, row: tuple[Any, ...]) -> None:
    """Norms and extrema of u, sigma and p are the tabulated ones to every printed digit."""
    step, *texts = row
    actual = [
        np.linalg.norm(run.u[step]),
        np.abs(run.u[step]).max(),
        np.linalg.norm(run.sigma[step]),
        cube.von_mises(run.sigma[step]).max(),
        run.p[step].max(),
        run.weights @ run.p[step],
    ]
    for value, text in zip(actual, texts, strict=True):
        assert_printed(float(value), text)


def test_cube_reproduces_the_plastic_history(run: cube.CubeRecords) -> None:
    """The largest accumulated plastic strain of every step is the tabulated one."""
    texts = (
        "3.78657e-5 5.37066e-4 1.388699e-3 2.911675e-3 3.076243e-3 3.162221e-3 3.312746e-3 3.583980e-3 4.032508e-3"  # from step 2
    )
    for step, text in enumerate(texts.split(), start=2):
        assert_printed(float(run.p[step].max()), text)


def test_cube_reproduces_the_corner_displacement(run: cube.CubeRecords) -> None:
    """Node (1,1,1) moves as tabulated at t = 1 and t = 2."""
    assert np.array_equal(run.mesh.points[-1], [1, 1, 1])
    for step, texts in ((5, "1.87325e-3 4.36119e-3 1.2994e-4"), (10, "-8.1557e-4 2.34106e-3 -1.135e-5")):
        for value, text in zip(run.u[step, -3:], texts.split(), strict=True):
            assert_printed(float(value), text)


def test_cube_loads_and_temperatures(run: cube.CubeRecords) -> None:
    """Total force and the temperature range at nodes and integration points are those of the loads as written."""
    for value, text in zip(run.force[10].reshape(-1, 3).sum(axis=0), ("-37.22562", "46.12500", "0.00000"), strict=True):
        assert_printed(float(value), text)
    at_points = CubeGrid().at_points(run.temperature[5])
    assert run.temperature.max() == pytest.approx(400.0, rel=1e-15)
    assert_printed(float(at_points.min()), "49.30")
    assert_printed(float(at_points.max()), "375.22")


def test_cube_is_in_equilibrium(run: cube.CubeRecords) -> None:
    """Stress and force belong together: the residual on free unknowns is below the Newton tolerance at every step."""
    grid = CubeGrid()
    free = cube.free_dofs(grid.nodes)
    assert len(run.u[0]) - len(free) == 57
    for step in range(1, 11):
        residual = (run.force[step] - grid.forces(run.sigma[step]))[free]
        assert np.linalg.norm(residual) <= cube.solver.NEWTON_TOLERANCE * np.linalg.norm(run.force[step][free])
    assert run.iterations.max() <= 5


def test_cube_tangent_is_the_derivative_of_the_stress() -> None:
    """The consistent tangent agrees with central differences of the stress, elastic and plastic points alike."""
    generator = np.random.default_rng(1)
    strain = 1e-3 * generator.standard_normal((20, 6))
    strain[:5] *= 1e-2  # stay elastic
    _, _, old = cube.solver.constitutive_update(strain, cube.solver.Material.virgin(20), 0.2)
    strain[5:10] *= 1.5
    _, tangent, new = cube.solver.constitutive_update(strain, old, 0.2)
    assert np.array_equal(new.p > old.p, np.arange(20) >= 5)
    step = 1e-8  # rounding eps * |sigma| / step is near 1e-5, truncation far below; the moduli are 1e5
    for column in range(6):
        shift = step * np.eye(6)[column]
        forward, backward = (cube.solver.constitutive_update(strain + sign * shift, old, 0.2)[0] for sign in (1, -1))
        np.testing.assert_allclose((forward - backward) / (2 * step), tangent[:, :, column], atol=1e-5 * cube.solver.YOUNG)


def test_cube_operators_are_exact_on_simple_fields(run: cube.CubeRecords) -> None:
    """Volume by the weights and by the mass matrix, and the strain of a linear displacement, are exact."""
    grid = CubeGrid()
    gradient = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    strain = grid.strains((grid.nodes @ gradient.T).ravel())
    np.testing.assert_allclose(strain, np.tile([1, 5, 9, 6, 14, 10], (len(strain), 1)), atol=1e-12)
    assert run.weights.sum() == pytest.approx(1.0, rel=1e-14)
    assert run.mass.sum() == pytest.approx(3.0, rel=1e-14)
    np.testing.assert_allclose(run.points, grid.at_points(run.mesh.points), atol=1e-15)


def test_cube_strains_of_modes_are_those_of_fields(run: cube.CubeRecords) -> None:
    """Strains of several modes at once are the strains of each, and stress does on them the work of the internal force."""
    grid, modes = CubeGrid(), run.u[3:6].T
    strains = grid.mode_strains(modes)
    for number, mode in enumerate(modes.T):
        np.testing.assert_allclose(strains[..., number], grid.strains(mode), rtol=0, atol=1e-14 * np.abs(strains).max())
    work = np.einsum("q,qin,qi->n", run.weights, strains, run.sigma[5])
    np.testing.assert_allclose(work, modes.T @ grid.forces(run.sigma[5]), rtol=1e-12)


def test_cube_families_are_repeatable() -> None:
    """The same seed draws the same parameters, another seed others, all within the stated range; one run is solved once."""
    drawn = cube.draw_parameters(20, seed=5)
    assert drawn == cube.draw_parameters(20, seed=5)
    assert drawn != cube.draw_parameters(20, seed=6)
    assert all(75.0 <= draw.pressure <= 125.0 and 0.25 <= min(draw.centre) <= max(draw.centre) <= 0.75 for draw in drawn)
    assert cube.cube_run(drawn[0], 2) is cube.cube_run(drawn[0], 2)
    with pytest.raises(ValueError, match="read-only"):
        cube.cube_run(drawn[0], 2).u[0] = 1.0


def test_cube_parameters_change_the_run() -> None:
    """Every parameter has an effect of its own (a coarse cube, no two runs equal)."""
    changes = [{}, {"amplitude": 300.0}, {"centre": (0.4, 0.5, 0.6)}, {"width": 3.0}, {"pressure": 80.0}, {"omega": 1.2e4}]
    finals = [cube.solve_cube(cube.CubeParameters(**change), cells=2).u[-1] for change in changes]  # type: ignore[arg-type]
    for i, first in enumerate(finals):
        for second in finals[:i]:
            assert np.linalg.norm(first - second) > 1e-3 * np.linalg.norm(first)


# --- POD of its fields ---------------------------------------------------------------------------------------------------------

CUBE_LAMBDA = (
    "5.34485668e-5 3.33726012e-6 5.81571544e-9 4.24680148e-10 8.45995e-11 "
    "1.97424e-11 2.79550e-12 4.13896e-13 7.6272e-14 3.596e-15"
)
CUBE_POD = [  # rtol, N of the rule with the pointwise criterion, relative Frobenius error, largest relative error of a snapshot
    (1e-1, 2, "1.0572e-2", "1.000e-1"),
    (1e-2, 3, "3.0615e-3", "1.433e-2"),
    (1e-3, 5, "6.3682e-4", "2.950e-3"),
    (1e-4, 7, "9.3243e-5", "1.923e-4"),
    (1e-5, 9, "7.957e-6", "1.606e-5"),
]


def test_cube_pod_has_the_tabulated_spectrum(run: cube.CubeRecords) -> None:
    """Squared singular values of u in the consistent mass matrix are the tabulated eigenvalues, to their printed digits.

    The table was made by the Gram route, whose eigenvalues carry ``eps * lambda[0]``: a hundredth of a unit of the last digit.
    """
    squares = dense_pod(run.u.T, run.mass).singular_values ** 2
    for value, text in zip(squares, CUBE_LAMBDA.split(), strict=False):
        assert_printed(float(value), text)
    assert squares[10] <= np.finfo(float).eps * squares[0]  # the first snapshot is zero: ten are independent


@pytest.mark.parametrize("row", CUBE_POD, ids=lambda row: f"{row[0]:.0e}")
def test_cube_pod_has_the_tabulated_errors(run: cube.CubeRecords, row: tuple[float, int, str, str]) -> None:
    """With the table's number of modes, both projection errors are the tabulated ones."""
    _, rank, frobenius, worst = row
    pod = dense_pod(run.u.T, run.mass, rank=rank)
    assert_printed(pod.error, frobenius)
    assert_printed(float(pod.snapshot_errors.max()), worst)
    assert_orthonormal(pod.modes, run.mass, tolerance=1e-12)


@pytest.mark.parametrize(("rtol", "rank"), [(1e-1, 2), (1e-2, 3), (1e-3, 5), (1e-4, 7), (1e-5, 9), (1e-6, 10)])
def test_cube_rank_by_energy(run: cube.CubeRecords, rtol: float, rank: int) -> None:
    """The smallest rank that reaches the tolerance is the table's N (one more than its N2), and one mode less misses it."""
    pod = dense_pod(run.u.T, run.mass, rtol=rtol)
    assert pod.rank == rank
    assert pod.error <= rtol < dense_pod(run.u.T, run.mass, rank=rank - 1).error


def test_cube_plastic_strain_pod(run: cube.CubeRecords) -> None:
    """Relative singular values of p (Euclidean) are the tabulated ones, and nine modes hold everything.

    At 1e-2 the table has 4 modes, whose tail of 1.05e-2 misses the tolerance: its rule counts one less than the smallest rank.
    """
    s = dense_pod(run.p.T).singular_values
    texts = "1.00000 0.114674 0.0422301 0.0131813 9.97531e-3 3.25191e-3 1.33836e-3 7.78367e-4 3.40610e-4"
    for value, text in zip(s / s[0], texts.split(), strict=False):
        assert_printed(float(value), text)
    assert s[9] < 1e-9 * s[0]
    assert [smallest_rank(s, rtol) for rtol in (1e-2, 1e-3, 1e-4)] == [5, 7, 9]
