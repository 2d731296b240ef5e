"""Eight members of a climate ensemble, weighed by the area of their cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nwidth as nw
from nwidth.runs import run
from tests.real_data.references import assert_digits, energies, ingested
from tests.runs.studies import study_of
from tests.shared_data import shared_data

SINGULAR_VALUES = [549.7077, 446.3070, 385.6205, 335.9854]
ENERGIES = [0.1501, 0.2491, 0.4216, 0.5594, 0.6928]
RANKS = [1, 2, 5, 10, 20]


@pytest.fixture(scope="module")
def climate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the store of all members."""
    folder = tmp_path_factory.mktemp("climate")
    members = sorted((shared_data("climate-trefht") / "netcdf_files").glob("TREFHT*.nc"))
    assert len(members) == 8
    dataset = ingested(folder, members)
    assert dataset["TREFHT"].shape == (880, 64, 128)
    return folder


def test_weighted_spectrum_by_python(climate: Path) -> None:
    """With the stored weights cos(lat) and one common mean: the four singular values to 4 decimals, five energies to 4."""
    basis = nw.pod(nw.open_snapshots(climate / "store")["TREFHT"], rank=20, centre=True, inner_product="cos_latitude")
    assert_digits(basis.spectrum.singular_values[:4], SINGULAR_VALUES, 4)
    assert_digits(energies(basis, RANKS), ENERGIES, 4)


def test_weighted_spectrum_by_a_run(climate: Path, scheduler: str) -> None:
    """The same from a study on worker processes; modes lie on the grid with its coordinates, orthonormal in the weights."""
    reduce = {"fields": ["TREFHT"], "rank": 20, "centre": True, "inner_product": "cos_latitude"}
    basis = nw.open_model(run(study_of(climate, climate / "store", scheduler, reduce=reduce)).model).basis
    assert_digits(basis.spectrum.singular_values[:4], SINGULAR_VALUES, 4)
    assert_digits(energies(basis, RANKS), ENERGIES, 4)
    modes = basis.modes.load()
    assert modes.dims == ("mode", "lat", "lon")
    weights = np.cos(np.deg2rad(modes["lat"]))
    gram = np.einsum("iyx,y,jyx->ij", modes.values, weights.values, modes.values)
    # The weights of the store are single precision where the file's latitudes are.
    assert np.abs(gram - np.eye(20)).max() < 20 * np.finfo(np.float32).eps


def test_weights_equal_scaling_by_their_roots(climate: Path) -> None:
    """Weights cos(lat) in the product are the same as data scaled by sqrt(cos(lat)) without weights."""
    field = nw.open_snapshots(climate / "store")["TREFHT"]
    root = np.sqrt(np.cos(np.deg2rad(field["lat"].astype(float))))
    basis = nw.pod(field * root, rank=4, centre=True)
    assert_digits(basis.spectrum.singular_values[:4], SINGULAR_VALUES, 4)


def test_members_are_told_apart(climate: Path) -> None:
    """Every snapshot knows its member and its year."""
    dataset = nw.open_snapshots(climate / "store")
    assert len(set(dataset["simulation"].values)) == 8
    years = dataset["time"].values.astype("datetime64[Y]").astype(int)
    for member in set(dataset["simulation"].values):
        np.testing.assert_array_equal(np.diff(years[dataset["simulation"].values == member]), 1)
