"""NetCDF and HDF5: fields, coordinates, fill values, times and latitude weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import xarray as xr

from nwidth.errors import ConfigError, FormatError
from nwidth.readers.hdf5 import Hdf5Reader
from nwidth.readers.netcdf import NetcdfReader
from tests.readers.gather import gather
from tests.shared_data import shared_data

h5py = pytest.importorskip("h5py")
T = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
FORMATS: list[tuple[Any, Any]] = [("h5netcdf", "NETCDF4"), ("scipy", "NETCDF3_64BIT"), ("netcdf4", "NETCDF4_CLASSIC")]


def climate(path: Path, engine: Any = "h5netcdf", form: Any = "NETCDF4", values: Any = T, **encoding: Any) -> Path:
    """A small file with time, latitude and longitude."""
    coords = {
        "time": ("time", [0.5, 1.5, 2.5, 3.5], {"units": "days since 1890-01-01", "calendar": "noleap"}),
        "lat": ("lat", [-90.0, 0.0, 60.0], {"units": "degrees_north"}),
        "lon": ("lon", np.arange(5.0)),
    }
    data = xr.Dataset({"T": (("time", "lat", "lon"), values, {"units": "K", "long_name": "temperature"})}, coords=coords)
    data["mean"] = ("time", np.zeros(4))
    data.to_netcdf(path, engine=engine, format=form, unlimited_dims=["time"], encoding={"T": encoding} if encoding else None)
    return path


@pytest.mark.parametrize(("engine", "form"), FORMATS)
def test_every_field_survives(engine: str, form: str, tmp_path: Path) -> None:
    """Values, dims, coordinates, units and times come back from NetCDF-3 and NetCDF-4; times stay numbers with their units."""
    run = NetcdfReader().open(climate(tmp_path / "a.nc", engine, form))
    assert list(run.fields) == ["T"]
    spec = run.fields["T"]
    assert (spec.location, spec.dims, spec.dtype, spec.units, spec.long_name) == (
        "grid",
        ("lat", "lon"),
        np.dtype(np.float32),
        "K",
        "temperature",
    )
    np.testing.assert_array_equal(gather(run)["T"], T)
    assert run.times.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert run.time_units == "days since 1890-01-01"
    np.testing.assert_array_equal(run.coordinates["lat"], [-90, 0, 60])


def test_latitude_weight_is_the_inner_product_weight(tmp_path: Path) -> None:
    """cos_latitude is cos(lat) over (lat, lon), never negative: sqrt of it scales the data."""
    weights = NetcdfReader().open(climate(tmp_path / "a.nc")).weights["cos_latitude"]
    assert weights.shape == (3, 5)
    np.testing.assert_allclose(weights[:, 0], [0, 1, 0.5], atol=1e-16)
    assert weights.min() >= 0


def test_fill_value_and_packing(tmp_path: Path) -> None:
    """_FillValue becomes NaN, and scale and offset are applied."""
    values = T.copy()
    values[1, 2, 3] = np.nan
    path = climate(tmp_path / "a.nc", values=values, dtype="i2", scale_factor=1e-3, add_offset=0.5, _FillValue=-32768)
    read = gather(NetcdfReader().open(path))["T"]
    assert np.argwhere(np.isnan(read)).tolist() == [[1, 2, 3]]
    np.testing.assert_allclose(read, values, atol=0.5e-3 + 1e-6)


def test_snapshot_dimension_can_be_named(tmp_path: Path) -> None:
    """Without a time the dimension that counts snapshots must be named, and then is used, wherever it stands."""
    path = tmp_path / "a.nc"
    xr.Dataset({"T": (("lat", "lon", "member"), np.moveaxis(T, 0, 2))}).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(FormatError, match="snapshot_dim"):
        NetcdfReader().open(path)
    np.testing.assert_array_equal(gather(NetcdfReader().open(path, snapshot_dim="member"))["T"], T)
    with pytest.raises(ConfigError, match="no dimension 'x'"):
        NetcdfReader().open(path, snapshot_dim="x")


@pytest.mark.parametrize(("engine", "form"), FORMATS)
def test_truncated_files_are_refused(engine: str, form: str, tmp_path: Path) -> None:
    """A NetCDF file cut anywhere is refused by name, never filled up with zeros."""
    whole = climate(tmp_path / "a.nc", engine, form).read_bytes()
    for stop in np.linspace(1, len(whole) - 4, 12).astype(int):
        (tmp_path / "cut.nc").write_bytes(whole[:stop])
        with pytest.raises(FormatError, match=r"cut\.nc"):
            gather(NetcdfReader().open(tmp_path / "cut.nc"))


@pytest.mark.parametrize("kind", ["plain", "netcdf"])
def test_hdf5(kind: Literal["plain", "netcdf"], tmp_path: Path) -> None:
    """A .h5 is read as NetCDF-4 where it has dimension scales, else dataset by dataset with the documented keys."""
    path = tmp_path / "a.h5"
    if kind == "netcdf":
        climate(path)
        np.testing.assert_array_equal(gather(Hdf5Reader().open(path))["T"], T)
        return
    with h5py.File(path, "w") as file:
        file["results/T"] = T.reshape(4, 15)
        file["results/T"].attrs["units"] = "K"
        file["time"] = np.arange(4.0)
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/secret")
    run = Hdf5Reader().open(path)
    assert (list(run.fields), run.fields["results_T"].units) == (["results_T"], "K")
    np.testing.assert_array_equal(gather(run)["results_T"], T.reshape(4, 15))
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match=r"cut\.h5"):
        gather(Hdf5Reader().open(tmp_path / "cut.h5"))


def test_hdf5_that_keeps_values_in_another_file_is_refused(tmp_path: Path) -> None:
    """External storage could name any file of this machine."""
    (tmp_path / "secret").write_bytes(bytes(32))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("u", (2, 2), "f8", external=[(str(tmp_path / "secret"), 0, 32)])
    with pytest.raises(FormatError, match="may not name files"):
        Hdf5Reader().open(tmp_path / "a.h5")


def test_climate_shapes() -> None:
    """climate-trefht: eight members of 110 annual means on 64 x 128, float32, with latitude weights."""
    files = sorted(shared_data("climate-trefht").glob("netcdf_files/TREFHT*.nc"))
    assert len(files) == 8
    for file in files:
        run = NetcdfReader().open(file)
        assert (len(run.times), run.fields["TREFHT"].shape, run.fields["TREFHT"].dtype) == (110, (64, 128), np.dtype(np.float32))
        assert run.weights["cos_latitude"].shape == (64, 128)
    assert np.isfinite(gather(run)["TREFHT"]).all()
