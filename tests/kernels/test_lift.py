"""Lifting a basis and measuring its errors: both formulas, against dense projections."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nwidth_graphs.kernels.gram import gram
from nwidth_graphs.kernels.lift import (
    LiftSums,
    field_error_square,
    lift,
    merge_lift_sums,
    needs_residual,
    orthogonality_defect,
    projection_errors,
    repair_transform,
    row_means,
    scale_lift_sums,
)
from tests.asserts import backward_error
from tests.kernels.conftest import Namespace
from tests.oracles.pod import matrix_with_spectrum

Floats = NDArray[np.float64]
SHAPE = (4500, 6)  # three panels


def orthonormal_lift(matrix: Floats, rank: int) -> tuple[Floats, Floats]:
    """T (m, r) and Q (r, m) of the first `rank` modes, from LAPACK."""
    _, s, vt = np.linalg.svd(matrix, full_matrices=False)
    return vt[:rank].T / s[:rank], s[:rank, None] * vt[:rank]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_lift_and_its_sums(xp: Namespace, weighted: bool, centre: bool, residual: bool) -> None:
    """Modes are ``(X T)^T``, and every sum is the dense product in the same inner product."""
    matrix = matrix_with_spectrum(*SHAPE, 0.5 ** np.arange(6), 0) + 0.25
    weights = np.linspace(0.0, 2.0, SHAPE[0]) if weighted else np.ones(SHAPE[0])
    X = matrix - matrix.mean(axis=1, keepdims=True) if centre else matrix
    T, Q = orthonormal_lift(X, 3)
    scale = xp.array(np.sqrt(weights)) if weighted else None
    predicted = xp.array(Q) if residual else None
    modes, sums = lift(xp.array(matrix), xp.array(T), predicted, centre=centre, row_scale=scale)
    Phi = X @ T
    atol = backward_error(SHAPE) * np.linalg.norm(matrix, 2) * np.linalg.norm(T, 2)
    np.testing.assert_allclose(xp.numpy(modes), Phi.T, rtol=0, atol=atol)
    np.testing.assert_allclose(xp.numpy(sums.overlap), Phi.T @ (weights[:, None] * Phi), rtol=0, atol=2 * atol)
    np.testing.assert_allclose(xp.numpy(sums.coefficients), Phi.T @ (weights[:, None] * X), rtol=0, atol=2 * atol)
    if residual:
        missed = weights @ (X - Phi @ Q) ** 2
        np.testing.assert_allclose(xp.numpy(sums.residual_squares), missed, rtol=0, atol=2 * atol)
    else:
        assert sums.residual_squares is None


def test_row_means(xp: Namespace) -> None:
    """Means over the snapshots in float64, panel by panel."""
    matrix = np.random.default_rng(1).standard_normal((2100, 4)).astype(np.float32)
    expected = matrix.astype(np.float64).mean(axis=1)
    np.testing.assert_allclose(xp.numpy(row_means(xp.array(matrix))), expected, rtol=0, atol=1e-15)


def test_both_formulas_measure_the_projection(xp: Namespace) -> None:
    """With modes that are neither orthonormal nor optimal, and coefficients that are off, the error is still the projection's."""
    matrix = matrix_with_spectrum(300, 6, 0.3 ** np.arange(6), 2)
    T, Q = orthonormal_lift(matrix, 3)
    T, Q = T @ np.array([[1.0, 0.1, 0.0], [0.0, 2.0, 0.3], [0.0, 0.0, 0.5]]), Q + 1e-3
    Phi = matrix @ T
    residual = matrix - Phi @ np.linalg.lstsq(Phi, matrix)[0]
    norms = np.linalg.norm(matrix, axis=0)
    for predicted in (xp.array(Q), None):
        _, sums = lift(xp.array(matrix), xp.array(T), predicted)
        squares, exact = projection_errors(sums, xp.array(Q), xp.array(norms))
        atol = 10 * backward_error(matrix.shape) * np.linalg.cond(Phi)
        np.testing.assert_allclose(xp.numpy(squares), np.linalg.norm(residual, axis=0) ** 2, rtol=0, atol=atol)
        np.testing.assert_allclose(Phi @ xp.numpy(exact), matrix - residual, rtol=0, atol=atol)
        field = field_error_square(sums, xp.array(Q), exact, xp.array(norms))
        assert field == pytest.approx(np.linalg.norm(residual) ** 2, abs=atol)


@pytest.mark.parametrize("error", [1e-6, 1e-9, 1e-12])
def test_the_residual_has_no_floor(error: float) -> None:
    """Errors far below the square root of eps are measured where the residual is formed, to the rounding of the data itself."""
    matrix = matrix_with_spectrum(300, 5, [3.0, 2.0, 1.0, error, error], 3)
    T, Q = orthonormal_lift(matrix, 3)
    norms = np.linalg.norm(matrix, axis=0)
    assert needs_residual(norms, Q)
    _, sums = lift(matrix, T, Q)
    squares, _ = projection_errors(sums, Q, norms)
    assert np.sqrt(squares.sum()) == pytest.approx(np.sqrt(2) * error, abs=backward_error(matrix.shape))


def test_pythagoras_is_used_where_it_is_accurate(xp: Namespace) -> None:
    """The residual is asked for where one relative error is below 1e-5, and only there; zero snapshots do not count."""
    norms = xp.array(np.array([1.0, 0.0, 2.0]))
    for error, needed in ((1e-2, False), (2e-5, False), (0.5e-5, True), (0.0, True)):
        predicted = np.array([[np.sqrt(1 - error**2), 0.0, 1.0]])
        assert needs_residual(norms, xp.array(predicted)) is needed


def test_sums_add_up_and_scale(xp: Namespace) -> None:
    """Sums of two blocks are the sums of both together, with and without residual, and are quadratic in the fields."""
    matrix = matrix_with_spectrum(90, 4, np.ones(4), 4)
    T, Q = (xp.array(array) for array in orthonormal_lift(matrix, 2))
    for predicted in (Q, None):
        whole = lift(xp.array(matrix), T, predicted)[1]
        parts = [lift(xp.array(part), T, predicted)[1] for part in (matrix[:31], matrix[31:])]
        merged = merge_lift_sums(parts)
        tripled = scale_lift_sums(merged, 9.0)
        for name in LiftSums.__dataclass_fields__:
            one, both = getattr(whole, name), getattr(merged, name)
            if one is None:
                assert both is None
                assert getattr(tripled, name) is None
                continue
            np.testing.assert_allclose(xp.numpy(both), xp.numpy(one), rtol=0, atol=backward_error(matrix.shape))
            np.testing.assert_allclose(xp.numpy(getattr(tripled, name)), 9 * xp.numpy(both), rtol=1e-15)


def test_repair_makes_orthonormal_and_keeps_the_spans(xp: Namespace) -> None:
    """T from the measured overlap makes the modes orthonormal, and is upper triangular: leading spans stay what they were."""
    modes = np.linalg.qr(matrix_with_spectrum(200, 4, np.ones(4), 5))[0] + 1e-4 * matrix_with_spectrum(200, 4, np.ones(4), 6)
    overlap = gram(xp.array(modes))
    assert 1e-5 < orthogonality_defect(overlap) < 1e-3
    transform = xp.numpy(repair_transform(overlap))
    assert np.array_equal(transform, np.triu(transform))
    assert orthogonality_defect((modes @ transform).T @ (modes @ transform)) <= backward_error(modes.shape)
    assert orthogonality_defect(xp.array(np.zeros((0, 0)))) == 0.0


@pytest.mark.parametrize("weighted", [False, True])
def test_modes_are_made_where_they_will_lie(weighted: bool) -> None:
    """Memory of the caller's, rows of a larger array: the same bits, and nothing beside them is touched."""
    matrix = matrix_with_spectrum(*SHAPE, 0.5 ** np.arange(6), 0)
    T, _ = orthonormal_lift(matrix, 3)
    scale = np.linspace(0.5, 2.0, SHAPE[0]) if weighted else None
    expected, sums = lift(matrix, T, row_scale=scale)
    whole = np.full((3, SHAPE[0] + 20), -1.0)
    modes, same = lift(matrix, T, row_scale=scale, out=whole[:, 10:-10])
    assert np.shares_memory(modes, whole)
    np.testing.assert_array_equal(modes, expected)
    np.testing.assert_array_equal(same.coefficients, sums.coefficients)
    assert np.all(whole[:, :10] == -1.0)
    assert np.all(whole[:, -10:] == -1.0)
