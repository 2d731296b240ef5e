"""`nwidth.partition` against dense algebra: labels, bases, certificates, errors, transitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import nwidth as nw
from nwidth.errors import ConfigError
from nwidth_graphs.kernels.kmedoids import k_medoids
from tests.atlas.bumps import bumps, clusters_of, dense_errors, flat

SNAPSHOTS = bumps()
EPS = np.finfo(np.float64).eps
# ||x||^2 - A.B of a relative error e is off by a few eps / e; below its floor it is noise of the root of that.
PYTHAGORAS = 1e-7


@pytest.fixture(scope="module")
def atlas() -> nw.Atlas:
    """Six clusters of the bumps with four modes each."""
    return nw.partition(SNAPSHOTS, clusters=6, rank=4)


def sines(values: Any) -> Any:
    """All sines of snapshots (m, n), by their residuals one on the other."""
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    cosines = unit @ unit.T
    return np.sqrt(np.maximum(1 - cosines**2, 0.0))


def test_everybody_is_with_the_nearest_medoid(atlas: nw.Atlas) -> None:
    """Labels, second labels and loss follow from the dense matrix of sines, and no plain k-medoids run finds a smaller loss."""
    D = sines(SNAPSHOTS.values)
    to_medoids = D[atlas.medoids]
    np.testing.assert_allclose(atlas.dissimilarities, to_medoids, atol=4 * np.sqrt(EPS))
    np.testing.assert_array_equal(atlas.labels, np.argmin(to_medoids, axis=0))
    seconds = to_medoids[atlas.second, np.arange(len(D))]
    np.testing.assert_allclose(seconds, np.sort(to_medoids, axis=0)[1], atol=4 * np.sqrt(EPS))
    assert atlas.loss == pytest.approx(to_medoids.min(axis=0).mean(), rel=1e-6)
    assert atlas.loss * len(D) <= k_medoids(D, 6, method="pam", start="build").loss * (1 + 1e-6)
    np.testing.assert_array_equal(atlas.sizes, np.bincount(atlas.labels))


def test_errors_are_those_of_dense_projections(atlas: nw.Atlas) -> None:
    """Error of every snapshot on every basis, and the certificates over the members, worst and Frobenius."""
    values = SNAPSHOTS.values
    for cluster, name in enumerate(clusters_of(atlas.count)):
        basis, members = atlas.bases[name], atlas.members(cluster)
        np.testing.assert_allclose(atlas.errors[cluster], dense_errors(values, flat(basis, "u")), atol=PYTHAGORAS)
        own = dense_errors(values[members], flat(basis, "u"))
        np.testing.assert_allclose(basis.certificate.relative_errors, own, rtol=1e-6, atol=PYTHAGORAS)
        assert basis.certificate.frobenius_error == pytest.approx(np.sqrt(np.mean(own**2)), rel=1e-6)
        assert basis.certificate.frobenius_error == pytest.approx(basis.certificate.expected_error, rel=1e-6)
        assert basis.coefficients.sizes["snapshot"] == len(members)
        np.testing.assert_array_equal(basis.coefficients["place"], SNAPSHOTS["place"][members])
        np.testing.assert_allclose(basis.coefficients.values, flat(basis, "u") @ values[members].T, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(atlas.global_errors, dense_errors(values, flat(atlas.bases["global"], "u")), atol=PYTHAGORAS)


def test_the_global_basis_is_that_of_pod(atlas: nw.Atlas) -> None:
    """An atlas changes nothing of the global basis: the same modes, to the bit."""
    alone = nw.pod(SNAPSHOTS, rank=4)
    np.testing.assert_array_equal(atlas.bases["global"].modes.values, alone.modes.values)


def test_transitions_are_products_of_modes(atlas: nw.Atlas) -> None:
    """Phi_k' Phi_l of the modes as they are, and the loss of every change of basis."""
    first, last = atlas.bases["cluster-0"], atlas.bases["cluster-1"]
    np.testing.assert_allclose(atlas.transition(1, 0), flat(last, "u") @ flat(first, "u").T, atol=1e-12)
    q = first.coefficients.values
    kept = np.linalg.norm(atlas.transition(1, 0) @ q, axis=0) / np.linalg.norm(q, axis=0)
    assert atlas.switch_losses[1, 0] == pytest.approx(np.sqrt(np.mean(1 - kept**2)), rel=1e-6)
    assert not atlas.switch_losses.diagonal().any()


@pytest.mark.parametrize("centre", [False, True])
def test_weights_scalings_and_a_mean(centre: bool) -> None:
    """Two fields in one basis, weighted and centred: the errors are those of the stacked, scaled, weighted rows."""
    places = SNAPSHOTS.sizes["x"]
    weights = np.random.default_rng(1).uniform(0.5, 2.0, places)
    fields = xr.Dataset({"u": SNAPSHOTS, "v": 3.0 * SNAPSHOTS[:, ::-1] ** 2})
    atlas = nw.partition(fields, clusters=4, rank=3, inner_product=weights, centre=centre)
    scaling = atlas.bases["global"].field_scaling
    rows = np.hstack([scaling[name] * (fields[name] - centre * fields[name].mean("snapshot")).values for name in ("u", "v")])
    for cluster, name in enumerate(clusters_of(atlas.count)):
        basis = atlas.bases[name]
        modes = np.hstack([scaling[field] * flat(basis, field) for field in ("u", "v")])
        np.testing.assert_allclose(modes @ (modes * np.tile(weights, 2)).T, np.eye(3), atol=1e-10)
        np.testing.assert_allclose(atlas.errors[cluster], dense_errors(rows, modes, np.tile(weights, 2)), atol=PYTHAGORAS)
    again = atlas.assign(fields, inner_product=weights)
    np.testing.assert_allclose(again.errors, atlas.errors, atol=PYTHAGORAS)


def test_a_tolerance_holds_over_every_clusters_own_members() -> None:
    """Far below what a Gram matrix resolves: the data are read once more by TSQR, and each measured error is within rtol."""
    atlas = nw.partition(SNAPSHOTS, clusters=4, rtol=1e-3, local_rtol=1e-10)
    assert atlas.bases["global"].certificate.frobenius_error <= 1e-3
    for basis in atlas.local_bases:
        assert basis.spectrum.route == "tsqr"
        # Rounding of the modes' own orthogonality adds to a residual of that size.
        assert basis.certificate.frobenius_error <= 1e-10 * (1 + 1e-3) + 16 * EPS
        assert basis.certificate.orthogonality_defect <= 1e-10


def test_repaired_modes_keep_their_transitions() -> None:
    """By Gram to its floor, modes are repaired: measured transitions are those of the modes as they are now."""
    atlas = nw.partition(SNAPSHOTS, clusters=3, rank=2, local_rank=30, route="gram")
    repaired = [basis for basis in atlas.local_bases if basis.certificate.repaired]
    assert repaired
    beside = np.concatenate([flat(basis, "u") for basis in atlas.local_bases])
    np.testing.assert_allclose(atlas.transitions, beside @ beside.T, atol=1e-9)
    for cluster, basis in enumerate(atlas.local_bases):
        members = SNAPSHOTS.values[atlas.members(cluster)]
        scale = np.linalg.norm(members, axis=1)
        np.testing.assert_allclose(basis.coefficients.values / scale, flat(basis, "u") @ members.T / scale, atol=1e-9)


def test_dask_arrays_give_the_same_atlas(atlas: nw.Atlas) -> None:
    """Blocks of a lazy array instead of an array in memory: the same labels, the same errors to rounding."""
    lazy = nw.partition(SNAPSHOTS.chunk({"x": 40}), clusters=6, rank=4)
    np.testing.assert_array_equal(lazy.labels, atlas.labels)
    np.testing.assert_allclose(lazy.errors, atlas.errors, atol=PYTHAGORAS)


def test_widths_bracket_and_parts_are_narrower(atlas: nw.Atlas) -> None:
    """Lower curves are below upper ones, and each part is narrower than the whole at every number of modes."""
    curves = atlas.widths
    upper = np.minimum(curves.pod, curves.greedy)
    assert (curves.lower <= upper + 1e-12).all()
    assert (curves.parts_lower <= curves.parts_upper + 1e-12).all()
    assert (curves.parts_lower <= upper + 1e-12).all()


@pytest.mark.parametrize("method", ["k-medoids", "k-means", "tree"])
def test_methods(method: Any) -> None:
    """Each gives clusters that are not empty; the tree keeps everybody within its tolerance of an anchor."""
    atlas = nw.partition(SNAPSHOTS, clusters="auto" if method == "tree" else 5, method=method, rank=3, tolerance=0.9)
    assert (atlas.sizes > 0).all()
    if method == "tree":
        assert atlas.count > 1
        assert atlas.dissimilarities.min(axis=0).max() <= 0.9
        assert atlas.reason.startswith(f"{atlas.count} clusters keep everybody within the sine 0.9 of an anchor: ")
    else:
        assert atlas.count == 5


def test_a_dissimilarity_of_ones_own() -> None:
    """A matrix given instead of a name decides the labels: here two halves."""
    half = (np.arange(120) >= 60).astype(float)
    atlas = nw.partition(SNAPSHOTS, np.abs(half[:, None] - half), 2, rank=3)
    assert atlas.dissimilarity == "given"
    assert len(np.unique(atlas.labels[:60])) == len(np.unique(atlas.labels[60:])) == 1


def test_the_dissimilarity_of_largest_gain_is_taken() -> None:
    """Of several dissimilarities the one of largest expected gain is taken; all are in the map, and in the reason."""
    one = {name: nw.partition(SNAPSHOTS, name, clusters=[3, 6], rank=4) for name in ("euclidean", "sine")}
    both = nw.partition(SNAPSHOTS, ["euclidean", "sine"], clusters=[3, 6], rank=4)
    best = max(one, key=lambda name: one[name].gain.expected_gain[:, list(one[name].gain.ranks).index(4)].max())
    assert both.dissimilarity == best == "sine"
    np.testing.assert_array_equal(both.labels, one[best].labels)
    assert both.gain.dissimilarities == ("euclidean", "euclidean", "sine", "sine")
    assert "dissimilarity sine, of expected gains euclidean" in both.reason
    with pytest.raises(ConfigError, match="dissimilarity"):
        nw.partition(SNAPSHOTS, [], clusters=3, rank=4)
