"""Foreign Zarr: version 2 and 3, arrays and groups, with and without dimension names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import xarray as xr
import zarr

from nwidth.errors import FormatError
from nwidth.readers.zarr_arrays import ZarrReader
from tests.readers.gather import gather

U = np.random.default_rng(0).normal(size=(7, 5, 3))


@pytest.mark.parametrize("version", [2, 3])
def test_group_of_either_version(version: Literal[2, 3], tmp_path: Path) -> None:
    """Arrays with a shared first dimension become fields, nested ones by their path, and the time is taken."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    group.create_array("u", data=U, chunks=(2, 5, 3))
    group.create_array("more/p", data=U[:, :, 0], chunks=(7, 2))
    group.create_array("time", data=np.arange(7.0))
    path = tmp_path / "a.zarr"
    assert ZarrReader().claims(path)
    run = ZarrReader().open(path)
    values = gather(run)
    np.testing.assert_array_equal(values["u"], U)
    np.testing.assert_array_equal(values["more_p"], U[:, :, 0])
    assert run.times.tolist() == list(range(7))


def test_single_array(tmp_path: Path) -> None:
    """An array alone is one field, named by its folder."""
    zarr.save_array(tmp_path / "pressure.zarr", U[:, :, 0])
    run = ZarrReader().open(tmp_path / "pressure.zarr")
    np.testing.assert_array_equal(gather(run)["pressure"], U[:, :, 0])


def test_what_xarray_wrote(tmp_path: Path) -> None:
    """Dimension names, coordinates and units that xarray wrote become those of the field."""
    coords = {"time": ("time", np.arange(7.0), {"units": "h"}), "y": ("y", np.linspace(0, 1, 5))}
    data = xr.Dataset({"T": (("time", "y", "x"), U, {"units": "K"})}, coords=coords)
    data.to_zarr(tmp_path / "a.zarr", consolidated=False)
    run = ZarrReader().open(tmp_path / "a.zarr")
    spec = run.fields["T"]
    assert (spec.location, spec.dims, spec.units) == ("grid", ("y", "x"), "K")
    assert run.time_units == "h"
    np.testing.assert_array_equal(run.coordinates["y"], np.linspace(0, 1, 5))
    np.testing.assert_array_equal(gather(run)["T"], U)


def test_missing_and_cut_chunks_are_refused(tmp_path: Path) -> None:
    """A chunk that was cut short is refused by the array's name; a missing chunk of a NaN-filled array as missing."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("u", data=U, chunks=(2, 5, 3), fill_value=np.nan)
    chunk = next(path for path in sorted((tmp_path / "a.zarr/u/c").rglob("*")) if path.is_file())
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "b.zarr")
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(FormatError, match="u has a damaged chunk"):
        gather(ZarrReader().open(tmp_path / "a.zarr"))
    (tmp_path / "b.zarr" / chunk.relative_to(tmp_path / "a.zarr")).unlink()
    with pytest.raises(FormatError, match="1 of 4 chunks"):
        gather(ZarrReader().open(tmp_path / "b.zarr"))
