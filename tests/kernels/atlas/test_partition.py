"""Silhouettes, minimum size, neighbours and overlap, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwidth_graphs.kernels import silhouette
from nwidth_graphs.kernels.distances import euclidean
from nwidth_graphs.kernels.partition import keep_large, nearest, neighbours, overlapping
from nwidth_graphs.kernels.silhouette import mean_dissimilarities, silhouettes
from tests.oracles.atlas import silhouette_of


@settings(max_examples=25, deadline=None)
@given(count=st.integers(2, 20), clusters=st.integers(2, 4), seed=st.integers(0, 2**32 - 1))
def test_silhouettes_are_their_definition(count: int, clusters: int, seed: int) -> None:
    """Every point's value is the one computed by loops, singletons and any cut into rows included."""
    random = np.random.default_rng(seed)
    D = euclidean(random.standard_normal((3, count)))
    labels = random.integers(0, clusters, count)
    labels[:2] = [0, 1]
    expected = [silhouette_of(D, labels, i) for i in range(count)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(silhouette, "ROWS", 7)
        np.testing.assert_allclose(silhouettes(D, labels), expected, atol=1e-13)


def test_silhouettes_without_contrast_are_zero() -> None:
    """One cluster, all alone, and all at one place have no silhouette and no warning."""
    D = euclidean(np.arange(4.0)[None])
    for labels in (np.zeros(4, np.int64), np.arange(4)):
        assert not silhouettes(D, labels).any()
    assert not silhouettes(np.zeros((4, 4)), np.array([0, 0, 1, 1])).any()
    assert mean_dissimilarities(D[:1], np.array([0, 2, 2, 2])).tolist() == [[0.0, 0.0, 2.0]]


def test_small_clusters_are_absorbed_by_the_nearest() -> None:
    """The smallest goes first, its members to the nearest that is left, and at least one cluster stays."""
    line = np.array([[0.0, 0.1, 0.2, 0.3, 5.0, 5.1, 5.2, 7.0, 20.0]])
    own = np.array([1, 5, 7, 8])
    E = euclidean(line)[own]
    assert nearest(E, own).sizes.tolist() == [4, 3, 1, 1]
    kept = keep_large(E, 2, own)
    assert kept.tolist() == [0, 1]
    assert nearest(E[kept], own[kept]).labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert keep_large(E, 1, own).tolist() == [0, 1, 2, 3]
    assert len(keep_large(E, 100, own)) == 1


def test_second_nearest_and_neighbours() -> None:
    """On a line, clusters touch the ones beside them, symmetrically, and an end does not touch the other end."""
    line = np.linspace(0.0, 3.0, 31)[None]
    E = euclidean(line)[[0, 10, 20, 30]]
    partition = nearest(E)
    assert neighbours(partition).astype(int).tolist() == [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]]
    lone = nearest(E[:1])
    assert not neighbours(lone).any()
    assert [members.tolist() for members in overlapping(E[:1], lone)] == [list(range(31))]


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(4, 40),
    clusters=st.integers(2, 4),
    fraction=st.sampled_from([0.0, 0.1, 0.3, 2.0]),
    seed=st.integers(0, 9999),
)
def test_overlap_borrows_the_closest_members_of_neighbours(count: int, clusters: int, fraction: float, seed: int) -> None:
    """From each neighbour come ceil(o m_k / nu_k) members or all it has, none of which is farther than one left behind."""
    D = euclidean(np.random.default_rng(seed).standard_normal((2, count)))
    own = np.arange(clusters)
    partition, touching = nearest(D[own], own), neighbours(nearest(D[own], own))
    for k, members in enumerate(overlapping(D[own], partition, fraction)):
        assert np.array_equal(members, np.unique(members))
        assert set(partition.members(k)) <= set(members)
        beside = np.flatnonzero(touching[k])
        share = math.ceil(fraction * partition.sizes[k] / len(beside) - 1e-9)
        for other in range(clusters):
            theirs = partition.members(other)
            taken = np.intersect1d(theirs, members)
            if other == k:
                continue
            assert len(taken) == (min(share, len(theirs)) if other in beside else 0)
            left = np.setdiff1d(theirs, taken)
            assert not len(taken) or not len(left) or D[k, taken].max() <= D[k, left].min()
