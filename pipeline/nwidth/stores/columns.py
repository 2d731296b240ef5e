"""Short one-dimensional arrays (coordinates, the ledger) and the few Zarr calls that all writing goes through.

A handle obtained here writes chunks even where they hold only the fill value: on disk, missing means lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import LayoutError
from nwidth.stores.schema import NODES_KEY

if TYPE_CHECKING:
    import zarr

# A column's chunk is rewritten by every append and read whole: 8192 numbers are 64 KiB, and a million snapshots are 123 chunks.
COLUMN_CHUNK = 8192


def array_at(root: zarr.Group, path: str) -> zarr.Array[Any]:
    """The array at `path`, with a handle that writes empty chunks too (`LayoutError` where there is none)."""
    import zarr

    node = root.get(path)
    if not isinstance(node, zarr.Array):
        raise LayoutError(f"the store has no array {path!r}; it is damaged or has a foreign layout")
    return node.with_config({"write_empty_chunks": True})


def nodes(root: zarr.Group) -> list[str]:
    """Paths of all groups and arrays of the store, without listing it."""
    return [str(path) for path in cast("list[str]", root.attrs.asdict().get(NODES_KEY, []))]


def record_nodes(root: zarr.Group, paths: Sequence[str]) -> None:
    """Add `paths`, and the groups above them, to the list of nodes."""
    parents = {path.rsplit("/", depth)[0] for path in paths for depth in range(1, path.count("/") + 1)}
    root.attrs[NODES_KEY] = sorted({*nodes(root), *paths, *parents})


def create_column(
    root: zarr.Group,
    path: str,
    dims: tuple[str, ...],
    dtype: Any,
    chunk: int = COLUMN_CHUNK,
    attributes: Mapping[str, Any] | None = None,
    length: int = 0,
) -> zarr.Array[Any]:
    """Create a one-dimensional array with a chunk size of its own; floats are NaN until written."""
    is_float = dtype is not str and np.dtype(dtype).kind == "f"
    return root.create_array(
        path,
        shape=(length,),
        chunks=(chunk,),
        dtype=dtype,
        fill_value=np.nan if is_float else "" if dtype is str else 0,
        dimension_names=dims,
        attributes=dict(attributes or {}),
        config={"write_empty_chunks": True},
    )


def append_column(root: zarr.Group, path: str, values: Sequence[Any] | NDArray[Any]) -> None:
    """Add `values` at the end."""
    array = array_at(root, path)
    start = array.shape[0]
    array.resize((start + len(values),))
    array[start:] = as_column(values)


def read_column(root: zarr.Group, path: str) -> NDArray[Any]:
    """All values of a column."""
    return np.asarray(array_at(root, path)[:])


def as_column(values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    """Text as an array of Python strings, which Zarr stores with variable length; numbers as they are."""
    array = np.asarray(values)
    return np.asarray([str(value) for value in array.tolist()], dtype=object) if array.dtype.kind in "UOT" else array


def write_array(root: zarr.Group, path: str, values: NDArray[Any], attributes: Mapping[str, Any] | None = None) -> None:
    """Create an array that never grows and write it whole, in chunks of about 4 MiB along its first axis."""
    rows = max(1, min(values.shape[0], (4 << 20) // max(1, values[:1].nbytes))) if values.ndim else 1
    array = root.create_array(
        path,
        shape=values.shape,
        chunks=(rows, *(max(1, extent) for extent in values.shape[1:])),
        dtype=values.dtype,
        fill_value=np.nan if values.dtype.kind == "f" else 0,
        attributes=dict(attributes or {}),
        config={"write_empty_chunks": True},
    )
    if values.size:
        array[...] = values
