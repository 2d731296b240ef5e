"""The references themselves, held to published and closed-form values before anything is judged by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.asserts import assert_orthonormal, assert_same_subspace, assert_spectrum_close, backward_error, largest_sine
from tests.oracles import elastoviscoplastic as cube
from tests.oracles.cube_grid import CubeGrid
from tests.oracles.mass import MASS_CELLS, skfem_mass, small_mesh
from tests.oracles.pod import dense_pod, matrix_with_spectrum, projection_errors, smallest_rank
from tests.strategies import SnapshotCase, chunkings, snapshot_cases, splits


def half_unit(text: str) -> float:
    """Half a unit of the last printed digit, plus a hair: how far a value may lie from the one that was printed."""
    mantissa, _, exponent = text.partition("e")
    return 0.51 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def assert_printed(actual: float, text: str) -> None:
    assert abs(actual - float(text)) <= half_unit(text), f"{actual!r} was printed as {text}"


@pytest.fixture(scope="module")
def run() -> cube.CubeRecords:
    return cube.reference_run()


# --- the elastoviscoplastic cube ----------------------------------------------------------------------------------------------

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
        assert np.linalg.norm(residual) <= cube.NEWTON_TOLERANCE * np.linalg.norm(run.force[step][free])
    assert run.iterations.max() <= 5


def test_cube_tangent_is_the_derivative_of_the_stress() -> None:
    """The consistent tangent agrees with central differences of the stress, elastic and plastic points alike."""
    generator = np.random.default_rng(1)
    strain = 1e-3 * generator.standard_normal((20, 6))
    strain[:5] *= 1e-2  # stay elastic
    _, _, old = cube.constitutive_update(strain, cube.Material.virgin(20), 0.2)
    strain[5:10] *= 1.5
    _, tangent, new = cube.constitutive_update(strain, old, 0.2)
    assert np.array_equal(new.p > old.p, np.arange(20) >= 5)
    step = 1e-8  # rounding eps * |sigma| / step is near 1e-5, truncation far below; the moduli are 1e5
    for column in range(6):
        shift = step * np.eye(6)[column]
        forward, backward = (cube.constitutive_update(strain + sign * shift, old, 0.2)[0] for sign in (1, -1))
        np.testing.assert_allclose((forward - backward) / (2 * step), tangent[:, :, column], atol=1e-5 * cube.YOUNG)


def test_cube_operators_are_exact_on_simple_fields(run: cube.CubeRecords) -> None:
    """Volume by the weights and by the mass matrix, and the strain of a linear displacement, are exact."""
    grid = CubeGrid()
    gradient = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    strain = grid.strains((grid.nodes @ gradient.T).ravel())
    np.testing.assert_allclose(strain, np.tile([1, 5, 9, 6, 14, 10], (len(strain), 1)), atol=1e-12)
    assert run.weights.sum() == pytest.approx(1.0, rel=1e-14)
    assert run.mass.sum() == pytest.approx(3.0, rel=1e-14)
    np.testing.assert_allclose(run.points, grid.at_points(run.mesh.points), atol=1e-15)


def test_cube_parameters_change_the_run() -> None:
    """Every parameter has an effect of its own (a coarse cube, no two runs equal)."""
    changes = [{}, {"amplitude": 300.0}, {"centre": (0.4, 0.5, 0.6)}, {"width": 3.0}, {"pressure": 80.0}, {"omega": 1.2e4}]
    finals = [cube.solve_cube(cube.CubeParameters(**change), cells=2).u[-1] for change in changes]  # type: ignore[arg-type]
    for i, first in enumerate(finals):
        for second in finals[:i]:
            assert np.linalg.norm(first - second) > 1e-3 * np.linalg.norm(first)


# --- dense POD ----------------------------------------------------------------------------------------------------------------

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


def test_pod_mini_case() -> None:
    """Snapshots of ones and of 0..5 give the published eigenvalues and coefficients, up to sign."""
    pod = dense_pod(np.column_stack([np.ones(6), np.arange(6.0)]))
    for value, text in zip(pod.singular_values**2, ("59.22716484", "1.77283516"), strict=True):
        assert_printed(float(value), text)
    np.testing.assert_allclose(np.abs(pod.coefficients.T), [[2.08748654, 1.28156153], [7.40739933, 0.36115812]], atol=5.1e-9)
    assert pod.coefficients[1, 0] * pod.coefficients[1, 1] < 0


def test_pod_of_the_decaying_spectrum() -> None:
    """Householder QR and SVD keep the table's accuracy: ``s_r = 10^(-0.4 r)`` is right to a backward error of the first one."""
    s = 10.0 ** (-0.4 * np.arange(40))
    matrix = matrix_with_spectrum(2000, 40, s, seed=0)
    assert_spectrum_close(dense_pod(matrix).singular_values, s, matrix.shape)
    assert abs(dense_pod(matrix).singular_values[20] / 1e-8 - 1) < 1e-7  # where the Gram route is wrong by 9 %


@given(case=snapshot_cases(dtype="float64"), rank=st.integers(1, 6))
def test_pod_invariants(case: SnapshotCase, rank: int) -> None:
    """Modes are orthonormal, the spectrum is the drawn one, and the measured error is its tail (Eckart-Young)."""
    pod = dense_pod(case.matrix, rank=rank)
    assert_orthonormal(pod.modes)
    assert_spectrum_close(pod.singular_values, case.singular_values, case.matrix.shape)
    tail = np.linalg.norm(case.singular_values[pod.rank :]) / np.linalg.norm(case.singular_values)
    assert pod.error == pytest.approx(tail, rel=1e-6, abs=backward_error(case.matrix.shape))
    again, per_snapshot = projection_errors(case.matrix, pod.modes)
    assert again == pytest.approx(pod.error, rel=1e-6, abs=backward_error(case.matrix.shape))
    assert per_snapshot.shape == pod.snapshot_errors.shape


def test_pod_inner_products_agree() -> None:
    """Weights and the diagonal matrix of the same weights give the same modes; centring takes the mean off."""
    matrix = matrix_with_spectrum(30, 8, 2.0 ** -np.arange(8), seed=3) + 1.0
    weights = np.linspace(0.5, 2.0, 30)
    by_weights = dense_pod(matrix, weights=weights, rank=4, centre=True)
    by_matrix = dense_pod(matrix, np.diag(weights), rank=4, centre=True)
    assert_orthonormal(by_weights.modes, weights=weights)
    assert_same_subspace(by_weights.modes, by_matrix.modes, by_matrix.singular_values, matrix.shape, weights=weights)
    np.testing.assert_allclose(by_weights.coefficients.sum(axis=1), 0.0, atol=1e-13)


# --- assertions and strategies --------------------------------------------------------------------------------------------------


def test_assertions_can_fail() -> None:
    """Each assertion rejects a result that is wrong by a hundred times its tolerance."""
    matrix = matrix_with_spectrum(50, 5, [5.0, 4.0, 3.0, 2.0, 1.0], seed=0)
    pod = dense_pod(matrix, rank=2)
    off = 100 * backward_error(matrix.shape)
    tilted = pod.modes + off * dense_pod(matrix).modes[:, 2:4]
    assert_same_subspace(pod.modes, pod.modes[:, ::-1] * [1, -1], pod.singular_values, matrix.shape)
    with pytest.raises(AssertionError, match="orthogonality defect"):
        assert_orthonormal(pod.modes * (1 + off))
    with pytest.raises(AssertionError, match="singular value 0"):
        assert_spectrum_close([5.0 * (1 + off), 4, 3, 2, 1], pod.singular_values, matrix.shape)
    with pytest.raises(AssertionError, match="singular value 4"):
        assert_spectrum_close([5.0, 4, 3, 2], pod.singular_values, matrix.shape)
    with pytest.raises(AssertionError, match="largest angle"):
        assert_same_subspace(tilted, pod.modes, [5, 4, 3, 2, 1], matrix.shape)
    with pytest.raises(AssertionError, match="no gap"):
        assert_same_subspace(pod.modes, pod.modes, [1.0, 1.0, 1.0], matrix.shape)


def test_largest_sine_sees_small_angles() -> None:
    """An angle of 1e-12, invisible to a cosine, is measured."""
    first, second = np.eye(3)[:, :1], np.array([[1.0], [1e-12], [0.0]])
    assert largest_sine(second, first) == pytest.approx(1e-12, rel=1e-6)


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), splits(n, 5))))
def test_splits_are_partitions(case: tuple[int, tuple[int, ...]]) -> None:
    """Drawn chunks are positive, sum to the length, and are no more than asked."""
    length, parts = case
    assert sum(parts) == length
    assert min(parts) > 0
    assert len(parts) <= 5


@given(case=snapshot_cases(), chunks=chunkings((7, 5)))
def test_drawn_cases_are_consistent(case: SnapshotCase, chunks: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """Chunks cover the matrix, components divide the rows, and the store's view holds the same numbers."""
    assert tuple(map(sum, case.chunks)) == case.matrix.shape
    assert tuple(map(sum, chunks)) == (7, 5)
    assert case.matrix.shape[0] % case.components == 0
    assert np.array_equal(case.fields.reshape(case.matrix.shape[1], -1).T, case.matrix)
    assert np.all(np.diff(case.singular_values) <= 0)


# --- mass matrices --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vtk_type", sorted(MASS_CELLS))
@pytest.mark.parametrize("seed", [0, 1])
def test_mass_matrix_integrates_polynomials(vtk_type: int, seed: int) -> None:
    """``1' M 1`` is the measure and ``x' M y`` the integral of x y, which fails for a wrong node order on distorted cells."""
    mesh = small_mesh(vtk_type, seed)
    M = skfem_mass(mesh)
    assert M.shape == (mesh.n_points, mesh.n_points)
    assert abs(M - M.T).max() <= 1e-15
    assert np.linalg.eigvalsh(M.toarray()).min() > 0
    ones, (x, y, z) = np.ones(mesh.n_points), mesh.points.T
    planar = not z.any()
    # The outline of a small mesh is the unit square or cube, whatever happens inside.
    assert ones @ M @ ones == pytest.approx(1.0, rel=1e-13)
    assert x @ M @ y == pytest.approx(0.25, rel=1e-13)
    assert x @ M @ x == pytest.approx(1 / 3, rel=1e-13)
    assert z @ M @ ones == pytest.approx(0.0 if planar else 0.5, abs=1e-13)
