"""A model is plain Zarr and JSON: others read it without nwidth, and nwidth reads back what it wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import nwidth as nw
from nwidth.errors import CertificateError, LayoutError, StoreError
from nwidth.models import files
from nwidth.runs import run
from tests.oracles.mass import small_mesh
from tests.runs.studies import add_run, snapshots_of, study_of

RANK = 4
PLAIN_READER = """
import json, sys
import numpy as np, xarray as xr, zarr
path = sys.argv[1]
manifest = json.load(open(f"{path}/manifest.json"))
assert "nwidth" not in sys.modules
basis = manifest["bases"]["u"]
modes = zarr.open_group(path, mode="r")["bases/u/u/modes"]
again = xr.open_dataset(path, engine="zarr", group="bases/u/u", consolidated=False)["modes"]
assert again.dims == ("mode", "node", "component"), again.dims
assert np.array_equal(modes[...], again.values)
flat = modes[...].reshape(basis["rank"], -1)
coefficients = xr.open_dataset(path, engine="zarr", group="bases/u", consolidated=False)["coefficients"].values
mean = zarr.open_group(path, mode="r")["bases/u/u/mean"][...].ravel()
snapshots = xr.open_dataset(path, engine="zarr", group="snapshots", consolidated=False)
points = zarr.open_group(path, mode="r")["mesh/points"]
defect = np.abs(flat @ flat.T - np.eye(len(flat))).max()
np.savez(sys.argv[2], lifted=mean + coefficients.T @ flat, defect=defect, points=points[...])
print(json.dumps({"simulations": [str(s) for s in snapshots["simulation"].values], "times": snapshots["time"].values.tolist(),
                  "error": basis["certificate"]["frobenius_error"], "schema": manifest["nwidth_model"]}))
"""


@pytest.fixture(scope="module")
def snapshots() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Seven snapshots of a vector field at the nodes of a mesh."""
    return snapshots_of(3 * small_mesh(10, 0).n_points, 7, decades=2).reshape(7, -1, 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, scheduler: str, snapshots: Any) -> Path:
    """The model of a run on workers, centred, with a mesh."""
    folder = tmp_path_factory.mktemp("model")
    add_run(folder / "store.zarr", "alpha", {"u": snapshots}, mesh=small_mesh(10, 0))
    return run(study_of(folder, folder / "store.zarr", scheduler, reduce={"rank": RANK, "centre": True})).model


def test_a_model_is_read_without_nwidth(model: Path, snapshots: Any, tmp_path: Path) -> None:
    """zarr, xarray and json alone give modes, mean, coefficients, mesh and certificate, and they fit together."""
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_READER, str(model), str(tmp_path / "read.npz")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["simulations"] == ["alpha"] * 7
    assert told["times"] == [0.5 * step for step in range(7)]
    assert told["schema"] == files.MODEL_SCHEMA
    read = np.load(tmp_path / "read.npz", allow_pickle=False)
    assert read["defect"] <= 1e-10
    np.testing.assert_array_equal(read["points"], small_mesh(10, 0).points)
    flat = snapshots.reshape(7, -1)
    centred = np.linalg.norm(flat - flat.mean(axis=0))
    assert np.linalg.norm(flat - read["lifted"]) / centred == pytest.approx(told["error"], rel=1e-9)


def test_the_manifest_names_everything_that_is_stored(model: Path) -> None:
    """Provenance, request, store version and each basis with its certificate stand in the manifest; nothing in it is NaN."""
    manifest = json.loads((model / "manifest.json").read_text(), parse_constant=pytest.fail)
    assert set(manifest) == {"nwidth_model", "study", "store", "reduce", "factor", "bases", "provenance"}
    assert {"nwidth", "numpy", "zarr", "content_key", "started", "workers"} <= set(manifest["provenance"])
    basis = manifest["bases"]["u"]
    assert basis["certificate"]["frobenius_error"] > 0
    assert (basis["fields"], basis["rank"], basis["centred"]) == (["u"], RANK, True)


def test_no_file_of_a_model_is_a_pickle(model: Path) -> None:
    """No array of a model has a dtype of objects, and no file starts as a pickle does."""
    for path in model.rglob("*"):
        if path.is_file():
            assert path.read_bytes()[:2] not in (b"\x80\x04", b"\x80\x05"), path
        if path.name == "zarr.json":
            assert "pickle" not in path.read_text()


def assert_equal_bases(one: nw.Basis, two: nw.Basis) -> None:
    """All that a basis holds is the same."""
    for field in one.fields:
        np.testing.assert_array_equal(one.modes_by_field[field].values, two.modes_by_field[field].values)
        assert one.modes_by_field[field].dims == two.modes_by_field[field].dims
    assert one.fields == two.fields
    assert one.centred == two.centred
    for field in one.mean_by_field:
        np.testing.assert_array_equal(one.mean_by_field[field].values, two.mean_by_field[field].values)
    xr.testing.assert_identical(one.coefficients.reset_coords(drop=True), two.coefficients.reset_coords(drop=True))
    np.testing.assert_array_equal(one.spectrum.singular_values, two.spectrum.singular_values)
    assert (one.spectrum.floor, one.spectrum.route, one.spectrum.reason) == (
        two.spectrum.floor,
        two.spectrum.route,
        two.spectrum.reason,
    )
    assert one.certificate.summary() == two.certificate.summary()
    np.testing.assert_array_equal(one.certificate.relative_errors, two.certificate.relative_errors)
    assert (one.inner_products, one.field_scaling, one.snapshot_scaling) == (
        two.inner_products,
        two.field_scaling,
        two.snapshot_scaling,
    )


def test_a_basis_saved_and_opened_is_the_same(tmp_path: Path, snapshots: Any) -> None:
    """`Basis.save` and `open_model` give back modes, mean, spectrum, coefficients and certificate, bit for bit."""
    field = xr.DataArray(snapshots, dims=("snapshot", "node", "component"), coords={"component": ["x", "y", "z"]}, name="u")
    basis = nw.pod(field, rank=RANK, centre=True)
    assert basis.save(tmp_path / "basis.zarr") == tmp_path / "basis.zarr"
    assert_equal_bases(nw.open_model(tmp_path / "basis.zarr").basis, basis)


def test_a_basis_of_several_fields_saved_and_opened_is_the_same(tmp_path: Path, snapshots: Any) -> None:
    """The same for a joint basis, uncentred, and for one that was opened from a model."""
    fields = xr.Dataset(
        {"u": (("snapshot", "node", "component"), snapshots), "T": (("snapshot", "node"), snapshots[:, :, 0] * 300)}
    )
    basis = nw.pod(fields, rank=RANK, snapshot_scaling="unit")
    opened = nw.open_model(basis.save(tmp_path / "one.zarr")).basis
    assert_equal_bases(opened, basis)
    assert_equal_bases(nw.open_model(opened.save(tmp_path / "two.zarr")).basis, basis)


def test_saving_never_overwrites(tmp_path: Path, snapshots: Any) -> None:
    """Whatever lies at the path stays as it was."""
    basis = nw.pod(snapshots, rank=2)
    (tmp_path / "taken").write_text("precious")
    with pytest.raises(StoreError, match="taken exists already; remove it, or choose another path"):
        basis.save(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "precious"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"relative_errors": np.full(7, np.nan)}, "non-finite errors"),
        ({"frobenius_error": float("inf")}, "non-finite errors"),
        ({"orthogonality_defect": 1e-9}, "orthogonality defect of 1.0e-09 (limit 1e-10)"),
        ({"orthogonality_defect": float("nan")}, "orthogonality defect of nan"),
    ],
)
def test_a_basis_with_a_bad_certificate_is_not_written(
    tmp_path: Path, snapshots: Any, change: dict[str, Any], sentence: str
) -> None:
    """Errors that are no numbers, or a defect that was not repaired: refused, and nothing is left at the path."""
    basis = nw.pod(snapshots, rank=2)
    bad = replace(basis, certificate=replace(basis.certificate, **change))
    with pytest.raises(CertificateError) as refusal:
        bad.save(tmp_path / "basis.zarr")
    assert sentence in str(refusal.value)
    assert not (tmp_path / "basis.zarr").exists()


def test_a_basis_without_a_certificate_is_not_written(tmp_path: Path, snapshots: Any) -> None:
    """There is no way to write a basis that was never measured."""
    basis = nw.pod(snapshots, rank=2)
    with pytest.raises(CertificateError, match="has no certificate and is not written"):
        files.write_basis(tmp_path, "field", basis.spectrum, basis.coefficients.values, None)
    assert not list(tmp_path.iterdir())


def test_a_newer_manifest_is_refused(tmp_path: Path, snapshots: Any) -> None:
    """A model of a newer nwidth is not read as if it were understood."""
    model = nw.pod(snapshots, rank=2).save(tmp_path / "basis.zarr")
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["nwidth_model"] += 1
    (model / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LayoutError, match="has model schema 2, newer than this nwidth's 1; upgrade nwidth"):
        nw.open_model(model)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, snapshots: Any, text: str) -> None:
    """A torn manifest is named, with the way out."""
    model = nw.pod(snapshots, rank=2).save(tmp_path / "basis.zarr")
    (model / "manifest.json").write_text(text)
    with pytest.raises(LayoutError, match=r"manifest\.json is damaged .*; run the study again, or restore it"):
        nw.open_model(model)


def test_a_folder_without_manifest_is_no_model(tmp_path: Path) -> None:
    """The manifest is what makes a model: a folder without one is refused, whatever else it holds."""
    (tmp_path / "bases").mkdir()
    with pytest.raises(StoreError, match=r"is not a model: it has no manifest\.json"):
        nw.open_model(tmp_path)


def test_an_unknown_basis_is_refused(tmp_path: Path, snapshots: Any) -> None:
    """The bases that are there are named."""
    model = nw.pod(snapshots, rank=2).save(tmp_path / "basis.zarr")
    with pytest.raises(StoreError, match="has no basis 'u'; it has field"):
        files.read_basis(model, "u")


def test_a_run_folder_is_opened_as_its_model(model: Path) -> None:
    """Giving the folder of a run opens the model in it."""
    assert nw.open_model(model.parent).path == model


def test_a_model_rebuilds_its_snapshots(model: Path, snapshots: Any) -> None:
    """`reconstruct` gives mean + modes x coefficients, to the error that the certificate states."""
    opened = nw.open_model(model)
    rebuilt = opened.reconstruct().transpose("snapshot", "node", "component").values
    flat = snapshots - snapshots.mean(axis=0)
    error = np.linalg.norm(rebuilt - snapshots) / np.linalg.norm(flat)
    assert error == pytest.approx(opened.basis.certificate.frobenius_error, rel=1e-9)
