"""Eight members of a climate ensemble, weighed by the area of their cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nwidth as nw
from nwidth.report import write_report
from nwidth.runs import run
from tests.real_data.references import assert_digits, energies, ingested
from tests.runs.studies import add_run, study_of
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


def test_a_masked_third_of_the_globe(climate: Path, scheduler: str, tmp_path: Path) -> None:
    """With a third of the globe masked, study, spectrum, modes and report are those of the rest, by a dense SVD."""
    field = nw.open_snapshots(climate / "store")["TREFHT"].load()
    # Where the mean is warm: a coast of the data's own.
    mask = (field.mean("snapshot") > field.mean("snapshot").quantile(2 / 3)).values
    values = field.values.astype(np.float64)
    values[:, mask] = np.nan
    add_run(tmp_path / "s.zarr", "all", {"T": values.reshape(len(values), -1)})
    result = run(study_of(tmp_path, tmp_path / "s.zarr", scheduler, reduce={"rank": 5, "centre": True}))
    basis = nw.open_model(result.model).basis
    assert basis.certificate.masked_unknowns == {"T": mask.sum()}
    np.testing.assert_array_equal(np.isnan(basis.modes.values), np.broadcast_to(mask.ravel(), basis.modes.shape))
    np.testing.assert_array_equal(np.isnan(basis.mean.values), mask.ravel())
    rest = values[:, ~mask]
    expected = np.linalg.svd(rest - rest.mean(axis=0), compute_uv=False)[:5]
    np.testing.assert_allclose(basis.singular_values, expected, rtol=1e-9)
    assert "masked unknowns of T" in write_report(result.folder, n_modes=2).read_text()
    # The same on the grid, in memory, with the weights of its cells.
    on_grid = nw.pod(
        field.where(~mask), rank=3, centre=True, inner_product=np.cos(np.deg2rad(field["lat"])).broadcast_like(field[0])
    )
    assert on_grid.certificate.orthogonality_defect <= 1e-10
    assert np.isnan(on_grid.reconstruct().values[:, mask]).all()
