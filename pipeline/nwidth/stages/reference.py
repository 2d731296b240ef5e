"""NetCDF and HDF5 into a snapshot store without copying: the store's chunks are byte ranges of the files.

    headers ──open_references──> manifests ──one commit──> Icechunk store ──open(references=folder)──> the files' own bytes

Every value is read once, to see that all are finite or masked: what is not copied cannot be filtered afterwards. A fill value of
the files (`_FillValue`, `missing_value`) becomes the attribute `missing_value` of the field, and is read as NaN. The store has to
be opened with ``options={"references": folder}``, for a store from a stranger could name any file of this machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nwidth.errors import ConfigError, FormatError
from nwidth.readers import missing_package
from nwidth.readers.protocol import Run
from nwidth.stages.calendar import conversion
from nwidth.stages.identity import source_key
from nwidth.stages.ingest import batches, snapshots_per_batch
from nwidth.stores.protocol import RunEntry, StoreSchema

if TYPE_CHECKING:
    from nwidth.readers.virtual import Referenced

READER = "netcdf-reference"

_SECOND = 10**9


def reference_netcdf(
    files: Sequence[str | Path], into: str | Path, *, fields: Sequence[str] | None = None, snapshot_dim: str | None = None
) -> StoreSchema:
    """Make the Icechunk store `into`, in which each of `files` is a run by reference, named by its stem.

    Parameters
    ----------
    files
        NetCDF or HDF5 files with the same fields, chunks and codecs; they must stay where they are and as they are.
    fields, snapshot_dim
        As for `nwidth.readers.netcdf.NetcdfReader.open`.

    Raises
    ------
    ConfigError
        There are no files, two have one stem, or they have no folder in common.
    FormatError, FieldError
        A file is truncated, changes while it is read, holds infinity or NaN that are no mask, or the files cannot be read by
        reference together; the text says which.
    StoreError
        Something is at `into` already.
    """
    paths = [Path(file).resolve() for file in files]
    if not paths:
        raise ConfigError("there is nothing to refer to: the list of files is empty; give at least one NetCDF or HDF5 file")
    for path in paths:
        if not path.is_file():
            raise FormatError(f"{path} does not exist or is no file; check the path")
        if [other.stem for other in paths].count(path.stem) > 1:
            raise ConfigError(f"two files are called {path.stem!r}; a run is named by its file's stem, so rename one")
    before = _states(paths)
    try:
        from nwidth.readers.virtual import open_references

        found = open_references(paths, fields=fields, snapshot_dim=snapshot_dim)
    except ImportError as error:
        raise missing_package(error) from error
    for one in found:
        for _ in batches(one.run, snapshots_per_batch(one.run), one.path):
            pass
    return _write(found, str(into), _moment_of(before))


def folder_of(paths: Sequence[Path]) -> Path:
    """The folder that holds all files, which readers of the store have to allow (`ConfigError` where that is the root)."""
    import os

    folder = Path(os.path.commonpath([path.parent for path in paths]))
    if folder == Path(folder.anchor):
        raise ConfigError("the files have no folder in common but the root; put them under one folder")
    return folder


def _states(paths: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """(time of the last change in ns, bytes) of each file."""
    return {path: (status.st_mtime_ns, status.st_size) for path in paths for status in [path.stat()]}


def _moment_of(before: dict[Path, tuple[int, int]]) -> datetime:
    """The whole second at or after the files' last change, once it has passed and they are still what was read.

    Icechunk keeps that moment in whole seconds, rounded down, and refuses a chunk whose file has changed after it. The present
    would be the wrong one: a file of the same second would be refused for ever, and a change while it was read would be served.
    """
    moment = max(-(-changed // _SECOND) for changed, _ in before.values())
    time.sleep(min(max(0.0, moment - time.time()), 1.0))
    for path, state in _states(list(before)).items():
        if state != before[path]:
            raise FormatError(f"{path} was changed while it was being read; ingest again when its writer has finished")
    return datetime.fromtimestamp(moment, UTC)


def _write(found: list[Referenced], into: str, moment: datetime) -> StoreSchema:
    from nwidth.stores import create_store, open_store

    folder = folder_of([one.path for one in found])
    runs = _in_units_of_first([one.run for one in found])
    create_store(into, "icechunk")
    try:
        _commit(found, runs, into, folder, moment)
    except BaseException:
        _remove_empty(into)
        raise
    return open_store(into, options={"references": str(folder)}).schema()


def _commit(found: list[Referenced], runs: list[Run], into: str, folder: Path, moment: datetime) -> None:
    """Arrays as any store has them, the fields replaced by references, all in one commit."""
    import icechunk
    import zarr

    from nwidth.readers.virtual import concatenated
    from nwidth.stores.arrays import append_coordinates, create_arrays, field_layouts
    from nwidth.stores.ledger import append_entry
    from nwidth.stores.objectstore import icechunk_storage, location, reference_prefix
    from nwidth.stores.options import StoreOptions
    from nwidth.stores.schema import field_dimensions

    options = StoreOptions()
    config = icechunk.RepositoryConfig.default()
    config.set_virtual_chunk_container(
        icechunk.VirtualChunkContainer(reference_prefix(folder), store=icechunk.local_filesystem_store(str(folder)))
    )
    repository = icechunk.Repository.open(icechunk_storage(location(into), options), config=config)
    repository.save_config()
    session = repository.writable_session("main")
    root = zarr.open_group(session.store, mode="r+", use_consolidated=False)
    first = runs[0]
    create_arrays(
        root, first, {}, field_layouts(first.fields, len(first.times), options), field_dimensions(first.fields), options.codec
    )
    attributes: dict[str, Any] = {}
    for name in first.fields:
        attributes[name] = root[f"fields/{name}"].attrs.asdict()
        del root[f"fields/{name}"]
    whole = concatenated(found)
    whole.vz.to_icechunk(session.store, group="fields", mode="a", last_updated_at=moment)
    for name in first.fields:
        missing = {"missing_value": list(found[0].missing[name])} if found[0].missing[name] else {}
        root[f"fields/{name}"].attrs.put(attributes[name] | missing)
    start = 0
    for one, run in zip(found, runs, strict=True):
        append_coordinates(root, run, one.path.stem, {})
        stop = start + len(run.times)
        append_entry(root, RunEntry(one.path.stem, source_key([one.path], READER), start, stop, (str(one.path),), READER))
        start = stop
    session.commit(f"refer to {len(found)} files", metadata={"reader": READER})


def _in_units_of_first(runs: list[Run]) -> list[Run]:
    """All runs counting time from the first one's date."""
    units, converted = runs[0].time_units, []
    for run in runs:
        scale, offset = (1.0, 0.0)
        if run.time_units != units:
            try:
                scale, offset = conversion(run.time_units, units, run.attributes.get("calendar", "standard"))
            except ValueError as error:
                raise FormatError(
                    f"times in {run.time_units!r} cannot be counted in {units!r} ({error}); ingest by copying"
                ) from None
        converted.append(replace(run, times=scale * np.asarray(run.times) + offset, time_units=units))
    return converted


def _remove_empty(into: str) -> None:
    """A store that never got its commit holds nothing: leave the place as it was found."""
    import shutil

    with suppress(OSError):
        shutil.rmtree(into)
