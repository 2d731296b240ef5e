"""Masks on their way into a store: NaN at the same places in every snapshot are kept, others are named; gaps only where asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

import nwidth as nw
from nwidth.errors import FieldError
from nwidth.stages.ingest import ingest
from nwidth.stages.reference import reference_netcdf

LAND = np.zeros((6, 5), bool)
LAND[1:3, 2:] = True


def ocean(seed: int, times: int = 4) -> NDArray[np.float64]:
    """(times, 6, 5) values that are NaN on land."""
    values = np.random.default_rng(seed).standard_normal((times, 6, 5))
    values[:, LAND] = np.nan
    return values


def save(path: Path, values: NDArray[np.float64], **encoding: Any) -> Path:
    """A NetCDF-4 file of `values` (time, lat, lon), chunked; its fill value is part of `encoding`."""
    coords = {"time": np.arange(float(len(values))), "lat": np.linspace(-80, 80, 6), "lon": np.arange(5.0)}
    data = xr.Dataset({"T": (("time", "lat", "lon"), values.astype(np.float32))}, coords=coords)
    data.to_netcdf(path, engine="h5netcdf", encoding={"T": {"chunksizes": (min(2, len(values)), 6, 5), "zlib": True, **encoding}})
    # A store by reference trusts files that are older than itself, to the second.
    os.utime(path, (1e9, 1e9))
    return path


@pytest.mark.parametrize("encoding", [{}, {"_FillValue": 1e20}, {"missing_value": -999.0, "_FillValue": -999.0}])
@pytest.mark.parametrize("by_reference", [False, True])
def test_a_land_mask_comes_in_as_nan(tmp_path: Path, by_reference: bool, encoding: dict[str, float]) -> None:
    """Whatever stands for missing values in the file, copied or referred to, NaN is on land and values elsewhere."""
    pytest.importorskip("virtualizarr")
    values = [ocean(0), ocean(1)]
    files = [save(tmp_path / f"{name}.nc", field, **encoding) for name, field in zip("ab", values, strict=True)]
    if by_reference:
        reference_netcdf(files, tmp_path / "s")
    else:
        ingest(files, tmp_path / "s")
    field = nw.open_snapshots(tmp_path / "s", {"references": str(tmp_path)} if by_reference else None)["T"]
    np.testing.assert_array_equal(field.values, np.concatenate(values).astype(np.float32))
    basis = nw.pod(field, rank=3)
    assert basis.certificate.masked_unknowns == {"T": LAND.sum()}
    np.testing.assert_array_equal(np.isnan(basis.modes.values), np.broadcast_to(LAND, (3, 6, 5)))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (
            (2, 0, 3),
            np.nan,
            r"T is nan at lat 0, lon 3 of snapshot 2 .*7 of its 30 values are not finite; a mask is NaN at the same",
        ),
        ((2, 1, 3), 0.5, r"T is 0\.5 at lat 1, lon 3 of snapshot 2 .*where snapshots before it are nan"),
        ((0, 0, 3), np.nan, r"T is .* at lat 0, lon 3 of snapshot 1 .*where snapshots before it are nan"),
        ((1, 0, 3), np.inf, r"T is inf at lat 0, lon 3 of snapshot 1 .*; mend the run, or leave"),
        ((2,), np.nan, r"T is nan at lat 0, lon 0 of snapshot 2 .*30 of its 30"),
    ],
    ids=["gap", "value on land", "gap in the first", "infinity", "empty snapshot"],
)
def test_what_is_no_mask_is_named(tmp_path: Path, place: tuple[int, ...], value: float, words: str) -> None:
    """A gap, a value under the mask, an infinity, an empty snapshot: each is named, and nothing is added."""
    values = ocean(0)
    values[place] = value
    with pytest.raises(FieldError, match=words):
        ingest([save(tmp_path / "a.nc", values)], tmp_path / "s")


def test_a_mask_that_differs_from_the_stores_is_named(tmp_path: Path) -> None:
    """The mask of a store is that of its first run; a run with another one is refused, be it of one snapshot."""
    other = ocean(1, times=1)
    other[0, 0, 0] = np.nan
    ingest([save(tmp_path / "a.nc", ocean(0))], tmp_path / "s")
    with pytest.raises(FieldError, match="T is nan at lat 0, lon 0 of snapshot 0"):
        ingest([save(tmp_path / "b.nc", other)], tmp_path / "s")
    assert ingest([save(tmp_path / "c.nc", ocean(2))], tmp_path / "s").added == ("c",)


def test_gaps_are_kept_where_asked_and_infinity_never(tmp_path: Path) -> None:
    """With missing="keep" isolated NaN are stored; an infinity and a snapshot without any value are refused all the same."""
    values = ocean(0)
    values[2, 0, 3] = np.nan
    ingest([save(tmp_path / "a.nc", values)], tmp_path / "s", missing="keep")
    np.testing.assert_array_equal(nw.open_snapshots(tmp_path / "s")["T"].values, values.astype(np.float32))
    for name, place, value in (("inf", (1, 0, 0), np.inf), ("empty", (1,), np.nan)):
        spoiled = values.copy()
        spoiled[place] = value
        with pytest.raises(FieldError, match="of snapshot 1"):
            ingest([save(tmp_path / f"{name}.nc", spoiled)], tmp_path / "s", missing="keep")
