"""Projection-error trees and k-means: guarantees, descent, the rules of their loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwidth_graphs.kernels.anchors import descend, projection_error_tree
from nwidth_graphs.kernels.angles import sine, sine_between
from nwidth_graphs.kernels.kmeans import k_means
from nwidth_graphs.kernels.local_bases import local_basis, relative_errors
from tests.oracles.atlas import moving_bump


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 8), count=st.integers(1, 25), tolerance=st.floats(0.0, 1.0), seed=st.integers(0, 2**32 - 1))
def test_the_tree_keeps_its_promise(rows: int, count: int, tolerance: float, seed: int) -> None:
    """Every snapshot, zeros and copies among them, is within the tolerance of its anchor; descent finds everybody's leaf."""
    random = np.random.default_rng(seed)
    X = random.standard_normal((rows, count))
    X = np.hstack([X, X[:, :1], np.zeros((rows, 1))])
    tree = projection_error_tree(X, tolerance)
    to_anchors = sine(X)[tree.anchors]
    own = to_anchors[tree.labels, np.arange(count + 2)]
    assert (own <= tolerance + 1e-8).all()
    assert tree.radius <= tolerance
    np.testing.assert_allclose(tree.distances, own, atol=1e-8)
    assert tree.labels[tree.anchors].tolist() == list(range(len(tree.anchors)))
    assert tree.anchors[0] == np.argmax(np.linalg.norm(X, axis=0))
    assert np.array_equal(descend(tree, sine_between(X, X[:, tree.anchors]).T), tree.labels)


def test_the_tree_of_the_moving_bump() -> None:
    """Looser tolerances make fewer leaves, a basis of the anchor alone has the errors of the tree, and leaves can be limited."""
    X = moving_bump()
    sizes = []
    for tolerance in (0.3, 0.6, 0.9):
        tree = projection_error_tree(X, tolerance)
        sizes.append(len(tree.anchors))
        bases = [local_basis(X[:, [anchor]]).modes for anchor in tree.anchors]
        errors = relative_errors(X, bases, [1])[tree.labels, 0, np.arange(200)]
        np.testing.assert_allclose(errors, tree.distances, atol=1e-9)
    assert sizes[0] > sizes[1] > sizes[2]
    limited = projection_error_tree(X, 0.3, most=4)
    assert len(limited.anchors) == 4
    assert limited.radius > 0.3


def test_a_tree_needs_snapshots_and_a_sine() -> None:
    """No snapshots, and tolerances that are no sine, are refused."""
    with pytest.raises(ValueError, match=r"0 snapshots and the tolerance 0\.1"):
        projection_error_tree(np.zeros((3, 0)), 0.1)
    with pytest.raises(ValueError, match="give snapshots and a sine from 0 to 1"):
        projection_error_tree(np.ones((3, 2)), 1.5)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 25), clusters=st.integers(1, 5), angle=st.booleans(), seed=st.integers(0, 9999))
def test_k_means_ends_where_centres_fit_their_members(count: int, clusters: int, angle: bool, seed: int) -> None:
    """Run to the end, centres are the means, or the leading modes, of their members, and everybody is with the nearest."""
    X = np.random.default_rng(seed).standard_normal((4, count))
    found = k_means(X, min(clusters, count), kind="angle" if angle else "euclidean", seed=seed, rtol=0.0)
    assert found.converged
    unit = X / np.linalg.norm(X, axis=0)
    costs = []
    for k in range(found.partition.count):
        members = found.partition.members(k)
        if angle and len(members):
            values = np.linalg.svd(unit[:, members], compute_uv=False)
            costs.append(np.sum(values[1:] ** 2))
        elif len(members):
            costs.append(np.sum((X[:, members] - X[:, members].mean(axis=1, keepdims=True)) ** 2))
    # The best centres of the final members cannot lower the cost by more than rounding.
    assert found.cost == pytest.approx(sum(costs), rel=1e-9, abs=1e-12)
    assert found.cost == pytest.approx(np.sum(found.partition.distances**2), rel=1e-12, abs=1e-15)


def test_k_means_angle_does_not_see_amplitudes() -> None:
    """Lines of three directions with signs and amplitudes over six decades are found by angle; equal seeds give equal results."""
    random = np.random.default_rng(5)
    truth = random.integers(0, 3, 60)
    X = np.eye(6)[:, truth] + 0.05 * random.standard_normal((6, 60))
    X *= random.choice([-1.0, 1.0], 60) * 10.0 ** random.uniform(-3, 3, 60)
    found = k_means(X, 3, kind="angle", seed=1)
    assert len({(a, b) for a, b in zip(truth.tolist(), found.partition.labels.tolist(), strict=True)}) == 3
    assert np.array_equal(k_means(X, 3, kind="angle", seed=1).partition.labels, found.partition.labels)


def test_k_means_of_copies_and_too_few() -> None:
    """Copies of one snapshot make a partition of cost zero; more clusters than snapshots are refused."""
    for kind in ("euclidean", "angle"):
        assert k_means(np.ones((3, 4)), 3, kind=kind).cost <= 1e-28
    with pytest.raises(ValueError, match="5 clusters of 4 snapshots"):
        k_means(np.ones((3, 4)), 5)
