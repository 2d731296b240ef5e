"""Widths: the bracket, and the statements that tie partitions to widths, as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth_graphs.kernels.angles import sine, sine_between
from nwidth_graphs.kernels.kmedoids import k_medoids
from nwidth_graphs.kernels.widths import greedy_factor, widths
from tests.oracles.atlas import moving_bump

EPS = np.finfo(np.float64).eps
SLACK = 1e-8  # what differences of squares of unit vectors leave: sqrt(u)
Floats = NDArray[np.float64]


def worst_error(X: Floats, W: Floats) -> float:
    Q = np.linalg.qr(W)[0]
    return float(np.max(np.linalg.norm(X - Q @ (Q.T @ X), axis=0) / np.linalg.norm(X, axis=0)))


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 10), count=st.integers(1, 14), seed=st.integers(0, 2**32 - 1))
def test_no_subspace_leaves_the_bracket(rows: int, count: int, seed: int) -> None:
    """The lower curve is below the error of any subspace, random ones, spans of snapshots and the two upper curves among them."""
    random = np.random.default_rng(seed)
    X = random.standard_normal((rows, count)) * 10.0 ** random.uniform(-3, 3, count)
    found = widths(X, range(rows + 2))
    assert found.lower[0] == pytest.approx(1.0)
    assert (found.lower <= found.upper + SLACK).all()
    assert found.upper[rows:].max() <= SLACK
    for rank in range(1, rows + 1):
        assert found.lower[rank] <= worst_error(X, random.standard_normal((rows, rank))) + SLACK
        picked = random.permutation(count)[:rank]
        assert found.lower[rank] <= worst_error(X, X[:, picked]) + SLACK
    values = np.linalg.svd(X / np.linalg.norm(X, axis=0), compute_uv=False)
    for rank in range(min(rows, count)):
        assert values[rank] / np.sqrt(count) <= found.lower[rank] + SLACK


def test_the_greedy_is_what_it_says() -> None:
    """|R_nn| is the worst error on the span of the picks before, and the next pick is where it is attained."""
    X = moving_bump()[:, ::7]
    unit = X / np.linalg.norm(X, axis=0)
    R, picks = greedy_factor(unit)
    for n in range(1, 15):
        Q = np.linalg.qr(unit[:, picks[:n]])[0]
        errors = np.linalg.norm(unit - Q @ (Q.T @ unit), axis=0)
        assert abs(R[n, n]) == pytest.approx(errors.max(), abs=SLACK)
        assert errors[picks[n]] == pytest.approx(errors.max(), abs=SLACK)


def test_duplicates_do_not_dilute_the_lower_bound() -> None:
    """With a thousand copies of one direction, the greedy's subset still tells that two others are needed."""
    X = np.hstack([np.eye(5)[:, :3], np.tile(np.eye(5)[:, :1], 1000)])
    found = widths(X, [1, 2, 3])
    assert found.lower[:2].tolist() == pytest.approx([np.sqrt(2 / 3), np.sqrt(1 / 3)])
    assert found.upper[2] <= SLACK


def test_parts_of_the_moving_bump_are_narrower() -> None:
    """A moving feature: with five modes the whole set cannot be below 0.5, and each of eight parts is below 0.02."""
    X = moving_bump()
    labels = k_medoids(sine(X), 8).partition.labels
    assert widths(X, [5]).lower[0] > 0.5
    assert max(widths(X[:, labels == k], [5]).upper[0] for k in range(8)) < 0.02


def test_zero_snapshots_and_nothing() -> None:
    """Zero snapshots change no width, and of nothing but zeros every width is zero."""
    X = np.random.default_rng(2).standard_normal((6, 8))
    with_zeros = widths(np.hstack([np.zeros((6, 3)), X]), [1, 2])
    np.testing.assert_allclose(with_zeros.pod, widths(X, [1, 2]).pod, atol=10 * EPS)
    np.testing.assert_allclose(with_zeros.lower, widths(X, [1, 2]).lower, atol=10 * EPS)
    assert not widths(np.zeros((6, 3)), [1, 2]).upper.any()


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(2, 8), count=st.integers(2, 20), seed=st.integers(0, 2**32 - 1))
def test_medoids_cost_at_most_twice_the_radius(rows: int, count: int, seed: int) -> None:
    """4.3 (i): whatever line represents a part, some member represents it with at most twice the radius: sin 2t <= 2 sin t."""
    random = np.random.default_rng(seed)
    X, line = random.standard_normal((rows, count)), random.standard_normal((rows, 1))
    radius = sine_between(X, line).max()
    assert sine(X).max(axis=0).min() <= 2 * radius + SLACK


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(3, 9), count=st.integers(4, 20), clusters=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_radii_of_parts_bound_the_width_of_the_whole(rows: int, count: int, clusters: int, seed: int) -> None:
    """4.3 (ii): the span of the K representatives does at least as well as each of them on its part, so the width K does too."""
    random = np.random.default_rng(seed)
    X = random.standard_normal((rows, count)) + 3 * random.standard_normal((rows, 1))
    found = k_medoids(sine(X), clusters)
    radius = found.partition.distances.max()
    assert worst_error(X, X[:, found.medoids]) <= radius + SLACK
    assert widths(X, [clusters]).lower[0] <= radius + SLACK
