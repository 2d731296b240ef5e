"""The references themselves, held to published and closed-form values before anything is judged by them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.asserts import (
    assert_orthonormal,
    assert_printed,
    assert_same_subspace,
    assert_spectrum_close,
    backward_error,
    largest_sine,
)
from tests.oracles.mass import MASS_CELLS, skfem_mass, small_mesh
from tests.oracles.pod import dense_pod, matrix_with_spectrum, projection_errors
from tests.strategies import SnapshotCase, chunkings, snapshot_cases, splits

# --- dense POD ----------------------------------------------------------------------------------------------------------------


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
