"""Dictionaries of local bases on real data: where they pay, by how much, and where they do not.

Bounds are what was measured, less a tenth for other versions of the linear algebra; each docstring has the number itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import nwidth as nw
from nwidth.runs import run
from tests.atlas.test_runs import with_atlas
from tests.oracles.rand_index import adjusted_rand_index
from tests.real_data.references import ingested
from tests.runs.studies import study_of
from tests.shared_data import shared_data

AIRFOIL = "smithers/dataset/datasets/airfoil_transonic"
FLAME = "data/reactive_flow"
STROUHAL_FREQUENCY = 3.003  # Strouhal number 0.3003, diameter 0.1, mean velocity 1
MARGIN = 0.9
PARTITIONS = (("euclidean", "k-means", 0.636), ("euclidean", "k-medoids", 0.577), ("sine", "k-medoids", 0.513))


def pressure() -> xr.DataArray:
    """Wall pressure over 100 angles, each a simulation of its own."""
    folder = shared_data("airfoil-pressure") / AIRFOIL
    coordinates = {
        "simulation": ("snapshot", [f"angle-{number:03d}" for number in range(100)]),
        "angle": ("snapshot", np.load(folder / "params.npy", allow_pickle=False).ravel()),
    }
    values = np.load(folder / "snapshots_p_airfoil.npy", allow_pickle=False).astype(np.float64)
    return xr.DataArray(values, dims=("snapshot", "point"), coords=coordinates)


def test_a_moving_shock_wants_local_bases() -> None:
    """Held-out angles, ten modes each: eight local bases have a 4.3 times smaller 0.9-quantile of the error than the global one,
    chosen by the nearest medoid; left to itself, the criterion takes five (four are as good), for a classifier right in 97 %."""
    several = nw.partition(pressure(), clusters=[2, 4, 8], rank=10, minimum_size=5)
    gain, ten = several.gain, list(several.gain.ranks).index(10)
    eight = list(gain.clusters).index(8)
    assert gain.held_out == "all 100 simulations, held out in 5 splits"
    assert gain.medoid_gain[eight, ten] >= 4.28 * MARGIN
    assert (np.diff(gain.medoid_gain[:, ten]) > 0).all()
    auto = nw.partition(pressure(), rank=10)
    assert auto.pays
    assert auto.count in (4, 5)
    assert auto.gain.accuracy[list(auto.gain.clusters).index(auto.count)] == pytest.approx(0.97, abs=0.02)
    # Clusters are ranges of the angle: the shock moves one way.
    assert np.count_nonzero(np.diff(auto.labels)) == auto.count - 1


def test_cells_of_a_flame_against_the_partition_of_others() -> None:
    """Every tenth cell, its 37 variables scaled: k-means agrees with the upstream local PCA to an adjusted Rand index of 0.64,
    Euclidean k-medoids to 0.58, sine to 0.51. Theirs was made by another rule, so agreement is far beyond chance and not full."""
    folder = shared_data("combustion-flame-d") / FLAME
    cells = np.loadtxt(folder / "turbo2D.csv", delimiter=",")
    upstream = np.loadtxt(folder / "idx.txt")[::10]
    spread = cells.std(axis=0)
    scaled = ((cells - cells.mean(axis=0)) / np.where(spread > 0, spread, 1.0))[::10]
    count = len(np.unique(upstream))
    assert (len(scaled), count) == (1062, 8)
    for dissimilarity, method, measured in PARTITIONS:
        atlas = nw.partition(scaled, dissimilarity, count, method=method, rank=10, minimum_size=1)  # type: ignore[arg-type]
        assert adjusted_rand_index(atlas.labels, upstream) >= measured * MARGIN
        assert atlas.own_errors.mean() < atlas.global_errors.mean()


def test_phases_of_a_wake(tmp_path: Path) -> None:
    """Six clusters of a vortex street are sixths of *half* its period, because the sine is blind to the sign: the phases of each
    at twice the shedding frequency have a coherence of 0.93 to 0.94, where sixths of a circle have 0.955 at most."""
    wake = ingested(tmp_path, [shared_data("wake-dfg2d2") / "dfg2d2_re100.npz"], fields=["u"])["u"]
    times = np.linspace(4, 9, 501)[1:]
    later = times > 5
    atlas = nw.partition(wake.isel(snapshot=np.flatnonzero(later)).load(), clusters=6, rank=4, centre=True)
    phases = np.exp(4j * np.pi * STROUHAL_FREQUENCY * times[later])
    coherence = np.array([np.abs(phases[atlas.members(cluster)].mean()) for cluster in range(6)])
    assert coherence.min() > 0.92
    assert coherence.max() <= np.sinc(1 / 6)
    centres = np.sort([np.angle(phases[atlas.members(cluster)].mean()) for cluster in range(6)])
    np.testing.assert_allclose(np.diff(centres), np.pi / 3, atol=0.2)


@pytest.mark.slow
def test_a_climate_does_not_want_local_bases() -> None:
    """880 annual means about their mean: whatever the number of clusters, ten local modes are expected to do no better than ten
    global ones (0.99 at best), and the atlas is one cluster that says so."""
    folder = shared_data("climate-trefht") / "netcdf_files"
    members = [xr.open_dataset(file, decode_times=False)["TREFHT"].load() for file in sorted(folder.glob("*1890-1999ANN.nc"))]
    assert len(members) == 8
    names = np.repeat([f"member-{number}" for number in range(8)], 110)
    values = np.concatenate([member.values for member in members]).astype(np.float64)
    weights = np.cos(np.deg2rad(members[0]["lat"].values))[:, None] * np.ones(128)
    array = xr.DataArray(values, dims=("snapshot", "lat", "lon"), coords={"simulation": ("snapshot", names)})
    atlas = nw.partition(array, rank=10, centre=True, inner_product=weights)
    assert (atlas.count, atlas.pays) == (1, False)
    assert atlas.reason.startswith("one cluster: a dictionary does not pay, because at best, with ")
    ten = list(atlas.gain.ranks).index(10)
    assert atlas.gain.expected_gain[:, ten].max() < 1.0
    assert atlas.gain.silhouette.max() < 0.05


@pytest.mark.slow
def test_plastic_strain_of_twenty_blades(tmp_path: Path, scheduler: str) -> None:
    """Strain of 20 blades at 12 times: four clusters are stages of the cycle. With five modes each the expected gain is 1.6, and
    the worst error a fifth of the global basis's; whole blades, which differ little, are one cluster (1.05 at best)."""
    root = shared_data("blade-ensemble")
    ingested(tmp_path, [root / f"point-{point:02d}" for point in range(20)], parameters=root / "design.csv")
    study = study_of(tmp_path, tmp_path / "store", scheduler, reduce={"fields": ["PEEQ"], "rank": 5})
    result = run(with_atlas(study, clusters="auto"))
    atlas = nw.open_model(result.model).atlas
    assert result.measured["bytes_read"] == result.plan["bytes_to_read"]
    assert atlas.pays
    assert atlas.count in (3, 4)
    best = atlas.gain.expected_gain[list(atlas.gain.clusters).index(atlas.count), list(atlas.gain.ranks).index(5)]
    assert best >= 1.6 * MARGIN
    # The first of twelve times is a cluster of its own, in every blade: yielding begins where it ends nowhere.
    stages = atlas.labels.reshape(20, 12)
    assert len(np.unique(stages[:, 0])) == 1
    assert not np.isin(stages[:, 1:], stages[0, 0]).any()
    assert atlas.global_errors.max() / atlas.own_errors.max() >= 5.0 * MARGIN
    blades = nw.partition(nw.open_snapshots(tmp_path / "store")["PEEQ"].load(), of="simulations", rank=5)
    assert (blades.count, blades.pays) == (1, False)
