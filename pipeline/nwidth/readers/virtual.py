"""NetCDF and HDF5 by reference: an Icechunk store whose chunks are byte ranges of the original files, nothing copied.

    files  --VirtualiZarr-->  manifests (file, offset, length)  --concatenated along time-->  Icechunk, schema of a snapshot store

The store stays small, and it reads wrongly or not at all once a file is moved or rewritten: Icechunk remembers when a file
was changed and refuses a newer one. Chunks have to be of one shape in all files, and the snapshots in a file have to fill
whole chunks (save in the last file); a compression that Zarr has no codec for is refused. Where references do not do, copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwidth.errors import FieldError, FormatError
from nwidth.readers.netcdf import NetcdfReader, missing_values
from nwidth.readers.protocol import Run

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Referenced:
    """One file: its run (header only), and its fields as manifests of byte ranges."""

    path: Path
    run: Run
    dataset: xr.Dataset
    snapshot_dim: str
    missing: Mapping[str, tuple[float, ...]]
    """Field -> the numbers that stand for NaN in its bytes."""


def open_references(
    files: Sequence[Path], *, fields: Sequence[str] | None = None, snapshot_dim: str | None = None
) -> list[Referenced]:
    """Read the headers of `files` and see that one store can refer to all of them.

    Raises
    ------
    nwidth.errors.FormatError, nwidth.errors.FieldError
        A file is truncated, or the files differ in fields, shapes, types, codecs or chunks.
    """
    if not files:
        raise FormatError("no file to refer to; give at least one NetCDF or HDF5 file")
    found = [_open(path.resolve(), fields, snapshot_dim) for path in files]
    for other in found[1:]:
        _check_alike(found[0], other)
    _check_whole_chunks(found)
    return found


def _open(path: Path, fields: Sequence[str] | None, snapshot_dim: str | None) -> Referenced:
    import virtualizarr
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import LocalStore
    from virtualizarr.parsers import HDFParser, NetCDF3Parser

    run = NetcdfReader().open(path, fields=fields, snapshot_dim=snapshot_dim)
    with path.open("rb") as file:
        classic = file.read(3) == b"CDF"
    try:
        dataset = virtualizarr.open_virtual_dataset(
            path.as_uri(),
            registry=ObjectStoreRegistry({"file://": LocalStore()}),
            parser=NetCDF3Parser() if classic else HDFParser(),
            loadable_variables=[],
            decode_times=False,
        )
    except (ValueError, NotImplementedError, OSError, KeyError, TypeError) as error:
        raise FormatError(f"{path} cannot be read by reference ({error}); ingest it by copying") from None
    for name in run.fields:
        _check_plain(path, name, dataset[name])
    dims = {str(dim) for name in run.fields for dim in dataset[name].dims} - {
        dim for spec in run.fields.values() for dim in spec.dims
    }
    return Referenced(path, run, dataset, dims.pop(), missing_values(path, tuple(run.fields)))


def _check_plain(path: Path, name: str, variable: xr.DataArray) -> None:
    """What is referred to is read as it lies there: packed or integer values would be taken for the field's."""
    encoded = {**variable.encoding, **variable.attrs}
    packed = [key for key in ("scale_factor", "add_offset") if key in encoded]
    if packed or variable.dtype.kind != "f":
        what = f"has a {packed[0]}" if packed else f"is of type {variable.dtype}"
        raise FieldError(f"{path}: {name} {what}, and has to be decoded; ingest it by copying")


def _array(one: Referenced, name: str) -> Any:
    """The ManifestArray of a field."""
    return one.dataset[name].variable._data


def _check_alike(first: Referenced, other: Referenced) -> None:
    if dict(first.run.fields) != dict(other.run.fields):
        raise FieldError(
            f"{other.path} has other fields than {first.path}; refer to them in stores of their own, or choose with fields=..."
        )
    for name in first.run.fields:
        one, two = _array(first, name).metadata, _array(other, name).metadata
        if one.codecs != two.codecs or one.chunk_grid != two.chunk_grid or one.data_type != two.data_type:
            raise FieldError(
                f"{other.path} stores {name} in other chunks or with another codec than {first.path}; ingest it by copying"
            )
        if first.missing[name] != other.missing[name]:
            raise FieldError(f"{other.path} marks missing values of {name} otherwise than {first.path}; ingest it by copying")


def _check_whole_chunks(found: list[Referenced]) -> None:
    for one in found:
        for name in one.run.fields:
            axis, length = one.dataset[name].dims.index(one.snapshot_dim), len(one.run.times)
            chunk = int(_array(one, name).metadata.chunks[axis])
            if axis != 0:
                raise FieldError(
                    f"{one.path}: {name} does not have {one.snapshot_dim} as its first dimension; ingest it by copying"
                )
            if length % chunk and one is not found[-1]:
                raise FieldError(f"{one.path}: {length} snapshots of {name} do not fill chunks of {chunk}; ingest it by copying")


def concatenated(found: list[Referenced]) -> xr.Dataset:
    """The fields of all files as manifests, along one dimension called ``snapshot``."""
    import xarray as xr

    names = list(found[0].run.fields)
    parts = [
        one.dataset[names].drop_vars([str(name) for name in one.dataset.coords]).rename({one.snapshot_dim: "snapshot"})
        for one in found
    ]
    whole: xr.Dataset = xr.concat(parts, dim="snapshot", coords="minimal", compat="override", combine_attrs="override")
    return whole
