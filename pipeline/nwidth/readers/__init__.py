"""Readers: solver output -> `Run`. Plug-ins of the entry-point group ``nwidth.readers``, one file each.

`find_reader` picks by name, or asks each reader whether it claims the path; `list_readers` names them all.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from nwidth.errors import ConfigError, FormatError
from nwidth.readers.protocol import Fields, FieldSpec, IntegrationPoints, Location, Reader, Run

__all__ = ["find_reader", "list_readers", "Fields", "FieldSpec", "IntegrationPoints", "Location", "Reader", "Run"]

GROUP = "nwidth.readers"

# The readers of this package; an installed package adds its own by entry points of the same group.
BUILT_IN = {
    "calculix": "nwidth.readers.calculix:FrdReader",
    "pyvista": "nwidth.readers.pyvista_files:PyVistaReader",
    "netcdf": "nwidth.readers.netcdf:NetcdfReader",
    "hdf5": "nwidth.readers.hdf5:Hdf5Reader",
    "zarr": "nwidth.readers.zarr_arrays:ZarrReader",
    "numpy": "nwidth.readers.numpy_files:NumpyReader",
    "modflow": "nwidth.readers.modflow:ModflowReader",
}

# What a reader imports beyond our own dependencies -> the extra that brings it.
EXTRAS = {
    "pyvista": "mesh", "vtk": "mesh", "vtkmodules": "mesh", "h5netcdf": "netcdf", "h5py": "netcdf", "netCDF4": "netcdf",
    "cftime": "netcdf",
    "virtualizarr": "virtual", "obspec_utils": "virtual",
}  # fmt: skip


def list_readers() -> dict[str, Reader]:
    """All readers by name: plug-ins of other packages first, so that they can replace ours."""
    plugged = {point.name: point.value for point in entry_points(group=GROUP) if point.value not in BUILT_IN.values()}
    return {name: _load(name, target) for name, target in {**plugged, **BUILT_IN, **plugged}.items()}


def find_reader(path: Path | str, name: str | Reader | None = None) -> Reader:
    """The reader for `path`: the one given or called `name`, or the one that claims the path.

    Raises
    ------
    nwidth.errors.ConfigError
        No reader is called `name`, or what is given is no reader.
    nwidth.errors.FormatError
        `path` does not exist, or no reader claims it, or several do and none is named.
    """
    path, readers = Path(path), list_readers()
    if isinstance(name, Reader):
        return name
    if name is not None:
        if name not in readers:
            raise ConfigError(f"no reader is called {name!r}; the readers are {', '.join(readers)}")
        return readers[name]
    if not path.exists():
        raise FormatError(f"{path} does not exist; check the path")
    claiming = {key: reader for key, reader in readers.items() if reader.claims(path)}
    if not claiming:
        known = "; ".join(f"{key} ({' '.join(reader.suffixes)})" for key, reader in readers.items())
        raise FormatError(f"no reader knows the format of {path}; known are {known}: name one with reader=..., or add a plug-in")
    # A plug-in of another package stands before ours, and a format is the business of the first that claims it.
    return next(iter(claiming.values()))


def missing_package(error: ImportError) -> FormatError:
    """Turn a failed import of an optional package into the sentence that says how to install it."""
    package = (error.name or "").split(".")[0]
    extra = EXTRAS.get(package)
    way_out = f'pip install "nwidth[{extra}]"' if extra else f"install {package or 'it'}"
    return FormatError(f"reading this needs the package {package!r}, which is not installed: {way_out}")


def runs_below(folder: Path, name: str | Reader | None = None) -> Iterator[Path]:
    """The files and folders directly in `folder` that a reader claims, sorted by name."""
    readers = [find_reader(folder, name)] if name is not None else list(list_readers().values())
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and any(reader.claims(path) for reader in readers):
            yield path


def _load(name: str, target: str) -> Reader:
    module, _, attribute = target.partition(":")
    try:
        reader = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the reader plug-in {name} ({target}) cannot be loaded ({error}); mend or uninstall its package"
        ) from error
    if not isinstance(reader, Reader):
        raise ConfigError(
            f"the reader plug-in {name} ({target}) lacks name, suffixes, claims or open; see `nwidth.readers.protocol`"
        )
    return reader
