"""Gappy reconstruction of dual fields: exact in the span, bounded outside of it, and a residual with its documented meaning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth_graphs.kernels.gappy_reconstruction import (
    MaskedBasis,
    error_bound,
    field_values,
    mask_of,
    masked_basis,
    relative_errors,
)
from nwidth_graphs.kernels.interpolation import amplification, qdeim
from tests.cube.solver import reference_run

Floats = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)


def problem(seed: int, points: int = 12, modes: int = 4, rows: int = 80) -> tuple[Floats, MaskedBasis]:
    """A basis, and its mask: random points and those of Q-DEIM."""
    random = np.random.default_rng(seed)
    Psi = np.linalg.qr(random.standard_normal((rows, modes)))[0]
    mask = mask_of(random.choice(rows, points, replace=False), qdeim(Psi))
    return Psi, masked_basis(Psi[mask], mask)


@given(seed=st.integers(0, 999))
@settings(max_examples=20)
def test_fields_of_the_span_are_exact(seed: int) -> None:
    """Whatever lies in the span of the basis comes back from its values at the points, for a batch of draws and times at once."""
    Psi, masked = problem(seed)
    a = np.random.default_rng(seed).standard_normal((4, 3, 2))
    fields = np.tensordot(Psi, a, axes=1)
    found = masked.reconstruct(fields[masked.points])
    tolerance = 100 * EPS * masked.amplification * np.abs(a).max()
    np.testing.assert_allclose(found.coefficients, a, atol=tolerance)
    np.testing.assert_allclose(field_values(Psi, found.coefficients), fields, atol=tolerance)
    assert found.residuals.shape == found.norms.shape == (3, 2)
    assert found.residuals.max() <= 100 * EPS * masked.amplification
    np.testing.assert_allclose(found.norms, np.linalg.norm(fields[masked.points], axis=0))


@given(seed=st.integers(0, 999), size=st.sampled_from([1e-6, 1e-2, 1.0]))
@settings(max_examples=20)
def test_errors_are_within_the_bound(seed: int, size: float) -> None:
    """``|p - Psi z| <= |e| + |B^+| (|e_I| + |d|)``, and the residual is that of least squares, as a library solves it."""
    Psi, masked = problem(seed)
    random = np.random.default_rng(seed + 1)
    p = Psi @ random.standard_normal(4) + size * random.standard_normal(len(Psi))
    d = size * random.standard_normal(len(masked.points))
    given_values = p[masked.points] + d
    found = masked.reconstruct(given_values)
    expected, squares, _, _ = np.linalg.lstsq(masked.values, given_values)
    np.testing.assert_allclose(found.coefficients, expected, rtol=1e-9, atol=1e-12)
    assert found.residuals == pytest.approx(np.sqrt(squares[0]) / np.linalg.norm(given_values), rel=1e-6)
    e = p - Psi @ (Psi.T @ p)
    bound = error_bound(masked, *(np.array(np.linalg.norm(x)) for x in (e, e[masked.points], d)))
    assert np.linalg.norm(p - field_values(Psi, found.coefficients)) <= bound * (1 + 1e-12)


def test_the_residual_of_the_worked_example() -> None:
    """Modes e1, e2 on three points and the data (1, 0, 1): rho = 1 / sqrt 2, and not half of its square over the norm."""
    masked = masked_basis(np.eye(3)[:, :2], np.arange(3))
    found = masked.reconstruct(np.array([1.0, 0.0, 1.0]))
    assert found.residuals == pytest.approx(1 / np.sqrt(2), rel=1e-15)
    np.testing.assert_allclose(found.coefficients, [1.0, 0.0])


def test_errors_inside_the_range_are_not_seen() -> None:
    """What is wrong at the points in the range of B leaves no residual, however large: the indicator is blind there."""
    Psi, masked = problem(3)
    p = Psi @ np.ones(4)
    wrong = p[masked.points] + masked.values @ np.array([5.0, 0, 0, 0])
    found = masked.reconstruct(wrong)
    assert found.residuals <= 100 * EPS * masked.amplification
    assert np.linalg.norm(field_values(Psi, found.coefficients) - p) == pytest.approx(5.0)


def test_zero_values_have_no_residual() -> None:
    """A step in which nothing has begun gives zeros, and no division by them."""
    _, masked = problem(1)
    found = masked.reconstruct(np.zeros((len(masked.points), 2)))
    assert not found.coefficients.any()
    assert found.residuals.tolist() == [0.0, 0.0]


def test_a_mask_without_spare_points_says_so() -> None:
    """With as many points as modes the residual is zero for any values, and the mask is called blind."""
    Psi, masked = problem(2)
    tight = masked_basis(Psi[qdeim(Psi)], qdeim(Psi))
    assert tight.blind
    assert not masked.blind
    assert tight.reconstruct(np.random.default_rng(0).standard_normal(4)).residuals == 0.0


def test_masks_that_cannot_serve_are_refused() -> None:
    """Too few points, dependent rows, values for other points and doubled points are refused, with the way out."""
    Psi, masked = problem(0)
    with pytest.raises(ValueError, match=r"3 points for 4 dual modes; add the interpolation points .* or keep at most 3 modes"):
        masked_basis(Psi[:3], np.arange(3))
    with pytest.raises(ValueError, match="do not determine 4 dual modes"):
        masked_basis(np.tile(Psi[:3], (2, 1)), np.arange(6))
    with pytest.raises(ValueError, match="evaluate the field at the mask's points"):
        masked.reconstruct(np.ones(3))
    with pytest.raises(ValueError, match="give the rows at the points"):
        masked_basis(Psi[:6], np.arange(5))
    with pytest.raises(ValueError, match="named twice"):
        mask_of(np.array([3, 3]), np.array([1]))


def test_the_mask_keeps_the_order_of_the_reduced_points() -> None:
    """Reduced points stay where their weights and internal variables are; new points follow, each once."""
    assert mask_of(np.array([7, 2, 5]), np.array([9, 2, 1, 9])).tolist() == [7, 2, 5, 9, 1]


def test_some_values_of_the_full_field_are_those_of_all() -> None:
    """Rows of the basis that somebody wants give the values at them, and nothing else is formed."""
    Psi, masked = problem(4)
    z = masked.reconstruct(np.random.default_rng(0).standard_normal((len(masked.points), 5))).coefficients
    np.testing.assert_allclose(field_values(Psi[[3, 70]], z), field_values(Psi, z)[[3, 70]], rtol=0, atol=1e-14)


def test_relative_errors_of_tiny_fields_are_absolute() -> None:
    """Below the threshold an error is not divided by the norm."""
    truth = np.array([[1e-12, 2.0], [0.0, 0.0]])
    np.testing.assert_allclose(relative_errors(truth + 1.0, truth, 1e-3), [np.sqrt(2), np.sqrt(2) / 2])


def test_plastic_strain_of_the_cube_in_reproduction() -> None:
    """The cube's p from 57 points and those of Q-DEIM: errors within the bound wherever p has begun.

    The norms of Q-DEIM points alone are those of LAPACK's pivots: 8.55 for three modes, 17.94 for all nine.
    """
    p = reference_run().p.T
    modes, s, _ = np.linalg.svd(p, full_matrices=False)
    assert amplification(modes[:, :3], qdeim(modes[:, :3])) == pytest.approx(8.55, abs=0.005)
    assert amplification(modes[:, :9], qdeim(modes[:, :9])) == pytest.approx(17.94, abs=0.005)
    Psi = modes[:, :7]
    mask = mask_of(np.random.default_rng(0).choice(len(p), 57, replace=False), qdeim(Psi))
    masked = masked_basis(Psi[mask], mask)
    found = masked.reconstruct(p[mask])
    e = p - Psi @ (Psi.T @ p)
    bound = error_bound(masked, np.linalg.norm(e, axis=0), np.linalg.norm(e[mask], axis=0), np.zeros(p.shape[1]))
    rounding = 100 * EPS * masked.amplification * s[0]
    assert np.all(np.linalg.norm(field_values(Psi, found.coefficients) - p, axis=0) <= bound + rounding)
    begun = np.linalg.norm(p, axis=0) > 1e-3
    assert begun.sum() == 8
    assert found.residuals[begun].max() < 1e-2
