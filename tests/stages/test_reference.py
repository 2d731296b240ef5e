"""Stores by reference: the files' own bytes, nothing copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import nwidth as nw
from nwidth.errors import ConfigError, FieldError, FormatError, StoreError
from nwidth.stages.reference import reference_netcdf
from tests.shared_data import shared_data

pytest.importorskip("virtualizarr")
pytest.importorskip("h5netcdf")


def member(path: Path, seed: int, **changes: Any) -> np.ndarray:
    """A chunked, compressed NetCDF-4 file; its values."""
    settings: dict[str, Any] = {"chunks": (2, 6, 5), "times": 4, "since": "2000-01-01", "dtype": "f4", "scale": None} | changes
    values = np.random.default_rng(seed).normal(size=(settings["times"], 6, 5))
    if "spoil" in changes:
        values[changes["spoil"]] = np.nan
    coords = {"time": ("time", np.arange(float(settings["times"])), {"units": f"days since {settings['since']}"}),
              "lat": ("lat", np.linspace(-80, 80, 6), {"units": "degrees_north"}), "lon": np.arange(5.0)}  # fmt: skip
    data = xr.Dataset({"T": (("time", "lat", "lon"), values.astype(settings["dtype"]), {"units": "K"})}, coords=coords)
    encoding = {"T": {"chunksizes": settings["chunks"], "zlib": True, "shuffle": True}}
    if settings["scale"]:
        encoding["T"] |= {"dtype": "i2", "scale_factor": settings["scale"], "_FillValue": -32768}
    data.to_netcdf(path, engine="h5netcdf", encoding=encoding)
    return data["T"].values


def test_values_times_and_runs_come_from_the_files(tmp_path: Path) -> None:
    """Two files are two runs of one store that is smaller than they are; values, times and weights are theirs."""
    (tmp_path / "data").mkdir()
    paths = [tmp_path / "data" / f"m{k}.nc" for k in range(2)]
    values = [member(path, k, since=f"200{k}-01-01", times=400, chunks=(100, 6, 5)) for k, path in enumerate(paths)]
    schema = reference_netcdf(paths, tmp_path / "s")
    assert [(run.simulation, run.start, run.stop) for run in schema.runs] == [("m0", 0, 400), ("m1", 400, 800)]
    assert schema.fields["T"].units == "K"
    options = {"references": str(tmp_path / "data")}
    dataset = nw.open_snapshots(tmp_path / "s", options)
    np.testing.assert_array_equal(dataset["T"].values, np.concatenate(values))
    # 2000 had 366 days.
    stored: Any = nw.open_store(tmp_path / "s", options=options).reference().open()
    assert stored["fields/time"][400] == 366
    assert nw.open_store(tmp_path / "s").schema().inner_products == {"cos_latitude": "diagonal"}
    size = sum(file.stat().st_size for file in (tmp_path / "s").rglob("*") if file.is_file())
    assert size < sum(path.stat().st_size for path in paths) / 2


def test_files_are_read_only_where_they_were_allowed(tmp_path: Path) -> None:
    """Without `references` the schema can be read, and no byte of a file outside the store."""
    (tmp_path / "data").mkdir()
    member(tmp_path / "data" / "m.nc", 0)
    reference_netcdf([tmp_path / "data" / "m.nc"], tmp_path / "s")
    assert nw.open_store(tmp_path / "s").schema().n_snapshots == 4
    with pytest.raises(StoreError):
        nw.open_store(tmp_path / "s").reference().read_block("fields/T", (slice(0, 1),))


def test_a_file_that_was_rewritten_is_refused(tmp_path: Path) -> None:
    """Icechunk remembers when it referred to a file; a newer one is not read as if it were the old."""
    import os
    import time

    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "m.nc"
    member(path, 0)
    reference_netcdf([path], tmp_path / "s")
    later = time.time() + 100
    os.utime(path, (later, later))
    store = nw.open_store(tmp_path / "s", options={"references": str(tmp_path / "data")})
    with pytest.raises(StoreError):
        store.reference().read_block("fields/T", (slice(0, 1),))


def test_a_file_written_a_moment_ago_is_read(tmp_path: Path) -> None:
    """A file may be younger than a second: Icechunk counts in whole ones. What changes after the ingestion is still refused."""
    import os
    import time

    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "m.nc"
    values = member(path, 0)
    just_now = int(time.time()) * 10**9 + 999_000_000
    os.utime(path, ns=(just_now, just_now))
    reference_netcdf([path], tmp_path / "s")
    reference = nw.open_store(tmp_path / "s", options={"references": str(tmp_path / "data")}).reference()
    np.testing.assert_array_equal(reference.read_block("fields/T", (slice(0, 4),)), values)
    path.touch()
    with pytest.raises(StoreError):
        nw.open_store(tmp_path / "s", options={"references": str(tmp_path / "data")}).reference().read_block(
            "fields/T", (slice(0, 1),)
        )


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program still writes it: no store is made of values that nobody checked."""
    from nwidth.stages import reference
    from nwidth.stages.ingest import batches as checked

    member(tmp_path / "m.nc", 0)

    def rewritten_after(*arguments: Any) -> Any:
        yield from checked(*arguments)
        member(tmp_path / "m.nc", 1)

    monkeypatch.setattr(reference, "batches", rewritten_after)
    with pytest.raises(FormatError, match=r"m\.nc was changed while it was being read; ingest again"):
        reference_netcdf([tmp_path / "m.nc"], tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_what_cannot_be_referred_to_is_refused(tmp_path: Path) -> None:
    """Packed values, NaN, other chunks, chunks that are not filled, no files: refused by name, and no store is made."""
    names = ("good", "packed", "nan", "chunks", "ragged")
    paths = {name: tmp_path / f"{name}.nc" for name in names}
    member(paths["good"], 0)
    member(paths["packed"], 0, scale=1e-3)
    member(paths["nan"], 0, spoil=(1, 2, 3))
    member(paths["chunks"], 0, chunks=(4, 3, 5))
    member(paths["ragged"], 0, times=5)
    into = tmp_path / "s"
    refusals: list[tuple[type[Exception], str, list[Path]]] = [
        (FieldError, r"packed\.nc: T has a scale_factor", [paths["packed"]]),
        (FieldError, r"nan\.nc: field T is nan at lat 2, lon 3 of snapshot 1", [paths["nan"]]),
        (FieldError, r"chunks\.nc stores T in other chunks", [paths["good"], paths["chunks"]]),
        (FieldError, r"ragged\.nc: 5 snapshots of T do not fill chunks of 2", [paths["ragged"], paths["good"]]),
        (ConfigError, "list of files is empty", []),
        (FormatError, "does not exist", [tmp_path / "absent.nc"]),
    ]
    for error, text, files in refusals:
        with pytest.raises(error, match=text):
            reference_netcdf(files, into)
    assert not into.exists()


def test_climate_by_reference_is_climate_by_copy(tmp_path: Path) -> None:
    """NetCDF-3 members of climate-trefht by reference hold the same values as the files."""
    files = sorted(shared_data("climate-trefht").glob("netcdf_files/TREFHT*.nc"))[:2]
    reference_netcdf(files, tmp_path / "s")
    dataset = nw.open_snapshots(tmp_path / "s", {"references": str(files[0].parent)})
    for k, file in enumerate(files):
        with xr.open_dataset(file, engine="scipy", decode_times=False) as source:
            np.testing.assert_array_equal(dataset["TREFHT"][110 * k : 110 * (k + 1)].values, source["TREFHT"].values)
