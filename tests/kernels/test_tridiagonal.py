"""Eigenvalues of large matrices, and vectors of some of them, with NumPy's LAPACK and with SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nwidth_graphs.kernels import svd
from nwidth_graphs.kernels.gram import EPS
from nwidth_graphs.kernels.tridiagonal import Tridiagonal

Floats = NDArray[np.float64]
pytestmark = pytest.mark.usefixtures("native_library")
SIZE = 150


def spectra() -> dict[str, Floats]:
    """Eigenvalues of Gram matrices, descending: what decays, repeats itself, and is not there at all."""
    few = np.zeros(SIZE)
    few[:7] = 10.0 ** -np.arange(7.0)
    return {
        "geometric": np.geomspace(1.0, 1e-24, SIZE),
        "harmonic": 1.0 / np.arange(1.0, SIZE + 1.0) ** 2,
        "threefold": np.repeat(np.geomspace(1.0, 1e-6, SIZE // 3), 3),
        "clustered": 1.0 + np.linspace(1e-13, 0.0, SIZE),
        "of rank 7": few,
        "zero": np.zeros(SIZE),
    }


def matrix_of(values: Floats) -> Floats:
    """A symmetric matrix of these eigenvalues, descending; symmetric to the last bit."""
    size = len(values)
    vectors = np.linalg.qr(np.random.default_rng(3).standard_normal((size, size)))[0]
    matrix = (vectors * values) @ vectors.T
    return np.asarray((matrix + matrix.T) / 2.0)


@pytest.mark.parametrize("count", [0, 1, 5, SIZE // 4, SIZE // 4 + 1, SIZE])
@pytest.mark.parametrize("name", spectra())
def test_values_and_leading_vectors(name: str, count: int) -> None:
    """Values to rounding of the largest, ascending; vectors orthonormal, residuals of rounding; the matrix is left alone."""
    values = spectra()[name]
    matrix = matrix_of(values)
    given = matrix.copy()
    form = Tridiagonal(matrix)
    vectors = form.leading(count)
    rounding = SIZE * EPS
    np.testing.assert_allclose(form.values, values[::-1], rtol=0.0, atol=rounding * values[0])
    assert vectors.shape == (SIZE, count)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(count), rtol=0.0, atol=8 * rounding)
    np.testing.assert_allclose(
        matrix @ vectors, vectors * form.values[SIZE - count :], rtol=0.0, atol=2 * rounding * (values[0] + 1e-300)
    )
    np.testing.assert_array_equal(matrix, given)


@pytest.mark.parametrize("order", ["C", "F", "part"])
def test_any_order_in_memory(order: str) -> None:
    """By rows, by columns, a part of something larger."""
    values = np.geomspace(1.0, 1e-3, 20)
    matrix = matrix_of(values)
    large = np.zeros((40, 40))
    large[10:30, 5:25] = matrix
    given = {"C": np.ascontiguousarray(matrix), "F": np.asfortranarray(matrix), "part": large[10:30, 5:25]}[order]
    np.testing.assert_allclose(Tridiagonal(given).values, values[::-1], atol=20 * EPS)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_matrices(size: int) -> None:
    """Nothing to make tridiagonal."""
    values = np.arange(size, 0.0, -1.0)
    form = Tridiagonal(matrix_of(values))
    np.testing.assert_allclose(form.values, values[::-1], rtol=1e-14)
    np.testing.assert_allclose(np.abs(np.linalg.det(form.leading(size))), 1.0, rtol=1e-14)


def test_few_vectors_fall_back_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the fast way to few vectors fails, the sure one gives them."""
    matrix = matrix_of(spectra()["harmonic"])
    expected = Tridiagonal(matrix).leading(4)
    monkeypatch.setattr(Tridiagonal, "_few", lambda self, count: None)
    found = Tridiagonal(matrix).leading(4)
    np.testing.assert_allclose(np.abs(np.sum(found * expected, axis=0)), 1.0, rtol=1e-10)


def test_a_large_gram_matrix_goes_this_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Singular values, and right vectors with the same signs as those of a small one."""
    monkeypatch.setattr(svd, "LARGE", SIZE)
    matrix = matrix_of(spectra()["harmonic"])
    large = svd.svd_of_gram(matrix)
    monkeypatch.setattr(svd, "LARGE", SIZE + 1)
    small = svd.svd_of_gram(matrix)
    np.testing.assert_allclose(large.values, small.values, rtol=1e-10)
    np.testing.assert_allclose(large.right(9), small.right(9), atol=1e-9)
