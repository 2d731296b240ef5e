"""NetCDF (3 and 4) through xarray: fields on grids, the time-like dimension as the snapshots.

    TREFHT(time, lat, lon)  ->  field TREFHT of dims (lat, lon), one snapshot per time

Times stay the numbers of the file, with their units ("days since 1890-01-01"). `_FillValue` becomes NaN, scale and offset are
applied.
A latitude coordinate brings the inner product weight ``cos_latitude`` = cos(lat): the weight W of ``a' W b``, so that
scaling the data by sqrt(cos lat) is the same thing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, FormatError
from nwidth.readers.arrays import stored_type
from nwidth.readers.protocol import Fields, FieldSpec, Run

if TYPE_CHECKING:
    import xarray as xr

SUFFIXES = (".nc", ".nc3", ".nc4", ".netcdf", ".cdf")
TIME_NAMES = ("time", "t", "times", "snapshot", "Time")
LATITUDE_UNITS = ("degrees_north", "degree_north", "degrees_N", "degree_N")


class NetcdfReader:
    """Reads NetCDF-3 and NetCDF-4 grids."""

    name = "netcdf"
    suffixes = SUFFIXES

    def claims(self, path: Path) -> bool:
        """Whether the suffix is one of NetCDF's."""
        return path.suffix.lower() in SUFFIXES

    def open(self, path: Path, *, fields: Sequence[str] | None = None, snapshot_dim: str | None = None) -> Run:
        """Read the header; one time of each field is read at a time.

        Parameters
        ----------
        fields
            Names to read; all numeric variables over the snapshot dimension and space otherwise.
        snapshot_dim
            The dimension that counts snapshots; the unlimited one, or one named time, otherwise.

        Raises
        ------
        nwidth.errors.FormatError
            The file is truncated, or no dimension counts snapshots.
        """
        dataset = _open(path)
        try:
            return _run(dataset, path, fields, snapshot_dim)
        finally:
            dataset.close()


def missing_values(path: Path, fields: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Field -> the numbers that stand for NaN in the file (CF's `_FillValue` and `missing_value`); none where NaN itself does."""
    with _open(path) as dataset:
        return {name: _numbers_for_nan(dataset[name].encoding) for name in fields}


def _numbers_for_nan(encoding: dict[Hashable, Any]) -> tuple[float, ...]:
    given = [np.ravel(np.asarray(encoding[key], float)) for key in ("_FillValue", "missing_value") if key in encoding]
    return tuple(sorted({float(number) for number in np.concatenate(given) if not np.isnan(number)})) if given else ()


def _open(path: Path) -> xr.Dataset:
    import xarray as xr

    try:
        with path.open("rb") as file:
            magic = file.read(4)
        # Times are left as numbers: decoding them would need a calendar, and a store keeps plain floats.
        return xr.open_dataset(path, engine=_engine(magic, path), decode_times=False, cache=False)
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, EOFError, IndexError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path} cannot be read as NetCDF ({error}); it is truncated or damaged: copy it again") from None


def _engine(magic: bytes, path: Path) -> Any:
    if magic[:3] == b"CDF":
        _check_netcdf3_size(path)
        return "scipy" if magic[3:4] in (b"\x01", b"\x02") else "netcdf4"
    return "h5netcdf"


def _check_netcdf3_size(path: Path) -> None:
    """NetCDF-3 libraries fill a truncated file with zeros: compare its length with the header's promise before."""
    from scipy.io import netcdf_file

    try:
        file = netcdf_file(str(path), "r", mmap=True)
        file.close()
    except (OSError, ValueError, TypeError, EOFError, IndexError, KeyError) as error:
        raise FormatError(f"{path} is truncated or damaged ({error}); copy it again") from None


def _run(dataset: xr.Dataset, path: Path, fields: Sequence[str] | None, snapshot_dim: str | None) -> Run:
    dim = snapshot_dim or _snapshot_dim(dataset, path)
    if dim not in dataset.dims:
        raise ConfigError(f"{path} has no dimension {dim!r}; its dimensions are {', '.join(map(str, dataset.dims))}")
    chosen = _fields(dataset, dim, fields, path)
    specs = {name: _spec(dataset[name], dim) for name in chosen}
    times = dataset[dim] if dim in dataset.coords else None
    numeric = times is not None and times.dtype.kind in "fiu"
    n_snapshots = int(dataset.sizes[dim])
    return Run(
        fields=specs,
        times=np.asarray(times, np.float64) if times is not None and numeric else np.arange(n_snapshots, dtype=np.float64),
        snapshots=lambda: _snapshots(path, specs, dim, n_snapshots),
        coordinates=_coordinates(dataset, specs),
        weights=latitude_weights(dataset, specs),
        time_units=str(times.attrs.get("units", "1")) if times is not None and numeric else "1",
        attributes=_attributes(dataset, times),
    )


def _attributes(dataset: xr.Dataset, times: xr.DataArray | None) -> dict[str, str]:
    found = {key: str(dataset.attrs[key]) for key in ("title", "institution") if dataset.attrs.get(key)}
    calendar = str(times.attrs.get("calendar", "")) if times is not None else ""
    return found | ({"calendar": calendar} if calendar else {})


def _snapshot_dim(dataset: xr.Dataset, path: Path) -> str:
    unlimited = [str(dim) for dim in dataset.encoding.get("unlimited_dims", ())]
    since = [
        str(name) for name in dataset.dims if name in dataset.coords and " since " in str(dataset[name].attrs.get("units", ""))
    ]
    named = [name for name in TIME_NAMES if name in dataset.dims]
    found = [name for name in dict.fromkeys([*since, *named, *unlimited]) if name in dataset.dims]
    if not found:
        raise FormatError(
            f"{path} has no dimension that is unlimited or named time; say which one counts snapshots with "
            f"options={{'snapshot_dim': ...}}, one of {', '.join(map(str, dataset.dims))}"
        )
    return found[0]


def _fields(dataset: xr.Dataset, dim: str, wanted: Sequence[str] | None, path: Path) -> list[str]:
    bounds = {str(variable.attrs.get("bounds", "")) for variable in dataset.variables.values()}
    names = [
        str(name)
        for name, variable in dataset.data_vars.items()
        if dim in variable.dims and len(variable.dims) >= 2 and variable.dtype.kind in "fiu" and name not in bounds
    ]
    for name in wanted or ():
        if name not in names:
            raise ConfigError(f"{path} has no field {name!r} over {dim}; its fields are {', '.join(names) or 'none'}")
    chosen = list(wanted) if wanted is not None else names
    if not chosen:
        raise FormatError(
            f"{path} has no numeric variable over {dim} and space; its variables are {', '.join(map(str, dataset.data_vars))}"
        )
    return chosen


def _spec(variable: xr.DataArray, dim: str) -> FieldSpec:
    dims = tuple(str(name) for name in variable.dims if name != dim)
    dtype = stored_type(variable.dtype)
    return FieldSpec(
        "grid", dims, tuple(int(variable.sizes[name]) for name in dims), dtype,
        units=str(variable.attrs.get("units", "")), long_name=str(variable.attrs.get("long_name", "")),
    )  # fmt: skip


def _coordinates(dataset: xr.Dataset, specs: dict[str, FieldSpec]) -> dict[str, NDArray[Any]]:
    dims = {name for spec in specs.values() for name in spec.dims}
    found = {name: np.asarray(dataset[name]) for name in sorted(dims) if name in dataset.coords}
    return {name: values.astype(values.dtype.newbyteorder("=")) for name, values in found.items() if values.dtype.kind in "fiu"}


def latitude_weights(dataset: xr.Dataset, specs: dict[str, FieldSpec]) -> dict[str, NDArray[np.float64]]:
    """``cos_latitude``: cos(lat) over the space dims; one per field (``cos_latitude_<field>``) where fields differ in shape."""
    found = {}
    for name, spec in specs.items():
        latitudes = [dim for dim in spec.dims if _is_latitude(dataset, dim)]
        if latitudes:
            axis = spec.dims.index(latitudes[0])
            along = [-1 if k == axis else 1 for k in range(len(spec.dims))]
            # cos(90 deg) is 6e-17 or its negative, by rounding; a weight must not be negative.
            cosine = np.cos(np.deg2rad(np.asarray(dataset[latitudes[0]], np.float64))).clip(min=0.0)
            found[name] = np.broadcast_to(cosine.reshape(along), spec.shape).copy()
    if found and len({specs[name].dims for name in specs}) == 1:
        return {"cos_latitude": next(iter(found.values()))}
    return {f"cos_latitude_{name}": weights for name, weights in found.items()}


def _is_latitude(dataset: xr.Dataset, dim: Hashable) -> bool:
    if dim not in dataset.coords:
        return False
    attributes = dataset[dim].attrs
    return (
        attributes.get("standard_name") == "latitude"
        or attributes.get("units") in LATITUDE_UNITS
        or str(dim).lower() in ("lat", "latitude")
    )


def _snapshots(path: Path, specs: dict[str, FieldSpec], dim: str, n_snapshots: int) -> Iterator[Fields]:
    with _open(path) as dataset:
        for k in range(n_snapshots):
            try:
                snapshot = {name: np.array(dataset[name].isel({dim: k}).values, spec.dtype) for name, spec in specs.items()}
            except (OSError, ValueError, RuntimeError) as error:
                raise FormatError(
                    f"{path} cannot be read at {dim} {k} ({error}); it is truncated or damaged: copy it again"
                ) from None
            yield snapshot
