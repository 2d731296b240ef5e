"""k-medoids: reference cases, the textbook algorithm, bad days, samples of many."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth_graphs.kernels import kmedoids
from nwidth_graphs.kernels.angles import sine, sine_between
from nwidth_graphs.kernels.distances import euclidean, euclidean_between
from nwidth_graphs.kernels.kmedoids import build, farthest, grown, k_medoids
from nwidth_graphs.kernels.sampled_medoids import Between, sampled_k_medoids
from nwidth_graphs.kernels.silhouette import silhouettes
from tests.kernels.atlas.romnet import simulations, vectors
from tests.oracles.atlas import loss, moving_bump, textbook_pam

Floats = NDArray[np.float64]


def five_points() -> Floats:
    D = np.zeros((5, 5))
    D[np.tril_indices(5, -1)] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1]
    return D + D.T


def points(count: int, seed: int) -> Floats:
    return euclidean(np.random.default_rng(seed).standard_normal((2, count)))


@pytest.mark.parametrize("method", ["pam", "fasterpam"])
@pytest.mark.parametrize("start", ["build", "farthest"])
def test_five_points(method: kmedoids.Method, start: kmedoids.Start) -> None:
    """V4: loss 4 with two clusters from any start, 14 with one; BUILD needs no swap; the silhouette is 0.7522494172494172."""
    D = five_points()
    two = k_medoids(D, 2, method=method, start=start)
    assert two.loss == 4.0
    assert two.partition.labels.tolist() == [0, 0, 0, 1, 1]
    assert two.medoids.tolist() in ([0, 3], [0, 4])
    assert np.mean(silhouettes(D, two.partition.labels)) == pytest.approx(0.7522494172494172, abs=1e-15)
    one = k_medoids(D, 1, method=method, start=start)
    assert (one.medoids.tolist(), one.loss) == ([0], 14.0)
    assert one.partition.second.tolist() == [-1] * 5
    assert build(D, 2).tolist() == [0, 3]


@settings(max_examples=25, deadline=None)
@given(count=st.integers(2, 14), clusters=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_pam_makes_the_swaps_of_the_textbook(count: int, clusters: int, seed: int) -> None:
    """The shared sums find the best of all exchanges: same medoids, same number of swaps as trying each from scratch."""
    D, clusters = points(count, seed), min(clusters, count - 1)
    start = np.random.default_rng(seed).permutation(count)[:clusters]
    if clusters == 1:
        assert k_medoids(D, 1, method="pam").loss == pytest.approx(loss(D, [int(np.argmin(D.sum(axis=0)))]))
        return
    found = k_medoids(D, clusters, method="pam", start=start)
    medoids, swaps = textbook_pam(D, start.tolist())
    assert (found.medoids.tolist(), found.swaps) == (medoids, swaps)
    assert found.start_loss == pytest.approx(loss(D, start.tolist()), rel=1e-14)
    assert found.loss == pytest.approx(loss(D, medoids), rel=1e-14)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(3, 40), clusters=st.integers(2, 6), seed=st.integers(0, 2**32 - 1))
def test_fasterpam_ends_where_no_swap_helps(count: int, clusters: int, seed: int) -> None:
    """Its end is a fixed point of PAM, in float64, and its record is that of its medoids."""
    D, clusters = points(count, seed), min(clusters, count)
    found = k_medoids(D, clusters)
    assert found.converged
    assert k_medoids(D, clusters, method="pam", start=found.medoids).swaps == 0
    E = np.sort(D[found.medoids], axis=0)
    np.testing.assert_array_equal(found.partition.distances, E[0])
    np.testing.assert_array_equal(found.partition.second_distances, E[1])
    assert found.loss == pytest.approx(loss(D, found.medoids.tolist()), rel=1e-14)
    assert (np.diff(found.medoids) > 0).all()
    assert found.partition.labels[found.medoids].tolist() == list(range(clusters))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), entries=st.sampled_from([1, 90, 400, 10**6]))
def test_blocks_of_candidates_do_not_change_the_swaps(seed: int, entries: int) -> None:
    """FasterPAM in blocks of any length does what one candidate after another does."""
    D = points(30, seed)
    expected = k_medoids(D, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kmedoids, "BLOCK_ENTRIES", entries)
        found = k_medoids(D, 4)
    assert (found.medoids.tolist(), found.swaps) == (expected.medoids.tolist(), expected.swaps)


def test_the_farthest_start_is_within_twice_the_best_radius() -> None:
    """Gonzalez' bound, against the best of all triples."""
    D = points(14, 7)
    radius = D[farthest(D, 3)].min(axis=0).max()
    triples = [(i, j, k) for i in range(14) for j in range(i) for k in range(j)]
    assert radius <= 2 * min(D[list(triple)].min(axis=0).max() for triple in triples)


def test_the_moving_bump() -> None:
    """V5: two clusters as published from BUILD; the published medoids of four and eight are fixed points with the published loss.

    BUILD starts among a hundred bumps whose total distances are equal but for rounding, so the way there is nobody's reference;
    from here it ends at the same loss for four and at a smaller one for eight.
    """
    D = sine(moving_bump())
    two = k_medoids(D, 2, method="pam", start="build")
    assert (two.medoids.tolist(), two.partition.sizes.tolist()) == ([49, 150], [100, 100]) or two.medoids.tolist() == [49, 149]
    assert two.loss == pytest.approx(168.546217, abs=1e-6)
    published = {
        4: (137.302178, [24, 73, 124, 175], None),
        8: (89.402513, [12, 37, 60, 81, 104, 129, 156, 185], [26, 24, 29, 22, 25, 28, 22, 24]),
    }
    for count, (expected, medoids, sizes) in published.items():
        there = k_medoids(D, count, method="pam", start=np.array(medoids))
        assert there.swaps == 0
        assert there.loss == pytest.approx(expected, abs=1e-6)
        assert sizes is None or sorted(there.partition.sizes.tolist()) == sorted(sizes)
        assert k_medoids(D, count, method="pam", start="build").loss <= expected + 4e-3


ROMNET = {
    2: (57.8915, 49.7584, 4, [391, 409], 0.4761, [152, 281]),
    3: (41.1320, 41.0000, 1, [209, 272, 319], 0.3950, [32, 136, 402]),
    5: (35.0307, 32.7936, 6, [104, 109, 180, 201, 206], 0.3197, [96, 211, 281, 383, 405]),
    7: (29.9126, 29.8999, 1, [60, 60, 91, 122, 151, 152, 164], 0.2560, None),
    9: (28.6200, 27.9283, 6, [27, 115], 0.2102, None),
    12: (26.9493, 26.1301, 14, [16, 114], 0.2020, None),
    18: (24.2792, 23.7773, 11, [16, 72], 0.1715, None),
}


def test_thermomechanical_simulations() -> None:
    """V6: dissimilarities, and the losses, swaps, sizes, medoids and silhouettes of PAM from BUILD for 2 to 18 clusters."""
    D = sine(vectors(simulations().train))
    above = D[np.triu_indices(len(D), 1)]
    assert np.round([above.mean(), np.median(above), above.max()], 6).tolist() == [0.130643, 0.110371, 0.636879]
    assert np.round(D[0, 1:6], 6).tolist() == [0.045520, 0.028914, 0.116456, 0.115821, 0.056245]
    for count, (start_loss, end_loss, swaps, sizes, silhouette, medoids) in ROMNET.items():
        found = k_medoids(D, count, method="pam", start="build")
        assert (round(found.start_loss, 4), round(found.loss, 4), found.swaps) == (start_loss, end_loss, swaps)
        counted = np.sort(found.partition.sizes).tolist()
        assert (counted if count < 9 else [counted[0], counted[-1]]) == sizes
        assert round(float(np.mean(silhouettes(D, found.partition.labels))), 4) == silhouette
        assert medoids is None or found.medoids.tolist() == medoids
        assert k_medoids(D, count).loss <= 1.01 * found.loss


def test_float32_finds_as_small_a_loss() -> None:
    """A matrix in half the memory gives a partition whose loss is that of float64 to its rounding."""
    D = points(300, 11)
    single = k_medoids(D.astype(np.float32), 6)
    assert single.converged
    # Each of m distances is rounded to 2^-24 of itself; a swap worth less than that may be missed for each of m candidates.
    assert k_medoids(D, 6, start=single.medoids).loss >= single.loss * (1 - 300 * 2.0**-24)
    assert single.loss == pytest.approx(loss(D, single.medoids.tolist()), rel=2.0**-23)


def test_duplicates_and_as_many_clusters_as_points() -> None:
    """Points that coincide make no empty cluster; with one cluster for every point the loss is zero and nothing is swapped."""
    D = euclidean(np.array([[0.0, 0.0, 0.0, 5.0, 5.0]]))
    for method in ("pam", "fasterpam"):
        for start in ("build", "farthest"):
            for count in range(1, 6):
                found = k_medoids(D, count, method=method, start=start)
                assert found.loss == (10.0 if count == 1 else 0.0)
                assert len(set(found.medoids.tolist())) == count
                assert found.partition.sizes.min() >= 1
    same = k_medoids(np.zeros((4, 4)), 2)
    assert (same.medoids.tolist(), same.loss, same.swaps) == ([0, 1], 0.0, 0)


def test_what_cannot_be_clustered_is_refused() -> None:
    """More clusters than points, none, a NaN, a matrix that is not square, and a start that does not fit are refused by name."""
    D = points(4, 1)
    with pytest.raises(ValueError, match="5 clusters of 4 points"):
        k_medoids(D, 5)
    with pytest.raises(ValueError, match="0 clusters of 4 points"):
        k_medoids(D, 0)
    with pytest.raises(ValueError, match="square matrix"):
        k_medoids(D[:3], 2)
    with pytest.raises(ValueError, match="give 2 different indices below 4"):
        k_medoids(D, 2, start=np.array([1, 1]))
    D[1, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        k_medoids(D, 2)


def test_swaps_can_be_limited() -> None:
    """With a limit the best so far is returned, and it says that it did not finish."""
    D = points(60, 5)
    for method in ("pam", "fasterpam"):
        found = k_medoids(D, 5, method=method, start=np.arange(5), most_swaps=1)
        assert (found.swaps, found.converged) == (1, False)
        assert found.loss < found.start_loss


PEER = """
import json, sys
import kmedoids, numpy as np
D, starts = np.load(sys.argv[1]), np.load(sys.argv[2])
print(json.dumps([float(kmedoids.fasterpam(D, start.astype(np.uint64)).loss) for start in starts]))
"""


def test_losses_are_those_of_the_reference_package(tmp_path: Path) -> None:
    """From twenty random starts, losses are on average within 1 % of the published implementation, in a process of its own."""
    if importlib.util.find_spec("kmedoids") is None:
        pytest.skip("the package kmedoids is not installed; it is only compared with")
    D = points(250, 3)
    starts = np.array([np.random.default_rng(seed).permutation(250)[:6] for seed in range(20)])
    np.save(tmp_path / "D.npy", D)
    np.save(tmp_path / "starts.npy", starts)
    files = [str(tmp_path / name) for name in ("D.npy", "starts.npy")]
    peer = subprocess.run([sys.executable, "-c", PEER, *files], capture_output=True, check=True, text=True)
    ours = [k_medoids(D, 6, start=start).loss for start in starts]
    assert np.mean(ours) <= 1.01 * np.mean(json.loads(peer.stdout))


def test_restarts_never_raise_the_loss() -> None:
    """The best of several runs is kept, the first run among them, and equal seeds give equal results."""
    D = points(250, 3)
    losses = [k_medoids(D, 6, restarts=restarts, seed=2).loss for restarts in (0, 2, 5)]
    assert losses[0] >= losses[1] >= losses[2]
    assert losses[0] > losses[2]
    assert k_medoids(D, 6, restarts=5, seed=2).loss == losses[2]


def blobs(count: int, seed: int) -> Floats:
    random = np.random.default_rng(seed)
    return np.asarray(10 * random.standard_normal((6, 4))[:, random.integers(0, 4, count)] + random.standard_normal((6, count)))


@pytest.mark.parametrize("between", [None, euclidean_between])
def test_samples_find_the_clusters_of_all(between: Between | None) -> None:
    """Medoids of samples cost at most 2 % more than those of all, the ratio says so, and equal seeds give equal results."""
    X = blobs(1500, 8)
    measure = between or sine_between
    found = sampled_k_medoids(X, 4, sample=200, seed=1, between=measure)
    D = sine(X) if between is None else euclidean(X)
    assert found.loss == pytest.approx(loss(D, found.medoids.tolist()), rel=1e-9)
    assert found.loss <= 1.02 * k_medoids(D, 4).loss
    assert 0.9 <= found.validation_ratio <= 1.05  # below 1: the medoids were chosen among more snapshots
    again = sampled_k_medoids(X, 4, sample=200, seed=1, between=measure)
    assert np.array_equal(again.medoids, found.medoids)
    assert np.array_equal(again.partition.labels, found.partition.labels)


def test_a_sample_of_all_is_the_exact_answer() -> None:
    """With no more snapshots than a sample, it is k-medoids itself, and there is nobody left to validate with."""
    X = blobs(80, 9)
    found = sampled_k_medoids(X, 3, sample=100, draws=1)
    exact = k_medoids(sine(X), 3)
    assert found.medoids.tolist() == exact.medoids.tolist()
    assert np.isnan(found.validation_ratio)
    with pytest.raises(ValueError, match="5 clusters from samples of 4"):
        sampled_k_medoids(X, 5, sample=4)


def test_more_clusters_never_lose() -> None:
    """Grown from the medoids of fewer clusters, the losses of swapped partitions fall with K, and steps of BUILD are BUILD."""
    D = sine(np.random.default_rng(8).standard_normal((4, 150)))
    np.testing.assert_array_equal(grown(D, build(D, 3), 9), build(D, 9))
    found = [k_medoids(D, 2, start="build")]
    for count in range(3, 12):
        found.append(k_medoids(D, count, start=grown(D, found[-1].medoids, count)))
    assert (np.diff([one.loss for one in found]) <= 0.0).all()
    # As good as from scratch: both are local minima of one swap, whose losses differ by percents without clear clusters.
    scratch = [k_medoids(D, count, start="build").loss for count in range(2, 12)]
    assert np.mean([one.loss for one in found]) <= 1.02 * np.mean(scratch)
