"""Any Zarr array or group, version 2 or 3, as named arrays (`nwidth.readers.arrays`).

Dimension names, where the store has them (v3, or xarray's v2 attribute), become the dims of the fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import FormatError
from nwidth.readers.arrays import Source, run_from_sources
from nwidth.readers.protocol import Run

MARKERS = ("zarr.json", ".zgroup", ".zarray")


class ZarrReader:
    """Reads a Zarr array or group from a folder."""

    name = "zarr"
    suffixes = (".zarr",)

    def claims(self, path: Path) -> bool:
        """Whether the folder holds Zarr metadata."""
        return path.is_dir() and any((path / marker).is_file() for marker in MARKERS)

    def open(self, path: Path, *, fields: Sequence[str] | None = None) -> Run:
        """Read the metadata; fields are read later, one chunk row at a time.

        Raises
        ------
        nwidth.errors.FormatError
            The metadata are damaged, or the arrays do not fit together.
        """
        import zarr

        try:
            node = zarr.open(str(path), mode="r")
            arrays = {path.stem: node} if isinstance(node, zarr.Array) else dict(_walk(node))
        except (ValueError, KeyError, OSError, TypeError) as error:
            raise FormatError(f"{path} cannot be read as Zarr ({error}); its metadata are damaged") from None
        return run_from_sources(path, {name: _source(path, array) for name, array in arrays.items()}, fields=fields)


def _walk(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, array in sorted(group.arrays()):
        yield prefix + name, array
    for name, child in sorted(group.groups()):
        yield from _walk(child, f"{prefix}{name}_")


def _source(path: Path, array: Any) -> Source:
    def rows() -> Iterator[NDArray[Any]]:
        # A chunk along the snapshots is decoded once, not once per snapshot.
        step = (array.shards or array.chunks)[0]
        for first in range(0, array.shape[0], step):
            yield from _read(path, array, slice(first, first + step))

    attributes = {key: str(array.attrs[key]) for key in ("units", "long_name") if key in array.attrs}
    dims = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    named = tuple(str(dim) for dim in dims) if all(dims) else ()
    return Source(tuple(array.shape), np.dtype(array.dtype), lambda: _read(path, array, ...), rows, named, attributes)


def _read(path: Path, array: Any, selection: Any) -> NDArray[Any]:
    if array.nchunks_initialized < array.nchunks and not _fill_is_data(array):
        raise FormatError(
            f"{path}: {_missing(array)} of {array.nchunks} chunks of {array.name} are missing; the copy is not complete"
        )
    try:
        return np.asarray(array[selection])
    except (ValueError, RuntimeError, OSError) as error:
        raise FormatError(f"{path}: {array.name} has a damaged chunk ({error}); copy it again") from None


def _missing(array: Any) -> int:
    return int(array.nchunks - array.nchunks_initialized)


def _fill_is_data(array: Any) -> bool:
    """Zarr leaves out chunks that hold nothing but the fill value 0; a NaN is no data and is found by ingestion."""
    return bool(np.all(np.equal(array.fill_value, 0))) if array.fill_value is not None else False
