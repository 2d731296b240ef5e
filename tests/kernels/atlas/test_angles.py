"""Sine and other dissimilarities: defining properties, close pairs, zeros, blocks, simulations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth_graphs.kernels import angles
from nwidth_graphs.kernels.angles import close_limit, sine, sine_between, sine_of_gram, sine_rows
from nwidth_graphs.kernels.distances import euclidean, euclidean_between, space_time, space_time_gram, standardised
from tests.oracles.atlas import moving_bump, sine_of_pair

EPS = np.finfo(np.float64).eps
Floats = NDArray[np.float64]


def columns(rows: int, count: int, seed: int) -> Floats:
    """Columns whose norms spread over six decades."""
    random = np.random.default_rng(seed)
    return random.standard_normal((rows, count)) * 10.0 ** random.uniform(-3, 3, count)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 20), count=st.integers(1, 15), seed=st.integers(0, 2**32 - 1))
def test_sine_is_the_projection_error_of_one_on_the_other(rows: int, count: int, seed: int) -> None:
    """P1: every entry is the relative projection error; symmetric, zero on the diagonal, blind to scale and sign."""
    X = columns(rows, count, seed)
    D = sine(X)
    assert np.array_equal(D, D.T)
    assert not D.diagonal().any()
    expected = np.array([[sine_of_pair(u, v) for v in X.T] for u in X.T])
    # Above the limit the clipped formula is off by (N + 2) u / delta, which is (N + 2) u / limit at most.
    np.testing.assert_allclose(D, expected, rtol=0, atol=(rows + 2) * EPS / close_limit(np.float64))
    scaled = X * (-(2.0 ** np.arange(count)))
    assert np.array_equal(sine(scaled), D)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(2, 10), seed=st.integers(0, 2**32 - 1))
def test_sine_is_the_distance_of_projectors_and_a_metric(rows: int, seed: int) -> None:
    """P2: the spectral norm of the difference of the rank-one projectors, so that the triangle inequality holds."""
    X = columns(rows, 3, seed)
    unit = X / np.linalg.norm(X, axis=0)
    D = sine(X)
    for i in range(3):
        for j in range(3):
            projectors = np.outer(unit[:, i], unit[:, i]) - np.outer(unit[:, j], unit[:, j])
            assert D[i, j] == pytest.approx(np.linalg.norm(projectors, 2), abs=1e-9)
    assert D[0, 1] <= D[0, 2] + D[2, 1] + 1e-9


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(3, 12), seed=st.integers(0, 2**32 - 1))
def test_no_subspace_that_holds_a_line_is_farther_than_the_line(rows: int, seed: int) -> None:
    """P3: the relative projection error on a subspace that holds r is at most the sine to r."""
    random = np.random.default_rng(seed)
    u, W = random.standard_normal(rows), random.standard_normal((rows, 2))
    Q = np.linalg.qr(W)[0]
    error = np.linalg.norm(u - Q @ (Q.T @ u)) / np.linalg.norm(u)
    assert error <= sine_between(u[:, None], W[:, :1])[0, 0] + 10 * rows * EPS


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("angle", [1e-3, 1e-5, 1e-8, 1e-11, 1e-14])
def test_close_pairs_are_told_apart(angle: float, dtype: type) -> None:
    """P5: angles far below sqrt(2u) come out with the digits that the columns hold, in either type and in either sign."""
    random = np.random.default_rng(3)
    base, across = np.linalg.qr(random.standard_normal((40, 2)))[0].T
    X = np.column_stack([base, 3.0 * (base + angle * across), -0.1 * (base - angle * across), across])
    D = sine(X, dtype=dtype)
    # Entries of unit columns are rounded to u; above the limit the clipped formula is off by (N + 2) u / delta.
    eps = float(np.finfo(dtype).eps)
    tolerance = 8 * EPS + 4 * eps * angle + (42 * eps / angle if angle > close_limit(dtype) / 2 else 0.0)
    once, twice = np.sin(np.arctan(angle)), np.sin(2 * np.arctan(angle))
    assert float(D[0, 1]) == pytest.approx(once, abs=tolerance)
    assert float(D[0, 2]) == pytest.approx(once, abs=tolerance)
    assert float(D[1, 2]) == pytest.approx(twice, abs=2 * tolerance)
    assert D[3, :3].min() >= 1.0 - 2 * eps - angle**2
    np.testing.assert_allclose(
        sine_between(X, X[:, [0]])[:, 0],
        [0, once, once, 1],
        atol=8 * EPS + 42 * EPS / max(angle, close_limit(np.float64)) * (angle > 1e-7),
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_many_parallel_snapshots_over_several_panels(dtype: type) -> None:
    """A bundle of parallel columns, wider than a panel and mixed with others, is at zero among itself to 1e-15."""
    random = np.random.default_rng(4)
    line, other = random.standard_normal((30, 1)), random.standard_normal((30, 200))
    X = np.hstack([line * random.uniform(-5, 5, 400), other])[:, random.permutation(600)]
    D = sine(X, dtype=dtype)
    parallel = np.abs(line[:, 0] @ X) >= (1 - 1e-12) * np.linalg.norm(line) * np.linalg.norm(X, axis=0)
    assert parallel.sum() == 400
    assert D[np.ix_(parallel, parallel)].max() <= 4 * EPS
    assert D[np.ix_(parallel, ~parallel)].min() > 0.1
    assert np.array_equal(D, D.T)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_row_blocks_are_rows_of_the_matrix(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any cut into row blocks gives the matrix, close pairs and zeros included, however many columns a panel has."""
    X = np.hstack([columns(12, 30, 5), np.zeros((12, 2)), columns(12, 4, 5)[:, :4]])  # the last four repeat the first
    whole = sine(X, dtype=dtype)
    monkeypatch.setattr(angles, "PANEL", 7)
    pieces = np.vstack([sine_rows(X, start, min(start + 10, 36), dtype=dtype) for start in range(0, 36, 10)])
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=14 * eps / close_limit(dtype))
    np.testing.assert_allclose(sine(X, dtype=dtype), whole, rtol=0, atol=14 * eps / close_limit(dtype))


def test_zero_snapshots_are_far_from_all_but_each_other() -> None:
    """By convention a zero snapshot is at 1 from every other and at 0 from other zeros, by every way to the matrix."""
    X = np.array([[1.0, 0.0, 2.0, 0.0], [0.0, 0.0, 2.0, 0.0]])
    half = np.sqrt(0.5)
    expected = np.array([[0, 1, half, 1], [1, 0, 1, 0], [half, 1, 0, 1], [1, 0, 1, 0]])
    for D in (sine(X), sine_rows(X, 0, 4), sine_between(X, X), sine_of_gram(X.T @ X), sine(X, dtype=np.float32)):
        np.testing.assert_allclose(D, expected, atol=1e-7)


def test_tiny_and_huge_snapshots_have_directions() -> None:
    """Norms whose squares are no float64 numbers do not spoil the angle."""
    D = sine(np.array([[1e-200, 1e200], [1e-200, 0.0]]))
    assert D[0, 1] == pytest.approx(np.sqrt(0.5), rel=4 * EPS)


def test_a_column_that_is_not_finite_is_named() -> None:
    """NaN and infinity are refused with the number of the column."""
    X = np.ones((3, 4))
    X[1, 2] = np.nan
    for refuse in (lambda: sine(X), lambda: sine_rows(X, 0, 2), lambda: sine_between(X, X)):
        with pytest.raises(ValueError, match="column 2 of the coordinates"):
            refuse()
    with pytest.raises(ValueError, match="not finite"):
        euclidean(X)
    with pytest.raises(ValueError, match="diagonal of the Gram matrix"):
        sine_of_gram(np.array([[1.0, 0.0], [0.0, -1.0]]))


def test_the_moving_bump_has_the_angles_of_its_formula() -> None:
    """V5: the cosine of bumps 10 and 20 is 0.726149, from coordinates and from the Gram matrix."""
    X = moving_bump()
    for D in (sine(X), sine_of_gram(X.T @ X)):
        assert np.sqrt(1 - D[10, 20] ** 2) == pytest.approx(0.726149, abs=1e-6)


def test_simulations_as_space_time_vectors() -> None:
    """Stacked coordinates and sums of Gram blocks give the same dissimilarities, which are those of the weighted vectors."""
    X, simulations = columns(8, 12, 6) ** 2, np.arange(12).reshape(4, 3)
    weights = np.array([0.5, 1.0, 2.0])
    stacked = space_time(X, simulations, weights)
    expected = np.array(
        [[np.concatenate([np.sqrt(w) * X[:, j] for w, j in zip(weights, times, strict=True)])] for times in simulations]
    )
    np.testing.assert_allclose(stacked, expected[:, 0].T, rtol=EPS)
    np.testing.assert_allclose(sine(stacked), sine_of_gram(space_time_gram(X.T @ X, simulations, weights)), atol=1e-7)
    np.testing.assert_array_equal(space_time(X, simulations[:, [2]]), X[:, simulations[:, 2]])
    with pytest.raises(ValueError, match="give 3 weights"):
        space_time(X, simulations, np.ones(2))


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 8), count=st.integers(1, 10), seed=st.integers(0, 2**32 - 1))
def test_euclidean_distances(rows: int, count: int, seed: int) -> None:
    """They are the norms of differences to ten digits, near duplicates among them."""
    X = columns(rows, count, seed)
    X = np.hstack([X, X * (1 + 1e-9)])
    expected = np.linalg.norm(X[:, :, None] - X[:, None, :], axis=0)
    largest = np.maximum(np.linalg.norm(X, axis=0)[:, None], np.linalg.norm(X, axis=0))
    # |d^2 - d'^2| <= 4 (N + 2) u L^2 and d >= 1e-5 L where the difference was not formed: |d - d'| <= 2e5 (N + 2) eps L.
    assert (np.abs(euclidean(X) - expected) <= 2e5 * (rows + 2) * EPS * largest).all()
    assert (np.abs(euclidean_between(X, X[:, :1])[:, 0] - expected[:, 0]) <= 2e5 * (rows + 2) * EPS * largest[:, 0]).all()


def test_parameters_are_standardised() -> None:
    """Coordinates have zero mean and unit deviation, and a parameter that never changes counts for nothing."""
    values = np.column_stack([np.arange(5.0) * 100, np.full(5, 0.1), np.arange(5.0)])
    coordinates = standardised(values)
    assert coordinates.shape == (3, 5)
    np.testing.assert_allclose(coordinates.mean(axis=1), 0, atol=4 * EPS)
    np.testing.assert_allclose(coordinates.std(axis=1), [1, 0, 1], atol=4 * EPS)
